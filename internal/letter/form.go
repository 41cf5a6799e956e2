// Package letter has the letters that the platform writes for a controller: 34
// forms in Danish and English, with the fields that each declares, and the
// phrases that fill them (DOMAIN §2).
//
// A form is Markdown with placeholders, {{case.number}}. It is read once; values
// are then put into what was read, never into Markdown: whatever a value says, it
// stays text. A required field without a value stops the letter; what an optional
// one without a value stands in goes, as does a heading with nothing left under it.
//
// A tenant may put a text of its own in place of a form's, which another person
// approves (see Service). It has the same fields.
//
//	l, err := letters.Render(ctx, "acknowledgement", "da", letter.Fields{
//		"case.number":         letter.Text("S-2026-17"),
//		"case.receivedDate":   letter.Date(received),
//		"case.itemList":       letter.Items("indsigt", "sletning"),
//		"recipient.salutation": letter.Text("Kære Anna Jensen,"),
//		…
//	})
//	// l.Subject, l.Text, l.HTML, l.Markdown, l.PDF(w); l.From says which text it was.
package letter

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/paper"
)

// content has content/LANGUAGE/FORM.md: the letters, and files of lines "id: text".
//
//go:embed content
var content embed.FS

// Type is what a field holds, and so how it is written.
type Type string

// The types.
const (
	TypeText    Type = "TEXT"
	TypeDate    Type = "DATE"    // "7. april 2026", "7 April 2026"
	TypeInstant Type = "INSTANT" // in the tenant's zone: "12. juni 2026 kl. 15.20", "12 June 2026 at 15:20"
	TypeInteger Type = "INTEGER"
	TypeURL     Type = "URL"
	TypeBlock   Type = "BLOCK" // a list, rows of a table, or paragraphs; within a sentence, a phrase with commas
)

// Audience is who a letter is for.
type Audience string

// The audiences.
const (
	DataSubject Audience = "DATA_SUBJECT"
	Recipient   Audience = "RECIPIENT"
)

// Field is what a form declares.
type Field struct {
	Name     string
	Type     Type
	Required bool
}

// Form is a letter in one language, as the platform has it.
type Form struct {
	Letter     string // "acknowledgement"
	Language   string // paper.Danish or paper.English
	Version    int64
	Audience   Audience
	LegalBasis []string
	Fields     []Field
	// Requires are the conditions to be met before it is sent, for who sends it.
	Requires []string
	Title    string // with its placeholders; the subject of a mail
	Source   string // in Markdown
	Digest   string // SHA-256 of Source, in hexadecimal

	text     paper.Document
	rows     map[string]int // fields that are rows of a table: of how many columns
	remedies bool           // it tells of the courts (GDPR Art. 79)
}

// Sentinels.
var (
	ErrUnknown = errs.New(errs.NotFound, "there is no such letter")
	// ErrField reports a value that doesn't fit the form.
	ErrField = errs.New(errs.Invalid, "a value doesn't fit the letter")
	// ErrMissing reports a required field without a value.
	ErrMissing = errs.New(errs.Precondition, "the letter lacks what it must say")
	// ErrSource reports a tenant's text that can't stand in place of a form's.
	ErrSource = errs.New(errs.Invalid, "the text can't stand in place of the platform's")
)

// lineFiles have lines instead of a letter.
func lineFiles() []string { return []string{"phrases", "privacy-centre"} }

// Languages returns the languages that there are forms in.
func Languages() []string { return []string{paper.Danish, paper.English} }

// Language returns the language of forms for a BCP 47 tag: Danish for "da" and
// "da-DK", English for any other.
func Language(tag string) string {
	if base, _, _ := strings.Cut(strings.ToLower(tag), "-"); base == paper.Danish {
		return paper.Danish
	}
	return paper.English
}

// Library has all forms and lines.
type Library struct {
	forms map[string]*Form // by letter and language
	lines map[string]lines // by file and language
}

