package access

import (
	"context"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/request"
)

// finder finds a request as the caller may see it.
type finder interface {
	Find(ctx context.Context, requestID string) (*request.Request, error)
}

// Answers has the packages of answered requests made anew.
type Answers struct {
	Requests finder
	Works    map[request.Type]request.Work
}

// ErrNoAnswer refuses to make anew what never was a package.
var ErrNoAnswer = errs.New(errs.Precondition, "this part of the request wasn't answered by a package").Under("access.answer").At("item")

// ReissueInput names an item of a request.
type ReissueInput struct {
	ID   string // of the request
	Item string
}

// Reissue returns the package that answers an item, and has it made anew if its time
// is over: that doesn't end the right (DOMAIN §11). It may be repeated.
func (a *Answers) Reissue(ctx context.Context, in ReissueInput) (*export.Export, error) {
	r, err := a.Requests.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	item := r.Item(in.Item)
	if item == nil {
		return nil, request.ErrNotFound.At("item")
	}
	work, ok := a.Works[item.Type].(*Work)
	if !ok || r.Reply == nil {
		return nil, ErrNoAnswer
	}
	e, err := work.Reissue(ctx, r, item)
	if errs.KindOf(err) == errs.Precondition {
		return nil, ErrNoAnswer.Because(err)
	}
	return e, err
}
