package erase

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
)

// JobTell is the type of the job that tells a person that more of what they asked
// to be erased is erased now: its object is the certificate.
const JobTell = "erasure:tell"

// Jobs returns the work that follows a certificate: a letter about a part of a
// request that had to be kept until now. The answer itself tells of the others.
func Jobs(c *certificate.Certificate) []job.Spec {
	if id.TypeOf(c.Cause) != id.RequestItem || c.Content.Plan != "" {
		return nil
	}
	return []job.Spec{{Type: JobTell, Object: c.ID}}
}

// Rules knows the rules of retention that are in force.
type Rules interface {
	ActiveRules(ctx context.Context) ([]*retention.Rule, error)
}

// Requests knows the requests of a person.
type Requests interface {
	List(ctx context.Context, f request.Filter, after *page.Position, limit int) ([]*request.Request, error)
}

// Post writes to the person.
type Post interface {
	Later(ctx context.Context, r *request.Request, of, form string, fields letter.Fields) (string, error)
}

const (
	// form is the letter about what was erased later.
	form = "erasure-completed-later"
	// wait is how long it waits for the first answer to be out.
	wait = time.Hour
)

// Run is the work of JobTell. Nobody is told when the request's own time is over.
func (w *Work) Run(ctx context.Context, run *job.Run) error {
	ctx, err := platform(ctx)
	if err != nil {
		return err
	}
	c, err := w.Certificates.Get(ctx, run.Object())
	if err != nil {
		return err
	}
	r, err := w.request(ctx, c)
	if err != nil || r == nil {
		return err
	}
	if r.Reply == nil {
		return job.Postpone(wait)
	}
	fields, err := w.completed(ctx, c, r)
	if err != nil {
		return err
	}
	if _, err := w.Post.Later(ctx, r, c.ID, form, fields); err != nil {
		if errs.KindOf(err) == errs.Precondition {
			return job.Permanent(err) // somebody sees to the letterhead, and retries it
		}
		return fmt.Errorf("tell of certificate %s: %w", c.ID, err)
	}
	return nil
}

// request returns the request that a certificate is of, nil when it is gone.
func (w *Work) request(ctx context.Context, c *certificate.Certificate) (*request.Request, error) {
	var after *page.Position
	for {
		found, err := w.Requests.List(ctx, request.Filter{Subject: &c.Subject}, after, page.Max)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			if r.Item(c.Cause) != nil {
				return r, nil
			}
		}
		if len(found) < page.Max {
			return nil, nil //nolint:nilnil // there is nobody to write to
		}
		last := found[len(found)-1]
		after = &page.Position{CreatedAt: last.CreatedAt, ID: last.ID}
	}
}

// completed returns what the letter says.
func (w *Work) completed(ctx context.Context, c *certificate.Certificate, r *request.Request) (letter.Fields, error) {
	say := wordsIn(r.Language)
	rules, err := w.Rules.ActiveRules(ctx)
	if err != nil {
		return nil, err
	}
	var erased, why, kept []string
	for _, s := range c.Content.Scope {
		name, reason := s.Name, say.demanded
		if s.Unit == retention.Person {
			name, reason = say.identity, say.needed
		}
		for _, rule := range rules {
			if rule.Dataset != nil && *rule.Dataset == s.Unit && rule.Kind != retention.Max {
				reason = rule.TextEn
				if letter.Language(r.Language) == paper.Danish {
					reason = rule.TextDa
				}
				break
			}
		}
		erased, why = append(erased, name), append(why, reason)
	}
	p, err := w.Service.plan(ctx, c.Subject, nil)
	if err != nil && !errors.Is(err, subject.ErrNotFound) && !errors.Is(err, subject.ErrErased) {
		return nil, err
	}
	if p != nil && !c.Content.WholePerson {
		for i := range p.Parts {
			if part := &p.Parts[i]; !part.secret && !part.Now() {
				kept = append(kept, part.row(say, r.Language)[0])
			}
		}
	}
	fields := letter.Fields{
		"erasure.backupHorizonDays": letter.Integer(int64(w.Service.Backups / (hoursOfDay * time.Hour))),
		"erasure.certificateNumber": letter.Text(c.ID), "erasure.doneDate": letter.Date(civil.Of(c.Content.EndedAt)),
		"erasure.erasedList": letter.Items(erased...), "erasure.firstAnswerDate": letter.Date(civil.Of(r.Reply.At)),
		"erasure.retentionReason": letter.Text(strings.Join(why, " ")),
	}
	if kept != nil {
		fields["erasure.keptList"] = letter.Items(kept...)
	}
	return fields, nil
}
