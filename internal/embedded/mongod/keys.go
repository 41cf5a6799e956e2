package mongod

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Classes of values in MongoDB's comparison order. They open every encoded
// value; 0x00 and 0xFF stay free as ends of compound values and of ranges, also
// when a descending field is stored inverted.
const (
	classEmptyArray = 0x08 // an index entry of an empty array
	classNull       = 0x10
	classNumber     = 0x20
	classString     = 0x30
	classObject     = 0x40
	classArray      = 0x50
	classBinary     = 0x60
	classObjectID   = 0x70
	classBoolean    = 0x80
	classDate       = 0x90
	classTimestamp  = 0xA0
	classRegex      = 0xB0

	rangeEnd = 0xFF // sorts after every continuation of a key
)

// appendKey appends an encoding of v whose byte order is MongoDB's order of
// values: https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/
// No encoding is a prefix of another, so encodings can be joined.
func appendKey(dst []byte, v value) []byte {
	class := classOf(v.Type)
	return appendPayload(append(dst, class), v)
}

func classOf(t bsoncore.Type) byte {
	switch t {
	case bsoncore.TypeDouble, bsoncore.TypeInt32, bsoncore.TypeInt64:
		return classNumber
	case bsoncore.TypeString:
		return classString
	case bsoncore.TypeEmbeddedDocument:
		return classObject
	case bsoncore.TypeArray:
		return classArray
	case bsoncore.TypeBinary:
		return classBinary
	case bsoncore.TypeObjectID:
		return classObjectID
	case bsoncore.TypeBoolean:
		return classBoolean
	case bsoncore.TypeDateTime:
		return classDate
	case bsoncore.TypeTimestamp:
		return classTimestamp
	case bsoncore.TypeRegex:
		return classRegex
	default: // null, and the zero value that stands for a missing field
		return classNull
	}
}

func appendPayload(dst []byte, v value) []byte {
	switch v.Type {
	case bsoncore.TypeDouble:
		return appendNumber(dst, v.Double(), 0)
	case bsoncore.TypeInt32:
		return appendNumber(dst, float64(v.Int32()), 0)
	case bsoncore.TypeInt64:
		n := v.Int64()
		f := float64(n)
		// What rounding to a double lost, at most 512 either way. The
		// subtraction wraps correctly for the double 2^63.
		var whole uint64
		if f == 1<<63 {
			whole = 1 << 63
		} else {
			whole = uint64(int64(f)) //nolint:gosec // two's complement is meant
		}
		return appendNumber(dst, f, int16(uint64(n)-whole)) //nolint:gosec // bounded as said above
	case bsoncore.TypeString:
		return appendText(dst, v.Data[4:len(v.Data)-1])
	case bsoncore.TypeEmbeddedDocument:
		for name, item := range elementsOf(v.Data) {
			// MongoDB compares the types of two fields before their names.
			dst = append(dst, classOf(item.Type))
			dst = appendText(dst, name)
			dst = appendPayload(dst, item)
		}
		return append(dst, 0)
	case bsoncore.TypeArray:
		for _, item := range elementsOf(v.Data) {
			dst = appendKey(dst, item)
		}
		return append(dst, 0)
	case bsoncore.TypeBinary:
		subtype, data := v.Binary()
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(data))) //nolint:gosec // a document has at most 16 MiB
		return append(append(dst, subtype), data...)
	case bsoncore.TypeObjectID, bsoncore.TypeBoolean:
		return append(dst, v.Data...)
	case bsoncore.TypeDateTime:
		return binary.BigEndian.AppendUint64(dst, uint64(v.DateTime())^1<<63) //nolint:gosec // flips the sign to sort unsigned
	case bsoncore.TypeTimestamp:
		t, i := v.Timestamp()
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, t), i)
	case bsoncore.TypeRegex:
		pattern, options := v.Regex()
		return appendText(appendText(dst, []byte(pattern)), []byte(options))
	default:
		return dst
	}
}

// appendNumber encodes f, then what an integer is above it. NaN sorts first.
func appendNumber(dst []byte, f float64, residue int16) []byte {
	var bits uint64
	switch {
	case math.IsNaN(f):
		bits = 0
	case f == 0: // both zeros are equal
		bits = 1 << 63
	case f > 0:
		bits = math.Float64bits(f) | 1<<63
	default:
		bits = ^math.Float64bits(f)
	}
	dst = binary.BigEndian.AppendUint64(dst, bits)
	return binary.BigEndian.AppendUint16(dst, uint16(residue)^1<<15) //nolint:gosec // flips the sign to sort unsigned
}

