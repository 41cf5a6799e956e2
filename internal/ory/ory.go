// Package ory speaks to Ory Kratos, which keeps the members' identities,
// passwords and sessions. Which tenants a person works for is none of its
// business: memberships are ours.
package ory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	ory "github.com/ory/client-go"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/session"
	"github.com/vogter/vogter/internal/tenancy"
)

// Sentinels. The causes that they wrap hold no address and no credential.
var (
	// ErrUnavailable reports that Kratos didn't answer, or not with sense.
	ErrUnavailable = errs.New(errs.Unavailable, "sign-in can't be checked just now; try again")
	// ErrSession reports a session that is unknown, has ended or was revoked.
	ErrSession = errs.New(errs.Unauthenticated, "the session is unknown or over: sign in again")
	// ErrSecondFactor reports a session that lacks the second factor its owner has set up.
	ErrSecondFactor = errs.New(errs.Unauthenticated, "the session lacks its second factor: complete the sign-in")
	// ErrLogin reports a wrong e-mail address or password; it doesn't say which.
	ErrLogin = errs.New(errs.Unauthenticated, "e-mail address or password is wrong")
	// ErrPassword reports a password that is too short.
	ErrPassword = errs.New(errs.Invalid, "a password has at least %d characters", MinPassword).At("password")
)

// MinPassword is the least length of a password in characters. Kratos asks the
// same of people, but not of its admin API.
const MinPassword = 12

// schemaID names the identity schema of Kratos' configuration.
const schemaID = "person"

const timeout = 5 * time.Second

// Client is a client of one Kratos.
type Client struct {
	public, admin *ory.APIClient
}

var (
	_ authn.Sessions     = (*Client)(nil)
	_ tenancy.Identities = (*Client)(nil)
	_ session.Identities = (*Client)(nil)
)

// New returns a client of the Kratos with these two addresses. The admin
// address has no authentication of its own and belongs in a private network.
func New(publicURL, adminURL string) *Client {
	public, admin := connect(publicURL, adminURL)
	return &Client{public, admin}
}

func connect(publicURL, adminURL string) (public, admin *ory.APIClient) {
	// One transport for both: the default keeps two idle connections per host,
	// which is too few for sign-ins that come in bursts.
	const idle = 32
	transport := &http.Transport{
		Proxy: nil, MaxIdleConns: 2 * idle, MaxIdleConnsPerHost: idle,
		IdleConnTimeout: time.Minute, ResponseHeaderTimeout: timeout,
	}
	client := func(at string) *ory.APIClient {
		cfg := ory.NewConfiguration()
		cfg.Servers = ory.ServerConfigurations{{URL: strings.TrimSuffix(at, "/")}}
		cfg.HTTPClient = &http.Client{Timeout: timeout, Transport: transport}
		return ory.NewAPIClient(cfg)
	}
	return client(publicURL), client(adminURL)
}

// Ready returns nil when Kratos and its database answer.
func (c *Client) Ready(ctx context.Context) error { return ready(ctx, c.admin, "kratos") }

func ready(ctx context.Context, admin *ory.APIClient, name string) error {
	res, err := get(ctx, admin, "/health/ready")
	if err == nil {
		err = res.Body.Close()
	}
	if err != nil {
		return fmt.Errorf("ask %s whether it is ready: %w", name, err)
	}
	return nil
}

// get returns an answer of status 200 or fails with ErrUnavailable.
func get(ctx context.Context, api *ory.APIClient, path string) (*http.Response, error) {
	cfg := api.GetConfig()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Servers[0].URL+path, http.NoBody)
	if err != nil {
		return nil, failed(nil, err)
	}
	res, err := cfg.HTTPClient.Do(req)
	if err != nil {
		return nil, failed(nil, err)
	}
	if res.StatusCode != http.StatusOK {
		drop(res)
		return nil, failed(res, nil)
	}
	return res, nil
}

