package sign

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// SignJWS returns payload as a JSON Web Signature in compact form (RFC 7515,
// Ed25519), signed with the purpose's key, which its header names as in the
// platform's key set. The header's typ is the given one: what a payload of one type
// says can't be taken for another's. The same payload under the same key has the
// same signature. It must not be called inside a transaction.
func (r *Ring) SignJWS(ctx context.Context, p Purpose, typ string, payload []byte) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, of, err := r.enter(ctx)
	if err != nil {
		return "", err
	}
	if _, err := r.current(ctx, of, p); err != nil {
		return "", fmt.Errorf("sign as %s: %w", p, err)
	}
	k := r.active(p) // which current has opened
	s, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: ed25519.NewKeyFromSeed(r.seeds[k.ID()]), KeyID: k.ID()},
	}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", errors.New("make signer: malformed key") // the cause may hold the key
	}
	signed, err := s.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign as %s: %w", p, err)
	}
	return signed.CompactSerialize()
}

// OpenJWS returns the payload of a JSON Web Signature in compact form that a key of
// that purpose signed, and the key. It fails with ErrForm, also of another typ,
// ErrUntrusted or ErrAltered.
func (s *KeySet) OpenJWS(p Purpose, typ, compact string) (payload []byte, by *Key, err error) {
	signed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return nil, nil, ErrForm
	}
	if same, err := signed.CompactSerialize(); err != nil || same != compact {
		return nil, nil, ErrForm // another text of the same bytes
	}
	header := signed.Signatures[0].Protected
	if header.ExtraHeaders[jose.HeaderType] != typ {
		return nil, nil, ErrForm
	}
	for i := range s.keys {
		if k := &s.keys[i]; k.Purpose == p && k.ID() == header.KeyID {
			by = k
		}
	}
	if by == nil {
		return nil, nil, ErrUntrusted
	}
	if payload, err = signed.Verify(by.Public); err != nil {
		return nil, nil, ErrAltered
	}
	return payload, by, nil
}
