package seal_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

// The environment of a process that seals and kills itself.
const (
	envURI = "SEAL_TEST_URI"
	envAt  = "SEAL_TEST_KILL_AT"
)

func TestMain(m *testing.M) {
	if in := os.Getenv(envPublish); in != "" {
		if err := publishChild([]byte(in)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if uri := os.Getenv(envURI); uri != "" {
		at, err := strconv.ParseInt(os.Getenv(envAt), 10, 64)
		if err == nil {
			err = child(uri, at)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestSealing(t *testing.T) {
	w := start(t)
	one, two := w.write(testenv.One, 517), w.write(testenv.Two, 3)
	n, err := w.sealer(w.store).Seal(t.Context())
	if err != nil || n != len(one)+len(two) {
		t.Fatalf("%d sealed, %v", n, err)
	}
	w.whole(testenv.One, one)
	w.whole(testenv.Two, two)
	// In the hands of another sealer nothing is sealed until they let go.
	w.write(testenv.One, 10)
	if n, err := w.sealer(w.store).Seal(t.Context()); err != nil || n != 0 {
		t.Errorf("a second sealer sealed %d, %v", n, err)
	}
}

// Every proof of a growing log holds, at every size.
func TestProofs(t *testing.T) {
	w := start(t)
	ctx := w.as(testenv.One)
	s := w.sealer(w.store)
	leaves := map[int64][proof.HashSize]byte{}
	var heads []proof.Head
	seen := 0
	for _, n := range []int{1, 1, 5, 249, 1, 300, 777} {
		rows := map[string]audit.Row{}
		for _, r := range w.write(testenv.One, n) {
			rows[r.ID] = r
		}
		if _, err := s.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		seqs, ids := w.entries(testenv.One)
		for i := seen; i < len(seqs); i++ {
			row := rows[ids[i]]
			leaves[seqs[i]] = proof.LeafHash(row.Leaf())
		}
		seen = len(seqs)
		all, err := w.store.Heads(tenant.System(t.Context(), "test"))
		if err != nil || len(all) != 1 {
			t.Fatalf("%d heads, %v", len(all), err)
		}
		heads = append(heads, all[0])
	}
	tiles := func(ctx context.Context, ids []proof.TileID) ([]proof.Tile, error) { return w.store.Tiles(ctx, 0, ids) }
	for _, h := range heads {
		for index := int64(0); index < h.Size; index += 1 + index/7 {
			path, err := proof.Inclusion(ctx, tiles, index, h.Size)
			if err != nil {
				t.Fatal(err)
			}
			if !proof.CheckInclusion(leaves[index], index, h.Size, path, h.Root) {
				t.Fatalf("entry %d is not shown in the log of size %d", index, h.Size)
			}
			if proof.CheckInclusion(leaves[(index+1)%h.Size], index, h.Size, path, h.Root) && h.Size > 1 {
				t.Fatal("another entry is shown in its place")
			}
		}
		for _, from := range heads {
			if from.Size > h.Size {
				continue
			}
			path, err := proof.Consistency(ctx, tiles, from.Size, h.Size)
			if err != nil || !proof.CheckConsistency(&from, &h, path) {
				t.Fatalf("%d is not shown as the beginning of %d: %v", from.Size, h.Size, err)
			}
		}
	}
	if path, err := proof.Inclusion(w.as(testenv.Two), tiles, 0, 2); err == nil {
		t.Errorf("another tenant got a proof of %d hashes", len(path))
	}
}

// Several sealers at once, with writers at work, seal everything once.
func TestSealersAtOnce(t *testing.T) {
	w := start(t)
	ctx, stop := context.WithCancel(t.Context())
	var sealing, writing sync.WaitGroup
	for range 3 {
		sealing.Go(func() {
			if err := w.sealer(w.store).Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	rows := make([][]audit.Row, 4)
	for i := range rows {
		writing.Go(func() {
			for range 10 {
				rows[i] = append(rows[i], w.write(testenv.One, 20)...)
			}
		})
	}
	writing.Wait()
	var all []audit.Row
	for _, r := range rows {
		all = append(all, r...)
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if seqs, _ := w.entries(testenv.One); len(seqs) == len(all) || time.Now().After(until) {
			break
		}
	}
	stop()
	sealing.Wait()
	w.whole(testenv.One, all)
}

// A sealer that is killed at any step, before or after, leaves a log that
// another one goes on with: nothing twice, none missing.
func TestKilledAtEveryStep(t *testing.T) {
	w := start(t)
	var all []audit.Row
	const most = 200
	for at := int64(1); ; at++ {
		all = append(all, w.write(testenv.One, 120)...) // three batches
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), envURI+"="+w.uri, envAt+"="+strconv.FormatInt(at, 10))
		out, err := child.CombinedOutput()
		ended := err == nil
		if !ended && child.ProcessState.ExitCode() != -1 {
			t.Fatalf("step %d: %v %s", at, err, out)
		}
		// Its successor, once the lease is over.
		later := seal.NewSealer(seal.Config{
			Store: w.store, Log: testenv.Logger(t), Batch: 50, Now: func() time.Time { return testenv.Now().Add(time.Duration(at) * time.Hour) },
		})
		if _, err := later.Seal(t.Context()); err != nil {
			t.Fatalf("after step %d: %v", at, err)
		}
		w.whole(testenv.One, all)
		if ended {
			t.Logf("killed at %d steps", at-1)
			return
		}
		if at > most {
			t.Fatal("it never ends")
		}
	}
}

// child seals what there is and kills itself at a step.
func child(uri string, at int64) error {
	ctx := context.Background()
	db, err := mongo.Open(ctx, uri, "vogter")
	if err != nil {
		return err
	}
	hours := time.Duration(at) * time.Hour
	s := seal.NewSealer(seal.Config{
		Store: &steps{Store: mongo.NewAuditStore(db), step: killAt(at)}, Batch: 50,
		Now: func() time.Time { return testenv.Now().Add(hours - time.Minute) },
	})
	_, err = s.Seal(ctx)
	return err
}
