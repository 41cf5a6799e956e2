package identifier_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/personal"
)

// check compares a normaliser's outcome with want; "" wants a rejection, whose
// error holds nothing of the input.
func check(t *testing.T, input string, got identifier.Normal, err error, kind identifier.Kind, want string) {
	t.Helper()
	if want == "" {
		if errs.KindOf(err) != errs.Invalid {
			t.Errorf("%q: got %q, %v; want a rejection", input, got.Value.Reveal(), err)
		} else if len(input) > 3 && strings.Contains(err.Error(), strings.TrimSpace(input)) {
			t.Errorf("%q: the error shows the value: %v", input, err)
		}
		return
	}
	if err != nil || got.Value.Reveal() != want || got.Kind != kind || got.Version != 1 {
		t.Errorf("%q: got %s %d %q, %v; want %q", input, got.Kind, got.Version, got.Value.Reveal(), err, want)
	}
}

func TestEmail(t *testing.T) {
	for input, want := range map[string]string{
		"anna@example.com":                            "anna@example.com",
		"  Anna.Berg@Example.COM\n":                   "anna.berg@example.com",
		"anna+shop@example.com":                       "anna+shop@example.com",
		"a.n.n.a@example.com":                         "a.n.n.a@example.com",
		"anna@BLÅBÆRGRØD.dk":                          "anna@xn--blbrgrd-fxak7p.dk",
		"anna@xn--blbrgrd-fxak7p.dk":                  "anna@xn--blbrgrd-fxak7p.dk",
		"sØren@example.dk":                            "søren@example.dk",
		"A\u030asa@example.dk":                        "åsa@example.dk",
		"o'brien@example.ie":                          "o'brien@example.ie",
		"":                                            "",
		"anna":                                        "",
		"anna@":                                       "",
		"@example.org":                                "",
		"anna@example":                                "",
		"anna@localhost":                              "",
		"anna@example.com.":                           "",
		"anna@example..com":                           "",
		"anna@.example.com":                           "",
		"anna@-example.com":                           "",
		"anna@exam_ple.com":                           "",
		"anna@[192.0.2.1]":                            "",
		"anna@192.0.2.1":                              "",
		"anna@@example.com":                           "",
		"an na@example.com":                           "",
		"anna@exam ple.com":                           "",
		".anna@example.com":                           "",
		"an..na@example.com":                          "",
		`"anna berg"@example.com`:                     "",
		`"anna"@example.com`:                          "",
		"Anna <anna@example.com>":                     "",
		"<anna@example.com>":                          "",
		"anna@example.com (home)":                     "",
		"anna@example.com, b@x.com":                   "",
		"anna@example.com\x00":                        "",
		"anna\xff@example.com":                        "",
		strings.Repeat("a", 65) + "@x.dk":             "",
		"a@" + strings.Repeat("a", 64) + ".dk":        "",
		"a@" + strings.Repeat("abcdefgh.", 28) + "dk": "",
		strings.Repeat("a", 64) + "@x.dk":             strings.Repeat("a", 64) + "@x.dk",
		"a@" + strings.Repeat("abcdefgh.", 27) + "abcd.dk": "a@" + strings.Repeat("abcdefgh.", 27) + "abcd.dk",
	} {
		got, err := identifier.Email(personal.NewText(input))
		check(t, input, got, err, identifier.KindEmail, want)
	}
}

