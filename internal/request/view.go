package request

import (
	"time"

	"github.com/vogter/vogter/internal/deadline"
)

// What follows are the optional parts of a request as the API shows them: nil for
// what isn't there.

func optional[T ~string](v T) *T {
	if v == "" {
		return nil
	}
	return &v
}

// SubjectID returns whose request it is, once it is known.
func (r *Request) SubjectID() *string { return optional(r.Subject) }

// Assignee returns who works on it.
func (r *Request) Assignee() *string { return optional(r.AssignedTo) }

// Preparer returns who sent it to review.
func (r *Request) Preparer() *string { return optional(r.PreparedBy) }

// Approver returns who decided it.
func (r *Request) Approver() *string { return optional(r.ApprovedBy) }

// Reopened returns the state that it was reopened from.
func (r *Request) Reopened() *State { return optional(r.ReopenedFrom) }

// RespondedAt returns when it was answered.
func (r *Request) RespondedAt() *time.Time {
	if r.Reply == nil {
		return nil
	}
	return &r.Reply.At
}

// Result returns what the item came to.
func (i *Item) Result() *Outcome { return optional(i.Outcome) }

// Code returns the code of a refusal.
func (p *Proposal) Code() *Refusal { return optional(p.Refusal) }

// InArticle returns the article of a refusal.
func (p *Proposal) InArticle() *string { return optional(p.Article) }

// OnGround returns the ground in favour.
func (p *Proposal) OnGround() *string { return optional(p.Ground) }

// PlanHash returns the hash of what will be done.
func (p *Proposal) PlanHash() *string { return optional(p.Plan) }

// By returns the method.
func (i *Identity) By() *IdentityMethod { return optional(i.Method) }

// Level returns the assurance.
func (i *Identity) Level() *Assurance { return optional(i.Assurance) }

// Verifier returns who settled it.
func (i *Identity) Verifier() *string { return optional(i.VerifiedBy) }

// Overruler returns who let it count.
func (p *Pause) Overruler() *string { return optional(p.OverruledBy) }

// LetterID returns the letter that the answer was.
func (p *Reply) LetterID() *string { return optional(p.Letter) }

// Move returns the rule of the event.
func (e *Event) Move() string { return string(e.Rule) }

// Before returns the state before the event.
func (e *Event) Before() *State { return optional(e.From) }

// Clocked returns the clock before the event.
func (e *Event) Clocked() *Clock { return optional(e.ClockBefore) }

// Explain returns each step of the computation, in Danish or else in English.
func (d *Deadline) Explain(language string) []string {
	return d.Trace.Lines(deadline.Language(language))
}
