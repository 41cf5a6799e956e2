package authz

import "context"

type refusalKey struct{}

// WithRefusal returns ctx of a caller who signed in and acts for no tenant, with
// the error that says why: a person without a membership, or without a choice.
func WithRefusal(ctx context.Context, why error) context.Context {
	return context.WithValue(ctx, refusalKey{}, why)
}

// Refusal returns what a call without a principal is refused with: that of
// WithRefusal, or else ErrUnauthenticated.
func Refusal(ctx context.Context) error {
	if why, ok := ctx.Value(refusalKey{}).(error); ok {
		return why
	}
	return ErrUnauthenticated
}
