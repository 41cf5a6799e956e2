// Package identifier brings what identifies a person or firm (e-mail, phone,
// national id, customer reference, name with birth date) to one form, so that a
// blind index finds it however it was written.
//
// A normaliser rejects rather than guesses: two spellings become one only when
// they can't mean different things. Each has a version, which is part of every
// digest: a change to its outcome is a new version. The first release with a new
// version gives the earlier form too (Normal.Before), so that what was kept before
// is found and stays unique; an operator then rebuilds the lookups, and the next
// release drops the earlier form. Errors never hold the value.
package identifier

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
)

// Kind is a kind of identifier, and the name of its normaliser.
type Kind string

// The kinds of identifiers.
const (
	KindEmail            Kind = "EMAIL"
	KindPhone            Kind = "PHONE"
	KindNationalID       Kind = "NATIONAL_ID"
	KindCVR              Kind = "CVR"
	KindReference        Kind = "REFERENCE"
	KindNameAndBirthDate Kind = "NAME_AND_BIRTH_DATE"
	KindText             Kind = "TEXT"
)

// The versions of the normalisers.
const (
	emailVersion            = 1
	phoneVersion            = 1
	nationalIDVersion       = 1
	cvrVersion              = 1
	referenceVersion        = 1
	nameAndBirthDateVersion = 1
	textVersion             = 1
)

// Limits, in characters.
const (
	maxReference = 200
	maxName      = 200
	maxText      = 1000
)

// What is wrong with an identifier.
var (
	// ErrKind: there is no normaliser of that kind for a single value.
	ErrKind = errs.New(errs.Invalid, "no such kind of identifier")
	// ErrReference: not a customer reference.
	ErrReference = errs.New(errs.Invalid, "a reference is 1 to %d characters without control characters", maxReference)
	// ErrText: not a text that can be looked up.
	ErrText = errs.New(errs.Invalid, "a text to look up is 1 to %d characters without control characters", maxText)
	// ErrName: not a name.
	ErrName = errs.New(errs.Invalid, "a name is 1 to %d characters with at least one letter and no control characters", maxName)
	// ErrBirthDate: not a date of birth.
	ErrBirthDate = errs.New(errs.Invalid, "a birth date is a day that exists, from 1850 on")
)

// Normal is an identifier in the one form that its normaliser gives it.
type Normal struct {
	Kind    Kind
	Version int // of the normaliser
	Value   personal.Text
	Before  []Form // by earlier versions of the normaliser
}

// Form is what one version of a normaliser makes of an identifier.
type Form struct {
	Version int
	Value   personal.Text
}

// Of normalises v by the normaliser of that kind. A phone number without
// country code is read as one of the country, a national id as its principal
// scheme; country is an ISO 3166-1 alpha-2 code, or "" when none is known.
func Of(k Kind, v personal.Text, country string) (Normal, error) {
	switch k {
	case KindEmail:
		return Email(v)
	case KindPhone:
		return Phone(v, country)
	case KindNationalID:
		return NationalID(v, country, "")
	case KindCVR:
		return CVR(v)
	case KindReference:
		return Reference(v)
	case KindText:
		return Text(v)
	case KindNameAndBirthDate: // takes two values
	}
	return Normal{}, ErrKind
}

// Reference normalises a tenant's own customer reference: Unicode form C,
// trimmed, 1 to 200 characters. Case matters.
func Reference(v personal.Text) (Normal, error) {
	s, ok := plain(v, maxReference)
	if !ok {
		return Normal{}, ErrReference
	}
	return Normal{Kind: KindReference, Version: referenceVersion, Value: personal.NewText(s)}, nil
}

// Text normalises any text to be found exactly: Unicode form C, trimmed, 1 to
// 1000 characters. Case matters.
func Text(v personal.Text) (Normal, error) {
	s, ok := plain(v, maxText)
	if !ok {
		return Normal{}, ErrText
	}
	return Normal{Kind: KindText, Version: textVersion, Value: personal.NewText(s)}, nil
}

// NameAndBirthDate normalises a person's name together with the date of birth.
//
// Case, compatibility forms (ligatures, full width), invisible characters, the
// amount of white space, and typographic variants of apostrophe and hyphen are
// evened out by Unicode's NFKC case folding, so "MÜLLER", "Müller" and its
// decomposed form are one, and so are "Strauß" and "STRAUSS". Letters stay the letters they are:
// "Muller", "Mueller", "Møller" and "Moller" are other people's names, and the
// order of names and initials is kept.
func NameAndBirthDate(name personal.Text, born civil.Date) (Normal, error) {
	if again, err := civil.Parse(born.String()); err != nil || again != born || born.Year < 1850 {
		return Normal{}, ErrBirthDate
	}
	if !utf8.ValidString(name.Reveal()) {
		return Normal{}, ErrName
	}
	fold := cases.Fold()
	s := norm.NFKC.String(fold.String(norm.NFKC.String(fold.String(norm.NFD.String(name.Reveal())))))
	letters := false
	s = strings.Map(func(r rune) rune {
		letters = letters || unicode.IsLetter(r)
		switch r {
		case '\u2018', '\u2019', '\u02bc', '\u00b4', '`':
			return '\''
		case '\u2010', '\u2012', '\u2013', '\u2212':
			return '-'
		}
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if !letters || utf8.RuneCountInString(s) > maxName || strings.ContainsFunc(s, unicode.IsControl) {
		return Normal{}, ErrName
	}
	return Normal{Kind: KindNameAndBirthDate, Version: nameAndBirthDateVersion, Value: personal.NewText(born.String() + " " + s)}, nil
}

// plain returns v in Unicode form C without surrounding white space, unless it
// is empty, too long or has characters that don't show.
func plain(v personal.Text, limit int) (string, bool) {
	s := v.Reveal()
	if !utf8.ValidString(s) {
		return "", false
	}
	s = strings.TrimSpace(norm.NFC.String(s))
	hidden := func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }
	return s, s != "" && utf8.RuneCountInString(s) <= limit && !strings.ContainsFunc(s, hidden)
}
