package consent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// JobInvalidate is the type of the job that invalidates consents: its object is the
// invalidation's id.
const JobInvalidate = "consent:invalidate"

// batchSize is how many persons a sweep or job changes in one transaction.
const batchSize = 100

const maxReason = 2000

// Scope is which consents are meant: those to a purpose, or those under a version of
// a notice.
type Scope struct {
	Purpose string // key
	Notice  string // id
}

// Invalidation is a decision that consents don't hold, carried out by a job.
type Invalidation struct {
	ID     string
	Scope  Scope
	Cause  Cause
	Reason string // about the consents, and no person
	JobID  string
	// Before is until when they were given.
	Before    time.Time
	By        string
	CreatedAt time.Time
}

// InvalidateInput asks for consents to be ended that don't hold. Exactly one of
// Purpose and Notice is given.
type InvalidateInput struct {
	Purpose *string
	Notice  *string
	Cause   Cause
	Reason  string
	// GivenBefore is until when they were given, now when absent.
	GivenBefore *time.Time
}

// ErrNoInvalidation reports that there is no such decision.
var ErrNoInvalidation = errs.New(errs.NotFound, "no such invalidation")

// Invalidate has all consents ended, by a job, that don't hold: to a purpose, or
// under a notice.
func (s *Service) Invalidate(ctx context.Context, in InvalidateInput) (*Invalidation, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	at := s.at()
	i := &Invalidation{
		ID: id.New(id.Invalidation, of), Cause: in.Cause, Reason: strings.TrimSpace(in.Reason), JobID: id.New(id.Job, of), Before: at,
		By: authz.FromContext(ctx).ID, CreatedAt: at,
	}
	if i.Scope, err = s.scope(ctx, in); err != nil {
		return nil, err
	}
	switch in.Cause {
	case MaterialChange, Defective, UnderAge:
	case Validity, Replaced, Stopped, Signal, Restored:
		fallthrough
	default:
		return nil, errs.New(errs.Invalid, "consents are invalid by MATERIAL_CHANGE, DEFECTIVE or UNDER_AGE").At("cause")
	}
	if n := utf8.RuneCountInString(i.Reason); n == 0 || n > maxReason {
		return nil, errs.New(errs.Invalid, "say why, in up to %d characters", maxReason).At("reason")
	}
	if in.GivenBefore != nil && in.GivenBefore.Before(at) {
		i.Before = *in.GivenBefore
	}
	made, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{
			Action: "consent.invalidate", Object: i.ID, Then: []job.Spec{{ID: i.JobID, Type: JobInvalidate, Object: i.ID}},
		}, s.Store.InsertInvalidation(ctx, i)
	})
	if err != nil {
		return nil, err
	}
	if made != i.ID {
		return s.Store.GetInvalidation(ctx, made)
	}
	return i, nil
}

func (s *Service) scope(ctx context.Context, in InvalidateInput) (Scope, error) {
	switch {
	case (in.Purpose == nil) == (in.Notice == nil):
		return Scope{}, errs.New(errs.Invalid, "give either a purpose or a notice")
	case in.Notice != nil:
		_, err := s.Purposes.Notice(ctx, *in.Notice)
		return Scope{Notice: *in.Notice}, errs.At(err, "notice")
	}
	key, err := s.key(ctx, *in.Purpose)
	if err != nil {
		return Scope{}, err
	}
	if _, err = s.Purposes.ByKey(ctx, key); errs.KindOf(err) == errs.Precondition { // retired: all the more
		err = nil
	}
	return Scope{Purpose: key}, errs.At(err, "purpose")
}

// RunInvalidation is the work of JobInvalidate. It can be repeated: what it has
// ended is in force no more.
func (s *Service) RunInvalidation(ctx context.Context, r *job.Run) error {
	i, err := s.Store.GetInvalidation(ctx, r.Object())
	if err != nil {
		return err
	}
	const noted = "ledger"
	if !r.Done(noted) {
		e := ledger.Entry{Kind: ledger.Withdrawal, Tenant: r.Tenant(), Object: i.ID, Units: []string{i.Scope.Purpose + i.Scope.Notice}}
		if _, err := s.Ledger.Append(ctx, e); err != nil {
			return err
		}
		if err := r.Step(ctx, noted); err != nil {
			return err
		}
	}
	done := int64(0)
	return s.invalidate(ctx, i, func(ctx context.Context, n int) error {
		done += int64(n)
		return r.Progress(ctx, done, 0, "consents")
	}, r.Guard)
}