func TestPhone(t *testing.T) {
	for _, tt := range []struct{ input, region, want string }{
		{"+45 33 92 33 92", "", "+4533923392"},
		{"+45 33 92 33 92", "US", "+4533923392"},
		{"33 92 33 92", "DK", "+4533923392"},
		{"33.92-33/92", "DK", "+4533923392"},
		{"0045 33923392", "DK", "+4533923392"},
		{"\uff0b45 \uff13\uff13923392", "", "+4533923392"},
		{"33\u00a092\u202f33 92", "DK", "+4533923392"},
		{"202-224-3441", "US", "+12022243441"},
		{"(202) 224-3441", "US", "+12022243441"},
		{"1-202-224-3441", "US", "+12022243441"},
		{"08-505 290 00", "SE", "+46850529000"},
		{"+39 06 6982", "", "+39066982"},
		{"202-224-3441 ext. 12", "US", "+12022243441;ext=12"},
		{"202-224-3441 x12", "US", "+12022243441;ext=12"},
		{"+1-202-224-3441;ext=12", "", "+12022243441;ext=12"},
		{"202-224-3441, ext 0012", "US", "+12022243441;ext=0012"},
		{"33 92 33 92", "", ""},
		{"33 92 33 92", "dk", ""},
		{"33 92 33 92", "XX", ""},
		{"33 92 33 92", "Denmark", ""},
		{"+45 33 92 33", "", ""},
		{"+45 33 92 33 92 33 92", "", ""},
		{"+45 00 00 00 00", "", ""},
		{"+999 33 92 33 92", "", ""},
		{"112", "DK", ""},
		{"1-800-FLOWERS", "US", ""},
		{"call 202-224-3441", "US", ""},
		{"202-224-3441 or 202-224-3442", "US", ""},
		{"202-224-3441 x12345678", "US", ""},
		{"tel:+4533923392", "", ""},
		{"", "DK", ""},
		{"+", "DK", ""},
		{"\xff33923392", "DK", ""},
		{strings.Repeat("3", 1000), "DK", ""},
	} {
		got, err := identifier.Phone(personal.NewText(tt.input), tt.region)
		check(t, tt.input, got, err, identifier.KindPhone, tt.want)
	}
}

