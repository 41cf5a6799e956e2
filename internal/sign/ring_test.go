package sign_test

import (
	"bytes"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/testenv"
)

func text(n int) []byte { return sign.Text("vogter/test/1", strconv.Itoa(n)) }

func keys(t *testing.T, r *sign.Ring) *sign.KeySet {
	t.Helper()
	s, err := r.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRotation(t *testing.T) {
	r := testenv.NewRing(t)
	first, err := r.Sign(t.Context(), sign.Receipt, text(1))
	if err != nil {
		t.Fatal(err)
	}
	pinned := keys(t, r)
	if len(pinned.Keys()) != 2 || pinned.Consistent() != nil {
		t.Fatalf("%d keys, %v", len(pinned.Keys()), pinned.Consistent())
	}
	for range 3 {
		if err := r.Rotate(t.Context(), sign.Root, sign.Receipt); err != nil {
			t.Fatal(err)
		}
	}
	second, err := r.Sign(t.Context(), sign.Receipt, text(2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sign(t.Context(), sign.Ledger, text(3)); err != nil {
		t.Fatal(err)
	}
	now := keys(t, r)
	if _, _, err := pinned.Open(sign.Receipt, second); !errors.Is(err, sign.ErrUntrusted) {
		t.Errorf("the old keys alone: %v", err)
	}
	pinned.Extend(now)
	for n, note := range map[int][]byte{1: first, 2: second} {
		got, by, err := pinned.Open(sign.Receipt, note)
		if err != nil || got != string(text(n)) || by.Purpose != sign.Receipt {
			t.Errorf("note %d: %q by %+v, %v", n, got, by, err)
		}
	}
	if len(pinned.Keys()) != len(now.Keys()) || len(now.Keys()) != 9 || pinned.Root().Number != 4 {
		t.Errorf("%d of %d keys follow, the root is number %d", len(pinned.Keys()), len(now.Keys()), pinned.Root().Number)
	}
	if _, _, err := pinned.Open(sign.Certificate, second); !errors.Is(err, sign.ErrUntrusted) {
		t.Errorf("for another purpose: %v", err)
	}
	if _, _, err := pinned.Open(sign.Receipt, bytes.Replace(second, []byte("\n2\n"), []byte("\n3\n"), 1)); !errors.Is(err, sign.ErrAltered) {
		t.Errorf("another text: %v", err)
	}
	if err := r.Rotate(t.Context(), "nosuch"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("an unknown purpose: %v", err)
	}
}

// A stranger's keys never follow from those one trusts, whatever they claim.
func TestStrangers(t *testing.T) {
	r, stranger := testenv.NewRing(t), testenv.NewRing(t)
	for _, ring := range []*sign.Ring{r, stranger} {
		if _, err := ring.Sign(t.Context(), sign.Package, text(1)); err != nil {
			t.Fatal(err)
		}
	}
	mine, theirs := keys(t, r), keys(t, stranger)
	n := len(mine.Keys())
	mine.Extend(theirs)
	if len(mine.Keys()) != n {
		t.Error("a stranger's key is trusted")
	}
	b, err := theirs.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := sign.ParseKeySet(b)
	if err != nil || parsed.Consistent() != nil || len(parsed.Keys()) != len(theirs.Keys()) {
		t.Errorf("got %v", err)
	}
	for i := 0; i < len(b); i += 3 {
		c := bytes.Clone(b)
		c[i] ^= 1
		if s, err := sign.ParseKeySet(c); err == nil {
			for _, k := range s.Keys() {
				if !theirs.Has(&k) {
					t.Fatalf("byte %d: another key is taken", i)
				}
			}
		}
	}
}

// Several processes at once make one key for each purpose.
func TestRingsAtOnce(t *testing.T) {
	db, v := testenv.Mongo(t), testenv.Vault(t)
	changes, _ := testenv.Changes(t, db, v, nil, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := testenv.Ring(t, db, v, changes).Sign(t.Context(), sign.Checkpoint, text(1)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s := keys(t, testenv.Ring(t, db, v, changes))
	if len(s.Keys()) != 2 || s.Consistent() != nil {
		t.Errorf("%d keys, %v", len(s.Keys()), s.Consistent())
	}
}
