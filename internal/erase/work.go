package erase

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Certificates states what was erased.
type Certificates interface {
	Begin(ctx context.Context, sh *erasure.Shredding, language string, c certificate.Content) (*certificate.Certificate, error)
	Scopes(ctx context.Context, whole bool, units ...vault.Unit) ([]certificate.Scope, error)
	Issue(ctx context.Context, shreddingID string) (*certificate.Certificate, error)
	For(ctx context.Context, cause string) ([]*certificate.Certificate, error)
	Get(ctx context.Context, number string) (*certificate.Certificate, error)
}

// Work carries out the requests to be erased.
type Work struct {
	Service      *Service
	Certificates Certificates
	Rules        Rules
	Requests     Requests
	Post         Post
}

var _ request.Work = (*Work)(nil)

// Search implements request.Work: of each dataset that isn't secret it answers how
// many records and documents of the person there are.
func (w *Work) Search(ctx context.Context, r *request.Request, _ *request.Item) ([]request.Answer, error) {
	ctx, err := platform(ctx)
	if err != nil {
		return nil, err
	}
	if r.Subject == "" {
		return nil, nil // nobody knows yet whom to look for
	}
	counts, err := w.Service.Store.Count(ctx, r.Subject)
	if err != nil {
		return nil, err
	}
	sets, err := w.Service.Datasets.List(ctx)
	if err != nil {
		return nil, err
	}
	var answers []request.Answer
	for _, d := range sets {
		if d.Secrecy != dataset.NoSecrecy {
			continue
		}
		c := counts[d.ID]
		a := request.Answer{System: d.ID, Result: request.None, Count: c.Records + c.Passages + c.Files}
		if a.Count > 0 {
			a.Result = request.Found
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// Effect implements request.Work: nothing is erased without a decision.
func (*Work) Effect(context.Context, *request.Request, *request.Item) (request.Done, error) {
	return request.Done{}, errors.New("erasure takes no effect before it is approved")
}

// Carry implements request.Work. What was approved is begun in one transaction: the
// mark on the person, from which on nothing is readable, the erasure of what must
// be kept for now as soon as it needn't be, and the draft of the certificate. What
// follows goes on after a crash where it was.
func (w *Work) Carry(ctx context.Context, r *request.Request, item *request.Item, run *job.Run) (request.Done, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return request.Done{}, err
	}
	begun, err := w.Certificates.For(ctx, item.ID)
	if err != nil {
		return request.Done{}, err
	}
	var p *Plan
	if len(begun) == 0 {
		if p, begun, err = w.begin(ctx, of, r, item); err != nil {
			return request.Done{}, err
		}
	}
	if len(begun) == 0 {
		return p.kept(), nil
	}
	c := begun[0]
	for _, one := range begun {
		if one.CreatedAt.Before(c.CreatedAt) {
			c = one // others are of parts that went later
		}
	}
	if err := w.Service.Erasures.Shred(ctx, c.Shredding); err != nil {
		return request.Done{}, err
	}
	if run != nil {
		if err := run.Progress(ctx, 1, 1, "erasures"); err != nil {
			return request.Done{}, err
		}
	}
	if c, err = w.Certificates.Issue(ctx, c.Shredding); err != nil {
		return request.Done{}, err
	}
	done := request.Done{Outcome: request.Fulfilled, Results: []string{c.Shredding, c.ID}}
	if !c.Content.WholePerson {
		done.Outcome, done.Later = request.PartiallyFulfilled, true
	}
	return done, nil
}

// kept is what a plan comes to by which nothing is erased now.
func (p *Plan) kept() request.Done {
	if len(p.Parts) == 0 {
		return request.Done{Outcome: request.NoDataHeld}
	}
	if slices.ContainsFunc(p.Parts, func(part Part) bool { return part.Outcome == retention.RestrictUntil }) {
		return request.Done{Outcome: request.RestrictedInstead, Later: true}
	}
	return request.Done{Outcome: request.PartiallyFulfilled, Later: true}
}

// spare is after how long a job of its own takes up an erasure that Carry began.
const spare = 10 * time.Minute

// begin does in one transaction all that can't be taken back. It fails with
// request.ErrPlan or request.ErrHeld, and has done nothing then.
func (w *Work) begin(
	ctx context.Context, of tenant.ID, r *request.Request, item *request.Item,
) (p *Plan, begun []*certificate.Certificate, err error) {
	s := w.Service
	if item.Proposal == nil || item.Proposal.Plan == "" || r.Subject == "" {
		return nil, nil, request.ErrPlan
	}
	units, err := s.Store.Units(ctx, r.Subject)
	if err != nil {
		return nil, nil, err
	}
	recipients, err := s.recipients(ctx, r.Subject)
	if err != nil {
		return nil, nil, err
	}
	ctx = authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: "erase", Tenant: of})
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		begun = nil
		c = change.Change{Action: "erasure.plan", Object: r.ID}
		if p, err = s.plan(ctx, r.Subject, units); err != nil {
			return c, err
		}
		if err := p.approved(item.Proposal.Plan); err != nil {
			return c, err
		}
		shred := erasure.Plan{Subject: r.Subject, Cause: item.ID}
		whole := false
		for i := range p.Parts {
			part := &p.Parts[i]
			switch {
			case part.secret:
			case !part.Now():
				if err := s.Keeping.Schedule(ctx, r.Subject, part.Unit, item.ID); err != nil {
					return c, err
				}
			case part.Unit == retention.Person:
				whole = true
			default:
				shred.Units = append(shred.Units, vault.Unit(part.Unit))
			}
		}
		if !whole && len(shred.Units) == 0 {
			return c, nil
		}
		content, err := w.content(ctx, p, r, item, whole, shred.Units, recipients)
		if err != nil {
			return c, err
		}
		if whole {
			shred.Units = nil
			if shred.Spared, err = s.Keeping.Spare(ctx, r.Subject); err != nil {
				return c, err
			}
		}
		sh, then, err := s.Erasures.BeginIn(ctx, shred)
		if err != nil {
			return c, err
		}
		cert, err := w.Certificates.Begin(ctx, sh, letter.Language(r.Language), content)
		if err != nil {
			return c, err
		}
		for i := range then {
			then[i].NotBefore = s.Now().Add(spare) // Carry does it itself
		}
		begun = []*certificate.Certificate{cert}
		return change.Change{Action: "erasure.begin", Object: sh.ID, Then: then}, nil
	})
	if errors.Is(err, subject.ErrNotFound) {
		return nil, nil, request.ErrPlan.Because(err)
	}
	return p, begun, err
}

