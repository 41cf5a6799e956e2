package erase_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// Writes and uploads that race an erasure leave nothing behind: what is refused was
// never there, and what was taken is erased.
func TestRaces(t *testing.T) {
	races := 30
	if os.Getenv("VOGTER_SCALE") == "full" {
		races = 1000
	}
	r := newRig(t)
	ctx := r.As(testenv.One)
	notes := r.Dataset(ctx, "Notes", world.Field("note", dataset.TypeString))
	for n := range races {
		anna := r.Subject(ctx, fmt.Sprintf("A-%d", n))
		r.Record(ctx, anna, notes, world.Value("note", "before"))
		var all sync.WaitGroup
		start, failed := make(chan struct{}), make(chan error, 4)
		race := func(do func() error) {
			all.Go(func() {
				<-start
				if err := do(); err != nil && errs.KindOf(err) != errs.Erased && errs.KindOf(err) != errs.Conflict {
					failed <- err
				}
			})
		}
		race(func() error {
			_, err := r.Records.Write(ctx, record.WriteInput{Subject: anna.ID, Dataset: notes.ID, Origin: record.Provided, Fields: []record.FieldInput{world.Value("note", "raced")}})
			return err
		})
		race(func() error {
			content := strings.Repeat("raced", 1000)
			_, err := r.Files.Upload(ctx, file.UploadInput{
				Subject: anna.ID, Dataset: notes.ID, Name: personal.NewText("a.txt"), MediaType: "text/plain", Size: int64(len(content)),
			}, strings.NewReader(content))
			return err
		})
		race(func() error {
			sh, err := r.erasing.Begin(ctx, erasure.Plan{Subject: anna.ID, Cause: id.New(id.RetentionRun, testenv.One)})
			if err != nil {
				return err
			}
			for range 5 { // an upload in flight may end in between
				if err = r.erasing.Shred(ctx, sh.ID); !errors.Is(err, erasure.ErrLeft) {
					return err
				}
			}
			return err
		})
		close(start)
		all.Wait()
		close(failed)
		for err := range failed {
			t.Errorf("race %d: %v", n, err)
		}
		r.Work(tenant.System(r.Context(), "worker"))
		for coll, by := range map[string]string{"records": "subjects", "files": "subject", "lookups": "subject", "exports": "subject"} {
			if left := r.Count(ctx, coll, bson.D{{Key: by, Value: anna.ID}}); left != 0 {
				t.Errorf("race %d leaves %d in %s", n, left, coll)
			}
		}
	}
	for key, err := range r.Bucket.Keys(ctx, string(id.File)+"_", "") {
		t.Errorf("object %s is left, %v", key, err)
	}
}
