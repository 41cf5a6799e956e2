// Package access answers requests for access and portability, GDPR Art. 15 and 20
// and DOMAIN §2.7: it searches every place that may hold a person's data, has the
// package built that answers them, and says in it what Art. 15(1) and (2) ask for.
//
// Of what is kept secret by law nothing is searched for, counted, named or copied:
// no answer of this package differs with or without it.
package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Exports searches for, and packs, a person's data.
type Exports interface {
	Search(ctx context.Context, kind pack.Type, subjectID string) ([]export.Found, error)
	Answer(ctx context.Context, c export.Case, subjectID, language string) (*export.Export, error)
}

// Tenants knows the tenant in ctx.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
}

// Work carries out the requests for access or portability.
type Work struct {
	Type    pack.Type // ACCESS or PORTABILITY
	Exports Exports
	Tenants Tenants
}

var _ request.Work = (*Work)(nil)

// ErrStuck reports that the package can't be built until somebody retries its job.
var ErrStuck = errs.New(errs.Unavailable, "the package that answers couldn't be built: look at its job, and retry it")

// Pauses between looks at a package that is being built.
const (
	pause = 2 * time.Second
	stuck = 5 * time.Minute
)

// Search implements request.Work: each dataset and list that isn't secret answers,
// also with nothing.
func (w *Work) Search(ctx context.Context, r *request.Request, _ *request.Item) ([]request.Answer, error) {
	if r.Subject == "" {
		return nil, nil // nobody knows yet whom to look for
	}
	ctx, err := platform(ctx)
	if err != nil {
		return nil, err
	}
	found, err := w.Exports.Search(ctx, w.Type, r.Subject)
	if err != nil {
		return nil, err
	}
	var answers []request.Answer
	if w.Type == pack.PortabilityType { // is given with every package, whatever else there is
		answers = append(answers, request.Answer{System: retention.Person, Result: request.Found, Count: 1})
	}
	for _, f := range found {
		a := request.Answer{System: f.System, Result: request.None, Count: int(f.Count)}
		if f.Count > 0 {
			a.Result = request.Found
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// Effect implements request.Work: nothing is given out without a decision.
func (*Work) Effect(context.Context, *request.Request, *request.Item) (request.Done, error) {
	return request.Done{}, errors.New("a copy isn't given before it is approved")
}

// Carry implements request.Work: it has the package built, and waits for it by
// having its own job queued again.
func (w *Work) Carry(ctx context.Context, r *request.Request, item *request.Item, _ *job.Run) (request.Done, error) {
	e, err := w.made(ctx, r, item)
	if errors.Is(err, export.ErrGone) {
		return request.Done{}, request.ErrPlan.Because(err)
	}
	if err != nil {
		return request.Done{}, err
	}
	switch e.State {
	case export.Ready:
		return request.Done{Outcome: item.Proposal.Outcome, Results: []string{e.ID}}, nil
	case export.Failed:
		return request.Done{}, job.Postpone(stuck)
	default:
		return request.Done{}, job.Postpone(pause)
	}
}

// Reissue has the package of an answered item made anew, if it is destroyed: that
// its time is over doesn't end the right. It returns the one that there is now.
func (w *Work) Reissue(ctx context.Context, r *request.Request, item *request.Item) (*export.Export, error) {
	if item.Outcome != request.Fulfilled && item.Outcome != request.PartiallyFulfilled {
		return nil, export.ErrNotReady
	}
	return w.made(ctx, r, item)
}

func (w *Work) made(ctx context.Context, r *request.Request, item *request.Item) (*export.Export, error) {
	if r.Subject == "" {
		return nil, export.ErrGone
	}
	ctx, err := platform(ctx)
	if err != nil {
		return nil, err
	}
	return w.Exports.Answer(ctx, export.Case{Request: r.ID, Item: item.ID, Number: r.Number, Type: w.Type}, r.Subject, letter.Language(r.Language))
}

// Tell tells the letter about an item what it says of the package.
func (w *Work) Tell(ctx context.Context, r *request.Request, item *request.Item) (letter.Fields, error) {
	if item.Outcome != request.Fulfilled && item.Outcome != request.PartiallyFulfilled {
		return nil, nil //nolint:nilnil // there is nothing to say of no package
	}
	e, err := w.made(ctx, r, item)
	if err != nil {
		return nil, err
	}
	if e.ExpiresAt == nil {
		return nil, ErrStuck
	}
	t, err := w.Tenants.Get(ctx)
	if err != nil {
		return nil, fmt.Errorf("find tenant: %w", err)
	}
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("load time zone: %w", err)
	}
	day := func(at time.Time) letter.Value { return letter.Date(civil.Of(at.In(zone))) }
	fields := letter.Fields{"package.dataAsOfDate": day(e.CreatedAt), "package.expiresDate": day(*e.ExpiresAt)}
	if w.Type == pack.PortabilityType {
		said := words(letter.Language(r.Language))
		fields["portability.directTransfer"] = letter.Text(said.Direct)
		found, err := w.Exports.Search(ctx, w.Type, r.Subject)
		if err != nil {
			return nil, err
		}
		included := []string{said.Identity}
		for _, f := range found {
			if f.Count > 0 {
				included = append(included, f.Name)
			}
		}
		fields["portability.includedList"] = letter.Items(included...)
	}
	return fields, nil
}

// platform returns a context in which the platform acts for the tenant.
func platform(ctx context.Context) (context.Context, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	return authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: "access", Tenant: of}), nil
}
