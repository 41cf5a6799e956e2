package request

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// The types of the jobs of requests; their object is the request.
const (
	JobSearch = "request.search" // asks every place that may hold data, and does what takes effect at once
	JobCarry  = "request.carry"  // does what was approved, and answers
)

// Limits.
const (
	MaxItems = 9 // one of each right
	maxText  = 10_000
)

// Sort is the order of a list of requests.
type Sort string

// The orders.
const (
	Newest Sort = "NEWEST"
	ByDue  Sort = "DUE" // of open ones: what is due first in front, what is paused last
)

// Filter chooses requests to which all of it applies.
type Filter struct {
	State      *State
	Type       *Type
	AssignedTo *string
	Subject    *string
	Sort       Sort
}

// Ref names a request of a tenant.
type Ref struct {
	Tenant tenant.ID
	ID     string
}

// Fact is what statistics know of a request.
type Fact struct {
	Types       []Type
	State       State
	ReceivedAt  time.Time
	RespondedAt *time.Time
	DueBefore   *time.Time
	Extended    bool
	Refusals    []Refusal
}

// Store keeps requests, for the tenant in ctx. What writes works in a change's
// transaction.
type Store interface {
	Insert(ctx context.Context, r *Request) error
	// Get returns a request, or ErrNotFound.
	Get(ctx context.Context, requestID string) (*Request, error)
	// Update fails with ErrVersion unless the stored version is the one before.
	Update(ctx context.Context, r *Request) error
	// List returns up to limit requests after a position. In the order ByDue the
	// position's time is when they are due.
	List(ctx context.Context, f Filter, after *page.Position, limit int) ([]*Request, error)
	// Number returns the next number of a year.
	Number(ctx context.Context, year int) (int64, error)
	InsertEvents(ctx context.Context, events ...Event) error
	// Events returns up to limit events of a request, the newest first.
	Events(ctx context.Context, requestID string, after *page.Position, limit int) ([]*Event, error)
	// Facts visits what was received from a time on and before another.
	Facts(ctx context.Context, from, to time.Time, visit func(Fact) error) error
	// Touch writes nothing new to a request, and so keeps others from changing it before
	// the change's transaction has ended. It fails with ErrNotFound.
	Touch(ctx context.Context, requestID string) error
	// Waiting returns requests of all tenants that are to be looked at by now. ctx
	// spans tenants.
	Waiting(ctx context.Context, until time.Time, limit int) ([]Ref, error)
}

// Calendars knows the days on which the tenant in ctx rests.
type Calendars interface {
	// Current returns the tenant's zone and calendar as they are now.
	Current(ctx context.Context) (zone string, c *calendar.Calendar, err error)
	// Version returns the calendar in a version that Current returned once.
	Version(ctx context.Context, version string) (*calendar.Calendar, error)
}

// Subjects knows the persons.
type Subjects interface {
	// GetMany returns those of the persons that there are.
	GetMany(ctx context.Context, ids []string) ([]*subject.Subject, error)
}

// Post tells the person, and those who work on the request, what a step means to
// them: letters and mails, within the change's transaction.
type Post interface {
	// Tell works in the change's transaction. Of T6 it sets the request's Reply,
	// unless the answer went out by hand.
	Tell(ctx context.Context, r *Request, e *Event) (Told, error)
	// Answer writes the answer to a request whose items all have their outcome and
	// makes it available to the person, outside a transaction; it can be repeated,
	// and the person then finds one answer.
	Answer(ctx context.Context, r *Request) (Reply, error)
}

// Told is what came of telling somebody.
type Told struct {
	Letter string // id of the letter that was written, "" for none
	// Unsent is why a letter couldn't be written that must not stop the step, such
	// as the receipt of a request.
	Unsent string
	Then   []job.Spec
}

// Members knows who works for the tenant.
type Members interface {
	Member(ctx context.Context, memberID string) (*tenancy.Member, error)
}

// Vault makes keys.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Config is what a Service is made of.
type Config struct {
	Store     Store
	Changes   *change.Runner
	Recorder  *audit.Recorder
	Calendars Calendars
	Subjects  Subjects
	Members   Members
	Works     map[Type]Work
	Post      Post
	Vault     Vault
	Log       *slog.Logger
	Now       func() time.Time

	Recipients Recipients // nil where nobody is told
	Tasks      Tasks      // nil where there are none
	// Closed notes, in the change's transaction, that a case about a person was closed:
	// retention rules may count from it. Nil notes nothing.
	Closed func(ctx context.Context, person string, at time.Time) error
}