func (s *Service) invalidate(
	ctx context.Context, i *Invalidation, progress func(context.Context, int) error, guard func(context.Context) error,
) error {
	var last *Standing
	for {
		found, err := s.Store.InForce(ctx, i.Scope, i.Before, last, batchSize)
		if err != nil || len(found) == 0 {
			return err
		}
		last = found[len(found)-1]
		if i.Cause == UnderAge {
			if found, err = s.underAge(ctx, found); err != nil {
				return err
			}
		}
		pairs := make([]Pair, len(found))
		for n, st := range found {
			pairs[n] = Pair{st.SubjectID, st.PurposeKey}
		}
		err = s.batch(ctx, pairs, guard, func(t *Track, of tenant.ID, at time.Time) error {
			if !t.Standing.Valid(at) || !i.meets(&t.Standing) {
				return t.settle(at, at, i.By, of)
			}
			_, err := t.move(&step{
				to: Invalidated, actor: Controller, by: i.By, channel: Internal, cause: &i.Cause, at: at, noted: at, evidence: &Evidence{},
			}, of)
			return err
		})
		if err != nil {
			return err
		}
		if err := progress(ctx, len(pairs)); err != nil {
			return err
		}
	}
}

// underAge returns those of standings whose consent is a child's: see ages.underAge.
func (s *Service) underAge(ctx context.Context, standings []*Standing) ([]*Standing, error) {
	own, err := s.Regions.Country(ctx)
	if err != nil {
		return nil, err
	}
	consents, persons := make([]string, len(standings)), make([]string, len(standings))
	for n, st := range standings {
		consents[n], persons[n] = st.ConsentID, st.SubjectID
	}
	answers, err := s.Store.Answers(ctx, consents...)
	if err != nil {
		return nil, err
	}
	slices.Sort(persons)
	found, err := s.Subjects.GetMany(ctx, slices.Compact(persons))
	if err != nil {
		return nil, err
	}
	born := make(map[string]personal.Text, len(found))
	for _, p := range found {
		born[p.ID] = p.BirthDate
	}
	today := civil.Of(s.Now())
	return slices.DeleteFunc(standings, func(st *Standing) bool {
		return !slices.ContainsFunc(answers[st.ConsentID], func(e *Event) bool { return s.ages.underAge(e, born[st.SubjectID], own, today) })
	}), nil
}

// meets reports whether the consent in force is one that is meant.
func (i *Invalidation) meets(st *Standing) bool {
	return (st.PurposeKey == i.Scope.Purpose || st.NoticeID == i.Scope.Notice) && st.Since.Before(i.Before)
}

// batch changes the tracks of pairs of the tenant in ctx in one transaction; if that
// fails for the sake of a person who is being erased, each by itself. guard may be nil.
func (s *Service) batch(
	ctx context.Context, pairs []Pair, guard func(context.Context) error, do func(t *Track, of tenant.ID, at time.Time) error,
) error {
	of, err := tenant.FromContext(ctx)
	if err != nil || len(pairs) == 0 {
		return err
	}
	subjects, owners := make([]string, len(pairs)), make([]vault.Owner, len(pairs))
	for i, p := range pairs {
		subjects[i], owners[i] = p.SubjectID, audit.Evidence(of, p.SubjectID)
	}
	if _, err := s.Vault.Ensure(ctx, owners...); err != nil {
		return err
	}
	at := s.at()
	err = s.Changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
		if guard != nil {
			if err := guard(ctx); err != nil {
				return nil, err
			}
		}
		if err := s.Subjects.GuardStored(ctx, subjects...); err != nil {
			return nil, err
		}
		tracks, err := s.Store.Tracks(ctx, wanted(pairs)...)
		if err != nil {
			return nil, err
		}
		for _, t := range tracks {
			if err := do(t, of, at); err != nil {
				return nil, err
			}
		}
		return s.write(ctx, "", tracks...)
	})
	switch {
	case !errors.Is(err, subject.ErrErased):
		return err
	case len(pairs) == 1:
		return nil // its standing went with the person
	}
	for _, p := range pairs {
		if err := s.batch(ctx, []Pair{p}, guard, do); err != nil {
			return err
		}
	}
	return nil
}

// Sweep notes, of all tenants, which consents have expired and who may be asked
// again. ctx spans tenants.
func (s *Service) Sweep(ctx context.Context) error {
	return errors.Join(s.sweep(ctx, s.Store.Due, s.expire), s.sweep(ctx, s.Store.Askable, s.ask))
}

