package ory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	ory "github.com/ory/client-go"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/personal"
)

// ErrAuthorization reports that Hydra didn't answer, or not with sense.
var ErrAuthorization = errs.New(errs.Unavailable, "the authorization server doesn't answer just now; try again")

// maxKeySet bounds what is read of Hydra's public keys, in bytes.
const maxKeySet = 1 << 20

// Hydra is a client of one Ory Hydra.
type Hydra struct {
	public, admin *ory.APIClient
	issuer        string
}

var (
	_ oauth.Server      = (*Hydra)(nil)
	_ authn.TokenServer = (*Hydra)(nil)
)

// NewHydra returns a client of the Hydra with these two addresses. The public one
// is its issuer. The admin address has no authentication of its own and belongs
// in a private network.
func NewHydra(publicURL, adminURL string) *Hydra {
	public, admin := connect(publicURL, adminURL)
	return &Hydra{public, admin, strings.TrimSuffix(publicURL, "/")}
}

// Issuer is who Hydra's tokens say that they are from, without a slash at its end.
func (h *Hydra) Issuer() string { return h.issuer }

// TokenURL is where clients get tokens.
func (h *Hydra) TokenURL() string { return h.issuer + "/oauth2/token" }

// Ready returns nil when Hydra and its database answer.
func (h *Hydra) Ready(ctx context.Context) error { return ready(ctx, h.admin, "hydra") }

// PutClient implements oauth.Server.
func (h *Hydra) PutClient(
	ctx context.Context, clientID string, secret personal.Text, format oauth.TokenFormat, audience string,
) error {
	body := ory.NewOAuth2Client()
	body.SetClientId(clientID)
	body.SetClientSecret(secret.Reveal())
	body.SetGrantTypes([]string{"client_credentials"})
	body.SetResponseTypes([]string{})
	body.SetScope("vogter") // an empty one would stand for all that Hydra has
	body.SetAudience([]string{audience})
	body.SetTokenEndpointAuthMethod("client_secret_basic")
	body.SetAccessTokenStrategy(strings.ToLower(string(format)))

	_, res, err := h.admin.OAuth2API.SetOAuth2Client(ctx, clientID).OAuth2Client(*body).Execute()
	drop(res)
	if res != nil && res.StatusCode == http.StatusNotFound {
		_, res, err = h.admin.OAuth2API.CreateOAuth2Client(ctx).OAuth2Client(*body).Execute()
		drop(res)
	}
	if err != nil {
		return fmt.Errorf("put client: %w", ErrAuthorization.Because(failed(res, err)))
	}
	return nil
}

// DeleteClient implements oauth.Server.
func (h *Hydra) DeleteClient(ctx context.Context, clientID string) error {
	res, err := h.admin.OAuth2API.DeleteOAuth2Client(ctx, clientID).Execute()
	drop(res)
	if err != nil && (res == nil || res.StatusCode != http.StatusNotFound) {
		return fmt.Errorf("delete client %s: %w", clientID, ErrAuthorization.Because(failed(res, err)))
	}
	return nil
}

// Introspect implements authn.TokenServer.
func (h *Hydra) Introspect(ctx context.Context, token string) (authn.Token, error) {
	said, res, err := h.admin.OAuth2API.IntrospectOAuth2Token(ctx).Token(token).Execute()
	drop(res)
	if err != nil {
		return authn.Token{}, fmt.Errorf("introspect token: %w", ErrAuthorization.Because(failed(res, err)))
	}
	if !said.GetActive() || said.GetTokenUse() != "access_token" {
		return authn.Token{}, nil
	}
	return authn.Token{
		Client: said.GetClientId(), Subject: said.GetSub(), Issuer: said.GetIss(), Audience: said.GetAud(),
		ExpiresAt: time.Unix(said.GetExp(), 0), NotBefore: time.Unix(said.GetNbf(), 0),
	}, nil
}

// SigningKeys implements authn.TokenServer.
func (h *Hydra) SigningKeys(ctx context.Context) (keys jose.JSONWebKeySet, err error) {
	res, err := get(ctx, h.public, "/.well-known/jwks.json")
	if err != nil {
		return keys, fmt.Errorf("get signing keys: %w", ErrAuthorization.Because(err))
	}
	defer drop(res)
	if json.NewDecoder(io.LimitReader(res.Body, maxKeySet)).Decode(&keys) != nil {
		return keys, fmt.Errorf("get signing keys: %w", ErrAuthorization.Because(errors.New("answer without sense")))
	}
	return keys, nil
}
