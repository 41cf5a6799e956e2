package orytest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
)

// Person goes through Kratos' flows without a browser, as an app of theirs would.
type Person struct {
	PublicURL string
	Address   string
	Password  string
	Token     string // of the session
}

// Flow is what Kratos answers: where it goes on, and what it has to say.
type Flow struct {
	ID string `json:"id"`
	UI struct {
		Action   string    `json:"action"`
		Messages []Message `json:"messages"`
		Nodes    []struct {
			Attributes struct {
				ID   string `json:"id"`
				Text struct {
					Text    string `json:"text"`
					Context struct {
						Secret  string `json:"secret"`
						Secrets []struct {
							Context struct {
								Secret string `json:"secret"`
							} `json:"context"`
						} `json:"secrets"`
					} `json:"context"`
				} `json:"text"`
			} `json:"attributes"`
			Messages []Message `json:"messages"`
		} `json:"nodes"`
	} `json:"ui"`
	SessionToken string `json:"session_token"`
	ContinueWith []struct {
		SessionToken string `json:"ory_session_token"`
	} `json:"continue_with"`
}

// Message is one of Kratos' to a person, by its fixed number.
type Message struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
}

// The messages that tests look for.
const (
	MsgPasswordRefused = 4000005 // says which rule isn't met
	MsgPasswordShort   = 4000032
	MsgPasswordSimilar = 4000031
	MsgPasswordLeaked  = 4000034
	MsgWrongLogin      = 4000006
)

// RefusalError is a step that Kratos didn't take.
type RefusalError struct {
	Status   int
	Messages []Message
	ID       string // of an error without messages, as session_refresh_required
}

func (r *RefusalError) Error() string {
	return fmt.Sprintf("kratos refuses: %d %s %v", r.Status, r.ID, r.Messages)
}

// Says reports whether err is a RefusalError with one of these messages.
func Says(err error, ids ...int) bool {
	r, ok := errors.AsType[*RefusalError](err)
	if !ok {
		return false
	}
	for _, m := range r.Messages {
		if slices.Contains(ids, m.ID) {
			return true
		}
	}
	return false
}

// SignIn signs in by password and keeps the session's token.
func (p *Person) SignIn(ctx context.Context) error {
	return p.login(ctx, "", map[string]any{"method": "password", "identifier": p.Address, "password": p.Password})
}

// SignInAgain proves anew who they are, within the session.
func (p *Person) SignInAgain(ctx context.Context) error {
	return p.login(ctx, "?refresh=true", map[string]any{"method": "password", "identifier": p.Address, "password": p.Password})
}

// SecondFactor raises the session to aal2 by an authenticator app.
func (p *Person) SecondFactor(ctx context.Context, secret string, now time.Time) error {
	code, err := totp.GenerateCode(secret, now)
	if err != nil {
		return err
	}
	return p.login(ctx, "?aal=aal2", map[string]any{"method": "totp", "totp_code": code})
}

// SecondFactorByCode raises the session to aal2 by a recovery code.
func (p *Person) SecondFactorByCode(ctx context.Context, code string) error {
	return p.login(ctx, "?aal=aal2", map[string]any{"method": "lookup_secret", "lookup_secret": code})
}

func (p *Person) login(ctx context.Context, query string, input map[string]any) error {
	f, err := p.start(ctx, "login", query)
	if err != nil {
		return err
	}
	done, err := p.submit(ctx, f, input)
	if err != nil {
		return err
	}
	if done.SessionToken != "" {
		p.Token = done.SessionToken
	}
	return nil
}

// AskForCode has a recovery code mailed.
func (p *Person) AskForCode(ctx context.Context) (*Flow, error) {
	f, err := p.start(ctx, "recovery", "")
	if err != nil {
		return nil, err
	}
	return p.submit(ctx, f, map[string]any{"method": "code", "email": p.Address})
}

// UseCode takes a mailed code and keeps the token of the session that it opens.
func (p *Person) UseCode(ctx context.Context, f *Flow, code string) error {
	done, err := p.submit(ctx, f, map[string]any{"method": "code", "code": code})
	if err != nil {
		return err
	}
	for _, next := range done.ContinueWith {
		if next.SessionToken != "" {
			p.Token = next.SessionToken
			return nil
		}
	}
	return &RefusalError{Status: http.StatusOK, Messages: done.messages()}
}

// Choose chooses a password.
func (p *Person) Choose(ctx context.Context, password string) error {
	_, err := p.settings(ctx, map[string]any{"method": "password", "password": password})
	if err == nil {
		p.Password = password
	}
	return err
}

// Enrol sets up an authenticator app and returns its secret.
func (p *Person) Enrol(ctx context.Context, now time.Time) (secret string, err error) {
	f, err := p.start(ctx, "settings", "")
	if err != nil {
		return "", err
	}
	for _, n := range f.UI.Nodes {
		if n.Attributes.ID == "totp_secret_key" {
			secret = n.Attributes.Text.Context.Secret
		}
	}
	code, err := totp.GenerateCode(secret, now)
	if err != nil {
		return "", err
	}
	_, err = p.submit(ctx, f, map[string]any{"method": "totp", "totp_code": code})
	return secret, err
}

// Codes makes recovery codes and returns them.
func (p *Person) Codes(ctx context.Context) (codes []string, err error) {
	f, err := p.settings(ctx, map[string]any{"method": "lookup_secret", "lookup_secret_regenerate": true})
	if err != nil {
		return nil, err
	}
	for _, n := range f.UI.Nodes {
		if n.Attributes.ID == "lookup_secret_codes" {
			for _, s := range n.Attributes.Text.Context.Secrets {
				codes = append(codes, s.Context.Secret)
			}
		}
	}
	_, err = p.submit(ctx, f, map[string]any{"method": "lookup_secret", "lookup_secret_confirm": true})
	return codes, err
}

func (p *Person) settings(ctx context.Context, input map[string]any) (*Flow, error) {
	f, err := p.start(ctx, "settings", "")
	if err != nil {
		return nil, err
	}
	return p.submit(ctx, f, input)
}

func (p *Person) start(ctx context.Context, flow, query string) (*Flow, error) {
	return p.call(ctx, http.MethodGet, p.PublicURL+"/self-service/"+flow+"/api"+query, nil)
}

func (p *Person) submit(ctx context.Context, f *Flow, input map[string]any) (*Flow, error) {
	u, err := url.Parse(f.UI.Action)
	if err != nil {
		return nil, err
	}
	return p.call(ctx, http.MethodPost, p.PublicURL+u.RequestURI(), input)
}

func (p *Person) call(ctx context.Context, method, address string, input map[string]any) (*Flow, error) {
	var body io.Reader = http.NoBody
	if input != nil {
		b, err := json.Marshal(input)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	if p.Token != "" {
		req.Header.Set("X-Session-Token", p.Token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	var f struct {
		Flow
		Error struct {
			ID string `json:"id"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer, &f); err != nil {
		return nil, fmt.Errorf("%s %s: %d: %w", method, strings.SplitN(address, "?", 2)[0], res.StatusCode, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, &RefusalError{Status: res.StatusCode, Messages: f.messages(), ID: f.Error.ID}
	}
	return &f.Flow, nil
}

func (f *Flow) messages() []Message {
	all := f.UI.Messages
	for _, n := range f.UI.Nodes {
		all = append(all, n.Messages...)
	}
	return all
}
