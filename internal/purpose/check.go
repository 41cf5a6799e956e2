package purpose

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/vocabulary"
)

func validKey(key string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9._:-]{1,100}$`).MatchString(key)
}

// valid reports whether a text is of low to high characters, with line ends and
// tabs in it if it may have lines. What it may hold is written by every JSON
// encoder in the form of RFC 8785, which content hashes rest on.
func valid(s string, low, high int, lines bool) bool {
	n := utf8.RuneCountInString(s)
	return n >= low && n <= high && utf8.ValidString(s) && (low == 0 || strings.TrimSpace(s) != "") &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return unicode.IsControl(r) && (!lines || r != '\n' && r != '\t') || r == '\u2028' || r == '\u2029'
		})
}

func text(field, s string, low, high int, lines bool) error {
	if valid(s, low, high, lines) {
		return nil
	}
	if lines {
		return errs.New(errs.Invalid, "a text of %d to %d characters goes here", low, high).At(field)
	}
	return errs.New(errs.Invalid, "a text of %d to %d characters on one line goes here", low, high).At(field)
}

func note(field string, s *string) error {
	if s == nil {
		return nil
	}
	return text(field, *s, 1, maxText, true)
}

func term(field string, kind vocabulary.Kind, ids ...string) error {
	if len(ids) > MaxTerms {
		return errs.New(errs.Limited, "at most %d terms", MaxTerms).At(field)
	}
	for i, t := range ids {
		if !vocabulary.Is(kind, t) {
			return errs.New(errs.Invalid, "not a term of kind %s in version %s of the vocabulary", kind, vocabulary.Version()).At(field)
		}
		if slices.Contains(ids[:i], t) {
			return errs.New(errs.Invalid, "a term is named twice").At(field)
		}
	}
	return nil
}

func basis(field, article, t string) error {
	if err := term(field, vocabulary.LegalBasis, t); err != nil {
		return err
	}
	if !strings.HasPrefix(t, "eu-gdpr:"+article+"-") {
		return errs.New(errs.Invalid, "a basis of this article goes here, as in eu-gdpr:%s-a", article).At(field)
	}
	return nil
}

func months(field string, n int) error {
	if n < 0 || n > MaxMonths {
		return errs.New(errs.Invalid, "a number of months is 0 to %d", MaxMonths).At(field)
	}
	return nil
}

// languages checks that texts are in different languages.
func languages[T any](texts []T, of func(T) string) error {
	if len(texts) > maxLanguages {
		return errs.New(errs.Limited, "at most %d languages", maxLanguages).At("texts")
	}
	for i, t := range texts {
		tag, err := language.Parse(of(t))
		if err != nil || tag.String() != of(t) {
			return errs.New(errs.Invalid, "a language is a BCP 47 tag, as in da or en-GB").At(path("texts", i, "language"))
		}
		if slices.ContainsFunc(texts[:i], func(o T) bool { return of(o) == of(t) }) {
			return errs.New(errs.Invalid, "a language has one text").At(path("texts", i, "language"))
		}
	}
	return nil
}

func path(field string, i int, rest string) string { return field + "." + strconv.Itoa(i) + "." + rest }

func country(field string, codes ...string) error {
	if len(codes) > MaxTerms {
		return errs.New(errs.Limited, "at most %d countries", MaxTerms).At(field)
	}
	for _, c := range codes {
		if r, err := language.ParseRegion(c); err != nil || r.String() != c || !r.IsCountry() {
			return errs.New(errs.Invalid, "a country is an ISO 3166-1 alpha-2 code in capitals, as in DK").At(field)
		}
	}
	return nil
}

// first returns the first error there is.
func first(problems ...error) error {
	for _, err := range problems {
		if err != nil {
			return err
		}
	}
	return nil
}

// check reports the first thing that is wrong with what a purpose is given.
func (c *Content) check() error {
	err := first(
		term("term", vocabulary.Purpose, c.Term), basis("legalBasis", "A6-1", c.LegalBasis),
		months("validityMonths", c.ValidityMonths), months("coolDownMonths", c.CoolDownMonths),
		languages(c.Texts, func(t Text) string { return t.Language }),
	)
	if err != nil {
		return err
	}
	if c.Art9Basis != nil {
		if err := basis("art9Basis", "A9-2", *c.Art9Basis); err != nil {
			return err
		}
	}
	for i, t := range c.Texts {
		if err := first(text(path("texts", i, "name"), t.Name, 1, maxName, false),
			text(path("texts", i, "description"), t.Description, 1, maxText, true)); err != nil {
			return err
		}
	}
	terms := make([]string, len(c.Data))
	for i, d := range c.Data {
		terms[i] = d.Term
		if !slices.Contains([]dataset.Class{dataset.Ordinary, dataset.Art9, dataset.Art10, dataset.NationalID, dataset.Confidential}, d.Class) {
			return errs.New(errs.Invalid, "no such data class").At(path("data", i, "class"))
		}
	}
	return term("data", vocabulary.PersonalData, terms...)
}

// check reports the first thing that is wrong with what a notice is given.
func (c *NoticeContent) check() error {
	if len(c.Purposes) > MaxPerNotice {
		return errs.New(errs.Limited, "a notice tells of at most %d purposes", MaxPerNotice).At("purposes")
	}
	if len(c.Controllers)+len(c.Recipients) > MaxParties {
		return errs.New(errs.Limited, "a notice names at most %d parties", MaxParties).At("recipients")
	}
	err := first(
		country("storageLocations", c.StorageLocations...), country("processingLocations", c.ProcessingLocations...),
		country("geographicRestrictions", c.GeographicRestrictions...), country("jurisdiction", c.Jurisdiction),
		term("rights", vocabulary.Right, c.Rights...), term("operations", vocabulary.Operation, c.Operations...),
		note("service", c.Service), note("codesOfConduct", c.CodesOfConduct), note("impactAssessment", c.ImpactAssessment),
		languages(c.Texts, func(t NoticeText) string { return t.Language }),
	)
	if err != nil {
		return err
	}
	for i, t := range c.Texts {
		if err := first(
			text(path("texts", i, "title"), t.Title, 1, maxName, false), text(path("texts", i, "body"), t.Body, 1, maxBody, true),
			text(path("texts", i, "collection"), t.Collection, 1, maxText, true),
			text(path("texts", i, "withdrawal"), t.Withdrawal, 1, maxText, true),
			text(path("texts", i, "retention"), t.Retention, 1, maxText, true),
		); err != nil {
			return err
		}
	}
	for i := range c.Controllers {
		if err := c.Controllers[i].check(); err != nil {
			return errs.At(err, "controllers."+strconv.Itoa(i))
		}
	}
	for i := range c.Recipients {
		if err := c.Recipients[i].check(); err != nil {
			return errs.At(err, "recipients."+strconv.Itoa(i))
		}
	}
	if c.Authority != nil {
		return errs.At(c.Authority.check(), "authority")
	}
	return nil
}

func (p *Party) check() error {
	least := 1
	if p.Type == Category { // nobody in particular
		least = 0
	}
	if !slices.Contains([]PartyType{Organisation, Authority, Category}, p.Type) {
		return errs.New(errs.Invalid, "no such type of party").At("type")
	}
	err := first(
		text("id", p.ID, 1, maxName, false), term("role", vocabulary.Role, p.Role), text("name", p.Name, 1, maxName, false),
		text("address", p.Address, least, maxText, true), text("contact", p.Contact, least, maxText, true),
	)
	if err == nil && (p.Country != "" || p.Type != Category) {
		err = country("country", p.Country)
	}
	if err == nil && p.Email != nil {
		_, err = identifier.Email(personal.NewText(*p.Email))
		err = errs.At(err, "email")
	}
	if err == nil && p.Phone != nil {
		err = text("phone", *p.Phone, 1, maxName, false)
	}
	if err == nil && p.URL != nil {
		if u, bad := url.Parse(*p.URL); bad != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(*p.URL) > maxText {
			err = errs.New(errs.Invalid, "an address begins with https://").At("url")
		}
	}
	return err
}

// lacks gathers what a draft lacks.
type lacks []string

func (l *lacks) add(missing bool, what string) {
	if missing {
		*l = append(*l, what)
	}
}

// texts adds the tenant's languages that there is no text in.
func speakAll[T any](l *lacks, texts []T, of func(T) string, tags []string) {
	for _, tag := range tags {
		l.add(speaks(texts, of, tag) < 0, "a text in "+tag)
	}
}

// err returns ErrIncomplete with all that is lacking, or nil.
func (l *lacks) err() error {
	if len(*l) == 0 {
		return nil
	}
	e := ErrIncomplete.Under(ErrIncomplete.Rule)
	e.Message += ": " + strings.Join(*l, "; ")
	return e
}

// ready reports what p lacks to be published in a tenant's languages, after the
// version before, if there is one.
func (p *Purpose) ready(tags []string, before *Purpose) error {
	var l lacks
	speakAll(&l, p.Texts, func(t Text) string { return t.Language }, tags)
	l.add(len(p.Data) == 0, "the data that it uses")
	art9 := slices.ContainsFunc(p.Data, func(d Data) bool { return d.Class == dataset.Art9 })
	l.add(art9 && p.Art9Basis == nil, "an art9Basis, for it uses data of class ART9")
	l.add(!art9 && p.Art9Basis != nil, "data of class ART9, or else no art9Basis")
	// Who must know their customers by law mustn't ask them for consent to it: it
	// would mislead, and withdrawing it would change nothing (DOMAIN §5.1).
	l.add(p.ConsentBased() && p.Term == "dpv:CounterMoneyLaundering", "a legal basis other than consent, for law demands it")
	// Whoever said no, or took the consent back, was told that nothing would happen
	// without it: the same purpose doesn't go on on another basis (Art. 5(1)(a)).
	l.add(before != nil && before.ConsentBased() && !p.ConsentBased(),
		"consent as its basis, as the version before: what rests on another basis is a purpose of its own, with a key of its own")
	for _, t := range p.terms() {
		_, known := vocabulary.Lookup(t)
		l.add(!known, "a term in place of "+t+", which the vocabulary doesn't have any more")
	}
	if err := l.err(); err != nil {
		return err
	}
	if before != nil && !p.Material && p.differs(before) {
		return ErrMaterial
	}
	return nil
}

func (p *Purpose) terms() []string {
	terms := []string{p.Term, p.LegalBasis}
	if p.Art9Basis != nil {
		terms = append(terms, *p.Art9Basis)
	}
	for _, d := range p.Data {
		terms = append(terms, d.Term)
	}
	return terms
}

// differs reports whether more than words has changed since the version before:
// what for, on what basis, or data that wasn't used.
func (p *Purpose) differs(before *Purpose) bool {
	return p.Term != before.Term || p.LegalBasis != before.LegalBasis || !same(p.Art9Basis, before.Art9Basis) ||
		p.Marketing && !before.Marketing || p.OfferedToChildren && !before.OfferedToChildren ||
		slices.ContainsFunc(p.Data, func(d Data) bool {
			return !slices.ContainsFunc(before.Data, func(o Data) bool {
				return o.Term == d.Term && o.Class == d.Class && (o.Optional == d.Optional || d.Optional)
			})
		})
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// ready is as that of a Purpose. The purposes are those that n names.
func (n *Notice) ready(tags []string, before *Notice, purposes []*Purpose) error {
	var l lacks
	speakAll(&l, n.Texts, func(t NoticeText) string { return t.Language }, tags)
	l.add(len(n.Purposes) == 0, "the purposes that it tells of")
	for i, r := range n.Purposes {
		l.add(purposes[i] == nil, "purpose "+r.Key+" published")
	}
	controller := func(p Party) bool { return p.Role == "dpv:DataController" || p.Role == "dpv:JointDataControllers" }
	l.add(!slices.ContainsFunc(n.Controllers, controller), "a controller, in the role dpv:DataController or dpv:JointDataControllers")
	l.add(slices.ContainsFunc(n.Controllers, func(p Party) bool { return p.Type == Category }), "controllers with a name: none of type CATEGORY")
	l.add(n.Authority == nil, "the supervisory authority, Art. 77")
	l.add(len(n.StorageLocations) == 0, "storageLocations")
	l.add(len(n.ProcessingLocations) == 0, "processingLocations")
	l.add(len(n.Operations) == 0, "the operations on the data")
	l.add(!slices.Contains(n.Rights, "eu-gdpr:A77"), "the right to complain among the rights, eu-gdpr:A77")
	consent := slices.ContainsFunc(purposes, func(p *Purpose) bool { return p != nil && p.ConsentBased() })
	l.add(consent && !slices.Contains(n.Rights, "eu-gdpr:A7-3"), "the right to withdraw consent among the rights, eu-gdpr:A7-3")
	for _, t := range slices.Concat(n.Rights, n.Operations) {
		_, known := vocabulary.Lookup(t)
		l.add(!known, "a term in place of "+t+", which the vocabulary doesn't have any more")
	}
	if err := l.err(); err != nil {
		return err
	}
	if before != nil && !n.Material && n.differs(before, purposes) {
		return ErrMaterial
	}
	return nil
}

// differs reports whether the notice tells of more than the one before: another
// controller, purpose or recipient, or a country that data wasn't kept in.
func (n *Notice) differs(before *Notice, purposes []*Purpose) bool {
	unknown := func(now, then []Party) bool {
		return slices.ContainsFunc(now, func(p Party) bool {
			return !slices.ContainsFunc(then, func(o Party) bool { return o.ID == p.ID && o.Role == p.Role })
		})
	}
	beyond := func(now, then []string) bool {
		return slices.ContainsFunc(now, func(c string) bool { return !slices.Contains(then, c) })
	}
	return unknown(n.Controllers, before.Controllers) || unknown(before.Controllers, n.Controllers) ||
		unknown(n.Recipients, before.Recipients) || n.Jurisdiction != before.Jurisdiction ||
		beyond(n.StorageLocations, before.StorageLocations) || beyond(n.ProcessingLocations, before.ProcessingLocations) ||
		beyond(n.Operations, before.Operations) || beyond(before.Rights, n.Rights) ||
		beyond(before.GeographicRestrictions, n.GeographicRestrictions) ||
		slices.ContainsFunc(purposes, func(p *Purpose) bool {
			version, told := before.Names(p.Key)
			return !told || !p.Covers(version)
		})
}
