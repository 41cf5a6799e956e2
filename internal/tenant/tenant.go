// Package tenant carries the tenant of a call in its context. It is set in two
// places (the HTTP middleware and the job handler) and read by the stores,
// which fail without it.
package tenant

import (
	"context"

	"github.com/vogter/vogter/internal/errs"
)

// ID is a tenant's opaque id: "ten_" and 16 base32 characters (80 random bits).
type ID string

// ErrNone reports a call that reached a store without a tenant in its context.
// It is always a fault of ours.
var ErrNone = errs.New(errs.Internal, "no tenant in context")

// ErrSystem reports a store method that was called for one tenant but spans
// all, or the other way round.
var ErrSystem = errs.New(errs.Internal, "store method spans tenants and needs a system context")

type (
	key       struct{}
	systemKey struct{}
)

// NewContext returns ctx for the work of tenant id.
func NewContext(ctx context.Context, id ID) context.Context {
	return context.WithValue(ctx, key{}, id)
}

// FromContext returns the tenant that ctx works for, or ErrNone.
func FromContext(ctx context.Context) (ID, error) {
	id, ok := ctx.Value(key{}).(ID)
	if !ok || id == "" {
		return "", ErrNone
	}
	return id, nil
}

// System returns ctx for work that spans tenants: relay, reconciler, sweepers,
// sealer, sign-in and bootstrap. Only the store methods that are named for it
// accept such a context. The reason is a constant for logs.
func System(ctx context.Context, reason string) context.Context {
	return context.WithValue(ctx, systemKey{}, reason)
}

// RequireSystem returns ErrSystem unless ctx was made by System.
func RequireSystem(ctx context.Context) error {
	if reason, ok := ctx.Value(systemKey{}).(string); !ok || reason == "" {
		return ErrSystem
	}
	return nil
}
