package pages_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vogter/vogter/internal/pages"
)

func TestLanguage(t *testing.T) {
	for _, tt := range []struct{ query, header, want string }{
		{"", "", "en"},
		{"", "da", "da"},
		{"", "da-DK,da;q=0.9,en;q=0.8", "da"},
		{"", "en-GB,da;q=0.5", "en"},
		{"", "nb", "da"},
		{"", "fr", "en"},
		{"", "q=;;,", "en"},
		{"da", "en", "da"},
		{"en", "da", "en"},
		{"<script>", "da", "da"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/check?lang="+tt.query, nil)
		r.Header.Set("Accept-Language", tt.header)
		if got := pages.Language(r); got != tt.want {
			t.Errorf("?lang=%s, %s: %s", tt.query, tt.header, got)
		}
	}
}

func texts(t *testing.T) pages.Texts {
	t.Helper()
	all, err := pages.Default()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSay(t *testing.T) {
	all := texts(t)
	for _, tt := range []struct {
		tag, id string
		fields  []string
		want    string // "" for an error
	}{
		{"da", "verify.title", nil, "Kontrollér et dokument"},
		{"en", "verify.altered", []string{"verify.firstProblem", "a <b> {{x}}"}, "The document has been altered, or a file is missing: a <b> {{x}}"},
		{"en", "verify.altered", nil, ""},
		{"en", "verify.altered", []string{"verify.firstProblem"}, ""},
		{"en", "verify.altered", []string{"verify.other", "x"}, ""},
		{"en", "verify.title", []string{"verify.other", "x"}, ""},
		{"en", "nothing", nil, ""},
		{"fr", "verify.title", nil, ""},
	} {
		got, err := all.Say(tt.tag, tt.id, tt.fields...)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s in %s: %q, %v", tt.id, tt.tag, got, err)
		}
	}
	more, err := all.With(fstest.MapFS{
		"texts/da.md": {Data: []byte("---\nid: x\n---\nverify.title: Andet\n")}, "texts/en.md": {Data: []byte("own.text: Own: text\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"verify.title": "Andet", "verify.upload": "Vælg en fil", "id": ""} {
		if got, _ := more.Say("da", id); got != want {
			t.Errorf("%s: %q", id, got)
		}
	}
	if got, _ := more.Say("en", "own.text"); got != "Own: text" {
		t.Errorf("own text %q", got)
	}
	if got, _ := all.Say("da", "verify.title"); got == "Andet" {
		t.Error("other pages have the text, too")
	}
}

func TestPage(t *testing.T) {
	page, err := pages.NewTemplate(`<h1>{{t "verify.title"}}</h1><p>{{.Content}}</p>`, texts(t))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p := pages.Page{
		Language: "da", Path: "/x", Title: "Titel", Theme: "/p/a/theme.css", Footer: []pages.Link{{Path: "/check", Text: "Kontrollér"}}, Content: "<script>",
	}
	if err := page.Write(w, http.StatusTeapot, p); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`<html lang="da">`, `<title>Titel · Vogter</title>`, `href="/pages.css"`, `href="/p/a/theme.css"`, `href="/x?lang=en"`, `<h1>Kontrollér et dokument</h1>`,
		`<p>&lt;script&gt;</p>`, `<a href="/check">Kontrollér</a>`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
	if w.Code != http.StatusTeapot || w.Header().Get("Content-Language") != "da" || w.Header().Get("Cache-Control") != "no-store" ||
		!strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'; style-src 'self';") {
		t.Errorf("answered %d %v", w.Code, w.Header())
	}
	broken, err := pages.NewTemplate(`<p>{{.Content.Nothing}}</p>`, texts(t))
	if err != nil {
		t.Fatal(err)
	}
	w = httptest.NewRecorder()
	if err := broken.Write(w, http.StatusOK, p); err == nil || w.Body.Len() > 0 {
		t.Errorf("wrote half a page: %v, %s", err, w.Body)
	}
	if _, err := pages.NewTemplate(`{{`, texts(t)); err == nil {
		t.Error("read no template")
	}
}

func TestStyle(t *testing.T) {
	w := httptest.NewRecorder()
	pages.Style().ServeHTTP(w, httptest.NewRequest(http.MethodGet, pages.StylePath, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(w.Body.String(), "--accent") {
		t.Errorf("answered %d %v", w.Code, w.Header())
	}
}