// WhoAmI returns the session that a credential proves, or ErrSession,
// ErrSecondFactor or ErrUnavailable.
func (c *Client) WhoAmI(ctx context.Context, cred authn.Credential) (authn.Session, error) {
	req := c.public.FrontendAPI.ToSession(ctx)
	if cred.Cookie != "" {
		req = req.Cookie(authn.SessionCookie + "=" + cred.Cookie)
	} else {
		req = req.XSessionToken(cred.Token)
	}
	s, res, err := req.Execute()
	drop(res)
	switch {
	case res != nil && res.StatusCode == http.StatusUnauthorized:
		return authn.Session{}, ErrSession
	case res != nil && res.StatusCode == http.StatusForbidden:
		return authn.Session{}, ErrSecondFactor
	case err != nil:
		return authn.Session{}, fmt.Errorf("ask kratos for the session: %w", failed(res, err))
	case !s.GetActive() || s.Identity == nil:
		return authn.Session{}, ErrSession
	}
	return authn.Session{
		ID: s.Id, Identity: s.Identity.Id, AAL: string(s.GetAuthenticatorAssuranceLevel()),
		AuthenticatedAt: s.GetAuthenticatedAt(), ExpiresAt: s.GetExpiresAt(),
	}, nil
}

// FindOrCreate returns the id of the identity with this e-mail address
// and makes it, without a password, if there is none.
func (c *Client) FindOrCreate(ctx context.Context, email personal.Text) (string, error) {
	identity, _, err := c.findOrCreate(ctx, email, nil)
	return identity, err
}

// SetPassword gives the identity with this e-mail address a password, and makes
// the identity if there is none. It is for the demo members of one machine:
// people choose their own by a code that Kratos mails. It fails with ErrPassword.
func (c *Client) SetPassword(ctx context.Context, email, password personal.Text) (string, error) {
	if utf8.RuneCountInString(password.Reveal()) < MinPassword {
		return "", ErrPassword
	}
	config := ory.NewIdentityWithCredentialsPasswordConfig()
	config.SetPassword(password.Reveal())
	credentials := ory.NewIdentityWithCredentials()
	credentials.SetPassword(ory.IdentityWithCredentialsPassword{Config: config})

	identity, created, err := c.findOrCreate(ctx, email, credentials)
	if err != nil || created {
		return identity, err
	}
	body := ory.NewUpdateIdentityBody(schemaID, "active", traits(email))
	body.Credentials = credentials
	_, res, err := c.admin.IdentityAPI.UpdateIdentity(ctx, identity).UpdateIdentityBody(*body).Execute()
	drop(res)
	if err != nil {
		return "", fmt.Errorf("set password of identity %s: %w", identity, failed(res, err))
	}
	return identity, nil
}

func (c *Client) findOrCreate(
	ctx context.Context, email personal.Text, credentials *ory.IdentityWithCredentials,
) (identity string, created bool, err error) {
	body := ory.NewCreateIdentityBody(schemaID, traits(email))
	body.Credentials = credentials
	made, res, err := c.admin.IdentityAPI.CreateIdentity(ctx).CreateIdentityBody(*body).Execute()
	drop(res)
	switch {
	case err == nil:
		return made.Id, true, nil
	case res == nil || res.StatusCode != http.StatusConflict:
		return "", false, fmt.Errorf("create identity: %w", failed(res, err))
	}
	// Kratos takes the address in the query and in no other way.
	found, res, err := c.admin.IdentityAPI.ListIdentities(ctx).CredentialsIdentifier(email.Reveal()).Execute()
	drop(res)
	if err != nil {
		return "", false, fmt.Errorf("find identity: %w", failed(res, err))
	}
	if len(found) != 1 {
		return "", false, fmt.Errorf("find identity: %w", ErrUnavailable.Because(errors.New("kratos has no one identity of a taken address")))
	}
	return found[0].Id, false, nil
}

// Verified returns the addresses that a person has shown to be theirs, by a code
// that was mailed there.
func (c *Client) Verified(ctx context.Context, identity string) ([]personal.Text, error) {
	found, res, err := c.admin.IdentityAPI.GetIdentity(ctx, identity).Execute()
	drop(res)
	if err != nil {
		return nil, fmt.Errorf("find identity %s: %w", identity, failed(res, err))
	}
	var verified []personal.Text
	for _, a := range found.VerifiableAddresses {
		if a.Verified && a.Via == "email" {
			verified = append(verified, personal.NewText(a.Value))
		}
	}
	return verified, nil
}

