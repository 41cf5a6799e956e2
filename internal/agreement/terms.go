package agreement

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/vocabulary"
)

const (
	maxScope = 100
	maxLines = 200
)

// get returns the value of a field, "" of none.
func (b *Body) get(name string) string {
	for _, v := range b.Values {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// number returns the value of a field that is one, or another when it has none.
func (b *Body) number(name string, otherwise int) int {
	if n, err := strconv.Atoi(b.get(name)); err == nil {
		return n
	}
	return otherwise
}

// Authorised is how sub-processors are authorised, Art. 28(2).
func (b *Body) Authorised() string { return b.get(fieldAuthorisation) }

// NoticeDays is how many days before a change of sub-processors there is notice.
func (b *Body) NoticeDays() int { return b.number(fieldNotice, Validity) }

// values is the values of fields by name.
func (b *Body) values() map[string]string {
	all := make(map[string]string, len(b.Values))
	for _, v := range b.Values {
		all[v.Name] = v.Value
	}
	return all
}

// apply returns b's values and scope with changes, in the order of the template's
// fields; an empty value removes one.
func (b *Body) apply(t *Template, in []Value, scope *Scope) (Body, error) {
	all := b.values()
	for i, v := range in {
		at := "values." + strconv.Itoa(i)
		f := slices.IndexFunc(t.Fields, func(f letter.Field) bool { return f.Name == v.Name })
		if f < 0 {
			return Body{}, errs.New(errs.Invalid, "the template has no such field").At(at + ".name")
		}
		if slices.Contains(computed(), v.Name) {
			return Body{}, errs.New(errs.Invalid, "this follows from the scope, or is numbered by the platform").At(at + ".name")
		}
		value, err := checked(t.Fields[f], v.Value)
		if err != nil {
			return Body{}, errs.At(err, at+".value")
		}
		all[v.Name] = value
	}
	next := Body{Scope: b.Scope}
	if scope != nil {
		next.Scope = *scope
	}
	if err := next.Scope.check(); err != nil {
		return Body{}, err
	}
	for _, f := range t.Fields {
		if v := all[f.Name]; v != "" && !slices.Contains(computed(), f.Name) {
			next.Values = append(next.Values, Value{f.Name, v})
		}
	}
	return next, nil
}

// checked returns a value as it is kept, or why it doesn't fit its field.
func checked(f letter.Field, v string) (string, error) {
	v = strings.TrimSpace(strings.ReplaceAll(v, "\r\n", "\n"))
	switch {
	case v == "":
		return "", nil
	case !utf8.ValidString(v) || utf8.RuneCountInString(v) > maxValue || strings.ContainsFunc(v, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }):
		return "", errs.New(errs.Invalid, "a value is a text of at most %d characters", maxValue)
	case f.Name == fieldAuthorisation && v != "GENERAL" && v != "SPECIFIC":
		return "", errs.New(errs.Invalid, "sub-processors are authorised GENERAL or SPECIFIC (Art. 28(2))")
	case f.Name == fieldChoice && v != string(Return) && v != string(Delete):
		return "", errs.New(errs.Invalid, "data is to RETURN or to DELETE at the end (Art. 28(3)(g))")
	case f.Type == letter.TypeInteger && !regexp.MustCompile(`^(0|[1-9]\d{0,3})$`).MatchString(v):
		return "", errs.New(errs.Invalid, "this is a whole number of at most four digits")
	case f.Type == letter.TypeBlock && strings.Count(v, "\n") >= maxLines:
		return "", errs.New(errs.Invalid, "a list has at most %d lines", maxLines)
	case f.Type != letter.TypeBlock && strings.Contains(v, "\n"):
		return "", errs.New(errs.Invalid, "this is a text on one line")
	}
	return v, nil
}

// check reports what is wrong with a scope, and puts it in order.
func (s *Scope) check() error {
	classes := []dataset.Class{dataset.Ordinary, dataset.Confidential, dataset.NationalID, dataset.Art9, dataset.Art10}
	for _, c := range s.Classes {
		if !slices.Contains(classes, c) {
			return errs.New(errs.Invalid, "no such data class").At("scope.classes")
		}
	}
	for _, c := range s.Categories {
		if _, ok := vocabulary.Lookup(c); !ok {
			return errs.New(errs.Invalid, "a category is a term that the query vocabulary answers").At("scope.categories")
		}
	}
	for _, c := range s.Countries {
		if r, err := language.ParseRegion(c); err != nil || r.String() != c || !r.IsCountry() {
			return errs.New(errs.Invalid, "a country is an ISO 3166-1 alpha-2 code in capitals, as in DK").At("scope.countries")
		}
	}
	if len(s.Categories) > maxScope || len(s.Countries) > maxScope {
		return errs.New(errs.Invalid, "a scope has at most %d of each", maxScope).At("scope")
	}
	s.Classes, s.Categories, s.Countries = ordered(s.Classes), ordered(s.Categories), ordered(s.Countries)
	return nil
}

func ordered[T ~string](list []T) []T {
	list = append([]T{}, list...)
	slices.Sort(list)
	return slices.Compact(list)
}

func joined[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = string(s)
	}
	return strings.Join(texts, ",")
}

