// Package scalar reads and writes the scalars of the schema. Reading is strict:
// what isn't exactly of the type is errs.Invalid, in words that don't repeat
// it, for any value may be personal data. It is here, on its way out, that
// personal data is revealed, and nowhere else in the API.
package scalar

import (
	"encoding/json"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
)

// Sentinels.
var (
	ErrString = errs.New(errs.Invalid, "this takes a text")
	ErrID     = errs.New(errs.Invalid, "this takes an id: a text of up to %d characters", maxID)
	ErrInt    = errs.New(errs.Invalid, "this takes a whole number of 32 bits")
	ErrInt64  = errs.New(errs.Invalid, "this takes a whole number of 64 bits")
	ErrTime   = errs.New(errs.Invalid, "this takes an instant with its zone, as RFC 3339 has it: 2026-02-28T12:00:00Z")
	ErrOutput = errs.New(errs.Internal, "this type is for answers only")
)

const maxID = 100

// MarshalString writes a String.
func MarshalString(s string) graphql.Marshaler { return graphql.MarshalString(s) }

// UnmarshalString reads a String.
func UnmarshalString(v any) (string, error) {
	s, ok := v.(string)
	if !ok || !utf8.ValidString(s) {
		return "", ErrString
	}
	return s, nil
}

// MarshalText reveals a personal text as a String; an empty one is null.
func MarshalText(t personal.Text) graphql.Marshaler {
	if t.IsZero() {
		return graphql.Null
	}
	return graphql.MarshalString(t.Reveal())
}

// UnmarshalText reads a String as a personal text.
func UnmarshalText(v any) (personal.Text, error) {
	s, ok := v.(string)
	if !ok || !utf8.ValidString(s) {
		return personal.Text{}, ErrString
	}
	return personal.NewText(s), nil
}

// MarshalTextDate reveals a personal date as a Date; an empty one is null.
func MarshalTextDate(t personal.Text) graphql.Marshaler { return MarshalText(t) }

// UnmarshalTextDate reads a Date as a personal text in the form YYYY-MM-DD.
func UnmarshalTextDate(v any) (personal.Text, error) {
	s, ok := v.(string)
	if !ok {
		return personal.Text{}, civil.ErrFormat
	}
	if _, err := civil.Parse(s); err != nil {
		return personal.Text{}, err
	}
	return personal.NewText(s), nil
}

// MarshalID writes an ID.
func MarshalID(s string) graphql.Marshaler { return graphql.MarshalString(s) }

// UnmarshalID reads an ID. Numbers are none here, though GraphQL would allow them.
func UnmarshalID(v any) (string, error) {
	s, ok := v.(string)
	if !ok || s == "" || len(s) > maxID || !utf8.ValidString(s) {
		return "", ErrID
	}
	return s, nil
}

// MarshalInt writes an Int.
func MarshalInt(n int) graphql.Marshaler { return graphql.MarshalInt(n) }

// UnmarshalInt reads an Int: 32 bits, by the GraphQL specification.
func UnmarshalInt(v any) (int, error) {
	n, ok := whole(v)
	if !ok || n < math.MinInt32 || n > math.MaxInt32 {
		return 0, ErrInt
	}
	return int(n), nil
}

// MarshalInt64 writes an Int64 as a number.
func MarshalInt64(n int64) graphql.Marshaler { return graphql.MarshalInt64(n) }

// UnmarshalInt64 reads an Int64 from a number.
func UnmarshalInt64(v any) (int64, error) {
	n, ok := whole(v)
	if !ok {
		return 0, ErrInt64
	}
	return n, nil
}

func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int: // a default within an input
		return int64(v), true
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		return n, err == nil
	default:
		return 0, false
	}
}

// MarshalTime writes a Time in UTC; the zero time is null.
func MarshalTime(t time.Time) graphql.Marshaler {
	if t.IsZero() {
		return graphql.Null
	}
	return graphql.MarshalString(t.UTC().Format(time.RFC3339Nano))
}

// UnmarshalTime reads a Time.
func UnmarshalTime(v any) (time.Time, error) {
	s, ok := v.(string)
	if !ok {
		return time.Time{}, ErrTime
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.IsZero() {
		return time.Time{}, ErrTime
	}
	return t.UTC(), nil
}

// MarshalRaw refuses: a Raw is for input.
func MarshalRaw(dataset.Raw) graphql.Marshaler { return graphql.Null }

// UnmarshalRaw reads a Value as it was sent; which form it must have is for the
// dataset to say.
func UnmarshalRaw(v any) (dataset.Raw, error) { return dataset.RawJSON(v), nil }

// MarshalValue reveals a record's value in the form that its type has in JSON.
func MarshalValue(v record.Value) graphql.Marshaler {
	switch r := v.Reveal().(type) {
	case string:
		if v.Type == dataset.TypeJSON {
			return verbatim(r)
		}
		return graphql.MarshalString(r)
	case int64:
		return graphql.MarshalInt64(r)
	case bool:
		return graphql.MarshalBoolean(r)
	case time.Time:
		return MarshalTime(r)
	default:
		return graphql.Null
	}
}

// verbatim writes text that is JSON already.
func verbatim(s string) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) { _, _ = io.WriteString(w, s) })
}

// UnmarshalValue refuses: what a caller sends is a Raw.
func UnmarshalValue(any) (record.Value, error) { return record.Value{}, ErrOutput }
