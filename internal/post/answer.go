package post

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/request"
)

// Answer implements request.Post: one letter about all items, in their order. It
// is kept for the person to read in the privacy centre, and a mail without its
// content says so; without an address for mail it has to be printed. It fails with
// PRECONDITION when a letter lacks what it must say: nothing was sent then.
func (s *Service) Answer(ctx context.Context, r *request.Request) (request.Reply, error) {
	d, err := s.begin(ctx, r, answerKey(r), InPortal)
	if err != nil {
		return request.Reply{}, err
	}
	if l, err := s.Store.Get(ctx, stableID(d.tenant.ID, r.ID, d.key)); err == nil || !errors.Is(err, ErrNotFound) {
		if err != nil {
			return request.Reply{}, err
		}
		return *l.reply(), nil
	}
	for i := range r.Items {
		if err := s.item(ctx, d, r, &r.Items[i]); err != nil {
			return request.Reply{}, err
		}
	}
	l, err := s.send(ctx, r, d)
	if err != nil {
		return request.Reply{}, err
	}
	return *l.reply(), nil
}

// Later writes that more of an answered request was done since, once: by a form,
// with the fields that it needs beside the common ones. It returns the letter's id.
func (s *Service) Later(ctx context.Context, r *request.Request, of, form string, fields letter.Fields) (string, error) {
	d, err := s.begin(ctx, r, "later/"+of, ByMail)
	if err != nil {
		return "", err
	}
	l, err := s.Store.Get(ctx, stableID(d.tenant.ID, r.ID, d.key))
	if errors.Is(err, ErrNotFound) {
		if err = s.add(d, r, form, fields); err == nil {
			l, err = s.send(ctx, r, d)
		}
	}
	if err != nil {
		return "", err
	}
	return l.ID, nil
}

// send writes a letter in a change of its own.
func (s *Service) send(ctx context.Context, r *request.Request, d *draft) (l *Letter, err error) {
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		c := change.Change{Action: "letter.write", Object: stableID(d.tenant.ID, r.ID, d.key)}
		if r.Subject != "" {
			c.Touches = []audit.Touch{{Subject: r.Subject, Object: r.ID, Version: r.Version}}
		}
		l, c.Then, err = s.write(ctx, r, d)
		return c, err
	})
	return l, letterhead(d.tenant, err)
}

// answerKey is of the answer that follows the approval: one that follows another
// approval is another answer.
func answerKey(r *request.Request) string {
	var at time.Time
	if r.ApprovedAt != nil {
		at = *r.ApprovedAt
	}
	return "answer/" + at.UTC().Format(time.RFC3339Nano)
}

// item adds the letters about an item: what was done, and what was refused.
func (s *Service) item(ctx context.Context, d *draft, r *request.Request, item *request.Item) error {
	fields := s.known(d, r, item)
	if t, ok := s.Works[item.Type].(Teller); ok {
		more, err := t.Tell(ctx, r, item)
		if err != nil {
			return fmt.Errorf("tell of %s: %w", item.Type, err)
		}
		maps.Copy(fields, more)
	}
	forms := answers(item)
	if len(forms) == 0 {
		return errs.New(errs.Precondition, "there is no letter for %s that came to %s: answer by hand", item.Type, item.Outcome).Under("letter.answer")
	}
	for _, form := range forms {
		if err := s.add(d, r, form, fields); err != nil {
			return err
		}
	}
	return nil
}

