package erase

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Keeping decides what is kept, and until when.
type Keeping interface {
	// OfAll works within a transaction, too.
	OfAll(ctx context.Context, person string, requested bool, also []retention.Unit) ([]*retention.Decided, error)
	// Schedule works within a change's transaction.
	Schedule(ctx context.Context, person string, u retention.Unit, cause string) error
	// Spare works within the transaction of a change that erases the person.
	Spare(ctx context.Context, person string) ([]vault.Unit, error)
}

// Datasets knows the datasets, as far as the caller may.
type Datasets interface {
	Get(ctx context.Context, datasetID string) (*dataset.Dataset, error)
	Hidden(ctx context.Context) ([]string, error)
	List(ctx context.Context) ([]*dataset.Dataset, error)
}

// Recipients knows to whom data was disclosed that isn't secret.
type Recipients interface {
	// Recipients returns up to limit ids of parties after one, in their order.
	Recipients(ctx context.Context, subject, after string, limit int) ([]string, error)
}

// Parties knows the parties of the tenant in ctx.
type Parties interface {
	Party(ctx context.Context, partyID string) (*processing.Party, error)
}

// Erasures destroys.
type Erasures interface {
	BeginIn(ctx context.Context, p erasure.Plan) (*erasure.Shredding, []job.Spec, error)
	Shred(ctx context.Context, shreddingID string) error
}

// Config is what a Service needs.
type Config struct {
	Store      Store
	Keeping    Keeping
	Datasets   Datasets
	Recipients Recipients
	Parties    Parties
	Erasures   Erasures
	Changes    *change.Runner
	Recorder   *audit.Recorder
	Now        func() time.Time
	// Backups is for how long a backup is kept.
	Backups time.Duration
}

// Service previews and carries out erasures.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// recipientBatch is how many recipients are read at once.
const recipientBatch = 100

// Preview returns what erasing a person's data would come to now, as far as the
// caller may know of it, with the hash that an approval is of. It fails with
// subject.ErrNotFound.
func (s *Service) Preview(ctx context.Context, subject string) (*Plan, error) {
	counts, err := s.Store.Count(ctx, subject)
	if err != nil {
		return nil, err
	}
	p, err := s.plan(ctx, subject, slices.Sorted(maps.Keys(counts)))
	if err != nil {
		return nil, err
	}
	if p.Packages, err = s.Store.Packages(ctx, subject); err != nil {
		return nil, err
	}
	if p.Recipients, err = s.recipients(ctx, subject); err != nil {
		return nil, err
	}
	hidden, err := s.Datasets.Hidden(ctx)
	if err != nil {
		return nil, err
	}
	p.Parts = slices.DeleteFunc(p.Parts, func(part Part) bool { return slices.Contains(hidden, part.Unit) })
	for i := range p.Parts {
		p.Parts[i].Counts = counts[p.Parts[i].Unit]
		if err := s.describe(ctx, &p.Parts[i]); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(p.Parts, func(part Part) bool { return part.Now() }) {
		p.Irreversible = erasure.Steps()
	}
	return p, s.Recorder.Read(ctx, "erasure.preview", subject, audit.Touch{Subject: subject, Object: subject})
}

// describe tells what a part may hold, as far as the caller may know.
func (s *Service) describe(ctx context.Context, p *Part) error {
	if p.Unit == retention.Person {
		return nil
	}
	d, err := s.Datasets.Get(ctx, p.Unit)
	if err != nil {
		return fmt.Errorf("find dataset %s: %w", p.Unit, err)
	}
	for _, f := range d.Fields {
		p.Fields = append(p.Fields, Field{f.Key, f.DataClass, f.Term})
	}
	return nil
}

func (s *Service) recipients(ctx context.Context, subject string) (list []Recipient, err error) {
	for after := ""; ; {
		ids, err := s.Recipients.Recipients(ctx, subject, after, recipientBatch)
		if err != nil {
			return nil, err
		}
		for _, partyID := range ids {
			party, err := s.Parties.Party(ctx, partyID)
			if err != nil {
				return nil, err
			}
			list, after = append(list, Recipient{party.ID, party.LegalName, party.Country}), partyID
		}
		if len(ids) < recipientBatch {
			return list, nil
		}
	}
}

// platform returns a context that may know of everything.
func platform(ctx context.Context) (context.Context, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	return authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: "erase", Tenant: of}), nil
}

// plan decides on everything that a person has in some datasets, what is secret
// included, and doesn't tell how much that is. It works within a transaction, too.
func (s *Service) plan(ctx context.Context, subject string, units []retention.Unit) (*Plan, error) {
	ctx, err := platform(ctx)
	if err != nil {
		return nil, err
	}
	asked, err := s.Keeping.OfAll(ctx, subject, true, units)
	if err != nil {
		return nil, err
	}
	byRule, err := s.Keeping.OfAll(ctx, subject, false, units)
	if err != nil {
		return nil, err
	}
	now := s.Now().UTC()
	p := &Plan{Subject: subject, AsOf: now, BackupsUntil: now.Add(s.Backups)}
	for i, d := range asked {
		part := Part{Unit: d.Unit, Decision: d.Decision}
		if d.Unit != retention.Person {
			set, err := s.Datasets.Get(ctx, d.Unit)
			if err != nil {
				return nil, fmt.Errorf("find dataset %s: %w", d.Unit, err)
			}
			if part.Dataset = set.Name; set.Secrecy != dataset.NoSecrecy {
				part.secret, part.Decision = true, byRule[i].Decision
			}
		}
		p.Parts = append(p.Parts, part)
	}
	p.Hash, err = Digest(subject, p.Parts)
	return p, err
}
