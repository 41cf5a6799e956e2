package consent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/tenant"
)

// JobCheck is the type of the job that carries out checks: its object is the id of
// one, or of the import whose checks they are.
const JobCheck = "consent:erasureCheck"

// Ground is why data may have to be erased when a consent has ended.
type Ground string

// The grounds.
const (
	ConsentWithdrawn  Ground = "CONSENT_WITHDRAWN"   // GDPR Art. 17(1)(b)
	NoLongerNecessary Ground = "NO_LONGER_NECESSARY" // Art. 17(1)(a)
	Unlawful          Ground = "UNLAWFUL"            // Art. 17(1)(d)
)

// CheckState is where a check stands.
type CheckState string

// The states of a check.
const (
	CheckPending CheckState = "PENDING"
	CheckDue     CheckState = "DUE"  // a decision about erasure is due
	CheckClear   CheckState = "NONE" // no data is left without a basis
)

// Check asks, when a consent has ended, which data has no basis any more. What it
// finds is for a decision under GDPR Art. 17: it erases nothing.
type Check struct {
	ID         string
	SubjectID  string
	ConsentID  string
	PurposeKey string
	Ended      State
	Ground     Ground
	State      CheckState
	Datasets   []string // ids, once it is DUE: they hold data on the person for this purpose, and no other that has a basis
	Batch      string   // the import that the consent's end came with
	CreatedAt  time.Time
	CheckedAt  *time.Time
}

// CheckConnection is a page of checks.
type CheckConnection = page.Connection[*Check]

// CheckEdge is a check on a page.
type CheckEdge = page.Edge[*Check]

// ErrNoCheck reports that there is no such check.
var ErrNoCheck = errs.New(errs.NotFound, "no such check")

// check returns the check that an event of t asks for, nil if it asks for none.
func (s *Service) check(t *Track, e *Event, batch string) *Check {
	ground := NoLongerNecessary
	switch {
	case !e.State.Over(), t.Standing.State.Valid(), e.Cause != nil && *e.Cause == Replaced:
		return nil
	case e.State == Withdrawn:
		ground = ConsentWithdrawn
	case e.State == Invalidated:
		ground = Unlawful
	}
	of, _ := id.TenantOf(e.ConsentID)
	return &Check{
		ID: id.New(id.ErasureCheck, of), SubjectID: e.SubjectID, ConsentID: e.ConsentID, PurposeKey: e.Purpose.Key, Ended: e.State,
		Ground: ground, State: CheckPending, Batch: batch, CreatedAt: e.CreatedAt,
	}
}

// RunCheck is the work of JobCheck.
func (s *Service) RunCheck(ctx context.Context, r *job.Run) error {
	if id.TypeOf(r.Object()) == id.ErasureCheck {
		c, err := s.Store.GetCheck(ctx, r.Object())
		if err != nil {
			return err
		}
		return s.carryOut(ctx, c)
	}
	for done := int64(0); ; {
		pending, err := s.Store.PendingChecks(ctx, r.Object(), batchSize)
		if err != nil {
			return err
		}
		for _, c := range pending {
			if err := s.carryOut(ctx, c); err != nil {
				return err
			}
			done++
			if err := r.Progress(ctx, done, 0, "consents"); err != nil {
				return err
			}
		}
		if len(pending) < batchSize {
			return nil
		}
	}
}

// carryOut finds what a check asks for. It can be repeated.
func (s *Service) carryOut(ctx context.Context, c *Check) error {
	if c.State != CheckPending {
		return nil
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if c.Ended == Withdrawn || c.Ended == Revoked {
		_, err := s.Ledger.Append(ctx, ledger.Entry{
			Kind: ledger.Withdrawal, Tenant: of, Object: c.ConsentID, Subject: c.SubjectID, State: string(c.Ended),
		})
		if err != nil {
			return fmt.Errorf("check %s: %w", c.ID, err)
		}
	}
	if c.Datasets, err = s.baseless(ctx, c); err != nil {
		return fmt.Errorf("check %s: %w", c.ID, err)
	}
	c.State = CheckClear
	if len(c.Datasets) > 0 {
		c.State = CheckDue
	}
	at := s.at()
	c.CheckedAt = &at
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		done := change.Change{Action: "consent.erasureCheck", Object: c.ID, Quiet: c.State == CheckClear}
		if c.State == CheckDue {
			// Another consent may have been given since it was looked.
			st, err := s.Store.Standing(ctx, Pair{c.SubjectID, c.PurposeKey})
			if err == nil && !st.Valid(s.Now()) {
				err = s.Store.Baseless(ctx, c.SubjectID, c.Datasets, c.CreatedAt)
			}
			if err != nil && errs.KindOf(err) != errs.Erased {
				return done, err
			}
		}
		return done, s.Store.SaveCheck(ctx, c)
	})
}

