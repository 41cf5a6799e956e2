package bench_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/local"
)

const mebi = 1 << 20

// BenchmarkExportByWorker builds the package of a person with four documents,
// of 200 MiB together in full scale, in `vogter worker`, and tells the most
// memory that process has had, and `vogter serve` while it took the documents in.
// The time is that between the job's start and its end.
func BenchmarkExportByWorker(b *testing.B) {
	p := start(b, build(b))
	const documents = 4
	size := scaled(5, 50) * mebi
	person := p.person()
	began := time.Now()
	for n := range documents {
		p.attach(person, n, size)
	}
	uploaded := time.Since(began)
	idle := p.peak(local.PartWorker)

	b.SetBytes(int64(documents * size))
	var took time.Duration
	var runs int
	for b.Loop() {
		took += p.export(person, runs, documents*size)
		runs++
	}
	total := float64(documents*size) / mebi
	b.ReportMetric(total*float64(runs)/took.Seconds(), "export-MiB/s")
	b.ReportMetric(total/uploaded.Seconds(), "upload-MiB/s")
	b.ReportMetric(p.peak(local.PartWorker), "peak-MiB")
	b.ReportMetric(idle, "idle-MiB")
	b.ReportMetric(p.peak(local.PartAPI), "serve-peak-MiB")
}

// BenchmarkExportOfMuch builds the package of a person with 1,000,000 records and
// 2 GiB of documents in full scale, in a worker that is killed once when a third of
// the records is read: its successor builds it. It tells the most memory that
// either has had, how often the job told of progress, and how long building takes
// when nothing is in its way.
func BenchmarkExportOfMuch(b *testing.B) {
	records, documents, size := sizes(b)
	p := start(b, build(b))
	person := p.person()
	began := time.Now()
	p.loadRecords("E-1", records)
	b.Logf("%d records in %.0f s", records, time.Since(began).Seconds())
	for n := range documents {
		p.attach(person, n, size)
	}
	b.Logf("%d documents of %d MiB: all in after %.0f s", documents, size/mebi, time.Since(began).Seconds())
	var peak float64
	var moves, runs int
	var took, after time.Duration
	for b.Loop() {
		made := p.requestExport(person, runs)
		killed := false
		var at time.Time
		var last string
		for {
			j := p.job(made)
			if now := fmt.Sprint(j.Progress); now != last {
				moves, last = moves+1, now
			}
			if now, err := p.highest(local.PartWorker); err == nil { // it is there
				peak = max(peak, now)
			}
			if !killed && j.Progress.Unit == "records" && j.Progress.Done > int64(records/3) {
				if err := syscall.Kill(p.stack.PID(local.PartWorker), syscall.SIGKILL); err != nil {
					b.Fatal(err)
				}
				killed, at = true, time.Now()
			}
			if j.State == "SUCCEEDED" {
				took, after = took+j.EndedAt.Sub(j.StartedAt), after+time.Since(at)
				break
			}
			if j.State == "PARKED" || j.State == "CANCELLED" {
				b.Fatalf("the export is %s", j.State)
			}
			time.Sleep(200 * time.Millisecond)
		}
		if !killed || p.job(made).Attempt < 2 {
			b.Error("the worker wasn't killed in the middle")
		}
		runs++
	}
	b.ReportMetric(peak, "peak-MiB")
	b.ReportMetric(float64(moves)/float64(runs), "moves/op")
	b.ReportMetric(took.Seconds()/float64(runs), "build-s/op")
	b.ReportMetric(after.Seconds()/float64(runs), "after-kill-s/op")
}

// sizes are how many records and documents a person has, and how large these are.
func sizes(b *testing.B) (records, documents, size int) {
	b.Helper()
	return scaled(10_000, 1_000_000), scaled(2, 8), scaled(8, 256) * mebi
}

func (p *platform) person() string {
	p.Helper()
	var data struct {
		CreateSubject struct{ Subject struct{ ID string } }
	}
	p.must(`mutation { createSubject(input: {reference: "E-1"}) { subject { id } } }`, nil, "person", &data)
	return data.CreateSubject.Subject.ID
}

// attach uploads a document and makes a record of it.
func (p *platform) attach(person string, n, size int) {
	p.Helper()
	address := p.stack.Ready().API + "/v1/uploads?" + url.Values{"subject": {person}, "dataset": {p.letters}}.Encode()
	r, err := http.NewRequestWithContext(p.Context(), http.MethodPut, address, io.LimitReader(rand.Reader, int64(size)))
	if err != nil {
		p.Fatal(err)
	}
	r.ContentLength = int64(size)
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Vogter-File-Name", strconv.Itoa(n)+".bin")
	var file struct{ ID string }
	if err := p.send(r, &file); err != nil {
		p.Fatal(err)
	}
	var data struct{}
	p.must(`mutation($in: WriteRecordInput!) { writeRecord(input: $in) { record { id } } }`, map[string]any{"in": map[string]any{
		"subject": person, "dataset": p.letters, "origin": "PROVIDED",
		"fields": []any{map[string]any{"key": "letter", "value": file.ID}},
	}}, fmt.Sprintf("letter-%d", n), &data)
}

// export asks for a person's package, which is larger than size, waits for it, and
// returns how long the job ran.
func (p *platform) export(person string, run, size int) time.Duration {
	p.Helper()
	made := p.requestExport(person, run)
	const patience = 10 * time.Minute
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		switch j := p.job(made); j.State {
		case "SUCCEEDED":
			if j.Size < size {
				p.Fatalf("the package has %d bytes", j.Size)
			}
			return j.EndedAt.Sub(j.StartedAt)
		case "PARKED", "CANCELLED":
			p.Fatalf("the export is %s", j.State)
		}
	}
	p.Fatal("the export doesn't end")
	return 0
}

// building is an export that is being built.
type building struct{ job, export string }

func (p *platform) requestExport(person string, run int) building {
	p.Helper()
	var made struct {
		RequestExport struct {
			Job, Export struct{ ID string }
		}
	}
	p.must(`mutation($id: ID!) { requestExport(input: {subject: $id}) { job { id } export { id } } }`,
		map[string]any{"id": person}, fmt.Sprintf("export-%d", run), &made)
	return building{made.RequestExport.Job.ID, made.RequestExport.Export.ID}
}

// built is how far the building of an export is.
type built struct {
	State              string
	Attempt            int
	StartedAt, EndedAt time.Time
	Progress           struct {
		Done int64
		Unit string
	}
	Size int
}

func (p *platform) job(of building) built {
	p.Helper()
	var data struct {
		Job    built
		Export struct{ Size int }
	}
	p.must(`query($job: ID!, $export: ID!) { job(id: $job) { state attempt startedAt endedAt progress { done unit } } export(id: $export) { size } }`,
		map[string]any{"job": of.job, "export": of.export}, "", &data)
	data.Job.Size = data.Export.Size
	return data.Job
}
