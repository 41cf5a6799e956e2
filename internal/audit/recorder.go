package audit

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// ErrNotRecorded reports that the log could not be written, and so nothing was
// answered: a read without its entry would be a read nobody knows of.
var ErrNotRecorded = errs.New(errs.Unavailable, "the audit log can't be written just now; try again")

// Collection is the collection that sealed details are bound to.
const Collection = "audit"

// Vault is what the recorder needs of the vault.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Store keeps the rows. InsertAudit works within a transaction carried by ctx
// and without one; rows carry their tenants.
type Store interface {
	InsertAudit(ctx context.Context, rows ...Row) error
}

// Recorder makes entries and writes those that belong to no change.
type Recorder struct {
	store Store
	vault Vault
	now   func() time.Time

	queue chan pending
}

type pending struct {
	rows []Row
	done chan<- error
}

const (
	groupRows   = 512 // rows in one group commit
	groupQueued = 1024
	// rowTouches bounds an entry of a read, well below the largest document: one
	// that couldn't be stored would take its group, other callers' entries, with it.
	rowTouches = 2000
)

// NewRecorder returns a Recorder. Run must be called for it to write reads.
func NewRecorder(store Store, v Vault, now func() time.Time) *Recorder {
	return &Recorder{store: store, vault: v, now: now, queue: make(chan pending, groupQueued)}
}

// Evidence returns the owner of the key that seals details about a subject.
func Evidence(of tenant.ID, subject string) vault.Owner {
	return vault.Owner{Tenant: of, Subject: subject, Unit: vault.Evidence}
}

// Event is what a caller of the recorder says of an action; the recorder adds
// who, when, from where and why.
type Event struct {
	Action  string
	Object  string
	Outcome Outcome // OK when empty
	Fields  []string
	Touches []Touch
	// Contents are of objects that the touches don't tell of: of nobody, or gone.
	Contents []Content
}

// Row makes the row of an event at the given time, for the caller and tenant in
// ctx. The subjects' evidence keys are made if they aren't there yet: within a
// transaction they must have been made before it (Vault.Ensure).
func (r *Recorder) Row(ctx context.Context, at time.Time, ev Event) (Row, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return Row{}, err
	}
	p, req := authz.FromContext(ctx), RequestFrom(ctx)
	row := Row{Entry: Entry{
		ID: id.New(id.Audit, of), Tenant: of, At: at.UTC().Truncate(time.Millisecond),
		Actor:  Actor{Kind: string(p.Kind), ID: p.ID, Credential: p.Credential, OnBehalfOf: p.OnBehalfOf, Role: string(p.Role)},
		Action: ev.Action, Object: ev.Object, Purpose: req.Purpose, Outcome: ev.Outcome,
		Policy: authz.PolicyFrom(ctx), RequestID: req.ID, Network: req.Network, Fields: ev.Fields, Contents: ev.contents(),
	}}
	if row.Outcome == "" {
		row.Outcome = OK
	}
	if len(ev.Touches) == 0 {
		return row, nil
	}
	subjects, encoded, err := details(ev.Touches)
	if err != nil {
		return Row{}, fmt.Errorf("encode audit details: %w", err)
	}
	owners := make([]vault.Owner, len(subjects))
	for i, s := range subjects {
		owners[i] = Evidence(of, s)
	}
	keys, err := r.vault.Ensure(ctx, owners...)
	if err != nil {
		return Row{}, fmt.Errorf("load evidence keys: %w", err)
	}
	for i, s := range subjects {
		salt := make([]byte, saltSize)
		rand.Read(salt)
		place := vault.Place{Collection: Collection, Record: row.ID, Field: s}
		sealed, err := keys.Seal(owners[i], place, personal.Bytes(slices.Concat(salt, encoded[i])))
		if err != nil {
			return Row{}, fmt.Errorf("seal audit details: %w", err)
		}
		row.Subjects = append(row.Subjects, SubjectRef{ID: s, Commitment: Commit(salt, encoded[i])})
		row.Sealed = append(row.Sealed, sealed)
	}
	return row, nil
}

