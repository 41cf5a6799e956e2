// Package ledger keeps, outside the database and its backups, what a restored
// backup must not undo: erasures, withdrawals of consent, objections,
// restrictions, holds and revoked credentials.
//
// An entry is an object of its own, numbered, locked and chained to the one before
// by its hash. It holds opaque ids and times only. The database remembers the
// last entry it knows; one that was restored knows fewer than there are, and Check
// has them carried out again before anybody is let in.
package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
)

// Kind is what an entry tells of.
type Kind string

// The kinds of entries.
const (
	Genesis     Kind = "GENESIS"      // binds the ledger to its database
	EraseIntent Kind = "ERASE_INTENT" // from now on the data is gone
	EraseDone   Kind = "ERASE_DONE"
	Withdrawal  Kind = "WITHDRAWAL" // of consent
	Objection   Kind = "OBJECTION"
	Restriction Kind = "RESTRICTION"
	Hold        Kind = "HOLD"
	Revocation  Kind = "REVOCATION" // of a credential
)

// Entry is one line of the ledger.
type Entry struct {
	Number   int64     `json:"number"` // from 0
	Previous string    `json:"previous"`
	Database string    `json:"database"`
	At       time.Time `json:"at"`
	Kind     Kind      `json:"kind"`
	Tenant   tenant.ID `json:"tenant,omitempty"`
	Object   string    `json:"object,omitempty"` // what it is an entry of: an erasure, a consent, a credential
	Subject  string    `json:"subject,omitempty"`
	Units    []string  `json:"units,omitempty"`  // of an erasure; of an invalidation of many consents, its purpose or notice
	Spared   []string  `json:"spared,omitempty"` // of the erasure of a person: datasets that outlive it
	// State tells, of kinds that can be taken back, what holds now: "ON" or "OFF"; of a
	// withdrawal, in which state the consent ended.
	State string `json:"state,omitempty"`
}

// The reasons to refuse the start.
var (
	ErrOtherDatabase = errs.New(errs.Internal, "the ledger is another database's: the settings name a wrong database or bucket")
	ErrBroken        = errs.New(errs.Internal, "the ledger's chain is broken: an entry is missing or altered")
	ErrForged        = errs.New(errs.Internal, "the ledger has an entry that no key of this platform signed")
	ErrNoReplay      = errs.New(errs.Internal, "the ledger has an entry that this program can't carry out again")
)

// Position is the last entry that the database knows.
type Position struct {
	Database string
	Number   int64
	Hash     string // of the entry's object, hexadecimal
}

// Store keeps the position, in the database.
type Store interface {
	// Position returns what is stored; the first call stores the one given.
	Position(ctx context.Context, first Position) (Position, error)
	// Advance stores p unless the position is as far already.
	Advance(ctx context.Context, p Position) error
}

// Objects is the object storage.
type Objects interface {
	// PutLocked fails with an error of kind CONFLICT when the key is taken.
	PutLocked(ctx context.Context, key string, content []byte, until time.Time) error
	// Get fails with an error of kind NOT_FOUND.
	Get(ctx context.Context, key string, limit int64) ([]byte, error)
	Keys(ctx context.Context, prefix, after string) iter.Seq2[string, error]
}

// Signer signs entries, and knows the keys.
type Signer interface {
	Sign(ctx context.Context, p sign.Purpose, text []byte) ([]byte, error)
	Keys(ctx context.Context) (*sign.KeySet, error)
}

// Config is what a Ledger needs.
type Config struct {
	Store   Store
	Objects Objects
	Signer  Signer
	Now     func() time.Time
	// Keep is how long entries are locked: longer than any backup is kept.
	Keep time.Duration
}

// Ledger is the ledger of one database. It may be used concurrently, also by
// several processes.
type Ledger struct {
	Config

	mu   sync.Mutex
	keys *sign.KeySet // that entries are checked with
	kept string       // id of the key that lies beside the entries for sure
}

// New returns a Ledger. Check must be called before it is used.
func New(c Config) *Ledger { return &Ledger{Config: c} }

const (
	prefix   = "ledger_"
	textKind = "vogter/ledger/1"
	maxEntry = 64 << 10

	// keysPrefix begins the keys of objects with the public keys of the platform,
	// one for each key that ever signed an entry: a database that was restored
	// knows none that were made since.
	keysPrefix = "ledgerkeys_"
	maxKeys    = 4 << 20
)

// key returns the key of an entry's object; keys sort as numbers do.
func key(number int64) string { return fmt.Sprintf("%s%016d", prefix, number) }

