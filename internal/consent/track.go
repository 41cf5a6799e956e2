package consent

import (
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/tenant"
)

// Track is what is kept of a person and a purpose, as far as a change needs it to
// move it on.
type Track struct {
	SubjectID  string
	PurposeKey string
	Standing   Standing
	// Consents are the record that governs, those that aren't over under the notices
	// wanted, and what the change begins.
	Consents []*Consent

	// What the change adds: events, in their order, and what they make of the report.
	Events []*Event
	Moves  []Move
	// Changed reports whether the standing is to be stored.
	Changed bool
}

// Move is a change of where a person stands, as the report counts it.
type Move struct {
	PurposeKey  string
	At          time.Time
	From, To    State
	FromChannel Channel
	ToChannel   Channel
}

// step is what is to be noted of a track.
type step struct {
	to         State
	purpose    *purpose.Purpose // in the version that the notice names; nil where none is named
	current    *purpose.Purpose // as it is published; nil of imported history
	notice     *purpose.Notice
	expression Expression
	actor      Actor
	by         string
	channel    Channel
	cause      *Cause
	at, noted  time.Time
	evidence   *Evidence
	historic   bool // it is told of the past
	confirmed  bool // the person was asked which they mean, this or Global Privacy Control
}

// of names what the step needs of a person and purpose.
func (s *step) of(p Pair) Want {
	if s.notice == nil {
		return Want{Pair: p}
	}
	return Want{p, s.notice.ID}
}

// wanted names persons and purposes of which nothing is answered.
func wanted(pairs []Pair) []Want {
	wants := make([]Want, len(pairs))
	for i, p := range pairs {
		wants[i].Pair = p
	}
	return wants
}

// consent returns the record with an id.
func (t *Track) consent(consentID string) *Consent {
	i := slices.IndexFunc(t.Consents, func(c *Consent) bool { return c.ID == consentID })
	if i < 0 {
		return nil
	}
	return t.Consents[i]
}

// governing returns the record that governs, nil if the person was never asked.
func (t *Track) governing() *Consent { return t.consent(t.Standing.ConsentID) }

// open returns the record under a notice that isn't over, nil if there is none.
func (t *Track) open(noticeID string) *Consent {
	for _, c := range slices.Backward(t.Consents) {
		if c.NoticeID == noticeID && !c.State.Over() {
			return c
		}
	}
	return nil
}

// add appends an event to a record. What a record doesn't take is a fault of ours.
func (t *Track) add(c *Consent, e Event, of tenant.ID) error {
	if !c.State.takes(e.State) || !e.Actor.may(e.State) {
		return fmt.Errorf("consent %s: %s of %s after %s", c.ID, e.State, e.Actor, c.State)
	}
	if e.At.Before(t.Standing.LastAt) {
		return ErrOrder
	}
	e.ID, e.ConsentID, e.SubjectID, e.Purpose, e.NoticeID = id.New(id.ConsentNote, of), c.ID, t.SubjectID, c.Purpose, c.NoticeID
	e.Seq = t.Standing.Seq + 1
	if next := t.Standing.NotedAt.Add(time.Millisecond); e.CreatedAt.Before(next) {
		e.CreatedAt = next // so that events can be listed in their order
	}
	c.State, c.ValidUntil, c.AskAfter, c.UpdatedAt = e.State, e.ValidUntil, e.AskAfter, e.CreatedAt
	if e.Channel != Internal || c.Version == 0 {
		c.Channel = e.Channel
	}
	c.Version++
	before := t.Standing
	if t.Standing.take(&e) {
		t.Moves = append(t.Moves, Move{t.PurposeKey, e.At, before.State, e.State, before.Channel, e.Channel})
	}
	t.Events, t.Changed = append(t.Events, &e), true
	return nil
}

// begin starts a record under the step's notice.
func (t *Track) begin(s *step, of tenant.ID) *Consent {
	c := &Consent{
		ID: id.New(id.Consent, of), SubjectID: t.SubjectID, NoticeID: s.notice.ID, State: Unknown, CreatedAt: s.noted,
		Purpose: purpose.Ref{ID: s.purpose.ID, Key: s.purpose.Key, Version: s.purpose.Version}, Language: s.evidence.Language,
	}
	if before := t.Standing.ConsentID; before != "" {
		c.Supersedes = &before
	}
	t.Consents = append(t.Consents, c)
	return c
}

// settle notes that the time of the consent in force is over, if it is at an instant.
func (t *Track) settle(at, noted time.Time, by string, of tenant.ID) error {
	if !t.Standing.State.Valid() || t.Standing.Valid(at) {
		return nil
	}
	cause := Validity
	return t.add(t.governing(), Event{
		State: Expired, Actor: System, By: by, Channel: Internal, Cause: &cause, At: *t.Standing.ValidUntil, CreatedAt: noted,
	}, of)
}

