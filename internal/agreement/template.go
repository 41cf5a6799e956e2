package agreement

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/tenant"
)

// content has content/LANGUAGE/TEMPLATE.md, and the words that a first draft is
// filled in with.
//
//go:embed content
var content embed.FS

// The keys of the templates.
const (
	ShortDPA = "short-dpa"   // the platform's own, signable as it is
	DanishSC = "dk-scc"      // the Danish standard contractual clauses
	EUClause = "eu-2021-915" // Commission Implementing Decision (EU) 2021/915
)

// Template is a form of agreement in one language.
type Template struct {
	Key        string
	Language   string
	Version    int64 // of its text: 0 while there is none
	Title      string
	Official   bool // its text is for the provider to load
	LegalBasis []string
	Fields     []letter.Field
	Outline    []string // headings
	Digest     *string  // SHA-256 of the text, in hexadecimal
	LoadedAt   *time.Time
	LoadedBy   *string

	form *letter.Form // with the text, if there is one
}

// HasText reports whether the template can be offered.
func (t *Template) HasText() bool { return t.Digest != nil }

// Text returns the text with its placeholders, in Markdown.
func (t *Template) Text() *string {
	if !t.HasText() {
		return nil
	}
	return &t.form.Source
}

// Text is the text of an official template as the provider loaded it. It is never
// changed: another text is another version.
type Text struct {
	ID        string
	Template  string
	Language  string
	Version   int64
	Source    string
	CreatedAt time.Time
	LoadedBy  string
}

// LoadInput brings in the text of an official template.
type LoadInput struct {
	Template string
	Language string
	Text     string
}

// library has the templates as they are built in, and the words of first drafts.
type library struct {
	templates map[string]*Template         // by key and language
	words     map[string]map[string]string // by language
}

// computed are the fields that follow from the rest.
func computed() []string {
	return []string{"agreement.number", "agreement.version", fieldTypes, fieldPlaces}
}

const (
	fieldTypes         = "appendixA.dataTypeList"
	fieldPlaces        = "appendixC.locations"
	fieldRows          = "appendixB.subProcessorRows"
	fieldAuthorisation = "subProcessing.authorisation"
	fieldNotice        = "subProcessing.noticeDays"
	fieldChoice        = "ending.choice"
	fieldFormat        = "ending.returnFormat"
	fieldDeadline      = "ending.deadlineDays"
)

func newLibrary() (*library, error) {
	l := &library{templates: map[string]*Template{}, words: map[string]map[string]string{}}
	for _, language := range letter.Languages() {
		b, err := content.ReadFile(path.Join("content", language, "prefill.yaml"))
		if err != nil {
			return nil, fmt.Errorf("read words of agreements: %w", err)
		}
		words := map[string]string{}
		if err := yaml.Unmarshal(b, &words); err != nil {
			return nil, fmt.Errorf("read words of agreements: %w", err)
		}
		l.words[language] = words
		for _, key := range []string{ShortDPA, DanishSC, EUClause} {
			b, err := content.ReadFile(path.Join("content", language, key+".md"))
			if err != nil {
				return nil, fmt.Errorf("read template: %w", err)
			}
			form, err := letter.Parse(string(b))
			if err != nil {
				return nil, fmt.Errorf("template %s in %s: %w", key, language, err)
			}
			t := &Template{
				Key: key, Language: language, Official: key != ShortDPA, LegalBasis: form.LegalBasis, Fields: form.Fields, form: form,
			}
			t.Title, t.Outline = outline(form.Source)
			if !t.Official {
				if err := t.take(form.Source, form.Version); err != nil {
					return nil, fmt.Errorf("template %s in %s: %w", key, language, err)
				}
			}
			l.templates[key+"/"+language] = t
		}
	}
	return l, nil
}

// outline returns the headings of a text.
func outline(source string) (title string, headings []string) {
	for line := range strings.Lines(source) {
		marks := len(line) - len(strings.TrimLeft(line, "#"))
		text := strings.TrimSpace(line[marks:])
		switch {
		case marks == 1:
			title = text
		case marks > 1:
			headings = append(headings, text)
		}
	}
	return title, headings
}

// take gives the template a text, or fails when that can't be its.
func (t *Template) take(source string, version int64) error {
	form := *t.form
	form.Source = strings.TrimSpace(strings.ReplaceAll(source, "\r\n", "\n")) + "\n"
	for _, authorisation := range []string{"GENERAL", "SPECIFIC"} {
		for _, choice := range []Choice{Return, Delete} {
			chosen := choose(form, map[string]string{fieldAuthorisation: authorisation, fieldChoice: string(choice)})
			if err := fits(chosen); err != nil {
				return err
			}
		}
	}
	sum := sha256.Sum256([]byte(form.Source))
	digest := hex.EncodeToString(sum[:])
	t.form, t.Version, t.Digest = &form, version, &digest
	t.Title, t.Outline = outline(form.Source)
	return nil
}

