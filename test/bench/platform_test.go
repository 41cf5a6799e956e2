// Package bench_test measures the platform as it runs: the parts that `vogter
// local` starts, each in a process of its own, asked over HTTP. Figures that say
// something about any machine are ratios within one run; docs/benchmarks.md
// explains them and keeps those of the day.
package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// mapping turns the lines of persons into a subject with one record each.
const mapping = `{
 "subject": {"reference": "ref", "name": {"full": "name"}, "birthDate": "born", "emails": ["mail"], "phones": ["phone"]},
 "records": [{"dataset": "Ten", "key": "ref", "origin": "PROVIDED",
  "fields": {"a": "a", "b": "b", "c": "c", "d": "d", "e": "e", "f": "f", "g": "g", "h": "h", "i": "i", "j": "j"}}]}`

// rows is a mapping of lines with many records each.
const rows = `{
 "subject": {"reference": "ref"},
 "records": [{"dataset": "Ten", "each": "rows[*]", "origin": "PROVIDED",
  "fields": {"a": "a", "b": "b", "c": "c", "d": "d", "e": "e", "f": "f", "g": "g", "h": "h", "i": "i", "j": "j"}}]}`

// platform is a running platform with one customer, and that customer's portal.
type platform struct {
	testing.TB

	stack   *local.Stack
	client  *http.Client
	tenant  tenant.ID
	key     string // API key
	ten     string // id of the dataset with ten fields
	letters string // id of the dataset with a document
}

// build builds the program as it is now and returns its path.
func build(b *testing.B) (program string) {
	b.Helper()
	program = filepath.Join(b.TempDir(), "vogter")
	cmd := exec.CommandContext(b.Context(), "go", "build", "-o", program, "github.com/vogter/vogter/cmd/vogter")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build vogter: %v\n%s", err, out)
	}
	return program
}

// start starts the platform in an empty folder and stops it when the benchmark ends.
func start(b *testing.B, program string) *platform {
	b.Helper()
	p := &platform{TB: b, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: many}}}
	dir := b.TempDir()
	var err error
	p.stack, err = local.Start(b.Context(), local.Options{
		Dir: dir, Binary: program, Environ: []string{
			"PATH=" + os.Getenv("PATH"),
			"VOGTER_LIMITS=network=1000000000/1m,anonymous=1000000/1m,requests=1000000/1m,points=1000000000/1m,imports=100000/1m,exports=100000/1m",
		}, Out: b.Output(), Seed: p.seed, Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		p.client.CloseIdleConnections()
		if err := p.stack.Stop(); err != nil {
			b.Errorf("stop the platform: %v", err)
		}
	})
	return p
}

// seed implements local.SeedFunc.
func (p *platform) seed(ctx context.Context, env local.Env) (ready local.Ready, err error) {
	v, err := app.Open(ctx, env.Config, slog.New(slog.NewTextHandler(p.Output(), nil)), time.Now, nil)
	if err != nil {
		return ready, err
	}
	defer func() { err = errors.Join(err, v.Close(context.WithoutCancel(ctx))) }()
	ctx = authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: "bench"})
	return ready, v.Record(ctx, func(ctx context.Context) error { return p.fill(ctx, v) })
}

func (p *platform) fill(ctx context.Context, v *app.Platform) error {
	in := tenancy.CreateInput{
		LegalName: "Provider ApS", Kind: tenancy.Customer, Country: "DK", TimeZone: "Europe/Copenhagen",
		Registration: &tenancy.Registration{Scheme: "CVR", Number: "13585628"}, Languages: []string{"en"},
		Owner: tenancy.OwnerInput{Email: personal.NewText("operator@provider.example")},
	}
	provider, err := v.Tenants.Bootstrap(ctx, in)
	if err != nil {
		return err
	}
	in.LegalName, in.Registration.Number = "Customer A/S", "10008123"
	in.Owner.Email = personal.NewText("owner@customer.example")
	customer, err := v.Tenants.Create(tenant.NewContext(ctx, provider.ID), in)
	if err != nil {
		return err
	}
	p.tenant = customer.ID
	ctx = tenant.NewContext(ctx, p.tenant)
	_, secret, err := v.APIKeys.Create(ctx, apikey.CreateInput{
		Name: "portal", Clearances: []authz.Clearance{authz.ClearConfidential, authz.ClearNationalID, authz.ClearArt9, authz.ClearArt10},
	})
	if err != nil {
		return err
	}
	p.key = *secret

	field := func(key string, of dataset.Type) dataset.FieldInput {
		return dataset.FieldInput{
			Key: key, Type: of, DataClass: dataset.Ordinary, Secrecy: dataset.NoSecrecy, Lookup: dataset.NoLookup,
		}
	}
	ten := dataset.CreateInput{Name: "Ten", Secrecy: dataset.NoSecrecy}
	for key := range strings.SplitSeq("abcdefghij", "") {
		of := dataset.TypeString
		switch key {
		case "d":
			of = dataset.TypeInt
		case "e":
			of = dataset.TypeDate
		case "g":
			of = dataset.TypeBool
		}
		ten.Fields = append(ten.Fields, field(key, of))
	}
	made, err := v.Datasets.Create(ctx, ten)
	if err != nil {
		return err
	}
	p.ten = made.ID
	made, err = v.Datasets.Create(ctx, dataset.CreateInput{
		Name: "Letters", Secrecy: dataset.NoSecrecy, Fields: []dataset.FieldInput{field("letter", dataset.TypeFile)},
	})
	if err != nil {
		return err
	}
	p.letters = made.ID
	if _, err := v.Imports.SaveMapping(ctx, imports.SaveMappingInput{Name: "persons", Document: mapping}); err != nil {
		return err
	}
	_, err = v.Imports.SaveMapping(ctx, imports.SaveMappingInput{Name: "rows", Document: rows})
	return err
}

