package consent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/tenant"
)

// Told is an event that another system has kept.
type Told struct {
	Purpose    string  // key
	Notice     *string // id of the version shown: of a request, and of an answer to one
	State      State   // that it led to
	At         time.Time
	Expression *Expression
	Context    Context
}

// Entry is one that was read, and is of a person.
type Entry struct {
	step *step
	pair Pair
}

// Importer brings in what other systems have kept: events with the times when they
// happened, in the order of time for each person and purpose. It belongs to one
// import, by whose id the checks are found that follow.
type Importer struct {
	*Service

	batch string

	mu       sync.Mutex
	notices  map[string]*purpose.Notice
	purposes map[string]*purpose.Purpose
}

// Importer returns what brings in the events of one import.
func (s *Service) Importer(importID string) *Importer {
	h := &Importer{batch: importID, notices: map[string]*purpose.Notice{}, purposes: map[string]*purpose.Purpose{}}
	c := *s
	c.Purposes = remembered{s.Purposes, h}
	h.Service = &c
	return h
}

// remembered asks once for versions, which don't change.
type remembered struct {
	Purposes

	of *Importer
}

// Notice implements Purposes.
func (r remembered) Notice(ctx context.Context, noticeID string) (*purpose.Notice, error) {
	return remember(&r.of.mu, r.of.notices, noticeID, func() (*purpose.Notice, error) { return r.Purposes.Notice(ctx, noticeID) })
}

// ByID implements Purposes.
func (r remembered) ByID(ctx context.Context, purposeID string) (*purpose.Purpose, error) {
	return remember(&r.of.mu, r.of.purposes, purposeID, func() (*purpose.Purpose, error) { return r.Purposes.ByID(ctx, purposeID) })
}

const maxRemembered = 1000

func remember[T any](mu *sync.Mutex, known map[string]T, key string, find func() (T, error)) (T, error) {
	mu.Lock()
	v, ok := known[key]
	mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := find()
	if err != nil {
		return v, err
	}
	mu.Lock()
	defer mu.Unlock()
	if len(known) < maxRemembered {
		known[key] = v
	}
	return v, nil
}

// Read checks an event.
func (h *Importer) Read(ctx context.Context, told Told) (*Entry, error) {
	now := h.at()
	if told.At.IsZero() || told.At.After(now) {
		return nil, errs.New(errs.Invalid, "an event has happened at an instant of the past").At("at")
	}
	evidence, err := told.Context.evidence()
	if err != nil {
		return nil, err
	}
	st := &step{
		to: told.State, expression: Expressed, actor: Self, by: authz.FromContext(ctx).ID, channel: Other,
		at: told.At.UTC().Truncate(time.Millisecond), noted: now, evidence: evidence, historic: true, confirmed: true,
	}
	if told.Expression != nil {
		st.expression = *told.Expression
	}
	if st.expression != Expressed && st.expression != Explicit {
		return nil, errs.New(errs.Invalid, "an expression is EXPRESSED or EXPLICIT").At("expression")
	}
	if told.Context.Channel != nil {
		st.channel = *told.Context.Channel
	}
	if !slices.Contains([]Channel{Web, App, Email, Phone, Paper, InPerson, Other}, st.channel) {
		return nil, errs.New(errs.Invalid, "a channel is WEB, APP, EMAIL, PHONE, PAPER, IN_PERSON or OTHER").At("channel")
	}
	if told.Context.Actor != nil {
		st.actor = *told.Context.Actor
	}
	switch told.State {
	case Requested:
		st.actor = System
	case Revoked:
		cause := Stopped
		st.actor, st.channel, st.cause = Controller, Internal, &cause
	case Given, Refused, Deferred, Reconfirmed, Withdrawn:
		if st.actor != Self && st.actor != Parent && st.actor != Staff {
			return nil, errs.New(errs.Invalid, "an actor is SELF, PARENT or STAFF").At("actor")
		}
	case Unknown, Expired, Invalidated:
		fallthrough
	default:
		return nil, errs.New(errs.Invalid, "an event leads to REQUESTED, GIVEN, REFUSED, DEFERRED, RECONFIRMED, WITHDRAWN or REVOKED").At("state")
	}
	if st.current, err = h.Purposes.ByKey(ctx, told.Purpose); err != nil && errs.KindOf(err) != errs.Precondition {
		return nil, errs.At(err, "purpose")
	}
	if st.current != nil && !st.current.ConsentBased() {
		return nil, ErrBasis.At("purpose")
	}
	e := &Entry{st, Pair{PurposeKey: told.Purpose}}
	if told.State.Over() || told.State == Reconfirmed {
		return e, nil
	}
	switch {
	case st.current == nil:
		return nil, purpose.ErrRetired.At("purpose")
	case told.Notice == nil:
		return nil, errs.New(errs.Invalid, "say which notice was shown, by the id of its version").At("notice")
	}
	if st.notice, err = h.Purposes.Notice(ctx, *told.Notice); err != nil {
		return nil, errs.At(err, "notice")
	}
	return e, h.shown(ctx, st)
}

// Of returns the entry as one of a person, whose birth date is on file or isn't. It
// fails for a yes of a child that isn't its parent's.
func (h *Importer) Of(ctx context.Context, e *Entry, subjectID string, birthDate personal.Text) (*Entry, error) {
	if e.step.mayBeChild() {
		if err := h.oldEnough(ctx, e.step, birthDate); err != nil {
			return nil, err
		}
	}
	return &Entry{e.step, Pair{subjectID, e.pair.PurposeKey}}, nil
}

// Result is what an entry comes to.
type Result struct {
	Err     error // why it is noted not at all
	Created bool  // it begins a record
	Added   int   // events
}

// Try tells what entries would come to, in their order, without noting anything.
func (h *Importer) Try(ctx context.Context, entries []*Entry) ([]Result, error) {
	_, results, err := h.play(ctx, entries)
	return results, err
}

// Note notes entries, in the transaction that guards their persons, and returns the
// changes. It fails if one of them can't be noted.
func (h *Importer) Note(ctx context.Context, entries []*Entry) ([]change.Change, error) {
	tracks, results, err := h.play(ctx, entries)
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		if r.Err != nil {
			return nil, r.Err
		}
	}
	return h.write(ctx, h.batch, tracks...)
}

func (h *Importer) play(ctx context.Context, entries []*Entry) ([]*Track, []Result, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil || len(entries) == 0 {
		return nil, nil, err
	}
	wants := make([]Want, len(entries))
	for i, e := range entries {
		wants[i] = e.step.of(e.pair)
	}
	tracks, err := h.Store.Tracks(ctx, wants...)
	if err != nil {
		return nil, nil, err
	}
	results := make([]Result, len(entries))
	for i, e := range entries {
		t, st := tracks[i], *e.step
		records, events := len(t.Consents), len(t.Events)
		if results[i].Err = h.renewal(ctx, &st, t); results[i].Err == nil {
			_, results[i].Err = t.move(&st, of)
		}
		results[i].Created, results[i].Added = len(t.Consents) > records, len(t.Events)-events
	}
	return tracks, results, nil
}
