package imports

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
)

// consentColumns returns what a line of an import of consents has.
func consentColumns() []string {
	return []string{
		"reference", "purpose", "notice", "state", "at", "expression", "channel", "actor", "language", "actorName", "component",
		"screenHash", "locale", "appVersion", "session", "note", "gpc", "age", "country",
	}
}

// consentRow reads a line that is an event of a consent.
func (p *plan) consentRow(ctx context.Context, line any) (*row, error) {
	object, ok := line.(map[string]any)
	if !ok {
		return nil, errs.New(errs.Invalid, "a line is a JSON object")
	}
	for name := range object {
		if !slices.Contains(consentColumns(), name) {
			// Which one isn't told: a name that nobody expected may be anything.
			return nil, errs.New(errs.Invalid, "an event of a consent has no field of one of the line's names")
		}
	}
	told := consent.Told{}
	r := &row{}
	var err error
	take := func(name string, into func(t personal.Text) error) {
		if err != nil {
			return
		}
		var t personal.Text
		var has bool
		if t, has, err = text(object[name]); err == nil && has {
			err = into(t)
		}
		err = errs.At(err, name)
	}
	plain := func(into *string) func(personal.Text) error {
		return func(t personal.Text) error { *into = t.Reveal(); return nil }
	}
	kept := func(into **personal.Text) func(personal.Text) error {
		return func(t personal.Text) error { *into = &t; return nil }
	}
	take("reference", func(t personal.Text) error { r.subject.Reference = t; return nil })
	take("purpose", plain(&told.Purpose))
	take("notice", func(t personal.Text) error { told.Notice = optional[string](t); return nil })
	take("state", func(t personal.Text) error { told.State = consent.State(t.Reveal()); return nil })
	take("at", func(t personal.Text) (err error) {
		if told.At, err = time.Parse(time.RFC3339, t.Reveal()); err != nil {
			return errs.New(errs.Invalid, "takes an instant with its zone, as RFC 3339 has it")
		}
		return nil
	})
	c := &told.Context
	take("expression", func(t personal.Text) error { told.Expression = optional[consent.Expression](t); return nil })
	take("channel", func(t personal.Text) error { c.Channel = optional[consent.Channel](t); return nil })
	take("actor", func(t personal.Text) error { c.Actor = optional[consent.Actor](t); return nil })
	take("language", func(t personal.Text) error { c.Language = optional[string](t); return nil })
	take("country", func(t personal.Text) error { c.Country = optional[string](t); return nil })
	take("actorName", kept(&c.ActorName))
	take("component", kept(&c.Component))
	take("screenHash", kept(&c.ScreenHash))
	take("locale", kept(&c.Locale))
	take("appVersion", kept(&c.AppVersion))
	take("session", kept(&c.Session))
	take("note", kept(&c.Note))
	take("age", func(t personal.Text) error {
		age, err := strconv.Atoi(t.Reveal())
		if err != nil {
			return errs.New(errs.Invalid, "takes a number of years")
		}
		c.Age = &age
		return nil
	})
	if err == nil {
		c.GPC, err = truth(object["gpc"])
		err = errs.At(err, "gpc")
	}
	if err == nil {
		err = r.refer()
	}
	if err != nil {
		return nil, err
	}
	r.consent, err = p.importer.Read(ctx, told)
	return r, err
}

func optional[T ~string](t personal.Text) *T {
	v := T(t.Reveal())
	return &v
}

// truth reads a boolean, or its text.
func truth(v any) (bool, error) {
	switch v := v.(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	case string:
		if v == "" {
			return false, nil
		}
		if b, err := strconv.ParseBool(v); err == nil {
			return b, nil
		}
	case json.Number:
	}
	return false, errs.New(errs.Invalid, "takes true or false")
}

// settleConsent tells what a line asks to be noted of a stored person.
func (r *run) settleConsent(ctx context.Context, l *line, stored *subject.Subject) (w work, err error) {
	switch {
	case stored == nil:
		return w, subject.ErrNotFound.At("reference")
	case stored.State.Gone():
		return w, subject.ErrErased
	case stored.State == subject.Restricted:
		return w, subject.ErrRestricted
	}
	e, err := r.plan.importer.Of(ctx, l.row.consent, stored.ID, stored.BirthDate)
	if err != nil {
		return w, err
	}
	w.events, w.guard, w.owners = []*consent.Entry{e}, []string{stored.ID}, append(w.owners, audit.Evidence(r.plan.of, stored.ID))
	return w, nil
}

// tryConsents finds the lines that can't be noted, and counts what becomes of the
// others.
func (r *run) tryConsents(ctx context.Context, b *batch, each []work) error {
	var entries []*consent.Entry
	var lines []int
	for i, l := range b.lines {
		if l.fault == nil {
			entries, lines = append(entries, each[i].events...), append(lines, i)
		}
	}
	results, err := r.plan.importer.Try(ctx, entries)
	if err != nil {
		return err
	}
	for n, res := range results {
		w := &each[lines[n]]
		switch {
		case res.Err != nil:
			b.lines[lines[n]].fault = res.Err
			if !ofLine(res.Err) {
				return res.Err
			}
			continue
		case res.Created:
			w.counts.Created = 1
		case res.Added > 0:
			w.counts.Updated = 1
		default:
			w.counts.Unchanged = 1
		}
		w.counts.Records = int64(res.Added)
	}
	return nil
}