// flat is b as a map, to compare.
func (b *Body) flat() map[string]string {
	all := b.values()
	all["scope.classes"], all["scope.categories"], all["scope.countries"] = joined(b.Scope.Classes), joined(b.Scope.Categories), joined(b.Scope.Countries)
	return all
}

// differences returns the fields by which after differs from before, by name.
func differences(before, after *Body) []Difference {
	a, b := before.flat(), after.flat()
	names := maps.Clone(a)
	maps.Copy(names, b)
	var all []Difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a[name] != b[name] {
			all = append(all, Difference{name, a[name], b[name]})
		}
	}
	return all
}

// write gives a version its text and hash, or the names of what it lacks. words are
// those of the version's language.
func (r *Revision) write(t *Template, words map[string]string, number string, zone *time.Location) error {
	r.Text, r.SHA256, r.Missing = "", nil, nil
	if t.Digest != nil {
		r.TemplateVersion, r.TemplateDigest = t.Version, *t.Digest
	}
	values := r.values()
	values["agreement.number"], values["agreement.version"] = number, strconv.FormatInt(r.Number, 10)
	values[fieldTypes], values[fieldPlaces] = r.Scope.types(words, r.Language), strings.ReplaceAll(words[fieldPlaces], "{countries}", r.Scope.places(r.Language))
	form := choose(*t.form, values)
	fields := letter.Fields{}
	for _, f := range t.Fields {
		v := strings.TrimSpace(values[f.Name])
		if v == "" {
			if f.Required || f.Name == fieldFormat && values[fieldChoice] == string(Return) {
				r.Missing = append(r.Missing, f.Name)
			}
			continue
		}
		if slices.ContainsFunc(form.Fields, func(g letter.Field) bool { return g.Name == f.Name }) {
			fields[f.Name] = field(f, v)
		}
	}
	if len(r.Missing) > 0 || !t.HasText() {
		return nil
	}
	d, err := form.Document(fields, zone)
	if err != nil {
		return errs.At(err, "values")
	}
	d.Language = r.Language
	var text strings.Builder
	if err := paper.Markdown(&text, d); err != nil {
		return err
	}
	r.Text = text.String()
	sum := sha256.Sum256([]byte(r.Text))
	digest := hex.EncodeToString(sum[:])
	r.SHA256 = &digest
	return nil
}

// field returns a value as letters take it.
func field(f letter.Field, v string) letter.Value {
	switch {
	case f.Type == letter.TypeInteger:
		n, _ := strconv.ParseInt(v, 10, 64) // as it was checked
		return letter.Integer(n)
	case f.Type == letter.TypeBlock && strings.HasSuffix(f.Name, "Rows"):
		var rows [][]string
		for line := range strings.Lines(v) {
			cells := strings.Split(strings.TrimSpace(line), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
		return letter.Rows(rows...)
	case f.Type == letter.TypeBlock:
		return letter.Items(strings.Split(v, "\n")...)
	default:
		return letter.Text(v)
	}
}

// types says what kinds of data are in scope, one on each line.
func (s *Scope) types(words map[string]string, tag string) string {
	var lines []string
	for _, c := range s.Classes {
		lines = append(lines, words["class."+string(c)])
	}
	for _, c := range s.Categories {
		if term, ok := vocabulary.Lookup(c); ok {
			lines = append(lines, term.Label(tag)+" ("+c+")")
		}
	}
	return strings.Join(lines, "\n")
}

// places names the countries in scope.
func (s *Scope) places(tag string) string {
	namer := display.Regions(language.Make(tag))
	names := make([]string, len(s.Countries))
	for i, c := range s.Countries {
		r, err := language.ParseRegion(c)
		if err != nil {
			continue // it was checked
		}
		names[i] = namer.Name(r)
	}
	return strings.Join(names, ", ")
}
