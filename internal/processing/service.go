package processing

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Store keeps the record. What writes works in the transaction of a change.
type Store interface {
	// Party fails with ErrNoParty.
	Party(ctx context.Context, partyID string) (*Party, error)
	Parties(ctx context.Context, after *page.Position, limit int) ([]*Party, error)
	InsertParty(ctx context.Context, p *Party) error
	// UpdateParty replaces the party at the version before, or fails with
	// change.ErrVersion, as the other updates do.
	UpdateParty(ctx context.Context, p *Party) error

	// System fails with ErrNoSystem.
	System(ctx context.Context, systemID string) (*System, error)
	Systems(ctx context.Context, after *page.Position, limit int) ([]*System, error)
	CountSystems(ctx context.Context, limit int) (int, error)
	InsertSystem(ctx context.Context, s *System) error
	UpdateSystem(ctx context.Context, s *System) error

	// Activity fails with ErrNotFound. It and Activities leave Valid and Draft nil.
	Activity(ctx context.Context, activityID string) (*Activity, error)
	// Activities returns those of a state and a hat, of any where it is nil.
	Activities(ctx context.Context, f Filter, after *page.Position, limit int) ([]*Activity, error)
	CountActivities(ctx context.Context, limit int) (int, error)
	InsertActivity(ctx context.Context, a *Activity) error
	UpdateActivity(ctx context.Context, a *Activity) error

	// Revisions returns those with the ids, in any order.
	Revisions(ctx context.Context, ids []string) ([]*Revision, error)
	// RevisionsOf returns those of an activity, the newest first.
	RevisionsOf(ctx context.Context, activityID string, after *page.Position, limit int) ([]*Revision, error)
	InsertRevision(ctx context.Context, r *Revision) error
	// UpdateRevision replaces a draft, or fails with change.ErrVersion.
	UpdateRevision(ctx context.Context, r *Revision) error

	// Register fails with ErrNoRegister.
	Register(ctx context.Context, registerID string) (*Register, error)
	// Registers returns those that are published or prepared.
	Registers(ctx context.Context, after *page.Position, limit int) ([]*Register, error)
	// Published returns the latest that was published at a time, nil if none was.
	Published(ctx context.Context, at time.Time) (*Register, error)
	// Content returns the bytes that a register's hash is of.
	Content(ctx context.Context, registerID string) ([]byte, error)
	// InsertRegister stores a prepared register, in place of another that is.
	InsertRegister(ctx context.Context, r *Register, content []byte) error
	// PublishRegister stores what a prepared register was published with, or fails
	// with ErrMoved when it isn't prepared any more or another has the number.
	PublishRegister(ctx context.Context, r *Register) error
}

// Filter chooses activities.
type Filter struct {
	State *State
	Hat   *Hat
}

// Datasets tells of datasets what the caller may know (package dataset).
type Datasets interface {
	List(ctx context.Context) ([]*dataset.Dataset, error)
	// Hidden returns the ids of those that the caller must not know of.
	Hidden(ctx context.Context) ([]string, error)
}

// Purposes tells of purposes (package purpose).
type Purposes interface {
	// ByIDs fails with purpose.ErrNotFound.
	ByIDs(ctx context.Context, ids ...string) (map[string]*purpose.Purpose, error)
	// Published returns those that are in use.
	Published(ctx context.Context) ([]*purpose.Purpose, error)
	// Told returns those of keys of which a published notice tells.
	Told(ctx context.Context, keys ...string) ([]string, error)
}

// Measure is a security measure as an activity names it, Art. 32(1).
type Measure struct {
	ID      string
	Text    Words
	Retired bool
}

// Measures tells of security measures.
type Measures interface {
	// Measures fails with an error of kind NOT_FOUND.
	Measures(ctx context.Context, ids ...string) (map[string]*Measure, error)
}

// AssessmentKind is what is assessed.
type AssessmentKind string

// The kinds of assessments, DOMAIN §6.5, §9.
const (
	DPIA AssessmentKind = "DPIA" // of the impact, Art. 35
	LIA  AssessmentKind = "LIA"  // of a legitimate interest, Art. 6(1)(f)
	TIA  AssessmentKind = "TIA"  // of a transfer, CJEU C-311/18
)

