package notify

import (
	"embed"
	"fmt"
	htmltemplate "html/template"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/personal"
)

// The templates, each with the variables that it declares.
const (
	// TemplateInvitation invites a member: tenant (its legal name), url, token.
	TemplateInvitation = "invitation"
	// TemplateSubjectCode brings a data subject a one-time code: tenant, code, minutes.
	TemplateSubjectCode = "subjectCode"
	// TemplateBreakGlass tells owners that an operator entered: reason, until.
	TemplateBreakGlass = "breakGlass"
	// TemplateSecurityEvent tells of a security event: event (its id), kind, severity.
	TemplateSecurityEvent = "securityEvent"
	// TemplateWebhookDisabled tells owners that an endpoint is out of reach: webhook (its id), since.
	TemplateWebhookDisabled = "webhookDisabled"
	// TemplateEpochApproval asks for the second approval of a key epoch's end: epoch, url.
	TemplateEpochApproval = "epochApproval"
	// TemplateReviewDue tells the owner of an assessment that it is due for review:
	// assessment (its id), kind, reason (as assessment.ReviewReason).
	TemplateReviewDue = "reviewDue"
	// TemplateRequestDue tells who works on requests that one falls due: number,
	// urgency (as deadline.Urgency).
	TemplateRequestDue = "requestDue"
	// TemplateRequestAnswered tells a person that the answer to their request is
	// there: tenant, number, url.
	TemplateRequestAnswered = "requestAnswered"
	// TemplateAgreement tells owners where an agreement stands: number, state (as
	// agreement.State).
	TemplateAgreement = "agreement"
	// TemplateInstruction tells owners that the processor objects to an instruction:
	// instruction (its id).
	TemplateInstruction = "instruction"
	// TemplateSubProcessor tells owners of a planned change of sub-processors: name,
	// until (a day), url.
	TemplateSubProcessor = "subProcessor"
	// TemplateLetter is a letter to a person as package letter wrote it: subject,
	// text and html, a whole page. It is in the language that it was written in.
	TemplateLetter = "letter"
)

// rule says what a variable may be, so that none can add a line or a header to a mail.
type rule func(string) bool

// maxVar bounds a variable, in characters.
const maxVar = 1000

func line(s string) bool {
	return strings.TrimSpace(s) != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxVar &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' })
}

// maxLetter bounds a letter, in bytes.
const maxLetter = 256 << 10

func whole(s string) bool {
	return strings.TrimSpace(s) != "" && utf8.ValidString(s) && len(s) <= maxLetter &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}

func word(s string) bool { return regexp.MustCompile(`^[A-Za-z0-9._:-]{1,200}$`).MatchString(s) }

func link(s string) bool {
	u, err := url.Parse(s)
	return err == nil && line(s) && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && !strings.ContainsAny(s, " <>\"")
}

// declared returns the variables of each template. A new template is a line
// here, a constant above and a file for each language.
func declared() map[string]map[string]rule {
	return map[string]map[string]rule{
		TemplateInvitation:      {"tenant": line, "url": link, "token": word},
		TemplateSubjectCode:     {"tenant": line, "code": word, "minutes": word},
		TemplateBreakGlass:      {"reason": line, "until": line},
		TemplateSecurityEvent:   {"event": word, "kind": word, "severity": word},
		TemplateWebhookDisabled: {"webhook": word, "since": line},
		TemplateEpochApproval:   {"epoch": word, "url": link},
		TemplateReviewDue:       {"assessment": word, "kind": word, "reason": word},
		TemplateRequestDue:      {"number": word, "urgency": word},
		TemplateRequestAnswered: {"tenant": line, "number": word, "url": link},
		TemplateAgreement:       {"number": word, "state": word},
		TemplateInstruction:     {"instruction": word},
		TemplateSubProcessor:    {"name": line, "until": line, "url": link},
		TemplateLetter:          {"subject": line, "text": whole, "html": whole},
	}
}

// fallback is the language that every template has a text in.
const fallback = "en"

func languages() []string { return []string{fallback, "da"} }