// Service keeps a tenant's requests.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// Connection is a page of requests.
type Connection = page.Connection[*Request]

// Edge is a request in a Connection.
type Edge = page.Edge[*Request]

// EventConnection is a page of events.
type EventConnection = page.Connection[*Event]

// EventEdge is an event in an EventConnection.
type EventEdge = page.Edge[*Event]

// Get returns a request, or ErrNotFound; to a person, their own.
func (s *Service) Get(ctx context.Context, requestID string) (*Request, error) {
	r, err := s.find(ctx, requestID)
	if err != nil {
		return nil, err
	}
	return r, s.read(ctx, r)
}

// find is Get without noting that the request was read.
func (s *Service) find(ctx context.Context, requestID string) (*Request, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Request, of, requestID) != nil {
		return nil, ErrNotFound
	}
	r, err := s.Store.Get(ctx, requestID)
	if err != nil {
		return nil, err
	}
	if p := authz.FromContext(ctx); p.Kind == authz.KindSubject && (r.Subject == "" || r.Subject != p.Subject) {
		return nil, ErrNotFound
	}
	r.Urgency = r.UrgencyAt(s.now())
	return r, nil
}

func (s *Service) read(ctx context.Context, requests ...*Request) error {
	touches, object := make([]audit.Touch, 0, len(requests)), ""
	for _, r := range requests {
		touches = append(touches, r.touches()...)
	}
	if len(requests) == 1 {
		object = requests[0].ID
	}
	return s.Recorder.Read(ctx, "request.read", object, touches...)
}

// touches is whose data a request is.
func (r *Request) touches() []audit.Touch {
	if r.Subject == "" {
		return nil
	}
	return []audit.Touch{{Subject: r.Subject, Object: r.ID, Version: r.Version}}
}

// List returns a page of requests.
func (s *Service) List(ctx context.Context, f *Filter, r page.Request) (*Connection, error) {
	if f == nil {
		f = &Filter{}
	}
	list := page.List{Of: id.Request, Scope: f.scope()}
	at := func(r *Request) page.Position { return page.Position{CreatedAt: r.CreatedAt, ID: r.ID} }
	if f.Sort == ByDue {
		at = func(r *Request) page.Position { return page.Position{CreatedAt: r.due(), ID: r.ID} }
	}
	c, err := page.Read(ctx, list, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Request, error) {
		return s.Store.List(ctx, *f, after, limit)
	})
	if err != nil {
		return nil, err
	}
	for _, r := range c.Nodes() {
		r.Urgency = r.UrgencyAt(s.now())
	}
	return c, s.read(ctx, c.Nodes()...)
}

// Mine returns a page of the calling person's requests.
func (s *Service) Mine(ctx context.Context, r page.Request) (*Connection, error) {
	person := authz.FromContext(ctx).Subject
	if person == "" {
		return nil, ErrNotFound
	}
	return s.List(ctx, &Filter{Subject: &person}, r)
}

func (f *Filter) scope() string {
	parts := []string{string(f.Sort)}
	for _, p := range []*string{(*string)(f.State), (*string)(f.Type), f.AssignedTo, f.Subject} {
		if p == nil {
			parts = append(parts, "")
		} else {
			parts = append(parts, *p)
		}
	}
	return strings.Join(parts, "/")
}

