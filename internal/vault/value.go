package vault

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
)

// The BSON types of sealed values, by the BSON specification 1.1.
const (
	bsonString   = 0x02
	bsonBinary   = 0x05
	bsonBool     = 0x08
	bsonDateTime = 0x09
	bsonInt64    = 0x12
)

const (
	// maxText bounds a text, and bytes, to what a BSON document can hold.
	maxText = 15 << 20

	// enumBlock is to what an enumeration's BSON string is padded with zeros. The
	// string's own length tells where it ends; at least one zero is added, which
	// tells it from other strings. Words of up to 58 bytes all look alike; a
	// longer one shows how many blocks it takes. A BOOL is always one byte.
	enumBlock = 64
)

// ErrValue reports a value that can't be sealed: none at all, text that is not
// valid UTF-8, or more than 15 MiB.
var ErrValue = errs.New(errs.Invalid, "the value is empty, not valid UTF-8 or too long")

// encodeValue returns v's BSON type and BSON value, padded where its kind asks for it.
func encodeValue(v personal.Value) (typ byte, plain []byte, err error) {
	switch v.Kind() {
	case personal.KindString, personal.KindEnum:
		s, _ := v.RevealString()
		if len(s) > maxText || !utf8.ValidString(s) {
			return 0, nil, ErrValue
		}
		size := 4 + len(s) + 1
		if v.Kind() == personal.KindEnum {
			size = (size/enumBlock + 1) * enumBlock
		}
		plain = make([]byte, size)
		binary.LittleEndian.PutUint32(plain, uint32(len(s)+1)) //nolint:gosec // G115: bounded by maxText
		copy(plain[4:], s)
		return bsonString, plain, nil
	case personal.KindBytes:
		b, _ := v.RevealBytes()
		if len(b) > maxText {
			return 0, nil, ErrValue
		}
		plain = make([]byte, 5+len(b))                       // length, subtype 0, bytes
		binary.LittleEndian.PutUint32(plain, uint32(len(b))) //nolint:gosec // G115: bounded by maxText
		copy(plain[5:], b)
		return bsonBinary, plain, nil
	case personal.KindBool:
		if b, _ := v.RevealBool(); b {
			return bsonBool, []byte{1}, nil
		}
		return bsonBool, []byte{0}, nil
	case personal.KindInt:
		n, _ := v.RevealInt()
		return bsonInt64, int64Bytes(n), nil
	case personal.KindTime:
		t, _ := v.RevealTime()
		return bsonDateTime, int64Bytes(t.UnixMilli()), nil
	case personal.KindNone:
	}
	return 0, nil, ErrValue
}

func int64Bytes(n int64) []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(n)) //nolint:gosec // G115: two's complement is BSON's form
}

// decodeValue reads what encodeValue wrote. The bytes are authentic, so an error
// means that another version of the program wrote them.
func decodeValue(typ byte, plain []byte) (personal.Value, error) {
	switch {
	case typ == bsonInt64 && len(plain) == 8:
		return personal.Int(int64(binary.LittleEndian.Uint64(plain))), nil //nolint:gosec // G115: two's complement is BSON's form
	case typ == bsonBool && len(plain) == 1 && plain[0] <= 1:
		return personal.Bool(plain[0] == 1), nil
	case typ == bsonDateTime && len(plain) == 8:
		return personal.Time(time.UnixMilli(int64(binary.LittleEndian.Uint64(plain)))), nil //nolint:gosec // G115: two's complement is BSON's form
	case typ == bsonBinary && len(plain) >= 5 && plain[4] == 0 && int64(binary.LittleEndian.Uint32(plain)) == int64(len(plain)-5):
		return personal.Bytes(plain[5:]), nil
	case typ == bsonString && len(plain) >= 5:
		n := int64(binary.LittleEndian.Uint32(plain)) // with the final zero
		if n < 1 || n > int64(len(plain)-4) {
			break
		}
		s, rest := plain[4:4+n-1], plain[4+n-1:]
		for _, zero := range rest {
			if zero != 0 {
				return personal.Value{}, fmt.Errorf("decode value: %w", ErrAuth)
			}
		}
		if len(rest) > 1 {
			return personal.Enum(string(s)), nil
		}
		return personal.String(string(s)), nil
	}
	return personal.Value{}, fmt.Errorf("decode value of BSON type %#x: %w", typ, ErrAuth)
}