// send makes a request of the portal and decodes the answer.
func (p *platform) send(r *http.Request, answer any) error {
	r.Header.Set("Authorization", "Bearer "+p.key)
	res, err := p.client.Do(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", res.Status, body)
	}
	return json.Unmarshal(body, answer)
}

// call sends a GraphQL document and decodes its data. Creates are told apart by
// the key, which may be empty for everything else.
func (p *platform) call(ctx context.Context, document string, variables map[string]any, key string, data any) error {
	body, err := json.Marshal(map[string]any{"query": document, "variables": variables})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.stack.Ready().GraphQL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	var answer struct {
		Data   json.RawMessage
		Errors json.RawMessage
	}
	if err := p.send(r, &answer); err != nil {
		return err
	}
	if answer.Errors != nil {
		return fmt.Errorf("graphql: %s", answer.Errors)
	}
	return json.Unmarshal(answer.Data, data)
}

// must is call for what isn't measured.
func (p *platform) must(document string, variables map[string]any, key string, data any) {
	p.Helper()
	if err := p.call(p.Context(), document, variables, key, data); err != nil {
		p.Fatal(err)
	}
}

// load imports n persons whose references begin with a prefix, and returns how
// long that took.
func (p *platform) load(prefix string, n int) time.Duration {
	p.Helper()
	created, took := p.imported("persons", prefix, n, persons(prefix, n))
	if created != n {
		p.Fatalf("imported %d of %d", created, n)
	}
	return took
}

// loadRecords imports n records about one person.
func (p *platform) loadRecords(reference string, n int) {
	p.Helper()
	r, w := io.Pipe()
	go func() {
		const perLine = 500
		lines := json.NewEncoder(w)
		for from := 0; from < n; from += perLine {
			var list []map[string]any
			for i := from; i < min(from+perLine, n); i++ {
				list = append(list, values(i))
			}
			if lines.Encode(map[string]any{"ref": reference, "rows": list}) != nil {
				return // the reader has had enough
			}
		}
		_ = w.Close()
	}()
	p.imported("rows", reference, n, r)
}

// imported imports lines that make so many records.
func (p *platform) imported(mapping, key string, records int, lines io.Reader) (created int, took time.Duration) {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), http.MethodPost, p.stack.Ready().API+"/v1/imports?mapping="+mapping, lines)
	if err != nil {
		p.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	r.Header.Set("Idempotency-Key", key)
	var sum struct{ Created, Records, Rejected int }
	began := time.Now()
	if err := p.send(r, &sum); err != nil {
		p.Fatal(err)
	}
	took = time.Since(began)
	if sum.Records != records || sum.Rejected != 0 {
		p.Fatalf("imported %+v of %d", sum, records)
	}
	return sum.Created, took
}

// values are ten of an invented record.
func values(i int) map[string]any {
	return map[string]any{
		"a": "first value", "b": fmt.Sprintf("second value %d", i), "c": "third", "d": i, "e": fmt.Sprintf("2026-01-%02d", 1+i%28),
		"f": "a somewhat longer text than the others", "g": i%2 == 0, "h": "eighth", "i": "ninth", "j": "tenth",
	}
}

// persons returns n lines about invented persons, made while they are read.
func persons(prefix string, n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		lines := json.NewEncoder(w)
		for i := range n {
			line := values(i)
			maps.Copy(line, map[string]any{
				"ref": fmt.Sprintf("%s-%07d", prefix, i), "name": fmt.Sprintf("Person Number%d", i),
				"born": fmt.Sprintf("%d-%02d-%02d", 1920+i%80, 1+i%12, 1+i%28), "mail": fmt.Sprintf("%s%d@example.com", prefix, i),
				"phone": fmt.Sprintf("+120255501%02d", i%100), // a range for fiction
			})
			err := lines.Encode(line)
			if err != nil {
				return // the reader has had enough
			}
		}
		_ = w.Close()
	}()
	return r
}

// full reports whether the sizes are those that are promised.
func full() bool { return os.Getenv("VOGTER_SCALE") == "full" }

// scaled returns the first size, or the second in full scale.
func scaled(small, big int) int {
	if full() {
		return big
	}
	return small
}

// tick is the unit of the times in /proc, see proc(5).
const tick = 10 * time.Millisecond

// cpu returns the processor time that a process has used, in user and in kernel
// mode. The kernel counts it exactly and shows it in ticks.
func (p *platform) cpu(pid int) time.Duration {
	p.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		p.Skipf("no figures of processes here: %v", err)
	}
	const user, kernel = 11, 12 // counted after the name, which is in parentheses
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, at := range []int{user, kernel} {
		n, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			p.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick
}

// peak returns the most memory that a part has had resident since its start, in MiB.
func (p *platform) peak(part string) float64 {
	p.Helper()
	mib, err := p.highest(part)
	if err != nil {
		p.Skipf("no figures of processes here: %v", err)
	}
	return mib
}

// highest is peak, and fails while the part isn't there.
func (p *platform) highest(part string) (mib float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.stack.PID(part)))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("%s: no VmHWM in its status", part)
}
