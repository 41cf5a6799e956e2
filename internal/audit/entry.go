// Package audit writes the record of who did what to whose data.
//
// An Entry lists opaque ids only, so that it may outlive the persons it speaks
// of. What it says about each person is sealed under that person's evidence
// unit, and the entry holds a salted commitment to it: with the key the details
// can be shown and proven, without it they are gone and the log stays whole.
//
// An entry of a change commits with the change (package change). Entries of
// reads are committed in groups, and nobody gets an answer before its entry is
// durable.
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Outcome tells how the action ended.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "OK"
	Refused Outcome = "REFUSED" // the caller may not
	Failed  Outcome = "FAILED"
)

// Actor is who acted: never a name, always an opaque id.
type Actor struct {
	Kind       string // MEMBER, MACHINE, OPERATOR, SYSTEM …
	ID         string
	Credential string // the API key or session that proved it
	OnBehalfOf string
	Role       string // of a member or operator, as it was then
}

// SubjectRef names a person an entry is about, with the commitment to the
// details sealed beside the entry.
type SubjectRef struct {
	ID         string
	Commitment [sha256.Size]byte
}

// Entry is one line of the audit log. Every field is part of its leaf.
type Entry struct {
	ID        string
	Tenant    tenant.ID
	At        time.Time // UTC, whole milliseconds
	Actor     Actor
	Action    string // "record.update"
	Object    string // opaque id, "" when the action has no one object
	Subjects  []SubjectRef
	Purpose   string // as stated by the caller
	Outcome   Outcome
	Policy    string // the policy that decided
	RequestID string
	Network   string   // the caller's network, /24 or /48: not an address
	Fields    []string // names of the fields changed or refused
	Contents  []Content
}

// Content is what a change made of an object: so a stored value that is taken
// back to what it was before shows.
type Content struct {
	Object  string
	Version int64  // from 1, one more with each change; 0 of an object that is gone for good
	Digest  []byte // SHA-256 of what is stored, values sealed; none of what is gone
}

// Row is an entry as it is stored: with the sealed details, one per subject in
// the entry's order, which are no part of the leaf.
type Row struct {
	Entry
	Sealed [][]byte

	Feed         Feed
	SecretFields []string // those of Fields that only the AML feed tells
}

// Feed is the change feed that tells of an entry. It is no part of the leaf.
type Feed string

// The feeds. An entry that is no change, or only bookkeeping, is in none.
const (
	FeedNone Feed = ""
	FeedOpen Feed = "OPEN"
	FeedAML  Feed = "AML" // for those with the clearance: about data that law keeps secret
)

// The first byte of a leaf. An entry with neither a role nor contents is in the
// first form, any other in the second: so an entry has one leaf.
const (
	leafPlain = 1
	leafFull  = 2 // the role and the contents follow
)

// Leaf returns the entry's canonical encoding, the leaf of the Merkle log:
// the version byte, then each field in the order of the struct, as a big-endian
// uint32 length and that many bytes; the time and versions as 8 bytes, of Unix
// milliseconds; a list as a uint32 count and its items. The actor's role and the
// contents are the last. The form is fixed by the vectors in testdata.
func (e *Entry) Leaf() []byte {
	b := make([]byte, 0, 512)
	full := e.Actor.Role != "" || len(e.Contents) > 0
	if full {
		b = append(b, leafFull)
	} else {
		b = append(b, leafPlain)
	}
	str := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // far below 4 GiB
		b = append(b, s...)
	}
	count := func(n int) {
		b = binary.BigEndian.AppendUint32(b, uint32(n)) //nolint:gosec // far below 4 G items
	}
	str(e.ID)
	str(string(e.Tenant))
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixMilli()))
	str(e.Actor.Kind)
	str(e.Actor.ID)
	str(e.Actor.Credential)
	str(e.Actor.OnBehalfOf)
	str(e.Action)
	str(e.Object)
	count(len(e.Subjects))
	for _, s := range e.Subjects {
		str(s.ID)
		b = append(b, s.Commitment[:]...)
	}
	str(e.Purpose)
	str(string(e.Outcome))
	str(e.Policy)
	str(e.RequestID)
	str(e.Network)
	count(len(e.Fields))
	for _, f := range e.Fields {
		str(f)
	}
	if !full {
		return b
	}
	str(e.Actor.Role)
	count(len(e.Contents))
	for _, c := range e.Contents {
		str(c.Object)
		b = binary.BigEndian.AppendUint64(b, uint64(c.Version)) //nolint:gosec // read back as it was
		str(string(c.Digest))
	}
	return b
}

// ErrLeaf reports bytes that are no leaf of a form that is known.
var ErrLeaf = errors.New("not a leaf of the audit log")

// leafReader takes a leaf apart.
type leafReader struct {
	b   []byte
	bad bool
}

func (r *leafReader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *leafReader) number() int {
	if b := r.take(4); b != nil {
		return int(binary.BigEndian.Uint32(b))
	}
	return 0
}

// wide reads 8 bytes.
func (r *leafReader) wide() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // as it was encoded
	}
	return 0
}

// form reads the first byte; it returns 0 for a form that isn't known.
func (r *leafReader) form() byte {
	if v := r.take(1); v != nil && (v[0] == leafPlain || v[0] == leafFull) {
		return v[0]
	}
	return 0
}

