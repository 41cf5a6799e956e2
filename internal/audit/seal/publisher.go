package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
)

// Sentinels of publishing.
var (
	// ErrExists reports a checkpoint that another process made at the same moment.
	ErrExists = errs.New(errs.Conflict, "another process is publishing a checkpoint: try again")
	// ErrForked reports an object storage that knows more than the database: the
	// database was rolled back, or restored and not told so (see Restart), or two
	// databases publish to one place.
	ErrForked = errs.New(errs.Internal, "the object storage holds a checkpoint that the database doesn't know: "+
		"it was rolled back or restored; if you restored it, run vogter admin audit restart")
)

// Record is a checkpoint as the database knows it.
type Record struct {
	Number    int64
	At        time.Time
	Note      []byte // signed
	Object    []byte // as it is published; kept of the newest only
	Published bool   // in both places
}

// At is where a tenant's log stood at a checkpoint, with the proof that the
// checkpoint says so. There is one for each checkpoint before which the log grew.
type At struct {
	proof.Head

	Number int64 // of the checkpoint
	Time   time.Time
	Index  int64
	Path   [][]byte
}

// Checkpoints keeps checkpoints.
type Checkpoints interface {
	InTransaction(ctx context.Context, fn func(ctx context.Context) error) error
	// Heads returns where all logs of all tenants stand, those that have ended
	// included, in the order of tenant and log. It needs a system context.
	Heads(ctx context.Context) ([]proof.Head, error)
	// Newest returns the last checkpoint of the platform whose provider is in
	// ctx, nil without an error if there is none.
	Newest(ctx context.Context) (*Record, error)
	// InsertCheckpoint works in a transaction and spans tenants. It drops the
	// Object of the one before, and fails with ErrExists if the number is taken.
	InsertCheckpoint(ctx context.Context, r *Record, logs []At) error
	// Publish notes that a checkpoint is in both places.
	Publish(ctx context.Context, number int64) error
	// Adopt takes a published checkpoint over as the newest, in place of what
	// was made of that number and not published.
	Adopt(ctx context.Context, r *Record) error
	// Restart ends the log of the tenant in ctx and begins the next, which is
	// held by nobody. It works in a transaction.
	Restart(ctx context.Context, from *State, next *State) error
}

// Objects is a place where checkpoints are published.
type Objects interface {
	// PutLocked fails with an error of kind errs.Conflict when the key is taken.
	PutLocked(ctx context.Context, key string, content []byte, until time.Time) error
	// Get fails with an error of kind errs.NotFound when there is none.
	Get(ctx context.Context, key string, limit int64) ([]byte, error)
}

// Ring signs.
type Ring interface {
	Sign(ctx context.Context, p sign.Purpose, text []byte) ([]byte, error)
	Keys(ctx context.Context) (*sign.KeySet, error)
}

// Recorder makes the entries that begin logs.
type Recorder interface {
	Row(ctx context.Context, at time.Time, ev audit.Event) (audit.Row, error)
}

// PublisherConfig is what a Publisher needs. All of it is required.
type PublisherConfig struct {
	Checkpoints Checkpoints
	Logs        Store
	Rows        audit.Store
	Recorder    Recorder
	Sealer      *Sealer
	Ring        Ring
	Provider    sign.Provider
	Places      []Objects     // two, that fail apart
	Keep        time.Duration // how long published checkpoints are locked
	Now         func() time.Time
	Log         *slog.Logger
}

// Publisher signs and publishes checkpoints.
type Publisher struct {
	PublisherConfig

	mu sync.Mutex
}

// NewPublisher returns a Publisher.
func NewPublisher(c PublisherConfig) *Publisher { return &Publisher{PublisherConfig: c} }

const (
	// Every is the least time between two checkpoints that nobody asked for.
	Every = time.Minute

	maxObject = 16 << 20 // bytes of a published checkpoint: some 150,000 logs
)

// Key returns the key of a published checkpoint.
func Key(number int64) string { return fmt.Sprintf("checkpoint_%019d", number) }

// KeyPrefix is what all their keys begin with.
const KeyPrefix = "checkpoint_"

// Sweep publishes a checkpoint if something was sealed since the last one.
func (p *Publisher) Sweep(ctx context.Context) error {
	_, err := p.Publish(ctx)
	if errors.Is(err, ErrForked) {
		p.Log.ErrorContext(ctx, "THE AUDIT LOG IS FORKED: no checkpoint is published", "err", err)
	}
	return err
}

