package identifier

import (
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
)

// What is wrong with a national id or register number.
var (
	// ErrNationalID: not a national id.
	ErrNationalID = errs.New(errs.Invalid, "a national id is 4 to 32 letters and digits")
	// ErrCountry: a national id without a country.
	ErrCountry = errs.New(errs.Invalid, "a national id needs its country, an ISO 3166-1 alpha-2 code")
	// ErrScheme: not the name of a scheme.
	ErrScheme = errs.New(errs.Invalid, "a scheme of national ids is up to 16 capital letters and digits")
	// ErrCPR: not a CPR number.
	ErrCPR = errs.New(errs.Invalid, "not a CPR number: ten digits that begin with a date that exists")
	// ErrCVR: not a CVR number.
	ErrCVR = errs.New(errs.Invalid, "not a CVR number: eight digits with a valid check digit")
)

const (
	minNationalID = 4
	maxNationalID = 32
	maxScheme     = 16

	schemeCPR = "CPR"
	schemeAny = "ID"
)

// NationalID normalises a national id to country, scheme and cleaned value. The
// country is an ISO 3166-1 alpha-2 code; scheme "" means the country's principal
// one. A Danish CPR number is checked as ParseCPR does. Of all others only the
// writing is evened out: spaces, dots, hyphens and slashes go, letters become
// capitals, the "+" that tells the century in Sweden and Finland stays. Their
// check digits are not judged: schemes change, and a wrong rejection shuts a
// person out.
func NationalID(v personal.Text, country, scheme string) (Normal, error) {
	region, err := language.ParseRegion(country)
	if err != nil || region.String() != country || !region.IsCountry() {
		return Normal{}, ErrCountry
	}
	if len(scheme) > maxScheme || strings.Trim(scheme, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return Normal{}, ErrScheme
	}
	if country == "DK" && (scheme == "" || scheme == schemeCPR) {
		c, err := ParseCPR(v)
		if err != nil {
			return Normal{}, err
		}
		return Normal{Kind: KindNationalID, Version: nationalIDVersion, Value: personal.NewText(country + ":" + schemeCPR + ":" + c.digits.Reveal())}, nil
	}
	if scheme == "" {
		scheme = schemeAny
	}
	s := strings.ToUpper(norm.NFKC.String(v.Reveal()))
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" .-/\u2010", r) {
			return -1
		}
		return r
	}, s)
	if len(s) < minNationalID || len(s) > maxNationalID || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+") != "" {
		return Normal{}, ErrNationalID
	}
	return Normal{Kind: KindNationalID, Version: nationalIDVersion, Value: personal.NewText(country + ":" + scheme + ":" + s)}, nil
}

// CPR is a Danish personal number (DOMAIN section 12), made by ParseCPR only.
type CPR struct{ digits personal.Text }

// ParseCPR reads a CPR number, DDMMYYSSSS or DDMMYY-SSSS. It checks the form and
// that the date exists in the century that the seventh digit gives. Modulus 11
// is not required: valid numbers without it are issued since 1 October 2007.
func ParseCPR(v personal.Text) (CPR, error) {
	s := strings.TrimSpace(v.Reveal())
	if len(s) == 11 && (s[6] == '-' || s[6] == ' ') {
		s = s[:6] + s[7:]
	}
	if len(s) != 10 || strings.Trim(s, "0123456789") != "" {
		return CPR{}, ErrCPR
	}
	c := CPR{digits: personal.NewText(s)}
	if _, err := civil.Parse(c.BirthDate().String()); err != nil {
		return CPR{}, ErrCPR
	}
	return c, nil
}

// Century returns the year that a CPR number's year of two digits means with
// its seventh digit: 1858 to 2057. Both are taken modulo their range.
func Century(digit7, yy int) int {
	digit7, yy = digit7%10, yy%100
	switch {
	case digit7 <= 3:
		return 1900 + yy
	case digit7 == 4 || digit7 == 9:
		if yy <= 36 {
			return 2000 + yy
		}
		return 1900 + yy
	case yy <= 57:
		return 2000 + yy
	}
	return 1800 + yy
}

// BirthDate returns the date of birth that the number says.
func (c CPR) BirthDate() civil.Date {
	s := c.digits.Reveal()
	return civil.Date{Year: Century(int(s[6]-'0'), number(s[4:6])), Month: time.Month(number(s[2:4])), Day: number(s[:2])}
}

// Plausible reports whether the birth date is not after today. A number that
// isn't plausible is well formed all the same.
func (c CPR) Plausible(today civil.Date) bool { return !today.Before(c.BirthDate()) }

// Modulus11 reports whether the number has the old check digit. It is for
// information: a number without it is as valid.
func (c CPR) Modulus11() bool { return checked(c.digits.Reveal(), 4, 3, 2, 7, 6, 5, 4, 3, 2, 1) }

// Masked returns the number as it may be shown, DDMMYY-****.
func (c CPR) Masked() personal.Text { return personal.NewText(c.digits.Reveal()[:6] + "-****") }

// Mask returns a national id as it may be shown to whoever may not see it: a CPR
// number as CPR.Masked has it, nothing of any other, whose parts have no meaning
// that is known here.
func Mask(v personal.Text) personal.Text {
	if c, err := ParseCPR(v); err == nil {
		return c.Masked()
	}
	return personal.NewText("****")
}

// CVR normalises a Danish company number: eight digits, not beginning with 0,
// with a valid check digit (DOMAIN section 12), also when written as a VAT
// number, DK and the digits. It can be a sole trader's personal data.
func CVR(v personal.Text) (Normal, error) {
	s := strings.ReplaceAll(strings.TrimSpace(v.Reveal()), " ", "")
	s = strings.TrimPrefix(s, "DK")
	if len(s) != 8 || strings.Trim(s, "0123456789") != "" || s[0] == '0' || !checked(s, 2, 7, 6, 5, 4, 3, 2, 1) {
		return Normal{}, ErrCVR
	}
	return Normal{Kind: KindCVR, Version: cvrVersion, Value: personal.NewText(s)}, nil
}

// checked reports whether the weighted sum of the digits is divisible by 11.
func checked(digits string, weights ...int) bool {
	sum := 0
	for i, w := range weights {
		sum += w * int(digits[i]-'0')
	}
	return sum%11 == 0
}

// number returns the value of two digits.
func number(s string) int { return int(s[0]-'0')*10 + int(s[1]-'0') }
