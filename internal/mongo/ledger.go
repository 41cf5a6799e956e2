package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/ledger"
)

var _ ledger.Store = (*LedgerStore)(nil)

// LedgerStore keeps how much of the ledger the database knows. It belongs to no tenant.
type LedgerStore struct{ coll *mongo.Collection }

// NewLedgerStore returns the store in d.
func NewLedgerStore(d *DB) *LedgerStore { return &LedgerStore{d.db.Collection(ledgerColl)} }

const ledgerPosition = "position"

type ledgerDoc struct {
	ID       string `bson:"_id"`
	Database string `bson:"database"`
	Number   int64  `bson:"number"`
	Hash     string `bson:"hash"`
}

// Position implements ledger.Store.
func (s *LedgerStore) Position(ctx context.Context, first ledger.Position) (ledger.Position, error) {
	doc, found, err := findKey[ledgerDoc](ctx, s.coll, ledgerPosition)
	if err == nil && !found && first.Database != "" {
		doc, err = insertIfAbsent(ctx, s.coll, ledgerPosition, ledgerDoc{ledgerPosition, first.Database, first.Number, first.Hash})
	}
	if err != nil {
		return ledger.Position{}, fmt.Errorf("find position in ledger: %w", translate(err))
	}
	return ledger.Position{Database: doc.Database, Number: doc.Number, Hash: doc.Hash}, nil
}

// Advance implements ledger.Store.
func (s *LedgerStore) Advance(ctx context.Context, p ledger.Position) error {
	_, err := s.coll.UpdateOne(outside(ctx),
		bson.D{{Key: "_id", Value: ledgerPosition}, {Key: "number", Value: bson.D{{Key: "$lt", Value: p.Number}}}},
		set(bson.E{Key: "number", Value: p.Number}, bson.E{Key: "hash", Value: p.Hash}))
	if err != nil {
		return fmt.Errorf("advance in ledger: %w", translate(err))
	}
	return nil
}
