package identifier

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
)

// What is wrong with an e-mail address or phone number.
var (
	// ErrEmail: not a plain e-mail address.
	ErrEmail = errs.New(errs.Invalid, "not an e-mail address: write name@example.com, without a display name")
	// ErrPhone: not a valid phone number.
	ErrPhone = errs.New(errs.Invalid, "not a valid phone number")
	// ErrPhoneRegion: a phone number without country code, and no region to read it by.
	ErrPhoneRegion = errs.New(errs.Invalid, "a phone number without country code needs a region")
	// ErrRegion: not a region that has phone numbers.
	ErrRegion = errs.New(errs.Invalid, "a region is an ISO 3166-1 alpha-2 code")
)

const (
	maxEmail     = 254 // bytes, RFC 5321 section 4.5.3.1.3 less the angle brackets
	maxLocalPart = 64  // bytes, RFC 5321 section 4.5.3.1.1
	maxDomain    = 253 // bytes without the final dot
	maxLabel     = 63
	maxExtension = 7 // digits
)

// Email normalises an e-mail address: a dot-atom of RFC 5322 before the @, a
// domain name of at least two labels after it. Both are put in lower case, the
// domain in its ASCII form (IDNA 2008). Display names, comments, quoted local
// parts and address literals are rejected; dots and "+tags" are kept, for what
// they mean is the mail host's affair.
func Email(v personal.Text) (Normal, error) {
	s := strings.TrimSpace(v.Reveal())
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsSpace) {
		return Normal{}, ErrEmail
	}
	s = norm.NFC.String(s)
	a, err := mail.ParseAddress(s)
	if err != nil || a.Name != "" || a.Address != s {
		return Normal{}, ErrEmail
	}
	at := strings.LastIndexByte(s, '@')
	local := norm.NFC.String(strings.ToLower(s[:at]))
	domain, err := idna.Lookup.ToASCII(s[at+1:])
	if err != nil || !validDomain(domain) || len(local) > maxLocalPart || len(local)+1+len(domain) > maxEmail {
		return Normal{}, ErrEmail
	}
	return Normal{Kind: KindEmail, Version: emailVersion, Value: personal.NewText(local + "@" + domain)}, nil
}

func validDomain(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > maxLabel {
			return false
		}
	}
	top := labels[len(labels)-1]
	return len(labels) > 1 && len(s) <= maxDomain && strings.Trim(top, "0123456789") != ""
}

// Phone normalises a phone number to E.164, with ";ext=" and the digits of an
// extension where it has one (RFC 3966). A number without country code is read
// as one of the region, an ISO 3166-1 alpha-2 code. Letters for digits, words
// around the number and numbers that nobody can have are rejected.
func Phone(v personal.Text, region string) (Normal, error) {
	if region != "" && (region != strings.ToUpper(region) || phonenumbers.GetCountryCodeForRegion(region) == 0) {
		return Normal{}, ErrRegion
	}
	s := strings.TrimSpace(norm.NFKC.String(v.Reveal()))
	s, extension := cutExtension(s)
	for _, r := range s {
		if !unicode.Is(unicode.Nd, r) && !strings.ContainsRune("+ -().,/\u2010\u2012\u2013", r) {
			return Normal{}, ErrPhone
		}
	}
	if region == "" && !strings.HasPrefix(s, "+") {
		return Normal{}, ErrPhoneRegion
	}
	n, err := phonenumbers.Parse(s, region)
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return Normal{}, ErrPhone
	}
	e164 := phonenumbers.Format(n, phonenumbers.E164)
	if extension != "" {
		e164 += ";ext=" + extension
	}
	return Normal{Kind: KindPhone, Version: phoneVersion, Value: personal.NewText(e164)}, nil
}

// cutExtension splits "… ext. 12", "… x12" or "…;ext=12" from a number.
func cutExtension(s string) (number, extension string) {
	head := strings.TrimRight(s, "0123456789")
	extension = s[len(head):]
	if extension == "" || len(extension) > maxExtension {
		return s, ""
	}
	head = strings.TrimRight(strings.ToLower(head), " ")
	for _, mark := range []string{";ext=", "ext.", "ext", "x"} {
		if number, ok := strings.CutSuffix(head, mark); ok {
			return strings.TrimRight(number, " ,"), extension
		}
	}
	return s, ""
}
