package vault_test

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/vault"
)

// FuzzOpen: nothing but what was sealed opens.
func FuzzOpen(f *testing.F) {
	keys := newRig(f).ensure(f, anna)
	good := seal(f, keys, anna, place, personal.String("Anna"))
	f.Add([]byte{})
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 0))
	f.Add(good[:18])
	f.Add(sealStream(f, keys, anna, place, []byte("Anna"), 4))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if bytes.Equal(sealed, good) {
			return
		}
		if _, err := keys.Open(anna, place, sealed); !errors.Is(err, vault.ErrAuth) {
			t.Errorf("opened or failed otherwise: %v", err)
		}
		if _, err := openStream(keys, anna, file, sealed); !errors.Is(err, vault.ErrAuth) {
			t.Errorf("opened as a stream or failed otherwise: %v", err)
		}
	})
}

// FuzzSealOpen: what is sealed opens to itself, at its place only, and no
// altered byte goes unnoticed.
func FuzzSealOpen(f *testing.F) {
	keys := newRig(f).ensure(f, anna)
	f.Add("Anna", false, uint16(0), byte(1), "name")
	f.Add("", true, uint16(20), byte(255), "x")
	f.Add("MARRIED\x00", true, uint16(99), byte(0), "name")
	f.Fuzz(func(t *testing.T, s string, enum bool, at uint16, flip byte, field string) {
		v := personal.String(s)
		if enum {
			v = personal.Enum(s)
		}
		sealed, err := keys.Seal(anna, place, v)
		if !utf8.ValidString(s) {
			wantErr(t, err, vault.ErrValue, "broken UTF-8")
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := keys.Open(anna, place, sealed)
		if err != nil || !got.Equal(v) {
			t.Errorf("opens to something else: %v", err)
		}
		if field != place.Field && field != "" && len(field) <= 200 {
			_, err = keys.Open(anna, vault.Place{Collection: place.Collection, Record: place.Record, Field: field}, sealed)
			wantErr(t, err, vault.ErrAuth, "another field")
		}
		if flip != 0 {
			sealed[int(at)%len(sealed)] ^= flip
			_, err = keys.Open(anna, place, sealed)
			wantErr(t, err, vault.ErrAuth, "altered")
		}
	})
}

// FuzzStream: a stream opens to itself whatever the pieces in which it was
// written, and no altered byte or cut goes unnoticed.
func FuzzStream(f *testing.F) {
	keys := newRig(f).ensure(f, anna)
	f.Add([]byte("hello"), uint32(1), uint16(2), uint32(60), byte(1))
	f.Add([]byte("x"), uint32(chunk), uint16(1000), uint32(0), byte(0))
	f.Add([]byte("xy"), uint32(chunk/2), uint16(7), uint32(chunk+60), byte(128))
	f.Add([]byte{}, uint32(0), uint16(0), uint32(49), byte(1))
	f.Fuzz(func(t *testing.T, seed []byte, repeat uint32, piece uint16, at uint32, flip byte) {
		if len(seed) > chunk {
			return
		}
		plain := bytes.Repeat(seed, int(repeat)%(4*chunk/(len(seed)+1)+1))
		sealed := sealStream(t, keys, anna, file, plain, int(piece)+1)
		got, err := openStream(keys, anna, file, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes open to something else: %v", len(plain), err)
		}
		i := int(at) % len(sealed)
		_, err = openStream(keys, anna, file, sealed[:i])
		wantErr(t, err, vault.ErrAuth, "cut")
		if flip != 0 {
			sealed[i] ^= flip
			_, err = openStream(keys, anna, file, sealed)
			wantErr(t, err, vault.ErrAuth, "altered")
		}
	})
}