// Append adds an entry, whose Number, Previous, Database and At it sets, and
// returns its number once it is stored and locked. An entry that is appended
// again after a crash may be there twice: it says the same twice.
func (l *Ledger) Append(ctx context.Context, e Entry) (int64, error) {
	e.At = l.Now().UTC().Truncate(time.Millisecond)
	for {
		at, err := l.Store.Position(ctx, Position{})
		if err != nil {
			return 0, fmt.Errorf("append to ledger: %w", err)
		}
		if at.Hash == "" {
			return 0, fmt.Errorf("append to ledger: %w", ErrBroken) // it was never checked
		}
		next, err := l.put(ctx, at, e)
		if errs.KindOf(err) == errs.Conflict { // another process was first
			if _, next, err = l.next(ctx, at); err == nil {
				err = l.Store.Advance(ctx, next)
			}
			if err != nil {
				return 0, fmt.Errorf("append to ledger: %w", err)
			}
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("append to ledger: %w", err)
		}
		return next.Number, l.Store.Advance(ctx, next)
	}
}

// put stores the entry that follows a position.
func (l *Ledger) put(ctx context.Context, at Position, e Entry) (Position, error) {
	e.Number, e.Previous, e.Database = at.Number+1, at.Hash, at.Database
	line, err := json.Marshal(e)
	if err != nil {
		return Position{}, fmt.Errorf("encode entry: %w", err)
	}
	content := sign.Text(textKind, string(line))
	if e.Kind != Genesis { // there is no tenant yet whose key could sign
		if content, err = l.Signer.Sign(ctx, sign.Ledger, content); err != nil {
			return Position{}, err
		}
		if err := l.keepKeys(ctx, content); err != nil {
			return Position{}, err
		}
	}
	return Position{at.Database, e.Number, hash(content)}, l.Objects.PutLocked(ctx, key(e.Number), content, l.Now().Add(l.Keep))
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// errHead says that there is no further entry.
var errHead = errors.New("no further entry")

// next reads the entry that follows a position and checks that it does.
func (l *Ledger) next(ctx context.Context, at Position) (Entry, Position, error) {
	content, err := l.Objects.Get(ctx, key(at.Number+1), maxEntry)
	if errs.KindOf(err) == errs.NotFound {
		return Entry{}, at, errHead
	}
	if err != nil {
		return Entry{}, at, err
	}
	e, ok := parse(content)
	switch {
	case !ok || e.Number != at.Number+1 || e.Previous != at.Hash:
		return e, at, ErrBroken.Because(fmt.Errorf("entry %d", at.Number+1))
	case e.Database != at.Database:
		return e, at, ErrOtherDatabase
	}
	return e, Position{at.Database, e.Number, hash(content)}, l.signed(ctx, &e, content)
}

// parse reads what an object says, whether it is signed or not.
func parse(content []byte) (e Entry, ok bool) {
	kind, rest, _ := bytes.Cut(content, []byte("\n"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return e, string(kind) == textKind && json.Unmarshal(line, &e) == nil
}

// recent is how many entries before the one that the database knows Check reads
// again: enough to see that the chain leads where it did, in bounded time. Visit
// reads all.
const recent = 100

// Check compares the ledger with the database, before anything is served: the
// last entries that it knows, and all that it doesn't. Those are carried out again
// by replay, which must be repeatable. It fails with ErrOtherDatabase,
// ErrBroken or ErrForged, or as replay does; then nothing may be served.
func (l *Ledger) Check(ctx context.Context, database string, replay func(ctx context.Context, e Entry) error) error {
	begin := Position{Database: database, Number: -1}
	at, err := l.Store.Position(ctx, begin)
	if err != nil {
		return fmt.Errorf("check ledger: %w", err)
	}
	if at.Hash == "" {
		if at, err = l.found(ctx, at); err != nil {
			return fmt.Errorf("check ledger: %w", err)
		}
	}
	if err := l.known(ctx, at); err != nil {
		return fmt.Errorf("check ledger: %w", err)
	}
	for {
		e, next, err := l.next(ctx, at)
		if errors.Is(err, errHead) {
			break
		}
		if err == nil {
			err = replay(ctx, e)
		}
		if err == nil {
			err = l.Store.Advance(ctx, next)
		}
		if err != nil {
			return fmt.Errorf("check ledger: entry %d: %w", at.Number+1, err)
		}
		at = next
	}
	return l.end(ctx, at)
}

// known checks the entry at a position, and some before it, against its hash.
func (l *Ledger) known(ctx context.Context, at Position) error {
	for first := at.Number - recent; at.Number >= max(first, 0); at.Number-- {
		content, err := l.Objects.Get(ctx, key(at.Number), maxEntry)
		switch {
		case errs.KindOf(err) == errs.NotFound:
			return ErrBroken.Because(fmt.Errorf("entry %d is missing", at.Number))
		case err != nil:
			return err
		}
		e, ok := parse(content)
		switch {
		case ok && e.Database != at.Database:
			return ErrOtherDatabase
		case !ok || hash(content) != at.Hash || e.Number != at.Number:
			return ErrBroken.Because(fmt.Errorf("entry %d is another than the one known", at.Number))
		}
		if err := l.signed(ctx, &e, content); err != nil {
			return err
		}
		at.Hash = e.Previous
	}
	return nil
}

// signed fails with ErrForged unless an entry is signed by a key of the platform.
func (l *Ledger) signed(ctx context.Context, e *Entry, content []byte) error {
	if e.Number == 0 && e.Kind == Genesis {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		if err := l.loadKeys(ctx); err != nil {
			return err
		}
	}
	_, _, err := l.keys.Open(sign.Ledger, content)
	if errors.Is(err, sign.ErrUntrusted) { // a key that was made since
		if lerr := l.loadKeys(ctx); lerr != nil {
			return lerr
		}
		if lerr := l.extend(ctx, content); lerr != nil {
			return lerr
		}
		_, _, err = l.keys.Open(sign.Ledger, content)
	}
	if err != nil {
		return ErrForged.Because(fmt.Errorf("entry %d: %w", e.Number, err))
	}
	return nil
}

func (l *Ledger) loadKeys(ctx context.Context) (err error) {
	if l.keys, err = l.Signer.Keys(ctx); err != nil {
		return fmt.Errorf("load signing keys: %w", err)
	}
	return nil
}

// extend adds the keys that lie beside the entries, as far as they follow from
// those of the database.
func (l *Ledger) extend(ctx context.Context, content []byte) error {
	object, ok := keysKey(content)
	if !ok {
		return nil
	}
	b, err := l.Objects.Get(ctx, object, maxKeys)
	if errs.KindOf(err) == errs.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if more, err := sign.ParseKeySet(b); err == nil {
		l.keys.Extend(more)
	}
	return nil
}

// keysKey returns the key of the object with the keys that were there when an
// entry was signed, named for the key that signed it.
func keysKey(content []byte) (string, bool) {
	id, err := sign.SignerOf(content)
	_, hash, ok := strings.Cut(id, "+")
	return keysPrefix + hash, err == nil && ok
}

// keepKeys lays the platform's public keys beside the entries, once for each key
// that signs.
func (l *Ledger) keepKeys(ctx context.Context, signed []byte) error {
	object, ok := keysKey(signed)
	if !ok {
		return errors.New("the entry isn't signed")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == object {
		return nil
	}
	keys, err := l.Signer.Keys(ctx)
	if err != nil {
		return fmt.Errorf("load signing keys: %w", err)
	}
	b, err := keys.MarshalJSON()
	if err != nil {
		return err
	}
	err = l.Objects.PutLocked(ctx, object, b, l.Now().Add(l.Keep))
	if err != nil && errs.KindOf(err) != errs.Conflict {
		return err
	}
	l.kept = object
	return nil
}

// found makes the first entry, or finds it.
func (l *Ledger) found(ctx context.Context, at Position) (Position, error) {
	first, err := l.put(ctx, at, Entry{Kind: Genesis, At: l.Now().UTC().Truncate(time.Millisecond)})
	if errs.KindOf(err) == errs.Conflict { // of another process, or of another database
		_, first, err = l.next(ctx, at)
	}
	if err != nil {
		return at, err
	}
	return first, l.Store.Advance(ctx, first)
}

// end fails unless a position is that of the last entry.
func (l *Ledger) end(ctx context.Context, at Position) error {
	for beyond, err := range l.Objects.Keys(ctx, prefix, key(at.Number)) {
		if err != nil {
			return fmt.Errorf("check ledger: %w", err)
		}
		if beyond != key(at.Number+1) { // that one another process may have added just now
			return fmt.Errorf("check ledger: %w", ErrBroken.Because(fmt.Errorf("entry %d is missing", at.Number+1)))
		}
	}
	return nil
}

// Visit calls visit for every entry, the oldest first, and fails with ErrBroken at
// the first that doesn't follow from the one before, or with ErrForged at one that
// isn't signed.
func (l *Ledger) Visit(ctx context.Context, visit func(Entry) error) error {
	at, err := l.Store.Position(ctx, Position{})
	if err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	last := at
	for at = (Position{Database: last.Database, Number: -1}); ; {
		e, next, err := l.next(ctx, at)
		if errors.Is(err, errHead) && at.Number >= last.Number {
			return l.end(ctx, at)
		}
		if errors.Is(err, errHead) {
			err = ErrBroken
		}
		if err == nil && next.Number == last.Number && next.Hash != last.Hash {
			err = ErrBroken
		}
		if err == nil {
			err = visit(e)
		}
		if err != nil {
			return fmt.Errorf("read ledger: entry %d: %w", at.Number+1, err)
		}
		at = next
	}
}
