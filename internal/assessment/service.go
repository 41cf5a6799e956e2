package assessment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Store keeps assessments, for the tenant in ctx and within a transaction that it
// carries.
type Store interface {
	// Get fails with ErrNotFound.
	Get(ctx context.Context, assessmentID string) (*Assessment, error)
	// List returns up to limit assessments after a position, the newest first.
	List(ctx context.Context, f Filter, after *page.Position, limit int) ([]*Assessment, error)
	Insert(ctx context.Context, a *Assessment) error
	// Update writes a at the version before, or fails with change.ErrVersion.
	Update(ctx context.Context, a *Assessment) error
	// Freeze keeps the version as it is decided. There is none of its number yet.
	Freeze(ctx context.Context, a *Assessment) error
	// Editions returns those of an assessment, the newest first.
	Editions(ctx context.Context, assessmentID string) ([]*Edition, error)
	// Due returns decided assessments of all tenants whose date of review isn't
	// after a day, the oldest date first. It needs a system context.
	Due(ctx context.Context, day civil.Date, limit int) ([]Ref, error)
}

// Ref names an assessment of a tenant.
type Ref struct {
	Tenant tenant.ID
	ID     string
}

// Tenants knows the tenant in ctx, and its members.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	// GetMember fails with tenancy.ErrNoMember.
	GetMember(ctx context.Context, memberID string) (*tenancy.Member, error)
	ActiveMembers(ctx context.Context, role authz.Role, now time.Time) ([]*tenancy.Member, error)
}

// Owners are those who answer for the tenant in ctx.
type Owners interface {
	Owners(ctx context.Context) ([]*tenancy.Member, error)
}

// Mailer queues mail within a change (package notify).
type Mailer interface {
	Queue(ctx context.Context, m notify.Message) (job.Spec, error)
}

// Measures knows the security measures of the tenant in ctx.
type Measures interface {
	// Check fails with an errs.NotFound unless all are there.
	Check(ctx context.Context, ids ...string) error
}

// Activities knows the processing activities of the tenant in ctx.
type Activities interface {
	// Activity fails with processing.ErrNotFound.
	Activity(ctx context.Context, activityID string) (*processing.Activity, error)
}

// Config is what a Service needs.
type Config struct {
	Store      Store
	Tenants    Tenants
	Owners     Owners
	Mailer     Mailer
	Measures   Measures
	Activities Activities
	Changes    *change.Runner
	Now        func() time.Time
}

// Service keeps a tenant's assessments.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

func checkID(ctx context.Context, assessmentID string) (tenant.ID, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", err
	}
	if id.Check(id.Assessment, of, assessmentID) != nil {
		return "", ErrNotFound
	}
	return of, nil
}

// Get returns an assessment in its present version, or ErrNotFound.
func (s *Service) Get(ctx context.Context, assessmentID string) (*Assessment, error) {
	if _, err := checkID(ctx, assessmentID); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, assessmentID)
}

// List returns a page of the assessments that a filter selects, the newest first.
func (s *Service) List(ctx context.Context, f Filter, r page.Request) (*Connection, error) {
	list := page.List{Of: id.Assessment}
	if f.Kind != nil {
		list.Scope = string(*f.Kind)
	}
	if f.State != nil {
		list.Scope += "/" + string(*f.State)
	}
	if f.Activity != nil {
		list.Scope += "/" + *f.Activity
	}
	return page.Read(ctx, list, r, position, func(ctx context.Context, after *page.Position, limit int) ([]*Assessment, error) {
		return s.Store.List(ctx, f, after, limit)
	})
}

func position(a *Assessment) page.Position { return page.Position{CreatedAt: a.CreatedAt, ID: a.ID} }

// Editions returns the versions of an assessment that were decided, as they were
// then, the newest first.
func (s *Service) Editions(ctx context.Context, assessmentID string) ([]*Edition, error) {
	if _, err := checkID(ctx, assessmentID); err != nil {
		return nil, err
	}
	return s.Store.Editions(ctx, assessmentID)
}

// Kind returns the kind of an assessment, or ErrNotFound.
func (s *Service) Kind(ctx context.Context, assessmentID string) (processing.AssessmentKind, error) {
	a, err := s.Get(ctx, assessmentID)
	if err != nil {
		return "", err
	}
	return processing.AssessmentKind(a.Kind), nil
}

// situation is what guards look at now, for the caller in ctx.
func (s *Service) situation(ctx context.Context) (situation, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return situation{}, err
	}
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return situation{}, fmt.Errorf("load the tenant's time zone: %w", err)
	}
	officers, err := s.Tenants.ActiveMembers(ctx, authz.RoleDPO, s.Now())
	if err != nil {
		return situation{}, err
	}
	return situation{
		by: authz.FromContext(ctx), zone: zone, today: civil.Of(s.Now().In(zone)), officer: t.DpoContact != nil || len(officers) > 0,
		publicAuthority: t.PublicAuthority,
	}, nil
}

