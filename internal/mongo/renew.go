package mongo

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// RenewalConfig is what a LookupRenewal needs. All but Transaction is required.
type RenewalConfig struct {
	DB       *DB
	Keys     *KeyStore
	Vault    *vault.Vault
	Subjects *SubjectStore
	Records  *RecordStore
	// RecordKeys returns the lookups that a record is to have.
	RecordKeys func(ctx context.Context, r *record.Record) ([]lookup.Key, error)
	Log        *slog.Logger
	Now        func() time.Time

	Transaction time.Duration // the longest life of a transaction; 60 s when 0
}

// LookupRenewal makes tenants' lookups anew with the index keys of another epoch,
// and destroys the old keys: so a copy of old lookups confirms no guess. It
// is also the road of a changed normaliser, within an epoch (see Rebuild).
//
// For each tenant: writes go to both epochs; when all transactions of before
// have ended, the lookups of what is there are made; searches, and soon all
// writes, go by the new ones only; when those of before have ended, the old
// lookups and their key are destroyed. A lookup is unique at every moment, for any
// two writers have an epoch in common.
type LookupRenewal struct {
	RenewalConfig

	lookups *lookups
}

// NewLookupRenewal returns a LookupRenewal.
func NewLookupRenewal(c RenewalConfig) *LookupRenewal {
	if c.Transaction == 0 {
		c.Transaction = time.Minute
	}
	return &LookupRenewal{c, newLookups(c.DB, c.Vault)}
}

// Renew carries the renewal of every tenant on as far as it goes now, and returns
// whether all have index keys of the epoch only. It needs a system context.
func (r *LookupRenewal) Renew(ctx context.Context, to vault.Epoch) (done bool, err error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return false, err
	}
	done = true
	for after := tenant.ID(""); ; {
		docs, err := all[lookupKeyDoc](ctx, r.lookups.keys, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}},
			options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(copyBatch))
		if err != nil {
			return false, fmt.Errorf("find index epochs: %w", err)
		}
		for i := range docs {
			of := docs[i].Tenant
			work := authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "lookups", Tenant: of})
			one, err := r.renew(work, &docs[i], to)
			if err != nil {
				return false, fmt.Errorf("renew lookups of %s: %w", of, err)
			}
			done, after = done && one, of
		}
		if len(docs) < copyBatch {
			return done, nil
		}
	}
}

// renew carries a tenant's renewal on.
func (r *LookupRenewal) renew(ctx context.Context, doc *lookupKeyDoc, to vault.Epoch) (done bool, err error) {
	settled := !r.Now().Before(doc.Since.Add(2 * r.Transaction))
	switch {
	case doc.Old != nil && settled:
		if err := r.remove(ctx, doc); err != nil {
			return false, err
		}
		return doc.Read.MadeIn() >= to, nil
	case doc.Old != nil:
		return false, nil
	case doc.Next != nil && settled:
		if err := r.build(ctx, doc); err != nil {
			return false, err
		}
		return false, r.save(ctx, doc, lookupKeyDoc{Read: *doc.Next, Old: &doc.Read})
	case doc.Next != nil:
		return false, nil
	case doc.Rebuild:
		x, err := r.Vault.NextIndex(ctx, doc.Tenant, doc.Read)
		if err != nil {
			return false, err
		}
		next := x.Epoch()
		return false, r.save(ctx, doc, lookupKeyDoc{Read: doc.Read, Next: &next})
	case doc.Read.MadeIn() >= to:
		return true, nil
	}
	x, err := r.Vault.Index(ctx, doc.Tenant)
	if err != nil || x.Epoch() != to {
		return false, err // the epoch has just changed again
	}
	return false, r.save(ctx, doc, lookupKeyDoc{Read: doc.Read, Next: &to})
}

// Rebuild has the lookups of a tenant, or of all tenants, made anew with another
// index key, and returns of how many. Advance does it.
func (r *LookupRenewal) Rebuild(ctx context.Context, of *tenant.ID) (int, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return 0, err
	}
	filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: ""}}}}
	if of != nil {
		filter = bson.D{{Key: "_id", Value: *of}, {Key: "tenant", Value: *of}}
	}
	res, err := r.lookups.keys.UpdateMany(ctx, filter, set(bson.E{Key: "rebuild", Value: true}))
	if err != nil {
		return 0, fmt.Errorf("ask for lookups to be made anew: %w", translate(err))
	}
	return int(res.MatchedCount), nil
}

