package scalar_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/vogter/vogter/graph/scalar"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
)

func TestUnmarshal(t *testing.T) {
	type read func(any) (any, error)
	str := func(v any) (any, error) { return scalar.UnmarshalString(v) }
	text := func(v any) (any, error) {
		s, err := scalar.UnmarshalText(v)
		return s.Reveal(), err
	}
	date := func(v any) (any, error) {
		s, err := scalar.UnmarshalTextDate(v)
		return s.Reveal(), err
	}
	day := func(v any) (any, error) {
		var d civil.Date
		err := d.UnmarshalGQL(v)
		return d.String(), err
	}
	id := func(v any) (any, error) { return scalar.UnmarshalID(v) }
	integer := func(v any) (any, error) { return scalar.UnmarshalInt(v) }
	long := func(v any) (any, error) { return scalar.UnmarshalInt64(v) }
	instant := func(v any) (any, error) { return scalar.UnmarshalTime(v) }
	tests := []struct {
		name string
		read read
		in   any
		want any // nil: refused
	}{
		{"String", str, "Ørsted", "Ørsted"},
		{"String, empty", str, "", ""},
		{"String of a number", str, json.Number("1"), nil},
		{"String of an int", str, int64(1), nil},
		{"String of broken UTF-8", str, "a\xff", nil},
		{"String of null", str, nil, nil},
		{"Text", text, "Ørsted", "Ørsted"},
		{"Text of broken UTF-8", text, "a\xff", nil},
		{"Text of a bool", text, true, nil},
		{"Date as text", date, "2028-02-29", "2028-02-29"},
		{"Date as text that isn't", date, "2026-02-29", nil},
		{"Date as text with time", date, "2026-02-28T12:00:00Z", nil},
		{"Date as text of a number", date, json.Number("20260228"), nil},
		{"Date", day, "2028-02-29", "2028-02-29"},
		{"Date that isn't", day, "2026-13-01", nil},
		{"Date short", day, "2026-1-1", nil},
		{"ID", id, "sub_1", "sub_1"},
		{"ID of a number", id, json.Number("1"), nil},
		{"ID of an int", id, int64(1), nil},
		{"ID, empty", id, "", nil},
		{"ID, endless", id, strings.Repeat("x", 101), nil},
		{"Int", integer, json.Number("-2147483648"), math.MinInt32},
		{"Int literal", integer, int64(100), 100},
		{"Int too large", integer, json.Number("2147483648"), nil},
		{"Int with fraction", integer, json.Number("1.5"), nil},
		{"Int with exponent", integer, json.Number("1e2"), nil},
		{"Int of text", integer, "1", nil},
		{"Int64", long, json.Number("9223372036854775807"), int64(math.MaxInt64)},
		{"Int64 too large", long, json.Number("9223372036854775808"), nil},
		{"Int64 by default", long, 7, int64(7)},
		{"Int64 of text", long, "1", nil},
		{"Int64 of a float", long, 1.0, nil},
		{"Time", instant, "2026-02-28T12:00:00+01:00", time.Date(2026, 2, 28, 11, 0, 0, 0, time.UTC)},
		{"Time with fraction", instant, "2026-02-28T12:00:00.25Z", time.Date(2026, 2, 28, 12, 0, 0, 250_000_000, time.UTC)},
		{"Time without zone", instant, "2026-02-28T12:00:00", nil},
		{"Time of a day", instant, "2026-02-28", nil},
		{"Time of a number", instant, json.Number("1772280000"), nil},
		{"Time zero, which stands for none", instant, "0001-01-01T00:00:00Z", nil},
		{"Value, which is for answers", func(v any) (any, error) { return scalar.UnmarshalValue(v) }, "x", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.read(tt.in)
			if tt.want == nil {
				if kind := errs.KindOf(err); kind != errs.Invalid && kind != errs.Internal {
					t.Errorf("got %v, %v, want it refused", got, err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestRaw(t *testing.T) {
	r, err := scalar.UnmarshalRaw(nil)
	if err != nil || !r.IsNull() {
		t.Errorf("null: got null %t, %v", r.IsNull(), err)
	}
	r, err = scalar.UnmarshalRaw(json.Number("42"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := (&dataset.Field{Key: "k", Type: dataset.TypeInt}).Parse(r, "")
	if n, ok := v.RevealInt(); err != nil || !ok || n != 42 {
		t.Errorf("got %d, %t, %v", n, ok, err)
	}
}

func TestMarshal(t *testing.T) {
	value := func(of dataset.Type, v personal.Value) graphql.Marshaler {
		return scalar.MarshalValue(record.Value{Type: of, Value: v})
	}
	tests := []struct {
		name string
		m    graphql.Marshaler
		want string
	}{
		{"text", scalar.MarshalText(personal.NewText(`Ann "A" Ørsted` + "\n")), `"Ann \"A\" Ørsted\n"`},
		{"no text", scalar.MarshalText(personal.Text{}), `null`},
		{"date", scalar.MarshalTextDate(personal.NewText("2026-02-28")), `"2026-02-28"`},
		{"time", scalar.MarshalTime(time.Date(2026, 2, 28, 12, 0, 0, 0, time.FixedZone("", 3600))), `"2026-02-28T11:00:00Z"`},
		{"no time", scalar.MarshalTime(time.Time{}), `null`},
		{"no value", value(dataset.TypeString, personal.Value{}), `null`},
		{"empty value", value(dataset.TypeString, personal.String("")), `""`},
		{"text that looks like JSON", value(dataset.TypeText, personal.String(`{"a":1}`)), `"{\"a\":1}"`},
		{"JSON", value(dataset.TypeJSON, personal.String(`{"a":1}`)), `{"a":1}`},
		{"JSON null", value(dataset.TypeJSON, personal.String(`null`)), `null`},
		{"int", value(dataset.TypeInt, personal.Int(math.MinInt64)), `-9223372036854775808`},
		{"bytes, which no field has", value(dataset.TypeString, personal.Bytes([]byte("x"))), `null`},
	}
	for _, tt := range tests {
		var b strings.Builder
		tt.m.MarshalGQL(&b)
		if b.String() != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, b.String(), tt.want)
		}
	}
}
