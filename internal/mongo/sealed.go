package mongo

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/vault"
)

// sealed is a sealed value as it is stored: a BSON binary of the first
// user-defined subtype.
type sealed []byte //nolint:recvcheck // decoding needs a pointer

const sealedSubtype = 0x80

// MarshalBSONValue implements bson.ValueMarshaler.
func (s sealed) MarshalBSONValue() (typ byte, data []byte, err error) {
	data = binary.LittleEndian.AppendUint32(make([]byte, 0, 5+len(s)), uint32(len(s))) //nolint:gosec // bounded by the size of a document
	return byte(bson.TypeBinary), append(append(data, sealedSubtype), s...), nil
}

// UnmarshalBSONValue implements bson.ValueUnmarshaler.
func (s *sealed) UnmarshalBSONValue(typ byte, data []byte) error {
	subtype, b, ok := bson.RawValue{Type: bson.Type(typ), Value: data}.BinaryOK()
	if !ok || subtype != sealedSubtype {
		return errors.New("not a sealed value")
	}
	*s = append(sealed(nil), b...)
	return nil
}

// sealer seals and opens the values of one document under one owner's key. It
// keeps the first error, so that a document is sealed field by field and checked
// once.
type sealer struct {
	keys  *vault.Keys
	owner vault.Owner
	place vault.Place
	err   error
}

func (s *sealer) seal(field string, v personal.Value) sealed {
	if s.err != nil {
		return nil
	}
	s.place.Field = field
	b, err := s.keys.Seal(s.owner, s.place, v)
	if err != nil {
		s.err = err
	}
	return b
}

func (s *sealer) text(field string, t personal.Text) sealed {
	if t.IsZero() {
		return nil
	}
	return s.seal(field, personal.String(t.Reveal()))
}

// json seals v, of plain types, as its JSON; nothing when it is empty.
func (s *sealer) json(field string, v any, empty bool) sealed {
	if empty || s.err != nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		s.err = err
		return nil
	}
	return s.seal(field, personal.String(string(b)))
}

func (s *sealer) open(field string, b sealed) personal.Value {
	if s.err != nil || b == nil {
		return personal.Value{}
	}
	s.place.Field = field
	v, err := s.keys.Open(s.owner, s.place, b)
	if err != nil {
		s.err = err
	}
	return v
}

func (s *sealer) openText(field string, b sealed) personal.Text {
	t, _ := s.open(field, b).RevealString()
	return personal.NewText(t)
}

func (s *sealer) openJSON(field string, b sealed, into any) {
	t, ok := s.open(field, b).RevealString()
	if !ok || s.err != nil {
		return
	}
	if err := json.Unmarshal([]byte(t), into); err != nil {
		s.err = fmt.Errorf("decode %s: malformed sealed JSON", field) // the cause may quote the value
	}
}

// unreadable reports whether err is that of one value that can't be opened, and
// not of a service that may be back soon; state says what the value then is.
func unreadable(err error) (state personal.State, is bool) {
	switch {
	case errors.Is(err, vault.ErrErased):
		return personal.Erased, true
	case errors.Is(err, vault.ErrKeyMissing), errors.Is(err, vault.ErrAuth):
		return personal.Withheld, true
	default:
		return "", false
	}
}

// digest returns the SHA-256 of the content as stored, for the audit log.
func digest(content any) ([]byte, error) {
	b, err := bson.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode content: %w", err)
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}
