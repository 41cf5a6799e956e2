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
	kind   Kind
	reveal func() payload // nil when there is none
}

type payload struct {
	s string
	n int64
}

func text(k Kind, s string) Value {
	return Value{kind: k, reveal: func() payload { return payload{s: s} }}
}

func number(k Kind, n int64) Value {
	return Value{kind: k, reveal: func() payload { return payload{n: n} }}
}

// String returns the text s as a Value. An empty text is a value.
func String(s string) Value { return text(KindString, s) }

// Enum returns one word of a short list as a Value.
func Enum(s string) Value { return text(KindEnum, s) }

// Int returns n as a Value.
func Int(n int64) Value { return number(KindInt, n) }

// Bool returns b as a Value.
func Bool(b bool) Value {
	if b {
		return number(KindBool, 1)
	}
	return number(KindBool, 0)
}

// Time returns the instant t as a Value, cut to the millisecond.
func Time(t time.Time) Value { return number(KindTime, t.UnixMilli()) }

// Bytes returns a copy of b as a Value.
func Bytes(b []byte) Value { return text(KindBytes, string(b)) }

// Kind returns the form of v.
func (v Value) Kind() Kind { return v.kind }

// IsZero reports whether v is no value.
func (v Value) IsZero() bool { return v.kind == KindNone }

// Reveal returns the value itself: a string, int64, bool, time.Time (UTC) or
// []byte, or nil for no value.
func (v Value) Reveal() any {
	switch v.kind {
	case KindString, KindEnum:
		return v.reveal().s
	case KindInt:
		return v.reveal().n
	case KindBool:
		return v.reveal().n != 0
	case KindTime:
		return time.UnixMilli(v.reveal().n).UTC()
	case KindBytes:
		return []byte(v.reveal().s)
	case KindNone:
	}
	return nil
}

// RevealString returns the text of a string or enum; ok is false for other kinds.
func (v Value) RevealString() (s string, ok bool) {
	if v.kind != KindString && v.kind != KindEnum {
		return "", false
	}
	return v.reveal().s, true
}

// RevealInt returns the number of an int; ok is false for other kinds.
func (v Value) RevealInt() (n int64, ok bool) {
	if v.kind != KindInt {
		return 0, false
	}
	return v.reveal().n, true
}

// RevealBool returns the truth of a bool; ok is false for other kinds.
func (v Value) RevealBool() (b, ok bool) {
	if v.kind != KindBool {
		return false, false
	}
	return v.reveal().n != 0, true
}

// RevealTime returns the instant of a time, in UTC; ok is false for other kinds.
func (v Value) RevealTime() (t time.Time, ok bool) {
	if v.kind != KindTime {
		return time.Time{}, false
	}
	return time.UnixMilli(v.reveal().n).UTC(), true
}

// RevealBytes returns a copy of the bytes; ok is false for other kinds.
func (v Value) RevealBytes() (b []byte, ok bool) {
	if v.kind != KindBytes {
		return nil, false
	}
	return []byte(v.reveal().s), true
}

// Equal reports whether v and w are of one kind and hold the same. It is no
// secret comparison: its time tells where they differ.
func (v Value) Equal(w Value) bool {
	if v.kind != w.kind {
		return false
	}
	return v.kind == KindNone || v.reveal() == w.reveal()
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
