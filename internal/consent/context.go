package consent

import (
	"context"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
)

const (
	maxShort = 500  // characters of a piece of evidence
	maxNote  = 4000 // of a note
	maxAge   = 130
)

func itoa(i int) string { return strconv.Itoa(i) }

// step checks what is asked, and finds what it is about.
func (s *Service) step(ctx context.Context, a ask, c *Context, at time.Time) (*step, error) {
	if c == nil {
		c = &Context{}
	}
	evidence, err := c.evidence()
	if err != nil {
		return nil, errs.At(err, "context")
	}
	if authz.FromContext(ctx).Kind == authz.KindSubject && audit.RequestFrom(ctx).GPC {
		evidence.GPC = true // the person's own browser says so, whatever the page does
	}
	st := &step{
		to: a.to, expression: Expressed, by: authz.FromContext(ctx).ID, channel: Other, at: at, noted: at,
		evidence: evidence, confirmed: c.GPCConfirmed,
	}
	if a.expression != nil {
		st.expression = *a.expression
	}
	if c.Channel != nil {
		st.channel = *c.Channel
	}
	if st.channel == Internal {
		return nil, errs.New(errs.Invalid, "nobody answers by INTERNAL").At("context.channel")
	}
	switch a.to {
	case Requested:
		st.actor = System
	case Revoked, Invalidated:
		cause := Stopped
		st.actor, st.channel, st.cause = Controller, Internal, &cause
	case Given, Refused, Deferred, Reconfirmed, Withdrawn:
		if err := st.speaks(authz.FromContext(ctx), c); err != nil {
			return nil, errs.At(err, "context")
		}
	case Unknown, Expired:
		return nil, errs.New(errs.Invalid, "not an answer").At("answer")
	}
	if a.to.Over() {
		return st, nil
	}
	key, err := s.key(ctx, a.purpose)
	if err != nil {
		return nil, err
	}
	if st.current, err = s.Purposes.ByKey(ctx, key); err != nil {
		return nil, errs.At(err, "purpose")
	}
	if !st.current.ConsentBased() {
		return nil, ErrBasis.At("purpose")
	}
	if a.to == Reconfirmed {
		return st, nil // under the notice of the consent in force
	}
	if a.notice == nil {
		return nil, errs.New(errs.Invalid, "say which notice was shown, by the id of its version").At("notice")
	}
	if st.notice, err = s.Purposes.Notice(ctx, *a.notice); err != nil {
		return nil, errs.At(err, "notice")
	}
	return st, s.shown(ctx, st)
}

// shown checks that the step's notice tells of its purpose as it is, and completes
// the evidence with what was shown.
func (s *Service) shown(ctx context.Context, st *step) error {
	i := indexOf(st.notice, st.current.Key)
	if i < 0 || st.notice.PublishedAt == nil {
		return ErrNotice
	}
	ref := st.notice.Purposes[i]
	if !st.historic && (st.notice.State != purpose.Published || !st.current.Covers(ref.Version)) {
		return ErrNotice
	}
	var err error
	if st.purpose = st.current; ref.ID != st.current.ID {
		if st.purpose, err = s.Purposes.ByID(ctx, ref.ID); err != nil {
			return err
		}
	}
	if err := st.explicit(); err != nil {
		return err
	}
	if st.evidence.Language == "" {
		return errs.New(errs.Invalid, "say in which language the notice was shown").At("context.language")
	}
	text := st.notice.In(st.evidence.Language)
	want, _ := language.Make(st.evidence.Language).Base()
	if have, _ := language.Make(text.Language).Base(); have != want {
		return errs.New(errs.Precondition, "the notice isn't there in this language").Under("consent.notice").At("context.language")
	}
	st.evidence.Language, st.evidence.TextHash = text.Language, text.ContentHash
	return nil
}

func indexOf(n *purpose.Notice, key string) int {
	for i, r := range n.Purposes {
		if r.Key == key {
			return i
		}
	}
	return -1
}

// speaks settles who expresses the step. A person answers for themselves; a portal
// tells what they or their parents answer; staff enter it, with its proof.
func (st *step) speaks(p authz.Principal, c *Context) error {
	st.actor = Self
	if p.Kind == authz.KindMember || p.Kind == authz.KindOperator {
		st.actor = Staff
	}
	if c.Actor != nil {
		st.actor = *c.Actor
	}
	ok := st.actor == Self || st.actor == Parent || st.actor == Staff
	switch p.Kind {
	case authz.KindSubject:
		ok = st.actor == Self
	case authz.KindMember, authz.KindOperator:
		ok = st.actor == Staff || st.actor == Parent
	case authz.KindMachine, authz.KindSystem:
	}
	if !ok {
		return ErrActor
	}
	entered := st.actor == Staff || p.Kind == authz.KindMember || p.Kind == authz.KindOperator
	if !entered || st.evidence.Proof != nil {
		return nil
	}
	// A no is taken as easily as can be (Art. 7(3)): how it came is enough.
	if !st.to.Valid() && !st.evidence.Note.IsZero() {
		return nil
	}
	return ErrProof
}

// evidence checks the context and returns what is kept of it.
func (c *Context) evidence() (*Evidence, error) {
	e := &Evidence{GPC: c.GPC, Age: c.Age, Proof: c.Proof}
	for _, t := range []struct {
		name string
		from *personal.Text
		to   *personal.Text
		most int
	}{
		{"actorName", c.ActorName, &e.Name, maxShort},
		{"component", c.Component, &e.Component, maxShort},
		{"screenHash", c.ScreenHash, &e.ScreenHash, maxShort},
		{"locale", c.Locale, &e.Locale, maxShort},
		{"appVersion", c.AppVersion, &e.AppVersion, maxShort},
		{"session", c.Session, &e.Session, maxShort},
		{"note", c.Note, &e.Note, maxNote},
	} {
		if t.from == nil {
			continue
		}
		if text := t.from.Reveal(); utf8.RuneCountInString(text) > t.most || !utf8.ValidString(text) {
			return nil, errs.New(errs.Invalid, "a text of up to %d characters", t.most).At(t.name)
		}
		*t.to = *t.from
	}
	if !e.ScreenHash.IsZero() && !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(e.ScreenHash.Reveal()) {
		return nil, errs.New(errs.Invalid, "a SHA-256 in lower-case hexadecimal").At("screenHash")
	}
	if c.Language != nil {
		if _, err := language.Parse(*c.Language); err != nil {
			return nil, errs.New(errs.Invalid, "a language is a BCP 47 tag").At("language")
		}
		e.Language = *c.Language
	}
	if c.Country != nil {
		if !regexp.MustCompile(`^[A-Z]{2}$`).MatchString(*c.Country) {
			return nil, errs.New(errs.Invalid, "a country is an ISO 3166-1 alpha-2 code").At("country")
		}
		e.Country = *c.Country
	}
	if c.Age != nil && (*c.Age < 0 || *c.Age > maxAge) {
		return nil, errs.New(errs.Invalid, "an age is 0 to %d years", maxAge).At("age")
	}
	return e, nil
}