// approved reports why a plan isn't the one that was approved.
func (p *Plan) approved(hash string) error {
	if p.Hash == hash {
		return nil
	}
	for _, part := range p.Parts {
		if part.Hold != nil && !part.secret {
			return request.ErrHeld
		}
	}
	return request.ErrPlan
}

// content is what the certificate says that is known when the erasure begins.
func (w *Work) content(
	ctx context.Context, p *Plan, r *request.Request, item *request.Item, whole bool, units []vault.Unit, recipients []Recipient,
) (certificate.Content, error) {
	c := certificate.Content{
		Request: r.ID, Item: item.ID, Ground: ground(item.Proposal.Ground), Plan: p.Hash, PreparedBy: r.PreparedBy, ApprovedBy: r.ApprovedBy,
		Rules: PlanKind, Exceptions: []certificate.Kept{},
	}
	var err error
	if c.Scope, err = w.Certificates.Scopes(ctx, whole, units...); err != nil {
		return c, fmt.Errorf("tell what is erased: %w", err)
	}
	for i := range p.Parts {
		part := &p.Parts[i]
		if part.Now() || part.secret {
			continue
		}
		k := certificate.Kept{Unit: part.Unit, Name: part.Dataset, Outcome: part.Outcome, Reason: part.Reason, Date: part.Date}
		if part.Article != nil {
			k.Article = *part.Article
		}
		switch {
		case part.Hold != nil:
			k.Law = part.Hold.LegalSource
		case part.Rule != nil:
			k.Law = part.Rule.LegalSource
		}
		c.Exceptions = append(c.Exceptions, k)
	}
	for _, one := range recipients {
		c.Recipients = append(c.Recipients, certificate.Notice{Recipient: one.ID, Name: one.Name, Result: "TO_BE_TOLD"})
	}
	return c, nil
}

// ground writes the ground of an erasure out.
func ground(short string) string {
	if short == "" {
		return "GDPR Art. 17(1)"
	}
	return "GDPR Art. " + short
}