// known fails unless the things that a names are there.
func (s *Service) known(ctx context.Context, a *Assessment) error {
	owner, err := s.Tenants.GetMember(ctx, a.Owner)
	if err != nil {
		return errs.At(err, "owner")
	}
	if owner.State == tenancy.Removed {
		return ErrNoOwner
	}
	for i, one := range a.Activities {
		if _, err := s.Activities.Activity(ctx, one); err != nil {
			return errs.At(err, fmt.Sprintf("activities.%d", i))
		}
	}
	if a.DPIA == nil {
		return nil
	}
	measures := a.DPIA.Measures
	for _, r := range a.DPIA.Risks {
		measures = append(slices.Clip(measures), r.Measures...)
	}
	return errs.At(s.Measures.Check(ctx, measures...), "dpia.measures")
}

// Create makes an assessment. It obeys the caller's Idempotency-Key.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Assessment, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	w, err := s.situation(ctx)
	if err != nil {
		return nil, err
	}
	now := s.at()
	a := &Assessment{
		ID: id.New(id.Assessment, of), Kind: in.Kind, Number: 1, State: InProgress, Content: in.Content, Authors: []string{w.by.ID},
		Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	if a.Kind == KindDPIA {
		a.State = Screening
	}
	a.trim()
	if err := a.check(of); err != nil {
		return nil, err
	}
	if err := notPublicTask(a, w); err != nil {
		return nil, err
	}
	assessmentID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		if err := s.known(ctx, a); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "assessment.create", Object: a.ID}, s.Store.Insert(ctx, a)
	})
	if err != nil {
		return nil, err
	}
	if assessmentID != a.ID {
		return s.Store.Get(ctx, assessmentID)
	}
	return a, nil
}

// trim takes the space around the texts away, so that an empty one is empty.
func (a *Assessment) trim() {
	texts := []*string{&a.Title}
	if x := a.Screening; x != nil {
		texts = append(texts, &x.Note)
	}
	if x := a.DPIA; x != nil {
		texts = append(texts, &x.Description, &x.Purposes, &x.LegitimateInterest, &x.Necessity, &x.SubjectViews)
		for i := range x.Risks {
			texts = append(texts, &x.Risks[i].Threat)
		}
	}
	if x := a.LIA; x != nil {
		texts = append(texts, &x.Holder, &x.Interest, &x.Necessity, &x.LessIntrusive, &x.DataNature, &x.Expectations, &x.Impact, &x.Safeguards,
			&x.Children, &x.Conclusion, &x.OptOut)
	}
	if x := a.TIA; x != nil {
		texts = append(texts, &x.Circumstances, &x.ImporterType, &x.Data, &x.LawAndPractice, &x.Problematic, &x.Technical, &x.Contractual,
			&x.Organisational, &x.Conclusion)
	}
	for _, t := range texts {
		*t = strings.TrimSpace(*t)
	}
}

// apply makes the changes, and returns the names of what it changed.
func (a *Assessment) apply(in UpdateInput) []string {
	var changed []string
	set := func(name string, is bool, to func()) {
		if is {
			to()
			changed = append(changed, name)
		}
	}
	set("title", in.Title != nil, func() { a.Title = *in.Title })
	set("owner", in.Owner != nil, func() { a.Owner = *in.Owner })
	set("activities", in.Activities != nil, func() { a.Activities = in.Activities })
	set("reviewOn", in.ReviewOn != nil, func() { a.ReviewOn = in.ReviewOn })
	set("screening", in.Screening != nil, func() { a.Screening = in.Screening })
	set("dpia", in.DPIA != nil, func() { a.DPIA = in.DPIA })
	set("lia", in.LIA != nil, func() { a.LIA = in.LIA })
	set("tia", in.TIA != nil, func() { a.TIA = in.TIA })
	a.trim()
	return changed
}

// Update changes what isn't submitted yet. The caller becomes one of its authors.
func (s *Service) Update(ctx context.Context, in UpdateInput) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, edit, func(ctx context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		fields := a.apply(in)
		a.write(w)
		of, err := checkID(ctx, a.ID)
		if err != nil {
			return nil, err
		}
		if err := a.check(of); err != nil {
			return nil, err
		}
		return fields, s.known(ctx, a)
	})
}

// write notes the caller as an author of the version.
func (a *Assessment) write(w situation) {
	if !slices.Contains(a.Authors, w.by.ID) {
		a.Authors = append(a.Authors, w.by.ID)
	}
}

// ScreenOut ends the screening of a DPIA that isn't required, with the reason.
func (s *Service) ScreenOut(ctx context.Context, in ReasonInput) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, screenOut, func(_ context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		return nil, a.decide(w, now, in.Reason)
	})
}

// Begin ends the screening of a DPIA that is to be made.
func (s *Service) Begin(ctx context.Context, in Input) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, begin, func(_ context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		a.write(w)
		return nil, nil
	})
}

// Submit brings a complete assessment before the data protection officer and those
// who decide.
func (s *Service) Submit(ctx context.Context, in Input) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, submit, func(_ context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		a.write(w)
		a.SubmittedAt = &now
		return nil, nil
	})
}