// NewLibrary reads the forms. An error is a fault of ours.
func NewLibrary() (*Library, error) {
	l := &Library{forms: map[string]*Form{}, lines: map[string]lines{}}
	for _, language := range Languages() {
		files, err := content.ReadDir(path.Join("content", language))
		if err != nil {
			return nil, fmt.Errorf("list letters: %w", err)
		}
		for _, f := range files {
			b, err := content.ReadFile(path.Join("content", language, f.Name()))
			if err != nil {
				return nil, fmt.Errorf("read letter: %w", err)
			}
			form, err := parse(string(b))
			if err == nil && slices.Contains(lineFiles(), form.Letter) {
				l.lines[form.Letter+"/"+language], err = form.lines()
			} else if err == nil {
				err = form.read()
				l.forms[form.Letter+"/"+language] = form
			}
			if err != nil {
				return nil, fmt.Errorf("letter %s in %s: %w", f.Name(), language, err)
			}
		}
	}
	return l, nil
}

// Forms returns all forms, by letter and then language.
func (l *Library) Forms() []*Form {
	forms := make([]*Form, 0, len(l.forms))
	for _, key := range slices.Sorted(maps.Keys(l.forms)) {
		forms = append(forms, l.forms[key])
	}
	return forms
}

// Form returns a letter in the language of a tag (see Language), or ErrUnknown.
func (l *Library) Form(letter, language string) (*Form, error) {
	f, ok := l.forms[letter+"/"+Language(language)]
	if !ok {
		return nil, ErrUnknown
	}
	return f, nil
}

// parse reads a file's head.
func parse(file string) (*Form, error) {
	_, rest, ok := strings.Cut(file, "---\n")
	head, body, found := strings.Cut(rest, "\n---\n")
	if !ok || !found {
		return nil, fmt.Errorf("%w: no head", errForm)
	}
	var meta struct {
		ID         string   `yaml:"id"`
		Version    int64    `yaml:"version"`
		Language   string   `yaml:"language"`
		Audience   Audience `yaml:"audience"`
		LegalBasis []string `yaml:"legalBasis"`
		Fields     []struct {
			Name     string `yaml:"name"`
			Type     string `yaml:"type"`
			Required bool   `yaml:"required"`
		} `yaml:"fields"`
		Requires []string `yaml:"requires"`
	}
	d := yaml.NewDecoder(strings.NewReader(head))
	d.KnownFields(true)
	if err := d.Decode(&meta); err != nil {
		return nil, fmt.Errorf("read head: %w", err)
	}
	f := &Form{
		Letter: meta.ID, Language: meta.Language, Version: meta.Version, Audience: meta.Audience,
		LegalBasis: meta.LegalBasis, Requires: meta.Requires, Source: strings.TrimSpace(body) + "\n",
	}
	for _, field := range meta.Fields {
		f.Fields = append(f.Fields, Field{Name: field.Name, Type: Type(strings.ToUpper(field.Type)), Required: field.Required})
	}
	return f, nil
}

// errForm reports a form of the platform's that breaks its own rules.
var errForm = errs.New(errs.Internal, "a form breaks its rules")

// placeholder is the only thing that is replaced in a form.
func placeholder() *regexp.Regexp { return regexp.MustCompile(`\{\{\s*([A-Za-z][\w.]*)\s*\}\}`) }

func digest(source string) string {
	sum := sha256.Sum256([]byte(source))
	return hex.EncodeToString(sum[:])
}

// read reads the source and sees that it goes with the fields. It fails with
// ErrSource or paper.ErrMarkdown.
func (f *Form) read() error {
	text, err := paper.FromMarkdown(f.Source)
	if err != nil {
		return err
	}
	if text.Title == "" {
		return unfit("it begins with no heading, which is the subject")
	}
	f.text = text
	used, err := f.placeholders()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if f.field(name) == nil {
			return unfit("it has {{%s}}, which the letter doesn't declare", name)
		}
	}
	for _, field := range f.Fields {
		if field.Required && used[field.Name] == 0 {
			return unfit("it lacks {{%s}}, which the letter must say", field.Name)
		}
	}
	for _, m := range placeholder().FindAllStringSubmatch(text.Title, -1) {
		if field := f.field(m[1]); !field.Required || field.Type == TypeBlock {
			return unfit("{{%s}} can't stand in the subject", m[1])
		}
	}
	f.text.Language = f.Language
	f.Title, f.Digest = text.Title, digest(f.Source)
	f.remedies = regexp.MustCompile(`artikel 79|Article 79`).MatchString(f.Source)
	return f.shape(used)
}

