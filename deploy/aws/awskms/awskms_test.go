package awskms_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/kmstest"

	"github.com/vogter/vogter/deploy/aws/awskms"
)

func TestContract(t *testing.T) {
	s := newStandIn(t)
	for _, address := range []string{region, region + "/prod"} {
		t.Run(address, func(t *testing.T) {
			kmstest.Run(t, func(t *testing.T) kms.Wrapper { t.Helper(); return open(t, address) })
		})
	}
	named := map[string]bool{}
	for _, id := range s.aliases {
		named[id] = true
	}
	for id, k := range s.keys {
		if !named[id] && k.state != "PendingDeletion" {
			t.Error("who was too late to name a key left it behind")
		}
	}
}

func create(t *testing.T, k kms.Wrapper, name string) (ref string, wrapped []byte) {
	t.Helper()
	ref, err := k.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err = k.Wrap(t.Context(), ref, []byte("plain-secret"), []byte("plain-aad"))
	if err != nil {
		t.Fatal(err)
	}
	return ref, wrapped
}

// Two platforms in one account share no key.
func TestNamespace(t *testing.T) {
	s := newStandIn(t)
	none, _ := create(t, open(t, region), "epoch-1")
	prod, wrapped := create(t, open(t, region+"/prod"), "epoch-1")
	test, _ := create(t, open(t, region+"/test"), "epoch-1")
	if none == prod || prod == test || s.aliases["alias/prod/epoch-1"] != strings.TrimPrefix(prod, prefix) {
		t.Errorf("got %s, %s and %s", none, prod, test)
	}
	if got := s.keys[strings.TrimPrefix(prod, prefix)].tags; len(got) != 1 || got[0] != (tag{"vogter", "prod/epoch-1"}) {
		t.Errorf("tags %v", got)
	}
	if err := open(t, region+"/test").Destroy(t.Context(), test); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, region+"/prod").Unwrap(t.Context(), prod, wrapped, []byte("plain-aad")); err != nil {
		t.Error(err)
	}
}

// The associated data, which CloudTrail would keep, doesn't leave.
func TestAssociatedData(t *testing.T) {
	s := newStandIn(t)
	create(t, open(t, region), "epoch-1")
	if s.bodies.Len() == 0 || strings.Contains(s.bodies.String(), "plain-aad") || strings.Contains(s.bodies.String(), "cGxhaW4tYWFk") {
		t.Error("the associated data was sent")
	}
}

