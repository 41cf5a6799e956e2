package e2e_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReceipts is the journey of a consent that is given and withdrawn: its
// receipts are checked by the public page, and offline by the program.
func TestReceipts(t *testing.T) {
	p := running(t)
	c := p.machine(t, first)
	const key = "receipt.letters"
	_, notice := purposeAndNotice(t, c, key)
	h := p.someone()
	subject := ask[struct{ CreateSubject struct{ Subject person } }](t, c,
		`mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject {`+personFields+`} } }`, vars{"input": h.input()}).CreateSubject.Subject.ID
	type told struct{ Consent struct{ ID string } }
	given := ask[struct{ GiveConsent told }](t, c, `mutation($input: GiveConsentInput!) { giveConsent(input: $input) { consent { id } } }`, vars{"input": vars{
		"subject": subject, "purpose": key, "notice": notice, "expression": "EXPRESSED", "context": vars{"language": "da", "channel": "WEB"},
	}}).GiveConsent.Consent.ID
	type receipt struct {
		Document, Chain, MediaType, State string
		Sequence                          int
	}
	issue := func() receipt {
		return ask[struct{ ConsentReceipt receipt }](t, c,
			`query($id: ID!) { consentReceipt(consent: $id) { document chain mediaType state sequence } }`, vars{"id": given}).ConsentReceipt
	}
	yes := issue()
	ask[any](t, c, `mutation($input: WithdrawConsentInput!) { withdrawConsent(input: $input) { consent { id } } }`,
		vars{"input": vars{"subject": subject, "purpose": key}})
	no := issue()
	if yes.State != "GIVEN" || no.State != "WITHDRAWN" || no.Sequence != yes.Sequence+1 || !strings.HasPrefix(no.Chain, yes.Chain) ||
		no.MediaType != "application/jose" {
		t.Fatalf("receipts %+v, %+v", yes, no)
	}
	if code := refused(t, p.machine(t, second), `query($id: ID!) { consentReceipt(consent: $id) { document } }`, vars{"id": given}); code != "NOT_FOUND" {
		t.Errorf("another tenant: %s", code)
	}

	anybody := client{base: c.base}
	if got := anybody.check(t, "da", []byte(no.Chain)); !strings.Contains(got, "Dokumentet er ægte og uændret") || !strings.Contains(got, "Du har trukket det tilbage") {
		t.Errorf("the page says %s", got)
	}
	if got := anybody.check(t, "en", []byte(yes.Document)[:len(yes.Document)-9]); strings.Contains(got, "✓") {
		t.Errorf("the page takes a receipt without its end: %s", got)
	}

	dir := t.TempDir()
	keys := anybody.call(t, http.MethodGet, "/.well-known/jwks.json", http.NoBody).body
	for name, content := range map[string][]byte{
		"keys": keys, "yes": []byte(yes.Document), "no": []byte(no.Document), "all": []byte(no.Chain),
		"altered": []byte(strings.Replace(no.Document, ".eyJ", ".eyK", 1)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for want, names := range map[string][]string{
		"OK: CONSENT_RECEIPT\n": {"yes"}, "OK: CONSENT_RECEIPTS, 2 in a chain\n": {"no", "yes"}, "OK: CONSENT_RECEIPTS": {"all"}, "altered": {"altered"},
	} {
		args := []string{"verify", "--keys", filepath.Join(dir, "keys")}
		for _, name := range names {
			args = append(args, filepath.Join(dir, name))
		}
		out, err := exec.CommandContext(t.Context(), p.binary, args...).CombinedOutput()
		if !bytes.Contains(out, []byte(want)) || (err != nil) != slices.Contains(names, "altered") {
			t.Errorf("verify %v: %v, %s", names, err, out)
		}
	}
}

// check sends a file to the public page, and returns what that says.
func (c client) check(t *testing.T, language string, file []byte) string {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("file", "receipt")
	if err == nil {
		_, err = io.Copy(part, bytes.NewReader(file))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	a := c.call(t, http.MethodPost, "/check?lang="+language, &body, "Content-Type", w.FormDataContentType())
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'self'") {
		t.Errorf("answered %d %v", a.status, a.header)
	}
	return string(a.body)
}
