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

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ disclosure.Store = (*DisclosureStore)(nil)

// DisclosureStore keeps the log of disclosures.
type DisclosureStore struct {
	coll, subjects *mongo.Collection
	vault          *vault.Vault
	log            *slog.Logger
}

// NewDisclosureStore returns the store of disclosures in d.
func NewDisclosureStore(d *DB, v *vault.Vault, log *slog.Logger) *DisclosureStore {
	return &DisclosureStore{d.db.Collection(disclosuresColl), d.db.Collection(subjectsColl), v, log}
}

type disclosureDoc struct {
	ID         string          `bson:"_id"`
	Tenant     tenant.ID       `bson:"tenant"`
	Subject    string          `bson:"subject"`
	Recipient  string          `bson:"recipient"`
	Datasets   []string        `bson:"datasets,omitempty"`
	Categories []string        `bson:"categories,omitempty"`
	LegalBasis string          `bson:"legalBasis"`
	Purpose    string          `bson:"purpose"`
	Secrecy    dataset.Secrecy `bson:"secrecy"`
	At         time.Time       `bson:"at"`
	Reference  sealed          `bson:"reference,omitempty"`
	RecordedBy string          `bson:"recordedBy"`
	CreatedAt  time.Time       `bson:"createdAt"`
	Batch      string          `bson:"batch"`
	Place      int             `bson:"place"` // in the batch

	Corrects    *string `bson:"corrects,omitempty"`
	CorrectedBy *string `bson:"correctedBy,omitempty"`
	Void        bool    `bson:"void,omitempty"`
	Reason      sealed  `bson:"reason,omitempty"`
	Over        bool    `bson:"over,omitempty"` // it was corrected, or says that nothing was disclosed
}

// counts matches what holds: it wasn't corrected, and isn't void.
func counts() bson.E { return bson.E{Key: "over", Value: bson.D{{Key: "$ne", Value: true}}} }

func disclosureSealer(keys *vault.Keys, of tenant.ID, subjectID, disclosureID string) *sealer {
	return &sealer{keys: keys, owner: audit.Evidence(of, subjectID), place: vault.Place{Collection: disclosuresColl, Record: disclosureID}}
}

// disclosure returns d without its reference.
func (d *disclosureDoc) disclosure() *disclosure.Disclosure {
	return &disclosure.Disclosure{
		ID: d.ID, SubjectID: d.Subject, Recipient: d.Recipient, Datasets: d.Datasets, Categories: d.Categories, LegalBasis: d.LegalBasis,
		Purpose: d.Purpose, Secrecy: d.Secrecy, At: d.At, ReferenceState: personal.Clear, RecordedBy: d.RecordedBy, CreatedAt: d.CreatedAt,
		Batch: d.Batch, Corrects: d.Corrects, CorrectedBy: d.CorrectedBy, Void: d.Void,
	}
}

