package ory_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/ory"
	"github.com/vogter/vogter/internal/ory/orytest"
)

const leaked = "a password that leaked"

// breaches is a server of the breach list, which has one password, and the file
// with its certificate.
func breaches(t *testing.T) (host, ca string) {
	t.Helper()
	sum := strings.ToUpper(hex.EncodeToString(func() []byte { s := sha1.Sum([]byte(leaked)); return s[:] }()))
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/range/"+sum[:5] {
			_, _ = fmt.Fprintf(w, "%s:3\r\n", sum[5:])
		}
	}))
	t.Cleanup(srv.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(srv.URL, "https://"), ca
}

// TestPolicy holds both configurations to the policy that deploy/kratos states.
func TestPolicy(t *testing.T) {
	t.Run("one machine", func(t *testing.T) { policy(t, orytest.Start(t), false) })
	t.Run("production", func(t *testing.T) {
		host, ca := breaches(t)
		policy(t, orytest.StartProduction(t, []string{
			"SELFSERVICE_METHODS_PASSWORD_CONFIG_HAVEIBEENPWNED_HOST=" + host, "SSL_CERT_FILE=" + ca,
		}), true)
	})
}

func policy(t *testing.T, kratos *orytest.Server, breached bool) {
	t.Helper()
	ctx, c := t.Context(), kratos.Client
	p := &orytest.Person{PublicURL: kratos.PublicURL, Address: "sigrid.undset@example.test"}
	identity, err := c.FindOrCreate(ctx, text(p.Address))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Verified(ctx, identity); err != nil || len(got) != 0 {
		t.Errorf("verified before any code: %v, %v", got, err)
	}
	f, err := p.AskForCode(ctx)
	if err != nil {
		t.Fatal(err)
	}
	guess := "123456"
	if kratos.Code(t, p.Address, 0) == guess {
		guess = "654321"
	}
	if err := p.UseCode(ctx, f, guess); err == nil {
		t.Fatal("a guessed code was taken")
	}
	recover(ctx, t, kratos, p)
	if got, err := c.Verified(ctx, identity); err != nil || len(got) != 1 || got[0].Reveal() != p.Address {
		t.Errorf("verified by a code: %v, %v", got, err)
	}

	for name, tt := range map[string]struct {
		password string
		ids      []int
	}{
		"11 characters":          {"elevenchars", []int{orytest.MsgPasswordShort, orytest.MsgPasswordRefused}},
		"similar to the address": {"sigrid.undset1", []int{orytest.MsgPasswordSimilar, orytest.MsgPasswordRefused}},
		"in a breach":            {leaked, []int{orytest.MsgPasswordLeaked, orytest.MsgPasswordRefused}},
	} {
		err := p.Choose(ctx, tt.password)
		switch refused := orytest.Says(err, tt.ids...); {
		case name == "in a breach" && !breached:
			if err != nil {
				t.Errorf("%s, which isn't asked about here: %v", name, err)
			}
		case !refused:
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := p.Choose(ctx, "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	secondFactor(ctx, t, kratos, p)
	t.Run("no one registers", func(t *testing.T) {
		a, err := http.Get(kratos.PublicURL + "/self-service/registration/api")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Body.Close(); err != nil || a.StatusCode == http.StatusOK {
			t.Errorf("got %d, %v", a.StatusCode, err)
		}
	})
	sessions(ctx, t, kratos, p, identity)
}

// recover opens a session by a mailed code.
func recover(ctx context.Context, t *testing.T, kratos *orytest.Server, p *orytest.Person) { //nolint:predeclared // what it is called
	t.Helper()
	before := len(kratos.Mail.Messages())
	f, err := p.AskForCode(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.UseCode(ctx, f, kratos.Code(t, p.Address, before)); err != nil {
		t.Fatal(err)
	}
}

// secondFactor sets up an app and recovery codes, and signs in by each.
func secondFactor(ctx context.Context, t *testing.T, kratos *orytest.Server, p *orytest.Person) {
	t.Helper()
	who := func() (authn.Session, error) { return kratos.Client.WhoAmI(ctx, authn.Credential{Token: p.Token}) }
	*p = orytest.Person{PublicURL: p.PublicURL, Address: p.Address, Password: p.Password}
	if err := p.SignIn(ctx); err != nil {
		t.Fatal(err)
	}
	first, err := who()
	if err != nil || first.AAL != string(authz.AAL1) {
		t.Fatalf("by password: %+v, %v", first, err)
	}
	secret, err := p.Enrol(ctx, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	codes, err := p.Codes(ctx)
	if err != nil || len(codes) != 12 {
		t.Fatalf("%d recovery codes, %v", len(codes), err)
	}
	if s, err := who(); err != nil || s.AAL != string(authz.AAL2) || s.ID != first.ID {
		t.Errorf("the session that set it up: %+v, %v", s, err)
	}

	for name, second := range map[string]func() error{
		"by app":           func() error { return p.SecondFactor(ctx, secret, time.Now()) },
		"by recovery code": func() error { return p.SecondFactorByCode(ctx, codes[0]) },
	} {
		p.Token = ""
		if err := p.SignIn(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := who(); !errors.Is(err, ory.ErrSecondFactor) {
			t.Errorf("password alone, of who has a second factor: %v", err)
		}
		if err := p.SecondFactor(ctx, secret, time.Now().Add(-time.Hour)); err == nil {
			t.Error("an old code of the app was taken")
		}
		if err := second(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s, err := who()
		if err != nil || s.AAL != string(authz.AAL2) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	token := p.Token
	p.Token = ""
	if err := p.SignIn(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.SecondFactorByCode(ctx, codes[0]); err == nil {
		t.Error("a recovery code was taken twice")
	}
	p.Token = token
	before, err := who()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SignInAgain(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := who()
	if err != nil || after.ID != before.ID || p.Token != token || !after.AuthenticatedAt.After(before.AuthenticatedAt) || after.AAL != before.AAL {
		t.Errorf("signed in again: %+v, %v, before %+v", after, err, before)
	}
}

// sessions lists and ends them.
func sessions(ctx context.Context, t *testing.T, kratos *orytest.Server, p *orytest.Person, identity string) {
	t.Helper()
	c := kratos.Client
	list, err := c.Sessions(ctx, identity)
	if err != nil || len(list) < 3 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	own, err := c.WhoAmI(ctx, authn.Credential{Token: p.Token})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // ending what has ended is no error
		if err := c.End(ctx, own.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.WhoAmI(ctx, authn.Credential{Token: p.Token}); !errors.Is(err, ory.ErrSession) {
		t.Errorf("after its end: %v", err)
	}
	if after, err := c.Sessions(ctx, identity); err != nil || len(after) != len(list)-1 {
		t.Errorf("%d sessions, %v, want %d", len(after), err, len(list)-1)
	}
	stranger, err := c.FindOrCreate(ctx, text("stranger@example.test"))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := c.Sessions(ctx, stranger); err != nil || len(list) != 0 {
		t.Errorf("of who never signed in: %v, %v", list, err)
	}
	if _, err := c.Verified(ctx, "00000000-0000-4000-8000-000000000000"); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("of nobody: %v", err)
	}
}

// TestProviderOfIdentities: Kratos takes the documented settings of a national
// eID, and offers it.
func TestProviderOfIdentities(t *testing.T) {
	page, err := os.ReadFile("../../deploy/kratos/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(yaml|jsonnet)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks", len(blocks))
	}
	dir := t.TempDir()
	mapper := filepath.Join(dir, "eid.jsonnet")
	settings := "    " + strings.ReplaceAll(strings.ReplaceAll(blocks[0][2], "/etc/kratos/eid.jsonnet", mapper), "\n", "\n    ")
	for path, content := range map[string]string{mapper: blocks[1][2], filepath.Join(dir, "oidc.yml"): "selfservice:\n  methods:\n" + settings} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kratos := orytest.StartProduction(t, []string{
		"SELFSERVICE_METHODS_OIDC_CONFIG_PROVIDERS_0_CLIENT_SECRET=secret-of-a-test",
		"SELFSERVICE_METHODS_PASSWORD_CONFIG_HAVEIBEENPWNED_ENABLED=false",
	}, filepath.Join(dir, "oidc.yml"))
	if err := kratos.Client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, kratos.PublicURL+"/self-service/login/browser", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil || !strings.Contains(string(body), "MitID") {
		t.Errorf("the sign-in doesn't offer it: %d %s, %v", res.StatusCode, body, err)
	}
}
