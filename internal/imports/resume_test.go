package imports_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
)

var errCut = errors.New("the line broke")

// numbered writes n lines without keys: a line that takes effect twice leaves
// two records.
func numbered(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"reference": "n%d", "points": %d}`+"\n", i, i)
	}
	return b.Bytes()
}

// cut ends a body early, as a broken connection does.
func cut(b []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(b), readerFunc(func([]byte) (int, error) { return 0, errCut }))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestResume(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	d := e.members(t, ctx)
	base := e.serve(t, ctx)
	const n = 1200
	file := append([]byte("{malformed\n"), numbered(n)...)

	in := func(key string, body io.Reader) imports.Input {
		return imports.Input{
			Key: key, Dataset: "Members", Origin: record.Observed, Format: imports.NDJSON, Mode: imports.Write, Body: body,
		}
	}
	sum, err := e.imports.Run(ctx, in("r", cut(file[:len(file)/2])))
	if !errors.Is(err, imports.ErrTruncated) || sum == nil {
		t.Fatalf("%v, %+v", err, sum)
	}
	stopped := sum.Import.Line
	if sum.Import.State != imports.Stopped || stopped < 500 || stopped > 700 || sum.Counts.Lines() != stopped || len(sum.Rejections) != 1 {
		t.Fatalf("%+v, %+v", sum, sum.Import)
	}
	// Other bytes before the line where it stopped, or fewer, are another file.
	wrong := bytes.Replace(file, []byte(`"n300"`), []byte(`"m300"`), 1)
	for name, body := range map[string][]byte{"changed": wrong, "shorter": file[:200], "empty": nil} {
		if sum, err := e.imports.Run(ctx, in("r", bytes.NewReader(body))); !errors.Is(err, imports.ErrOtherBytes) || sum != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Cut again while it reads what it has: nothing is lost.
	if sum, err = e.imports.Run(ctx, in("r", cut(file[:500]))); !errors.Is(err, imports.ErrTruncated) || sum.Import.Line != stopped {
		t.Errorf("cut again: %v, %+v", err, sum)
	}
	// The caller goes while lines are under way: no fault of ours.
	leaving, leave := context.WithCancel(ctx)
	left := io.MultiReader(bytes.NewReader(file[:len(file)*3/4]), readerFunc(func([]byte) (int, error) {
		leave()
		return 0, io.ErrUnexpectedEOF
	}))
	if sum, err = e.imports.Run(leaving, in("r", left)); !errors.Is(err, imports.ErrTruncated) || sum == nil || sum.Import.Line < stopped {
		t.Fatalf("the caller left: %v, %+v", err, sum)
	}
	other := in("r", bytes.NewReader(file))
	other.Origin = record.Derived
	if _, err := e.imports.Run(ctx, other); !errors.Is(err, imports.ErrOtherInput) {
		t.Errorf("other parameters: %v", err)
	}

	for _, round := range []string{"the rest", "a replay"} {
		sum, err = e.imports.Run(ctx, in("r", bytes.NewReader(file)))
		if err != nil || sum.Counts != (imports.Counts{Created: n, Rejected: 1, Records: n}) || len(sum.Rejections) != 1 ||
			sum.Import.State != imports.Done {
			t.Fatalf("%s: %v, %+v", round, err, sum)
		}
	}
	for name, body := range map[string][]byte{
		"changed": wrong, "shorter": file[:200], "longer": append(bytes.Clone(file), "{}\n"...),
	} {
		if _, err := e.imports.Run(ctx, in("r", bytes.NewReader(body))); !errors.Is(err, imports.ErrOtherBytes) {
			t.Errorf("after it is done, %s: %v", name, err)
		}
	}
	c, err := e.records.List(ctx, record.Query{Dataset: d.ID}, page.Request{First: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.TotalCount(ctx); err != nil || got != n {
		t.Errorf("%d records of %d lines, %v", got, n, err)
	}

	// Over HTTP the answer tells where to go on.
	u := upload{key: "http", body: cut(file[:len(file)/2])}
	if res, err := http.DefaultClient.Do(u.request(t, base)); err == nil {
		t.Errorf("a cut body was answered with %d", res.StatusCode)
		_ = res.Body.Close()
	}
	// It may take a moment until the first call sees that its caller has gone.
	var got answer
	for range 100 {
		if got = send(t, base, upload{key: "http", body: bytes.NewReader(file)}); got.Status != http.StatusConflict {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got.Status != http.StatusOK || got.counts() != [5]int64{0, n, 0, n, 1} {
		t.Errorf("%+v", got)
	}
}

func TestResumeCSV(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	var b strings.Builder
	b.WriteString("reference,points,note\n")
	for i := range 600 {
		fmt.Fprintf(&b, "c%d,%d,\"two\nlines\"\n", i, i)
	}
	file := b.String()
	in := func(body io.Reader) imports.Input {
		return imports.Input{
			Key: "csv", Dataset: "Members", Origin: record.Provided, Format: imports.CSV, Mode: imports.Write, Body: body,
		}
	}
	if _, err := e.imports.Run(ctx, in(cut([]byte(file[:len(file)/2])))); !errors.Is(err, imports.ErrTruncated) {
		t.Fatal(err)
	}
	if _, err := e.imports.Run(ctx, in(strings.NewReader(strings.Replace(file, "note", "level", 1)))); !errors.Is(err, imports.ErrOtherBytes) {
		t.Errorf("another header: %v", err)
	}
	sum, err := e.imports.Run(ctx, in(strings.NewReader(file)))
	if err != nil || sum.Counts != (imports.Counts{Created: 600, Records: 600}) {
		t.Errorf("%v, %+v", err, sum)
	}
}

// Of two calls with one key, one imports.
func TestConcurrentRuns(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	base := e.serve(t, ctx)
	file := numbered(600)
	r, w := io.Pipe()
	first := make(chan answer)
	go func() { first <- send(t, base, upload{key: "k", body: r}) }()
	if _, err := w.Write(file[:len(file)/2]); err != nil {
		t.Fatal(err)
	}
	for e.contents(t)["imports"] == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if got := send(t, base, upload{key: "k", body: bytes.NewReader(file)}); got.Status != http.StatusConflict || got.Code != "CONFLICT" {
		t.Errorf("second: %+v", got)
	}
	if _, err := w.Write(file[len(file)/2:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-first; got.Status != http.StatusOK || got.counts() != [5]int64{600, 0, 0, 600, 0} {
		t.Errorf("first: %+v", got)
	}
}

func TestTooManyRejections(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	base := e.serve(t, ctx)
	file := strings.Repeat("{}\n", imports.MaxRejections+2000) + string(numbered(10))
	got := send(t, base, upload{key: "k", body: strings.NewReader(file)})
	if got.Status != http.StatusTooManyRequests || got.Code != "LIMITED" || got.State != "STOPPED" ||
		got.Rejected <= imports.MaxRejections || got.ResumeFrom != got.Rejected+1 || len(got.Rejections) != imports.MaxRejections {
		got.Rejections = nil
		t.Fatalf("%+v", got)
	}
	rest, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		fmt.Sprintf("%s/v1/imports/%s?after=%d", base, got.ID, imports.MaxRejections), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if more := do(t, rest); int64(len(more.Rejections)) != got.Rejected-imports.MaxRejections {
		t.Errorf("%d more rejections", len(more.Rejections))
	}
	got = send(t, base, upload{key: "k", body: strings.NewReader(file)})
	if got.Status != http.StatusOK || got.Created != 10 || got.Rejected != imports.MaxRejections+2000 {
		got.Rejections = nil
		t.Errorf("%+v", got)
	}
}

// The memory in use doesn't grow with the file, nor with one line of it.
func TestMemory(t *testing.T) {
	e := openEnv(t, testenv.MongoURI(t), testenv.MongoURI(t), 1000)
	ctx := portal(t, testenv.One)
	_, err := e.imports.SaveMapping(ctx, imports.SaveMappingInput{
		Name: "references", Document: `{"subject": {"reference": "ref"}}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	// Lines of 8 KB, of which little is kept: so it is the lines that would show,
	// and not what the document engine has in memory before it writes it out.
	const count, people, every = 20_000, 4_000, 2_000
	filler, read := strings.Repeat("x", 8000), 0
	measured := map[int]uint64{}
	var rest []byte
	body := readerFunc(func(p []byte) (int, error) {
		if len(rest) == 0 {
			if read == count {
				return 0, io.EOF
			}
			if read++; read%every == 0 {
				measured[read/every] = inUse()
			}
			rest = fmt.Appendf(nil, `{"ref": "m%d", "filler": "%s"}`+"\n", read%people, filler)
		}
		n := copy(p, rest)
		rest = rest[n:]
		return n, nil
	})
	sum, err := e.imports.Run(ctx, imports.Input{
		Key: "m", Mapping: "references", Format: imports.NDJSON, Mode: imports.Write, Body: body,
	})
	if err != nil || sum.Counts != (imports.Counts{Created: people, Unchanged: count - people}) {
		t.Fatal(err, sum)
	}
	t.Logf("MiB in use after each tenth: %v", func() (mib []uint64) {
		for i := range count / every {
			mib = append(mib, measured[i+1]>>20)
		}
		return mib
	}())
	if grown := int64(measured[10]) - int64(measured[2]); grown > 64<<20 { // of 122 MiB read meanwhile
		t.Errorf("%d MiB more in use at the end than after two tenths", grown>>20)
	}

	start, peak := inUse(), uint64(0)
	sent := 0
	long := readerFunc(func(p []byte) (int, error) {
		if sent >= 256<<20 {
			return 0, io.EOF
		}
		for n := 0; n < len(p); {
			n += copy(p[n:], filler)
		}
		if sent += len(p); sent%(32<<20) == 0 {
			peak = max(peak, inUse())
		}
		return len(p), nil
	})
	sum, err = e.imports.Run(ctx, imports.Input{Mapping: "references", Format: imports.NDJSON, Mode: imports.Check, Body: long})
	if err != nil || sum.Counts.Rejected != 1 {
		t.Fatal(err, sum)
	}
	if peak > start+64<<20 {
		t.Errorf("a line of 256 MiB takes %d MiB", (peak-start)>>20)
	}
}