func (s *DisclosureStore) open(ctx context.Context, docs []disclosureDoc) ([]*disclosure.Disclosure, error) {
	owners := make([]vault.Owner, len(docs))
	for i, d := range docs {
		owners[i] = audit.Evidence(d.Tenant, d.Subject)
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	list := make([]*disclosure.Disclosure, len(docs))
	for i := range docs {
		d := &docs[i]
		list[i] = d.disclosure()
		open := disclosureSealer(keys, d.Tenant, d.Subject, d.ID)
		list[i].Reference, list[i].Reason = open.openText("reference", d.Reference), open.openText("reason", d.Reason)
		state, is := unreadable(open.err)
		switch {
		case is:
			list[i].Reference, list[i].Reason, list[i].ReferenceState = personal.Text{}, personal.Text{}, state
			if state == personal.Withheld {
				s.log.ErrorContext(ctx, "reference can't be opened", "disclosure", d.ID, "err", open.err)
			}
		case open.err != nil:
			return nil, fmt.Errorf("open disclosure %s: %w", d.ID, open.err)
		}
	}
	return list, nil
}

// State implements disclosure.Store.
func (s *DisclosureStore) State(ctx context.Context, subjectID string) (subject.State, error) {
	d, err := one[subjectDoc](ctx, s.subjects, "subject", subject.ErrNotFound, bson.E{Key: "_id", Value: subjectID})
	return d.State, err
}

// Get implements disclosure.Store.
func (s *DisclosureStore) Get(ctx context.Context, disclosureID string) (*disclosure.Disclosure, error) {
	d, err := one[disclosureDoc](ctx, s.coll, "disclosure", disclosure.ErrNotFound, bson.E{Key: "_id", Value: disclosureID})
	if err != nil {
		return nil, err
	}
	opened, err := s.open(ctx, []disclosureDoc{d})
	if err != nil {
		return nil, err
	}
	return opened[0], nil
}

// List implements disclosure.Store.
func (s *DisclosureStore) List(
	ctx context.Context, subjectID string, secrecy dataset.Secrecy, after *page.Position, limit int,
) ([]*disclosure.Disclosure, error) {
	equal := bson.D{{Key: "subject", Value: subjectID}}
	if secrecy != "" {
		equal = append(equal, bson.E{Key: "secrecy", Value: secrecy})
	}
	docs, err := keyset[disclosureDoc](ctx, s.coll, equal, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list disclosures: %w", err)
	}
	return s.open(ctx, docs)
}

// Batch implements disclosure.Store.
func (s *DisclosureStore) Batch(ctx context.Context, batch string) ([]*disclosure.Disclosure, error) {
	filter, err := scoped(ctx, bson.E{Key: "batch", Value: batch})
	if err != nil {
		return nil, err
	}
	docs, err := all[disclosureDoc](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find disclosures of a call: %w", err)
	}
	slices.SortFunc(docs, func(a, b disclosureDoc) int { return a.Place - b.Place })
	return s.open(ctx, docs)
}

// Recipients implements disclosure.Store. It goes from one recipient to the next in
// the index, however many disclosures there are to each.
func (s *DisclosureStore) Recipients(ctx context.Context, subjectID, after string, limit int) ([]string, error) {
	ids := []string{}
	for len(ids) < limit {
		filter, err := scoped(ctx, bson.E{Key: "subject", Value: subjectID}, bson.E{Key: "secrecy", Value: dataset.NoSecrecy},
			bson.E{Key: "recipient", Value: bson.D{{Key: "$gt", Value: after}}}, counts())
		if err != nil {
			return nil, err
		}
		docs, err := all[disclosureDoc](ctx, s.coll, filter, options.Find().SetLimit(1).
			SetSort(bson.D{{Key: "recipient", Value: 1}, {Key: "at", Value: -1}}).SetProjection(bson.D{{Key: "recipient", Value: 1}}))
		if err != nil {
			return nil, fmt.Errorf("find recipients: %w", err)
		}
		if len(docs) == 0 {
			break
		}
		after = docs[0].Recipient
		ids = append(ids, after)
	}
	return ids, nil
}

// To implements disclosure.Store.
func (s *DisclosureStore) To(ctx context.Context, subjectID, recipient string, limit int) ([]*disclosure.Disclosure, error) {
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: subjectID}, bson.E{Key: "secrecy", Value: dataset.NoSecrecy},
		bson.E{Key: "recipient", Value: recipient}, counts())
	if err != nil {
		return nil, err
	}
	docs, err := all[disclosureDoc](ctx, s.coll, filter, options.Find().SetSort(bson.D{{Key: "at", Value: -1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find disclosures to a recipient: %w", err)
	}
	list := make([]*disclosure.Disclosure, len(docs))
	for i := range docs {
		list[i] = docs[i].disclosure()
	}
	return list, nil
}

// Corrected implements disclosure.Store.
func (s *DisclosureStore) Corrected(ctx context.Context, disclosureID, by string) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: disclosureID}, counts())
	if err != nil {
		return err
	}
	res, err := s.coll.UpdateOne(ctx, filter, set(bson.E{Key: "correctedBy", Value: by}, bson.E{Key: "over", Value: true}))
	if err != nil {
		return fmt.Errorf("correct disclosure %s: %w", disclosureID, translate(err))
	}
	if res.MatchedCount == 0 {
		return disclosure.ErrCorrected
	}
	return note(ctx, s.coll, disclosureID)
}

// Insert implements disclosure.Store.
func (s *DisclosureStore) Insert(ctx context.Context, ds []*disclosure.Disclosure) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	owners := make([]vault.Owner, len(ds))
	for i, d := range ds {
		owners[i] = audit.Evidence(of, d.SubjectID)
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return err
	}
	docs, ids := make([]disclosureDoc, len(ds)), make([]string, len(ds))
	for i, d := range ds {
		ids[i] = d.ID
		seal := disclosureSealer(keys, of, d.SubjectID, d.ID)
		docs[i] = disclosureDoc{
			ID: d.ID, Tenant: of, Subject: d.SubjectID, Recipient: d.Recipient, Datasets: d.Datasets, Categories: d.Categories,
			LegalBasis: d.LegalBasis, Purpose: d.Purpose, Secrecy: d.Secrecy, At: d.At, Reference: seal.text("reference", d.Reference),
			RecordedBy: d.RecordedBy, CreatedAt: d.CreatedAt, Batch: d.Batch, Place: i, Corrects: d.Corrects, Void: d.Void,
			Reason: seal.text("reason", d.Reason), Over: d.Void,
		}
		if seal.err != nil {
			return fmt.Errorf("seal disclosure: %w", seal.err)
		}
	}
	if _, err := s.coll.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert disclosures: %w", translate(err))
	}
	return note(ctx, s.coll, ids...)
}

// disclosureEraser destroys the log of disclosures with the proof that it is part
// of: it outlives the person's other data, for Art. 19.
type disclosureEraser struct {
	changes *change.Runner
	coll    *mongo.Collection
}

// Name implements erasure.Eraser.
func (*disclosureEraser) Name() string { return "disclosures" }

// Erase implements erasure.Eraser.
func (e *disclosureEraser) Erase(ctx context.Context, t erasure.Target) error {
	if !slices.Contains(t.Units, vault.Evidence) {
		return nil
	}
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: t.Subject})
	if err != nil {
		return err
	}
	return eraseIn(ctx, e.changes, e.coll, filter, nil, "erasure.disclosures", t.Subject)
}

// Left implements erasure.Eraser.
func (e *disclosureEraser) Left(ctx context.Context, t erasure.Target) (int, error) {
	if !slices.Contains(t.Units, vault.Evidence) {
		return 0, nil
	}
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: t.Subject})
	if err != nil {
		return 0, err
	}
	return count(ctx, e.coll, filter, eraseBatch)
}