// due sorts what has no date behind all that has one.
func (r *Request) due() time.Time {
	if r.Deadline.DueBefore == nil {
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return *r.Deadline.DueBefore
}

// Events returns a page of what was done, the newest first: to the person, what
// concerns them.
func (s *Service) Events(ctx context.Context, r *Request, p page.Request) (*EventConnection, error) {
	person := authz.FromContext(ctx).Kind == authz.KindSubject
	list := page.List{Of: id.RequestNote, Scope: r.ID}
	at := func(e *Event) page.Position { return page.Position{CreatedAt: e.At, ID: e.ID} }
	return page.Read(ctx, list, p, at, func(ctx context.Context, after *page.Position, limit int) ([]*Event, error) {
		events, err := s.Store.Events(ctx, r.ID, after, limit)
		if err != nil || !person {
			return events, err
		}
		for i, e := range events {
			events[i] = e.public()
		}
		return slices.DeleteFunc(events, func(e *Event) bool { return e == nil }), nil
	})
}

// public is an event as the person sees it: the steps and their dates, in what
// part somebody made them, and nothing that the staff wrote to each other.
func (e *Event) public() *Event {
	if e.Private || !strings.HasPrefix(string(e.Rule), "T") || e.Rule == NoteTask {
		return nil
	}
	seen := *e
	seen.Reason, seen.Evidence, seen.By = personal.Text{}, nil, ""
	return &seen
}

// OpenInput is a request that somebody enters for a person.
type OpenInput struct {
	Subject             *string
	Channel             Channel
	ReceivedAt          time.Time
	ProcessorReceivedAt *time.Time
	Language            *string
	Items               []ItemInput
	Message             *string
	Contact             *string
	Representative      *RepresentativeInput
}

// ItemInput is a right that is asked for.
type ItemInput struct {
	Type Type
	Wish *string
}

// RepresentativeInput is who acts for the person.
type RepresentativeInput struct {
	Name      string
	Contact   *string
	Authority Authority
	Scope     string
	Since     time.Time
	Deliver   bool
}

// MyInput is a request that a person makes themselves.
type MyInput struct {
	Language *string
	Items    []ItemInput
	Message  *string
}

// Open enters a request, once per Idempotency-Key. The clock starts at the
// receipt; it isn't settled yet who asks.
func (s *Service) Open(ctx context.Context, in OpenInput) (*Request, error) {
	r := &Request{
		Channel: in.Channel, ReceivedAt: in.ReceivedAt.UTC(), ProcessorReceivedAt: in.ProcessorReceivedAt, Message: given(in.Message),
		Contact: given(in.Contact),
	}
	if in.Subject != nil {
		if err := s.known(ctx, *in.Subject); err != nil {
			return nil, err
		}
		r.Subject = *in.Subject
	}
	if rep := in.Representative; rep != nil {
		r.Representative = &Representative{
			Name: personal.NewText(strings.TrimSpace(rep.Name)), Contact: given(rep.Contact), Authority: rep.Authority,
			Scope: personal.NewText(strings.TrimSpace(rep.Scope)), Since: rep.Since, Deliver: rep.Deliver,
		}
		if r.Representative.Name.IsZero() || r.Representative.Scope.IsZero() || rep.Since.After(s.now()) {
			return nil, errs.New(errs.Invalid, "a representative has a name, and an authority with its scope and a date that has passed").At("representative")
		}
	}
	return s.open(ctx, r, in.Language, in.Items, nil)
}

// OpenMine makes a request of the person who has signed in, once per
// Idempotency-Key: who asks is settled, so work on it begins at once.
func (s *Service) OpenMine(ctx context.Context, in MyInput) (*Request, error) {
	p := authz.FromContext(ctx)
	if p.Subject == "" {
		return nil, errs.New(errs.Forbidden, "this is for persons who have signed in")
	}
	r := &Request{Channel: ByPortal, ReceivedAt: s.now(), Subject: p.Subject, Message: given(in.Message)}
	proof := ownProof(p)
	return s.open(ctx, r, in.Language, in.Items, &proof)
}

// open stores a new request; with a proof of who asks, work begins.
func (s *Service) open(ctx context.Context, r *Request, lang *string, items []ItemInput, proof *Proof) (*Request, error) {
	requestID, err := s.insert(ctx, r, lang, items, proof)
	if err != nil {
		return nil, err
	}
	return s.find(ctx, requestID)
}

// insert is open that returns the id.
func (s *Service) insert(ctx context.Context, r *Request, lang *string, items []ItemInput, proof *Proof) (string, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", err
	}
	r.ID, r.CreatedAt, r.UpdatedAt, r.Version, r.Language = id.New(id.Request, of), s.now(), s.now(), 1, "da"
	r.OpenedBy = authz.FromContext(ctx).ID
	r.ReceivedBy = r.OpenedBy
	if lang != nil {
		r.Language = *lang
	}
	if err := r.fill(of, items); err != nil {
		return "", err
	}
	if _, err := s.Vault.Ensure(ctx, Unit(of, r.ID)); err != nil {
		return "", err
	}
	return s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		opened := *r // the transaction may run again
		opened.Items = slices.Clone(r.Items)
		n, err := s.Store.Number(ctx, r.ReceivedAt.Year())
		if err != nil {
			return change.Change{}, err
		}
		opened.Number = fmt.Sprintf("%d-%06d", r.ReceivedAt.Year(), n)
		e, err := opened.Open(s.act(ctx, ByHandler, nil))
		if err != nil {
			return change.Change{}, err
		}
		events := []Event{e}
		if proof != nil {
			if e, err = opened.Begin(s.act(ctx, ByHandler, nil), *proof); err != nil {
				return change.Change{}, err
			}
			events = append(events, e)
		}
		events, then, err := s.settle(ctx, &opened, events)
		if err != nil {
			return change.Change{}, err
		}
		if err := s.Store.Insert(ctx, &opened); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "request.open", Object: r.ID, Touches: opened.touches(), Then: then}, s.Store.InsertEvents(ctx, events...)
	})
}