// texts has, for each template and language, templates/LANGUAGE/TEMPLATE.txt:
// the subject, an empty line, and paragraphs.
//
//go:embed templates
var texts embed.FS

// page is the HTML of all mails: the paragraphs of the text.
const page = `<!doctype html>
<html lang="{{.Language}}"><head><meta charset="utf-8"><title>{{.Subject}}</title></head>
<body style="font-family:sans-serif;max-width:40em">
{{range .Paragraphs}}{{if eq . $.Link}}<p><a href="{{.}}">{{.}}</a></p>
{{else}}<p>{{.}}</p>
{{end}}{{end}}</body></html>
`

type templates struct {
	texts map[string]*template.Template // by language and name
	page  *htmltemplate.Template
	vars  map[string]map[string]rule
}

// parseTemplates reads all templates and tries each with sample variables.
func parseTemplates() (templates, error) {
	t := templates{texts: map[string]*template.Template{}, vars: declared()}
	var err error
	if t.page, err = htmltemplate.New("page").Parse(page); err != nil {
		return t, fmt.Errorf("parse page: %w", err)
	}
	for _, lang := range languages() {
		for name := range t.vars {
			b, err := texts.ReadFile("templates/" + lang + "/" + name + ".txt")
			if err != nil {
				return t, fmt.Errorf("read template: %w", err)
			}
			if t.texts[lang+"/"+name], err = template.New(name).Option("missingkey=error").Parse(string(b)); err != nil {
				return t, fmt.Errorf("parse template %s in %s: %w", name, lang, err)
			}
		}
	}
	return t, nil
}

// language returns the first of the tags that there are texts in, or the fallback.
func (t templates) language(tags ...string) string {
	for _, tag := range tags {
		parsed, err := language.Parse(tag)
		if err != nil {
			continue
		}
		if base, _ := parsed.Base(); slices.Contains(languages(), base.String()) {
			return base.String()
		}
	}
	return fallback
}

// render makes the mail of a row, or fails with ErrTemplate when its variables
// aren't exactly those declared.
func (t templates) render(row *Row) (Mail, error) {
	vars, ok := t.vars[row.Template]
	if !ok {
		return Mail{}, ErrTemplate.Because(fmt.Errorf("no template %q", row.Template))
	}
	plain := make(map[string]string, len(vars))
	for name, fits := range vars {
		v, ok := row.Vars[name]
		if !ok || !fits(v.Reveal()) {
			return Mail{}, ErrTemplate.Because(fmt.Errorf("variable %s of %s is missing or malformed", name, row.Template))
		}
		plain[name] = v.Reveal()
	}
	for name := range maps.Keys(row.Vars) {
		if _, ok := vars[name]; !ok {
			return Mail{}, ErrTemplate.Because(fmt.Errorf("template %s declares no variable %q", row.Template, name))
		}
	}
	var b strings.Builder
	if err := t.texts[row.Language+"/"+row.Template].Execute(&b, plain); err != nil {
		return Mail{}, ErrTemplate.Because(fmt.Errorf("template %s in %s can't be filled in", row.Template, row.Language))
	}
	subject, text, _ := strings.Cut(strings.TrimSpace(b.String()), "\n\n")
	if row.Template == TemplateLetter { // which has its own page
		return Mail{
			MessageID: row.ID, Date: row.CreatedAt, To: row.To, Subject: subject, Text: personal.NewText(text + "\n"), HTML: row.Vars["html"],
		}, nil
	}
	var html strings.Builder
	err := t.page.Execute(&html, map[string]any{
		"Language": row.Language, "Subject": subject, "Link": plain["url"], "Paragraphs": strings.Split(text, "\n\n"),
	})
	if err != nil {
		return Mail{}, ErrTemplate.Because(fmt.Errorf("page of %s can't be filled in", row.Template))
	}
	return Mail{
		MessageID: row.ID, Date: row.CreatedAt, To: row.To, Subject: subject,
		Text: personal.NewText(text + "\n"), HTML: personal.NewText(html.String()),
	}, nil
}
