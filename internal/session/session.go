// Package session lets a person see and end their own sign-ins. The identity
// server has them; every end is in the audit log of the tenant that the person
// works for, before it is carried out.
package session

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
)

// Session is a sign-in of the person who is calling.
type Session struct {
	ID              string
	Current         bool // the one that the call was made with
	AAL             authz.AAL
	AuthenticatedAt time.Time // when the person last proved who they are
	IssuedAt        time.Time
	ExpiresAt       time.Time
	Device          personal.Text // as the browser or program named itself
	Address         personal.Text // of the network, as the identity server saw it
}

// RevokeInput asks for the end of a session.
type RevokeInput struct{ ID string }

// RevokeOthersInput asks for the end of all sessions but one.
type RevokeOthersInput struct{ Keep *string } // the calling one when nil

// SignOutInput asks for the end of the calling session, or of all.
type SignOutInput struct{ Everywhere bool }

// Sentinels.
var (
	ErrNotFound  = errs.New(errs.NotFound, "you have no such session, or it has ended")
	ErrNoSession = errs.New(errs.Precondition, "this caller has no session: it signed in by a key")
)

// Identities is the identity server.
type Identities interface {
	// Sessions returns the sessions of a person that haven't ended, the newest first.
	Sessions(ctx context.Context, identity string) ([]*Session, error)
	// End ends a session. One that has ended already is no error.
	End(ctx context.Context, sessionID string) error
}

// Forgetter is what servers have cached of who is signed in.
type Forgetter interface {
	// Forget has all servers ask anew who a person is.
	Forget(ctx context.Context, identity string)
}

// Service is for people who signed in.
type Service struct {
	identities Identities
	recorder   *audit.Recorder
	cache      Forgetter
}

// NewService returns a Service.
func NewService(identities Identities, recorder *audit.Recorder, cache Forgetter) *Service {
	return &Service{identities, recorder, cache}
}

// List returns the caller's sessions, the newest first.
func (s *Service) List(ctx context.Context) ([]*Session, error) {
	list, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	return list, s.recorder.Read(ctx, "session.list", "")
}

func (s *Service) own(ctx context.Context) ([]*Session, error) {
	p := authz.FromContext(ctx)
	if p.Identity == "" {
		return nil, ErrNoSession
	}
	list, err := s.identities.Sessions(ctx, p.Identity)
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		o.Current = o.ID == p.Credential
	}
	return list, nil
}

// Revoke ends one of the caller's sessions: at once on this server, and within
// 30 s on all.
func (s *Service) Revoke(ctx context.Context, in RevokeInput) (string, error) {
	_, err := s.end(ctx, func(list []*Session) ([]*Session, error) {
		i := slices.IndexFunc(list, func(o *Session) bool { return o.ID == in.ID })
		if i < 0 {
			return nil, ErrNotFound
		}
		return list[i : i+1], nil
	})
	return in.ID, err
}

// RevokeOthers ends all of the caller's sessions but one, and returns how many.
func (s *Service) RevokeOthers(ctx context.Context, in RevokeOthersInput) (int, error) {
	keep := authz.FromContext(ctx).Credential
	if in.Keep != nil {
		keep = *in.Keep
	}
	return s.end(ctx, func(list []*Session) ([]*Session, error) {
		others := slices.DeleteFunc(slices.Clone(list), func(o *Session) bool { return o.ID == keep })
		if len(others) == len(list) {
			return nil, ErrNotFound.At("keep")
		}
		return others, nil
	})
}

// SignOut ends the calling session, or all of the caller's, and returns how many.
func (s *Service) SignOut(ctx context.Context, in SignOutInput) (int, error) {
	return s.end(ctx, func(list []*Session) ([]*Session, error) {
		return slices.DeleteFunc(list, func(o *Session) bool { return !o.Current && !in.Everywhere }), nil
	})
}

// end ends those of the caller's sessions that choose returns. Each is in the
// log before it ends, and once more should that fail.
func (s *Service) end(ctx context.Context, choose func([]*Session) ([]*Session, error)) (int, error) {
	list, err := s.own(ctx)
	if err != nil {
		return 0, err
	}
	if list, err = choose(list); err != nil {
		return 0, err
	}
	defer s.cache.Forget(ctx, authz.FromContext(ctx).Identity)
	for i, o := range list {
		if err := s.recorder.Record(ctx, audit.Event{Action: "session.revoke", Object: o.ID}); err != nil {
			return i, err
		}
		if err := s.identities.End(ctx, o.ID); err != nil {
			if failed := s.recorder.Record(ctx, audit.Event{Action: "session.revoke", Object: o.ID, Outcome: audit.Failed}); failed != nil {
				return i, failed
			}
			return i, err
		}
	}
	return len(list), nil
}