// Publish seals what there is, then publishes a checkpoint if something was
// sealed since the last one, and returns the newest, nil if there is none yet.
// It finishes first what another attempt began.
func (p *Publisher) Publish(ctx context.Context) (*Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.Sealer.Seal(ctx)
	p.Sealer.release(ctx) // or the worker's would wait for logs that nobody is at
	if err != nil {
		return nil, err
	}
	ctx, of, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	newest, err := p.Checkpoints.Newest(ctx)
	if err != nil {
		return nil, err
	}
	if newest != nil && !newest.Published {
		if err := p.put(ctx, newest); err != nil {
			return nil, err
		}
	}
	if err := p.notBehind(ctx, newest); err != nil {
		return nil, err
	}
	next, logs, err := p.next(ctx, of, newest)
	if err != nil || next == nil {
		return newest, err
	}
	err = p.Checkpoints.InTransaction(ctx, func(ctx context.Context) error {
		return p.Checkpoints.InsertCheckpoint(ctx, next, logs)
	})
	if err != nil {
		return nil, fmt.Errorf("insert checkpoint %d: %w", next.Number, err)
	}
	return next, p.put(ctx, next)
}

// notBehind fails with ErrForked if more was published than the database knows,
// or with ErrExists if another process published it just now.
func (p *Publisher) notBehind(ctx context.Context, newest *Record) error {
	number := int64(1)
	if newest != nil {
		number = newest.Number + 1
	}
	object, err := p.find(ctx, number)
	if err != nil {
		return fmt.Errorf("look for checkpoint %d: %w", number, err)
	}
	if object == nil {
		return nil
	}
	switch now, err := p.Checkpoints.Newest(ctx); {
	case err != nil:
		return err
	case now != nil && now.Number >= number:
		return ErrExists
	default:
		return ErrForked
	}
}

// enter returns ctx for the provider, in the platform's own name.
func (p *Publisher) enter(ctx context.Context) (context.Context, tenant.ID, error) {
	ctx = tenant.System(ctx, "audit checkpoints")
	of, err := p.Provider.ProviderID(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("find provider: %w", err)
	}
	who := authz.Principal{Kind: authz.KindSystem, ID: "audit:publisher", Tenant: of}
	return authz.NewContext(tenant.NewContext(ctx, of), who), of, nil
}

// next returns the checkpoint after newest, nil if nothing has grown.
func (p *Publisher) next(ctx context.Context, of tenant.ID, newest *Record) (*Record, []At, error) {
	heads, err := p.Checkpoints.Heads(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("find heads: %w", err)
	}
	c := proof.Checkpoint{Platform: string(of), Number: 1, At: p.Now().UTC().Truncate(time.Millisecond), Heads: int64(len(heads))}
	known := map[string]bool{}
	if newest != nil {
		keys, err := p.Ring.Keys(ctx)
		if err != nil {
			return nil, nil, err
		}
		_, before, _, err := proof.ParsePublished(keys, newest.Object)
		if err != nil {
			return nil, nil, fmt.Errorf("read checkpoint %d: %w", newest.Number, err)
		}
		for i := range before {
			known[before[i].Line()] = true
		}
		c.Number, c.Previous = newest.Number+1, proof.Digest(newest.Note)
		if c.At.Before(newest.At) {
			c.At = newest.At
		}
	}
	published := proof.Published{Heads: make([]string, len(heads))}
	var grown []int
	for i := range heads {
		published.Heads[i] = heads[i].Line()
		if !known[published.Heads[i]] {
			grown = append(grown, i)
		}
	}
	if len(grown) == 0 {
		return nil, nil, nil
	}
	root, path, err := proof.HeadsTree(heads)
	if err != nil {
		return nil, nil, err
	}
	c.Root = root
	r := &Record{Number: c.Number, At: c.At}
	if r.Note, err = p.Ring.Sign(ctx, sign.Checkpoint, c.Text()); err != nil {
		return nil, nil, err
	}
	published.Note = string(r.Note)
	if r.Object, err = published.Encode(); err != nil {
		return nil, nil, err
	}
	logs := make([]At, len(grown))
	for n, i := range grown {
		logs[n] = At{Head: heads[i], Number: c.Number, Time: c.At, Index: int64(i)}
		if logs[n].Path, err = path(i); err != nil {
			return nil, nil, err
		}
	}
	return r, logs, nil
}

// put publishes a checkpoint in all places. It can be repeated.
func (p *Publisher) put(ctx context.Context, r *Record) error {
	for _, place := range p.Places {
		err := place.PutLocked(ctx, Key(r.Number), r.Object, r.At.Add(p.Keep))
		if errs.KindOf(err) == errs.Conflict {
			have, gerr := place.Get(ctx, Key(r.Number), maxObject)
			if gerr == nil && !bytes.Equal(have, r.Object) {
				return ErrForked
			}
			err = gerr
		}
		if err != nil {
			return fmt.Errorf("publish checkpoint %d: %w", r.Number, err)
		}
	}
	if err := p.Checkpoints.Publish(ctx, r.Number); err != nil {
		return fmt.Errorf("publish checkpoint %d: %w", r.Number, err)
	}
	r.Published = true
	return nil
}

// Actions of entries that the log makes of itself.
const (
	// ActionRestart is the first entry of a log after a restore. Its object names
	// the last checkpoint that was published before.
	ActionRestart = "audit.restart"
)

// restartGap is how many numbers are left out after a restore: what was sealed
// and seen, but not yet published, is not given to other entries.
const restartGap = 1 << 20