// Advance carries on what was begun, or asked for, of every tenant. It needs a
// system context.
func (r *LookupRenewal) Advance(ctx context.Context) error {
	_, err := r.Renew(ctx, 0)
	return err
}

// Pending counts the tenants whose lookups are being made anew, or are to be. It
// needs a system context.
func (r *LookupRenewal) Pending(ctx context.Context) (int, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return 0, err
	}
	there := func(field string) bson.D { return bson.D{{Key: field, Value: bson.D{{Key: "$exists", Value: true}}}} }
	return count(ctx, r.lookups.keys, bson.D{
		{Key: "_id", Value: bson.D{{Key: "$gt", Value: ""}}}, {Key: "$or", Value: bson.A{there("next"), there("old"), there("rebuild")}},
	}, pendingMax)
}

// pendingMax is up to where tenants are counted.
const pendingMax = 100_000

// save begins the next phase, unless another worker did.
func (r *LookupRenewal) save(ctx context.Context, was *lookupKeyDoc, next lookupKeyDoc) error {
	next.ID, next.Tenant, next.Since = was.ID, was.Tenant, r.Now().UTC().Truncate(time.Millisecond)
	begins := next.Next != nil
	next.Rebuild = was.Rebuild && !begins // asked for while it was under way, it is done again
	filter := bson.D{
		{Key: "_id", Value: was.ID},
		{Key: "tenant", Value: was.Tenant},
		{Key: "since", Value: was.Since},
		{Key: "rebuild", Value: bson.D{{Key: "$exists", Value: was.Rebuild}}},
	}
	if _, err := r.lookups.keys.ReplaceOne(ctx, filter, next); err != nil {
		return fmt.Errorf("save index epochs: %w", translate(err))
	}
	r.Log.InfoContext(ctx, "lookups are renewed", "tenant", string(was.Tenant), "read", int(next.Read), "building", next.Next != nil, "removing", next.Old != nil)
	return nil
}

// renewBatch is how many persons or records are worked on in a transaction.
const renewBatch = 100

// build makes the next lookups of every person and record there is.
func (r *LookupRenewal) build(ctx context.Context, doc *lookupKeyDoc) error {
	for {
		next, err := r.step(ctx, doc)
		if err != nil || next == "" {
			return err
		}
		doc.After = next
		_, err = r.lookups.keys.UpdateOne(ctx, bson.D{{Key: "_id", Value: doc.ID}, {Key: "tenant", Value: doc.Tenant}},
			set(bson.E{Key: "after", Value: next}))
		if err != nil {
			return fmt.Errorf("save progress of lookups: %w", translate(err))
		}
	}
}

// step makes those of some persons, or then records, and returns how far it came.
func (r *LookupRenewal) step(ctx context.Context, doc *lookupKeyDoc) (next string, err error) {
	records := id.Prefix(id.Record, doc.Tenant)
	inRecords := strings.HasPrefix(doc.After, records)
	err = r.DB.InTransaction(ctx, func(ctx context.Context) error {
		read, after := r.subjects, max(doc.After, id.Prefix(id.Subject, doc.Tenant))
		if inRecords {
			read, after = r.records, doc.After
		}
		owners, last, n, err := read(ctx, after)
		if err != nil {
			return err
		}
		switch next = last; {
		case n == renewBatch:
		case inRecords:
			next = ""
		default:
			next = records
		}
		return r.add(ctx, *doc.Next, owners)
	})
	return next, err
}

