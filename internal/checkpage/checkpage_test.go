package checkpage_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/checkpage"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/testenv"
)

type stand struct {
	*testing.T

	page *checkpage.Page
	ring *sign.Ring
	cert certificate.Certificate
	log  bytes.Buffer
}

func open(t *testing.T) *stand {
	t.Helper()
	s := &stand{T: t, ring: testenv.NewRing(t)}
	var err error
	if s.page, err = checkpage.New(s.ring, s, slog.New(slog.NewTextHandler(&s.log, nil))); err != nil {
		t.Fatal(err)
	}
	return s
}

// Public implements checkpage.Certificates: there is one.
func (s *stand) Public(_ context.Context, language, number string) (*certificate.File, error) {
	if number != s.cert.ID {
		return nil, certificate.ErrNotFound
	}
	content, err := s.cert.PDF(language, false)
	return &certificate.File{Name: "certificate.pdf", Content: content}, err
}

// certify makes a certificate.
func (s *stand) certify(controller string) string {
	s.Helper()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := certificate.Content{
		Version: certificate.Version, Number: id.New(id.Certificate, testenv.One), Controller: certificate.Party{Name: controller}, IssuedAt: at, UnreadableAt: at,
		Scope:      []certificate.Scope{{Unit: "identity", Categories: []string{"NATIONAL_ID"}, Methods: []string{"CRYPTO_SHRED"}}},
		Exceptions: []certificate.Kept{{Unit: "dst_1", Name: "KYC", Reason: retention.Minimum, Article: "GDPR Art. 17(3)(b)"}},
	}
	b, err := json.Marshal(c)
	if err == nil {
		s.cert = certificate.Certificate{ID: c.Number, Content: c, IssuedAt: &at}
		s.cert.Signed, err = s.ring.SignJWS(s.Context(), sign.Certificate, certificate.Type, b)
	}
	if err != nil {
		s.Fatal(err)
	}
	return s.cert.Signed
}

// A certificate is checked as a file, pasted with broken lines, or by its number.
func TestCertificate(t *testing.T) {
	s := open(t)
	signed := s.certify("Eksempel & Søn")
	pdf, err := s.cert.PDF("da", false)
	if err != nil {
		t.Fatal(err)
	}
	said := []string{"✓ The document is genuine and unaltered. Signed 2026-03-01 12:00 UTC for Eksempel &amp; Søn.", "Certificate of erasure", s.cert.ID, "keys destroyed", "never shows the data"}
	for name, tt := range map[string]struct {
		field, text string
		status      int
		want        []string
	}{
		"file":           {"file", signed, 200, said},
		"PDF":            {"file", string(pdf), 200, said},
		"pasted":         {"text", " " + signed[:80] + "\r\n" + signed[80:], 200, said},
		"number":         {"text", s.cert.ID, 200, append([]string{"Download as PDF", `name="pdf"`}, said...)},
		"another number": {"text", id.New(id.Certificate, testenv.One), 404, []string{"✗ We know no erasure certificate with this number."}},
		"altered":        {"text", strings.Replace(signed, ".eyJ", ".eyK", 1), 200, []string{"✗ The document has been altered"}},
		"altered PDF":    {"file", strings.Replace(string(pdf), ".eyJ", ".eyK", 1), 200, []string{"✗ The document has been altered"}},
		"another PDF":    {"file", "%PDF-1.7\n", 200, []string{"✗ This is not a document that we know"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.post("en", map[string]string{tt.field: tt.text})
			if w.Code != tt.status {
				t.Errorf("status %d", w.Code)
			}
			for _, want := range tt.want {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("no %q in %s", want, w.Body)
				}
			}
		})
	}
	w := s.post("da", map[string]string{"text": s.cert.ID, "pdf": "1"})
	if w.Header().Get("Content-Type") != "application/pdf" || !bytes.Equal(w.Body.Bytes(), pdf) {
		t.Errorf("%v", w.Header())
	}
	if s.log.Len() > 0 {
		t.Errorf("logged %s", &s.log)
	}
}

