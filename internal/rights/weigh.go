package rights

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
)

// maxText is how many characters a text of a record of this package has at most.
const maxText = 10_000

// Verdict is what weighing an objection came to.
type Verdict string

// The verdicts.
const (
	Upheld   Verdict = "UPHELD"   // the person's grounds weigh more: the processing stops
	Rejected Verdict = "REJECTED" // compelling grounds override them
)

// Weighing is how an objection was weighed, Art. 21(1). The burden is the
// controller's: without it an objection can't be rejected.
type Weighing struct {
	Hash       string // stands for it in a proposal
	By         string
	At         time.Time
	Processing personal.Text // what is objected to
	Grounds    personal.Text // the person's, of their particular situation
	Compelling personal.Text // the controller's
	Balance    personal.Text // how they were weighed
	Safeguards personal.Text // what is done out of regard for the person
	Verdict    Verdict
}

// WeighInput is how an objection was weighed, as the person is told it.
type WeighInput struct {
	ID              string // of the request
	ExpectedVersion int64
	Item            string
	Processing      string
	Grounds         string
	Compelling      *string
	Balance         string
	Safeguards      *string
	Verdict         Verdict
}

// weighed is a Weighing as the request keeps it, sealed.
type weighed struct {
	Processing string  `json:"processing"`
	Grounds    string  `json:"grounds"`
	Compelling string  `json:"compelling"`
	Balance    string  `json:"balance"`
	Safeguards string  `json:"safeguards"`
	Verdict    Verdict `json:"verdict"`
}

// Weigh keeps how an objection was weighed, for a proposal to rest on.
func (s *Service) Weigh(ctx context.Context, in WeighInput) (*request.Request, error) {
	w := weighed{
		text(&in.Processing), text(&in.Grounds), text(in.Compelling), text(&in.Balance), text(in.Safeguards), in.Verdict,
	}
	outcome := request.Fulfilled
	if w.Verdict == Rejected {
		outcome = request.Refused
	}
	switch {
	case w.Processing == "":
		return nil, missing("processing", "say what the person objects to")
	case w.Grounds == "":
		return nil, missing("grounds", "say what the person's particular situation is")
	case w.Balance == "":
		return nil, missing("balance", "say how the grounds were weighed")
	case w.Verdict == Rejected && w.Compelling == "":
		return nil, missing("compelling", "an objection is rejected on compelling legitimate grounds only (Art. 21(1)): say which")
	}
	if err := short(w.Processing, w.Grounds, w.Compelling, w.Balance, w.Safeguards); err != nil {
		return nil, err
	}
	return s.prepare(ctx, request.PrepareInput{ID: in.ID, ExpectedVersion: in.ExpectedVersion, Item: in.Item}, request.Objection, w, outcome)
}

// prepare keeps a record of this package with the item that it is about.
func (s *Service) prepare(ctx context.Context, in request.PrepareInput, t request.Type, v any, allows request.Outcome) (*request.Request, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode what was prepared: %w", err)
	}
	return s.Requests.Prepare(ctx, in, t, personal.NewText(string(b)), allows)
}

// prepared reads what was prepared for an item of a type; not ok when nothing was, or
// its time is over.
func prepared(item *request.Item, t request.Type, into any) (ok bool, err error) {
	if item.Type != t || item.Prepared == nil || item.Prepared.Body.IsZero() {
		return false, nil
	}
	if err := json.Unmarshal([]byte(item.Prepared.Body.Reveal()), into); err != nil {
		return false, errs.New(errs.Internal, "what was prepared for item %s is malformed", item.ID) // the cause may quote it
	}
	return true, nil
}

// WeighingOf returns how an objection was weighed, nil if it wasn't.
func (*Service) WeighingOf(item *request.Item) (*Weighing, error) {
	var w weighed
	ok, err := prepared(item, request.Objection, &w)
	if err != nil || !ok {
		return nil, err
	}
	p := item.Prepared
	return &Weighing{
		p.Hash, p.By, p.At, personal.NewText(w.Processing), personal.NewText(w.Grounds), personal.NewText(w.Compelling),
		personal.NewText(w.Balance), personal.NewText(w.Safeguards), w.Verdict,
	}, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return strings.TrimSpace(*s)
}

func missing(field, what string) error { return errs.New(errs.Invalid, "%s", what).At(field) }

// short fails when a text is too long.
func short(texts ...string) error {
	for _, t := range texts {
		if utf8.RuneCountInString(t) > maxText {
			return errs.New(errs.Invalid, "a text has at most %d characters", maxText)
		}
	}
	return nil
}
