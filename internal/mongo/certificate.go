package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/tenant"
)

var _ certificate.Store = (*CertificateStore)(nil)

// CertificateStore keeps certificates of erasure: opaque ids, times and reasons.
type CertificateStore struct{ coll *mongo.Collection }

// NewCertificateStore returns the store in d.
func NewCertificateStore(d *DB) *CertificateStore {
	return &CertificateStore{d.db.Collection(certificatesColl)}
}

type certificateDoc struct {
	ID        string            `bson:"_id"` // the shredding's: each has one certificate
	Number    string            `bson:"number"`
	Second    string            `bson:"second"` // the number of the statement
	Tenant    tenant.ID         `bson:"tenant"`
	Subject   string            `bson:"subject"`
	Cause     string            `bson:"cause"`
	State     certificate.State `bson:"state"`
	Content   string            `bson:"content"` // JSON, as it is signed
	Signed    string            `bson:"signed"`
	Statement string            `bson:"statement"`
	Language  string            `bson:"language"`
	CreatedAt time.Time         `bson:"createdAt"`
	IssuedAt  *time.Time        `bson:"issuedAt,omitempty"`
	StatedAt  *time.Time        `bson:"statedAt,omitempty"`
}

func newCertificateDoc(c *certificate.Certificate) (certificateDoc, error) {
	content, err := json.Marshal(c.Content)
	if err != nil {
		return certificateDoc{}, fmt.Errorf("write certificate: %w", err)
	}
	return certificateDoc{
		ID: c.Shredding, Number: c.ID, Second: c.Content.Backups.Statement, Language: c.Language, Tenant: c.Tenant, Subject: c.Subject, Cause: c.Cause, State: c.State, Content: string(content),
		Signed: c.Signed, Statement: c.Statement, CreatedAt: c.CreatedAt, IssuedAt: c.IssuedAt, StatedAt: c.StatedAt,
	}, nil
}

func (d *certificateDoc) certificate() (*certificate.Certificate, error) {
	c := &certificate.Certificate{
		ID: d.Number, Tenant: d.Tenant, Subject: d.Subject, Shredding: d.ID, Cause: d.Cause, State: d.State, Signed: d.Signed,
		Statement: d.Statement, Language: d.Language, CreatedAt: d.CreatedAt, IssuedAt: d.IssuedAt, StatedAt: d.StatedAt,
	}
	if err := json.Unmarshal([]byte(d.Content), &c.Content); err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", d.Number, err)
	}
	return c, nil
}

func certificatesOf(docs []certificateDoc) ([]*certificate.Certificate, error) {
	list := make([]*certificate.Certificate, len(docs))
	for i := range docs {
		var err error
		if list[i], err = docs[i].certificate(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (s *CertificateStore) one(ctx context.Context, match bson.E) (*certificate.Certificate, error) {
	d, err := one[certificateDoc](ctx, s.coll, "certificate", certificate.ErrNotFound, match)
	if err != nil {
		return nil, err
	}
	return d.certificate()
}

// Get implements certificate.Store.
func (s *CertificateStore) Get(ctx context.Context, number string) (*certificate.Certificate, error) {
	c, err := s.one(ctx, bson.E{Key: "number", Value: number})
	if errors.Is(err, certificate.ErrNotFound) {
		return s.one(ctx, bson.E{Key: "second", Value: number})
	}
	return c, err
}

// Of implements certificate.Store.
func (s *CertificateStore) Of(ctx context.Context, shreddingID string) (*certificate.Certificate, error) {
	return s.one(ctx, bson.E{Key: "_id", Value: shreddingID})
}

// For implements certificate.Store.
func (s *CertificateStore) For(ctx context.Context, cause string) ([]*certificate.Certificate, error) {
	filter, err := scoped(ctx, bson.E{Key: "cause", Value: cause})
	if err != nil {
		return nil, err
	}
	docs, err := all[certificateDoc](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find certificates: %w", err)
	}
	return certificatesOf(docs)
}

// Insert implements certificate.Store.
func (s *CertificateStore) Insert(ctx context.Context, c *certificate.Certificate) error {
	d, err := newCertificateDoc(c)
	if err != nil {
		return err
	}
	_, err = s.coll.InsertOne(ctx, d)
	if mongo.IsDuplicateKeyError(err) {
		return certificate.ErrExists
	}
	if err != nil {
		return fmt.Errorf("insert certificate: %w", translate(err))
	}
	return nil
}

// Update implements certificate.Store.
func (s *CertificateStore) Update(ctx context.Context, c *certificate.Certificate, from certificate.State) error {
	d, err := newCertificateDoc(c)
	if err != nil {
		return err
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: d.ID}, bson.E{Key: "state", Value: from})
	if err != nil {
		return err
	}
	res, err := s.coll.ReplaceOne(ctx, filter, d)
	if err != nil {
		return fmt.Errorf("update certificate %s: %w", c.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	return nil
}

// Delete implements certificate.Store.
func (s *CertificateStore) Delete(ctx context.Context, c *certificate.Certificate) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: c.Shredding})
	if err != nil {
		return err
	}
	if _, err := s.coll.DeleteOne(ctx, filter); err != nil {
		return fmt.Errorf("delete certificate %s: %w", c.ID, translate(err))
	}
	return nil
}

// IssuedBefore implements certificate.Store.
func (s *CertificateStore) IssuedBefore(ctx context.Context, at time.Time, limit int) ([]*certificate.Certificate, error) {
	return s.every(ctx, limit, "issuedAt", bson.D{{Key: "state", Value: certificate.Stated}, {Key: "issuedAt", Value: bson.D{{Key: "$lt", Value: at}}}})
}

// Unstated implements certificate.Store.
func (s *CertificateStore) Unstated(ctx context.Context, after string, limit int) ([]*certificate.Certificate, error) {
	return s.every(ctx, limit, "_id", bson.D{
		{Key: "state", Value: certificate.Issued}, {Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}},
	})
}

// every returns certificates of all tenants in the order of a field.
func (s *CertificateStore) every(ctx context.Context, limit int, order string, filter bson.D) ([]*certificate.Certificate, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[certificateDoc](ctx, s.coll, filter, options.Find().SetSort(bson.D{{Key: order, Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find certificates: %w", err)
	}
	return certificatesOf(docs)
}