// Advise adds the data protection officer's advice.
func (s *Service) Advise(ctx context.Context, in AdviseInput) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, advise, func(_ context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		text := strings.TrimSpace(in.Text)
		switch {
		case !slices.Contains([]Opinion{Favourable, Conditional, Unfavourable}, in.Opinion):
			return nil, errs.New(errs.Invalid, "not an opinion").At("opinion")
		case len(a.Advice) == maxAdvice:
			return nil, errs.New(errs.Limited, "advice is given at most %d times on a version", maxAdvice)
		}
		a.Advice = append(a.Advice, Advice{w.by.ID, now, in.Opinion, text})
		return nil, checkReason("text", text)
	})
}

// Consult notes that the authority was consulted, for the residual risk is high:
// Art. 36. Its time begins.
func (s *Service) Consult(ctx context.Context, in ConsultInput) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, consult, func(ctx context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		c := &Consultation{Authority: strings.TrimSpace(in.Authority), ReceivedOn: in.ReceivedOn}
		a.Consultation = c
		if in.ReceivedOn.After(w.today) {
			return nil, errs.New(errs.Invalid, "the authority hasn't received it yet").At("receivedOn")
		}
		if at := a.SubmittedAt; at != nil && in.ReceivedOn.Before(civil.Of(at.In(w.zone))) {
			return nil, errEarlier // its time would be over sooner than it may be
		}
		if c.Authority == "" {
			return nil, errs.New(errs.Invalid, "name the authority").At("authority")
		}
		if err := checkText("authority", c.Authority, maxTitle); err != nil {
			return nil, err
		}
		return nil, s.reckon(ctx, c)
	})
}

// Note notes what the authority said: that it takes longer, waits for information
// or has it, or what its answer is.
func (s *Service) Note(ctx context.Context, in NoteInput) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, note, func(ctx context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		if err := a.Consultation.note(in, w.today); err != nil {
			return nil, err
		}
		return nil, s.reckon(ctx, a.Consultation)
	})
}

// reckon computes the authority's time by the tenant's holidays.
func (s *Service) reckon(ctx context.Context, c *Consultation) error {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return err
	}
	cal, err := calendar.Get(t.HolidayCalendar)
	if err != nil {
		return fmt.Errorf("find the tenant's holidays: %w", err)
	}
	c.reckon(cal)
	return nil
}

// Approve decides for the processing.
func (s *Service) Approve(ctx context.Context, in ApproveInput) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, approve, func(_ context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		if in.ReviewOn != nil {
			a.ReviewOn = in.ReviewOn
		}
		return nil, a.decide(w, now, in.Reason)
	})
}

// Reject decides against the processing.
func (s *Service) Reject(ctx context.Context, in ReasonInput) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, reject, func(_ context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		return nil, a.decide(w, now, in.Reason)
	})
}

func (a *Assessment) decide(w situation, now time.Time, reason string) error {
	a.Decision = &Decision{w.by.ID, now, strings.TrimSpace(reason)}
	return checkReason("reason", a.Decision.Reason)
}

// Revise makes the next version of a decided assessment, with the content of the
// present one.
func (s *Service) Revise(ctx context.Context, in Input) (*Assessment, error) {
	return s.step(ctx, in.ID, in.ExpectedVersion, revise, func(_ context.Context, a *Assessment, w situation, now time.Time) ([]string, error) {
		if a.Number == MaxVersions {
			return nil, ErrTooMany
		}
		a.Number++
		a.Authors, a.Advice, a.Consultation, a.Decision, a.Review = []string{w.by.ID}, nil, nil, nil, nil
		a.SubmittedAt = nil
		return nil, nil
	})
}

// step takes a step of the state machine as one change: what do makes of the
// assessment, when its state allows the step, must then pass the guards. A version
// that is decided by it is kept as it is then.
func (s *Service) step(
	ctx context.Context, assessmentID string, version int64, take step,
	do func(ctx context.Context, a *Assessment, w situation, now time.Time) ([]string, error),
) (*Assessment, error) {
	if _, err := checkID(ctx, assessmentID); err != nil {
		return nil, err
	}
	var a *Assessment
	now := s.at()
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		w, err := s.situation(ctx)
		if err != nil {
			return c, err
		}
		if a, err = s.Store.Get(ctx, assessmentID); err != nil {
			return c, err
		}
		if a.Version != version {
			return c, change.ErrVersion
		}
		t, err := a.legal(take)
		if err != nil {
			return c, err
		}
		c = change.Change{Action: "assessment." + string(take), Object: a.ID}
		if c.Fields, err = do(ctx, a, w, now); err != nil {
			return c, err
		}
		if err := t.take(a, w); err != nil {
			return c, err
		}
		a.Version++
		a.UpdatedAt = now
		if take == screenOut || take == approve || take == reject {
			if err := s.Store.Freeze(ctx, a); err != nil {
				return c, err
			}
		}
		return c, s.Store.Update(ctx, a)
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}