// fits reports whether a text goes with its fields and can be put on paper: tried
// with no values, of which the letters complain last.
func fits(form *letter.Form) error {
	if d, err := paper.FromMarkdown(form.Source); err != nil {
		return errs.At(err, "text")
	} else if err := paper.Markdown(io.Discard, paper.Document{Title: d.Title, Language: form.Language, Body: d.Body}); err != nil {
		return errs.New(errs.Invalid, "the text can't be put on paper: it has a title, and headings that leave no level out").At("text")
	}
	_, err := form.Document(nil, time.UTC)
	if err != nil && errs.KindOf(err) != errs.Precondition { // which is only that values are missing
		return errs.At(err, "text")
	}
	return nil
}

// choose returns a form with those of its conditional parts that go with values, and
// without the fields that only decide on them.
func choose(form letter.Form, values map[string]string) *letter.Form {
	marks := regexp.MustCompile(`(?s)<!-- when ([\w.]+) = (\w+) -->\n(.*?)<!-- endwhen -->\n?`)
	var deciding []string
	form.Source = marks.ReplaceAllStringFunc(form.Source, func(part string) string {
		m := marks.FindStringSubmatch(part)
		deciding = append(deciding, m[1])
		if values[m[1]] == m[2] {
			return m[3]
		}
		return ""
	})
	form.Fields = slices.DeleteFunc(slices.Clone(form.Fields), func(f letter.Field) bool {
		return slices.Contains(deciding, f.Name) && !strings.Contains(form.Source, "{{"+f.Name+"}}")
	})
	return &form
}

// template returns a template with the newest text there is.
func (s *Service) template(ctx context.Context, key, language string) (*Template, error) {
	built, ok := s.library.templates[key+"/"+letter.Language(language)]
	if !ok {
		return nil, ErrNoTemplate
	}
	if !built.Official {
		return built, nil
	}
	provider, err := s.provider(ctx)
	if err != nil {
		return nil, err
	}
	text, err := s.Store.Text(tenant.NewContext(ctx, provider), key, built.Language)
	if err != nil {
		return nil, err
	}
	return built.with(text)
}

// with returns the template with a text that the provider loaded.
func (t *Template) with(text *Text) (*Template, error) {
	if text == nil {
		return t, nil
	}
	loaded := *t
	if err := loaded.take(text.Source, text.Version); err != nil {
		return nil, fmt.Errorf("text %s: %w", text.ID, err)
	}
	loaded.LoadedAt, loaded.LoadedBy = &text.CreatedAt, &text.LoadedBy
	return &loaded, nil
}

// Templates returns all templates, with the newest text of each.
func (s *Service) Templates(ctx context.Context) ([]*Template, error) {
	provider, err := s.provider(ctx)
	if err != nil {
		return nil, err
	}
	texts, err := s.Store.Texts(tenant.NewContext(ctx, provider))
	if err != nil {
		return nil, err
	}
	newest := map[string]*Text{}
	for _, t := range texts {
		if at := t.Template + "/" + t.Language; newest[at] == nil || newest[at].Version < t.Version {
			newest[at] = t
		}
	}
	var all []*Template
	for _, key := range []string{ShortDPA, DanishSC, EUClause} {
		for _, language := range letter.Languages() {
			t, err := s.library.templates[key+"/"+language].with(newest[key+"/"+language])
			if err != nil {
				return nil, err
			}
			all = append(all, t)
		}
	}
	return all, nil
}

// Load gives an official template its text, or another version of it. Agreements made
// before keep theirs.
func (s *Service) Load(ctx context.Context, in LoadInput) (*Template, error) {
	of, err := s.home(ctx)
	if err != nil {
		return nil, err
	}
	built, ok := s.library.templates[in.Template+"/"+in.Language]
	switch {
	case !ok:
		return nil, ErrNoTemplate
	case !built.Official:
		return nil, errs.New(errs.Precondition, "the platform's own agreement has its text: it is the official ones that are loaded").At("template").Under("agreement.official")
	case len(in.Text) > maxText:
		return nil, errs.New(errs.Invalid, "a text has at most %d bytes", maxText).At("text")
	}
	tried := *built
	if err := tried.take(in.Text, 1); err != nil {
		return nil, err
	}
	t := &Text{
		ID: id.New(id.AgreementTemplate, of), Template: in.Template, Language: in.Language, Source: tried.form.Source, CreatedAt: s.at(),
		LoadedBy: authz.FromContext(ctx).ID,
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		before, err := s.Store.Text(ctx, in.Template, in.Language)
		if err != nil {
			return change.Change{}, err
		}
		t.Version = 1
		if before != nil {
			t.Version = before.Version + 1
		}
		return change.Change{Action: "agreement.loadText", Object: t.ID}, s.Store.InsertText(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return built.with(t)
}
