package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/local"
)

// apiKey is an ApiKey with its secret.
type apiKey struct {
	APIKey struct {
		ID      string `json:"id"`
		Version int64  `json:"version"`
		Secrets []struct {
			ExpiresAt *time.Time `json:"expiresAt"`
		} `json:"secrets"`
	} `json:"apiKey"`
	Secret string `json:"secret"`
}

const apiKeyFields = ` apiKey { id version secrets { expiresAt } } `

func (c client) createKey(t *testing.T, input vars) apiKey {
	t.Helper()
	return ask[struct {
		CreateAPIKey apiKey `json:"createApiKey"`
	}](t, c, `mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) {`+apiKeyFields+`secret } }`, vars{"input": input}).CreateAPIKey
}

const rotateKey = `mutation($input: RotateApiKeyInput!) { rotateApiKey(input: $input) {` + apiKeyFields + `secret } }`

func (c client) rotateKey(t *testing.T, id string, hours int) apiKey {
	t.Helper()
	return ask[struct {
		RotateAPIKey apiKey `json:"rotateApiKey"`
	}](t, c, rotateKey, vars{"input": vars{"id": id, "overlapHours": hours}}).RotateAPIKey
}

// refusal is why the door doesn't open to a credential, "" when it does.
func (c client) refusal(t *testing.T, headers ...string) (code, message string) {
	t.Helper()
	_, faults := c.graphql(t, `{ viewer { id } }`, nil, headers...)
	if len(faults) == 0 {
		return "", ""
	}
	return faults[0].Extensions.Code, faults[0].Message
}

func TestAPIKeyRotationUnderLoad(t *testing.T) {
	const clients, calls = 8, 40
	p := running(t)
	owner := p.member(t, first, "OWNER")
	key := owner.createKey(t, vars{"name": "portal", "permissions": []string{"NODE_READ"}})
	var current atomic.Pointer[string]
	current.Store(&key.Secret)
	var made [clients]atomic.Int64
	var refused atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := client{base: p.stack.Env().API, token: *current.Load()}
				a, err := c.send(t.Context(), http.MethodPost, "/graphql", strings.NewReader(`{"query":"{ viewer { id } }"}`),
					"Content-Type", "application/json")
				if err != nil || a.status != http.StatusOK || !bytes.Contains(a.body, []byte(key.APIKey.ID)) {
					refused.Add(1)
				}
				made[i].Add(1)
			}
		})
	}
	more := func() {
		for i := range made {
			want := made[i].Load() + calls
			eventually(t, time.Minute, "calls are made", func() bool { return made[i].Load() >= want })
		}
	}
	more()
	rotated := owner.rotateKey(t, key.APIKey.ID, 1)
	if len(rotated.APIKey.Secrets) != 2 || rotated.Secret == key.Secret {
		t.Errorf("got %d secrets", len(rotated.APIKey.Secrets))
	}
	more() // with the old one
	current.Store(&rotated.Secret)
	more() // with the new one
	close(stop)
	wg.Wait()
	if n := refused.Load(); n > 0 {
		t.Errorf("%d calls were refused", n)
	}
	if code := thirdSecret(t, owner, key.APIKey.ID); code != "PRECONDITION" {
		t.Errorf("a third secret gives %q", code)
	}
	last := owner.rotateKey(t, key.APIKey.ID, 0)
	for _, old := range []string{key.Secret, rotated.Secret} {
		if code, _ := (client{base: owner.base, token: old}).refusal(t); code != "UNAUTHENTICATED" {
			t.Errorf("an ended secret gives %q", code)
		}
	}
	if code, _ := (client{base: owner.base, token: last.Secret}).refusal(t); code != "" {
		t.Errorf("the new secret gives %q", code)
	}
	if code := thirdSecret(t, p.member(t, second, "OWNER"), key.APIKey.ID); code != "NOT_FOUND" {
		t.Errorf("the second tenant gets %q", code)
	}
}

