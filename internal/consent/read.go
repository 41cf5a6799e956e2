package consent

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
)

// Status is where a person stands on a purpose at an instant.
type Status struct {
	Standing

	State State // expired when the time is over, whether or not that has been noted
	// Valid reports whether data may be used for the purpose now: the consent is in
	// force, and covers the purpose as it is published.
	Valid bool
	AsOf  time.Time
}

// State tells where a person stands on a purpose, by its key or the id of a version:
// now, or at an instant of the past as it is known today. A person whose data is
// erased is subject.ErrErased.
//
// It says of an opaque id whether data may be used, as a gate does at each use, and
// nothing of what shows it: so it is no reading of personal data, and the audit log
// has no entry of it.
func (s *Service) State(ctx context.Context, subjectID, purposeRef string, asOf *time.Time) (*Status, error) {
	if _, err := checkSubject(ctx, subjectID); err != nil {
		return nil, err
	}
	p, err := s.pair(ctx, subjectID, purposeRef)
	if err != nil {
		return nil, err
	}
	st, err := s.Store.Standing(ctx, p)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	if asOf == nil || !asOf.Before(now) {
		return s.status(ctx, st, now)
	}
	events, err := s.Store.History(ctx, p, "")
	if err != nil {
		return nil, err
	}
	then := Stand(slices.DeleteFunc(events, func(e Event) bool { return e.At.After(*asOf) }))
	then.SubjectID, then.PurposeKey = p.SubjectID, p.PurposeKey
	status := &Status{then, then.StateAt(*asOf), then.Valid(*asOf), *asOf}
	return status, nil
}

func (s *Service) status(ctx context.Context, st *Standing, now time.Time) (*Status, error) {
	status := &Status{*st, st.StateAt(now), false, now}
	if !status.State.Valid() {
		return status, nil
	}
	p, err := s.Purposes.ByKey(ctx, st.PurposeKey)
	if errs.KindOf(err) == errs.Precondition || errs.KindOf(err) == errs.NotFound { // retired
		return status, nil
	}
	if err != nil {
		return nil, err
	}
	status.Valid = holds(st, p, now)
	return status, nil
}

// States tells where a person stands on all purposes. Unlike one question of a
// portal, which State answers, it is a read like others, and is noted.
func (s *Service) States(ctx context.Context, subjectID string) ([]*Status, error) {
	if _, err := checkSubject(ctx, subjectID); err != nil {
		return nil, err
	}
	all, err := s.Store.Standings(ctx, subjectID)
	if err != nil {
		return nil, err
	}
	now, list := s.Now(), make([]*Status, len(all))
	for i, st := range all {
		if list[i], err = s.status(ctx, st, now); err != nil {
			return nil, err
		}
	}
	return list, s.Recorder.Read(ctx, "consent.states", subjectID, audit.Touch{Subject: subjectID, Object: subjectID})
}

// Own is States of the person who is calling.
func (s *Service) Own(ctx context.Context) ([]*Status, error) {
	of := authz.FromContext(ctx).Subject
	if err := s.signal(ctx, of, &step{evidence: &Evidence{GPC: audit.RequestFrom(ctx).GPC}}); err != nil {
		return nil, err
	}
	return s.States(ctx, of)
}

// Get returns a consent, or ErrNotFound.
func (s *Service) Get(ctx context.Context, consentID string) (*Consent, error) {
	if err := s.checkID(ctx, id.Consent, consentID, ErrNotFound); err != nil {
		return nil, err
	}
	c, err := s.Store.Get(ctx, consentID)
	if err != nil {
		return nil, err
	}
	if !reaches(ctx, c.SubjectID) {
		return nil, ErrNotFound
	}
	return c, s.showConsents(ctx, c)
}

// GetEvent returns an event of a consent, or ErrNoEvent.
func (s *Service) GetEvent(ctx context.Context, eventID string) (*Event, error) {
	if err := s.checkID(ctx, id.ConsentNote, eventID, ErrNoEvent); err != nil {
		return nil, err
	}
	e, err := s.Store.GetEvent(ctx, eventID)
	if err != nil {
		return nil, err
	}
	if !reaches(ctx, e.SubjectID) {
		return nil, ErrNoEvent
	}
	return e, s.show(ctx, e)
}

// Full returns a consent with all its events, in their order.
func (s *Service) Full(ctx context.Context, consentID string) (*Consent, []*Event, error) {
	c, err := s.Get(ctx, consentID)
	if err != nil {
		return nil, nil, err
	}
	all, err := s.Store.History(ctx, Pair{c.SubjectID, c.Purpose.Key}, c.ID)
	if err != nil {
		return nil, nil, err
	}
	events := make([]*Event, len(all))
	for i := range all {
		events[i] = &all[i]
	}
	return c, events, s.show(ctx, events...)
}