// Restart begins new logs after the database was restored from a backup: the
// first entry of each names the last checkpoint that was published before. The
// old logs end where the restored database has them. It returns that checkpoint's
// number. It can be repeated, and must run before traffic is let in.
func (p *Publisher) Restart(ctx context.Context) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, _, err := p.enter(ctx)
	if err != nil {
		return 0, err
	}
	last, published, err := p.lastPublished(ctx)
	if err != nil {
		return 0, err
	}
	if last == nil {
		return 0, errs.New(errs.Precondition, "no checkpoint was ever published")
	}
	if err := p.Checkpoints.Adopt(ctx, last); err != nil {
		return 0, fmt.Errorf("adopt checkpoint %d: %w", last.Number, err)
	}
	ends := map[tenant.ID]proof.Head{} // of the log that was published last, by tenant
	for _, h := range published {
		ends[h.Tenant] = h
	}
	stored, err := p.Checkpoints.Heads(ctx)
	if err != nil {
		return 0, fmt.Errorf("find heads: %w", err)
	}
	for _, h := range stored {
		if _, known := ends[h.Tenant]; !known {
			ends[h.Tenant] = proof.Head{Tenant: h.Tenant, Log: -1}
		}
	}
	object := fmt.Sprintf("%s.%s", Key(last.Number), proof.Digest(last.Note))
	for of, end := range ends {
		within := tenant.NewContext(ctx, of)
		if err := p.restart(within, &end, object); err != nil {
			return 0, fmt.Errorf("restart log of %s: %w", of, err)
		}
	}
	return last.Number, nil
}

// restart begins a new log of the tenant in ctx, unless it was begun already.
func (p *Publisher) restart(ctx context.Context, end *proof.Head, object string) error {
	now := p.Now()
	// Whoever held the log is fenced off.
	from, ok, err := p.Logs.Lease(ctx, p.Sealer.holder+":restart", now.Add(lease), now.Add(2*lease))
	if err != nil {
		return err
	}
	if !ok {
		return errs.New(errs.Unavailable, "the log is held by a sealer: stop all workers first")
	}
	if from.Log > end.Log && end.Log >= 0 {
		return p.Logs.Release(ctx, from.Fence)
	}
	row, err := p.Recorder.Row(ctx, now, audit.Event{Action: ActionRestart, Object: object})
	if err != nil {
		return err
	}
	tree, err := proof.Open(0, nil, nil)
	if err != nil {
		return err
	}
	tiles, err := tree.Append([][proof.HashSize]byte{proof.LeafHash(row.Leaf())})
	if err != nil {
		return err
	}
	next := &State{Head: proof.Head{
		Tenant: from.Tenant, Log: max(from.Log, end.Log) + 1, Base: max(from.Base+from.Size, end.Base+end.Size) + restartGap,
		Size: tree.Size(), Root: tree.Root(),
	}, Edge: tree.Edge(), Fence: from.Fence}
	return p.Checkpoints.InTransaction(ctx, func(ctx context.Context) error {
		if err := p.Rows.InsertAudit(ctx, row); err != nil {
			return err
		}
		if err := p.Logs.Order(ctx, next.Base, []string{row.ID}); err != nil {
			return err
		}
		if err := p.Logs.PutTiles(ctx, next.Log, tiles); err != nil {
			return err
		}
		return p.Checkpoints.Restart(ctx, from, next)
	})
}

// lastPublished follows the published checkpoints from the database's newest to
// the last, and returns it with its heads.
func (p *Publisher) lastPublished(ctx context.Context) (last *Record, heads []proof.Head, err error) {
	newest, err := p.Checkpoints.Newest(ctx)
	if err != nil {
		return nil, nil, err
	}
	keys, err := p.Ring.Keys(ctx)
	if err != nil {
		return nil, nil, err
	}
	number := int64(1)
	if newest != nil && newest.Number > 1 {
		number = newest.Number // published, or made and not published, or made anew elsewhere
		if !newest.Published {
			number--
		}
	}
	for ; ; number++ {
		object, err := p.find(ctx, number)
		if err != nil || object == nil {
			return last, heads, err
		}
		c, at, note, err := proof.ParsePublished(keys, object)
		if err != nil {
			return nil, nil, fmt.Errorf("read published checkpoint %d: %w", number, err)
		}
		last = &Record{Number: c.Number, At: c.At, Note: note, Object: object, Published: true}
		heads = at
	}
}

// find returns a published checkpoint from the first place that has it, nil if
// none has.
func (p *Publisher) find(ctx context.Context, number int64) ([]byte, error) {
	for _, place := range p.Places {
		object, err := place.Get(ctx, Key(number), maxObject)
		if err == nil || errs.KindOf(err) != errs.NotFound {
			return object, err
		}
	}
	return nil, nil
}

// SortHeads puts heads in the order of a checkpoint.
func SortHeads(heads []proof.Head) {
	slices.SortFunc(heads, func(a, b proof.Head) int {
		if c := strings.Compare(string(a.Tenant), string(b.Tenant)); c != 0 {
			return c
		}
		return int(a.Log - b.Log)
	})
}
