package export_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

const (
	benchFiles = 4
	benchSize  = 50 << 20
)

// BenchmarkExportAttachments builds a package with 200 MiB of documents. The
// peak of memory is that of this process, the document engine included and the
// object storage not.
func BenchmarkExportAttachments(b *testing.B) {
	w := world.Start(b)
	one := w.As(testenv.One)
	person := w.Subject(one, "A-1")
	set := w.Dataset(one, "Case", world.Field("letter", dataset.TypeFile))
	for n := range benchFiles {
		f := upload(b, w, one, person, set, fmt.Sprintf("%d.bin", n))
		w.Record(one, person, set, world.Value("letter", f.ID))
	}
	b.SetBytes(benchFiles * benchSize)
	resetPeak(b)
	for b.Loop() {
		e, err := w.Exports.Request(one, export.RequestInput{Subject: person.ID})
		if err != nil {
			b.Fatal(err)
		}
		w.Work(one)
		if j, err := w.Jobs.Get(one, e.JobID); err != nil || j.State != job.Succeeded {
			b.Fatalf("got %+v, %v", j, err)
		}
	}
	b.ReportMetric(peak(b), "peak-MiB")
}

func upload(b *testing.B, w *world.World, ctx context.Context, s *subject.Subject, d *dataset.Dataset, name string) *file.File { //nolint:revive // b comes first
	b.Helper()
	piece := make([]byte, 1<<20)
	_, _ = rand.Read(piece)
	var r io.Reader = bytes.NewReader(nil)
	for range benchSize / len(piece) {
		r = io.MultiReader(r, bytes.NewReader(piece))
	}
	f, err := w.Files.Upload(ctx, file.UploadInput{
		Subject: s.ID, Dataset: d.ID, Name: personal.NewText(name), MediaType: "application/octet-stream", Size: benchSize,
	}, r)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

// resetPeak forgets the process's peak of memory so far, see proc(5).
func resetPeak(b *testing.B) {
	b.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Logf("the peak includes the preparation: %v", err)
	}
}

// peak returns the most resident memory of the process since resetPeak, in MiB.
func peak(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skipf("no figure of memory here: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatal("no VmHWM in the process's status")
	return 0
}