// When the waiting time has ended AWS knows neither key nor alias: the reference
// stays that of a destroyed key, and a step repeated so late succeeds.
func TestForgotten(t *testing.T) {
	s := newStandIn(t)
	k := open(t, region)
	ref, wrapped := create(t, k, "epoch-1")
	if err := k.Destroy(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	s.elapse()
	if _, err := k.Unwrap(t.Context(), ref, wrapped, []byte("plain-aad")); !errors.Is(err, kms.ErrDestroyed) {
		t.Errorf("unwrap: %v", err)
	}
	if err := k.Destroy(t.Context(), ref); err != nil {
		t.Errorf("destroy: %v", err)
	}
	if again, _ := create(t, k, "epoch-1"); again == ref {
		t.Error("a reference was given twice")
	}
	if k.Recovery() != 8*24*time.Hour || k.Development() {
		t.Errorf("recovery %s", k.Recovery())
	}
}

// References that no key made here can have are unknown without a call.
func TestForeignReference(t *testing.T) {
	s := newStandIn(t)
	k := open(t, region)
	for _, ref := range []string{
		"", "alias/epoch-1", "arn:aws:kms:" + region + ":" + account + ":alias/epoch-1",
		"arn:aws:kms:us-east-1:" + account + ":key/1", "arn:aws:s3:" + region + ":" + account + ":key/1",
	} {
		if err := k.Destroy(t.Context(), ref); !errors.Is(err, kms.ErrNoKey) {
			t.Errorf("%q: %v", ref, err)
		}
	}
	if len(s.calls) != 0 {
		t.Errorf("called %v", s.calls)
	}
}

func TestKeyOfAnotherKind(t *testing.T) {
	s := newStandIn(t)
	k := open(t, region)
	ref, _ := create(t, k, "epoch-1")
	good := *s.keys[strings.TrimPrefix(ref, prefix)]
	for name, change := range map[string]func(*key){
		"of AWS":       func(k *key) { k.manager = "AWS" },
		"asymmetric":   func(k *key) { k.spec = "RSA_4096" },
		"for MACs":     func(k *key) { k.usage = "GENERATE_VERIFY_MAC" },
		"imported":     func(k *key) { k.origin = "EXTERNAL" },
		"multi-region": func(k *key) { k.multiRegion = true },
	} {
		bad := good
		change(&bad)
		s.keys[strings.TrimPrefix(ref, prefix)] = &bad
		if _, err := k.Create(t.Context(), "epoch-1"); err == nil || !strings.Contains(err.Error(), "another kind") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// twice is a fault that passes.
func twice(code string) func(string) string {
	n := 0
	return func(string) string {
		if n++; n <= 2 {
			return code
		}
		return ""
	}
}

// A service that is busy for a moment, or doesn't know a young key yet, is asked
// again; one that stays away, or refuses us, is unavailable and nothing else.
func TestFaults(t *testing.T) {
	s := newStandIn(t)
	k := open(t, region)
	ref, wrapped := create(t, k, "epoch-1")
	unwrap := func() ([]byte, error) { return k.Unwrap(t.Context(), ref, wrapped, []byte("plain-aad")) }
	for _, code := range []string{"ThrottlingException", "DependencyTimeoutException", "NotFoundException", hangUp} {
		s.fail(twice(code))
		if got, err := unwrap(); err != nil || string(got) != "plain-secret" {
			t.Errorf("after two times %s: %v", code, err)
		}
	}
	for _, code := range []string{
		"ThrottlingException", "AccessDeniedException", "UnrecognizedClientException",
		"ExpiredTokenException", "SomethingNewException", hangUp, garbage,
	} {
		s.fail(func(string) string { return code })
		before := s.calls["Decrypt"]
		_, err := unwrap()
		if !errors.Is(err, kms.ErrUnavailable) {
			t.Errorf("%s: %v", code, err)
		}
		for _, secret := range []string{"secret-words", "secret-access-key", "plain-secret", "plain-aad"} {
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error tells too much: %v", code, err)
			}
		}
		if n := s.calls["Decrypt"] - before; n > 4 || (code == "AccessDeniedException" && n != 1) {
			t.Errorf("%s: %d calls", code, n)
		}
	}
	s.fail(func(string) string { return "AccessDeniedException" })
	if _, err := k.Create(t.Context(), "epoch-2"); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("create: %v", err)
	}
	s.fail(func(string) string { return slow })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := k.Unwrap(ctx, ref, wrapped, nil); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("slow: %v", err)
	}
	s.fail(nil)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if err := open(t, region).Disable(t.Context(), ref); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("no credentials: %v", err)
	}
	s.Close()
	if _, err := unwrap(); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

// A key that got no name is given back at once, for it costs money.
func TestSpareKey(t *testing.T) {
	s := newStandIn(t)
	s.fail(func(op string) string {
		if op == "CreateAlias" {
			return "AccessDeniedException"
		}
		return ""
	})
	if _, err := open(t, region).Create(t.Context(), "epoch-1"); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	for _, k := range s.keys {
		if k.state != "PendingDeletion" {
			t.Errorf("the spare key is %s", k.state)
		}
	}
	if len(s.keys) != 1 {
		t.Errorf("%d keys", len(s.keys))
	}
	s.fail(nil)
	create(t, open(t, region), "epoch-1")
}

func TestWrapNothing(t *testing.T) {
	newStandIn(t)
	k := open(t, region)
	ref, _ := create(t, k, "epoch-1")
	if _, err := k.Wrap(t.Context(), ref, nil, nil); !errors.Is(err, awskms.ErrEmpty) {
		t.Errorf("got %v", err)
	}
	if _, err := k.Unwrap(t.Context(), ref, make([]byte, 6145), nil); !errors.Is(err, kms.ErrAuth) {
		t.Errorf("got %v", err)
	}
}

func TestEndpoint(t *testing.T) {
	newStandIn(t)
	t.Setenv("AWS_ENDPOINT_URL_KMS", "http://kms.example")
	if _, err := awskms.Open(t.Context(), region); !errors.Is(err, awskms.ErrEndpoint) {
		t.Errorf("got %v", err)
	}
}
