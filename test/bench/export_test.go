package bench_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
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
	var made struct {
		RequestExport struct {
			Job, Export struct{ ID string }
		}
	}
	p.must(`mutation($id: ID!) { requestExport(input: {subject: $id}) { job { id } export { id } } }`,
		map[string]any{"id": person}, fmt.Sprintf("export-%d", run), &made)
	const patience = 10 * time.Minute
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var data struct {
			Job struct {
				State              string
				StartedAt, EndedAt time.Time
			}
			Export struct{ Size int }
		}
		p.must(`query($job: ID!, $export: ID!) { job(id: $job) { state startedAt endedAt } export(id: $export) { size } }`,
			map[string]any{"job": made.RequestExport.Job.ID, "export": made.RequestExport.Export.ID}, "", &data)
		switch data.Job.State {
		case "SUCCEEDED":
			if data.Export.Size < size {
				p.Fatalf("the package has %d bytes", data.Export.Size)
			}
			return data.Job.EndedAt.Sub(data.Job.StartedAt)
		case "PARKED", "CANCELLED":
			p.Fatalf("the export is %s", data.Job.State)
		}
	}
	p.Fatal("the export doesn't end")
	return 0
}
