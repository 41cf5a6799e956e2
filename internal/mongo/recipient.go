package mongo

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

const (
	noticesToldColl = "recipientNotices"
	endpointsColl   = "recipientEndpoints" // by party
)

var _ recipient.Store = (*RecipientStore)(nil)

// RecipientStore keeps what recipients are told.
type RecipientStore struct {
	*DisclosureStore // whose log says who they are

	notices, endpoints *mongo.Collection
	vault              *vault.Vault
}

// NewRecipientStore returns the store of notices in d.
func NewRecipientStore(d *DB, v *vault.Vault, log *slog.Logger) *RecipientStore {
	return &RecipientStore{NewDisclosureStore(d, v, log), d.db.Collection(noticesToldColl), d.db.Collection(endpointsColl), v}
}

// toldDoc has in clear what lists and guards ask for, and names no person but by id.
type toldDoc struct {
	ID        string          `bson:"_id"`
	Tenant    tenant.ID       `bson:"tenant"`
	Request   string          `bson:"request"`
	Item      string          `bson:"item"`
	Subject   string          `bson:"subject"`
	CreatedAt time.Time       `bson:"createdAt"`
	State     recipient.State `bson:"state"`
	Version   int64           `bson:"version"`
	Body      sealed          `bson:"body"`
}

// toldJSON is what is sealed of a notice: all of it.
type toldJSON struct {
	Notice *recipient.Notice `json:"notice"`
	Texts  map[string]string `json:"texts"`
	// References is how many there are.
	References int `json:"references"`
}

// caseSealer seals what belongs to a request under the request's own key.
func caseSealer(ctx context.Context, v *vault.Vault, collection, requestID, record string) (*sealer, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	owner := request.Unit(of, requestID)
	keys, err := v.Load(ctx, owner)
	if err != nil {
		return nil, err
	}
	return &sealer{keys: keys, owner: owner, place: vault.Place{Collection: collection, Record: record}}, nil
}

// revealed returns the texts that aren't empty.
func revealed(texts map[string]*personal.Text) map[string]string {
	plain := map[string]string{}
	for at, text := range texts {
		if !text.IsZero() {
			plain[at] = text.Reveal()
		}
	}
	return plain
}

func (s *RecipientStore) seal(ctx context.Context, n *recipient.Notice) (toldDoc, error) {
	d := toldDoc{
		ID: n.ID, Request: n.Request, Item: n.Item, Subject: n.Subject, CreatedAt: n.CreatedAt, State: n.State, Version: n.Version,
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return d, err
	}
	seal, err := caseSealer(ctx, s.vault, noticesToldColl, n.Request, n.ID)
	if err != nil {
		return d, err
	}
	d.Tenant = of
	d.Body = seal.json("body", toldJSON{n, revealed(n.Texts()), len(n.References)}, false)
	if seal.err != nil {
		return d, fmt.Errorf("seal notice %s: %w", n.ID, seal.err)
	}
	return d, nil
}

func (s *RecipientStore) unseal(ctx context.Context, docs ...toldDoc) ([]*recipient.Notice, error) {
	owners := make([]vault.Owner, len(docs))
	for i := range docs {
		owners[i] = request.Unit(docs[i].Tenant, docs[i].Request)
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	list := make([]*recipient.Notice, len(docs))
	for i := range docs {
		d := &docs[i]
		open := &sealer{keys: keys, owner: owners[i], place: vault.Place{Collection: noticesToldColl, Record: d.ID}}
		body := toldJSON{Notice: &recipient.Notice{}}
		open.openJSON("body", d.Body, &body)
		if _, gone := unreadable(open.err); gone || d.Body == nil {
			// The time of the case is over: what is left is that there was a notice.
			list[i] = &recipient.Notice{
				ID: d.ID, Request: d.Request, Item: d.Item, Subject: d.Subject, State: d.State, CreatedAt: d.CreatedAt.UTC(), Version: d.Version,
			}
			continue
		}
		if open.err != nil {
			return nil, fmt.Errorf("open notice %s: %w", d.ID, open.err)
		}
		n := body.Notice
		n.References = make([]personal.Text, body.References)
		for at, text := range n.Texts() {
			*text = personal.NewText(body.Texts[at])
		}
		list[i] = n
	}
	return list, nil
}

// Get implements recipient.Store.
func (s *RecipientStore) Get(ctx context.Context, noticeID string) (*recipient.Notice, error) {
	d, err := one[toldDoc](ctx, s.notices, "notice", recipient.ErrNotFound, bson.E{Key: "_id", Value: noticeID})
	if err != nil {
		return nil, err
	}
	ns, err := s.unseal(ctx, d)
	if err != nil {
		return nil, err
	}
	return ns[0], nil
}

// Insert implements recipient.Store.
func (s *RecipientStore) Insert(ctx context.Context, ns ...*recipient.Notice) error {
	if len(ns) == 0 {
		return nil
	}
	docs := make([]toldDoc, len(ns))
	for i, n := range ns {
		var err error
		if docs[i], err = s.seal(ctx, n); err != nil {
			return err
		}
	}
	if _, err := s.notices.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert notices: %w", translate(err))
	}
	ids := make([]string, len(ns))
	for i, n := range ns {
		ids[i] = n.ID
	}
	return note(ctx, s.notices, ids...)
}

