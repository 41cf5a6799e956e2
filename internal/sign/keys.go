// Package sign signs whatever the platform hands out or publishes, and checks
// such signatures.
//
// What is signed is a note (golang.org/x/mod/sumdb/note): a text whose first
// line names its kind, and below it Ed25519 signatures, each with the name of
// its key. A key serves one purpose. It is introduced by a note of its own,
// signed by itself, by its predecessor and by the root key in force, so that
// whoever trusts one root key can trust all keys that follow from it, through
// every rotation. internal/audit/FORMAT.md has the forms.
//
// KeySet is all that checking takes: it works offline. Ring keeps the private keys.
package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Purpose is what a key signs.
type Purpose string

// The purposes.
const (
	Root        Purpose = "root"        // introduces the other keys
	Checkpoint  Purpose = "checkpoint"  // of the audit log
	Package     Purpose = "package"     // exports and bundles
	Ledger      Purpose = "ledger"      // of erasures
	Receipt     Purpose = "receipt"     // of consent
	Certificate Purpose = "certificate" // of erasure
	Evidence    Purpose = "evidence"    // for assurance
)

// Purposes returns all there are.
func Purposes() []Purpose {
	return []Purpose{Root, Checkpoint, Package, Ledger, Receipt, Certificate, Evidence}
}

// Sentinels of what can't be trusted.
var (
	ErrForm      = errors.New("not a signed note")
	ErrUntrusted = errors.New("not signed by any key that is trusted")
	ErrAltered   = errors.New("altered: the signature is not of this text")
	ErrKeys      = errors.New("not a key set")
)

// Key is the public half of a signing key.
type Key struct {
	Purpose Purpose
	Number  int    // within its purpose, from 1
	Name    string // of the key in notes: vogter/<platform>/<purpose>
	Public  ed25519.PublicKey
	From    time.Time
	Retired time.Time // since when it signs no more; zero while it does
	Intro   []byte    // the note that introduces it
}

// introKind is the first line of a note that introduces a key.
const introKind = "vogter/key/1"

// algEd25519 is how the note format writes the algorithm before a public key.
const algEd25519 = 1

// keyName returns the name that keys of a purpose have on a platform.
func keyName(platform string, p Purpose) string { return "vogter/" + platform + "/" + string(p) }

// Verifier returns the key in the form of the note format: name, hash and public key.
func (k *Key) Verifier() string {
	v, err := note.NewEd25519VerifierKey(k.Name, k.Public)
	if err != nil {
		return "" // a key of another length, which is trusted by nobody
	}
	return v
}

// ID returns the key's id: its name and hash, as signatures have them.
func (k *Key) ID() string {
	name, rest, _ := strings.Cut(k.Verifier(), "+")
	hash, _, _ := strings.Cut(rest, "+")
	return name + "+" + hash
}

// Fingerprint returns the SHA-256 of the public key, hexadecimal: to compare by eye.
func (k *Key) Fingerprint() string {
	sum := sha256.Sum256(k.Public)
	return hex.EncodeToString(sum[:])
}

// introduction is the text that introduces the key.
func (k *Key) introduction() string {
	return strings.Join([]string{
		introKind, string(k.Purpose), strconv.Itoa(k.Number), k.Verifier(), k.From.UTC().Format(time.RFC3339), "",
	}, "\n")
}

// KeySet is a set of keys that are trusted.
type KeySet struct{ keys []Key }

// NewKeySet returns the set of keys, trusted as they are.
func NewKeySet(keys ...Key) *KeySet { return &KeySet{slices.Clone(keys)} }

// Keys returns the keys of the set.
func (s *KeySet) Keys() []Key { return s.keys }

// Root returns the newest root key, or nil.
func (s *KeySet) Root() *Key {
	var root *Key
	for i := range s.keys {
		if k := &s.keys[i]; k.Purpose == Root && (root == nil || k.Number > root.Number) {
			root = k
		}
	}
	return root
}