// known fails unless the tenant has data on the person.
func (s *Service) known(ctx context.Context, subjectID string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if id.Check(id.Subject, of, subjectID) != nil {
		return errs.At(subject.ErrNotFound, "subject")
	}
	found, err := s.Subjects.GetMany(ctx, []string{subjectID})
	if err == nil && len(found) == 0 {
		err = errs.At(subject.ErrNotFound, "subject")
	}
	return err
}

// fill checks what a new request asks for.
func (r *Request) fill(of tenant.ID, items []ItemInput) error {
	if r.Language != "da" && r.Language != "en" {
		return errs.New(errs.Invalid, "a language is da or en").At("language")
	}
	if len(items) == 0 || len(items) > MaxItems {
		return errs.New(errs.Invalid, "a request asks for 1 to %d rights", MaxItems).At("items")
	}
	for _, in := range items {
		if !slices.Contains(Types(), in.Type) || r.Asks(in.Type) {
			return errs.New(errs.Invalid, "name each right once").At("items")
		}
		r.Items = append(r.Items, Item{ID: id.New(id.RequestItem, of), Type: in.Type, Wish: given(in.Wish)})
	}
	for _, text := range r.Texts() {
		if utf8.RuneCountInString(text.Reveal()) > maxText {
			return errs.New(errs.Invalid, "a text has at most %d characters", maxText)
		}
	}
	return nil
}

func given(s *string) personal.Text {
	if s == nil {
		return personal.Text{}
	}
	return personal.NewText(strings.TrimSpace(*s))
}

// act is what the caller does now, in a part. The part is that of the method,
// which the API lets only those with the permission call.
func (s *Service) act(ctx context.Context, as Actor, reason *string, evidence ...string) Act {
	p := authz.FromContext(ctx)
	a := Act{By: p.ID, As: as, At: s.now(), Reason: given(reason), Evidence: evidence}
	a.ID = s.noteID(ctx)
	if p.Kind == authz.KindSubject {
		a.As, a.By = BySubject, p.Subject
	}
	return a
}

func (s *Service) noteID(ctx context.Context) string {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return ""
	}
	return id.New(id.RequestNote, of)
}

// settle brings what follows from steps up to date: the dates, when to look
// again, the jobs and the post. It returns the events with those of letters.
func (s *Service) settle(ctx context.Context, r *Request, events []Event) (all []Event, then []job.Spec, err error) {
	before := r.Deadline.DueBefore
	if err := s.compute(ctx, r); err != nil {
		return nil, nil, err
	}
	if now := r.Deadline.DueBefore; before == nil || now == nil || !before.Equal(*now) {
		r.Escalated = ""
	}
	r.Look = r.nextLook(s.now())
	for i := range events {
		e := &events[i]
		if e.To == InProgress && (e.Rule == Begin || e.Rule == Identify) {
			then = append(then, job.Spec{Type: JobSearch, Object: r.ID})
			if err := s.link(ctx, r, e); err != nil {
				return nil, nil, err
			}
		}
		if e.Rule == Approve {
			then = append(then, job.Spec{Type: JobCarry, Object: r.ID})
			if err := s.keepAddress(ctx, r); err != nil {
				return nil, nil, err
			}
		}
		if e.Rule == Close && s.Closed != nil && r.Subject != "" {
			if err := s.Closed(ctx, r.Subject, e.At); err != nil {
				return nil, nil, err
			}
		}
		then = append(then, s.followed(r, e)...)
		if err := s.plan(ctx, r, e); err != nil {
			return nil, nil, err
		}
		told, err := s.Post.Tell(ctx, r, e)
		if err != nil {
			return nil, nil, err
		}
		then = append(then, told.Then...)
		all = append(all, *e)
		if told.Letter != "" {
			all = append(all, r.note(NoteSent, Act{ID: s.noteID(ctx), By: e.By, As: e.As, At: e.At, Evidence: []string{told.Letter}}))
		}
		if told.Unsent != "" {
			unsent := r.note(NoteUnsent, Act{ID: s.noteID(ctx), By: e.By, As: BySystem, At: e.At, Reason: personal.NewText(told.Unsent)})
			unsent.Private = true
			all = append(all, unsent)
		}
	}
	return all, then, nil
}

