package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var (
	_ request.Store = (*RequestStore)(nil)
	_ erase.Cases   = (*RequestStore)(nil)
)

// RequestStore keeps the requests of data subjects, with what was done about them.
type RequestStore struct {
	requests, events, counters *mongo.Collection
	vault                      *vault.Vault
}

// NewRequestStore returns the store of requests in d.
func NewRequestStore(d *DB, v *vault.Vault) *RequestStore {
	return &RequestStore{d.db.Collection(requestsColl), d.db.Collection(requestEventsColl), d.db.Collection(countersColl), v}
}

// requestDoc has in clear what lists, sweeps and statistics ask for, and names
// no person but by id.
type requestDoc struct {
	ID        string    `bson:"_id"`
	Tenant    tenant.ID `bson:"tenant"`
	CreatedAt time.Time `bson:"createdAt"`
	Set       caseDoc   `bson:",inline"`
}

// caseDoc is what Update writes.
type caseDoc struct {
	Subject     string            `bson:"subject"`
	State       request.State     `bson:"state"`
	Open        bool              `bson:"open"`
	Types       []request.Type    `bson:"types"`
	Due         time.Time         `bson:"due"` // far away while the clock stands still
	ReceivedAt  time.Time         `bson:"receivedAt"`
	RespondedAt *time.Time        `bson:"respondedAt"`
	DueBefore   *time.Time        `bson:"dueBefore"`
	Extended    bool              `bson:"extended"`
	Refusals    []request.Refusal `bson:"refusals"`
	AssignedTo  string            `bson:"assignedTo"`
	Look        time.Time         `bson:"look"`   // when a sweep has next to look at it
	EndsAt      *time.Time        `bson:"endsAt"` // its own time is over then
	Version     int64             `bson:"version"`
	Body        sealed            `bson:"body"`
}

// bodyJSON is what is sealed of a request: all of it.
type bodyJSON struct {
	Request *request.Request  `json:"request"`
	Texts   map[string]string `json:"texts"`
}

// never is a time that sorts behind all others.
func never() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }

func (s *RequestStore) sealer(ctx context.Context, collection, requestID, record string) (*sealer, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	owner := request.Unit(of, requestID)
	keys, err := s.vault.Load(ctx, owner)
	if err != nil {
		return nil, err
	}
	return &sealer{keys: keys, owner: owner, place: vault.Place{Collection: collection, Record: record}}, nil
}

func (s *RequestStore) seal(ctx context.Context, r *request.Request) (caseDoc, error) {
	d := caseDoc{
		Subject: r.Subject, State: r.State, Open: r.State.Open(), Due: never(), ReceivedAt: r.ReceivedAt, Extended: r.Extension != nil,
		AssignedTo: r.AssignedTo, Look: r.Look, Version: r.Version, DueBefore: r.Deadline.DueBefore, Types: []request.Type{}, Refusals: []request.Refusal{},
	}
	if due := r.Deadline.DueBefore; due != nil && d.Open {
		d.Due = *due
	}
	if r.Reply != nil {
		d.RespondedAt = &r.Reply.At
	}
	if d.Look.IsZero() {
		d.Look = never()
	}
	d.EndsAt = r.EndsAt()
	for _, item := range r.Items {
		d.Types = append(d.Types, item.Type)
		if p := item.Proposal; p != nil && p.Refusal != "" && r.Reply != nil {
			d.Refusals = append(d.Refusals, p.Refusal)
		}
	}
	body := bodyJSON{r, map[string]string{}}
	for at, text := range r.Texts() {
		if !text.IsZero() {
			body.Texts[at] = text.Reveal()
		}
	}
	seal, err := s.sealer(ctx, requestsColl, r.ID, r.ID)
	if err != nil {
		return d, err
	}
	d.Body = seal.json("body", body, false)
	if seal.err != nil {
		return d, fmt.Errorf("seal request %s: %w", r.ID, seal.err)
	}
	return d, nil
}

func (s *RequestStore) open(ctx context.Context, docs []requestDoc) ([]*request.Request, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	owners := make([]vault.Owner, len(docs))
	for i := range docs {
		owners[i] = request.Unit(of, docs[i].ID)
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	found := make([]*request.Request, len(docs))
	for i := range docs {
		d := &docs[i]
		open := &sealer{keys: keys, owner: owners[i], place: vault.Place{Collection: requestsColl, Record: d.ID}}
		body := bodyJSON{Request: &request.Request{}}
		open.openJSON("body", d.Set.Body, &body)
		if _, gone := unreadable(open.err); gone || d.Set.Body == nil {
			// Its time is over, too: what is left is that there was a request.
			found[i] = &request.Request{
				ID: d.ID, Subject: d.Set.Subject, State: d.Set.State, Clock: request.Stopped, ReceivedAt: d.Set.ReceivedAt.UTC(),
				CreatedAt: d.CreatedAt.UTC(), Version: d.Set.Version, Gone: true,
			}
			continue
		}
		if open.err != nil {
			return nil, fmt.Errorf("open request %s: %w", d.ID, open.err)
		}
		found[i] = body.Request
		for at, text := range body.Request.Texts() {
			*text = personal.NewText(body.Texts[at])
		}
	}
	return found, nil
}

// Insert implements request.Store.
func (s *RequestStore) Insert(ctx context.Context, r *request.Request) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	set, err := s.seal(ctx, r)
	if err != nil {
		return err
	}
	if _, err := s.requests.InsertOne(ctx, requestDoc{r.ID, of, r.CreatedAt, set}); err != nil {
		return fmt.Errorf("insert request: %w", translate(err))
	}
	return note(ctx, s.requests, r.ID)
}