// post sends the form with fields.
func (s *stand) post(language string, fields map[string]string) *httptest.ResponseRecorder {
	s.Helper()
	body := &bytes.Buffer{}
	form := multipart.NewWriter(body)
	for name, text := range fields {
		if err := form.WriteField(name, text); err != nil {
			s.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		s.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/check?lang="+language, body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	w := httptest.NewRecorder()
	s.page.Check(w, r)
	return w
}

// form is a form with a file in it, under a name.
func form(t *testing.T, name string, file []byte) (body *bytes.Buffer, mediaType string) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	part, err := w.CreateFormFile(name, "secret-name.txt")
	if err == nil {
		_, err = part.Write(file)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return body, w.FormDataContentType()
}

func (s *stand) send(language string, file []byte) *httptest.ResponseRecorder {
	s.Helper()
	body, mediaType := form(s.T, "file", file)
	r := httptest.NewRequest(http.MethodPost, "/check?lang="+language, body)
	r.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	s.page.Check(w, r)
	return w
}

// receipts is a chain of two: a consent that was given and withdrawn.
func receipts(t *testing.T, ring *sign.Ring) string {
	t.Helper()
	given := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	n := &purpose.Notice{
		Edition: purpose.Edition{ID: "ntc_1", Version: 3, PublishedAt: &given},
		Facts:   purpose.Facts{Controllers: []purpose.Party{{ID: "CVR 1", Role: "dpv:DataController", Name: "Eksempel & <b>Søn</b>", Address: "Vej 1"}}},
		Texts:   []purpose.NoticeText{{Language: "da", Title: "Nyt fra os", Withdrawal: "Klik på linket."}},
	}
	p := &purpose.Purpose{Edition: purpose.Edition{ID: "pur_1", Key: "letters"}, Texts: []purpose.Text{{Language: "da", Name: "Nyhedsbrev", Description: "Vi skriver"}}}
	src := receipt.Source{Consent: &consent.Consent{ID: "cns_1", SubjectID: "sub_1"}, Purpose: p, Notice: n}
	for i, state := range []consent.State{consent.Given, consent.Withdrawn} {
		src.Events = append(src.Events, &consent.Event{
			ID: "cne_1", State: state, Actor: consent.Self, Channel: consent.Web, At: given.AddDate(0, 0, i),
			Evidence: &consent.Evidence{Language: "da"}, EvidenceState: personal.Clear,
		})
	}
	payloads, err := receipt.Documents(src)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, payload := range payloads {
		signed, err := ring.SignJWS(t.Context(), sign.Receipt, receipt.Type, payload)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(signed + "\n")
	}
	return all.String()
}

func bundle(t *testing.T, ring *sign.Ring) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pack.NewWriter(&b, testenv.Now())
	dst, err := w.Create(pack.File{Path: "data/case.json", Category: pack.Data}, false)
	if err == nil {
		_, err = io.WriteString(dst, "[]\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	manifest := pack.StaffCopy{
		Header:               pack.Header{PackageVersion: pack.Version, Type: pack.StaffCopyType, Files: w.Files()},
		NotAnArticle15Answer: true, Totals: pack.Totals{Files: 1, Bytes: 3},
	}
	if err := w.Close(t.Context(), manifest, ring); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bomb is a package that is small, and large once it is unpacked.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range []string{pack.ManifestPath, pack.SignaturePath} {
		dst, err := w.Create(name)
		if err == nil {
			_, err = dst.Write(bytes.Repeat([]byte(" "), 8<<20))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCheck(t *testing.T) {
	s := open(t)
	chain := receipts(t, s.ring)
	last := strings.Split(chain, "\n")[1]
	foreign := testenv.NewRing(t)
	keys, err := s.ring.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keySet, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	note, err := s.ring.Sign(t.Context(), sign.Certificate, sign.Text("vogter/test/1", "a <b> line"))
	if err != nil {
		t.Fatal(err)
	}
	whole := bundle(t, s.ring)
	for name, tt := range map[string]struct {
		language string
		file     []byte
		status   int
		want     []string
	}{
		"a receipt": {"en", []byte(last), 200, []string{
			"✓ The document is genuine and unaltered. Signed 2026-03-02 12:00 UTC for Eksempel &amp; &lt;b&gt;Søn&lt;/b&gt;.", `<html lang="en">`,
			"Nyhedsbrev", "Nyt fra os, version 3", "You said yes", "You withdrew it", "Klik på linket.", "Receipt 2 of this consent",
		}},
		"a chain in Danish": {"da", []byte(chain), 200, []string{
			"✓ Dokumentet er ægte og uændret.", `<html lang="da">`, "Du har sagt ja", "Du har trukket det tilbage", "Kvittering 2 for dette samtykke",
		}},
		"a package":        {"en", whole, 200, []string{"✓ The document is genuine and unaltered.", "STAFF_COPY", "never shows the data"}},
		"a key set":        {"en", keySet, 200, []string{"✓ The document is genuine and unaltered.", "KEY_SET"}},
		"a note":           {"en", note, 200, []string{"✓", "CERTIFICATE", "a &lt;b&gt; line"}},
		"another platform": {"en", []byte(receipts(t, foreign)), 200, []string{"✗ The signature was not made with a key we know."}},
		"another's package": {
			"da", bundle(t, foreign), 200, []string{"✗ Underskriften er ikke lavet med en nøgle, vi kender."},
		},
		"an altered receipt": {"en", []byte(strings.Replace(last, ".eyJ", ".eyK", 1)), 200, []string{"✗ The document has been altered"}},
		"a gap in a chain":   {"en", []byte(last + "\n" + last), 200, []string{"✗ The document has been altered", "receipt 2 is given twice"}},
		"an altered package": {"en", bytes.Replace(whole, []byte("[]\n"), []byte("{}\n"), 1), 200, []string{"✗ The document has been altered", "data/case.json"}},
		"a bomb":             {"en", bomb(t), 200, []string{"✗ The document has been altered", "larger than"}},
		"anything":           {"en", []byte("<script>alert(1)</script>"), 200, []string{"✗ This is not a document that we know"}},
		"nothing":            {"en", nil, 400, []string{"✗ Choose a file, or paste a text, first."}},
		"too large":          {"en", bytes.Repeat([]byte("a"), checkpage.MaxFile+1), 413, []string{"✗ The file is larger than 1 MB."}},
		"much too large":     {"da", bytes.Repeat([]byte("a"), 4*checkpage.MaxFile), 413, []string{"✗ Filen er større end 1 MB."}},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.send(tt.language, tt.file)
			if w.Code != tt.status {
				t.Errorf("status %d", w.Code)
			}
			for _, want := range tt.want {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("no %q in %s", want, w.Body)
				}
			}
			for _, not := range []string{"<script", "secret-name", "style=", "http-equiv"} {
				if strings.Contains(w.Body.String(), not) {
					t.Errorf("%q in %s", not, w.Body)
				}
			}
		})
	}
	if s.log.Len() > 0 {
		t.Errorf("logged %s", &s.log)
	}
}

func TestForm(t *testing.T) {
	s := open(t)
	w := httptest.NewRecorder()
	s.page.Show(w, httptest.NewRequest(http.MethodGet, "/check", nil))
	for _, want := range []string{`<form method="post" action="/check?lang=en" enctype="multipart/form-data">`, `type="file"`, "not kept", `href="/check?lang=da"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in %s", want, w.Body)
		}
	}
	if strings.Contains(w.Body.String(), `role="status"`) || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("answered %v %s", w.Header(), w.Body)
	}
	for name, r := range map[string]*http.Request{
		"no form": httptest.NewRequest(http.MethodPost, "/check", strings.NewReader("x")),
		"another field": func() *http.Request {
			body, mediaType := form(t, "other", []byte("x"))
			r := httptest.NewRequest(http.MethodPost, "/check", body)
			r.Header.Set("Content-Type", mediaType)
			return r
		}(),
	} {
		w := httptest.NewRecorder()
		if s.page.Check(w, r); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "Choose a file, or paste a text, first") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// What goes wrong before the page is reached is said in words, too.
func TestFail(t *testing.T) {
	s := open(t)
	for status, err := range map[int]error{
		http.StatusTooManyRequests:     errs.New(errs.Limited, "too often"),
		http.StatusInternalServerError: errors.New("secret"),
	} {
		w := httptest.NewRecorder()
		s.page.Fail(w, httptest.NewRequest(http.MethodPost, "/check?lang=da", nil), err)
		if w.Code != status || !strings.Contains(w.Body.String(), "Prøv igen om lidt") || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
	}
}