// placeholders counts the placeholders of each field.
func (f *Form) placeholders() (map[string]int, error) {
	used := map[string]int{}
	fault := error(nil)
	look := func(text string) {
		found := placeholder().FindAllStringSubmatch(text, -1)
		for _, m := range found {
			used[m[1]]++
		}
		if strings.Count(text, "{{") != len(found) || strings.Count(text, "}}") != len(found) {
			fault = unfit("a placeholder is written {{name}}, and nothing else may be within {{ }}")
		}
	}
	spans := func(spans []paper.Span) {
		for _, s := range spans {
			look(s.Text)
		}
	}
	var list func(l *paper.List)
	list = func(l *paper.List) {
		for _, i := range l.Items {
			spans(i.Text)
			if i.List != nil {
				list(i.List)
			}
		}
	}
	look(f.text.Title)
	for _, b := range f.text.Body {
		switch b := b.(type) {
		case paper.Heading:
			spans(b.Text)
		case paper.Paragraph:
			spans(b.Text)
		case paper.List:
			list(&b)
		case paper.Table:
			for _, c := range b.Columns {
				if strings.Contains(c.Header, "{{") {
					fault = unfit("a placeholder can't stand in the header of a table")
				}
			}
			for _, row := range b.Rows {
				for _, c := range row {
					spans(c)
				}
			}
		default:
			fault = unfit("it may only have headings, paragraphs, lists and tables")
		}
	}
	return used, fault
}

// shape notes which fields are rows of a table.
func (f *Form) shape(used map[string]int) error {
	f.rows = map[string]int{}
	whole := map[string]int{}
	for _, b := range f.text.Body {
		t, ok := b.(paper.Table)
		if !ok {
			continue
		}
		for _, row := range t.Rows {
			if name := rowsField(row); name != "" && f.field(name).Type == TypeBlock {
				f.rows[name] = len(t.Columns)
				whole[name]++
			}
		}
	}
	for name, n := range whole {
		if used[name] != n {
			return unfit("{{%s}} stands for rows of a table, and can't stand elsewhere", name)
		}
	}
	return nil
}

// rowsField returns the field that a row consists of, "" if none.
func rowsField(row []paper.Cell) string {
	for _, c := range row[1:] {
		if len(c) > 0 {
			return ""
		}
	}
	return alone(row[0])
}

// alone returns the field that is all of a text, "" if none.
func alone(spans []paper.Span) string {
	if len(spans) != 1 {
		return ""
	}
	m := placeholder().FindStringSubmatch(spans[0].Text)
	if m == nil || strings.TrimSpace(spans[0].Text) != m[0] {
		return ""
	}
	return m[1]
}

func (f *Form) field(name string) *Field {
	i := slices.IndexFunc(f.Fields, func(field Field) bool { return field.Name == name })
	if i < 0 {
		return nil
	}
	return &f.Fields[i]
}

// with returns the form with another text, or why that can't stand in its place:
// ErrSource or paper.ErrMarkdown.
func (f *Form) with(source string) (*Form, error) {
	other := *f
	other.Source = strings.TrimSpace(strings.ReplaceAll(source, "\r\n", "\n")) + "\n"
	if err := other.read(); err != nil {
		return nil, errs.At(err, "source")
	}
	if f.remedies && !other.remedies {
		return nil, errs.At(unfit("it doesn't tell that the person can go to court: name artikel 79 (Danish) or Article 79 (English)"), "source")
	}
	if !maps.Equal(f.rows, other.rows) {
		return nil, errs.At(unfit("its tables take other rows: the fields that are rows of a table stay so, with as many columns"), "source")
	}
	return &other, nil
}

func unfit(format string, args ...any) error {
	return errs.New(errs.Invalid, format, args...).Because(ErrSource)
}