// known returns what the request itself knows of an item.
func (s *Service) known(d *draft, r *request.Request, item *request.Item) letter.Fields {
	done, searched := s.now(), s.now()
	if item.DoneAt != nil {
		done = *item.DoneAt
	}
	for i, a := range r.Answers {
		if i == 0 || a.At.After(searched) {
			searched = a.At
		}
	}
	fields := letter.Fields{
		"item.requestType": letter.Text(s.phrase(r, "item."+string(item.Type))), "search.completedDate": d.date(searched),
		"search.criteriaKinds": letter.Text(s.phrase(r, "criteria.KINDS")), "marketing.effectiveAt": letter.Instant(done),
		"rectification.doneDate": d.date(done), "restriction.fromDate": d.date(done), "objection.stoppedDate": d.date(done),
		"decision.reviewedDate": d.date(done), "erasure.doneDate": d.date(done), "consent.withdrawnAt": letter.Instant(done),
		"refusal.milderMeans": letter.Text(s.phrase(r, "milder.NONE")),
	}
	p := item.Proposal
	if p == nil {
		return fields
	}
	if name := regexp.MustCompile(`^(\d+)\((\d)\)\(([a-f])\)$`).FindStringSubmatch(p.Ground); name != nil {
		id := "A" + name[1] + "_" + name[2] + "_" + strings.ToUpper(name[3])
		fields["restriction.ground"] = letter.Text(s.phrase(r, "restriction."+id))
		fields["erasure.ground"] = letter.Text(s.phrase(r, "ground."+id))
	}
	if p.Refusal != "" {
		fields["refusal.kind"] = letter.Text(s.phrase(r, "kind."+string(p.Refusal)))
		fields["refusal.reasons"] = letter.Prose(s.phrase(r, "refusal."+string(p.Refusal)), p.Reason.Reveal())
		fields["refusal.article"] = letter.Text(article(item))
	}
	return fields
}

// article is the provision that a refusal rests on.
func article(item *request.Item) string {
	p := item.Proposal
	if p.Article != "" {
		return p.Article
	}
	switch p.Refusal {
	case request.RefusedRightsOfOthers, request.RefusedTradeSecret:
		if item.Type == request.Portability {
			return "GDPR Art. 20(4)"
		}
		return "GDPR Art. 15(4)"
	case request.RefusedExpression:
		return "GDPR Art. 17(3)(a)"
	case request.RefusedObligation:
		return "GDPR Art. 17(3)(b)"
	case request.RefusedPublicHealth:
		return "GDPR Art. 17(3)(c)"
	case request.RefusedArchiving:
		return "GDPR Art. 17(3)(d)"
	case request.RefusedClaims:
		return "GDPR Art. 17(3)(e)"
	case request.RefusedCompellingGrounds, request.RefusedLegalClaims:
		return "GDPR Art. 21(1)"
	default:
		return "" // the preparer has to name it: without it there is no letter
	}
}

// answers returns the letters that tell what an item came to.
func answers(item *request.Item) []string {
	done := map[request.Type]string{
		request.Access: "access-answer", request.Portability: "portability-answer", request.Rectification: "rectification-answer",
		request.Erasure: "erasure-answer-full", request.Restriction: "restriction-confirmed", request.Objection: "objection-upheld",
		request.ObjectionMarketing: "marketing-objection-confirmed", request.AutomatedDecision: "automated-decision-review",
		request.ConsentWithdrawal: "consent-withdrawal-confirmed",
	}
	switch item.Outcome {
	case request.Fulfilled:
		return []string{done[item.Type]}
	case request.NoDataHeld:
		return []string{"no-data-held"}
	case request.PartiallyFulfilled:
		if item.Type == request.Erasure {
			return []string{"erasure-answer-partial"} // which gives the reason of each part
		}
		return append([]string{done[item.Type]}, refusal(item)...)
	case request.RestrictedInstead:
		return append([]string{done[request.Restriction]}, refusal(item)...)
	case request.Refused:
		return refusal(item)
	default:
		return nil
	}
}

// refusal returns the letter that refuses.
func refusal(item *request.Item) []string {
	if item.Proposal == nil {
		return nil
	}
	switch item.Proposal.Refusal {
	case request.RefusedUnfounded, request.RefusedExcessive:
		return []string{"refusal-unfounded-excessive"}
	case request.RefusedRightNotApplicable, request.RefusedNotController:
		return []string{"refusal-right-not-applicable"}
	case request.RefusedRightsOfOthers:
		return []string{"refusal-rights-of-others"}
	case request.RefusedCompellingGrounds:
		if item.Type == request.Objection {
			return []string{"objection-rejected"}
		}
		return []string{"refusal-exception"}
	default:
		return []string{"refusal-exception"}
	}
}