// importerEnv holds the addresses of the databases for the process that
// TestPeakMemory starts.
const importerEnv = "IMPORTS_TEST_DATABASES"

// The importing process stays under 250 MiB with 100,000 persons; the databases
// are another process's.
func TestPeakMemory(t *testing.T) {
	if os.Getenv("VOGTER_SCALE") == "" {
		t.Skip("VOGTER_SCALE is not set")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestImporterProcess$", "-test.v")
	cmd.Env = append(os.Environ(), importerEnv+"="+testenv.MongoURI(t)+" "+testenv.MongoURI(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("no figures of the process")
	}
	mib := used.Maxrss >> 10
	t.Logf("peak RSS %d MiB", mib)
	if mib >= 250 {
		t.Errorf("peak RSS %d MiB", mib)
	}
}

func TestImporterProcess(t *testing.T) {
	data, keys, ok := strings.Cut(os.Getenv(importerEnv), " ")
	if !ok {
		t.Skip("started by TestPeakMemory")
	}
	e := openEnv(t, data, keys, 0)
	ctx := portal(t, testenv.One)
	e.ten(t, ctx)
	const count = 100_000
	sum, err := e.imports.Run(ctx, imports.Input{
		Key: "m", Mapping: "persons", Format: imports.NDJSON, Mode: imports.Write, Body: persons(count),
	})
	if err != nil || sum.Counts.Created != count {
		t.Fatal(err, sum)
	}
	if e.find(t, ctx, subject.By{Reference: text("C-0099999")}) == nil {
		t.Error("the last person isn't found")
	}
}
