// Package machine has what all machine clients share, whether they prove
// themselves with an API key or an OAuth token: what they may do, from where
// and until when, and when they last did.
package machine

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	// MaxClients is how many clients of a kind a tenant can have, revoked ones included.
	MaxClients  = 1000
	maxName     = 200
	maxNetworks = 100
)

// Client is a machine that works for a tenant.
type Client struct {
	ID          string
	Name        string
	Permissions []authz.Permission
	Clearances  []authz.Clearance
	Networks    []string // in CIDR notation; any when empty
	CreatedAt   time.Time
	// DocumentsOnly binds its GraphQL calls to the tenant's registered documents.
	DocumentsOnly bool
	ExpiresAt     *time.Time
	RevokedAt     *time.Time
	LastUsedAt    *time.Time // accurate to UsesEvery
	Version       int64
}

// CreateInput asks for a client.
type CreateInput struct {
	Name        string
	Permissions []authz.Permission // those of authz.ForKeys that the creator has when nil
	Clearances  []authz.Clearance  // none when nil
	Networks    []string           // any when empty
	ExpiresAt   *time.Time

	DocumentsOnly bool
}

// New returns the client with this id that the caller in ctx asks for at now. A
// client may never do more than its creator may, nor is it cleared for more,
// unless that is the platform or its operator, who set up a tenant's first.
func New(ctx context.Context, a authz.Authorizer, clientID string, in CreateInput, now time.Time) (Client, error) {
	c := Client{
		ID: clientID, Permissions: in.Permissions, Clearances: in.Clearances, CreatedAt: now.UTC().Truncate(time.Millisecond),
		ExpiresAt: in.ExpiresAt, DocumentsOnly: in.DocumentsOnly, Version: 1,
	}
	holdable := authz.ForKeys()
	if c.Permissions == nil {
		c.Permissions = slices.DeleteFunc(slices.Clone(holdable), func(p authz.Permission) bool { return !a.Can(ctx, p).Allowed })
	}
	for _, p := range c.Permissions {
		if !slices.Contains(holdable, p) {
			return c, errs.New(errs.Invalid, "a machine client can't hold %s", p).At("permissions")
		}
	}
	if err := c.given(ctx, a); err != nil {
		return c, err
	}
	if c.ExpiresAt != nil && !c.ExpiresAt.After(now) {
		return c, errs.New(errs.Invalid, "it has to expire in the future").At("expiresAt")
	}
	if err := c.Rename(in.Name); err != nil {
		return c, err
	}
	return c, c.Bind(in.Networks)
}

// given fails unless the caller in ctx can give all that the client holds.
func (c *Client) given(ctx context.Context, a authz.Authorizer) error {
	for _, p := range c.Permissions {
		if !a.Can(ctx, p).Allowed {
			return errs.New(errs.Forbidden, "you can't give a permission that you don't have: %s", p).At("permissions")
		}
	}
	creator := authz.FromContext(ctx)
	if creator.Kind == authz.KindSystem || creator.Kind == authz.KindOperator && creator.BreakGlass == "" {
		return nil
	}
	for _, clearance := range c.Clearances {
		if !slices.Contains(creator.Clearances, clearance) {
			return errs.New(errs.Forbidden, "you can't give a clearance that you don't have: %s", clearance).At("clearances")
		}
	}
	return nil
}

// ErrBeyond reports a caller who asks for the secret of a client that may do or
// see more than they could give it.
var ErrBeyond = errs.New(errs.Forbidden, "the client may do or see more than you: ask somebody who can give all that it holds for a new secret, or revoke it").Under("machine.beyond")

// Entrust fails with ErrBeyond unless the caller in ctx may have a secret of the
// client: with it they are the client.
func (c *Client) Entrust(ctx context.Context, a authz.Authorizer) error {
	if c.given(ctx, a) != nil {
		return ErrBeyond
	}
	return nil
}

// Rename gives the client a name of 1 to 200 characters.
func (c *Client) Rename(name string) error {
	name = strings.TrimSpace(name)
	if name == "" || utf8.RuneCountInString(name) > maxName {
		return errs.New(errs.Invalid, "a name has 1 to %d characters", maxName).At("name")
	}
	c.Name = name
	return nil
}

// Bind lets the client call from these networks only, from any when there are none.
func (c *Client) Bind(networks []string) error {
	list, err := network.ParseList(networks)
	if err != nil {
		return errs.At(err, "networks")
	}
	if len(list) > maxNetworks {
		return errs.New(errs.Invalid, "a client is bound to at most %d networks", maxNetworks).At("networks")
	}
	c.Networks = list.Strings()
	return nil
}

// Reason says why a client was refused: to who watches over the platform, never
// to the caller.
type Reason string

// The reasons.
const (
	Secret  Reason = "SECRET" // the client exists and this isn't its secret
	Revoked Reason = "REVOKED"
	Expired Reason = "EXPIRED"
	Network Reason = "NETWORK" // it isn't bound to the network that the call came from
)

// Denied is told of each client that was refused, with the tenant, the address
// (package network) and the particulars of the call (audit.RequestFrom) in ctx.
// It mustn't block.
type Denied func(ctx context.Context, clientID string, reason Reason)

// Refusal returns why the client may not call at now from the address in ctx, ""
// when it may.
func (c *Client) Refusal(ctx context.Context, now time.Time) Reason {
	switch {
	case c.RevokedAt != nil:
		return Revoked
	case c.ExpiresAt != nil && !now.Before(*c.ExpiresAt):
		return Expired
	case len(c.Networks) > 0:
		list, err := network.ParseList(c.Networks)
		if err != nil || !list.Contains(network.AddrFrom(ctx)) {
			return Network
		}
	}
	return ""
}

// Principal returns the client as a caller.
func (c *Client) Principal(of tenant.ID) authz.Principal {
	return authz.Principal{
		Kind: authz.KindMachine, ID: c.ID, Tenant: of, Credential: c.ID, Grants: c.Permissions, Clearances: c.Clearances,
		DocumentsOnly: c.DocumentsOnly,
	}
}