// Assessments tells of assessments, and hears of activities.
type Assessments interface {
	// Kind fails with an error of kind NOT_FOUND.
	Kind(ctx context.Context, assessmentID string) (AssessmentKind, error)
	// Activated hears, in the transaction, that an activity was activated anew: what
	// was assessed for it before its draft was last edited may hold no more. Named are
	// the assessments that the draft names. It returns changes to be committed with
	// the caller's.
	Activated(ctx context.Context, activityID string, editedAt time.Time, named []string) ([]change.Change, error)
}

// Tenants tells of the tenant (package tenancy).
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	// GetMember fails with tenancy.ErrNoMember.
	GetMember(ctx context.Context, memberID string) (*tenancy.Member, error)
}

// Vault makes keys before the transaction that needs them.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Signer signs registers (package sign).
type Signer interface {
	Sign(ctx context.Context, p sign.Purpose, text []byte) ([]byte, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store       Store
	Changes     *change.Runner
	Vault       Vault
	Datasets    Datasets
	Purposes    Purposes
	Measures    Measures
	Assessments Assessments
	Tenants     Tenants
	Signer      Signer
	Now         func() time.Time
}

// Service keeps the record of processing.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// known returns missing unless an id is of a type and of the tenant.
func known(ctx context.Context, t id.Type, s string, missing error) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if id.Check(t, of, s) != nil {
		return missing
	}
	return nil
}

// prepareContacts makes sure of the key that contacts are sealed under.
func (s *Service) prepareContacts(ctx context.Context) (tenant.ID, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", err
	}
	_, err = s.Vault.Ensure(ctx, tenancy.Contact(of))
	return of, err
}

// Inputs.
type (
	// CreateInput asks for an activity.
	CreateInput struct {
		Hat          Hat
		NextReviewOn *civil.Date
		Content      Content
	}
	// ReviseInput asks for all of an activity's draft to be as given. An activity
	// without a draft gets one.
	ReviseInput struct {
		ID              string
		ExpectedVersion int64
		Content         Content
	}
	// ActivateInput makes the draft the valid revision.
	ActivateInput struct {
		ID              string
		ExpectedVersion int64
		ValidFrom       *time.Time // now when nil
	}
	// ReviewInput notes that an activity was looked at and holds.
	ReviewInput struct {
		ID              string
		ExpectedVersion int64
		NextReviewOn    civil.Date
	}
)

// Get returns an activity, or ErrNotFound.
func (s *Service) Get(ctx context.Context, activityID string) (*Activity, error) {
	if err := known(ctx, id.Activity, activityID, ErrNotFound); err != nil {
		return nil, err
	}
	a, err := s.Store.Activity(ctx, activityID)
	if err != nil {
		return nil, err
	}
	return a, s.fill(ctx, a)
}

// List returns a page of the tenant's activities, the newest first.
func (s *Service) List(ctx context.Context, f Filter, r page.Request) (*Connection, error) {
	at := func(a *Activity) page.Position { return page.Position{CreatedAt: a.CreatedAt, ID: a.ID} }
	scope := ""
	if f.State != nil {
		scope = string(*f.State)
	}
	if f.Hat != nil {
		scope += "/" + string(*f.Hat)
	}
	c, err := page.Read(ctx, page.List{Of: id.Activity, Scope: scope}, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Activity, error) {
		return s.Store.Activities(ctx, f, after, limit)
	})
	if err != nil {
		return nil, err
	}
	return c, s.fill(ctx, c.Nodes()...)
}

// fill gives activities their valid revisions and drafts, without what the caller
// must not know of.
func (s *Service) fill(ctx context.Context, activities ...*Activity) error {
	now := s.at()
	var want []string
	for _, a := range activities {
		want = append(want, a.at(now), a.DraftID)
	}
	byID, err := s.revisions(ctx, want)
	if err != nil {
		return err
	}
	for _, a := range activities {
		a.Valid, a.Draft = byID[a.at(now)], byID[a.DraftID]
	}
	return nil
}

// revisions returns those with the ids, of which "" is none.
func (s *Service) revisions(ctx context.Context, want []string) (map[string]*Revision, error) {
	want = slices.DeleteFunc(want, func(s string) bool { return s == "" })
	byID := make(map[string]*Revision, len(want))
	if len(want) == 0 {
		return byID, nil
	}
	found, err := s.Store.Revisions(ctx, want)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		byID[r.ID] = r
	}
	return byID, s.show(ctx, found...)
}

