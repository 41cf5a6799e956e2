package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Sealed is an entry with its place in the order.
type Sealed struct {
	audit.Row

	Seq int64
}

// Archive is all that the database keeps of the log, as a Verifier needs it.
// Without saying so, its methods are for the tenant in ctx.
type Archive interface {
	// Heads spans tenants and needs a system context.
	Heads(ctx context.Context) ([]proof.Head, error)
	// Logs returns where the tenant's logs stand, in order.
	Logs(ctx context.Context) ([]proof.Head, error)
	Tiles(ctx context.Context, log int64, ids []proof.TileID) ([]proof.Tile, error)
	// Sealed visits the entries with a seq from first to before end, in order.
	Sealed(ctx context.Context, first, end int64, visit func(*Sealed) error) error
	// Stray returns the id of an entry that is neither sealed in one of the logs
	// nor waits to be; "" if there is none.
	Stray(ctx context.Context, logs []proof.Head) (string, error)
	// Newest and Checkpoint are for the provider in ctx; nil for none.
	Newest(ctx context.Context) (*Record, error)
	Checkpoint(ctx context.Context, number int64) (*Record, error)
	// LogAt returns what is kept of a log at a checkpoint; nil for nothing.
	LogAt(ctx context.Context, log, number int64) (*At, error)
	// Told returns what entries tell of objects at versions; their digests are not
	// looked at.
	Told(ctx context.Context, of []audit.Content) ([]Told, error)
	InTransaction(ctx context.Context, fn func(ctx context.Context) error) error
}