// link notes open requests of the same person for the same right. Only what is
// settled to be theirs is compared, so nobody else can stand in their way.
func (s *Service) link(ctx context.Context, r *Request, _ *Event) error {
	others, err := s.Store.List(ctx, Filter{Subject: &r.Subject}, nil, page.Max)
	if err != nil {
		return err
	}
	for _, other := range others {
		same := slices.ContainsFunc(other.Items, func(i Item) bool { return r.Asks(i.Type) })
		if other.ID == r.ID || !same || !other.State.Open() || !other.Identity.Verified() || slices.Contains(r.Duplicates, other.ID) {
			continue
		}
		r.Duplicates = append(r.Duplicates, other.ID)
	}
	return nil
}

// step makes a move of a stored request, with all that follows, in one change.
func (s *Service) step(
	ctx context.Context, requestID, action string, expected *int64, move func(r *Request) ([]Event, error),
) (*Request, error) {
	return s.stepIn(ctx, requestID, action, expected, func(_ context.Context, r *Request) ([]Event, []job.Spec, error) {
		events, err := move(r)
		return events, nil, err
	})
}

// stepIn is step for a move that looks beyond the request, within the change's
// transaction, and may be followed by jobs of its own. One without events changes
// nothing.
func (s *Service) stepIn(
	ctx context.Context, requestID, action string, expected *int64,
	move func(ctx context.Context, r *Request) ([]Event, []job.Spec, error),
) (*Request, error) {
	if _, err := s.find(ctx, requestID); err != nil {
		return nil, err
	}
	return s.moveIn(ctx, requestID, action, expected, move)
}

// moveIn is stepIn of a request that the caller may reach by what they have shown.
func (s *Service) moveIn(
	ctx context.Context, requestID, action string, expected *int64,
	move func(ctx context.Context, r *Request) ([]Event, []job.Spec, error),
) (*Request, error) {
	err := s.Changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
		r, err := s.Store.Get(ctx, requestID)
		if err != nil {
			return nil, err
		}
		if expected != nil && *expected != r.Version {
			return nil, ErrVersion
		}
		events, more, err := move(ctx, r)
		if err != nil || len(events) == 0 {
			return nil, err
		}
		events, then, err := s.settle(ctx, r, events)
		if err != nil {
			return nil, err
		}
		r.Version++
		if err := s.Store.Update(ctx, r); err != nil {
			return nil, err
		}
		then = append(then, more...)
		return []change.Change{{Action: action, Object: r.ID, Touches: r.touches(), Then: then}}, s.Store.InsertEvents(ctx, events...)
	})
	if err != nil {
		return nil, err
	}
	return s.find(ctx, requestID)
}

// one is a step of one event.
func (s *Service) one(ctx context.Context, requestID, action string, expected *int64, move func(r *Request) (Event, error)) (*Request, error) {
	return s.step(ctx, requestID, action, expected, func(r *Request) ([]Event, error) {
		e, err := move(r)
		return []Event{e}, err
	})
}

// once is one for a move that looks beyond the request, within the change's transaction.
func (s *Service) once(
	ctx context.Context, requestID, action string, expected *int64, move func(ctx context.Context, r *Request) (Event, error),
) (*Request, error) {
	return s.stepIn(ctx, requestID, action, expected, func(ctx context.Context, r *Request) ([]Event, []job.Spec, error) {
		e, err := move(ctx, r)
		return []Event{e}, nil, err
	})
}
