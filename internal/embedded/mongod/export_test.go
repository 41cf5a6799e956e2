package mongod

import (
	"context"

	"github.com/cockroachdb/pebble/v2"
)

// FaultOn adds a command that writes as far as the store and then panics.
func (s *Server) FaultOn(name string) {
	s.commands[name] = command{coll: true, run: func(ctx context.Context, r *request) (document, error) {
		f, err := parseFilter(nil)
		if err != nil {
			return nil, err
		}
		_, err = r.write(func(w *writer, _ *progress) error {
			_, err := r.modify(ctx, w, &modification{
				filter: f, multi: true,
				change: func(document) (document, error) { return nil, nil },
				visit:  func(_, _ document) { panic("a secret value") },
			})
			return err
		})
		return nil, err
	}}
}

// SessionRecords counts the records of sessions on disk.
func (s *Server) SessionRecords() (n int, err error) {
	err = s.each([]byte{spaceSession}, func(_, _ []byte) error { n++; return nil })
	return n, err
}

// Flush writes what is in memory to tables.
func (s *Server) Flush() error { return s.db.Flush() }

// OpenUpgrading opens a folder as a program would that has more upgrades.
func OpenUpgrading(opts Options, steps ...func(*Server) error) (*Server, error) {
	return open(opts, append(formatUpgrades(), steps...))
}

// SetFormat makes the folder one of another format version.
func (s *Server) SetFormat(version byte) error {
	return s.db.Set([]byte{spaceFormat}, []byte{version}, pebble.Sync)
}

// Disturb applies f to every key and value of a collection's index "n_1", or of
// the collection itself; f writes to the batch what a faulty engine would.
func (s *Server) Disturb(ns string, records bool, f func(key, val []byte, batch *pebble.Batch) error) error {
	c := s.visibleCatalog().collections[ns]
	ix := c.id
	if !records {
		ix = c.indexes[0]
	}
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	v := s.newView()
	defer closeQuietly(viewCloser{v})
	if err := v.each(ix.prefix(), func(key, val []byte) error { return f(key, val, batch) }); err != nil {
		return err
	}
	return s.commit(batch, nil)
}

type viewCloser struct{ v *view }

// Close implements io.Closer.
func (c viewCloser) Close() error { return c.v.close() }
