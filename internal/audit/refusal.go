package audit

import (
	"context"
	"fmt"

	"github.com/vogter/vogter/internal/authz"
)

// Permit returns ctx with the policy that lets the caller do something, or fails
// with authz.ErrUnauthenticated or authz.ErrForbidden naming the permission. A
// refusal of somebody who signed in is in the log, as the action that was tried
// on the object ("" for none), before it is answered.
func (r *Recorder) Permit(
	ctx context.Context, a authz.Authorizer, do authz.Permission, action, object string,
) (context.Context, error) {
	d := a.Can(ctx, do)
	ctx = authz.WithPolicy(ctx, d.Policy)
	switch {
	case d.Allowed:
		return ctx, nil
	case !authz.FromContext(ctx).SignedIn():
		return nil, authz.Refusal(ctx) // there is no tenant in whose log it could be
	}
	if err := r.Refuse(ctx, action, object); err != nil {
		return nil, err
	}
	return nil, d.Err(do)
}

// Refuse writes that the caller was refused an action on an object, and returns
// when that is durable.
func (r *Recorder) Refuse(ctx context.Context, action, object string) error {
	if err := r.Record(ctx, Event{Action: action, Object: object, Outcome: Refused}); err != nil {
		return fmt.Errorf("record refusal: %w", err)
	}
	return nil
}