// Update implements request.Store.
func (s *RequestStore) Update(ctx context.Context, r *request.Request) error {
	set, err := s.seal(ctx, r)
	if err != nil {
		return err
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: r.ID}, bson.E{Key: "version", Value: r.Version - 1},
		bson.E{Key: "ended", Value: bson.D{{Key: "$ne", Value: true}}})
	if err != nil {
		return err
	}
	res, err := s.requests.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: set}})
	if err != nil {
		return fmt.Errorf("update request %s: %w", r.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return request.ErrVersion
	}
	return note(ctx, s.requests, r.ID)
}

// Touch implements request.Store.
func (s *RequestStore) Touch(ctx context.Context, requestID string) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: requestID})
	if err != nil {
		return err
	}
	res, err := s.requests.UpdateOne(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "guard", Value: int64(1)}}}})
	if err != nil {
		return fmt.Errorf("touch request %s: %w", requestID, translate(err))
	}
	if res.MatchedCount == 0 {
		return request.ErrNotFound
	}
	return nil
}

// Get implements request.Store.
func (s *RequestStore) Get(ctx context.Context, requestID string) (*request.Request, error) {
	d, err := one[requestDoc](ctx, s.requests, "request", request.ErrNotFound, bson.E{Key: "_id", Value: requestID})
	if err != nil {
		return nil, err
	}
	found, err := s.open(ctx, []requestDoc{d})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// List implements request.Store.
func (s *RequestStore) List(ctx context.Context, f request.Filter, after *page.Position, limit int) ([]*request.Request, error) {
	filter := bson.D{}
	if f.Subject != nil {
		filter = append(filter, bson.E{Key: "subject", Value: *f.Subject})
	}
	if f.AssignedTo != nil {
		filter = append(filter, bson.E{Key: "assignedTo", Value: *f.AssignedTo})
	}
	if f.State != nil {
		filter = append(filter, bson.E{Key: "state", Value: *f.State})
	}
	if f.Type != nil {
		filter = append(filter, bson.E{Key: "types", Value: *f.Type})
	}
	var docs []requestDoc
	var err error
	if f.Sort == request.ByDue {
		docs, err = s.byDue(ctx, filter, after, limit)
	} else {
		docs, err = keyset[requestDoc](ctx, s.requests, filter, after, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("list requests: %w", err)
	}
	return s.open(ctx, docs)
}

// byDue lists what is open, what is due first in front.
func (s *RequestStore) byDue(ctx context.Context, equal bson.D, after *page.Position, limit int) ([]requestDoc, error) {
	filter, err := scoped(ctx, append(bson.D{{Key: "open", Value: true}}, equal...)...)
	if err != nil {
		return nil, err
	}
	if after != nil {
		filter = append(filter,
			bson.E{Key: "due", Value: bson.D{{Key: "$gte", Value: after.CreatedAt}}},
			bson.E{Key: "$or", Value: bson.A{
				bson.D{{Key: "due", Value: bson.D{{Key: "$gt", Value: after.CreatedAt}}}},
				bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after.ID}}}},
			}})
	}
	return all[requestDoc](ctx, s.requests, filter,
		options.Find().SetSort(bson.D{{Key: "due", Value: 1}, {Key: "_id", Value: 1}}).SetLimit(int64(limit)))
}

// Waiting implements request.Store.
func (s *RequestStore) Waiting(ctx context.Context, until time.Time, limit int) ([]request.Ref, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[requestDoc](ctx, s.requests, bson.D{{Key: "look", Value: bson.D{{Key: "$lte", Value: until}}}},
		options.Find().SetSort(bson.D{{Key: "look", Value: 1}}).SetLimit(int64(limit)).
			SetProjection(bson.D{{Key: "tenant", Value: 1}, {Key: "look", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("list requests to look at: %w", err)
	}
	refs := make([]request.Ref, len(docs))
	for i, d := range docs {
		refs[i] = request.Ref{Tenant: d.Tenant, ID: d.ID}
	}
	return refs, nil
}

// Ended implements erase.Cases.
func (s *RequestStore) Ended(ctx context.Context, by time.Time, limit int) ([]request.Ref, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[requestDoc](ctx, s.requests, bson.D{{Key: "endsAt", Value: bson.D{{Key: "$lte", Value: by}}}},
		options.Find().SetSort(bson.D{{Key: "endsAt", Value: 1}}).SetLimit(int64(limit)).
			SetProjection(bson.D{{Key: "tenant", Value: 1}, {Key: "endsAt", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("list requests whose time is over: %w", err)
	}
	refs := make([]request.Ref, len(docs))
	for i, d := range docs {
		refs[i] = request.Ref{Tenant: d.Tenant, ID: d.ID}
	}
	return refs, nil
}

// Later implements erase.Cases.
func (s *RequestStore) Later(ctx context.Context, requestID string, at time.Time) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: requestID})
	if err != nil {
		return err
	}
	if _, err := s.requests.UpdateOne(ctx, filter, set(bson.E{Key: "endsAt", Value: at})); err != nil {
		return fmt.Errorf("keep request %s: %w", requestID, translate(err))
	}
	return note(ctx, s.requests, requestID)
}

// Number implements request.Store.
func (s *RequestStore) Number(ctx context.Context, year int) (int64, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return 0, err
	}
	var d struct {
		N int64 `bson:"n"`
	}
	counterID := fmt.Sprintf("%s/request/%d", of, year)
	err = s.counters.FindOneAndUpdate(ctx,
		bson.D{{Key: "_id", Value: counterID}, {Key: "tenant", Value: of}},
		bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}},
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&d)
	if err != nil {
		return 0, fmt.Errorf("number request: %w", translate(err))
	}
	return d.N, nil
}