// List returns a page of the tenant's consents, those begun last first.
func (s *Service) List(ctx context.Context, q Query, r page.Request) (*Connection, error) {
	if q.State != "" && q.Purpose == "" {
		return nil, errs.New(errs.Invalid, "a state goes with a purpose").At("state")
	}
	var err error
	if q.Purpose, err = s.key(ctx, q.Purpose); err != nil {
		return nil, err
	}
	if q.Subject != "" {
		if _, err := checkSubject(ctx, q.Subject); err != nil {
			return nil, err
		}
	}
	list := page.List{Of: id.Consent, Scope: strings.Join([]string{q.Subject, q.Purpose, string(q.State)}, "/")}
	c, err := page.Read(ctx, list, r, func(c *Consent) page.Position { return page.Position{CreatedAt: c.CreatedAt, ID: c.ID} },
		func(ctx context.Context, after *page.Position, limit int) ([]*Consent, error) {
			return s.Store.List(ctx, q, after, limit)
		})
	if err != nil {
		return nil, err
	}
	return c, s.showConsents(ctx, c.Nodes()...)
}

// History returns a page of what happened to a person's consents, what was noted
// last first: to all purposes, or to one. It stays when the person is erased.
func (s *Service) History(ctx context.Context, subjectID string, purposeRef *string, r page.Request) (*EventConnection, error) {
	if _, err := checkSubject(ctx, subjectID); err != nil {
		return nil, err
	}
	q := EventQuery{Subject: subjectID}
	if purposeRef != nil {
		var err error
		if q.Purpose, err = s.key(ctx, *purposeRef); err != nil {
			return nil, err
		}
	}
	return s.events(ctx, q, r)
}

// OwnHistory is History of the person who is calling.
func (s *Service) OwnHistory(ctx context.Context, r page.Request) (*EventConnection, error) {
	return s.History(ctx, authz.FromContext(ctx).Subject, nil, r)
}

// EventsOf returns a page of what happened to a consent, which was read before.
func (s *Service) EventsOf(ctx context.Context, c *Consent, r page.Request) (*EventConnection, error) {
	return s.events(ctx, EventQuery{Subject: c.SubjectID, Consent: c.ID}, r)
}

func (s *Service) events(ctx context.Context, q EventQuery, r page.Request) (*EventConnection, error) {
	list := page.List{Of: id.ConsentNote, Scope: q.Subject + "/" + q.Purpose + "/" + q.Consent}
	c, err := page.Read(ctx, list, r, func(e *Event) page.Position { return page.Position{CreatedAt: e.CreatedAt, ID: e.ID} },
		func(ctx context.Context, after *page.Position, limit int) ([]*Event, error) {
			return s.Store.Events(ctx, q, after, limit)
		})
	if err != nil {
		return nil, err
	}
	return c, s.show(ctx, c.Nodes()...)
}

func (s *Service) checkID(ctx context.Context, t id.Type, of string, missing error) error {
	p := authz.FromContext(ctx)
	if id.Check(t, p.Tenant, of) != nil {
		return missing
	}
	return nil
}

// reaches reports whether the caller may know of a person: a data subject knows of
// nobody else.
func reaches(ctx context.Context, subjectID string) bool {
	p := authz.FromContext(ctx)
	return p.Kind != authz.KindSubject || p.Subject == subjectID
}

// sights returns how much the caller may see of the proofs about persons. The proof
// about one whose data is erased is kept, and as restricted as processing can be.
func (s *Service) sights(ctx context.Context, subjects []string) (map[string]authz.Sight, error) {
	if len(subjects) == 0 {
		return map[string]authz.Sight{}, nil
	}
	ids := slices.Compact(slices.Sorted(slices.Values(subjects)))
	found, err := s.Subjects.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	free := map[string]bool{}
	for _, p := range found {
		free[p.ID] = p.State == subject.Active
	}
	sights := make(map[string]authz.Sight, len(ids))
	for _, subjectID := range ids {
		sights[subjectID] = s.Looker.Look(ctx, authz.Data{
			Class: string(dataset.Ordinary), Secrecy: string(dataset.NoSecrecy), Restricted: !free[subjectID], About: subjectID,
		})
	}
	return sights, nil
}

