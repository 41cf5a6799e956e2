package trail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
)

// Access is what a person is told of an entry about them: when, in which role
// somebody did what kind of thing, and why. It names nobody: who of the staff it
// was is not the person's to know by default (CJEU C-579/21, DOMAIN §2.7).
type Access struct {
	ID      string
	At      time.Time
	By      AccessBy
	Role    *authz.Role // that a member or operator had then; nil of others
	Action  string      // "record.read"
	Objects int         // how many things were touched
	Purpose *string
}

// AccessBy is the kind of caller who saw or changed a person's data.
type AccessBy string

// The kinds.
const (
	Staff    AccessBy = "STAFF"    // a member of the tenant
	System   AccessBy = "SYSTEM"   // a machine client, or the platform by itself
	Provider AccessBy = "PROVIDER" // an operator
	You      AccessBy = "YOU"
)

type (
	// AccessConnection is a page of accesses.
	AccessConnection = page.Connection[*Access]
	// AccessEdge is an access on a page.
	AccessEdge = page.Edge[*Access]
)

// selfScan is how many entries are read at once: more than a page, for some may
// not be shown.
const selfScan = 200

// Self returns who saw or changed the data of the person who is calling, the
// newest first. What touched only data that the law keeps secret from the person
// is left out, as if it weren't there; so is what can't be told from it.
func (s *Service) Self(ctx context.Context, r page.Request) (*AccessConnection, error) {
	who := authz.FromContext(ctx)
	if who.Subject == "" {
		return nil, ErrNoSubject
	}
	of := page.List{Of: id.Audit, Scope: "self:" + who.Subject}
	after, err := of.After(ctx, r)
	if err != nil {
		return nil, err
	}
	var shown []*Access
	err = s.accesses(ctx, &Filter{Subject: &who.Subject}, after, func(a *Access) bool {
		shown = append(shown, a)
		return len(shown) <= r.First
	})
	if err != nil {
		return nil, err
	}
	at := func(a *Access) page.Position { return page.Position{CreatedAt: a.At, ID: a.ID} }
	return page.Of(of, r, shown, at), s.Recorder.Read(ctx, "access.read", who.Subject)
}

// Accesses calls visit for what Self tells a person, up to a time and the newest
// first, for a package of what is kept on them. The caller records the read.
func (s *Service) Accesses(ctx context.Context, subjectID string, until time.Time, visit func(*Access) error) (err error) {
	read := s.accesses(ctx, &Filter{Subject: &subjectID, To: &until}, nil, func(a *Access) bool {
		err = visit(a)
		return err == nil
	})
	return errors.Join(read, err)
}

// accesses visits what a person, by whom the filter is, is told behind a position,
// until visit returns false.
func (s *Service) accesses(ctx context.Context, f *Filter, after *page.Position, visit func(*Access) bool) error {
	for {
		read, err := s.Store.Page(ctx, f, after, selfScan)
		if err != nil {
			return fmt.Errorf("read accesses: %w", err)
		}
		for _, e := range read {
			a, err := s.access(ctx, e, *f.Subject)
			if err != nil {
				return err
			}
			if a != nil && !visit(a) {
				return nil
			}
		}
		if len(read) < selfScan {
			return nil
		}
		last := position(read[len(read)-1])
		after = &last
	}
}

// access returns what the person is told of an entry; nil for nothing.
func (s *Service) access(ctx context.Context, e *Entry, person string) (*Access, error) {
	if err := s.open(ctx, e); err != nil {
		return nil, err
	}
	a := &Access{ID: e.ID, At: e.At, Action: e.Action, Purpose: e.Purpose, By: by(e), Role: e.Actor.Role}
	for _, subject := range e.Subjects {
		if subject.ID != person || subject.State != personal.Clear {
			continue
		}
		for _, touch := range subject.Details {
			if !touch.Secret {
				a.Objects++
			}
		}
	}
	if a.Objects == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	return a, nil
}

// by tells the person what kind of caller it was.
func by(e *Entry) AccessBy {
	switch authz.Kind(e.Actor.Kind) {
	case authz.KindSubject:
		return You
	case authz.KindMember:
		return Staff
	case authz.KindOperator:
		return Provider
	default:
		return System
	}
}
