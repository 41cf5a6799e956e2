package proof_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/testenv"
)

// TestLargeBundle prints how many entries of a bundle are verified per second,
// on one core, and with how much memory: 1,000,000 entries with VOGTER_SCALE=full.
func TestLargeBundle(t *testing.T) {
	entries := 20_000
	if os.Getenv("VOGTER_SCALE") == "full" {
		entries = 1_000_000
	}
	ring := testenv.NewRing(t)
	name := filepath.Join(t.TempDir(), "bundle.zip")
	write(t, ring, name, entries)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	peak := uint64(0)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	seen := 0
	began, worked := time.Now(), cpu(t)
	r, err := pack.VerifyFile(name, pack.Options{Visit: func(int64, []byte) error {
		if seen++; seen%50_000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
		return nil
	}})
	took, worked := time.Since(began), cpu(t)-worked
	if err != nil || seen != entries {
		t.Fatalf("%d entries, %v", seen, err)
	}
	t.Logf("%s: %d MB, %.0f entries/s, %.0f for each second that a core worked, heap %d MB before and at most %d MB", r.Notes[0], info.Size()>>20,
		float64(entries)/took.Seconds(), float64(entries)/worked.Seconds(), before.HeapAlloc>>20, peak>>20)
	if peak > before.HeapAlloc+64<<20 {
		t.Errorf("the heap grows with the bundle: %d MB", peak>>20)
	}
}

// cpu returns for how long cores have worked on this process.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// write writes a bundle of entries with a checkpoint every 1,000.
func write(t *testing.T, ring *sign.Ring, name string, entries int) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pack.NewWriter(f, time.Unix(1_780_000_000, 0))
	dst, err := w.Create(pack.File{Path: pack.AuditPath, Category: pack.Data}, false)
	if err != nil {
		t.Fatal(err)
	}
	totals := bundle(t, ring, dst, entries)
	err = w.Close(t.Context(), pack.AuditBundle{
		Header: pack.Header{PackageVersion: pack.Version, Type: pack.AuditBundleType, Files: w.Files()},
		Tenant: string(testenv.One), Log: totals,
	}, ring)
	if err != nil {
		t.Fatal(err)
	}
}

func bundle(t *testing.T, ring *sign.Ring, dst io.Writer, entries int) proof.BundleTotals {
	t.Helper()
	b := proof.NewBundleWriter(dst)
	if err := b.Log(&proof.BundleLog{}); err != nil {
		t.Fatal(err)
	}
	tree, err := proof.Open(0, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	const every = 1000
	for n := 0; n < entries; n += every {
		hashes := make([][proof.HashSize]byte, every)
		for i := range hashes {
			e := entry(n + i)
			hashes[i] = proof.LeafHash(e.Leaf())
			if err := b.Entry(e); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tree.Append(hashes); err != nil {
			t.Fatal(err)
		}
		if err := b.Checkpoint(checkpoint(t.Context(), t, ring, tree, int64(n/every)+1)); err != nil {
			t.Fatal(err)
		}
	}
	totals, err := b.Close()
	if err != nil {
		t.Fatal(err)
	}
	return totals
}

func checkpoint(ctx context.Context, t *testing.T, ring *sign.Ring, tree *proof.Tree, number int64) *proof.Covered {
	t.Helper()
	h := proof.Head{Tenant: testenv.One, Size: tree.Size(), Root: bytes.Clone(tree.Root())}
	root, path, err := proof.HeadsTree([]proof.Head{h})
	if err != nil {
		t.Fatal(err)
	}
	c := proof.Checkpoint{Platform: string(testenv.Provider), Number: number, At: time.Unix(1_780_000_000+number, 0).UTC(), Heads: 1, Root: root}
	note, err := ring.Sign(ctx, sign.Checkpoint, c.Text())
	if err != nil {
		t.Fatal(err)
	}
	covered := &proof.Covered{Line: h.Line(), Note: string(note)}
	if covered.Path, err = path(0); err != nil {
		t.Fatal(err)
	}
	return covered
}

// entry is as long as those of a read of one person's record are.
func entry(n int) *audit.Entry {
	return &audit.Entry{
		ID: fmt.Sprintf("aud_aaaaaaaaaaaaaaaa%026d", n), Tenant: testenv.One, At: time.UnixMilli(1_780_000_000_000 + int64(n)).UTC(),
		Actor:  audit.Actor{Kind: "MACHINE", ID: "key_aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbb", Credential: "key_aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbb"},
		Action: "record.read", Object: "rec_aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbb",
		Subjects: []audit.SubjectRef{{ID: "sub_aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbb"}},
		Purpose:  "dpv:LegalCompliance", Outcome: audit.OK, Policy: "key.grants", RequestID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Network: "192.0.2.0/24",
	}
}
