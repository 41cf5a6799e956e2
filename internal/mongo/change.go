package mongo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/tenant"
)

var _ change.Store = (*DB)(nil)

// auditDoc is the stored form of an audit row. What is part of the leaf is
// never changed; unsealed goes, and seq comes, when the sealer has ordered the
// entry: entries of a tenant are seen in the order of seq, without a gap.
type auditDoc struct {
	ID        string         `bson:"_id"`
	Tenant    tenant.ID      `bson:"tenant"`
	At        time.Time      `bson:"at"`
	Actor     actorDoc       `bson:"actor"`
	Action    string         `bson:"action"`
	Object    string         `bson:"object"`
	Subjects  []auditSubject `bson:"subjects,omitempty"`
	Purpose   string         `bson:"purpose"`
	Outcome   audit.Outcome  `bson:"outcome"`
	Policy    string         `bson:"policy"`
	RequestID string         `bson:"requestId"`
	Network   string         `bson:"network"`
	Fields    []string       `bson:"fields,omitempty"`
	Contents  []contentDoc   `bson:"contents,omitempty"`
	Unsealed  bool           `bson:"unsealed,omitempty"`
	Seq       *int64         `bson:"seq,omitempty"` // place in the tenant's order, from 0, once it is sealed

	Change       audit.Feed `bson:"change,omitempty"` // no part of the leaf, nor what follows
	SecretFields []string   `bson:"secretFields,omitempty"`
}

type actorDoc struct {
	Kind       string `bson:"kind"`
	ID         string `bson:"id"`
	Credential string `bson:"credential"`
	OnBehalfOf string `bson:"onBehalfOf"`
	Role       string `bson:"role,omitempty"`
}

// contentDoc is an audit.Content: object and version are one key, for the index.
type contentDoc struct {
	Key    string `bson:"k"`
	Digest []byte `bson:"d,omitempty"`
}

func contentKey(object string, version int64) string {
	return object + "." + strconv.FormatInt(version, 10)
}

// content returns what is stored; of a key that isn't one, what no leaf has.
func (d *contentDoc) content() audit.Content {
	at := max(strings.LastIndexByte(d.Key, '.'), 0) // an object's name may have points
	n, err := strconv.ParseInt(strings.TrimPrefix(d.Key[at:], "."), 10, 64)
	if err != nil || contentKey(d.Key[:at], n) != d.Key {
		return audit.Content{Object: d.Key, Version: -1, Digest: d.Digest}
	}
	return audit.Content{Object: d.Key[:at], Version: n, Digest: d.Digest}
}

type auditSubject struct {
	ID         string `bson:"id"`
	Commitment []byte `bson:"commitment"`
	Sealed     []byte `bson:"sealed"` // no part of the leaf
}

// InsertAudit implements audit.Store.
func (d *DB) InsertAudit(ctx context.Context, rows ...audit.Row) error {
	if len(rows) == 0 {
		return nil
	}
	docs := make([]auditDoc, len(rows))
	for i, r := range rows {
		if r.Tenant == "" {
			return tenant.ErrNone
		}
		docs[i] = auditDoc{
			ID: r.ID, Tenant: r.Tenant, At: r.At, Actor: actorDoc(r.Actor), Action: r.Action, Object: r.Object,
			Purpose: r.Purpose, Outcome: r.Outcome, Policy: r.Policy, RequestID: r.RequestID, Network: r.Network,
			Fields: r.Fields, Unsealed: true, Change: r.Feed, SecretFields: r.SecretFields,
		}
		for _, c := range r.Contents {
			docs[i].Contents = append(docs[i].Contents, contentDoc{contentKey(c.Object, c.Version), c.Digest})
		}
		for n, s := range r.Subjects {
			docs[i].Subjects = append(docs[i].Subjects, auditSubject{s.ID, s.Commitment[:], r.Sealed[n]})
		}
	}
	made, err := d.noted(ctx)
	if err != nil {
		return err
	}
	addContents(docs, made)
	if _, err := d.db.Collection(auditColl).InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert audit entries: %w", translate(err))
	}
	return nil
}

// addContents adds contents to the entries of their objects, or to the first, but
// for those that an entry has.
func addContents(docs []auditDoc, made []audit.Content) {
	if len(made) == 0 {
		return
	}
	has, of := map[string]bool{}, map[string]int{}
	for i := range docs {
		of[docs[i].Object] = i
		for _, c := range docs[i].Contents {
			has[c.Key] = true
		}
	}
	for _, c := range made {
		if key := contentKey(c.Object, c.Version); !has[key] {
			d := &docs[of[c.Object]]
			d.Contents, has[key] = append(d.Contents, contentDoc{key, c.Digest}), true
		}
	}
}

type receiptDoc struct {
	ID        string    `bson:"_id"`
	Tenant    tenant.ID `bson:"tenant"`
	Input     []byte    `bson:"input"`
	Object    string    `bson:"object"`
	CreatedAt time.Time `bson:"createdAt"`
}

func receiptID(of tenant.ID, key string) string { return string(of) + "/" + key }

// InsertReceipt implements change.Store.
func (d *DB) InsertReceipt(ctx context.Context, r change.Receipt) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	doc := receiptDoc{receiptID(of, r.Key), of, r.Input, r.Object, r.CreatedAt}
	// Takes the place of one whose life is over.
	filter := bson.D{
		{Key: "_id", Value: doc.ID},
		{Key: "tenant", Value: of},
		{Key: "createdAt", Value: bson.D{{Key: "$lt", Value: r.CreatedAt.Add(-change.ReceiptLife)}}},
	}
	_, err = d.db.Collection(receiptsColl).ReplaceOne(ctx, filter, doc, options.Replace().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		return change.ErrReceiptExists.Because(err)
	}
	if err != nil {
		return fmt.Errorf("insert receipt: %w", translate(err))
	}
	return nil
}

// FindReceipt implements change.Store.
func (d *DB) FindReceipt(ctx context.Context, key string) (*change.Receipt, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	var doc receiptDoc
	err = d.db.Collection(receiptsColl).
		FindOne(ctx, bson.D{{Key: "_id", Value: receiptID(of, key)}, {Key: "tenant", Value: of}}).Decode(&doc)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil //nolint:nilnil // as change.Store has it
	}
	if err != nil {
		return nil, fmt.Errorf("find receipt: %w", translate(err))
	}
	return &change.Receipt{Key: key, Input: doc.Input, Object: doc.Object, CreatedAt: doc.CreatedAt}, nil
}
