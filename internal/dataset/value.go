package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

// Type is what a field can hold.
type Type string

// The types of fields.
const (
	TypeString   Type = "STRING"
	TypeText     Type = "TEXT"
	TypeDate     Type = "DATE"
	TypeDateTime Type = "DATETIME"
	TypeInt      Type = "INT"
	TypeDecimal  Type = "DECIMAL"
	TypeBool     Type = "BOOL"
	TypeEnum     Type = "ENUM"
	TypeJSON     Type = "JSON"
	TypeFile     Type = "FILE"
)

func types() []Type {
	return []Type{
		TypeString, TypeText, TypeDate, TypeDateTime, TypeInt, TypeDecimal, TypeBool, TypeEnum, TypeJSON, TypeFile,
	}
}

// Limits of a value, in characters; of JSON in bytes.
const (
	MaxString = 1_000
	MaxText   = 1_000_000
	MaxJSON   = 1_000_000
)

// Raw is a value as a caller sent it: what JSON has, or the text of a CSV cell.
// It is personal data and redacts itself.
type Raw struct {
	v    any
	text bool
}

// RawJSON returns the Raw of a decoded JSON value. Numbers may be json.Number.
func RawJSON(v any) Raw { return Raw{v: v} }

// RawText returns the Raw of a cell of text, which each type reads in its own
// way: "true" for a BOOL, digits for an INT. An empty cell is no value.
func RawText(s string) Raw {
	if s == "" {
		return Raw{}
	}
	return Raw{v: s, text: true}
}

// IsNull reports whether there is no value.
func (r Raw) IsNull() bool { return r.v == nil }

// Reveal returns what the caller sent, as JSON has it.
func (r Raw) Reveal() any { return r.v }

// Format redacts under every verb.
func (r Raw) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(personal.Redacted)) }

// LogValue redacts.
func (r Raw) LogValue() slog.Value { return slog.StringValue(personal.Redacted) }

// Parse checks raw against the field's type and returns it as the value to
// seal. The error names neither the value nor the person.
func (f *Field) Parse(raw Raw, of tenant.ID) (personal.Value, error) {
	s, isString := raw.v.(string)
	if isString && !utf8.ValidString(s) {
		return personal.Value{}, errs.New(errs.Invalid, "%s is not valid UTF-8", f.Key)
	}
	switch f.Type {
	case TypeString:
		if !isString || utf8.RuneCountInString(s) > MaxString || strings.ContainsFunc(s, unicode.IsControl) {
			return personal.Value{}, errs.New(errs.Invalid, "%s takes a text of up to %d characters on one line", f.Key, MaxString)
		}
		return personal.String(s), nil
	case TypeText:
		if !isString || utf8.RuneCountInString(s) > MaxText || strings.ContainsRune(s, 0) {
			return personal.Value{}, errs.New(errs.Invalid, "%s takes a text of up to %d characters", f.Key, MaxText)
		}
		return personal.String(s), nil
	case TypeDate:
		if _, err := civil.Parse(s); err != nil {
			return personal.Value{}, errs.New(errs.Invalid, "%s takes a date that exists, YYYY-MM-DD", f.Key)
		}
		return personal.String(s), nil
	case TypeDateTime:
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return personal.Value{}, errs.New(errs.Invalid, "%s takes an instant with its zone, as RFC 3339 has it", f.Key)
		}
		return personal.Time(t.UTC().Truncate(time.Millisecond)), nil
	case TypeInt:
		n, err := integer(raw)
		if err != nil {
			return personal.Value{}, errs.New(errs.Invalid, "%s takes a whole number of 64 bits", f.Key)
		}
		return personal.Int(n), nil
	case TypeDecimal:
		d, err := decimal(raw)
		if err != nil {
			return personal.Value{}, errs.New(errs.Invalid, "%s takes a decimal number of up to 34 digits, as a text", f.Key)
		}
		return personal.String(d), nil
	case TypeBool:
		b, ok := raw.v.(bool)
		if raw.text {
			var err error
			b, err = strconv.ParseBool(strings.ToLower(s))
			ok = err == nil
		}
		if !ok {
			return personal.Value{}, errs.New(errs.Invalid, "%s takes true or false", f.Key)
		}
		return personal.Bool(b), nil
	case TypeEnum:
		if !isString || !slices.Contains(f.Values, s) {
			return personal.Value{}, errs.New(errs.Invalid, "%s takes one of the values that its dataset lists", f.Key)
		}
		return personal.Enum(s), nil
	case TypeJSON:
		return f.parseJSON(raw)
	case TypeFile:
		if !isString || id.Check(id.File, of, s) != nil {
			return personal.Value{}, errs.New(errs.Invalid, "%s takes the id of an uploaded file", f.Key)
		}
		return personal.String(s), nil
	default:
		return personal.Value{}, fmt.Errorf("field %s: unknown type %s", f.ID, f.Type)
	}
}

func (f *Field) parseJSON(raw Raw) (personal.Value, error) {
	wrong := errs.New(errs.Invalid, "%s takes JSON of up to %d bytes", f.Key, MaxJSON)
	v := raw.v
	if s, ok := v.(string); ok && raw.text {
		dec := json.NewDecoder(strings.NewReader(s))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil || dec.More() {
			return personal.Value{}, wrong
		}
	}
	b, err := json.Marshal(v)
	if err != nil || len(b) > MaxJSON {
		return personal.Value{}, wrong
	}
	return personal.String(string(b)), nil
}

var errNumber = errors.New("not such a number")

func integer(raw Raw) (int64, error) {
	switch v := raw.v.(type) {
	case int64:
		return v, nil
	case json.Number:
		return strconv.ParseInt(v.String(), 10, 64)
	case float64:
		const exact = 1 << 53 // beyond it a float no longer tells whole numbers apart
		if v != float64(int64(v)) || v >= exact || v <= -exact {
			return 0, errNumber
		}
		return int64(v), nil
	case string:
		if raw.text {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, errNumber
}

func decimal(raw Raw) (string, error) {
	var s string
	switch v := raw.v.(type) {
	case string:
		s = v
	case json.Number:
		s = v.String()
	case int64:
		s = strconv.FormatInt(v, 10)
	default:
		return "", errNumber // a float would not be what was meant
	}
	whole, fraction, point := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	digits := whole + fraction
	if whole == "" || point && fraction == "" || len(digits) > maxDigits || strings.Trim(digits, "0123456789") != "" {
		return "", errNumber
	}
	return s, nil
}

// maxDigits is how many digits a DECIMAL has, those of an IEEE 754 decimal128.
const maxDigits = 34

func atIndex(err error, field string, i int) error { return errs.At(err, field+"."+strconv.Itoa(i)) }
