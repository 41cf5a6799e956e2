package rectify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/request"
)

// Work carries out the requests to have data corrected.
type Work struct{ Service *Service }

var (
	_ request.Work = (*Work)(nil)
	_ post.Teller  = (*Work)(nil)
)

// Search implements request.Work: the person says what is wrong, there is nothing to
// look for.
func (*Work) Search(context.Context, *request.Request, *request.Item) ([]request.Answer, error) {
	return nil, nil
}

// Effect implements request.Work: nothing is corrected without a decision.
func (*Work) Effect(context.Context, *request.Request, *request.Item) (request.Done, error) {
	return request.Done{}, errors.New("a correction takes no effect before it is approved")
}

// Carry implements request.Work. All of it is looked at before any of it is done, so
// that what has moved since it was approved stops it with nothing done. After a crash
// it goes on with what doesn't stand as it is to be.
func (w *Work) Carry(ctx context.Context, r *request.Request, item *request.Item, run *job.Run) (request.Done, error) {
	ctx, err := platform(ctx)
	if err != nil {
		return request.Done{}, err
	}
	d, err := read(item)
	if err != nil {
		return request.Done{}, err
	}
	if d == nil || item.Proposal.Plan != item.Prepared.Hash || d.Person != r.Subject {
		return request.Done{}, request.ErrPlan
	}
	due, err := w.due(ctx, d, item.ID)
	if err != nil {
		return request.Done{}, err
	}
	for i, do := range due {
		if err := do(ctx); err != nil {
			return request.Done{}, moved(err)
		}
		if run != nil {
			if err := run.Progress(ctx, int64(i+1), int64(len(due)), "corrections"); err != nil {
				return request.Done{}, fmt.Errorf("note progress: %w", err)
			}
		}
	}
	left, err := json.Marshal(draft{Person: d.Person, Changed: d.Changed, Stated: d.Stated, NotChanged: d.NotChanged})
	if err != nil {
		return request.Done{}, fmt.Errorf("encode what was corrected: %w", err)
	}
	return request.Done{Outcome: item.Proposal.Outcome, Left: new(personal.NewText(string(left)))}, nil
}

// due returns what of a correction is still to be done. It fails with request.ErrPlan
// when something isn't as it was when that was prepared.
func (w *Work) due(ctx context.Context, d *draft, itemID string) (due []func(context.Context) error, err error) {
	s := w.Service
	if d.Subject != nil {
		u := d.update()
		has, done, err := s.Subjects.Stands(ctx, u)
		if err != nil || has {
			return nil, moved(err)
		}
		if !done {
			due = append(due, func(ctx context.Context) error { return s.Subjects.Rectify(ctx, u) })
		}
	}
	for _, c := range d.corrections(itemID) {
		stand, err := s.Records.Stands(ctx, c)
		if err != nil || stand == record.Moved {
			return nil, moved(err)
		}
		if stand == record.Ready {
			due = append(due, func(ctx context.Context) error { return s.Records.Rectify(ctx, c) })
		}
	}
	return due, nil
}

// moved is request.ErrPlan of what has moved, or is gone; nil stands for the first.
func moved(err error) error {
	if err == nil {
		return request.ErrPlan
	}
	if gone(err) || errors.Is(err, change.ErrVersion) {
		return request.ErrPlan.Because(err)
	}
	return err
}

// Tell implements post.Teller: the names of what was corrected, no value.
func (*Work) Tell(_ context.Context, r *request.Request, item *request.Item) (letter.Fields, error) {
	d, err := read(item)
	if err != nil || d == nil {
		return nil, err
	}
	names := make([]string, 0, len(d.Changed)+len(d.Stated))
	for _, name := range d.Changed {
		names = append(names, named(name, r.Language))
	}
	if len(names) == 0 {
		names = d.Stated
	}
	return letter.Fields{
		"rectification.fieldList":      letter.Items(slices.Compact(names)...),
		"rectification.supplementNote": letter.Text(strings.Join(slices.Compact(slices.Clone(d.Stated)), ", ")),
		"rectification.notChanged":     letter.Text(d.NotChanged),
	}, nil
}

// named writes the name of identifying data out; that of a record's field is the
// tenant's own.
func named(name, language string) string {
	danish := map[string]string{
		"reference": "Vores nummer for dig", "name": "Navn", "birthDate": "Fødselsdato", "emails": "E-mailadresser", "phones": "Telefonnumre",
		"nationalIds": "Personnumre",
	}
	english := map[string]string{
		"reference": "Our number for you", "name": "Name", "birthDate": "Date of birth", "emails": "E-mail addresses", "phones": "Telephone numbers",
		"nationalIds": "National identification numbers",
	}
	in := english
	if letter.Language(language) == paper.Danish {
		in = danish
	}
	if s, ok := in[name]; ok {
		return s
	}
	return name
}