// Has reports whether the set has the key.
func (s *KeySet) Has(k *Key) bool {
	return slices.ContainsFunc(s.keys, func(have Key) bool { return have.Name == k.Name && have.Public.Equal(k.Public) })
}

// Extend adds those keys of more that a key of the set introduces, directly or
// through others of them.
func (s *KeySet) Extend(more *KeySet) {
	for grown := true; grown; {
		grown = false
		for i := range more.keys {
			k := &more.keys[i]
			if s.Has(k) || !s.introduces(k) {
				continue
			}
			s.keys = append(s.keys, *k)
			grown = true
		}
	}
}

// introduces reports whether a root key of the set, or k's predecessor, signed
// that k is a key.
func (s *KeySet) introduces(k *Key) bool {
	for _, by := range []Purpose{Root, k.Purpose} {
		if text, _, err := s.Open(by, k.Intro); err == nil && text == k.introduction() {
			return true
		}
	}
	return false
}

// verifiers are the keys of one purpose.
type verifiers struct {
	set     *KeySet
	purpose Purpose
}

// Verifier implements note.Verifiers.
func (v verifiers) Verifier(name string, hash uint32) (note.Verifier, error) {
	for i := range v.set.keys {
		if k := &v.set.keys[i]; k.Purpose == v.purpose && k.Name == name {
			if known, err := note.NewVerifier(k.Verifier()); err == nil && known.KeyHash() == hash {
				return known, nil
			}
		}
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}

// Open returns the text of a note that a key of that purpose signed, and the
// key. It fails with ErrForm, ErrUntrusted or ErrAltered.
func (s *KeySet) Open(p Purpose, msg []byte) (text string, by *Key, err error) {
	n, err := note.Open(msg, verifiers{s, p})
	if _, bad := errors.AsType[*note.InvalidSignatureError](err); bad {
		return "", nil, ErrAltered
	}
	if _, unknown := errors.AsType[*note.UnverifiedNoteError](err); unknown {
		return "", nil, ErrUntrusted
	}
	if err != nil {
		return "", nil, ErrForm
	}
	for i := range s.keys {
		if id := n.Sigs[0].Name + "+" + fmt.Sprintf("%08x", n.Sigs[0].Hash); s.keys[i].ID() == id {
			by = &s.keys[i]
		}
	}
	return n.Text, by, nil
}

// PurposeOf returns the purpose that a note's signature claims, and its text,
// neither of them checked. It fails with ErrForm.
func PurposeOf(msg []byte) (p Purpose, text string, err error) {
	n, err := unverified(msg)
	if err != nil {
		return "", "", err
	}
	name := n.UnverifiedSigs[0].Name
	return Purpose(name[strings.LastIndex(name, "/")+1:]), n.Text, nil
}

// SignerOf returns the id, as Key.ID has it, of the key that a note's first
// signature claims, unchecked. It fails with ErrForm.
func SignerOf(msg []byte) (string, error) {
	n, err := unverified(msg)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s+%08x", n.UnverifiedSigs[0].Name, n.UnverifiedSigs[0].Hash), nil
}

// unverified reads a note that has a signature.
func unverified(msg []byte) (*note.Note, error) {
	_, err := note.Open(msg, nil)
	e, ok := errors.AsType[*note.UnverifiedNoteError](err)
	if !ok || len(e.Note.UnverifiedSigs) == 0 {
		return nil, ErrForm
	}
	return e.Note, nil
}

// jwks is a key set as RFC 7517 has it, with the keys as RFC 8037 has them.
type jwks struct {
	Keys []jwk `json:"keys"`
}

type jwk struct {
	Type      string  `json:"kty"`
	Curve     string  `json:"crv"`
	X         string  `json:"x"`
	Algorithm string  `json:"alg"`
	Use       string  `json:"use"`
	ID        string  `json:"kid"`
	From      int64   `json:"nbf"`           // Unix seconds
	Retired   int64   `json:"exp,omitempty"` // likewise
	Purpose   Purpose `json:"vogter_purpose"`
	Number    int     `json:"vogter_number"`
	Intro     string  `json:"vogter_introduction"`
}

// MarshalJSON returns the set as a JSON Web Key Set.
func (s *KeySet) MarshalJSON() ([]byte, error) {
	out := jwks{Keys: make([]jwk, len(s.keys))}
	for i := range s.keys {
		k := &s.keys[i]
		out.Keys[i] = jwk{
			Type: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(k.Public), Algorithm: "EdDSA", Use: "sig",
			ID: k.ID(), From: k.From.Unix(), Purpose: k.Purpose, Number: k.Number, Intro: string(k.Intro),
		}
		if !k.Retired.IsZero() {
			out.Keys[i].Retired = k.Retired.Unix()
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode key set: %w", err)
	}
	return b, nil
}

// ParseKeySet reads a JSON Web Key Set that MarshalJSON wrote. Every key must be
// introduced, by itself at least; whether the set is to be trusted is for the
// caller to know.
func ParseKeySet(b []byte) (*KeySet, error) {
	var in jwks
	if err := json.Unmarshal(b, &in); err != nil || len(in.Keys) == 0 {
		return nil, ErrKeys
	}
	s := &KeySet{}
	for _, j := range in.Keys {
		public, err := base64.RawURLEncoding.DecodeString(j.X)
		name, _, ok := strings.Cut(j.ID, "+")
		if err != nil || !ok || len(public) != ed25519.PublicKeySize || j.Type != "OKP" || j.Curve != "Ed25519" ||
			!strings.HasSuffix(name, "/"+string(j.Purpose)) {
			return nil, fmt.Errorf("%w: a key is malformed", ErrKeys)
		}
		k := Key{
			Purpose: j.Purpose, Number: j.Number, Name: name, Public: public, From: time.Unix(j.From, 0).UTC(), Intro: []byte(j.Intro),
		}
		if j.Retired != 0 {
			k.Retired = time.Unix(j.Retired, 0).UTC()
		}
		if text, _, err := NewKeySet(k).Open(k.Purpose, k.Intro); err != nil || text != k.introduction() || k.ID() != j.ID {
			return nil, fmt.Errorf("%w: a key is not introduced by itself", ErrKeys)
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// Consistent fails with ErrKeys unless every key of the set follows from its
// first root key.
func (s *KeySet) Consistent() error {
	for i := range s.keys {
		if s.keys[i].Purpose != Root || s.keys[i].Number != 1 {
			continue
		}
		from := NewKeySet(s.keys[i])
		if from.Extend(s); len(from.keys) == len(s.keys) {
			return nil
		}
	}
	return fmt.Errorf("%w: not every key follows from the first root key", ErrKeys)
}

// signer returns a note.Signer of a private key.
func signer(name string, seed []byte) (note.Signer, error) {
	private := ed25519.NewKeyFromSeed(seed)
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("make signer: no Ed25519 key")
	}
	k := Key{Name: name, Public: public}
	_, rest, _ := strings.Cut(k.Verifier(), "+")
	hash, _, _ := strings.Cut(rest, "+")
	encoded := base64.StdEncoding.EncodeToString(slices.Concat([]byte{algEd25519}, seed))
	s, err := note.NewSigner("PRIVATE+KEY+" + name + "+" + hash + "+" + encoded)
	if err != nil {
		return nil, errors.New("make signer: malformed key") // the cause may hold the key
	}
	return s, nil
}

// Text returns the text of a note of a kind, such as "vogter/checkpoint/1", with
// one line for each of lines, which must not hold a line end.
func Text(kind string, lines ...string) []byte {
	var b bytes.Buffer
	b.WriteString(kind + "\n")
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	return b.Bytes()
}
