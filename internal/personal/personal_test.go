package personal_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/personal"
)

const secret = "Søren-Secret"

// holder is a struct as the product has them, with exported and hidden fields.
type holder struct {
	Text   personal.Text
	Value  personal.Value
	hidden personal.Text
	number personal.Value
	deep   struct{ v []personal.Value }
	ptr    *personal.Text
	m      map[string]personal.Value
}

func newHolder() holder {
	t := personal.NewText(secret)
	h := holder{Text: t, Value: personal.String(secret), hidden: t, number: personal.Int(918273645), ptr: &t}
	h.deep.v = []personal.Value{personal.Enum(secret), personal.Bytes([]byte(secret))}
	h.m = map[string]personal.Value{"k": personal.Time(time.UnixMilli(918273645918))}
	return h
}

func leaks(s string) bool {
	for _, plain := range []string{
		secret, "Secret", "918273645", fmt.Sprintf("%x", 918273645), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), "1999-02",
		strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"), fmt.Sprintf("%b", 918273645), fmt.Sprintf("%o", 918273645),
	} {
		if strings.Contains(s, plain) {
			return true
		}
	}
	return false
}

func TestFormatRedacts(t *testing.T) {
	h := newHolder()
	for _, v := range []any{
		h.Text, &h.Text, h.Value, &h.Value, h, &h,
		[]personal.Text{h.Text},
		map[string]personal.Value{"a": h.number},
		h.deep,
		[]any{h},
		struct{ any }{h.hidden},
		fmt.Errorf("value %v: %w", h.Value, errors.New("cause")), reflect.ValueOf(h),
	} {
		for verb := ' '; verb <= '~'; verb++ {
			for _, flags := range []string{"", "+", "#", " ", "-40", "040", ".3", "+#"} {
				if out := fmt.Sprintf("%"+flags+string(verb), v); leaks(out) {
					t.Fatalf("%T under %%%s%c prints %s", v, flags, verb, out)
				}
			}
		}
		if out := fmt.Sprintln(v); leaks(out) {
			t.Errorf("%T prints %s", v, out)
		}
	}
	for _, out := range []string{h.Text.String(), h.Text.GoString(), h.Value.String(), h.Value.GoString(), fmt.Sprint(h.Text), fmt.Sprintf("%#v", h.number)} {
		if out != personal.Redacted {
			t.Errorf("prints %s", out)
		}
	}
}

func TestLogRedacts(t *testing.T) {
	h := newHolder()
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		log := slog.New(handler)
		log.Info("message", "text", h.Text, "value", h.Value, "number", h.number, "ptr", h.ptr,
			"holder", h, "pointer", &h, "slice", h.deep.v, "map", h.m, slog.Group("g", "v", h.Value))
	}
	if leaks(out.String()) {
		t.Errorf("logged: %s", out.String())
	}
	if !strings.Contains(out.String(), personal.Redacted) {
		t.Error("nothing was logged")
	}
}

func TestEncodersRefuse(t *testing.T) {
	h := newHolder()
	for name, v := range map[string]any{
		"text": h.Text, "value": h.Value, "pointer": &h.Text, "slice": []personal.Value{h.number}, "key": map[string]any{"a": h.Text}, "zero": personal.Text{},
		"struct": struct{ T personal.Text }{h.Text},
	} {
		if b, err := json.Marshal(v); !errors.Is(err, personal.ErrEncode) {
			t.Errorf("%s: JSON %s, %v", name, b, err)
		}
	}
	if b, err := xml.Marshal(h.Text); !errors.Is(err, personal.ErrEncode) {
		t.Errorf("XML %s, %v", b, err)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(h.Value); !errors.Is(err, personal.ErrEncode) || leaks(b.String()) {
		t.Errorf("gob: %v", err)
	}
	if _, _, err := h.Text.MarshalBSONValue(); !errors.Is(err, personal.ErrEncode) {
		t.Errorf("BSON: %v", err)
	}
	if _, _, err := h.Value.MarshalBSONValue(); !errors.Is(err, personal.ErrEncode) {
		t.Errorf("BSON: %v", err)
	}
}

func TestText(t *testing.T) {
	a, b := personal.NewText(secret), personal.NewText(strings.Clone(secret))
	if a.Reveal() != secret || !a.Equal(b) || a.Equal(personal.NewText("x")) || a.IsZero() {
		t.Error("a text isn't what it was made of")
	}
	var zero personal.Text
	if !zero.IsZero() || zero.Reveal() != "" || !zero.Equal(personal.NewText("")) || !personal.NewText("").IsZero() || zero.Equal(a) {
		t.Error("the zero text isn't empty")
	}
	if reflect.TypeFor[personal.Text]().Comparable() || reflect.TypeFor[personal.Value]().Comparable() {
		t.Error("== compiles, and would not compare what they hold")
	}
}

func TestValue(t *testing.T) {
	at := time.Date(2026, 3, 2, 11, 0, 0, 123456789, time.FixedZone("", 3600))
	tests := []struct {
		v    personal.Value
		kind personal.Kind
		want any
	}{
		{personal.Value{}, personal.KindNone, nil},
		{personal.String(""), personal.KindString, ""},
		{personal.String(secret), personal.KindString, secret},
		{personal.Enum(secret), personal.KindEnum, secret},
		{personal.Int(-5), personal.KindInt, int64(-5)},
		{personal.Int(0), personal.KindInt, int64(0)},
		{personal.Bool(true), personal.KindBool, true},
		{personal.Bool(false), personal.KindBool, false},
		{personal.Time(at), personal.KindTime, time.Date(2026, 3, 2, 10, 0, 0, 123e6, time.UTC)},
		{personal.Bytes([]byte{1, 0}), personal.KindBytes, []byte{1, 0}},
	}
	for i, tt := range tests {
		if got := tt.v.Reveal(); !reflect.DeepEqual(got, tt.want) || tt.v.Kind() != tt.kind {
			t.Errorf("%s %d: revealed as something else", tt.kind, i)
		}
		if tt.v.IsZero() != (tt.kind == personal.KindNone) {
			t.Errorf("%s %d: IsZero %t", tt.kind, i, tt.v.IsZero())
		}
		for j, other := range tests {
			if tt.v.Equal(other.v) != (i == j) {
				t.Errorf("%d equals %d: %t", i, j, i != j)
			}
		}
		s, isString := tt.v.RevealString()
		n, isInt := tt.v.RevealInt()
		b, isBool := tt.v.RevealBool()
		at, isTime := tt.v.RevealTime()
		raw, isBytes := tt.v.RevealBytes()
		var typed any
		switch {
		case isString:
			typed = s
		case isInt:
			typed = n
		case isBool:
			typed = b
		case isTime:
			typed = at
		case isBytes:
			typed = raw
		}
		if !reflect.DeepEqual(typed, tt.want) {
			t.Errorf("%s %d: its own Reveal gives something else", tt.kind, i)
		}
	}
	b := []byte{1}
	v := personal.Bytes(b)
	b[0] = 2
	if got, _ := v.RevealBytes(); got[0] != 1 {
		t.Error("a value changes with the slice it was made of")
	}
}
