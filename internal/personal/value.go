package personal

import (
	"fmt"
	"log/slog"
	"time"
)

// Kind is the form of a Value. It is not personal data.
type Kind byte

// The kinds of values. The text-like types of dataset fields are all KindString
// (STRING, TEXT, JSON, DATE as YYYY-MM-DD, DECIMAL as written, FILE as its id):
// the field's definition says which, so that changing one touches no data.
const (
	KindNone   Kind = iota // no value
	KindString             // UTF-8 text
	KindEnum               // one of a short list of words; its length is hidden when sealed
	KindInt                // 64-bit signed
	KindBool
	KindTime  // an instant, to the millisecond, in UTC
	KindBytes // bytes that are no text
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case KindNone:
		return "none"
	case KindString:
		return "string"
	case KindEnum:
		return "enum"
	case KindInt:
		return "int"
	case KindBool:
		return "bool"
	case KindTime:
		return "time"
	case KindBytes:
		return "bytes"
	}
	return "unknown"
}

// Value is one typed value of a record that is personal data. The zero Value is
// no value.
type Value struct {
	_    [0]func() // not comparable with ==
	kind Kind
	v    *payload
}

type payload struct {
	s string
	n int64
}

// String returns the text s as a Value. An empty text is a value.
func String(s string) Value { return Value{kind: KindString, v: &payload{s: s}} }

// Enum returns one word of a short list as a Value.
func Enum(s string) Value { return Value{kind: KindEnum, v: &payload{s: s}} }

// Int returns n as a Value.
func Int(n int64) Value { return Value{kind: KindInt, v: &payload{n: n}} }

// Bool returns b as a Value.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, v: &payload{n: 1}}
	}
	return Value{kind: KindBool, v: &payload{}}
}

// Time returns the instant t as a Value, cut to the millisecond.
func Time(t time.Time) Value { return Value{kind: KindTime, v: &payload{n: t.UnixMilli()}} }

// Bytes returns a copy of b as a Value.
func Bytes(b []byte) Value { return Value{kind: KindBytes, v: &payload{s: string(b)}} }

// Kind returns the form of v.
func (v Value) Kind() Kind { return v.kind }

// IsZero reports whether v is no value.
func (v Value) IsZero() bool { return v.kind == KindNone }

// Reveal returns the value itself: a string, int64, bool, time.Time (UTC) or
// []byte, or nil for no value.
func (v Value) Reveal() any {
	switch v.kind {
	case KindString, KindEnum:
		return v.v.s
	case KindInt:
		return v.v.n
	case KindBool:
		return v.v.n != 0
	case KindTime:
		return time.UnixMilli(v.v.n).UTC()
	case KindBytes:
		return []byte(v.v.s)
	case KindNone:
	}
	return nil
}

// RevealString returns the text of a string or enum; ok is false for other kinds.
func (v Value) RevealString() (s string, ok bool) {
	if v.kind != KindString && v.kind != KindEnum {
		return "", false
	}
	return v.v.s, true
}

// RevealInt returns the number of an int; ok is false for other kinds.
func (v Value) RevealInt() (n int64, ok bool) {
	if v.kind != KindInt {
		return 0, false
	}
	return v.v.n, true
}

// RevealBool returns the truth of a bool; ok is false for other kinds.
func (v Value) RevealBool() (b, ok bool) {
	if v.kind != KindBool {
		return false, false
	}
	return v.v.n != 0, true
}

// RevealTime returns the instant of a time, in UTC; ok is false for other kinds.
func (v Value) RevealTime() (t time.Time, ok bool) {
	if v.kind != KindTime {
		return time.Time{}, false
	}
	return time.UnixMilli(v.v.n).UTC(), true
}

// RevealBytes returns a copy of the bytes; ok is false for other kinds.
func (v Value) RevealBytes() (b []byte, ok bool) {
	if v.kind != KindBytes {
		return nil, false
	}
	return []byte(v.v.s), true
}

// Equal reports whether v and w are of one kind and hold the same. It is no
// secret comparison: its time tells where they differ.
func (v Value) Equal(w Value) bool {
	if v.kind != w.kind {
		return false
	}
	return v.kind == KindNone || *v.v == *w.v
}

// String redacts.
func (v Value) String() string { return Redacted }

// GoString redacts.
func (v Value) GoString() string { return Redacted }

// Format redacts under every verb and flag.
func (v Value) Format(f fmt.State, _ rune) { redact(f) }

// LogValue redacts.
func (v Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON refuses with ErrEncode.
func (v Value) MarshalJSON() ([]byte, error) { return nil, ErrEncode }

// MarshalText refuses with ErrEncode.
func (v Value) MarshalText() ([]byte, error) { return nil, ErrEncode }

// MarshalBinary refuses with ErrEncode.
func (v Value) MarshalBinary() ([]byte, error) { return nil, ErrEncode }

// MarshalBSONValue refuses with ErrEncode.
func (v Value) MarshalBSONValue() (typ byte, data []byte, err error) { return 0, nil, ErrEncode }
