package rights

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// Works returns what carries out each right of this package.
func (s *Service) Works() map[request.Type]request.Work {
	return map[request.Type]request.Work{
		request.ConsentWithdrawal:  withdrawal{work{s}},
		request.ObjectionMarketing: marketing{work{s}},
		request.Objection:          objection{work{s}},
		request.Restriction:        restriction{work{s}},
		request.AutomatedDecision:  review{work{s}},
	}
}

// work is what the works have in common: whom they are about is known, so there is
// nothing to search for.
type work struct{ *Service }

// Search implements request.Work.
func (work) Search(context.Context, *request.Request, *request.Item) ([]request.Answer, error) {
	return nil, nil
}

// Effect implements request.Work: nothing is done without a decision.
func (work) Effect(context.Context, *request.Request, *request.Item) (request.Done, error) {
	return request.Done{}, errors.New("this right takes no effect before it is approved")
}

// Carry implements request.Work: all was done at once.
func (work) Carry(_ context.Context, _ *request.Request, item *request.Item, _ *job.Run) (request.Done, error) {
	return request.Done{Outcome: item.Outcome, Results: item.Results}, nil
}

// of returns ctx of the platform for a request whose person is known.
func of(ctx context.Context, r *request.Request) (context.Context, error) {
	t, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if r.Subject == "" {
		return nil, errs.New(errs.Precondition, "nobody knows yet whom this is about")
	}
	return platform(ctx, t), nil
}

// withdrawal takes consents back, Art. 7(3): those to the purposes that the person
// names by their keys, or else all.
type withdrawal struct{ work }

// Effect implements request.Work.
func (w withdrawal) Effect(ctx context.Context, r *request.Request, item *request.Item) (request.Done, error) {
	ctx, err := of(ctx, r)
	if err != nil {
		return request.Done{}, err
	}
	named, err := w.named(ctx, r.Subject, item)
	if err != nil {
		return request.Done{}, err
	}
	ended, err := w.withdraw(ctx, r.Subject, r.ReceivedAt, func(p *purpose.Purpose) bool {
		return len(named) == 0 || slices.Contains(named, p.Key)
	})
	if err != nil {
		return request.Done{}, err
	}
	done := request.Done{Outcome: request.Fulfilled, Results: ended}
	if len(ended) == 0 {
		done.Outcome = request.NoDataHeld
	}
	return done, nil
}

// named returns the keys of purposes that the wish consists of; none when it has
// other words, which no machine reads: then all consents end, for one too many can
// be given again, while one too few is a use without a basis.
func (w withdrawal) named(ctx context.Context, subjectID string, item *request.Item) ([]string, error) {
	standings, err := w.Standings.Standings(ctx, subjectID)
	if errors.Is(err, subject.ErrErased) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var known []string
	for _, st := range standings {
		known = append(known, st.PurposeKey)
	}
	words := words(item.Wish.Reveal())
	for _, word := range words {
		if !slices.Contains(known, word) {
			return nil, nil
		}
	}
	return words, nil
}

// marketing stops direct marketing, Art. 21(3): there is nothing to weigh. Consents
// to it end, and no other purpose of marketing may use the person's data.
type marketing struct{ work }

// Effect implements request.Work.
func (w marketing) Effect(ctx context.Context, r *request.Request, item *request.Item) (request.Done, error) {
	ctx, err := of(ctx, r)
	if err != nil {
		return request.Done{}, err
	}
	done := request.Done{Outcome: request.Fulfilled}
	err = w.begin(ctx, r.Subject, Marketing, Cause{Request: r.ID, Item: item.ID, At: w.now()}, nil)
	if errors.Is(err, subject.ErrErased) {
		return done, nil // nothing is left to be used
	}
	if err != nil {
		return request.Done{}, err
	}
	done.Results, err = w.withdraw(ctx, r.Subject, r.ReceivedAt, func(p *purpose.Purpose) bool { return p.Marketing })
	return done, err
}

// objection stops what rests on a public task or on legitimate interests, Art.
// 21(1): while it is weighed, and for good when no compelling grounds were found.
type objection struct{ work }

// pending is the ground of what is stopped while an objection is weighed.
const pending = "18(1)(d)"

var _ request.Follower = objection{}

// Follow implements request.Follower.
func (w objection) Follow(ctx context.Context, r *request.Request, item *request.Item) error {
	if r.Subject == "" || item.Outcome == request.Fulfilled {
		return nil // Carry has stopped it for good
	}
	ctx, err := of(ctx, r)
	if err != nil {
		return err
	}
	if r.State.Open() {
		err = w.begin(ctx, r.Subject, Interests, Cause{Request: r.ID, Item: item.ID, Ground: pending, At: w.now()}, nil)
	} else {
		err = w.end(ctx, r.Subject, Interests, item.ID)
	}
	if errors.Is(err, subject.ErrErased) {
		return nil // nothing is left to be used
	}
	return err
}

// Carry implements request.Work.
func (w objection) Carry(ctx context.Context, r *request.Request, item *request.Item, _ *job.Run) (request.Done, error) {
	ctx, err := of(ctx, r)
	if err != nil {
		return request.Done{}, err
	}
	if item.Proposal.Outcome != request.Fulfilled {
		return request.Done{}, request.ErrPlan.Because(errs.New(errs.Precondition, "an objection is upheld or refused as a whole"))
	}
	if err := w.begin(ctx, r.Subject, Interests, Cause{Request: r.ID, Item: item.ID, At: w.now()}, nil); err != nil && !errors.Is(err, subject.ErrErased) {
		return request.Done{}, err
	}
	return request.Done{Outcome: request.Fulfilled}, nil
}

// restriction restricts all processing of the person's data to storage, Art. 18.
type restriction struct{ work }

// Carry implements request.Work.
func (w restriction) Carry(ctx context.Context, r *request.Request, item *request.Item, _ *job.Run) (request.Done, error) {
	ctx, err := of(ctx, r)
	if err != nil {
		return request.Done{}, err
	}
	p := item.Proposal
	if p.Outcome != request.Fulfilled {
		return request.Done{}, request.ErrPlan.Because(errs.New(errs.Precondition, "processing is restricted as a whole, or not at all"))
	}
	err = w.begin(ctx, r.Subject, Restriction, Cause{Request: r.ID, Item: item.ID, Ground: p.Ground, At: w.now()}, func(ctx context.Context) error {
		now, err := w.Plan(ctx, r.Subject, p.Ground)
		if errors.Is(err, subject.ErrErased) || errs.KindOf(err) == errs.Invalid {
			return request.ErrPlan.Because(err)
		}
		if err == nil && now.Hash != p.Plan {
			err = request.ErrPlan
		}
		return err
	})
	if err != nil {
		return request.Done{}, err
	}
	return request.Done{Outcome: request.Fulfilled}, nil
}

// words returns the words of a list, which commas or spaces part.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}