// Keys opens details.
type Keys interface {
	Load(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Verifier checks all logs of the database against the published checkpoints,
// and the values that are stored against the logs. The platform may go on
// meanwhile.
type Verifier struct {
	Archive   Archive
	Vault     Keys
	Publisher *Publisher
	Values    []Values
	// Pace is called with how much was checked since it was called last, in entries
	// or values, and may wait. It may be nil.
	Pace func(ctx context.Context, n int) error
}

func (v *Verifier) pace(ctx context.Context, n int) error {
	if v.Pace == nil {
		return nil
	}
	return v.Pace(ctx, n)
}

// Report sums up logs that are whole.
type Report struct {
	Logs, Entries, Checkpoints int64
	Details, Erased            int64 // details that were opened and prove their commitment, and those that are gone
	Values                     int64 // stored values that are as the log told last
	Waiting                    int64 // entries behind the last checkpoint: sealed, and not yet beyond a change
}

// Verify reads everything once, in memory that doesn't grow with it, and fails
// with a *proof.Error that names the first bad place: first of the entries, by
// tenant and order, then of the values, then of the checkpoints, by number.
func (v *Verifier) Verify(ctx context.Context) (r Report, err error) {
	p := v.Publisher
	ctx, _, err = p.enter(ctx)
	if err != nil {
		return r, err
	}
	heads, err := v.Archive.Heads(ctx)
	if err != nil {
		return r, fmt.Errorf("find heads: %w", err)
	}
	var tenants []tenant.ID // in order, as the heads are
	for _, h := range heads {
		tenants = append(tenants, h.Tenant)
		if _, err := v.log(tenant.NewContext(ctx, h.Tenant), &h, from{}, &r); err != nil {
			return r, err
		}
		r.Logs++
	}
	tenants = slices.Compact(tenants)
	for _, of := range tenants {
		if err := v.stray(tenant.NewContext(ctx, of), of); err != nil {
			return r, err
		}
	}
	for _, of := range tenants {
		if err := v.values(tenant.NewContext(ctx, of), of, &r); err != nil {
			return r, err
		}
	}
	_, err = v.checkpoints(ctx, 1, &r)
	return r, err
}

// stray fails if the tenant has an entry that is in no log and doesn't wait for
// one.
func (v *Verifier) stray(ctx context.Context, of tenant.ID) error {
	var found string
	// The logs and their entries are of one moment: they grow meanwhile.
	err := v.Archive.InTransaction(ctx, func(ctx context.Context) error {
		logs, err := v.Archive.Logs(ctx)
		if err != nil {
			return err
		}
		found, err = v.Archive.Stray(ctx, logs)
		return err
	})
	if err != nil {
		return fmt.Errorf("look for stray entries of %s: %w", of, err)
	}
	if found != "" {
		return &proof.Error{Tenant: of, Seq: -1, Entry: found, What: fmt.Sprintf("entry %s of %s is in no log", found, of)}
	}
	return nil
}

const (
	// chunk is how many entries are checked at once: as many as a tile has.
	chunk = 256
)

// from is up to where a log was checked before.
type from struct {
	size int64
	edge [][]byte // of the tree then
}

// log checks the entries of one log against its stored tree, and returns the
// tree's edge.
func (v *Verifier) log(ctx context.Context, h *proof.Head, f from, r *Report) (edge [][]byte, err error) {
	l := &logCheck{v: v, head: h, next: h.Base + f.size, report: r}
	tiles, err := v.Archive.Tiles(ctx, h.Log, proof.OpenTiles(f.size))
	if err != nil {
		return nil, err
	}
	if l.tree, err = proof.OpenAt(f.size, f.edge, tiles); err != nil {
		return nil, l.fault(-1, "", "the tree of log %d of %s is altered below entry %d", h.Log, h.Tenant, l.next)
	}
	err = v.Archive.Sealed(ctx, l.next, h.Base+h.Size, func(s *Sealed) error { return l.entry(ctx, s) })
	if err == nil {
		err = l.flush(ctx)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case l.next != h.Base+h.Size:
		return nil, l.fault(l.next, "", "missing")
	case !bytes.Equal(l.tree.Root(), h.Root):
		return nil, l.fault(-1, "", "the head of log %d of %s is not that of its entries", h.Log, h.Tenant)
	}
	return l.tree.Edge(), nil
}

// logCheck walks one log.
type logCheck struct {
	v      *Verifier
	head   *proof.Head
	tree   *proof.Tree
	next   int64 // seq
	rows   []audit.Row
	hashes [][proof.HashSize]byte
	report *Report
}

func (l *logCheck) fault(seq int64, entry, format string, args ...any) error {
	return &proof.Error{Tenant: l.head.Tenant, Seq: seq, Entry: entry, What: fmt.Sprintf(format, args...)}
}

func (l *logCheck) entry(ctx context.Context, s *Sealed) error {
	switch {
	case s.Seq < l.next:
		return l.fault(s.Seq, s.ID, "inserted: there is another entry in its place")
	case s.Seq > l.next:
		if err := l.flush(ctx); err != nil { // an earlier one may be bad too
			return err
		}
		return l.fault(l.next, "", "missing")
	}
	if l.head.Log > 0 && s.Seq == l.head.Base && s.Action != ActionRestart {
		return l.fault(s.Seq, s.ID, "a later log must begin with %s", ActionRestart)
	}
	l.next++
	l.rows, l.hashes = append(l.rows, s.Row), append(l.hashes, proof.LeafHash(s.Leaf()))
	if (l.next-l.head.Base)%chunk == 0 {
		return l.flush(ctx)
	}
	return nil
}

// flush checks the entries of a tile.
func (l *logCheck) flush(ctx context.Context) error {
	if len(l.rows) == 0 {
		return nil
	}
	first := l.next - int64(len(l.rows))
	grown, err := l.tree.Append(l.hashes)
	if err != nil {
		return err
	}
	ids := make([]proof.TileID, len(grown))
	for i, t := range grown {
		ids[i] = t.ID
	}
	stored, err := l.v.Archive.Tiles(ctx, l.head.Log, ids)
	if err != nil {
		return err
	}
	have := make(map[proof.TileID][]byte, len(stored))
	for _, t := range stored {
		have[t.ID] = t.Hashes
	}
	leaves := have[proof.TileID{Level: 0, Index: (first - l.head.Base) / chunk}]
	for i, hash := range l.hashes {
		from := (int(first-l.head.Base)%chunk + i) * proof.HashSize
		if len(leaves) < from+proof.HashSize || !bytes.Equal(leaves[from:from+proof.HashSize], hash[:]) {
			return l.fault(first+int64(i), l.rows[i].ID, "altered: it is not what was sealed")
		}
	}
	for _, t := range grown {
		// A tile above the leaves is compared when it is full or the log ends.
		full := len(t.Hashes) == chunk*proof.HashSize
		if !full && l.next != l.head.Base+l.head.Size || bytes.Equal(have[t.ID], t.Hashes) {
			continue
		}
		grown := false // since the head was read
		if bytes.HasPrefix(have[t.ID], t.Hashes) {
			if grown, err = l.grown(ctx); err != nil {
				return err
			}
		}
		if !grown {
			return l.fault(first, l.rows[0].ID, "the tree above it, tile %d of level %d, is altered", t.ID.Index, t.ID.Level)
		}
	}
	if err := l.details(ctx, first); err != nil {
		return err
	}
	if err := l.there(ctx); err != nil {
		return err
	}
	n := len(l.rows)
	l.report.Entries += int64(n)
	l.rows, l.hashes = l.rows[:0], l.hashes[:0]
	return l.v.pace(ctx, n)
}

// grown reports whether the log is longer than it was when the check began.
func (l *logCheck) grown(ctx context.Context) (bool, error) {
	logs, err := l.v.Archive.Logs(ctx)
	return slices.ContainsFunc(logs, func(h proof.Head) bool { return h.Log == l.head.Log && h.Size > l.head.Size }), err
}

// details opens the details of the entries, as far as their keys are there, and
// checks that they prove the commitments.
func (l *logCheck) details(ctx context.Context, first int64) error {
	var owners []vault.Owner
	for i := range l.rows {
		for _, s := range l.rows[i].Subjects {
			owners = append(owners, audit.Evidence(l.head.Tenant, s.ID))
		}
	}
	if len(owners) == 0 {
		return nil
	}
	keys, err := l.v.Vault.Load(ctx, owners...)
	if err != nil {
		return err
	}
	for i := range l.rows {
		row := &l.rows[i]
		for n := range row.Subjects {
			_, err := row.Details(keys, n)
			switch {
			case err == nil:
				l.report.Details++
			case errors.Is(err, vault.ErrErased):
				l.report.Erased++
			case errs.KindOf(err) == errs.Unavailable:
				return err
			default:
				return l.fault(first+int64(i), row.ID, "the details on %s are altered, or their key is missing", row.Subjects[n].ID)
			}
		}
	}
	return nil
}

// checkpoints follows the published checkpoints from a number on and compares
// each with the other place, with the database, and with the stored trees as they
// were then. It returns the last one's number, 0 for none.
func (v *Verifier) checkpoints(ctx context.Context, first int64, r *Report) (int64, error) {
	keys, err := v.Publisher.Ring.Keys(ctx)
	if err != nil {
		return 0, err
	}
	newest, err := v.Archive.Newest(ctx)
	if err != nil {
		return 0, err
	}
	s, err := v.standing(ctx)
	if err != nil {
		return 0, err
	}
	last, lastNote := (*proof.Checkpoint)(nil), []byte(nil)
	seen := map[string]proof.Head{}
	for number := first; ; number++ {
		object, err := v.published(ctx, number)
		if err != nil {
			return 0, err
		}
		if object == nil {
			break
		}
		c, at, note, err := proof.ParsePublished(keys, object)
		if errors.Is(err, sign.ErrUntrusted) { // perhaps by a key that was made since
			if keys, err = v.Publisher.Ring.Keys(ctx); err == nil {
				c, at, note, err = proof.ParsePublished(keys, object)
			}
		}
		if err != nil {
			return 0, checkpointFault(number, "%v", err)
		}
		switch {
		case last != nil:
			err = c.Follows(last, lastNote)
		case c.Number != number || (number == 1) != (c.Previous == ""):
			err = errors.New("the first checkpoint names one before, or a later one names none")
		}
		if err != nil {
			return 0, checkpointFault(number, "%v", err)
		}
		record, err := v.Archive.Checkpoint(ctx, number)
		if err != nil {
			return 0, err
		}
		if record != nil && !bytes.Equal(record.Note, note) {
			return 0, checkpointFault(number, "the database has another one")
		}
		if record == nil && len(s.newest) > 0 && !restarted(s.newest) {
			return 0, checkpointFault(number, "the database doesn't know it: it was rolled back")
		}
		if s.behind(at) { // or the logs have grown since they were looked at
			if s, err = v.standing(ctx); err != nil {
				return 0, err
			}
		}
		if err := v.heads(ctx, c, at, seen, s, last != nil || number == 1); err != nil {
			return 0, err
		}
		last, lastNote = c, note
		r.Checkpoints++
		if err := v.pace(ctx, len(at)); err != nil {
			return 0, err
		}
	}
	switch {
	case newest == nil && last != nil:
		if newest, err = v.Archive.Newest(ctx); err != nil {
			return 0, err
		}
		if newest == nil {
			return 0, checkpointFault(last.Number, "the database knows of none: it was rolled back")
		}
	case newest != nil && newest.Published && (last == nil || newest.Number > last.Number):
		return 0, checkpointFault(newest.Number, "missing from the object storage")
	}
	for name, h := range s.logs {
		if r.Waiting += h.Size - seen[name].Size; h.Size < seen[name].Size {
			r.Waiting += seen[name].Size - h.Size // ended by a restore
		}
	}
	if last == nil {
		return 0, nil
	}
	return last.Number, nil
}

// standing is where all logs stood when they were looked at.
type standing struct {
	logs   map[string]*proof.Head // by logName
	newest map[tenant.ID]int64    // log of each tenant
}

func (v *Verifier) standing(ctx context.Context) (*standing, error) {
	heads, err := v.Archive.Heads(ctx)
	if err != nil {
		return nil, fmt.Errorf("find heads: %w", err)
	}
	s := &standing{map[string]*proof.Head{}, map[tenant.ID]int64{}}
	for i := range heads {
		s.logs[logName(&heads[i])] = &heads[i]
		s.newest[heads[i].Tenant] = max(s.newest[heads[i].Tenant], heads[i].Log)
	}
	return s, nil
}

// behind reports whether a checkpoint speaks for more.
func (s *standing) behind(at []proof.Head) bool {
	return slices.ContainsFunc(at, func(h proof.Head) bool {
		have := s.logs[logName(&h)]
		return have == nil || have.Size < h.Size
	})
}

func logName(h *proof.Head) string { return fmt.Sprintf("%s/%d", h.Tenant, h.Log) }

// restarted reports whether any log is a later one, begun after a restore.
func restarted(newest map[tenant.ID]int64) bool {
	for _, log := range newest {
		if log > 0 {
			return true
		}
	}
	return false
}

func checkpointFault(number int64, format string, args ...any) error {
	return &proof.Error{Seq: -1, What: fmt.Sprintf("checkpoint %d: ", number) + fmt.Sprintf(format, args...)}
}

// published returns a checkpoint as all places have it; nil if none has.
func (v *Verifier) published(ctx context.Context, number int64) ([]byte, error) {
	pending, err := v.Archive.Checkpoint(ctx, number)
	if err != nil {
		return nil, err
	}
	var found [][]byte
	for _, place := range v.Publisher.Places {
		object, err := place.Get(ctx, Key(number), maxObject)
		switch {
		case err == nil:
			found = append(found, object)
		case errs.KindOf(err) != errs.NotFound:
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	for _, object := range found {
		if !bytes.Equal(object, found[0]) {
			return nil, checkpointFault(number, "the two places have different ones")
		}
	}
	switch {
	case len(found) == len(v.Publisher.Places) || pending != nil && !pending.Published:
		return found[0], nil
	case pending == nil:
		// It may have been made since, and then it is known by now.
		if pending, err = v.Archive.Checkpoint(ctx, number); err != nil {
			return nil, err
		}
		if pending != nil {
			return found[0], nil
		}
	}
	return nil, checkpointFault(number, "missing from one of the places")
}

// heads checks what a checkpoint says of the logs that aren't as seen before.
// The database keeps something of all of them if they grew since the checkpoint
// before this one, and not since an earlier one.
func (v *Verifier) heads(
	ctx context.Context, c *proof.Checkpoint, at []proof.Head, seen map[string]proof.Head, s *standing, grew bool,
) error {
	stored, newest := s.logs, s.newest
	present := make(map[string]bool, len(at))
	for i := range at {
		h := &at[i]
		name := logName(h)
		present[name] = true
		before, known := seen[name]
		if known && before.Line() == h.Line() {
			continue
		}
		later := newest[h.Tenant] > h.Log
		if known && (before.Base != h.Base || before.Size >= h.Size && !later) {
			return checkpointFault(c.Number, "log %s shrank or was replaced", name)
		}
		seen[name] = *h
		within := tenant.NewContext(ctx, h.Tenant)
		have := stored[name]
		if have == nil || have.Size < h.Size {
			if later {
				continue // lost by a restore, which the first entry of the later log tells
			}
			return checkpointFault(c.Number, "log %s has lost entries: the database was rolled back", name)
		}
		read := func(ctx context.Context, ids []proof.TileID) ([]proof.Tile, error) {
			return v.Archive.Tiles(ctx, h.Log, ids)
		}
		root, err := proof.RootAt(within, read, h.Size)
		if err != nil && !errors.Is(err, proof.ErrTree) {
			return err
		}
		if have.Base != h.Base || !bytes.Equal(root, h.Root) {
			return checkpointFault(c.Number, "log %s is another one than was signed, up to entry %d", name, h.Base+h.Size-1)
		}
		kept, err := v.Archive.LogAt(within, h.Log, c.Number)
		if err != nil {
			return err
		}
		if kept != nil && (kept.Line() != h.Line() ||
			!proof.CheckInclusion(proof.LeafHash([]byte(h.Line())), kept.Index, c.Heads, kept.Path, c.Root)) {
			return checkpointFault(c.Number, "what the database keeps of log %s is altered", name)
		}
		if kept == nil && grew && !later && newest[h.Tenant] == 0 {
			return checkpointFault(c.Number, "what the database kept of log %s is missing", name)
		}
	}
	for name, h := range seen {
		if !present[name] && newest[h.Tenant] <= h.Log { // else a restore lost all of it
			return checkpointFault(c.Number, "log %s has vanished", name)
		}
	}
	return nil
}