// The vectors of DOMAIN section 12: nobody has a birth date in 2036 yet.
func TestCPR(t *testing.T) {
	for input, want := range map[string]struct {
		ok, modulus11 bool
		born          string
	}{
		"010136-4003":  {true, true, "2036-01-01"},
		"0101364003":   {true, true, "2036-01-01"},
		"010136 4003":  {true, true, "2036-01-01"},
		" 010136-4003": {true, true, "2036-01-01"},
		"010136-4001":  {true, false, "2036-01-01"},
		"290236-4001":  {true, false, "2036-02-29"},
		"310236-4001":  {},
		"010036-4001":  {},
		"011336-4001":  {},
		"000136-4001":  {},
		"610136-4001":  {}, // day + 60: an administrative number
		"010136-400A":  {},
		"010136-40011": {},
		"010136-400":   {},
		"01013-64001":  {},
		"010136--4001": {},
		"":             {},
		"٠١٠١٣٦٤٠٠٣":   {},
	} {
		c, err := identifier.ParseCPR(personal.NewText(input))
		if !want.ok {
			if errs.KindOf(err) != errs.Invalid || (len(input) > 3 && strings.Contains(err.Error(), input)) {
				t.Errorf("%q: %v", input, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", input, err)
			continue
		}
		if c.BirthDate().String() != want.born || c.Modulus11() != want.modulus11 {
			t.Errorf("%q: born %s, modulus 11 %t", input, c.BirthDate(), c.Modulus11())
		}
		if got := c.Masked().Reveal(); got != strings.TrimSpace(input)[:6]+"-****" {
			t.Errorf("%q: masked %q", input, got)
		}
		eve, day := civil.Date{Year: 2035, Month: time.December, Day: 31}, civil.Date{Year: 2036, Month: time.March, Day: 1}
		if c.Plausible(eve) || !c.Plausible(day) || !c.Plausible(c.BirthDate()) {
			t.Errorf("%q: plausibility", input)
		}
	}
}

func TestCentury(t *testing.T) {
	for in, want := range map[[2]int]int{
		{0, 0}: 1900, {3, 99}: 1999, {4, 36}: 2036, {4, 37}: 1937, {5, 57}: 2057, {5, 58}: 1858, {8, 0}: 2000, {9, 36}: 2036, {9, 37}: 1937,
		{1, 50}: 1950, {4, 0}: 2000, {9, 99}: 1999, {6, 57}: 2057, {7, 58}: 1858, {8, 99}: 1899,
	} {
		if got := identifier.Century(in[0], in[1]); got != want {
			t.Errorf("century of digit %d, year %02d: %d, want %d", in[0], in[1], got, want)
		}
	}
	// The leap day is checked in the derived century.
	for in, want := range map[[2]int]bool{{0, 0}: false, {4, 0}: true, {4, 35}: false, {4, 36}: true} {
		year := identifier.Century(in[0], in[1])
		if _, err := civil.Parse(civil.Date{Year: year, Month: time.February, Day: 29}.String()); (err == nil) != want {
			t.Errorf("29 February with digit %d, year %02d: %v", in[0], in[1], err)
		}
	}
}

func TestNationalID(t *testing.T) {
	for _, tt := range []struct{ input, country, scheme, want string }{
		{"010136-4003", "DK", "", "DK:CPR:0101364003"},
		{"0101364001", "DK", "CPR", "DK:CPR:0101364001"},
		{"310236-4001", "DK", "", ""},
		{"310236-4001", "DK", "CPR", ""},
		{"610136-4001", "DK", "ADM", "DK:ADM:6101364001"},
		{"360101-0017", "SE", "", "SE:ID:3601010017"},
		{"360101+0017", "SE", "", "SE:ID:360101+0017"},
		{"010136a123x", "FI", "HETU", "FI:HETU:010136A123X"},
		{"12.34.56-789.01", "BE", "", "BE:ID:12345678901"},
		{"\uff11\uff12345678", "NL", "BSN", "NL:BSN:12345678"},
		{"123", "SE", "", ""},
		{strings.Repeat("1", 33), "SE", "", ""},
		{"12345/æ", "SE", "", ""},
		{"1234\x005", "SE", "", ""},
		{"1234\xff5", "SE", "", ""},
		{"12345678", "", "", ""},
		{"12345678", "dk", "", ""},
		{"12345678", "DNK", "", ""},
		{"12345678", "ZZ", "", ""},
		{"12345678", "EU", "", ""},
		{"12345678", "SE", "a b", ""},
		{"12345678", "SE", strings.Repeat("A", 17), ""},
		{"", "SE", "", ""},
	} {
		got, err := identifier.NationalID(personal.NewText(tt.input), tt.country, tt.scheme)
		check(t, tt.input, got, err, identifier.KindNationalID, tt.want)
	}
}

func TestCVR(t *testing.T) {
	for input, want := range map[string]string{
		"10008123": "10008123", "13585628": "13585628", "35862056": "35862056", "DK35862056": "35862056", " 35 86 20 56 ": "35862056",
		"12345678": "", "35862057": "", "00000000": "", "0358620": "", "358620560": "", "3586205": "", "3586205A": "", "": "", "SE35862056": "",
	} {
		got, err := identifier.CVR(personal.NewText(input))
		check(t, input, got, err, identifier.KindCVR, want)
	}
}

func TestReferenceAndText(t *testing.T) {
	for input, want := range map[string]string{
		"C000127": "C000127", " c000127\t": "c000127", "A  B": "A  B", "A\u030a1": "Å1", "ﬁ": "ﬁ",
		strings.Repeat("å", 200): strings.Repeat("å", 200),
		"":                       "", "  ": "", "a\x00b": "", "a\nb": "", "a\u200bb": "", "a\u2028b": "", "a\xff": "",
	} {
		got, err := identifier.Reference(personal.NewText(input))
		check(t, input, got, err, identifier.KindReference, want)
		got, err = identifier.Text(personal.NewText(input))
		check(t, input, got, err, identifier.KindText, want)
	}
	for n, want := range map[int][2]bool{201: {false, true}, 1000: {false, true}, 1001: {false, false}} {
		v := personal.NewText(strings.Repeat("å", n))
		_, refErr := identifier.Reference(v)
		_, textErr := identifier.Text(v)
		if (refErr == nil) != want[0] || (textErr == nil) != want[1] {
			t.Errorf("%d characters: reference %v, text %v", n, refErr, textErr)
		}
	}
}

func TestNameAndBirthDate(t *testing.T) {
	born := civil.Date{Year: 2036, Month: time.January, Day: 2}
	for _, same := range [][]string{
		{"Müller", "MÜLLER", "mu\u0308ller", "  Müller ", "Mü\u200dller"},
		{"Jens Øster", "JENS  ØSTER", "jens\u00a0øster", "Jens\tØster"},
		{"Strauß", "STRAUSS", "strauss", "STRAUẞ"},
		{"O'Brien", "O’BRIEN", "o‘brien", "OʼBrien"},
		{"Anne-Marie", "ANNE‐MARIE", "Anne–Marie", "anne\u2011marie"},
		{"ﬁnn", "FINN", "Ｆinn"},
		{"Σίσυφος", "ΣΊΣΥΦΟΣ"},
		{"ᾳ", "ΑΙ", "αι"},
		{"李 小龙", "李　小龙"},
	} {
		var first string
		for i, name := range same {
			got, err := identifier.NameAndBirthDate(personal.NewText(name), born)
			if err != nil || got.Kind != identifier.KindNameAndBirthDate || got.Version != 1 {
				t.Errorf("%q: %v", name, err)
				continue
			}
			if i == 0 {
				first = got.Value.Reveal()
			}
			if s := got.Value.Reveal(); s != first {
				t.Errorf("%q becomes %q, %q becomes %q", name, s, same[0], first)
			}
			again, err := identifier.NameAndBirthDate(personal.NewText(strings.TrimPrefix(got.Value.Reveal(), born.String()+" ")), born)
			if err != nil || !again.Value.Equal(got.Value) {
				t.Errorf("%q: normalising again gives something else", name)
			}
		}
	}
	seen := map[string]string{}
	for _, name := range []string{"Müller", "Muller", "Mueller", "Møller", "Moller", "Åse Berg", "Ase Berg", "Berg Åse", "Å. Berg", "Ann-Marie", "Ann Marie"} {
		got, err := identifier.NameAndBirthDate(personal.NewText(name), born)
		if err != nil {
			t.Fatal(err)
		}
		if other, dup := seen[got.Value.Reveal()]; dup {
			t.Errorf("%q and %q pass for one name", name, other)
		}
		seen[got.Value.Reveal()] = name
	}
	if got, err := identifier.NameAndBirthDate(personal.NewText("Åse Berg"), born); err != nil || got.Value.Reveal() != "2036-01-02 åse berg" {
		t.Errorf("%q, %v", got.Value.Reveal(), err)
	}
	for _, name := range []string{"", " ", "123", "-", "a\x00b", "a\u0085\x07b", "a\xff", strings.Repeat("a", 201)} {
		got, err := identifier.NameAndBirthDate(personal.NewText(name), born)
		check(t, name, got, err, "", "")
	}
	for _, date := range []civil.Date{
		{}, {Year: 2035, Month: 2, Day: 29}, {Year: 2036, Month: 13, Day: 1}, {Year: 2036, Month: 1}, {Year: 1849, Month: 12, Day: 31}, {Year: 20360, Month: 1, Day: 1},
	} {
		if _, err := identifier.NameAndBirthDate(personal.NewText("Åse Berg"), date); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", date, err)
		}
	}
}

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		kind                 identifier.Kind
		input, country, want string
	}{
		{identifier.KindEmail, "A@example.com", "", "a@example.com"},
		{identifier.KindPhone, "33923392", "DK", "+4533923392"},
		{identifier.KindNationalID, "010136-4003", "DK", "DK:CPR:0101364003"},
		{identifier.KindCVR, "DK35862056", "", "35862056"},
		{identifier.KindReference, " x ", "", "x"},
		{identifier.KindText, " x ", "", "x"},
		{identifier.KindNameAndBirthDate, "Åse Berg", "", ""},
		{"OTHER", "x", "", ""},
	} {
		got, err := identifier.Of(tt.kind, personal.NewText(tt.input), tt.country)
		check(t, tt.input, got, err, tt.kind, tt.want)
	}
}

