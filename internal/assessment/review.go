package assessment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

var _ processing.Assessments = (*Service)(nil)

// Activated makes the assessments of an activity due for review, Art. 35(11),
// within the change's transaction by which a version of the activity becomes the
// valid one: those that are about it, and those that it names. What was decided
// after the version was last edited has looked at it already. The changes returned
// are to be committed with the caller's own (change.Runner.DoAll).
func (s *Service) Activated(ctx context.Context, activityID string, editedAt time.Time, named []string) ([]change.Change, error) {
	affected := map[string]*Assessment{}
	for _, assessmentID := range named {
		a, err := s.Store.Get(ctx, assessmentID)
		if err != nil {
			return nil, err
		}
		affected[a.ID] = a
	}
	var after *page.Position
	for {
		list, err := s.Store.List(ctx, Filter{Activity: &activityID}, after, page.Max)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			affected[a.ID] = a
		}
		if len(list) < page.Max {
			break
		}
		last := position(list[len(list)-1])
		after = &last
	}
	var changes []change.Change
	now := s.at()
	for _, assessmentID := range slices.Sorted(maps.Keys(affected)) {
		a := affected[assessmentID]
		if _, err := a.legal(fallDue); err != nil || !a.Decision.At.Before(editedAt) {
			continue
		}
		c, err := s.due(ctx, a, Review{Reason: ActivityChanged, Activity: &activityID, At: now})
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// Demand makes a review due for a reason that a person gives.
func (s *Service) Demand(ctx context.Context, in ReasonInput) (*Assessment, error) {
	if _, err := checkID(ctx, in.ID); err != nil {
		return nil, err
	}
	text := strings.TrimSpace(in.Reason)
	if err := checkReason("reason", text); err != nil {
		return nil, err
	}
	var a *Assessment
	now := s.at()
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if a, err = s.Store.Get(ctx, in.ID); err != nil {
			return c, err
		}
		if a.Version != in.ExpectedVersion {
			return c, change.ErrVersion
		}
		return s.due(ctx, a, Review{Reason: Demanded, Note: &text, At: now})
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// due makes a review due within a change's transaction, and mails the owner.
func (s *Service) due(ctx context.Context, a *Assessment, why Review) (change.Change, error) {
	c := change.Change{Action: "assessment." + string(fallDue), Object: a.ID}
	t, err := a.legal(fallDue)
	if err != nil {
		return c, err
	}
	if err := t.take(a, situation{}); err != nil {
		return c, err
	}
	a.Review = &why
	a.Version++
	a.UpdatedAt = why.At
	if c.Then, err = s.tell(ctx, a); err != nil {
		return c, err
	}
	return c, s.Store.Update(ctx, a)
}

// tell queues the mail to the assessment's owner that a review is due; to the
// tenant's owners when that member is no more.
func (s *Service) tell(ctx context.Context, a *Assessment) ([]job.Spec, error) {
	owner, err := s.Tenants.GetMember(ctx, a.Owner)
	if err != nil && !errors.Is(err, tenancy.ErrNoMember) {
		return nil, err
	}
	to := []*tenancy.Member{owner}
	if err != nil || owner.State != tenancy.Joined || owner.ExpiresAt != nil && !s.Now().Before(*owner.ExpiresAt) {
		if to, err = s.Owners.Owners(ctx); err != nil {
			return nil, fmt.Errorf("find owners: %w", err)
		}
	}
	specs := make([]job.Spec, len(to))
	for i, m := range to {
		specs[i], err = s.Mailer.Queue(ctx, notify.Message{
			Template: notify.TemplateReviewDue, Language: m.Language, To: m.Email, Owner: tenancy.MemberIdentity(m.Tenant, m.ID),
			Vars: map[string]personal.Text{
				"assessment": personal.NewText(a.ID), "kind": personal.NewText(string(a.Kind)), "reason": personal.NewText(string(a.Review.Reason)),
			},
		})
		if err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// sweepBatch is how many assessments are looked for at once, and ahead how far a
// tenant's day may lie before that of UTC.
const (
	sweepBatch = 200
	ahead      = 14 * time.Hour
)

// Sweep makes the assessments of all tenants due for review whose date has come,
// in the tenant's time zone. ctx spans tenants.
func (s *Service) Sweep(ctx context.Context) error {
	for {
		refs, err := s.Store.Due(ctx, civil.Of(s.Now().UTC().Add(ahead)), sweepBatch)
		if err != nil {
			return fmt.Errorf("find reviews: %w", err)
		}
		done := 0
		for _, r := range refs {
			is, err := s.sweep(tenant.NewContext(ctx, r.Tenant), r.ID)
			if err != nil {
				return fmt.Errorf("make review of %s due: %w", r.ID, err)
			}
			if is {
				done++
			}
		}
		if done == 0 || len(refs) < sweepBatch {
			return nil
		}
	}
}

// sweep makes one assessment due, if its date has come where the tenant is.
func (s *Service) sweep(ctx context.Context, assessmentID string) (due bool, err error) {
	w, err := s.situation(ctx)
	if err != nil {
		return false, err
	}
	now := s.at()
	errNotYet := errors.New("not yet")
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		a, err := s.Store.Get(ctx, assessmentID)
		if err != nil {
			return change.Change{}, err
		}
		if _, err := a.legal(fallDue); err != nil || a.ReviewOn == nil || a.ReviewOn.After(w.today) {
			return change.Change{}, errNotYet
		}
		return s.due(ctx, a, Review{Reason: TimeOver, At: now})
	})
	if errors.Is(err, errNotYet) {
		return false, nil
	}
	return err == nil, err
}
