package letter

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/paper"
)

// lines are texts by id, with the form that declares their fields.
type lines struct {
	form  *Form
	texts map[string]string
}

// lines reads a form's source as lines "id: text".
func (f *Form) lines() (lines, error) {
	l := lines{form: f, texts: map[string]string{}}
	for row := range strings.Lines(f.Source) {
		if row = strings.TrimSpace(row); row == "" {
			continue
		}
		key, text, ok := strings.Cut(row, ": ")
		if !ok || text == "" || !regexp.MustCompile(`^[\w.]+$`).MatchString(key) || l.texts[key] != "" {
			return l, fmt.Errorf("%w: line %q", errForm, key)
		}
		l.texts[key] = text
	}
	for _, m := range placeholder().FindAllStringSubmatch(f.Source, -1) {
		if f.field(m[1]) == nil {
			return l, fmt.Errorf("%w: %s isn't declared", errForm, m[1])
		}
	}
	return l, nil
}

// ErrPhrase reports an id that no phrase has. It is a fault of ours.
var ErrPhrase = errs.New(errs.Internal, "there is no such phrase")

// Phrase returns a phrase in the language of a tag: of why a right is refused
// ("refusal.UNFOUNDED"), an erasure's ground ("ground.A17_1_A"), a restriction's
// ("restriction.A18_1_A"), why data is kept ("kept.AML_LAW"), an extension's
// reason, what a request asks for ("item.ACCESS"), and others. There is none for
// what AML secrecy covers, on purpose. It fails with ErrPhrase.
func (l *Library) Phrase(language, phrase string) (string, error) {
	text, ok := l.lines["phrases/"+Language(language)].texts[phrase]
	if !ok {
		return "", ErrPhrase
	}
	return text, nil
}

// Phrases returns all phrases in the language of a tag, by id.
func (l *Library) Phrases(language string) map[string]string {
	return maps.Clone(l.lines["phrases/"+Language(language)].texts)
}

// PrivacyCentre returns the texts of the pages for data subjects, by id, in the
// language of a tag. A text with a field that has no value isn't among them. An
// unknown field, or a value of another type, fails with ErrField.
func (l *Library) PrivacyCentre(language string, fields Fields, zone *time.Location) (map[string]string, error) {
	page := l.lines["privacy-centre/"+Language(language)]
	for name, v := range fields {
		field := page.form.field(name)
		if field == nil {
			return nil, errs.New(errs.Invalid, "the pages have no field of this name").At("fields." + name).Because(ErrField)
		}
		if v.present {
			if err := v.fits(field, 0); err != nil {
				return nil, err
			}
		}
	}
	w := &filler{form: page.form, fields: fields, zone: zone}
	texts := map[string]string{}
	for key, text := range page.texts {
		spans, ok := w.spans(paper.Plain(text))
		if !ok {
			continue
		}
		for _, s := range spans {
			texts[key] += s.Text
		}
	}
	return texts, nil
}
