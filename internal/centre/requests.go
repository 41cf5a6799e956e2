package centre

import (
	"context"
	"net/http"
	"path"
	"slices"

	"github.com/vogter/vogter/internal/deadline"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/request"
)

const (
	perPage = 20
	history = 50 // events that are shown of a request
)

// asked returns which page of a list is asked for.
func (v *visit) asked(n int) page.Request {
	r := page.Request{First: n}
	if after := v.r.URL.Query().Get("after"); after != "" {
		r.After = &after
	}
	return r
}

// listed is a page of a list.
type listed[T any] struct {
	All  []T
	Next string // cursor, "" at the end
}

func list[T any](c *page.Connection[T]) listed[T] {
	l := listed[T]{All: c.Nodes()}
	if c.PageInfo.HasNextPage && c.PageInfo.EndCursor != nil {
		l.Next = *c.PageInfo.EndCursor
	}
	return l
}

// requests lists what the person has asked for.
func requests(ctx context.Context, v *visit) error {
	mine, err := v.Requests.Mine(ctx, v.asked(perPage))
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "requests.html", "status.list", view{V: list(mine)})
}

// paper is something that answers a request.
type paper struct {
	ID    string
	Title string // of a letter; "" of the package with the data
	At    string
}

// status is a request as the person sees it.
type status struct {
	*request.Request

	Step     int // of the four on the way, from 1; 0 when it left the way
	Overdue  bool
	Papers   []paper
	History  []*request.Event
	Disputes string
}

// On tells whether a step is done, going on, or to come.
func (s *status) On(n int) string {
	switch {
	case n < s.Step || s.Step == 4:
		return "done"
	case n == s.Step:
		return "now"
	default:
		return "next"
	}
}

// Steps returns the ids of the texts of the four steps, by number.
func (*status) Steps() map[int]string {
	return map[int]string{1: "status.way.received", 2: "status.way.known", 3: "status.way.work", 4: "status.way.answer"}
}

// way returns how far a request has come.
func way(s request.State) int {
	switch s {
	case request.Received:
		return 1
	case request.AwaitingIdentity:
		return 2
	case request.AwaitingClarification, request.InProgress, request.InReview, request.Approved, request.Executing:
		return 3
	case request.Responded, request.Closed:
		return 4
	case request.Withdrawn, request.Forwarded:
	}
	return 0
}

// showRequest shows where a request stands, when the answer comes and why then.
func showRequest(ctx context.Context, v *visit) error {
	r, err := v.Requests.Get(ctx, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	told, err := v.done()
	if err != nil {
		return err
	}
	s := &status{Request: r, Step: way(r.State), Overdue: r.Urgency == deadline.Overdue}
	if s.Papers, err = v.papers(ctx, r); err != nil {
		return err
	}
	events, err := v.Requests.Events(ctx, r, page.Request{First: history})
	if err != nil {
		return err
	}
	s.History = slices.DeleteFunc(events.Nodes(), func(e *request.Event) bool { return e.From == e.To })
	if l := v.tenant.Letterhead; l != nil {
		if s.Disputes, err = v.say("status.disagree", "authority.name", l.Authority.Name); err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, "request.html", "status.title", view{Told: told, V: s})
}

// papers returns what the person can fetch: the letters written to them, and the
// package with their data once the request is answered.
func (v *visit) papers(ctx context.Context, r *request.Request) ([]paper, error) {
	var all []paper
	letters, err := v.Letters.Of(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, l := range slices.Backward(letters) {
		if l.Subject == v.person.Subject { // not what was written before it was known who asks
			all = append(all, paper{l.ID, l.Title.Reveal(), v.Date(l.At)})
		}
	}
	if r.Reply == nil {
		return all, nil
	}
	for _, item := range r.Items {
		for _, result := range item.Results {
			if id.TypeOf(result) == id.Export {
				all = append([]paper{{ID: result, At: v.Date(r.Reply.At)}}, all...)
			}
		}
	}
	return all, nil
}

// fetch leads to a download of what answers a request. It asks for a code again
// unless the person has just signed in: somebody else may sit at the browser now.
func fetch(ctx context.Context, v *visit) error {
	r, err := v.Requests.Get(ctx, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	all, err := v.papers(ctx, r)
	if err != nil {
		return err
	}
	object := v.r.PostForm.Get("object")
	if !slices.ContainsFunc(all, func(p paper) bool { return p.ID == object }) {
		return errGone
	}
	if v.Now().Sub(v.person.AuthenticatedAt) > Fresh {
		v.toProve()
		return nil
	}
	grant, err := v.Downloads.Grant(ctx, download.GrantInput{Object: object})
	if err != nil {
		return err
	}
	v.goTo("downloads/" + path.Base(grant.URL))
	return nil
}

// deliver gives out what a download leads to.
func deliver(ctx context.Context, v *visit) error {
	v.Downloads.Serve(v.w, v.r.WithContext(ctx), v.Fail)
	return nil
}

// withdrawRequest takes a request back.
func withdrawRequest(ctx context.Context, v *visit) error {
	r, err := v.Requests.Withdraw(ctx, request.WithdrawInput{ID: v.r.PathValue("id")})
	if err != nil {
		return err
	}
	v.goTo("requests/" + r.ID + "?done=withdrawn")
	return nil
}
