// Package oauth keeps a tenant's OAuth clients: machines that get short-lived
// access tokens from the authorization server (Ory Hydra) with an id and a
// secret, and call with those. The server knows the secret and issues the
// tokens; whose the client is, and what it may do, is known here alone.
//
// A client's row is written before the server hears of it, and read for each
// call: whatever breaks off in between leaves nothing that works without a row.
package oauth

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/machine"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

// JobRemove makes the authorization server forget a revoked client.
const JobRemove = "oauth:remove"

// TokenFormat is the form of a client's access tokens.
type TokenFormat string

// The forms.
const (
	// Opaque tokens are looked up at the authorization server, and need it running.
	Opaque TokenFormat = "OPAQUE"
	// JWT tokens are signed and checked without asking the authorization server.
	JWT TokenFormat = "JWT"
)

const (
	secretBytes = 32
	// issueTimeout bounds what the authorization server may take to learn a secret.
	issueTimeout = 15 * time.Second
	// busyFor keeps others from giving a client another secret at the same time;
	// longer than issueTimeout.
	busyFor = 30 * time.Second
)

// Client is an OAuth client. Its id is the client_id.
type Client struct {
	machine.Client
	TokenFormat TokenFormat
	ReadyAt     *time.Time // when the authorization server first knew it
	BusyUntil   time.Time  // a secret is on its way to the authorization server
}

// Credentials are what a client needs to get tokens. The secret redacts itself.
type Credentials struct {
	ClientID     string
	ClientSecret personal.Text
	TokenURL     string
	Audience     string // must be asked for: tokens for other services aren't taken
}

// CreateInput asks for a client.
type CreateInput struct {
	machine.CreateInput
	TokenFormat TokenFormat
}

// RotateSecretInput asks for a new secret.
type RotateSecretInput struct {
	ID string
}

// RevokeInput asks for the end of a client.
type RevokeInput struct {
	ID string
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such OAuth client")
	// ErrRefused says nothing of why.
	ErrRefused = errs.New(errs.Unauthenticated, "the access token isn't valid here: it may have expired, been issued for another service, or its client been revoked or bound to other networks")
	ErrRevoked = errs.New(errs.Precondition, "the OAuth client is revoked: create another")
	ErrBusy    = errs.New(errs.Conflict, "the client is being given a secret by another call: try again in half a minute")
	ErrOff     = errs.New(errs.Precondition, "OAuth is off on this platform: it runs without an authorization server; use API keys")
)

// Store keeps clients.
type Store interface {
	machine.UseStore
	Get(ctx context.Context, clientID string) (*Client, error)
	List(ctx context.Context, limit int) ([]*Client, error)
	Insert(ctx context.Context, c *Client) error
	// Update replaces what can change of a client, unless its version isn't the
	// one before: then it fails with change.ErrVersion.
	Update(ctx context.Context, c *Client) error
}

// Server is the authorization server.
type Server interface {
	// PutClient makes a client, or replaces it, that gets access tokens of this
	// form for the audience by client credentials, and nothing else.
	PutClient(ctx context.Context, clientID string, secret personal.Text, format TokenFormat, audience string) error
	// DeleteClient ends a client and all its tokens. One that isn't there is no error.
	DeleteClient(ctx context.Context, clientID string) error
}

// Config is what a Service is made of.
type Config struct {
	Store      Store
	Server     Server // nil: OAuth is off
	Changes    *change.Runner
	Authorizer authz.Authorizer
	Denied     machine.Denied // may be nil
	Log        *slog.Logger
	Now        func() time.Time
	// Audience names this platform in tokens, and TokenURL is where they are got.
	Audience, TokenURL string
}

// Service keeps a tenant's clients.
type Service struct {
	Config
	uses *machine.Uses
}

// NewService returns a Service.
func NewService(c Config) *Service {
	if c.Denied == nil {
		c.Denied = func(context.Context, string, machine.Reason) {}
	}
	return &Service{c, machine.NewUses(c.Store, c.Log)}
}

// Run writes down when clients called, until ctx ends.
func (s *Service) Run(ctx context.Context) error { return s.uses.Run(ctx) }

// Create makes a client. Its credentials are returned this once; in a replay they
// are nil, unless the call before failed to make them.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Client, *Credentials, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, nil, err
	}
	if s.Server == nil {
		return nil, nil, ErrOff
	}
	c := &Client{TokenFormat: in.TokenFormat, BusyUntil: s.busy()}
	if c.Client, err = machine.New(ctx, s.Authorizer, id.New(id.OAuthClient, of), in.CreateInput, s.Now()); err != nil {
		return nil, nil, err
	}
	clientID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		have, err := s.Store.List(ctx, machine.MaxClients)
		if err != nil {
			return change.Change{}, err
		}
		if len(have) >= machine.MaxClients {
			return change.Change{}, errs.New(errs.Limited, "a tenant has at most %d OAuth clients", machine.MaxClients)
		}
		return change.Change{Action: "oauthClient.create", Object: c.ID}, s.Store.Insert(ctx, c)
	})
	if err != nil {
		return nil, nil, err
	}
	if clientID == c.ID {
		return s.issue(ctx, c)
	}
	if c, err = s.Store.Get(ctx, clientID); err != nil || c.ReadyAt != nil || c.RevokedAt != nil {
		return c, nil, err
	}
	return s.RotateSecret(ctx, RotateSecretInput{ID: c.ID}) // the call that made it went no further
}