// show takes from events what the caller may not see, and notes what they do.
func (s *Service) show(ctx context.Context, events ...*Event) error {
	subjects := make([]string, len(events))
	for i, e := range events {
		subjects[i] = e.SubjectID
	}
	sights, err := s.sights(ctx, subjects)
	if err != nil {
		return err
	}
	var touches []audit.Touch
	for _, e := range events {
		sight := sights[e.SubjectID]
		if e.Evidence != nil && !sight.Clear() {
			e.Evidence, e.EvidenceState, e.EvidenceReason = nil, personal.Withheld, &sight.Reason
		}
		if e.EvidenceState != personal.Erased { // else there is nothing left to seal the note with
			touches = append(touches, audit.Touch{Subject: e.SubjectID, Object: e.ID})
		}
	}
	return s.note(ctx, "consent.history", touches)
}

func (s *Service) showConsents(ctx context.Context, consents ...*Consent) error {
	subjects := make([]string, len(consents))
	for i, c := range consents {
		subjects[i] = c.SubjectID
	}
	sights, err := s.sights(ctx, subjects)
	if err != nil {
		return err
	}
	var touches []audit.Touch
	now := s.Now()
	for _, c := range consents {
		c.State = c.At(now) // expired, whether or not that has been noted
		if !sights[c.SubjectID].Clear() {
			c.Language = ""
		}
		touches = append(touches, audit.Touch{Subject: c.SubjectID, Object: c.ID})
	}
	return s.note(ctx, "consent.read", touches)
}

func (s *Service) note(ctx context.Context, action string, touches []audit.Touch) error {
	object := ""
	if len(touches) == 1 {
		object = touches[0].Object
	}
	return s.Recorder.Read(ctx, action, object, touches...)
}

// Count is how often persons came to a state by a channel on a day, less how often
// they left it on that day.
type Count struct {
	PurposeKey string
	Day        civil.Date // UTC
	State      State
	Channel    Channel
	Came       int64
	Left       int64
}

// MaxReport is how many purposes one report is about.
const MaxReport = 20

// ReportInput asks for a report.
type ReportInput struct {
	Purposes []string // keys
	AsOf     *civil.Date
}

// Report tells how many persons stand where, and what they did.
type Report struct {
	AsOf     civil.Date
	Standing []StandingCount
	Months   []MonthCount
}

// StandingCount is how many persons stood in a state at the end of a day, by the
// channel that brought them there.
type StandingCount struct {
	Purpose string
	State   State
	Channel Channel
	Count   int64
}

// MonthCount is how often persons came to a state in a month.
type MonthCount struct {
	Purpose string
	Month   string // YYYY-MM, UTC
	State   State
	Channel Channel
	Count   int64
}

// Report counts consents, up to the end of a day (UTC), out of counters that are
// kept with the events: however many there are, none is read.
func (s *Service) Report(ctx context.Context, in ReportInput) (*Report, error) {
	if len(in.Purposes) == 0 || len(in.Purposes) > MaxReport {
		return nil, errs.New(errs.Invalid, "a report is about 1 to %d purposes", MaxReport).At("purposes")
	}
	r := &Report{AsOf: civil.Of(s.Now().UTC())}
	if in.AsOf != nil && in.AsOf.Before(r.AsOf) {
		r.AsOf = *in.AsOf
	}
	counts, err := s.Store.Moves(ctx, slices.Compact(slices.Sorted(slices.Values(in.Purposes))), r.AsOf)
	if err != nil {
		return nil, err
	}
	standing, months := map[StandingCount]int64{}, map[MonthCount]int64{}
	for _, c := range counts {
		standing[StandingCount{c.PurposeKey, c.State, c.Channel, 0}] += c.Came - c.Left
		if c.Came > 0 {
			months[MonthCount{c.PurposeKey, c.Day.String()[:len("2006-01")], c.State, c.Channel, 0}] += c.Came
		}
	}
	for k, n := range standing {
		if k.Count = n; n != 0 {
			r.Standing = append(r.Standing, k)
		}
	}
	for k, n := range months {
		k.Count = n
		r.Months = append(r.Months, k)
	}
	slices.SortFunc(r.Standing, func(a, b StandingCount) int {
		return slices.Compare([]string{a.Purpose, string(a.State), string(a.Channel)}, []string{b.Purpose, string(b.State), string(b.Channel)})
	})
	slices.SortFunc(r.Months, func(a, b MonthCount) int {
		return slices.Compare([]string{a.Purpose, a.Month, string(a.State), string(a.Channel)}, []string{b.Purpose, b.Month, string(b.State), string(b.Channel)})
	})
	return r, nil
}