// show takes from revisions the datasets that the caller must not know of.
func (s *Service) show(ctx context.Context, rs ...*Revision) error {
	hidden, err := s.Datasets.Hidden(ctx)
	if err != nil || len(hidden) == 0 {
		return err
	}
	for _, r := range rs {
		r.Content.Datasets = slices.DeleteFunc(r.Content.Datasets, func(d string) bool { return slices.Contains(hidden, d) })
	}
	return nil
}

// Revisions returns a page of an activity's revisions, the newest first.
func (s *Service) Revisions(ctx context.Context, activityID string, r page.Request) (*RevisionConnection, error) {
	if err := known(ctx, id.Activity, activityID, ErrNotFound); err != nil {
		return nil, err
	}
	at := func(v *Revision) page.Position { return page.Position{CreatedAt: v.CreatedAt, ID: v.ID} }
	c, err := page.Read(ctx, page.List{Of: id.Revision, Scope: activityID}, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Revision, error) {
		return s.Store.RevisionsOf(ctx, activityID, after, limit)
	})
	if err != nil {
		return nil, err
	}
	return c, s.show(ctx, c.Nodes()...)
}

// AsOf returns the revision of an activity that was, or will be, valid at a time,
// or ErrNoRevision.
func (s *Service) AsOf(ctx context.Context, activityID string, at time.Time) (*Revision, error) {
	if err := known(ctx, id.Activity, activityID, ErrNotFound); err != nil {
		return nil, err
	}
	a, err := s.Store.Activity(ctx, activityID)
	if err != nil {
		return nil, err
	}
	valid := a.at(at)
	if valid == "" {
		return nil, ErrNoRevision
	}
	found, err := s.revisions(ctx, []string{valid})
	if err != nil {
		return nil, err
	}
	if found[valid] == nil {
		return nil, ErrNoRevision
	}
	return found[valid], nil
}

// Create makes an activity with a draft. It obeys the caller's Idempotency-Key.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Activity, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if in.Hat != Controller && in.Hat != Processor {
		return nil, errs.New(errs.Invalid, "no such hat").At("hat")
	}
	if err := s.check(ctx, in.Hat, &in.Content); err != nil {
		return nil, err
	}
	now := s.at()
	a := &Activity{
		ID: id.New(id.Activity, of), Hat: in.Hat, State: Draft, NextReviewOn: in.NextReviewOn, Version: 1, CreatedAt: now, UpdatedAt: now, Last: 1,
	}
	r := &Revision{
		ID: id.New(id.Revision, of), Activity: a.ID, Number: 1, Content: in.Content, EditedBy: authz.FromContext(ctx).ID, EditedAt: now, CreatedAt: now,
	}
	a.DraftID = r.ID
	activityID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		n, err := s.Store.CountActivities(ctx, MaxActivities)
		if err != nil {
			return change.Change{}, err
		}
		if n >= MaxActivities {
			return change.Change{}, ErrTooMany
		}
		if err := s.Store.InsertRevision(ctx, r); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "activity.create", Object: a.ID}, s.Store.InsertActivity(ctx, a)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, activityID)
}

// Revise writes an activity's draft. What is valid stays so until the draft is
// activated. Datasets that the caller must not know of stay named.
func (s *Service) Revise(ctx context.Context, in ReviseInput) (*Activity, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	was, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, was.Hat, &in.Content); err != nil {
		return nil, err
	}
	hidden, err := s.Datasets.Hidden(ctx)
	if err != nil {
		return nil, err
	}
	by, now, fresh := authz.FromContext(ctx).ID, s.at(), id.New(id.Revision, of)
	return s.move(ctx, "activity.revise", in.ID, in.ExpectedVersion, func(ctx context.Context, a *Activity) ([]change.Change, error) {
		before := a.DraftID
		if before == "" && len(a.Spans) > 0 {
			before = a.Spans[len(a.Spans)-1].Revision
		}
		r, err := s.revision(ctx, before)
		if err != nil {
			return nil, err
		}
		kept := slices.DeleteFunc(slices.Clone(r.Content.Datasets), func(d string) bool { return !slices.Contains(hidden, d) })
		content := in.Content
		content.Datasets = slices.Concat(content.Datasets, kept)
		if a.DraftID != "" {
			r.Content, r.EditedBy, r.EditedAt = content, by, now
			return nil, s.Store.UpdateRevision(ctx, r)
		}
		if a.Last >= MaxRevisions {
			return nil, ErrRevisions
		}
		a.Last++
		a.DraftID = fresh
		return nil, s.Store.InsertRevision(ctx, &Revision{
			ID: fresh, Activity: a.ID, Number: a.Last, Content: content, EditedBy: by, EditedAt: now, CreatedAt: now,
		})
	})
}

