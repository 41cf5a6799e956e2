package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/tenant"
)

var _ seal.Verifications = (*AuditStore)(nil)

// verificationDoc is what the checks of a tenant's log came to. Its _id is the tenant.
type verificationDoc struct {
	ID         tenant.ID  `bson:"_id"`
	Tenant     tenant.ID  `bson:"tenant"`
	At         time.Time  `bson:"at"`
	FullAt     *time.Time `bson:"fullAt"`
	Fault      *faultDoc  `bson:"fault"`
	Log        int64      `bson:"log"`
	Size       int64      `bson:"size"`
	Edge       [][]byte   `bson:"edge"`
	Checkpoint int64      `bson:"checkpoint"`
}

type faultDoc struct {
	FoundAt time.Time `bson:"foundAt"`
	What    string    `bson:"what"`
	Seq     *int64    `bson:"seq"`
	Entry   *string   `bson:"entry"`
	Object  *string   `bson:"object"`
}

// Verification implements seal.Verifications.
func (s *AuditStore) Verification(ctx context.Context) (*seal.Verification, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	d, err := one[verificationDoc](ctx, s.verifications, "verification", mongo.ErrNoDocuments, bson.E{Key: "_id", Value: of})
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil //nolint:nilnil // as seal.Verifications has it
	}
	if err != nil {
		return nil, err
	}
	v := &seal.Verification{At: d.At.UTC(), FullAt: d.FullAt, Fault: (*seal.Fault)(d.Fault), Log: d.Log, Size: d.Size, Edge: d.Edge, Checkpoint: d.Checkpoint}
	if v.FullAt != nil {
		*v.FullAt = v.FullAt.UTC()
	}
	if v.Fault != nil {
		v.Fault.FoundAt = v.Fault.FoundAt.UTC()
	}
	return v, nil
}

// PutVerification implements seal.Verifications.
func (s *AuditStore) PutVerification(ctx context.Context, v *seal.Verification) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	d := verificationDoc{of, of, v.At, v.FullAt, (*faultDoc)(v.Fault), v.Log, v.Size, v.Edge, v.Checkpoint}
	_, err = s.verifications.ReplaceOne(ctx, bson.D{{Key: "_id", Value: of}, {Key: "tenant", Value: of}}, d, options.Replace().SetUpsert(true))
	if err != nil {
		return fmt.Errorf("put verification: %w", translate(err))
	}
	return nil
}
