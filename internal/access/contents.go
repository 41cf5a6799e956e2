package access

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/request"
)

// Accesses tells who looked at a person's data, without what is secret.
type Accesses interface {
	Accesses(ctx context.Context, subjectID string, until time.Time, visit func(*trail.Access) error) error
}

// Disclosures has whom a person's data was disclosed to.
type Disclosures interface {
	List(ctx context.Context, subjectID string, secrecy dataset.Secrecy, after *page.Position, limit int) ([]*disclosure.Disclosure, error)
}

// Parties names those whom data goes to.
type Parties interface {
	Party(ctx context.Context, partyID string) (*processing.Party, error)
}

// Activities are the tenant's processing activities.
type Activities interface {
	List(ctx context.Context, f processing.Filter, r page.Request) (*processing.Connection, error)
}

// Requests are the requests that a person made.
type Requests interface {
	List(ctx context.Context, f request.Filter, after *page.Position, limit int) ([]*request.Request, error)
}

// Consents are a person's consents, with what shows them.
type Consents interface {
	Events(ctx context.Context, q consent.EventQuery, after *page.Position, limit int) ([]*consent.Event, error)
	List(ctx context.Context, q consent.Query, after *page.Position, limit int) ([]*consent.Consent, error)
}

// Receipts makes receipts of consents.
type Receipts interface {
	Issue(ctx context.Context, consentID string, at *time.Time) (*receipt.Issued, error)
}

// Contents is what goes into answers beside records.
type Contents struct {
	Trail       Accesses
	Disclosures Disclosures
	Parties     Parties
	Activities  Activities
	Requests    Requests
	Consents    Consents   // nil where no consents are kept
	Receipts    Receipts   // of them
	Statement   *Statement // nil where the processing isn't described
}

var _ export.Contents = (*Contents)(nil)

// batch is how much is read at once.
const batch = 100

// Lists implements export.Contents.
func (c *Contents) Lists() []export.List {
	lists := []export.List{
		{
			Name: "disclosures", In: "data", Category: pack.Data,
			Columns: []string{"disclosedAt", "recipient", "country", "categories", "purpose", "legalBasis", "reference"}, Each: c.disclosures,
		},
		{
			Name: "requests", In: "data", Category: pack.Data,
			Columns: []string{"number", "receivedAt", "channel", "rights", "message"}, Each: c.requests,
		},
		{
			Name: "access", In: "log", Category: pack.Accesses,
			Columns: []string{"at", "by", "role", "action", "objects", "purpose"}, Each: c.accesses,
		},
	}
	if c.Consents == nil {
		return lists
	}
	return append(lists, export.List{
		Name: "consents", In: "data", Category: pack.Data,
		Columns: []string{"consent", "at", "purpose", "purposeVersion", "notice", "state", "by", "channel", "language", "textHash"}, Each: c.consents,
	}, export.List{
		Name: "receipts", In: "data", Category: pack.Data, Columns: []string{"consent", "sequence", "state", "createdAt", "receipt"}, Each: c.receipts,
	})
}

// consents lists what was asked and answered, the newest first.
func (c *Contents) consents(ctx context.Context, subjectID string, until time.Time, visit func(...string) error) error {
	return each(ctx, until, func(ctx context.Context, after *page.Position, limit int) ([]*consent.Event, error) {
		return c.Consents.Events(ctx, consent.EventQuery{Subject: subjectID}, after, limit)
	}, func(e *consent.Event) page.Position {
		return page.Position{CreatedAt: e.CreatedAt, ID: e.ID}
	}, func(e *consent.Event) error {
		language, text := "", ""
		if e.Evidence != nil {
			language, text = e.Evidence.Language, e.Evidence.TextHash
		}
		return visit(e.ConsentID, stamp(e.At), e.Purpose.Key, strconv.FormatInt(e.Purpose.Version, 10), e.NoticeID, string(e.State), string(e.Actor),
			string(e.Channel), language, text)
	})
}

