// Package trail shows a tenant its audit log: who did what to whose data, with
// the proof that nothing of it was changed; and shows a person who saw theirs.
package trail

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/vogter/vogter/internal/archive"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such audit entry")
	ErrFilter   = errs.New(errs.Invalid, "filter by one of actor, action, object, subject and outcome at a time, with from and to as you like").At("filter")
	ErrRange    = errs.New(errs.Invalid, "from must lie before to").At("from")
	// ErrUncovered: nothing vouches for the entry yet.
	ErrUncovered    = errs.New(errs.Precondition, "no published checkpoint speaks for it yet: ask again in a minute").Under("audit.covered")
	ErrNoCheckpoint = errs.New(errs.NotFound, "your log has no entry under a checkpoint of that number or before")
	ErrLogs         = errs.New(errs.Precondition, "the log was begun anew between the two checkpoints, after a restore").Under("audit.log")
	ErrNoSubject    = errs.New(errs.Forbidden, "only a person can ask who saw their data")
)

// Entry is an entry of the log as it is shown.
type Entry struct {
	ID        string
	Seq       *int64 // place in the tenant's order, once it is sealed
	At        time.Time
	Actor     Actor
	Action    string
	Object    *string
	Subjects  []*Subject
	Purpose   *string
	Outcome   audit.Outcome
	Policy    *string
	RequestID *string
	Network   *string
	Fields    []string

	row audit.Row
}

// Actor is who acted.
type Actor struct {
	Kind       string
	ID         string
	Credential *string
	OnBehalfOf *string
	Role       *authz.Role
}

// Subject is a person an entry is about.
type Subject struct {
	ID         string
	Commitment string         // SHA-256, hexadecimal
	State      personal.State // of the details; WITHHELD in lists
	Details    []*Detail      // when CLEAR
}

// Detail is what was done to one object of a person.
type Detail struct {
	Object  string
	Version *int64
	Fields  []string
	Secret  bool // by AML law
}