// pageOf reads some documents behind an id, and writes each: so this transaction
// and one that changes or deletes it exclude each other.
func pageOf[T any](ctx context.Context, c *mongo.Collection, after string, docID func(*T) string) ([]T, string, error) {
	last, _, _ := strings.Cut(after, "_")
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}, {Key: "$lt", Value: last + "`"}}}) // "`" follows "_"
	if err != nil {
		return nil, "", err
	}
	docs, err := all[T](ctx, c, filter, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(renewBatch))
	if err != nil || len(docs) == 0 {
		return nil, after, err
	}
	ids := make([]string, len(docs))
	for i := range docs {
		ids[i] = docID(&docs[i])
	}
	if filter, err = scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}); err != nil {
		return nil, "", err
	}
	_, err = c.UpdateMany(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "lookedUp", Value: 1}}}})
	return docs, ids[len(ids)-1], translate(err)
}

func (r *LookupRenewal) subjects(ctx context.Context, after string) ([]owned, string, int, error) {
	docs, next, err := pageOf(ctx, r.Subjects.coll, after, func(d *subjectDoc) string { return d.ID })
	if err != nil {
		return nil, "", 0, fmt.Errorf("read subjects: %w", err)
	}
	opened, err := r.Subjects.open(ctx, docs)
	if err != nil {
		return nil, "", 0, err
	}
	var owners []owned
	for _, s := range opened {
		if s.Identity != personal.Clear {
			continue
		}
		keys, err := s.LookupKeys()
		if err != nil {
			r.Log.ErrorContext(ctx, "lookups of a person can't be made anew", "subject", s.ID, "err", err)
		}
		owners = append(owners, owned{s.ID, keys})
	}
	return owners, next, len(docs), nil
}

func (r *LookupRenewal) records(ctx context.Context, after string) ([]owned, string, int, error) {
	docs, next, err := pageOf(ctx, r.Records.coll, after, func(d *recordDoc) string { return d.ID })
	if err != nil {
		return nil, "", 0, fmt.Errorf("read records: %w", err)
	}
	opened, err := r.Records.open(ctx, docs)
	if err != nil {
		return nil, "", 0, err
	}
	var owners []owned
	for _, rec := range opened {
		keys, err := r.RecordKeys(ctx, rec)
		if err != nil {
			r.Log.ErrorContext(ctx, "lookups of a record can't be made anew", "record", rec.ID, "err", err)
		}
		owners = append(owners, owned{rec.ID, keys})
	}
	return owners, next, len(docs), nil
}

// add stores the lookups of an epoch that aren't there yet.
func (r *LookupRenewal) add(ctx context.Context, e vault.Epoch, owners []owned) error {
	entries, err := r.lookups.entriesIn(ctx, []vault.Epoch{e}, owners...)
	if err != nil || len(entries) == 0 {
		return err
	}
	ids := make([]string, len(entries))
	for i, n := range entries {
		ids[i] = n.ID
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return err
	}
	have, err := all[lookupDoc](ctx, r.lookups.coll, filter)
	if err != nil {
		return fmt.Errorf("find lookups: %w", err)
	}
	there := make(map[string]bool, len(have))
	for _, h := range have {
		there[h.ID] = true
	}
	missing := entries[:0]
	for _, n := range entries {
		if !there[n.ID] {
			there[n.ID] = true
			missing = append(missing, n)
		}
	}
	return r.lookups.insert(ctx, missing)
}

// remove deletes the old lookups and destroys their key.
func (r *LookupRenewal) remove(ctx context.Context, doc *lookupKeyDoc) error {
	for {
		filter, err := scoped(ctx, bson.E{Key: "epoch", Value: *doc.Old})
		if err != nil {
			return err
		}
		docs, err := all[lookupDoc](ctx, r.lookups.coll, filter, options.Find().SetLimit(copyBatch).SetProjection(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			return fmt.Errorf("find old lookups: %w", err)
		}
		if len(docs) == 0 {
			break
		}
		ids := make([]string, len(docs))
		for i, d := range docs {
			ids[i] = d.ID
		}
		if filter, err = scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}); err != nil {
			return err
		}
		if _, err := r.lookups.coll.DeleteMany(ctx, filter); err != nil {
			return fmt.Errorf("delete old lookups: %w", translate(err))
		}
	}
	if err := r.Keys.DestroyIndexKey(ctx, doc.Tenant, *doc.Old); err != nil {
		return err
	}
	return r.save(ctx, doc, lookupKeyDoc{Read: doc.Read})
}
