package mongod

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// Lifetimes, as MongoDB's defaults.
const (
	sessionLifetime     = 30 * time.Minute
	transactionLifetime = 60 * time.Second
)

// sessionTable holds the logical sessions that number their writes.
type sessionTable struct {
	mu   sync.Mutex
	byID map[string]*session
}

// session is a client's numbered series of retryable writes and transactions.
type session struct {
	id string

	// mu admits one numbered command at a time. It guards all below but used.
	mu     sync.Mutex
	number int64
	txn    *transaction // of number; nil when number is a retryable write
	last   *progress    // of the newest retryable write or commit

	used time.Time // guarded by the table
}

type transactionState byte

const (
	inProgress transactionState = iota
	committed
	aborted
)

// transaction is a multi-document transaction.
type transaction struct {
	state   transactionState
	writer  *writer
	view    *view
	started time.Time
	conn    *conn // which sent the last command
}

// progress is what must be known to answer a retryable command a second time. It
// is saved in the same commit as the writes it tells of.
type progress struct {
	Number    int64       `bson:"number"`
	Committed bool        `bson:"committed"` // a transaction: nothing but this
	At        time.Time   `bson:"at"`
	Result    writeResult `bson:",inline"`
	Reply     document    `bson:"reply,omitempty"` // of a findAndModify
}

func decodeProgress(record []byte) (*progress, error) {
	p := &progress{}
	if err := bson.Unmarshal(record, p); err != nil {
		return nil, fmt.Errorf("decode session record: %w", err)
	}
	return p, nil
}

func sessionKey(id string) []byte { return append([]byte{spaceSession}, id...) }

// session returns the session id, loading what an earlier process saved of it.
func (s *Server) session(id string) (*session, error) {
	t := &s.sessions
	t.mu.Lock()
	defer t.mu.Unlock()
	ss := t.byID[id]
	if ss == nil {
		ss = &session{id: id, number: -1}
		val, err := readKey(s.db, sessionKey(id))
		if err != nil {
			return nil, err
		}
		if val != nil {
			if ss.last, err = decodeProgress(val); err != nil {
				return nil, err
			}
			ss.number = ss.last.Number
		}
		t.byID[id] = ss
	}
	ss.used = s.now()
	return ss, nil
}

// dropStaleSessions deletes the records of expired sessions that nobody has in
// memory.
func (s *Server) dropStaleSessions() error {
	t := &s.sessions
	t.mu.Lock() // no session is loaded meanwhile
	defer t.mu.Unlock()
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	err := s.each([]byte{spaceSession}, func(key, val []byte) error {
		p, err := decodeProgress(val)
		if err != nil || s.now().Sub(p.At) < sessionLifetime || t.byID[string(key[1:])] != nil {
			return err
		}
		return batch.Delete(bytes.Clone(key), nil)
	})
	if err != nil || batch.Empty() {
		return err
	}
	return s.commit(batch, nil)
}

// begin starts transaction number; the session is locked.
func (s *Server) begin(ss *session, number int64, c *conn) {
	v := s.newView()
	w := s.newWriter()
	w.snap, _ = v.base.(*pebble.Snapshot)
	ss.number = number
	ss.txn = &transaction{writer: w, view: v, started: s.now(), conn: c}
}

// end settles the transaction. Aborting twice is harmless.
func (ss *session) end(state transactionState) error {
	t := ss.txn
	if t == nil || t.state != inProgress {
		return nil
	}
	t.state = state
	t.writer.s.cursors.closeWhere(func(c *cursor) bool { return c.txn == t })
	var err error
	if state == committed && t.writer.over.Len() > 0 {
		err = t.writer.finish()
	}
	if err != nil {
		t.state = aborted
	}
	t.writer.abort() // what is left
	return errors.Join(err, t.view.close())
}

// commit commits the transaction with the record that it was committed.
func (ss *session) commit() error {
	if t := ss.txn; t.writer.over.Len() > 0 {
		t.writer.session, t.writer.progress = ss, &progress{Number: ss.number, Committed: true}
	}
	return ss.end(committed)
}

// abortWhere aborts the open transactions that match.
func (t *sessionTable) abortWhere(match func(*transaction) bool) {
	t.mu.Lock()
	all := make([]*session, 0, len(t.byID))
	for _, ss := range t.byID {
		all = append(all, ss)
	}
	t.mu.Unlock()
	for _, ss := range all {
		// A session at work ends its transaction itself or is met next time.
		if !ss.mu.TryLock() {
			continue
		}
		if ss.txn != nil && ss.txn.state == inProgress && match(ss.txn) {
			_ = ss.end(aborted) // closing a snapshot cannot fail while the store is open
		}
		ss.mu.Unlock()
	}
}

// disconnected aborts the transactions whose client went away.
func (t *sessionTable) disconnected(c *conn) {
	t.abortWhere(func(txn *transaction) bool { return txn.conn == c })
}

// expire aborts transactions older than a minute and forgets idle sessions.
func (t *sessionTable) expire(now time.Time) {
	t.abortWhere(func(txn *transaction) bool { return now.Sub(txn.started) > transactionLifetime })
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, ss := range t.byID {
		if now.Sub(ss.used) > sessionLifetime {
			delete(t.byID, id)
		}
	}
}

func (t *sessionTable) closeAll() {
	t.abortWhere(func(*transaction) bool { return true })
}

// forget ends sessions on their client's word, with their records.
func (s *Server) forget(ids []string) error {
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	for _, id := range ids {
		s.sessions.mu.Lock()
		ss := s.sessions.byID[id]
		delete(s.sessions.byID, id)
		s.sessions.mu.Unlock()
		if ss == nil {
			continue
		}
		ss.mu.Lock()
		err := ss.end(aborted)
		saved := ss.last != nil
		ss.mu.Unlock()
		if err != nil {
			return err
		}
		if saved {
			if err := batch.Delete(sessionKey(id), nil); err != nil {
				return fmt.Errorf("end session: %w", err)
			}
		}
	}
	if batch.Empty() {
		return nil
	}
	return s.commit(batch, nil)
}
