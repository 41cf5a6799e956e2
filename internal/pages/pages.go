// Package pages is the frame of the pages that persons see in a browser without
// being members: layout, style, languages and headers. Pages are whole without a
// script, load nothing from anywhere else, and are kept by no cache.
//
// A page is a Template, which stands in the frame, and a Page that it shows. Texts
// are in the package's own files, by id and language; a package with texts of its
// own adds them by With.
package pages

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"

	"golang.org/x/text/language"
)

// The languages of pages, BCP 47.
const (
	Danish  = "da"
	English = "en"
)

// StylePath is where the style is: see Style.
const StylePath = "/pages.css"

// policy lets a page show itself in its style, and send its forms to where it came from.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

var (
	//go:embed layout.html
	layout string
	//go:embed pages.css
	style []byte
)

// Style serves the style of all pages.
func Style() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(style)
	})
}

// LanguageCookie is the cookie that remembers the language that ?lang said.
const LanguageCookie = "vogter_language"

// Language returns the language that a page is asked for in: as ?lang says, or
// else LanguageCookie, or the header Accept-Language; English when none of them
// says one that there is.
func Language(r *http.Request) string {
	known := language.NewMatcher([]language.Tag{language.English, language.Danish})
	remembered := ""
	if c, err := r.Cookie(LanguageCookie); err == nil {
		remembered = c.Value
	}
	_, at := language.MatchStrings(known, r.URL.Query().Get("lang"), remembered, r.Header.Get("Accept-Language"))
	if at == 1 {
		return Danish
	}
	return English
}

// Page is what the frame shows around a page.
type Page struct {
	Language string // as of Language
	Path     string // of the page, for the links to its other languages
	Title    string // never with personal data: browsers remember titles
	Name     string // in the header: whose page it is; Vogter when empty
	Theme    string // path of a style that goes on top, with the colours of a tenant
	SignOut  *Form  // by which who has signed in leaves; nil for others
	Footer   []Link
	Content  any // what the Template shows: {{.Content}}
}

// Link leads to another page of this server.
type Link struct{ Path, Text string }

// Form is a form of one button, with the token by which it is known to be ours.
type Form struct{ Path, Token string }

// Other is the other language that the page can be read in.
func (p Page) Other() (o struct{ Tag, Name string }) {
	if o.Tag, o.Name = English, "English"; p.Language == English {
		o.Tag, o.Name = Danish, "Dansk"
	}
	return o
}

// Template is a kind of page: what stands between header and footer.
type Template struct{ in map[string]*template.Template } // by language

// NewTemplate reads a template of package html/template. In it, {{t "id"}} is a
// text, with the fields that its placeholders name given after it:
// {{t "verify.ok" "verify.signedAt" .At}}. A text that isn't there is an error.
func NewTemplate(content string, texts Texts) (*Template, error) {
	t := &Template{in: map[string]*template.Template{}}
	for _, tag := range []string{Danish, English} {
		say := func(id string, fields ...string) (string, error) { return texts.Say(tag, id, fields...) }
		frame, err := template.New("layout").Option("missingkey=error").Funcs(template.FuncMap{"t": say}).Parse(layout)
		if err == nil {
			frame, err = frame.Parse(`{{define "content"}}` + content + `{{end}}`)
		}
		if err != nil {
			return nil, fmt.Errorf("read page: %w", err)
		}
		t.in[tag] = frame
	}
	return t, nil
}

// Write answers with a page.
func (t *Template) Write(w http.ResponseWriter, status int, p Page) error {
	in, ok := t.in[p.Language]
	if !ok {
		return fmt.Errorf("write page: no language %q", p.Language)
	}
	var b bytes.Buffer // whole before its first byte leaves
	if err := in.Execute(&b, p); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", p.Language)
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept-Language, Cookie")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
	return nil
}