// restore takes back, when t gets a consent after another one has ended, that what
// the person has in datasets for the purpose has no basis.
func (s *Service) restore(ctx context.Context, t *Track) error {
	if !t.Standing.State.Valid() || !slices.ContainsFunc(t.Events, func(e *Event) bool { return e.State == Given }) {
		return nil
	}
	if c := t.governing(); c == nil || c.Supersedes == nil {
		return nil
	}
	all, err := s.Datasets.List(ctx)
	if err != nil {
		return err
	}
	var based []string
	for _, d := range all {
		if slices.Contains(d.Purposes, t.PurposeKey) {
			based = append(based, d.ID)
		}
	}
	return s.Store.Based(ctx, t.SubjectID, based)
}

// baseless returns the datasets that hold data on the person for the purpose, and
// for no other that has a basis. What is secret by AML law isn't told of, and rests
// on no consent.
func (s *Service) baseless(ctx context.Context, c *Check) ([]string, error) {
	all, err := s.Datasets.List(ctx)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, d := range all {
		if d.Secrecy != dataset.NoSecrecy || !slices.Contains(d.Purposes, c.PurposeKey) {
			continue
		}
		based, err := s.based(ctx, c.SubjectID, d.Purposes)
		if err != nil {
			return nil, err
		}
		if based {
			continue
		}
		n, err := s.Records.Count(ctx, record.Query{Subject: c.SubjectID, Dataset: d.ID}, 1)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			found = append(found, d.ID)
		}
	}
	return found, nil
}

// based reports whether one of purposes has a legal basis for data on a person. One
// that isn't registered, or retired, has none that is known.
func (s *Service) based(ctx context.Context, subjectID string, keys []string) (bool, error) {
	for _, key := range keys {
		p, err := s.Purposes.ByKey(ctx, key)
		switch {
		case errs.KindOf(err) == errs.NotFound, errs.KindOf(err) == errs.Precondition:
			continue
		case err != nil:
			return false, err
		case !p.ConsentBased():
			return true, nil
		}
		st, err := s.Store.Standing(ctx, Pair{subjectID, key})
		switch {
		case errs.KindOf(err) == errs.Erased:
			return true, nil // nothing is left to decide of
		case err != nil:
			return false, err
		case holds(st, p, s.Now()):
			return true, nil
		}
	}
	return false, nil
}

// holds reports whether a consent lets data be used for a purpose as it is now.
func holds(st *Standing, p *purpose.Purpose, now time.Time) bool {
	return st.Valid(now) && p.Covers(st.Purpose.Version)
}

// GetCheck returns a check, or ErrNoCheck.
func (s *Service) GetCheck(ctx context.Context, checkID string) (*Check, error) {
	if err := s.checkID(ctx, id.ErasureCheck, checkID, ErrNoCheck); err != nil {
		return nil, err
	}
	c, err := s.Store.GetCheck(ctx, checkID)
	if err != nil {
		return nil, err
	}
	return c, s.noteChecks(ctx, c)
}

// Checks returns a page of the tenant's checks in a state, the newest first.
func (s *Service) Checks(ctx context.Context, state CheckState, r page.Request) (*CheckConnection, error) {
	c, err := page.Read(ctx, page.List{Of: id.ErasureCheck, Scope: string(state)}, r,
		func(c *Check) page.Position { return page.Position{CreatedAt: c.CreatedAt, ID: c.ID} },
		func(ctx context.Context, after *page.Position, limit int) ([]*Check, error) {
			return s.Store.Checks(ctx, state, after, limit)
		})
	if err != nil {
		return nil, err
	}
	return c, s.noteChecks(ctx, c.Nodes()...)
}

// noteChecks notes that checks are read: they tell of persons.
func (s *Service) noteChecks(ctx context.Context, checks ...*Check) error {
	touches := make([]audit.Touch, len(checks))
	for i, c := range checks {
		touches[i] = audit.Touch{Subject: c.SubjectID, Object: c.ID}
	}
	return s.note(ctx, "consent.checks", touches)
}