// Record writes the entry of an event that belongs to no change, and returns
// when it is durable.
func (r *Recorder) Record(ctx context.Context, ev Event) error {
	row, err := r.Row(ctx, r.now(), ev)
	if err != nil {
		return err
	}
	return r.commit(ctx, row)
}

// Read notes that personal data is about to be answered. In a request that
// collects its reads (see Collect) the entry is written by Flush; otherwise at
// once.
func (r *Recorder) Read(ctx context.Context, action, object string, touches ...Touch) error {
	ev := Event{Action: action, Object: object, Touches: touches}
	if c, ok := ctx.Value(readsKey{}).(*Reads); ok {
		c.add(ev)
		return nil
	}
	return r.Record(ctx, ev)
}

// Flush writes the reads that a request collected, one entry per action unless
// that would be too large, and returns when they are durable. Nothing may be
// answered before.
func (r *Recorder) Flush(ctx context.Context, c *Reads) error {
	events := c.take()
	if len(events) == 0 {
		return nil
	}
	at := r.now()
	rows := make([]Row, 0, len(events))
	for _, ev := range events {
		for rest := ev.Touches; ; {
			n := min(len(rest), rowTouches)
			ev.Touches, rest = rest[:n], rest[n:]
			row, err := r.Row(ctx, at, ev)
			if err != nil {
				return err
			}
			rows = append(rows, row)
			if len(rest) == 0 {
				break
			}
		}
	}
	return r.commit(ctx, rows...)
}

// commit hands rows to the group commit and waits for it.
func (r *Recorder) commit(ctx context.Context, rows ...Row) error {
	done := make(chan error, 1)
	select {
	case r.queue <- pending{rows, done}:
	case <-ctx.Done():
		return ErrNotRecorded.Because(ctx.Err())
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ErrNotRecorded.Because(ctx.Err())
	}
}

// Run writes what Record, Read and Flush hand over, many waiting callers in one
// commit, until ctx ends; then it writes what is left.
func (r *Recorder) Run(ctx context.Context) error {
	system := tenant.System(context.WithoutCancel(ctx), "audit group commit")
	for {
		select {
		case first := <-r.queue:
			r.writeGroup(system, first)
		case <-ctx.Done():
			for {
				select {
				case first := <-r.queue:
					r.writeGroup(system, first)
				default:
					return nil
				}
			}
		}
	}
}

const writeTimeout = 10 * time.Second

func (r *Recorder) writeGroup(ctx context.Context, first pending) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	group, rows := []pending{first}, slices.Clone(first.rows)
	for len(rows) < groupRows {
		select {
		case p := <-r.queue:
			group, rows = append(group, p), append(rows, p.rows...)
			continue
		default:
		}
		break
	}
	err := r.store.InsertAudit(ctx, rows...)
	if err != nil {
		err = ErrNotRecorded.Because(err)
	}
	for _, p := range group {
		p.done <- err
	}
}

// Reads collects the reads of one request.
type Reads struct {
	mu     sync.Mutex
	events []Event
}

type readsKey struct{}

// Collect returns ctx in which Read only notes, and what it notes. The caller
// must Flush before it answers.
func Collect(ctx context.Context) (context.Context, *Reads) {
	c := &Reads{}
	return context.WithValue(ctx, readsKey{}, c), c
}

// add merges the event with an earlier one of the same action: a page is one entry.
func (c *Reads) add(ev Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.events {
		if have := &c.events[i]; have.Action == ev.Action {
			have.Touches = append(have.Touches, ev.Touches...)
			if have.Object != ev.Object {
				have.Object = ""
			}
			return
		}
	}
	ev.Touches = slices.Clone(ev.Touches)
	c.events = append(c.events, ev)
}

func (c *Reads) take() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	events := c.events
	c.events = nil
	return events
}

// Len returns how many entries Flush would write.
func (c *Reads) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events)
}