func (s *Service) revision(ctx context.Context, revisionID string) (*Revision, error) {
	found, err := s.Store.Revisions(ctx, []string{revisionID})
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, ErrNoRevision
	}
	return found[0], nil
}

// Activate makes the draft the valid revision, now or from a time: it is immutable
// from then on. Assessments of the activity come up for review.
func (s *Service) Activate(ctx context.Context, in ActivateInput) (*Activity, error) {
	was, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if was.Draft != nil {
		if err := was.Draft.Content.missing(); err != nil {
			return nil, err
		}
		if err := s.living(ctx, &was.Draft.Content); err != nil {
			return nil, err
		}
	}
	by, now := authz.FromContext(ctx).ID, s.at()
	from := now
	if in.ValidFrom != nil {
		from = in.ValidFrom.UTC().Truncate(time.Millisecond)
	}
	if from.Before(now) || from.After(now.Add(maxAhead)) {
		return nil, ErrValidFrom
	}
	return s.move(ctx, "activity.activate", in.ID, in.ExpectedVersion, func(ctx context.Context, a *Activity) ([]change.Change, error) {
		if a.DraftID == "" {
			return nil, ErrNoDraft
		}
		if n := len(a.Spans); n > 0 && !from.After(a.Spans[n-1].From) {
			return nil, ErrValidFrom
		}
		r, err := s.revision(ctx, a.DraftID)
		if err != nil {
			return nil, err
		}
		r.ActivatedBy, r.ActivatedAt, r.ValidFrom = &by, &now, &from
		if err := s.Store.UpdateRevision(ctx, r); err != nil {
			return nil, err
		}
		a.State, a.DraftID, a.Spans = Active, "", append(a.Spans, Span{r.ID, from})
		return s.Assessments.Activated(ctx, a.ID, r.EditedAt, r.Content.assessments())
	})
}

// Review notes that an activity was reviewed today, by the tenant's calendar, and
// when it is next.
func (s *Service) Review(ctx context.Context, in ReviewInput) (*Activity, error) {
	today, err := s.today(ctx)
	if err != nil {
		return nil, err
	}
	if !today.Before(in.NextReviewOn) {
		return nil, errs.New(errs.Invalid, "the next review is on a day to come").At("nextReviewOn")
	}
	return s.move(ctx, "activity.review", in.ID, in.ExpectedVersion, func(_ context.Context, a *Activity) ([]change.Change, error) {
		a.LastReviewedOn, a.NextReviewOn = &today, &in.NextReviewOn
		return nil, nil
	})
}

func (s *Service) today(ctx context.Context) (civil.Date, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return civil.Date{}, err
	}
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return civil.Date{}, errs.New(errs.Internal, "the tenant's time zone is unknown").Because(err)
	}
	return civil.Of(s.Now().In(zone)), nil
}

// Retire ends an activity: no revision of it is valid any more.
func (s *Service) Retire(ctx context.Context, in RetireInput) (*Activity, error) {
	now := s.at()
	return s.move(ctx, "activity.retire", in.ID, in.ExpectedVersion, func(_ context.Context, a *Activity) ([]change.Change, error) {
		a.State, a.RetiredAt = Retired, &now
		return nil, nil
	})
}

func (s *Service) move(
	ctx context.Context, action, activityID string, expected int64, mutate func(context.Context, *Activity) ([]change.Change, error),
) (*Activity, error) {
	if err := known(ctx, id.Activity, activityID, ErrNotFound); err != nil {
		return nil, err
	}
	now := s.at()
	err := s.Changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
		a, err := s.Store.Activity(ctx, activityID)
		if err != nil {
			return nil, err
		}
		switch {
		case a.Version != expected:
			return nil, change.ErrVersion
		case a.State == Retired:
			return nil, ErrRetired
		}
		a.Version++
		a.UpdatedAt = now
		others, err := mutate(ctx, a)
		if err != nil {
			return nil, err
		}
		return append([]change.Change{{Action: action, Object: a.ID}}, others...), s.Store.UpdateActivity(ctx, a)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, activityID)
}