// move notes a step, and returns the record that it was noted of. What is so
// already is not noted again.
func (t *Track) move(s *step, of tenant.ID) (*Consent, error) {
	if s.at.Before(t.Standing.LastAt) {
		if s.historic {
			return nil, ErrOrder
		}
		s.at = t.Standing.LastAt // another server's clock is ahead
	}
	if err := t.settle(s.at, s.noted, s.by, of); err != nil {
		return nil, err
	}
	switch s.to {
	case Requested:
		return t.request(s, of)
	case Given, Refused, Deferred:
		return t.answer(s, of)
	case Reconfirmed, Withdrawn, Revoked, Invalidated:
		return t.end(s, of)
	case Unknown, Expired:
	}
	return nil, fmt.Errorf("note of consent: %s is no step", s.to)
}

// event returns the step as an event that leads to a state.
func (s *step) event(to State) Event {
	e := Event{
		State: to, Actor: s.actor, By: s.by, Channel: s.channel, Cause: s.cause, At: s.at, CreatedAt: s.noted, Evidence: s.evidence,
	}
	switch to {
	case Given, Reconfirmed:
		e.Expression = &s.expression
		if s.purpose.ValidityMonths > 0 {
			until := addMonths(s.at, s.purpose.ValidityMonths)
			e.ValidUntil = &until
		}
	case Refused, Deferred:
		after := addMonths(s.at, s.purpose.CoolDownMonths)
		e.AskAfter = &after
	case Requested:
		e.Actor = System
	case Unknown, Withdrawn, Revoked, Expired, Invalidated:
	}
	return e
}

// signalled reports whether Global Privacy Control answers the step.
func (s *step) signalled() bool {
	return s.evidence.GPC && !s.confirmed && (s.purpose.Optional || s.purpose.Marketing)
}

// request notes that a request was shown.
func (t *Track) request(s *step, of tenant.ID) (*Consent, error) {
	c := t.open(s.notice.ID)
	switch {
	case c != nil && c.State.Valid():
		return nil, ErrGiven
	case c != nil && c.State == Requested:
		return c, nil
	}
	// Who said no to another version may be asked about what is new in this one.
	if after := t.Standing.AskAfter; after != nil && s.at.Before(*after) && s.purpose.Covers(t.Standing.Purpose.Version) {
		return nil, ErrCoolDown
	}
	if c != nil && c.AskAfter != nil && s.at.Before(*c.AskAfter) {
		return nil, ErrCoolDown
	}
	if c == nil {
		c = t.begin(s, of)
	}
	if err := t.add(c, s.event(Requested), of); err != nil {
		return nil, err
	}
	if !s.signalled() {
		return c, nil
	}
	no, cause := *s, Signal
	no.to, no.actor, no.cause = Refused, Self, &cause
	return t.answer(&no, of)
}

// answer notes a yes, a no or a later. An answer without a request tells that the
// two came together: who answers of their own accord is nobody who was asked too
// early.
func (t *Track) answer(s *step, of tenant.ID) (*Consent, error) {
	c := t.open(s.notice.ID)
	if s.signalled() && s.to != Refused {
		if t.Standing.State.Valid() {
			return t.conflict(s.at), nil
		}
		no, cause := *s, Signal
		no.to, no.cause = Refused, &cause
		return t.answer(&no, of)
	}
	switch {
	case c != nil && c.State == s.to:
		return c, nil
	case c != nil && c.State.Valid() && s.to == Given:
		return c, nil
	case c != nil && c.State.Valid():
		return nil, ErrGiven
	}
	if c == nil {
		c = t.begin(s, of)
	}
	if c.State != Requested {
		shown := s.event(Requested)
		shown.Cause, shown.Evidence = nil, nil
		if err := t.add(c, shown, of); err != nil {
			return nil, err
		}
	}
	if before := t.governing(); s.to == Given && before != nil && before != c && before.State.Valid() {
		cause := Replaced
		if err := t.add(before, Event{
			State: Expired, Actor: System, By: s.by, Channel: Internal, Cause: &cause, At: s.at, CreatedAt: s.noted,
		}, of); err != nil {
			return nil, err
		}
	}
	if s.evidence.Language != "" {
		c.Language = s.evidence.Language
	}
	return c, t.add(c, s.event(s.to), of)
}

// conflict notes, once, that Global Privacy Control was sent against the consent in
// force, and returns it.
func (t *Track) conflict(at time.Time) *Consent {
	if t.Standing.ConflictAt == nil {
		t.Standing.ConflictAt, t.Changed = &at, true
	}
	return t.governing()
}

// end notes what becomes of the consent in force: it is renewed, or ends.
func (t *Track) end(s *step, of tenant.ID) (*Consent, error) {
	c := t.governing()
	switch {
	case c != nil && c.State == s.to && c.State.Over():
		return c, nil
	case c == nil || !c.State.Valid():
		return nil, ErrNone
	case s.to == Reconfirmed && s.signalled():
		return t.conflict(s.at), nil
	}
	return c, t.add(c, s.event(s.to), of)
}