// thirdSecret asks for one secret too many and returns the code.
func thirdSecret(t *testing.T, c client, id string) string {
	t.Helper()
	return refused(t, c, rotateKey, vars{"input": vars{"id": id, "overlapHours": 1}})
}

func TestKeysAreBoundToNetworks(t *testing.T) {
	p := running(t)
	owner := p.member(t, first, "OWNER")
	key := owner.createKey(t, vars{"name": "portal", "networks": []string{"192.0.2.0/24"}})
	c := client{base: owner.base, token: key.Secret}
	_, unknown := client{base: owner.base, token: key.Secret + "a"}.refusal(t)
	// Nobody in front of us may say whose call it is.
	for _, headers := range [][]string{nil, {"X-Forwarded-For", "192.0.2.1"}, {"Forwarded", "for=192.0.2.1"}, {"X-Real-Ip", "192.0.2.1"}} {
		if code, message := c.refusal(t, headers...); code != "UNAUTHENTICATED" || message != unknown {
			t.Errorf("%v: got %s %q, and for an unknown key %q", headers, code, message, unknown)
		}
	}
	ask[any](t, owner, `mutation($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { apiKey { networks } } }`,
		vars{"input": vars{"id": key.APIKey.ID, "expectedVersion": key.APIKey.Version, "networks": []string{"127.0.0.1"}}})
	if code, _ := c.refusal(t); code != "" {
		t.Errorf("from its network: got %q", code)
	}
}

// oauthClient is an OAuthClient with its credentials.
type oauthClient struct {
	OAuthClient struct {
		ID        string     `json:"id"`
		ReadyAt   *time.Time `json:"readyAt"`
		RevokedAt *time.Time `json:"revokedAt"`
	} `json:"oauthClient"`
	Credentials *struct {
		ClientID     string `json:"clientId"`
		ClientSecret string `json:"clientSecret"`
		TokenURL     string `json:"tokenUrl"`
		Audience     string `json:"audience"`
	} `json:"credentials"`
}

const oauthFields = ` oauthClient { id readyAt revokedAt } `

func (c client) createOAuthClient(t *testing.T, input vars, headers ...string) oauthClient {
	t.Helper()
	return ask[struct {
		CreateOAuthClient oauthClient `json:"createOAuthClient"`
	}](t, c, `mutation($input: CreateOAuthClientInput!) { createOAuthClient(input: $input) {`+oauthFields+
		`credentials { clientId clientSecret tokenUrl audience } } }`, vars{"input": input}, headers...).CreateOAuthClient
}

// accessToken gets a token as the client would; "" when it is refused.
func (o *oauthClient) accessToken(t *testing.T) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {o.Credentials.Audience}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.Credentials.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(o.Credentials.ClientID, o.Credentials.ClientSecret)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.Token
}