// sweep works off what is due, tenant by tenant. A tenant for which that fails holds
// up no other.
func (s *Service) sweep(
	ctx context.Context, due func(ctx context.Context, at time.Time, limit int) ([]Ref, error), do func(context.Context, []Pair) error,
) error {
	for {
		refs, err := due(ctx, s.at(), batchSize)
		if err != nil {
			return fmt.Errorf("sweep consents: %w", err)
		}
		byTenant := map[tenant.ID][]Pair{}
		for _, r := range refs {
			byTenant[r.Tenant] = append(byTenant[r.Tenant], r.Pair)
		}
		var failed []error
		for of, pairs := range byTenant {
			if err := do(system(ctx, of), pairs); err != nil {
				failed = append(failed, fmt.Errorf("sweep consents of %s: %w", of, err))
			}
		}
		if len(failed) > 0 || len(refs) < batchSize {
			return errors.Join(failed...)
		}
	}
}

// system returns ctx for work of the platform's own on a tenant.
func system(ctx context.Context, of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "sweep:consents", Tenant: of})
}

func (s *Service) expire(ctx context.Context, pairs []Pair) error {
	return s.batch(ctx, pairs, nil, func(t *Track, of tenant.ID, at time.Time) error {
		return t.settle(at, at, authz.FromContext(ctx).ID, of)
	})
}

// ask tells the tenant's systems that persons may be asked again.
func (s *Service) ask(ctx context.Context, pairs []Pair) error {
	return s.Changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
		tracks, err := s.Store.Tracks(ctx, wanted(pairs)...)
		if err != nil {
			return nil, err
		}
		changes, standings := make([]change.Change, len(tracks)), make([]*Standing, len(tracks))
		for i, t := range tracks {
			standings[i] = &t.Standing
			changes[i] = change.Change{
				Action: "consent.askable", Object: t.Standing.ConsentID, Touches: []audit.Touch{{Subject: t.SubjectID, Object: t.Standing.ConsentID}},
			}
		}
		return changes, s.Store.Asked(ctx, standings...)
	})
}

// Replay carries out an entry of the ledger that the database doesn't know, as
// after a restore. Entries of other kinds are left to others: handled is false.
func (s *Service) Replay(ctx context.Context, e ledger.Entry) (handled bool, err error) {
	if e.Kind != ledger.Withdrawal {
		return false, nil
	}
	ctx = authz.NewContext(tenant.NewContext(ctx, e.Tenant), authz.Principal{Kind: authz.KindSystem, ID: "ledger", Tenant: e.Tenant})
	if id.TypeOf(e.Object) == id.Invalidation {
		err = s.invalidateAgain(ctx, e)
	} else {
		err = s.endAgain(ctx, e)
	}
	if err != nil {
		return true, fmt.Errorf("replay end of consent %s: %w", e.Object, err)
	}
	s.Log.WarnContext(ctx, "end of consent noted again: the database was older than the ledger", "consent", e.Object)
	return true, nil
}

func (s *Service) invalidateAgain(ctx context.Context, e ledger.Entry) error {
	if len(e.Units) != 1 {
		return errs.New(errs.Internal, "the ledger's entry has no scope")
	}
	i := &Invalidation{Scope: Scope{Purpose: e.Units[0]}, Cause: Restored, Before: e.At, By: authz.FromContext(ctx).ID}
	if id.TypeOf(e.Units[0]) == id.Notice {
		i.Scope = Scope{Notice: e.Units[0]}
	}
	return s.invalidate(ctx, i, func(context.Context, int) error { return nil }, nil)
}

func (s *Service) endAgain(ctx context.Context, e ledger.Entry) error {
	c, err := s.Store.Get(ctx, e.Object)
	if errors.Is(err, ErrNotFound) {
		return nil // the database doesn't know that it was given either
	}
	if err != nil {
		return err
	}
	return s.batch(ctx, []Pair{{c.SubjectID, c.Purpose.Key}}, nil, func(t *Track, of tenant.ID, at time.Time) error {
		if t.Standing.ConsentID != e.Object || !t.Standing.State.Valid() {
			return nil
		}
		to, actor, cause := Withdrawn, Self, Restored
		if e.State == string(Revoked) {
			to, actor = Revoked, Controller
		}
		_, err := t.move(&step{
			to: to, actor: actor, by: authz.FromContext(ctx).ID, channel: Internal, cause: &cause, at: e.At, noted: at, evidence: &Evidence{},
		}, of)
		return err
	})
}