// NewEntry returns a stored entry as it is shown, without details.
func NewEntry(row audit.Row, seq *int64) *Entry {
	e := &Entry{
		ID: row.ID, Seq: seq, At: row.At, Action: row.Action, Object: optional(row.Object), Purpose: optional(row.Purpose),
		Outcome: row.Outcome, Policy: optional(row.Policy), RequestID: optional(row.RequestID), Network: optional(row.Network),
		Fields: row.Fields, row: row,
		Actor: Actor{Kind: row.Actor.Kind, ID: row.Actor.ID, Credential: optional(row.Actor.Credential), OnBehalfOf: optional(row.Actor.OnBehalfOf)},
	}
	if row.Actor.Role != "" {
		role := authz.Role(row.Actor.Role)
		e.Actor.Role = &role
	}
	for _, s := range row.Subjects {
		e.Subjects = append(e.Subjects, &Subject{ID: s.ID, Commitment: hex.EncodeToString(s.Commitment[:]), State: personal.Withheld})
	}
	return e
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Filter chooses entries: by at most one of actor, action, object, subject and
// outcome, and by time.
type Filter struct {
	Actor   *string
	Action  *string
	Object  *string
	Subject *string
	Outcome *audit.Outcome
	From    *time.Time // inclusive
	To      *time.Time // exclusive
}

// By returns the one thing that is filtered by beside the time: the name of a
// field of Filter in lower case, "" for none.
func (f *Filter) By() (field, value string, err error) {
	var outcome *string
	if f.Outcome != nil {
		outcome = (*string)(f.Outcome)
	}
	for _, by := range []struct {
		name  string
		value *string
	}{{"actor", f.Actor}, {"action", f.Action}, {"object", f.Object}, {"subject", f.Subject}, {"outcome", outcome}} {
		if by.value == nil {
			continue
		}
		if field != "" {
			return "", "", ErrFilter
		}
		field, value = by.name, *by.value
	}
	if f.From != nil && f.To != nil && !f.From.Before(*f.To) {
		return "", "", ErrRange
	}
	return field, value, nil
}

// Store keeps the log. Its methods are for the tenant in ctx.
type Store interface {
	// Page returns up to limit entries after a position, the newest first.
	Page(ctx context.Context, f *Filter, after *page.Position, limit int) ([]*Entry, error)
	// Entry fails with ErrNotFound.
	Entry(ctx context.Context, id string) (*Entry, error)
	Tiles(ctx context.Context, log int64, ids []proof.TileID) ([]proof.Tile, error)
	Sealed(ctx context.Context, first, end int64, visit func(*seal.Sealed) error) error
	// Checkpoint is for the provider in ctx; nil for none.
	Checkpoint(ctx context.Context, number int64) (*seal.Record, error)
	// Covering returns the newest state of the log that has the entry of that
	// seq; nil for none.
	Covering(ctx context.Context, seq int64) (*seal.At, error)
	// StateBy returns the log's newest state under a checkpoint of that number or
	// before, of the newest log; nil for none.
	StateBy(ctx context.Context, number int64) (*seal.At, error)
	// StateBefore is StateBy for a time.
	StateBefore(ctx context.Context, at time.Time) (*seal.At, error)
	// States returns states under checkpoints after number, in order of
	// checkpoint and log.
	States(ctx context.Context, number int64, limit int) ([]seal.At, error)

	// Verification returns nil without an error when there is none.
	Verification(ctx context.Context) (*seal.Verification, error)

	ExportStore
}

// Authorizer decides.
type Authorizer interface {
	Can(ctx context.Context, do authz.Permission) authz.Decision
}

// Recorder records reads.
type Recorder interface {
	Read(ctx context.Context, action, object string, touches ...audit.Touch) error
}

// Publisher publishes checkpoints.
type Publisher interface {
	Publish(ctx context.Context) (*seal.Record, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store      Store
	Vault      archive.Vault
	Keys       archive.Keys
	Objects    archive.Objects
	Authorizer Authorizer
	Recorder   Recorder
	Publisher  Publisher
	Provider   sign.Provider
	Signer     pack.Signer
	Jobs       archive.Jobs
	Changes    *change.Runner
	Log        *slog.Logger
	Now        func() time.Time
}

// Service shows the log.
type Service struct {
	Config

	archives archive.Keeper
}

// NewService returns a Service.
func NewService(c Config) *Service {
	return &Service{c, archive.Keeper{
		Objects: c.Objects, Vault: c.Vault, Keys: c.Keys, Jobs: c.Jobs, Now: c.Now, Collection: Collection, Field: "bundle",
	}}
}

type (
	// Connection is a page of entries.
	Connection = page.Connection[*Entry]
	// Edge is an entry on a page.
	Edge = page.Edge[*Entry]
)

// position is where an entry lies in every list.
func position(e *Entry) page.Position { return page.Position{CreatedAt: e.At, ID: e.ID} }

// list tells the lists of different filters apart.
func list(field, value string) page.List {
	return page.List{Of: id.Audit, Scope: field + ":" + value}
}

// Page returns a page of the tenant's log, the newest entries first. That it was
// read is itself an entry.
func (s *Service) Page(ctx context.Context, f *Filter, r page.Request) (*Connection, error) {
	if f == nil {
		f = &Filter{}
	}
	field, value, err := f.By()
	if err != nil {
		return nil, err
	}
	of := list(field, value)
	after, err := of.After(ctx, r)
	if err != nil {
		return nil, err
	}
	read, err := s.Store.Page(ctx, f, after, r.First+1)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	object := ""
	if field == "object" || field == "subject" || field == "actor" {
		object = value
	}
	if err := s.Recorder.Read(ctx, "audit.read", object); err != nil {
		return nil, err
	}
	return page.Of(of, r, read, position), nil
}

// Get returns an entry, with its details on those persons whom the caller may
// read and whose evidence is not erased. The details prove the commitments.
func (s *Service) Get(ctx context.Context, entryID string) (*Entry, error) {
	e, err := s.find(ctx, entryID)
	if err != nil {
		return nil, err
	}
	var touches []audit.Touch
	if s.Authorizer.Can(ctx, authz.SubjectRead).Allowed {
		if err := s.open(ctx, e); err != nil {
			return nil, err
		}
		for _, subject := range e.Subjects {
			if subject.State == personal.Clear {
				touches = append(touches, audit.Touch{Subject: subject.ID, Object: e.ID})
			}
		}
	}
	if err := s.Recorder.Read(ctx, "audit.read", e.ID, touches...); err != nil {
		return nil, err
	}
	return e, nil
}

func (s *Service) find(ctx context.Context, entryID string) (*Entry, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Audit, of, entryID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Entry(ctx, entryID)
}

// open opens the details of an entry as far as their keys are there.
func (s *Service) open(ctx context.Context, e *Entry) error {
	owners := make([]vault.Owner, len(e.Subjects))
	for i, subject := range e.Subjects {
		owners[i] = audit.Evidence(e.row.Tenant, subject.ID)
	}
	keys, err := s.Vault.Load(ctx, owners...)
	if err != nil {
		return fmt.Errorf("load evidence keys: %w", err)
	}
	for i, subject := range e.Subjects {
		switch raw, err := e.row.Details(keys, i); {
		case err == nil:
			if subject.Details, err = details(raw); err != nil {
				return err
			}
			subject.State = personal.Clear
		case errors.Is(err, vault.ErrErased):
			subject.State = personal.Erased
		default:
			s.Log.ErrorContext(ctx, "audit details don't open", "entry", e.ID, "subject", subject.ID, "err", err)
		}
	}
	return nil
}

// details reads the details as they were sealed.
func details(raw []byte) ([]*Detail, error) {
	var touches []audit.Touch
	if err := json.Unmarshal(raw, &touches); err != nil {
		return nil, errors.New("read audit details: malformed") // the cause may quote them
	}
	out := make([]*Detail, len(touches))
	for i, t := range touches {
		out[i] = &Detail{Object: t.Object, Fields: t.Fields, Secret: t.Secret}
		if t.Version > 0 {
			out[i].Version = &t.Version
		}
	}
	return out, nil
}

// Proof is an entry's proof. Document has all of it, for `vogter verify`.
type Proof struct {
	Seq        int64
	Checkpoint *State
	Document   string
}

// State is where the tenant's log stood at a checkpoint.
type State struct {
	Number int64
	At     time.Time
	Log    int64
	Base   int64
	Size   int64
	Root   string // hexadecimal
	Note   string // the signed checkpoint
}

// covered returns a state with its checkpoint, if that is published.
func (s *Service) covered(ctx context.Context, at *seal.At) (*State, *proof.Covered, error) {
	provider, err := s.Provider.ProviderID(tenant.System(ctx, "read checkpoint"))
	if err != nil {
		return nil, nil, fmt.Errorf("find provider: %w", err)
	}
	record, err := s.Store.Checkpoint(tenant.NewContext(ctx, provider), at.Number)
	if err != nil {
		return nil, nil, err
	}
	if record == nil || !record.Published {
		return nil, nil, ErrUncovered
	}
	return &State{
		Number: at.Number, At: at.Time, Log: at.Log, Base: at.Base, Size: at.Size, Root: hex.EncodeToString(at.Root), Note: string(record.Note),
	}, &proof.Covered{Line: at.Line(), Note: string(record.Note), Index: at.Index, Path: at.Path}, nil
}

func (s *Service) tiles(log int64) proof.Tiles {
	return func(ctx context.Context, ids []proof.TileID) ([]proof.Tile, error) {
		return s.Store.Tiles(ctx, log, ids)
	}
}

// Proof proves that an entry is in the log that the latest checkpoint with a
// word on it speaks for.
func (s *Service) Proof(ctx context.Context, entryID string) (*Proof, error) {
	e, err := s.find(ctx, entryID)
	if err != nil {
		return nil, err
	}
	if e.Seq == nil {
		return nil, ErrUncovered
	}
	at, err := s.Store.Covering(ctx, *e.Seq)
	if err != nil {
		return nil, fmt.Errorf("find checkpoint of entry: %w", err)
	}
	if at == nil {
		return nil, ErrUncovered
	}
	state, covered, err := s.covered(ctx, at)
	if err != nil {
		return nil, err
	}
	path, err := proof.Inclusion(ctx, s.tiles(at.Log), *e.Seq-at.Base, at.Size)
	if err != nil {
		return nil, fmt.Errorf("prove entry: %w", err)
	}
	document, err := json.Marshal(proof.Entry{Kind: proof.ProofKind, Leaf: e.row.Leaf(), Seq: *e.Seq, Path: path, Covered: *covered})
	if err != nil {
		return nil, fmt.Errorf("encode proof: %w", err)
	}
	if err := s.Recorder.Read(ctx, "audit.prove", e.ID); err != nil {
		return nil, err
	}
	return &Proof{Seq: *e.Seq, Checkpoint: state, Document: string(document)}, nil
}

// Verification returns what the platform's own checks of the tenant's log came
// to; nil before the first.
func (s *Service) Verification(ctx context.Context) (*seal.Verification, error) {
	return s.Store.Verification(ctx)
}

// Consistency shows that the log under one checkpoint is the beginning of the
// log under a later one.
type Consistency struct {
	From *State
	To   *State
	Path []string // hexadecimal hashes, as RFC 6962 has them
}

// Consistency proves that nothing of the tenant's log was changed between two
// checkpoints.
func (s *Service) Consistency(ctx context.Context, from, to int64) (*Consistency, error) {
	var at [2]*seal.At
	var states [2]*State
	for i, number := range []int64{from, to} {
		var err error
		if at[i], err = s.Store.StateBy(ctx, number); err != nil {
			return nil, fmt.Errorf("find checkpoint: %w", err)
		}
		if at[i] == nil {
			return nil, ErrNoCheckpoint
		}
		if states[i], _, err = s.covered(ctx, at[i]); err != nil {
			return nil, err
		}
	}
	switch {
	case from > to:
		return nil, ErrRange
	case at[0].Log != at[1].Log:
		return nil, ErrLogs
	}
	path, err := proof.Consistency(ctx, s.tiles(at[0].Log), at[0].Size, at[1].Size)
	if err != nil {
		return nil, fmt.Errorf("prove consistency: %w", err)
	}
	c := &Consistency{From: states[0], To: states[1], Path: make([]string, len(path))}
	for i, hash := range path {
		c.Path[i] = hex.EncodeToString(hash)
	}
	return c, nil
}

// SealAuditInput may name an entry that has to be under the checkpoint.
type SealAuditInput struct {
	Entry *string
}

// Publish seals what there is and publishes a checkpoint, for a caller who can't
// wait for the next one; it returns where the tenant's log stands then.
func (s *Service) Publish(ctx context.Context, in SealAuditInput) (*State, error) {
	record, err := s.Publisher.Publish(ctx)
	if err != nil {
		return nil, fmt.Errorf("publish checkpoint: %w", err)
	}
	if record == nil {
		return nil, ErrNoCheckpoint
	}
	at, err := s.Store.StateBy(ctx, record.Number)
	if err != nil || at == nil {
		return nil, errors.Join(err, ErrNoCheckpoint)
	}
	state, _, err := s.covered(ctx, at)
	if err != nil || in.Entry == nil {
		return state, err
	}
	e, err := s.find(ctx, *in.Entry)
	if err != nil {
		return nil, err
	}
	if e.Seq == nil || *e.Seq >= at.Base+at.Size {
		return nil, ErrUncovered
	}
	return state, nil
}