// FuzzIdempotent: a normal form is its own normal form.
func FuzzIdempotent(f *testing.F) {
	for _, s := range []string{"Anna.Berg@Example.COM", "33 92 33 92", "202-224-3441 x12", "010136-4003", "DK35862056", " Å ", "STRAUẞ", "\u1e9b\u0323", "İ"} {
		f.Add(s)
	}
	kinds := []identifier.Kind{identifier.KindEmail, identifier.KindPhone, identifier.KindCVR, identifier.KindReference, identifier.KindText}
	born := civil.Date{Year: 2036, Month: time.January, Day: 2}
	f.Fuzz(func(t *testing.T, s string) {
		for _, kind := range kinds {
			got, err := identifier.Of(kind, personal.NewText(s), "DK")
			if err != nil {
				continue
			}
			if again, err := identifier.Of(kind, got.Value, "DK"); err != nil || !again.Value.Equal(got.Value) {
				t.Errorf("%s of %q: %q becomes %q, %v", kind, s, got.Value.Reveal(), again.Value.Reveal(), err)
			}
		}
		if got, err := identifier.NameAndBirthDate(personal.NewText(s), born); err == nil {
			name := strings.TrimPrefix(got.Value.Reveal(), born.String()+" ")
			if again, err := identifier.NameAndBirthDate(personal.NewText(name), born); err != nil || !again.Value.Equal(got.Value) {
				t.Errorf("name of %q: %q becomes %q, %v", s, name, again.Value.Reveal(), err)
			}
		}
	})
}
