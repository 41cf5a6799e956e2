package vault

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"github.com/vogter/vogter/internal/personal"
)

// The header of everything sealed: version and algorithm, BSON type, key id.
const (
	versionValue  = 1 // AES-256-GCM over one BSON value
	versionStream = 2 // AES-256-GCM over chunks

	headerSize = 1 + 1 + 16
	nonceSize  = 12
	tagSize    = 16

	// Overhead is how much longer a sealed value is than its BSON value, before padding.
	Overhead = headerSize + nonceSize + tagSize
)

// Keys are the opened keys of some owners, for the time of one request or job
// step. They may be used concurrently and must not be kept.
type Keys struct {
	entries map[Owner]*entry

	mu      sync.Mutex
	ciphers map[*generation]cipher.AEAD // of fields, made at first use
}

// cipher returns the cipher of g for fields.
func (k *Keys) cipher(g *generation) (cipher.AEAD, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if aead, ok := k.ciphers[g]; ok {
		return aead, nil
	}
	key, err := g.root.derive(purposeField)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	if k.ciphers == nil {
		k.ciphers = make(map[*generation]cipher.AEAD, len(k.entries))
	}
	k.ciphers[g] = aead
	return aead, nil
}

// entry returns o's key, fit to seal and open.
func (k *Keys) entry(o Owner) (*entry, error) {
	e, ok := k.entries[o]
	if !ok {
		return nil, fmt.Errorf("key of %s was not loaded: %w", o.ID(), ErrKeyMissing)
	}
	if e.err != nil {
		return nil, fmt.Errorf("key of %s: %w", o.ID(), e.err)
	}
	return e, nil
}

// generation returns the generation of e that has the key id, which stands in a
// ciphertext and is not to be trusted: another owner's is ErrAuth.
func (e *entry) generation(id KeyID) (*generation, error) {
	for _, g := range e.generations {
		if g.id == id {
			return g, nil
		}
	}
	if slices.Contains(e.lost, id) {
		return nil, fmt.Errorf("the generation is destroyed, or doesn't open: %w", ErrKeyMissing)
	}
	return nil, fmt.Errorf("key id is none of the owner's: %w", ErrAuth)
}

// Seal encrypts v under o's current key for the place p. Enumerations are
// padded, so that the length doesn't tell which word it is.
func (k *Keys) Seal(o Owner, p Place, v personal.Value) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("seal value: %w", err)
	}
	e, err := k.entry(o)
	if err != nil {
		return nil, fmt.Errorf("seal value: %w", err)
	}
	typ, plain, err := encodeValue(v)
	if err != nil {
		return nil, fmt.Errorf("seal value: %w", err)
	}
	aead, err := k.cipher(e.current)
	if err != nil {
		return nil, fmt.Errorf("seal value: %w", err)
	}
	sealed := make([]byte, 0, Overhead+len(plain))
	sealed = append(sealed, versionValue, typ)
	sealed = append(sealed, e.current.id[:]...)
	return seal(aead, sealed, plain, valueAAD(sealed, o, p)), nil
}

// Open decrypts what Seal made for the same owner and place. Anything else is
// ErrAuth.
func (k *Keys) Open(o Owner, p Place, sealed []byte) (personal.Value, error) {
	if err := p.check(); err != nil {
		return personal.Value{}, fmt.Errorf("open value: %w", err)
	}
	e, err := k.entry(o)
	if err != nil {
		return personal.Value{}, fmt.Errorf("open value: %w", err)
	}
	if len(sealed) < Overhead || sealed[0] != versionValue {
		return personal.Value{}, fmt.Errorf("open value: %w", ErrAuth)
	}
	header := sealed[:headerSize]
	g, err := e.generation(KeyID(header[2:]))
	if err != nil {
		return personal.Value{}, fmt.Errorf("open value: %w", err)
	}
	aead, err := k.cipher(g)
	if err != nil {
		return personal.Value{}, fmt.Errorf("open value: %w", err)
	}
	plain, err := aead.Open(nil, nil, sealed[headerSize:], valueAAD(header, o, p))
	if err != nil {
		return personal.Value{}, fmt.Errorf("open value: %w", ErrAuth)
	}
	v, err := decodeValue(header[1], plain)
	if err != nil {
		return personal.Value{}, fmt.Errorf("open value: %w", err)
	}
	return v, nil
}

// MAC returns the HMAC-SHA-256 of parts under a key derived from o's current
// key for this purpose: for what must be recognised and never read, such as API
// keys and the inputs of idempotent calls. The parts are told apart by their lengths.
func (k *Keys) MAC(o Owner, purpose string, parts ...[]byte) ([sha256.Size]byte, error) {
	e, err := k.entry(o)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("make mac: %w", err)
	}
	return e.current.mac(o, purpose, parts)
}

// VerifyMAC reports, in constant time, whether mac is that of parts under the
// same owner and purpose, in any living generation of the key.
func (k *Keys) VerifyMAC(mac [sha256.Size]byte, o Owner, purpose string, parts ...[]byte) (bool, error) {
	e, err := k.entry(o)
	if err != nil {
		return false, fmt.Errorf("verify mac: %w", err)
	}
	equal := false
	for _, g := range e.generations {
		want, err := g.mac(o, purpose, parts)
		if err != nil {
			return false, fmt.Errorf("verify mac: %w", err)
		}
		equal = hmac.Equal(mac[:], want[:]) || equal
	}
	return equal, nil
}

func (g *generation) mac(o Owner, purpose string, parts [][]byte) (sum [sha256.Size]byte, err error) {
	key, err := g.root.derive(purposeMAC, purpose)
	if err != nil {
		return sum, fmt.Errorf("make mac: %w", err)
	}
	b := appendOwner(nil, o)
	for _, p := range parts {
		b = appendPart(b, p)
	}
	h := hmac.New(sha256.New, key)
	h.Write(b)
	h.Sum(sum[:0])
	return sum, nil
}

// valueAAD returns what a sealed value is bound to.
func valueAAD(header []byte, o Owner, p Place) []byte {
	b := make([]byte, 0, len(header)+6*4+
		len(o.Tenant)+len(o.Subject)+len(o.Unit)+len(p.Collection)+len(p.Record)+len(p.Field))
	b = append(b, header...)
	return appendPlace(appendOwner(b, o), p)
}

func appendOwner(b []byte, o Owner) []byte {
	b = appendPart(b, string(o.Tenant))
	b = appendPart(b, o.Subject)
	return appendPart(b, string(o.Unit))
}

func appendPlace(b []byte, p Place) []byte {
	b = appendPart(b, p.Collection)
	b = appendPart(b, p.Record)
	return appendPart(b, p.Field)
}