// receipts lists the signed receipt of each consent as it stood, the newest first;
// one that can't be shown any more has none.
func (c *Contents) receipts(ctx context.Context, subjectID string, until time.Time, visit func(...string) error) error {
	return each(ctx, until, func(ctx context.Context, after *page.Position, limit int) ([]*consent.Consent, error) {
		return c.Consents.List(ctx, consent.Query{Subject: subjectID}, after, limit)
	}, func(one *consent.Consent) page.Position {
		return page.Position{CreatedAt: one.CreatedAt, ID: one.ID}
	}, func(one *consent.Consent) error {
		r, err := c.Receipts.Issue(ctx, one.ID, &until)
		if k := errs.KindOf(err); k == errs.Precondition || k == errs.Erased || k == errs.NotFound {
			return visit(one.ID, "", "", "", "")
		}
		if err != nil {
			return fmt.Errorf("make a receipt: %w", err)
		}
		return visit(one.ID, strconv.Itoa(r.Sequence), string(r.State), stamp(r.CreatedAt), r.Document)
	})
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// accesses lists who looked at the data, the newest first.
func (c *Contents) accesses(ctx context.Context, subjectID string, until time.Time, visit func(...string) error) error {
	return c.Trail.Accesses(ctx, subjectID, until, func(a *trail.Access) error {
		role, purpose := "", ""
		if a.Role != nil {
			role = string(*a.Role)
		}
		if a.Purpose != nil {
			purpose = *a.Purpose
		}
		return visit(stamp(a.At), string(a.By), role, a.Action, strconv.Itoa(a.Objects), purpose)
	})
}

// each visits what was made before an instant.
func each[T any](
	ctx context.Context, until time.Time, read func(ctx context.Context, after *page.Position, limit int) ([]T, error),
	at func(T) page.Position, visit func(T) error,
) error {
	var after *page.Position
	for {
		found, err := read(ctx, after, batch)
		if err != nil {
			return err
		}
		for _, f := range found {
			if at(f).CreatedAt.Before(until) {
				if err := visit(f); err != nil {
					return err
				}
			}
		}
		if len(found) < batch {
			return nil
		}
		last := at(found[len(found)-1])
		after = &last
	}
}

// eachDisclosure visits the disclosures that aren't secret, the newest first.
func (c *Contents) eachDisclosure(
	ctx context.Context, subjectID string, until time.Time, visit func(d *disclosure.Disclosure, to *processing.Party) error,
) error {
	parties := map[string]*processing.Party{}
	return each(ctx, until, func(ctx context.Context, after *page.Position, limit int) ([]*disclosure.Disclosure, error) {
		return c.Disclosures.List(ctx, subjectID, dataset.NoSecrecy, after, limit)
	}, func(d *disclosure.Disclosure) page.Position {
		return page.Position{CreatedAt: d.CreatedAt, ID: d.ID}
	}, func(d *disclosure.Disclosure) error {
		if !d.Counts() {
			return nil
		}
		if parties[d.Recipient] == nil {
			p, err := c.Parties.Party(ctx, d.Recipient)
			if err != nil {
				return fmt.Errorf("name a recipient: %w", err)
			}
			parties[d.Recipient] = p
		}
		return visit(d, parties[d.Recipient])
	})
}

func (c *Contents) disclosures(ctx context.Context, subjectID string, until time.Time, visit func(...string) error) error {
	return c.eachDisclosure(ctx, subjectID, until, func(d *disclosure.Disclosure, to *processing.Party) error {
		return visit(stamp(d.At), to.LegalName, to.Country, listed(d.Categories), d.Purpose, d.LegalBasis, d.Reference.Reveal())
	})
}

// requests lists what the person asked for before, the newest first.
func (c *Contents) requests(ctx context.Context, subjectID string, until time.Time, visit func(...string) error) error {
	return each(ctx, until, func(ctx context.Context, after *page.Position, limit int) ([]*request.Request, error) {
		return c.Requests.List(ctx, request.Filter{Subject: &subjectID}, after, limit)
	}, func(r *request.Request) page.Position {
		return page.Position{CreatedAt: r.CreatedAt, ID: r.ID}
	}, func(r *request.Request) error {
		var rights []string
		for i := range r.Items {
			rights = append(rights, string(r.Items[i].Type))
		}
		return visit(r.Number, stamp(r.ReceivedAt), string(r.Channel), listed(rights), r.Message.Reveal())
	})
}

// eachActivity visits the activities of the tenant as controller that are valid now.
func (c *Contents) eachActivity(ctx context.Context, visit func(*processing.Content) error) error {
	hat := processing.Controller
	r := page.Request{First: batch}
	for {
		found, err := c.Activities.List(ctx, processing.Filter{Hat: &hat}, r)
		if err != nil {
			return fmt.Errorf("list activities: %w", err)
		}
		for _, a := range found.Nodes() {
			if a.Valid != nil && a.Valid.Content.Controller != nil {
				if err := visit(&a.Valid.Content); err != nil {
					return err
				}
			}
		}
		if !found.PageInfo.HasNextPage {
			return nil
		}
		r.After = found.PageInfo.EndCursor
	}
}

// Portable implements export.Contents: by Art. 20(1)(a) what is processed by
// consent or contract, as the tenant's processing activities have it.
func (c *Contents) Portable(ctx context.Context) (map[string]bool, error) {
	portable := map[string]bool{}
	err := c.eachActivity(ctx, func(a *processing.Content) error {
		if slices.ContainsFunc(a.Controller.LegalBases, func(b processing.LegalBasis) bool {
			return b.Basis == processing.Art6a || b.Basis == processing.Art6b || b.Basis == processing.Art9a
		}) {
			for _, d := range a.Datasets {
				portable[d] = true
			}
		}
		return nil
	})
	return portable, err
}

// Papers implements export.Contents: an answer says what is in it, and by Art. 15 it
// has the statement.
func (c *Contents) Papers(ctx context.Context, f export.Facts) ([]export.Paper, error) {
	if c.Statement == nil {
		return nil, nil
	}
	readme, err := c.Statement.readme(ctx, f)
	if err != nil || f.Export.Case.Type != pack.AccessType {
		return []export.Paper{readme}, err
	}
	papers, err := c.Statement.write(ctx, c, f)
	return append(papers, readme), err
}