type requestEventDoc struct {
	ID          string        `bson:"_id"`
	Tenant      tenant.ID     `bson:"tenant"`
	Request     string        `bson:"request"`
	CreatedAt   time.Time     `bson:"createdAt"`
	Rule        request.Rule  `bson:"rule"`
	By          string        `bson:"by"`
	As          request.Actor `bson:"as"`
	From        request.State `bson:"from"`
	To          request.State `bson:"to"`
	ClockBefore request.Clock `bson:"clockBefore"`
	ClockAfter  request.Clock `bson:"clockAfter"`
	Reason      sealed        `bson:"reason,omitempty"`
	Evidence    []string      `bson:"evidence,omitempty"`
	Private     bool          `bson:"private"`
}

// InsertEvents implements request.Store.
func (s *RequestStore) InsertEvents(ctx context.Context, events ...request.Event) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	docs, ids := make([]any, len(events)), make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
		seal, err := s.sealer(ctx, requestEventsColl, e.Request, e.ID)
		if err != nil {
			return err
		}
		docs[i] = requestEventDoc{
			e.ID, of, e.Request, e.At, e.Rule, e.By, e.As, e.From, e.To, e.ClockBefore, e.ClockAfter, seal.text("reason", e.Reason), e.Evidence,
			e.Private,
		}
		if seal.err != nil {
			return fmt.Errorf("seal event of request %s: %w", e.Request, seal.err)
		}
	}
	if _, err := s.events.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert events of a request: %w", translate(err))
	}
	return note(ctx, s.events, ids...)
}

// Events implements request.Store.
func (s *RequestStore) Events(ctx context.Context, requestID string, after *page.Position, limit int) ([]*request.Event, error) {
	docs, err := keyset[requestEventDoc](ctx, s.events, bson.D{{Key: "request", Value: requestID}}, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list events of request %s: %w", requestID, err)
	}
	open, err := s.sealer(ctx, requestEventsColl, requestID, "")
	if err != nil {
		return nil, err
	}
	events := make([]*request.Event, len(docs))
	for i, d := range docs {
		open.place.Record = d.ID
		events[i] = &request.Event{
			ID: d.ID, Request: d.Request, Rule: d.Rule, By: d.By, As: d.As, At: d.CreatedAt.UTC(), From: d.From, To: d.To,
			ClockBefore: d.ClockBefore, ClockAfter: d.ClockAfter, Reason: open.openText("reason", d.Reason), Evidence: d.Evidence,
			Private: d.Private,
		}
		if _, gone := unreadable(open.err); gone {
			open.err = nil
		}
	}
	if open.err != nil {
		return nil, fmt.Errorf("open events of request %s: %w", requestID, open.err)
	}
	return events, nil
}

// Facts implements request.Store.
func (s *RequestStore) Facts(ctx context.Context, from, to time.Time, visit func(request.Fact) error) (err error) {
	filter, err := scoped(ctx, bson.E{Key: "receivedAt", Value: bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: to}}})
	if err != nil {
		return err
	}
	cursor, err := s.requests.Find(ctx, filter, options.Find().SetProjection(bson.D{{Key: "body", Value: 0}}))
	if err != nil {
		return fmt.Errorf("read facts of requests: %w", translate(err))
	}
	defer func() { err = errors.Join(err, cursor.Close(context.WithoutCancel(ctx))) }()
	for cursor.Next(ctx) {
		var d requestDoc
		if err := cursor.Decode(&d); err != nil {
			return fmt.Errorf("read facts of requests: %w", err)
		}
		fact := request.Fact{
			Types: d.Set.Types, State: d.Set.State, ReceivedAt: d.Set.ReceivedAt, RespondedAt: d.Set.RespondedAt, Extended: d.Set.Extended,
			Refusals: d.Set.Refusals, DueBefore: d.Set.DueBefore,
		}
		if err := visit(fact); err != nil {
			return err
		}
	}
	return translate(cursor.Err())
}