// Update implements recipient.Store.
func (s *RecipientStore) Update(ctx context.Context, n *recipient.Notice) error {
	d, err := s.seal(ctx, n)
	if err != nil {
		return err
	}
	res, err := s.notices.UpdateOne(ctx, previous(d.Tenant, n.ID, n.Version), bson.D{{Key: "$set", Value: d}})
	if err != nil {
		return fmt.Errorf("update notice %s: %w", n.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return recipient.ErrVersion
	}
	return note(ctx, s.notices, n.ID)
}

// OfItem implements recipient.Store.
func (s *RecipientStore) OfItem(ctx context.Context, itemID string) ([]*recipient.Notice, error) {
	filter, err := scoped(ctx, bson.E{Key: "item", Value: itemID})
	if err != nil {
		return nil, err
	}
	docs, err := all[toldDoc](ctx, s.notices, filter)
	if err != nil {
		return nil, fmt.Errorf("find notices of an item: %w", err)
	}
	return s.unseal(ctx, docs...)
}

// Forget implements recipient.Store.
func (s *RecipientStore) Forget(ctx context.Context, noticeIDs ...string) error {
	if len(noticeIDs) == 0 {
		return nil
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: noticeIDs}}}, bson.E{Key: "state", Value: recipient.Prepared})
	if err != nil {
		return err
	}
	if _, err := s.notices.DeleteMany(ctx, filter); err != nil {
		return fmt.Errorf("forget notices: %w", translate(err))
	}
	return note(ctx, s.notices, noticeIDs...)
}

// Count implements recipient.Store.
func (s *RecipientStore) Count(ctx context.Context, requestID string, states ...recipient.State) (int, error) {
	filter, err := scoped(ctx, bson.E{Key: "request", Value: requestID}, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: states}}})
	if err != nil {
		return 0, err
	}
	return count(ctx, s.notices, filter, eraseBatch)
}

// List implements recipient.Store.
func (s *RecipientStore) List(ctx context.Context, f recipient.Filter, after *page.Position, limit int) ([]*recipient.Notice, error) {
	filter := bson.D{}
	if f.Request != "" {
		filter = append(filter, bson.E{Key: "request", Value: f.Request})
	}
	if f.Subject != "" {
		filter = append(filter, bson.E{Key: "subject", Value: f.Subject})
	}
	if f.Told {
		filter = append(filter, bson.E{Key: "state", Value: bson.D{{Key: "$ne", Value: recipient.Prepared}}})
	}
	docs, err := keyset[toldDoc](ctx, s.notices, filter, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list notices: %w", err)
	}
	return s.unseal(ctx, docs...)
}

type endpointDoc struct {
	ID      string    `bson:"_id"` // of the party
	Tenant  tenant.ID `bson:"tenant"`
	Webhook string    `bson:"webhook"`
}

// Endpoint implements recipient.Store.
func (s *RecipientStore) Endpoint(ctx context.Context, partyID string) (string, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: partyID})
	if err != nil {
		return "", err
	}
	docs, err := all[endpointDoc](ctx, s.endpoints, filter, options.Find().SetLimit(1))
	if err != nil || len(docs) == 0 {
		return "", err
	}
	return docs[0].Webhook, nil
}

// Endpoints implements recipient.Store.
func (s *RecipientStore) Endpoints(ctx context.Context) ([]*recipient.Endpoint, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := all[endpointDoc](ctx, s.endpoints, filter, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("list endpoints of recipients: %w", err)
	}
	list := make([]*recipient.Endpoint, len(docs))
	for i, d := range docs {
		list[i] = &recipient.Endpoint{Party: d.ID, Webhook: d.Webhook}
	}
	return list, nil
}

// SetEndpoint implements recipient.Store.
func (s *RecipientStore) SetEndpoint(ctx context.Context, e recipient.Endpoint) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	filter := bson.D{{Key: "_id", Value: e.Party}, {Key: "tenant", Value: of}}
	if e.Webhook == "" {
		_, err = s.endpoints.DeleteOne(ctx, filter)
	} else {
		_, err = s.endpoints.ReplaceOne(ctx, filter, endpointDoc{e.Party, of, e.Webhook}, options.Replace().SetUpsert(true))
	}
	if err != nil {
		return fmt.Errorf("set endpoint of a recipient: %w", translate(err))
	}
	return nil
}

// Disclosed implements recipient.Store.
func (s *RecipientStore) Disclosed(ctx context.Context, subjectID, partyID string, limit int) ([]*disclosure.Disclosure, error) {
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: subjectID}, bson.E{Key: "secrecy", Value: dataset.NoSecrecy},
		bson.E{Key: "recipient", Value: partyID}, counts())
	if err != nil {
		return nil, err
	}
	docs, err := all[disclosureDoc](ctx, s.coll, filter,
		options.Find().SetSort(bson.D{{Key: "at", Value: -1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find disclosures to a recipient: %w", err)
	}
	return s.open(ctx, slices.Clip(docs))
}
