package imports

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/vault"
)

// The bounds of a batch, which is one transaction: whichever is met first.
const (
	batchLines   = 250
	batchBytes   = 2 << 20
	batchRecords = 2500
)

// run is one run of an import. Three parts of it work at once, each on a batch
// of its own: lines are read and mapped, what they need is looked up and made,
// and is committed.
type run struct {
	*Service
	plan   *plan
	mode   Mode
	scan   *scanner
	head   *piece // of a CSV
	secret []byte // of the chain; nil for a check

	seen       position // how far the file was read; belongs to the reader until it has ended
	row        Import   // as it is stored; of a check only the counts are used
	rejected   int      // in this run
	rejections []Rejection
}

// line is a line of a batch: what it asks for, or why it is rejected.
type line struct {
	number int64
	end    position // after it
	row    *row
	fault  error
}

// batch is lines that are committed together.
type batch struct {
	lines []*line
	end   position // after the lines, and blank ones behind them
	// references are those of the lines' subjects; none is in a batch twice, so
	// that a later line sees what an earlier one wrote.
	references map[string]bool
	bytes      int
	weight     int  // records
	again      bool // a part of one that failed
}

// work imports the file.
func (r *run) work(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	read, ready := make(chan *batch), make(chan *prepared)
	var broken error // why the body ended early; what came before is imported
	g.Go(func() error {
		defer close(read)
		err := r.read(ctx, read)
		if err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
			broken = err
		}
		return ctx.Err()
	})
	g.Go(func() error {
		defer close(ready)
		return r.prepareAll(ctx, read, ready)
	})
	g.Go(func() error {
		for p := range ready {
			if err := r.commit(ctx, p); err != nil {
				return err
			}
			close(p.done)
			if r.rejected > MaxRejections {
				return ErrTooMany
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return broken
}

// read cuts the file into batches, without the lines that an earlier run
// committed, which must be the same.
func (r *run) read(ctx context.Context, to chan<- *batch) error {
	done, over := position{r.row.Line, r.row.Chain}, r.row.State == Done
	b := &batch{references: map[string]bool{}}
	send := func() error {
		if b.end.line == 0 {
			return nil
		}
		select {
		case to <- b:
			b = &batch{references: map[string]bool{}}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// pass notes that p was read, and reports whether an earlier run did so too.
	pass := func(p *piece) (earlier bool, err error) {
		r.seen = r.seen.after(p, r.secret)
		switch {
		case r.seen.line < done.line:
			return true, nil
		case p.first <= done.line || over:
			if r.seen != done {
				return true, ErrOtherBytes
			}
			return true, nil
		}
		return false, nil
	}
	if r.head != nil {
		if _, err := pass(r.head); err != nil {
			return err
		}
	}
	for {
		p, err := r.scan.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return errors.Join(send(), bodyFault(err))
			}
			if r.seen.line < done.line {
				return ErrOtherBytes
			}
			return send()
		}
		earlier, err := pass(&p)
		if err != nil {
			return err
		}
		if earlier {
			continue
		}
		if p.blank() {
			b.end = r.seen
			continue
		}
		l := &line{number: p.first, end: r.seen}
		v, err := r.scan.value(&p)
		if err == nil {
			l.row, err = r.plan.row(ctx, v, r.scan.csv)
		}
		if l.fault = err; err != nil && !ofLine(err) {
			return err
		}
		if !b.takes(l, len(p.raw)) {
			if err := send(); err != nil {
				return err
			}
		}
		b.add(l, len(p.raw))
	}
}

// after returns the position behind p, whose chain goes on from this one's.
func (at position) after(p *piece, secret []byte) position {
	at.line = p.last
	if secret == nil {
		return at
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(at.chain[:])
	mac.Write(p.sum[:])
	mac.Sum(at.chain[:0])
	return at
}

// takes reports whether l still belongs into b.
func (b *batch) takes(l *line, size int) bool {
	switch {
	case len(b.lines) == 0:
		return true
	case len(b.lines) >= batchLines, b.bytes+size > batchBytes:
		return false
	case l.row == nil:
		return true
	}
	// What happened to consents is told in its order, within a batch too.
	return b.weight+len(l.row.records) <= batchRecords && (l.row.consent != nil || !b.references[l.row.reference.Value.Reveal()])
}

func (b *batch) add(l *line, size int) {
	b.lines, b.end = append(b.lines, l), l.end
	b.bytes += size
	if l.row != nil {
		b.references[l.row.reference.Value.Reveal()] = true
		b.weight += len(l.row.records)
	}
}

// ofLine reports whether err is the fault of one line, and not of a part that
// the import needs.
func ofLine(err error) bool {
	switch errs.KindOf(err) {
	case errs.Invalid, errs.NotFound, errs.Conflict, errs.Precondition, errs.Erased, errs.Limited:
		return !errors.Is(err, ErrRunning) && !errors.Is(err, ErrOtherBytes)
	default:
		return false
	}
}

// prepared is a batch that is ready to be committed.
type prepared struct {
	*batch
	work
	done chan struct{} // closed when it is committed
}

// work is what lines ask to be written.
type work struct {
	subjects  []subject.New
	amended   []subjectAmend
	records   []record.New
	corrected []recordAmend
	events    []*consent.Entry
	guard     []string      // stored subjects whose data is written
	owners    []vault.Owner // of the keys that it needs
	counts    Counts
	rejected  []Rejection
}

type subjectAmend struct {
	id string
	in subject.UpsertInput
}

type recordAmend struct {
	id      string
	in      record.UpsertInput
	dataset *dataset.Dataset
}

func (w *work) include(o *work) {
	w.subjects = append(w.subjects, o.subjects...)
	w.amended = append(w.amended, o.amended...)
	w.records = append(w.records, o.records...)
	w.corrected = append(w.corrected, o.corrected...)
	w.events = append(w.events, o.events...)
	w.guard = append(w.guard, o.guard...)
	w.owners = append(w.owners, o.owners...)
	w.rejected = append(w.rejected, o.rejected...)
	w.counts = w.counts.plus(o.counts)
}

// prepareAll prepares batches while the one before is being committed. One with
// a subject of that one waits for it.
func (r *run) prepareAll(ctx context.Context, from <-chan *batch, to chan<- *prepared) error {
	var before *prepared
	for b := range from {
		if before != nil && slices.ContainsFunc(b.lines, func(l *line) bool {
			return l.row != nil && before.references[l.row.reference.Value.Reveal()]
		}) {
			select {
			case <-before.done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		p, err := r.prepare(ctx, b)
		if err != nil {
			return err
		}
		select {
		case to <- p:
			before = p
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// prepare looks up what is stored of the batch's subjects and records, settles
// what is new and what differs, and makes the keys that are missing.
func (r *run) prepare(ctx context.Context, b *batch) (*prepared, error) {
	p := &prepared{batch: b, done: make(chan struct{})}
	stored, found, err := r.stored(ctx, b)
	if err != nil {
		return nil, err
	}
	each := make([]work, len(b.lines))
	for i, l := range b.lines {
		if l.fault == nil && r.plan.consents {
			each[i], l.fault = r.settleConsent(ctx, l, stored[l])
		} else if l.fault == nil {
			each[i], l.fault = r.settle(l, stored[l], found)
		}
		if l.fault != nil && !ofLine(l.fault) {
			return nil, l.fault
		}
	}
	if r.mode == Check {
		if err := r.found(ctx, stored, found); err != nil {
			return nil, err
		}
		if err := r.checkIdentifiers(ctx, b, each, stored); err != nil {
			return nil, err
		}
	}
	if r.plan.consents {
		if err := r.tryConsents(ctx, b, each); err != nil {
			return nil, err
		}
	}
	for i, l := range b.lines {
		if l.fault == nil {
			p.include(&each[i])
		} else {
			p.include(reject(l))
		}
	}
	if r.mode == Check || len(p.owners) == 0 {
		return p, nil
	}
	if _, err := r.vault.Ensure(ctx, p.owners...); err != nil {
		return nil, err
	}
	return p, nil
}

// stored finds the batch's subjects and records.
func (r *run) stored(ctx context.Context, b *batch) (map[*line]*subject.Subject, map[*recordRow]*record.Record, error) {
	var (
		keys     []lookup.Key
		lines    []*line
		rows     []*recordRow
		subjects = map[*line]*subject.Subject{}
		records  = map[*recordRow]*record.Record{}
	)
	for _, l := range b.lines {
		if l.fault == nil {
			lines, keys = append(lines, l), append(keys, l.row.reference)
		}
	}
	if len(keys) == 0 {
		return subjects, records, nil
	}
	people, err := r.subjects.FindByKeys(ctx, keys)
	if err != nil {
		return nil, nil, err
	}
	keys = nil
	for i, l := range lines {
		subjects[l] = people[i]
		// The record with a key of a new subject's is somebody else's, at which the
		// insert fails; only then, and in a check, the culprit is looked for.
		if people[i] == nil && r.mode != Check && !b.again {
			continue
		}
		for j := range l.row.records {
			if row := &l.row.records[j]; row.key != nil {
				rows, keys = append(rows, row), append(keys, *row.key)
			}
		}
	}
	if len(keys) == 0 {
		return subjects, records, nil
	}
	have, err := r.records.FindByKeys(ctx, keys)
	if err != nil {
		return nil, nil, err
	}
	for i, row := range rows {
		records[row] = have[i]
	}
	return subjects, records, nil
}

// found writes whose data a check of the file has read.
func (r *run) found(ctx context.Context, subjects map[*line]*subject.Subject, records map[*recordRow]*record.Record) error {
	var touches []audit.Touch
	for _, s := range subjects {
		if s != nil && !s.State.Gone() {
			touches = append(touches, audit.Touch{Subject: s.ID, Object: s.ID, Version: s.Version})
		}
	}
	for row, found := range records {
		if found != nil && !found.Gone {
			touches = append(touches, audit.Touch{
				Subject: found.SubjectID, Object: found.ID, Version: found.Version, Secret: row.dataset.Secrecy == dataset.AML,
			})
		}
	}
	for part := range slices.Chunk(touches, batchLines) {
		if err := r.recorder.Record(ctx, audit.Event{Action: "import.check", Touches: part}); err != nil {
			return err
		}
	}
	return nil
}

// settle tells what a line asks to be written, given what is stored.
func (r *run) settle(l *line, stored *subject.Subject, found map[*recordRow]*record.Record) (w work, err error) {
	of, at := r.plan.of, r.at()
	var subjectID string
	switch {
	case stored == nil:
		subjectID = id.New(id.Subject, of)
		made, err := subject.Make(subjectID, l.row.subject.Create(), r.plan.phoneRegion, at)
		if err != nil {
			return w, r.plan.fault(err)
		}
		w.subjects, w.owners = []subject.New{made}, subject.Owners(of, subjectID)
		w.counts.Created = 1
	case stored.State.Gone():
		return w, subject.ErrErased
	case stored.State == subject.Restricted: // whatever the values: that they are the same would tell them
		return w, subject.ErrRestricted
	case stored.Closed() != "": // likewise
		return w, stored.Closed().Err()
	default:
		subjectID = stored.ID
		_, differs, err := stored.Amended(l.row.subject, r.plan.phoneRegion)
		if err != nil {
			return w, r.plan.fault(err)
		}
		if differs {
			w.amended = []subjectAmend{{subjectID, l.row.subject}}
		}
	}
	for i := range l.row.records {
		row := &l.row.records[i]
		row.in.Subject = subjectID
		if err := r.settleRecord(row, found[row], &w); err != nil {
			return work{}, row.fault(err)
		}
	}
	w.counts.Records = int64(len(w.records) + len(w.corrected))
	switch {
	case stored == nil:
	case w.counts.Records == 0 && len(w.amended) == 0:
		w.counts.Unchanged = 1
	default:
		w.guard, w.counts.Updated = []string{subjectID}, 1
		w.owners = append(w.owners, subject.Owners(of, subjectID)...)
	}
	return w, nil
}

func (r *run) settleRecord(row *recordRow, stored *record.Record, w *work) error {
	of := r.plan.of
	if stored != nil {
		if len(stored.Restricted) > 0 {
			return subject.ErrRestricted
		}
		if slices.ContainsFunc(stored.Subjects(), func(person string) bool { return stored.Closed.To(person) != "" }) {
			return stored.Closed.Reason.Err()
		}
		next, differs, err := stored.Amended(row.in, row.dataset, of, r.plan.country)
		if err != nil {
			return err
		}
		if differs {
			w.corrected = append(w.corrected, recordAmend{stored.ID, row.in, row.dataset})
			w.owners = append(w.owners, record.Owners(of, next)...)
		}
		return nil
	}
	in := row.in.Write()
	if row.key == nil {
		in.Key = nil
	}
	made, err := record.Make(id.New(id.Record, of), in, row.dataset, of, r.plan.country, r.at())
	if err != nil {
		return err
	}
	w.records, w.owners = append(w.records, made), append(w.owners, record.Owners(of, made)...)
	return nil
}

// checkIdentifiers finds in a check what an insert would have refused: national
// ids that are another subject's.
func (r *run) checkIdentifiers(
	ctx context.Context, b *batch, each []work, stored map[*line]*subject.Subject,
) error {
	var (
		keys  []lookup.Key
		lines []*line
		mine  = map[lookup.Name]map[string]*line{}
	)
	for i, l := range b.lines {
		if l.fault != nil {
			continue
		}
		for _, k := range each[i].identifiers(stored[l], r.plan.phoneRegion) {
			if mine[k.Name] == nil {
				mine[k.Name] = map[string]*line{}
			}
			if other := mine[k.Name][k.Value.Reveal()]; other != nil && other != l {
				l.fault = subject.ErrDuplicate.At(string(k.Name))
			}
			mine[k.Name][k.Value.Reveal()] = l
			keys, lines = append(keys, k), append(lines, l)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	found, err := r.subjects.FindByKeys(ctx, keys)
	if err != nil {
		return err
	}
	for i, other := range found {
		if own := stored[lines[i]]; other != nil && (own == nil || own.ID != other.ID) {
			lines[i].fault = subject.ErrDuplicate.At(string(keys[i].Name))
		}
	}
	return nil
}

// commit writes a batch and the import's progress in one transaction. If that
// fails for one of its lines, halves of it are tried, down to the bad line.
func (r *run) commit(ctx context.Context, p *prepared) error {
	next := r.row
	next.Line, next.Chain = p.end.line, p.end.chain
	next.Counts = next.Counts.plus(p.counts)
	if r.mode == Check {
		r.rejections = append(r.rejections, p.rejected...)
	} else {
		err := r.write(ctx, p, &next)
		if err != nil && ofLine(err) && len(p.lines) > 0 {
			return r.commitHalves(ctx, p, err)
		}
		if err != nil {
			return err
		}
	}
	r.row = next
	r.rejected += len(p.rejected)
	return nil
}

func (r *run) commitHalves(ctx context.Context, p *prepared, fault error) error {
	if len(p.lines) == 1 {
		if p.lines[0].fault != nil {
			return fault // it writes nothing but its rejection
		}
		if p.lines[0].fault = fault; errors.Is(fault, subject.ErrDuplicate) {
			p.lines[0].fault = r.plan.fault(fault)
		}
		return r.commit(ctx, &prepared{batch: p.batch, work: *reject(p.lines[0])})
	}
	half := len(p.lines) / 2
	for _, b := range []*batch{
		{lines: p.lines[:half], end: p.lines[half-1].end, again: true},
		{lines: p.lines[half:], end: p.end, again: true},
	} {
		again, err := r.prepare(ctx, b)
		if err != nil {
			return err
		}
		if err := r.commit(ctx, again); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) write(ctx context.Context, p *prepared, next *Import) error {
	at := r.at()
	next.UpdatedAt, next.LeaseUntil = at, at.Add(lease)
	return r.changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
		changes := make([]change.Change, 0, len(p.subjects)+len(p.amended)+len(p.records)+len(p.corrected))
		if len(p.guard) > 0 {
			if err := r.guards.Guard(ctx, p.guard...); err != nil {
				return nil, err
			}
		}
		if len(p.subjects) > 0 {
			made, err := r.subjects.Insert(ctx, p.subjects...)
			if err != nil {
				return nil, err
			}
			changes = append(changes, made...)
		}
		for _, a := range p.amended {
			c, err := r.subjects.Amend(ctx, a.id, a.in, r.plan.phoneRegion, at)
			if err != nil {
				return nil, err
			}
			changes = append(changes, c)
		}
		if len(p.records) > 0 {
			made, err := r.records.Insert(ctx, p.records...)
			if err != nil {
				return nil, err
			}
			changes = append(changes, made...)
		}
		for _, a := range p.corrected {
			c, err := r.records.Amend(ctx, a.id, a.in, a.dataset, r.plan.country, at)
			if err != nil {
				return nil, err
			}
			changes = append(changes, c)
		}
		if len(p.events) > 0 {
			noted, err := r.plan.importer.Note(ctx, p.events)
			if err != nil {
				return nil, err
			}
			changes = append(changes, noted...)
		}
		if len(p.rejected) > 0 {
			if err := r.store.InsertRejections(ctx, next.ID, p.rejected); err != nil {
				return nil, err
			}
		}
		return changes, r.store.Update(ctx, next, next.Fence)
	})
}

// reject is what is done of a line that is rejected.
func reject(l *line) *work {
	rejection := Rejection{Line: l.number, Code: errs.KindOf(l.fault)}
	if e, ok := errors.AsType[*errs.Error](l.fault); ok {
		rejection.Field, rejection.Message = e.Field, e.Message
	}
	return &work{counts: Counts{Rejected: 1}, rejected: []Rejection{rejection}}
}

// identifiers returns the lookups of the work's subject that no other may have,
// without the reference, by which it was found.
func (w *work) identifiers(stored *subject.Subject, region string) []lookup.Key {
	var keys []lookup.Key
	for _, m := range w.subjects {
		keys = append(keys, m.Keys...)
	}
	for _, a := range w.amended {
		if next, _, err := stored.Amended(a.in, region); err == nil {
			keys = append(keys, next.Keys...)
		}
	}
	return slices.DeleteFunc(keys, func(k lookup.Key) bool { return !k.Unique || k.Name == lookup.Reference })
}
