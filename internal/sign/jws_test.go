package sign_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/testenv"
)

func TestJWS(t *testing.T) {
	ring := testenv.NewRing(t)
	const typ = "test+jws"
	first, err := ring.SignJWS(t.Context(), sign.Receipt, typ, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ring.SignJWS(t.Context(), sign.Receipt, typ, []byte(`{"a":1}`)); err != nil || again != first {
		t.Errorf("signed again as %s, %v", again, err)
	}
	if err := ring.Rotate(t.Context(), sign.Receipt); err != nil {
		t.Fatal(err)
	}
	second, err := ring.SignJWS(t.Context(), sign.Receipt, typ, []byte(`{"a":1}`))
	if err != nil || second == first {
		t.Errorf("signed by the next key as %s, %v", second, err)
	}
	other, err := ring.SignJWS(t.Context(), sign.Certificate, typ, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ring.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n, signed := range []string{first, second} {
		payload, by, err := keys.OpenJWS(sign.Receipt, typ, signed)
		if err != nil || string(payload) != `{"a":1}` || by.Number != n+1 || by.Purpose != sign.Receipt {
			t.Errorf("opened %s by %+v, %v", payload, by, err)
		}
	}
	parts := strings.Split(first, ".")
	for name, tt := range map[string]struct {
		signed, typ string
		keys        *sign.KeySet
		want        error
	}{
		"another payload":   {parts[0] + "." + strings.Replace(parts[1], "e", "f", 1) + "." + parts[2], typ, keys, sign.ErrAltered},
		"another signature": {parts[0] + "." + parts[1] + "." + strings.Split(second, ".")[2], typ, keys, sign.ErrAltered},
		"another header":    {strings.Split(second, ".")[0] + "." + parts[1] + "." + parts[2], typ, keys, sign.ErrAltered},
		"another type":      {first, "other+jws", keys, sign.ErrForm},
		"another purpose":   {other, typ, keys, sign.ErrUntrusted},
		"no key":            {first, typ, &sign.KeySet{}, sign.ErrUntrusted},
		"spare bits":        {first[:len(first)-1] + string(first[len(first)-1]+1), typ, keys, sign.ErrForm},
		"a line end":        {first + "\n", typ, keys, sign.ErrForm},
		"nothing":           {"", typ, keys, sign.ErrForm},
		// {"alg":"none"}
		"no signature": {"eyJhbGciOiJub25lIn0." + parts[1] + ".", typ, keys, sign.ErrForm},
	} {
		if _, _, err := tt.keys.OpenJWS(sign.Receipt, tt.typ, tt.signed); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
