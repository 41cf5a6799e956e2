package erasure_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// What a child of TestKill finds in its environment: the places, the shredding and
// the point at which it dies.
const envChild = "ERASURE_TEST_CHILD"

type childJSON struct {
	Places    world.Places
	Shredding string
	Point     string
}

// A process that dies at any point leaves a shredding that the next one finishes.
func TestKill(t *testing.T) {
	if about := os.Getenv(envChild); about != "" {
		child(t, about)
		return
	}
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc, marketing := r.datasets(ctx)
	bo := r.person(ctx, "Bo", kyc, marketing)
	for i, point := range points() {
		t.Run(point, func(t *testing.T) {
			anna := r.person(ctx, fmt.Sprint("Kill", i), kyc, marketing)
			sh, err := r.s.Begin(ctx, erasure.Plan{Subject: anna.ID})
			r.ok(err)
			about, err := json.Marshal(childJSON{r.Places, sh.ID, point})
			r.ok(err)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$", "-test.count=1")
			cmd.Env = append(os.Environ(), envChild+"="+string(about))
			if out, err := cmd.CombinedOutput(); !wasKilled(err) {
				t.Fatalf("the point wasn't reached: %v\n%s", err, out)
			}
			r.ok(r.s.Shred(ctx, sh.ID))
			sh, err = r.s.Get(ctx, sh.ID)
			r.ok(err)
			if sh.State != erasure.Done || len(sh.Steps) != len(erasure.Steps()) || len(sh.Epochs) == 0 {
				t.Errorf("%+v", sh)
			}
			left := len(r.Storage.Contains(t, anna.file)) + len(r.Storage.Contains(t, anna.export))
			for coll, filter := range map[string]bson.D{
				"records": {{Key: "subjects", Value: anna.ID}}, "files": {{Key: "subject", Value: anna.ID}},
				"exports": {{Key: "subject", Value: anna.ID}}, "lookups": {{Key: "subject", Value: anna.ID}},
			} {
				left += r.Count(ctx, coll, filter)
			}
			if left != 0 {
				t.Errorf("%d things are left", left)
			}
			keys, err := r.Keys.SubjectKeys(ctx, testenv.One, anna.ID)
			r.ok(err)
			for _, k := range keys {
				if k.Destroyed() == (k.Owner.Unit == vault.Evidence) {
					t.Errorf("key of %s is destroyed: %t", k.Owner.Unit, k.Destroyed())
				}
			}
			entries := map[ledger.Kind]int{}
			r.ok(r.ledger.Visit(ctx, func(e ledger.Entry) error {
				if e.Object == sh.ID {
					entries[e.Kind]++
				}
				return nil
			}))
			if entries[ledger.EraseIntent] < 1 || entries[ledger.EraseDone] < 1 {
				t.Errorf("ledger: %v", entries)
			}
		})
	}
	r.whole(ctx, bo)
}

func wasKilled(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signal() == syscall.SIGKILL
}

// child carries a shredding on, in another process, and dies at the point.
func child(t *testing.T, about string) {
	t.Helper()
	var c childJSON
	if err := json.Unmarshal([]byte(about), &c); err != nil {
		t.Fatal(err)
	}
	r := openRig(world.Open(t, c.Places))
	r.trace = func(p string) {
		if p == c.Point {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	r.ok(r.s.Shred(r.As(testenv.One), c.Shredding))
}