// appendText escapes zero bytes and closes with two of them.
func appendText(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, 0)
		if i < 0 {
			return append(append(dst, s...), 0, 0)
		}
		dst = append(append(dst, s[:i]...), 0, 0xFF)
		s = s[i+1:]
	}
}

func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

// keyField is one field of an index key pattern or of a sort.
type keyField struct {
	path string
	desc bool
}

// fieldKey is a field while the keys of a document are being generated: either
// its value is fixed, or path is still to be followed.
type fieldKey struct {
	path  string
	done  bool
	empty bool // stands for an empty array
	val   value
}

// keySet collects the index keys of one document, as MongoDB generates them:
// https://www.mongodb.com/docs/manual/core/indexes/index-types/index-multikey/
type keySet struct {
	fields   []keyField
	keys     [][]byte
	multikey uint64 // bit i: field i met an array
}

// keysOf returns the distinct keys of doc under the pattern, in byte order, and
// which fields met an array.
func keysOf(doc []byte, fields []keyField) ([][]byte, uint64, error) {
	ks := keySet{fields: fields}
	state := make([]fieldKey, len(fields))
	for i, f := range fields {
		state[i].path = f.path
	}
	if err := ks.expand(doc, state); err != nil {
		return nil, 0, err
	}
	if len(ks.keys) > 1 {
		slices.SortFunc(ks.keys, bytes.Compare)
		ks.keys = slices.CompactFunc(ks.keys, bytes.Equal)
	}
	return ks.keys, ks.multikey, nil
}

// expand follows every open path in doc. Paths that meet an array fork, once for
// each of its elements; two different arrays at once are refused.
func (ks *keySet) expand(doc []byte, state []fieldKey) error {
	var array []byte // the array that forks
	var forks uint64
	for i := range state {
		f := &state[i]
		if f.done {
			continue
		}
		v, rest, isArray := follow(doc, f.path)
		if !isArray {
			f.val, f.done = v, true
			continue
		}
		if array != nil && &array[0] != &v.Data[0] {
			return errorf(codeParallelArrays, "cannot index parallel arrays")
		}
		array, forks = v.Data, forks|1<<i
		f.path = rest
	}
	if array == nil {
		ks.emit(state)
		return nil
	}
	ks.multikey |= forks
	return ks.fork(array, forks, state)
}

func (ks *keySet) fork(array []byte, forks uint64, state []fieldKey) error {
	it := begin(array)
	for n := 0; ; n++ {
		_, item, ok := it.next()
		if !ok {
			if n > 0 {
				return nil
			}
			next := slices.Clone(state)
			for i := range next {
				if forks&(1<<i) != 0 {
					next[i].empty, next[i].done = next[i].path == "", true
				}
			}
			ks.emit(next)
			return nil
		}
		next := slices.Clone(state)
		open := false
		for i := range next {
			if forks&(1<<i) == 0 {
				continue
			}
			head, _ := splitPath(next[i].path)
			switch {
			case next[i].path == "":
				next[i].val, next[i].done = item, true
			case isIndex(head):
				return errorf(codeBadValue, "a key path that names an array position is not supported")
			case item.Type == bsoncore.TypeEmbeddedDocument:
				open = true
			default: // a scalar or a nested array has no such field
				next[i].done = true
			}
		}
		if !open {
			ks.emit(next)
			continue
		}
		if err := ks.expand(item.Data, next); err != nil {
			return err
		}
	}
}

func (ks *keySet) emit(state []fieldKey) {
	key := make([]byte, 0, 32*len(state))
	for i, f := range state {
		start := len(key)
		if f.empty {
			key = append(key, classEmptyArray)
		} else {
			key = appendKey(key, f.val)
		}
		if ks.fields[i].desc {
			invert(key[start:])
		}
	}
	ks.keys = append(ks.keys, key)
}

// follow walks path through documents. It stops at the value, at a missing
// field (the zero value), or at the first array with the rest of the path.
func follow(doc []byte, path string) (v value, rest string, isArray bool) {
	for {
		head, tail := splitPath(path)
		v, ok := lookup(doc, head)
		switch {
		case !ok:
			return value{}, "", false
		case v.Type == bsoncore.TypeArray:
			return v, tail, true
		case tail == "":
			return v, "", false
		case v.Type != bsoncore.TypeEmbeddedDocument:
			return value{}, "", false
		}
		doc, path = v.Data, tail
	}
}