func (r *leafReader) str() string { return string(r.take(r.number())) }

// count returns the length of a list of items that take at least size bytes each.
func (r *leafReader) count(size int) int {
	n := r.number()
	if n > len(r.b)/size {
		r.bad = true
		return 0
	}
	return n
}

// LeafOf returns the id and tenant of the entry that a leaf encodes, or ErrLeaf.
func LeafOf(leaf []byte) (id []byte, of []byte, err error) {
	r := leafReader{b: leaf}
	if r.form() == 0 {
		return nil, nil, ErrLeaf
	}
	if id, of = r.take(r.number()), r.take(r.number()); r.bad {
		return nil, nil, ErrLeaf
	}
	return id, of, nil
}

// ParseLeaf returns the entry that a leaf encodes, or ErrLeaf.
func ParseLeaf(leaf []byte) (*Entry, error) {
	r := leafReader{b: leaf}
	form := r.form()
	if form == 0 {
		return nil, ErrLeaf
	}
	e := &Entry{ID: r.str(), Tenant: tenant.ID(r.str()), At: time.UnixMilli(r.wide()).UTC()}
	e.Actor = Actor{Kind: r.str(), ID: r.str(), Credential: r.str(), OnBehalfOf: r.str()}
	e.Action, e.Object = r.str(), r.str()
	for range r.count(4 + sha256.Size) {
		s := SubjectRef{ID: r.str()}
		copy(s.Commitment[:], r.take(sha256.Size))
		e.Subjects = append(e.Subjects, s)
	}
	e.Purpose, e.Outcome, e.Policy, e.RequestID, e.Network = r.str(), Outcome(r.str()), r.str(), r.str(), r.str()
	for range r.count(4) {
		e.Fields = append(e.Fields, r.str())
	}
	if form == leafFull {
		e.Actor.Role = r.str()
		for range r.count(4 + 8 + 4) {
			c := Content{Object: r.str(), Version: r.wide()}
			if digest := r.str(); digest != "" {
				c.Digest = []byte(digest)
			}
			e.Contents = append(e.Contents, c)
		}
		r.bad = r.bad || e.Actor.Role == "" && len(e.Contents) == 0
	}
	if r.bad || len(r.b) > 0 {
		return nil, ErrLeaf
	}
	return e, nil
}

// Touch is what an action did to one person's data: which object, in which
// version. It becomes the sealed details of an entry.
type Touch struct {
	Subject string   `json:"-"`
	Object  string   `json:"object"`
	Version int64    `json:"version,omitempty"`
	Digest  []byte   `json:"-"` // SHA-256 of what a change stored; with a version it is among the entry's contents
	Fields  []string `json:"fields,omitempty"`
	Secret  bool     `json:"secret,omitempty"` // by AML law: the person is not told
}

// details groups touches by subject, in order of first appearance, and encodes
// each group canonically.
func details(touches []Touch) (subjects []string, encoded [][]byte, err error) {
	bySubject := make(map[string][]Touch, len(touches))
	for _, t := range touches {
		if _, seen := bySubject[t.Subject]; !seen {
			subjects = append(subjects, t.Subject)
		}
		bySubject[t.Subject] = append(bySubject[t.Subject], t)
	}
	encoded = make([][]byte, len(subjects))
	for i, s := range subjects {
		if encoded[i], err = json.Marshal(bySubject[s]); err != nil {
			return nil, nil, err
		}
	}
	return subjects, encoded, nil
}

// contents returns those of an event, with what its touches made.
func (ev *Event) contents() []Content {
	all := slices.Clone(ev.Contents)
	for _, t := range ev.Touches {
		made := Content{t.Object, t.Version, t.Digest}
		known := func(c Content) bool { return c.Object == made.Object && c.Version == made.Version }
		if t.Version > 0 && len(t.Digest) > 0 && !slices.ContainsFunc(all, known) {
			all = append(all, made)
		}
	}
	return all
}

// saltSize is the length in bytes of the random salt of a commitment. Sealed
// details are the salt, followed by the details' JSON.
const saltSize = 16

// Commit returns the commitment to details under salt: SHA-256 over salt and details.
func Commit(salt, details []byte) [sha256.Size]byte {
	return sha256.Sum256(slices.Concat(salt, details))
}

// ErrDetails reports details that are not what the entry commits to.
var ErrDetails = errs.New(errs.Internal, "the details are not those that the entry commits to")

// Details opens the sealed details on the n-th subject and returns their JSON.
// It fails with what the vault says of the key, or with ErrDetails.
func (r *Row) Details(keys *vault.Keys, n int) ([]byte, error) {
	if n >= len(r.Sealed) || len(r.Sealed[n]) == 0 {
		return nil, ErrDetails
	}
	subject := r.Subjects[n]
	v, err := keys.Open(Evidence(r.Tenant, subject.ID), vault.Place{Collection: Collection, Record: r.ID, Field: subject.ID}, r.Sealed[n])
	if err != nil {
		return nil, fmt.Errorf("open audit details: %w", err)
	}
	b, ok := v.RevealBytes()
	if !ok || len(b) < saltSize || Commit(b[:saltSize], b[saltSize:]) != subject.Commitment {
		return nil, ErrDetails
	}
	return b[saltSize:], nil
}