func TestOAuthClients(t *testing.T) {
	p := running(t)
	owner, stranger := p.member(t, first, "OWNER"), p.member(t, second, "OWNER")
	for _, format := range []string{"OPAQUE", "JWT"} {
		t.Run(format, func(t *testing.T) {
			input := vars{"name": "shop", "permissions": []string{"TENANT_READ"}, "tokenFormat": format}
			made := owner.createOAuthClient(t, input, "Idempotency-Key", "shop "+format)
			again := owner.createOAuthClient(t, input, "Idempotency-Key", "shop "+format)
			id := made.OAuthClient.ID
			if made.OAuthClient.ReadyAt == nil || made.Credentials == nil || again.OAuthClient.ID != id || again.Credentials != nil {
				t.Fatalf("got %+v, and in a replay %+v", made, again)
			}
			c := client{base: owner.base, token: made.accessToken(t)}
			viewer := ask[struct {
				Viewer struct {
					ID          string   `json:"id"`
					Kind        string   `json:"kind"`
					Permissions []string `json:"permissions"`
					Tenant      struct {
						ID string `json:"id"`
					} `json:"tenant"`
				} `json:"viewer"`
			}](t, c, `{ viewer { id kind permissions tenant { id } } }`, nil).Viewer
			if viewer.ID != id || viewer.Kind != "MACHINE" || viewer.Tenant.ID != p.tenant(t, first).ID ||
				len(viewer.Permissions) != 1 || viewer.Permissions[0] != "TENANT_READ" {
				t.Errorf("got %+v", viewer)
			}
			if code := refused(t, c, `{ datasets { id } }`, nil); code != "FORBIDDEN" {
				t.Errorf("what it wasn't given: got %q", code)
			}
			if code, _ := c.refusal(t, "Vogter-Tenant", p.tenant(t, second).ID); code != "FORBIDDEN" {
				t.Errorf("another tenant: got %q", code)
			}

			const revoke = `mutation($input: RevokeOAuthClientInput!) { revokeOAuthClient(input: $input) {` + oauthFields + `} }`
			const rotate = `mutation($input: RotateOAuthClientSecretInput!) { rotateOAuthClientSecret(input: $input) {` + oauthFields + `} }`
			for _, document := range []string{revoke, rotate} {
				if code := refused(t, stranger, document, vars{"input": vars{"id": id}}); code != "NOT_FOUND" {
					t.Errorf("the second tenant gets %q", code)
				}
			}
			if data, _ := stranger.graphql(t, `{ oauthClients { id } }`, nil); bytes.Contains(data, []byte(id)) {
				t.Error("the second tenant sees it")
			}

			ask[any](t, owner, rotate, vars{"input": vars{"id": id}})
			if made.accessToken(t) != "" {
				t.Error("the old secret still gets tokens")
			}
			if code, _ := c.refusal(t); code != "" {
				t.Errorf("a token from before the rotation: got %q", code)
			}
			ask[any](t, owner, revoke, vars{"input": vars{"id": id}})
			if code, _ := c.refusal(t); code != "UNAUTHENTICATED" {
				t.Errorf("a token of the revoked client: got %q", code)
			}
		})
	}
	t.Run("a revoked client gets no tokens", func(t *testing.T) {
		made := owner.createOAuthClient(t, vars{"name": "shop", "tokenFormat": "JWT"})
		ask[any](t, owner, `mutation($input: RevokeOAuthClientInput!) { revokeOAuthClient(input: $input) {`+oauthFields+`} }`,
			vars{"input": vars{"id": made.OAuthClient.ID}})
		eventually(t, 30*time.Second, "the authorization server has forgotten it", func() bool { return made.accessToken(t) == "" })
	})
}

func TestAuthorizationServerDown(t *testing.T) {
	p := running(t)
	owner := p.member(t, first, "OWNER")
	signed := owner.createOAuthClient(t, vars{"name": "signed", "tokenFormat": "JWT"})
	opaque := owner.createOAuthClient(t, vars{"name": "opaque", "tokenFormat": "OPAQUE"})
	jwt, fresh := client{base: owner.base, token: signed.accessToken(t)}, client{base: owner.base, token: opaque.accessToken(t)}
	if code, _ := jwt.refusal(t); code != "" { // the keys are known now
		t.Fatalf("got %q", code)
	}
	pid := p.stack.PID(local.PartHydra)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	defer resume()
	if code, _ := jwt.refusal(t); code != "" {
		t.Errorf("signed: got %q", code)
	}
	if code, _ := p.machine(t, first).refusal(t); code != "" {
		t.Errorf("API key: got %q", code)
	}
	if code, _ := fresh.refusal(t); code != "UNAVAILABLE" {
		t.Errorf("opaque: got %q", code)
	}
	if a := owner.call(t, http.MethodGet, "/readyz", http.NoBody); a.status != http.StatusOK || !bytes.Contains(a.body, []byte(`"authorization":"down"`)) {
		t.Errorf("readiness: %d %s", a.status, a.body)
	}
	resume()
	eventually(t, 30*time.Second, "opaque tokens work again", func() bool {
		code, _ := fresh.refusal(t)
		return code == ""
	})
}
