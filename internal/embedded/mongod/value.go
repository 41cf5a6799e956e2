package mongod

import (
	"bytes"
	"iter"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Limits of MongoDB on documents.
const (
	maxDocumentSize = 16 << 20
	maxNesting      = 100
	maxBackfill     = 1_500_000 // highest array index an update may create
)

type (
	document = bsoncore.Document
	value    = bsoncore.Value
)

// elementsOf ranges over the keys and values of a document or array; it ends
// early on damage.
func elementsOf(doc []byte) iter.Seq2[[]byte, value] {
	return func(yield func([]byte, value) bool) {
		for it := begin(doc); ; {
			k, v, ok := it.next()
			if !ok || !yield(k, v) {
				return
			}
		}
	}
}

// elements walks the elements of a document or array without allocating.
type elements struct{ rem []byte }

func begin(doc []byte) elements {
	if len(doc) < 5 {
		return elements{}
	}
	return elements{rem: doc[4:]}
}

// next returns the next key and value; ok is false at the end and on damage.
func (e *elements) next() (key []byte, v value, ok bool) {
	if len(e.rem) == 0 || e.rem[0] == 0 {
		return nil, value{}, false
	}
	end := bytes.IndexByte(e.rem[1:], 0)
	if end < 0 {
		return nil, value{}, false
	}
	key = e.rem[1 : 1+end]
	v, rem, ok := bsoncore.ReadValue(e.rem[2+end:], bsoncore.Type(e.rem[0]))
	if !ok {
		return nil, value{}, false
	}
	e.rem = rem
	return key, v, true
}

// onlyElement returns the element of a document that has exactly one.
func onlyElement(doc []byte) (key string, v value, ok bool) {
	it := begin(doc)
	k, v, ok := it.next()
	_, _, more := it.next()
	return string(k), v, ok && !more
}

// lookup returns the top-level field key of doc.
func lookup(doc []byte, key string) (value, bool) {
	for k, v := range elementsOf(doc) {
		if string(k) == key {
			return v, true
		}
	}
	return value{}, false
}

// validate checks that doc is well-formed BSON, no deeper than limit levels, of
// types whose comparison this server knows. Every document that enters the
// server passes here once, so later code may rely on it.
func validate(doc []byte, limit int) error {
	if limit == 0 {
		return errorf(codeBadValue, "document is nested more than %d levels deep", maxNesting)
	}
	length, _, ok := bsoncore.ReadLength(doc)
	if !ok || int(length) != len(doc) || length < 5 || doc[len(doc)-1] != 0 {
		return errorf(codeBadValue, "invalid BSON: wrong document length")
	}
	it := begin(doc)
	for {
		_, v, ok := it.next()
		if !ok {
			break
		}
		if err := validateValue(v, limit); err != nil {
			return err
		}
	}
	if len(it.rem) != 1 {
		return errorf(codeBadValue, "invalid BSON: malformed element")
	}
	return nil
}

func validateValue(v value, limit int) error {
	switch v.Type {
	case bsoncore.TypeEmbeddedDocument, bsoncore.TypeArray:
		return validate(v.Data, limit-1)
	case bsoncore.TypeString:
		// The stored length counts the closing zero.
		if len(v.Data) < 5 || v.Data[len(v.Data)-1] != 0 {
			return errorf(codeBadValue, "invalid BSON: string without its end")
		}
	case bsoncore.TypeBinary:
		if _, _, ok := v.BinaryOK(); !ok {
			return errorf(codeBadValue, "invalid BSON: malformed binary")
		}
	case bsoncore.TypeBoolean:
		if v.Data[0] > 1 {
			return errorf(codeBadValue, "invalid BSON: malformed boolean")
		}
	case bsoncore.TypeDouble, bsoncore.TypeInt32, bsoncore.TypeInt64, bsoncore.TypeObjectID,
		bsoncore.TypeDateTime, bsoncore.TypeNull, bsoncore.TypeTimestamp, bsoncore.TypeRegex:
	default:
		return errorf(codeBadValue, "values of BSON type %s are not supported", v.Type)
	}
	return nil
}

// decode converts validated BSON into the form that lungo works on. Binary data
// is shared with doc, which must not change afterwards.
func decode(doc []byte) *bson.D {
	d := decodeDocument(doc)
	return &d
}

func decodeDocument(doc []byte) bson.D {
	d := make(bson.D, 0, 8)
	for k, v := range elementsOf(doc) {
		d = append(d, bson.E{Key: string(k), Value: decodeValue(v)})
	}
	return d
}

func decodeValue(v value) any {
	switch v.Type {
	case bsoncore.TypeDouble:
		return v.Double()
	case bsoncore.TypeString:
		return v.StringValue()
	case bsoncore.TypeEmbeddedDocument:
		return decodeDocument(v.Data)
	case bsoncore.TypeArray:
		a := make(bson.A, 0, 4)
		for _, item := range elementsOf(v.Data) {
			a = append(a, decodeValue(item))
		}
		return a
	case bsoncore.TypeBinary:
		subtype, data := v.Binary()
		return primitive.Binary{Subtype: subtype, Data: data}
	case bsoncore.TypeObjectID:
		return primitive.ObjectID(v.ObjectID())
	case bsoncore.TypeBoolean:
		return v.Boolean()
	case bsoncore.TypeDateTime:
		return primitive.DateTime(v.DateTime())
	case bsoncore.TypeInt32:
		return v.Int32()
	case bsoncore.TypeInt64:
		return v.Int64()
	case bsoncore.TypeTimestamp:
		t, i := v.Timestamp()
		return primitive.Timestamp{T: t, I: i}
	case bsoncore.TypeRegex:
		p, o := v.Regex()
		return primitive.Regex{Pattern: p, Options: o}
	default:
		return nil
	}
}

// encode is the reverse of decode.
func encode(d bson.D) document {
	return appendDocument(make([]byte, 0, 256), d)
}

func appendDocument(dst []byte, d bson.D) []byte {
	start, dst := bsoncore.AppendDocumentStart(dst)
	for _, e := range d {
		dst = appendElement(dst, e.Key, e.Value)
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, start)
	return dst
}

func appendElement(dst []byte, key string, v any) []byte {
	switch x := v.(type) {
	case float64:
		return bsoncore.AppendDoubleElement(dst, key, x)
	case string:
		return bsoncore.AppendStringElement(dst, key, x)
	case bson.D:
		dst = bsoncore.AppendHeader(dst, bsoncore.TypeEmbeddedDocument, key)
		return appendDocument(dst, x)
	case bson.A:
		dst = bsoncore.AppendHeader(dst, bsoncore.TypeArray, key)
		start, dst := bsoncore.ReserveLength(dst)
		for i, item := range x {
			dst = appendElement(dst, strconv.Itoa(i), item)
		}
		dst, _ = bsoncore.AppendArrayEnd(dst, start)
		return dst
	case primitive.Binary:
		return bsoncore.AppendBinaryElement(dst, key, x.Subtype, x.Data)
	case primitive.ObjectID:
		return bsoncore.AppendObjectIDElement(dst, key, x)
	case bool:
		return bsoncore.AppendBooleanElement(dst, key, x)
	case primitive.DateTime:
		return bsoncore.AppendDateTimeElement(dst, key, int64(x))
	case int32:
		return bsoncore.AppendInt32Element(dst, key, x)
	case int64:
		return bsoncore.AppendInt64Element(dst, key, x)
	case primitive.Timestamp:
		return bsoncore.AppendTimestampElement(dst, key, x.T, x.I)
	case primitive.Regex:
		return bsoncore.AppendRegexElement(dst, key, x.Pattern, x.Options)
	default:
		return bsoncore.AppendNullElement(dst, key)
	}
}

// splitPath returns the first segment of a dotted path and the rest.
func splitPath(path string) (head, rest string) {
	head, rest, _ = strings.Cut(path, ".")
	return head, rest
}

// isIndex reports whether a path segment can name an array element.
func isIndex(segment string) bool {
	for i := range len(segment) {
		if segment[i] < '0' || segment[i] > '9' {
			return false
		}
	}
	return segment != ""
}

// isTrue is MongoDB's reading of a flag: any number but zero, or true.
func isTrue(v value) bool {
	switch v.Type {
	case bsoncore.TypeBoolean:
		return v.Boolean()
	case bsoncore.TypeNull:
		return false
	default:
		if f, ok := v.AsFloat64OK(); ok {
			return f != 0
		}
		return true
	}
}

// wholeNumber returns a number of any type that has no fraction.
func wholeNumber(v value) (int64, bool) {
	switch v.Type {
	case bsoncore.TypeInt32:
		return int64(v.Int32()), true
	case bsoncore.TypeInt64:
		return v.Int64(), true
	case bsoncore.TypeDouble:
		f := v.Double()
		if f != float64(int64(f)) || f >= 1<<63 || f < -(1<<63) {
			return 0, false
		}
		return int64(f), true
	default:
		return 0, false
	}
}