// RotateSecret gives a client a new secret: the one before ends at once. Tokens
// that it got live on until they expire. It fails with machine.ErrBeyond for a
// client that holds more than the caller can give.
func (s *Service) RotateSecret(ctx context.Context, in RotateSecretInput) (*Client, *Credentials, error) {
	if s.Server == nil {
		return nil, nil, ErrOff
	}
	c, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, nil, err
	}
	if err := c.Entrust(ctx, s.Authorizer); err != nil {
		return nil, nil, err
	}
	now, until := s.Now(), s.busy()
	c, err = s.change(ctx, in.ID, "oauthClient.rotateSecret", nil, func(c *Client) error {
		if now.Before(c.BusyUntil) {
			return ErrBusy
		}
		c.BusyUntil = until
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return s.issue(ctx, c)
}

// issue gives a client whose row says that it is busy a new secret. It goes
// through with it though the caller may be gone: the server may have heard.
func (s *Service) issue(ctx context.Context, c *Client) (*Client, *Credentials, error) {
	random := make([]byte, secretBytes)
	rand.Read(random)
	secret := personal.NewText(id.Encode(random))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueTimeout)
	defer cancel()
	if err := s.Server.PutClient(ctx, c.ID, secret, c.TokenFormat, s.Audience); err != nil {
		return nil, nil, fmt.Errorf("register OAuth client %s: %w", c.ID, err)
	}
	now := s.now()
	c, err := s.change(ctx, c.ID, "oauthClient.register", nil, func(c *Client) error {
		if c.ReadyAt == nil {
			c.ReadyAt = &now
		}
		c.BusyUntil = time.Time{}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return c, &Credentials{ClientID: c.ID, ClientSecret: secret, TokenURL: s.TokenURL, Audience: s.Audience}, nil
}

// Revoke ends a client at once, with all its tokens. Revoking it again changes nothing.
func (s *Service) Revoke(ctx context.Context, in RevokeInput) (*Client, error) {
	c, err := s.Get(ctx, in.ID)
	if err != nil || c.RevokedAt != nil {
		return c, err
	}
	now := s.now()
	// Not while a secret may be on its way, which would make the client anew.
	remove := []job.Spec{{Type: JobRemove, Object: c.ID, NotBefore: c.BusyUntil}}
	return s.change(ctx, in.ID, "oauthClient.revoke", remove, func(c *Client) error {
		c.RevokedAt = &now
		return nil
	})
}

// Remove makes the authorization server forget a revoked client.
func (s *Service) Remove(ctx context.Context, clientID string) error {
	if s.Server == nil {
		return ErrOff
	}
	return s.Server.DeleteClient(ctx, clientID)
}

// change changes a client that isn't revoked.
func (s *Service) change(
	ctx context.Context, clientID, action string, then []job.Spec, apply func(c *Client) error,
) (c *Client, err error) {
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if c, err = s.Get(ctx, clientID); err != nil {
			return change.Change{}, err
		}
		if c.RevokedAt != nil {
			return change.Change{}, ErrRevoked
		}
		if err := apply(c); err != nil {
			return change.Change{}, err
		}
		c.Version++
		return change.Change{Action: action, Object: c.ID, Then: then}, s.Store.Update(ctx, c)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Get returns a client, or ErrNotFound.
func (s *Service) Get(ctx context.Context, clientID string) (*Client, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.OAuthClient, of, clientID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Get(ctx, clientID)
}

// List returns all clients of the tenant, the newest first.
func (s *Service) List(ctx context.Context) ([]*Client, error) {
	return s.Store.List(ctx, machine.MaxClients)
}

// Authenticate returns the machine client for which a valid access token was
// issued, or ErrRefused. Its row is read each time, so that a revocation holds at
// once, and it is the row that says whose the client is.
func (s *Service) Authenticate(ctx context.Context, clientID string) (authz.Principal, error) {
	of, ok := id.TenantOf(clientID)
	if !ok {
		return authz.Principal{}, ErrRefused
	}
	ctx = tenant.NewContext(ctx, of)
	c, err := s.Get(ctx, clientID)
	if errs.KindOf(err) == errs.NotFound {
		return authz.Principal{}, ErrRefused
	}
	if err != nil {
		return authz.Principal{}, err
	}
	now := s.Now()
	if reason := c.Refusal(ctx, now); reason != "" {
		s.Denied(ctx, c.ID, reason)
		return authz.Principal{}, ErrRefused
	}
	if c.ReadyAt == nil {
		return authz.Principal{}, ErrRefused
	}
	s.uses.Note(machine.Use{Client: c.ID}, now)
	return c.Principal(of), nil
}

func (s *Service) now() time.Time  { return s.Now().UTC().Truncate(time.Millisecond) }
func (s *Service) busy() time.Time { return s.now().Add(busyFor) }
