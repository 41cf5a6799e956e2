// Package kmstest is the contract of a kms.Wrapper as a test suite, which every
// adapter passes.
package kmstest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/vogter/vogter/internal/kms"
)

// Run tests the contract. open returns the service as another process would
// have it: the same keys, nothing remembered. Names of keys are drawn at random,
// so the service need not be empty.
func Run(t *testing.T, open func(t *testing.T) kms.Wrapper) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(*testing.T) kms.Wrapper){
		"wrap": wrap, "refuses": refuses, "disable": disable, "destroy": destroy, "names": names, "concurrently": concurrently,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

func name() string { return "test-" + strings.ToLower(rand.Text()) }

func create(t *testing.T, k kms.Wrapper) string {
	t.Helper()
	ref, err := k.Create(t.Context(), name())
	must(t, err)
	return ref
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func wrap(t *testing.T, open func(*testing.T) kms.Wrapper) {
	t.Helper()
	k, n := open(t), name()
	ref, err := k.Create(t.Context(), n)
	must(t, err)
	again, err := open(t).Create(t.Context(), n)
	must(t, err)
	if again != ref {
		t.Errorf("created again as %s, was %s", again, ref)
	}
	for _, size := range []int{1, 32, 100, kms.MaxSize} {
		secret := make([]byte, size)
		rand.Read(secret)
		first, err := k.Wrap(t.Context(), ref, secret, []byte("aad"))
		must(t, err)
		second, err := k.Wrap(t.Context(), ref, secret, []byte("aad"))
		must(t, err)
		if bytes.Equal(first, second) {
			t.Error("wrapped twice alike: the nonce repeats")
		}
		if size > 16 && bytes.Contains(first, secret) {
			t.Error("the secret shows")
		}
		got, err := open(t).Unwrap(t.Context(), ref, first, []byte("aad"))
		must(t, err)
		if !bytes.Equal(got, secret) {
			t.Errorf("%d bytes came back as others", size)
		}
	}
	_, err = k.Wrap(t.Context(), ref, make([]byte, kms.MaxSize+1), nil)
	want(t, "too long", err, kms.ErrSize)
}

func refuses(t *testing.T, open func(*testing.T) kms.Wrapper) {
	t.Helper()
	k := open(t)
	a, b := create(t, k), create(t, k)
	wrapped, err := k.Wrap(t.Context(), a, []byte("secret"), []byte("aad"))
	must(t, err)
	last := bytes.Clone(wrapped)
	last[len(last)-1] ^= 1
	for what, tt := range map[string]struct {
		ref          string
		wrapped, aad []byte
		want         error
	}{
		"another key":    {b, wrapped, []byte("aad"), kms.ErrAuth},
		"another aad":    {a, wrapped, []byte("aae"), kms.ErrAuth},
		"no aad":         {a, wrapped, nil, kms.ErrAuth},
		"cut":            {a, wrapped[:len(wrapped)-1], []byte("aad"), kms.ErrAuth},
		"altered":        {a, last, []byte("aad"), kms.ErrAuth},
		"nothing":        {a, nil, []byte("aad"), kms.ErrAuth},
		"something else": {a, []byte("something else"), []byte("aad"), kms.ErrAuth},
		"unknown key":    {name(), wrapped, []byte("aad"), kms.ErrNoKey},
	} {
		_, err := k.Unwrap(t.Context(), tt.ref, tt.wrapped, tt.aad)
		want(t, what, err, tt.want)
	}
	unknown := name()
	_, err = k.Wrap(t.Context(), unknown, []byte("x"), nil)
	want(t, "wrap under an unknown key", err, kms.ErrNoKey)
	_, err = k.Wrap(t.Context(), unknown, []byte("x"), nil) // the first try made none
	want(t, "wrap again under an unknown key", err, kms.ErrNoKey)
	want(t, "disable an unknown key", k.Disable(t.Context(), unknown), kms.ErrNoKey)
	want(t, "enable an unknown key", k.Enable(t.Context(), unknown), kms.ErrNoKey)
	want(t, "destroy an unknown key", k.Destroy(t.Context(), unknown), kms.ErrNoKey)
}

func disable(t *testing.T, open func(*testing.T) kms.Wrapper) {
	t.Helper()
	k := open(t)
	ref, other := create(t, k), create(t, k)
	wrapped, err := k.Wrap(t.Context(), ref, []byte("secret"), []byte("aad"))
	must(t, err)
	for range 2 {
		must(t, k.Enable(t.Context(), ref)) // never disabled yet, the first time
		for range 2 {
			must(t, k.Disable(t.Context(), ref))
		}
		_, err = open(t).Unwrap(t.Context(), ref, wrapped, []byte("aad"))
		want(t, "unwrap under a disabled key", err, kms.ErrDisabled)
		_, err = open(t).Wrap(t.Context(), ref, []byte("x"), nil)
		want(t, "wrap under a disabled key", err, kms.ErrDisabled)
		_, err = k.Wrap(t.Context(), other, []byte("x"), nil)
		must(t, err)
		for range 2 {
			must(t, k.Enable(t.Context(), ref))
		}
		got, err := open(t).Unwrap(t.Context(), ref, wrapped, []byte("aad"))
		must(t, err)
		if string(got) != "secret" {
			t.Error("another secret came back after the key was enabled again")
		}
	}
}

func destroy(t *testing.T, open func(*testing.T) kms.Wrapper) {
	t.Helper()
	for what, first := range map[string]func(k kms.Wrapper, ref string) error{
		"enabled":  func(kms.Wrapper, string) error { return nil },
		"disabled": func(k kms.Wrapper, ref string) error { return k.Disable(t.Context(), ref) },
	} {
		t.Run(what, func(t *testing.T) {
			k, n := open(t), name()
			ref, err := k.Create(t.Context(), n)
			must(t, err)
			other := create(t, k)
			wrapped, err := k.Wrap(t.Context(), ref, []byte("secret"), nil)
			must(t, err)
			must(t, first(k, ref))
			for range 2 {
				must(t, open(t).Destroy(t.Context(), ref))
			}
			_, err = k.Unwrap(t.Context(), ref, wrapped, nil)
			want(t, "unwrap", err, kms.ErrDestroyed)
			_, err = k.Wrap(t.Context(), ref, []byte("x"), nil)
			want(t, "wrap", err, kms.ErrDestroyed)
			_, err = k.Create(t.Context(), n)
			want(t, "create anew", err, kms.ErrDestroyed)
			want(t, "enable", k.Enable(t.Context(), ref), kms.ErrDestroyed)
			want(t, "disable", k.Disable(t.Context(), ref), kms.ErrDestroyed)
			if _, err := k.Wrap(t.Context(), other, []byte("x"), nil); err != nil {
				t.Errorf("another key suffered: %v", err)
			}
		})
	}
}

func names(t *testing.T, open func(*testing.T) kms.Wrapper) {
	t.Helper()
	k := open(t)
	for _, bad := range []string{"", "Epoch", "a/b", "a b", "æ", "../x", "a?b"} {
		_, err := k.Create(t.Context(), bad)
		want(t, "create "+bad, err, kms.ErrName)
	}
}

func concurrently(t *testing.T, open func(*testing.T) kms.Wrapper) {
	t.Helper()
	n := name()
	var wg sync.WaitGroup
	for range 8 {
		k := open(t)
		wg.Go(func() {
			ref, err := k.Create(t.Context(), n)
			if err != nil {
				t.Error(err)
				return
			}
			wrapped, err := k.Wrap(t.Context(), ref, []byte("secret"), []byte("aad"))
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := k.Unwrap(t.Context(), ref, wrapped, []byte("aad")); err != nil || string(got) != "secret" {
				t.Errorf("unwrap: %v", err)
			}
		})
	}
	wg.Wait()
}