// maxSessions bounds how many of a person's sessions are looked at.
const maxSessions = 250

// Sessions returns the sessions of a person that haven't ended, the newest first.
func (c *Client) Sessions(ctx context.Context, identity string) ([]*session.Session, error) {
	found, res, err := c.admin.IdentityAPI.ListIdentitySessions(ctx, identity).Active(true).PageSize(maxSessions).Execute()
	drop(res)
	if res != nil && res.StatusCode == http.StatusNotFound { // Kratos has no page of nothing
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list sessions of identity %s: %w", identity, failed(res, err))
	}
	list := make([]*session.Session, len(found))
	for i, s := range found {
		list[i] = &session.Session{
			ID: s.Id, AAL: authz.AAL(s.GetAuthenticatorAssuranceLevel()), AuthenticatedAt: s.GetAuthenticatedAt(),
			IssuedAt: s.GetIssuedAt(), ExpiresAt: s.GetExpiresAt(),
		}
		if devices := s.GetDevices(); len(devices) > 0 {
			list[i].Device = personal.NewText(devices[0].GetUserAgent())
			list[i].Address = personal.NewText(devices[0].GetIpAddress())
		}
	}
	slices.SortFunc(list, func(a, b *session.Session) int { return b.IssuedAt.Compare(a.IssuedAt) })
	return list, nil
}

// End ends a session. One that has ended already is no error.
func (c *Client) End(ctx context.Context, sessionID string) error {
	res, err := c.admin.IdentityAPI.DisableSession(ctx, sessionID).Execute()
	drop(res)
	if err != nil && (res == nil || res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusBadRequest) {
		return fmt.Errorf("end session %s: %w", sessionID, failed(res, err))
	}
	return nil
}

// Login signs a person in without a browser and returns the session's token, to
// be sent as bearer token. It fails with ErrLogin or ErrUnavailable.
func (c *Client) Login(ctx context.Context, email, password personal.Text) (token string, err error) {
	flow, res, err := c.public.FrontendAPI.CreateNativeLoginFlow(ctx).Execute()
	drop(res)
	if err != nil {
		return "", fmt.Errorf("start sign-in: %w", failed(res, err))
	}
	body := ory.NewUpdateLoginFlowWithPasswordMethod(email.Reveal(), "password", password.Reveal())
	done, res, err := c.public.FrontendAPI.UpdateLoginFlow(ctx).Flow(flow.Id).
		UpdateLoginFlowBody(ory.UpdateLoginFlowWithPasswordMethodAsUpdateLoginFlowBody(body)).Execute()
	drop(res)
	switch {
	case res != nil && res.StatusCode == http.StatusBadRequest: // with the flow, which says what is wrong
		return "", ErrLogin
	case err != nil:
		return "", fmt.Errorf("sign in: %w", failed(res, err))
	}
	return done.GetSessionToken(), nil
}

func traits(email personal.Text) map[string]any { return map[string]any{"email": email.Reveal()} }

// drop closes the body, which client-go has read and replaced by a copy.
func drop(res *http.Response) {
	if res != nil && res.Body != nil {
		_ = res.Body.Close()
	}
}

// failed makes ErrUnavailable of a failed call. Its cause names the status or
// the fault of the network and leaves out the address, which may hold an e-mail,
// and the body, which may quote what was sent.
func failed(res *http.Response, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return ErrUnavailable.Because(u.Err)
	}
	if res != nil {
		return ErrUnavailable.Because(fmt.Errorf("status %d%s", res.StatusCode, reason(err)))
	}
	return ErrUnavailable.Because(errors.New("answer without sense"))
}

// reason returns Kratos' id of an error, which is a fixed word.
func reason(err error) string {
	var body struct {
		Error struct {
			ID string `json:"id"`
		} `json:"error"`
	}
	e, ok := errors.AsType[*ory.GenericOpenAPIError](err)
	if !ok || json.Unmarshal(e.Body(), &body) != nil || body.Error.ID == "" {
		return ""
	}
	return " (" + body.Error.ID + ")"
}
