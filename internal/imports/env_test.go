package imports_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/testdata/legislators"
)

// denmark is where the tenants of the tests are.
type denmark struct{}

func (denmark) Country(context.Context) (string, error) { return "DK", nil }

// noFiles is for records without documents.
type noFiles struct{}

func (noFiles) Attach(context.Context, string, []record.Attachment) error {
	return errors.New("no files here")
}

func (noFiles) Detach(context.Context, string, []record.Attachment) ([]job.Spec, error) {
	return nil, errors.New("no files here")
}

// env is the import service on real parts.
type env struct {
	uri, keys string
	db        *mongo.DB
	vault     *vault.Vault
	datasets  *dataset.Service
	subjects  *subject.Service
	records   *record.Service
	imports   *imports.Service
	handler   http.Handler
}

func newEnv(tb testing.TB) *env {
	tb.Helper()
	return openEnv(tb, testenv.MongoURI(tb), testenv.MongoURI(tb), 0)
}

// openEnv is newEnv on databases that run already, with a cache of so many data keys.
func openEnv(tb testing.TB, data, keys string, dataKeys int) *env {
	tb.Helper()
	e := &env{uri: data, keys: keys}
	e.db = testenv.Data(tb, e.uri)
	var err error
	e.vault, err = vault.New(vault.Config{
		Store: mongo.NewKeyStore(testenv.Connect(tb, e.keys)), KMS: testenv.KMS(tb), Now: testenv.Now, DataKeys: dataKeys,
	})
	if err != nil {
		tb.Fatal(err)
	}
	log, hasher := testenv.Logger(tb), vault.Hasher{Vault: e.vault}
	permit := testenv.Authorizer(tb)
	changes, recorder := testenv.Changes(tb, e.db, e.vault, hasher, nil)
	people := mongo.NewSubjectStore(e.db, e.vault, log)
	e.datasets = dataset.NewService(mongo.NewDatasetStore(e.db), changes, permit, testenv.Now)
	e.subjects = subject.NewService(people, changes, recorder, e.vault, permit, denmark{}, testenv.Now)
	e.records = record.NewService(record.Parts{
		Store: mongo.NewRecordStore(e.db, e.vault, log), Changes: changes, Recorder: recorder, Vault: e.vault,
		Looker: permit, Datasets: e.datasets, Subjects: people, Files: noFiles{}, Regions: denmark{}, Now: testenv.Now,
	})
	e.imports = imports.NewService(imports.Parts{
		Store: mongo.NewImportStore(e.db), Changes: changes, Recorder: recorder, Vault: e.vault, Hasher: hasher,
		Looker: permit, Datasets: e.datasets, Subjects: e.subjects, Guards: people, Records: e.records, Regions: denmark{}, Now: testenv.Now,
	})
	mux := http.NewServeMux()
	mux.Handle("POST /v1/imports", imports.Handler(e.imports, permit, log))
	mux.Handle("GET /v1/imports/{id}", imports.Progress(e.imports, permit, log))
	e.handler = mux
	return e
}

// as returns a context of a portal of the tenant, with some permissions.
func as(tb testing.TB, of tenant.ID, grants ...authz.Permission) context.Context {
	tb.Helper()
	ctx := tenant.NewContext(tb.Context(), of)
	ctx = audit.WithRequest(ctx, audit.Request{ID: "REQUEST"})
	return authz.NewContext(ctx, authz.Principal{
		Kind: authz.KindMachine, ID: "key_" + string(of), Tenant: of, Credential: "key_" + string(of), Grants: grants,
		Clearances: authz.Clearances(),
	})
}

func portal(tb testing.TB, of tenant.ID) context.Context {
	tb.Helper()
	return as(tb, of, authz.ImportRun)
}

// serve starts the API for the caller in ctx.
func (e *env) serve(tb testing.TB, ctx context.Context) string { //nolint:revive // tb comes first in tests
	tb.Helper()
	srv := httptest.NewUnstartedServer(e.handler)
	srv.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	srv.Start()
	tb.Cleanup(srv.Close)
	return srv.URL
}

// demo makes the datasets and the mapping of the legislators.
func (e *env) demo(tb testing.TB, ctx context.Context) { //nolint:revive // tb comes first in tests
	tb.Helper()
	var inputs []dataset.CreateInput
	if err := json.Unmarshal(legislators.Datasets(), &inputs); err != nil {
		tb.Fatal(err)
	}
	for _, in := range inputs {
		if _, err := e.datasets.Create(ctx, in); err != nil {
			tb.Fatal(err)
		}
	}
	in := imports.SaveMappingInput{Name: legislators.MappingName, Document: legislators.Mapping()}
	if _, err := e.imports.SaveMapping(ctx, in); err != nil {
		tb.Fatal(err)
	}
}

// members makes a dataset for lines without a mapping.
func (e *env) members(tb testing.TB, ctx context.Context) *dataset.Dataset { //nolint:revive // tb comes first in tests
	tb.Helper()
	in := dataset.CreateInput{Name: "Members", Secrecy: dataset.NoSecrecy, Fields: []dataset.FieldInput{
		{Key: "level", Type: dataset.TypeEnum, Values: []string{"GOLD", "SILVER"}},
		{Key: "since", Type: dataset.TypeDate},
		{Key: "points", Type: dataset.TypeInt},
		{Key: "note", Type: dataset.TypeText},
	}}
	for i := range in.Fields {
		f := &in.Fields[i]
		f.DataClass, f.Secrecy, f.Lookup = dataset.Ordinary, dataset.NoSecrecy, dataset.NoLookup
	}
	d, err := e.datasets.Create(ctx, in)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// answer is the JSON of an import.
type answer struct {
	ID         string              `json:"id"`
	Mode       string              `json:"mode"`
	State      string              `json:"state"`
	Lines      int64               `json:"lines"`
	Created    int64               `json:"created"`
	Updated    int64               `json:"updated"`
	Unchanged  int64               `json:"unchanged"`
	Records    int64               `json:"records"`
	Rejected   int64               `json:"rejected"`
	Rejections []imports.Rejection `json:"rejections"`
	ResumeFrom int64               `json:"resumeFrom"`
	Code       string              `json:"code"`
	Message    string              `json:"message"`
	Field      string              `json:"field"`
	Status     int                 `json:"-"`
}

// counts is what most tests compare.
func (a *answer) counts() [5]int64 {
	return [5]int64{a.Created, a.Updated, a.Unchanged, a.Records, a.Rejected}
}

type upload struct {
	query string // "dataset=Members" when empty
	key   string
	mime  string // NDJSON when empty
	body  io.Reader
}

func (u *upload) request(tb testing.TB, base string) *http.Request {
	tb.Helper()
	if u.query == "" {
		u.query = "dataset=Members"
	}
	if u.mime == "" {
		u.mime = "application/x-ndjson"
	}
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, base+"/v1/imports?"+u.query, u.body)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Type", u.mime)
	if u.key != "" {
		r.Header.Set("Idempotency-Key", u.key)
	}
	return r
}

func send(tb testing.TB, base string, u upload) answer {
	tb.Helper()
	return do(tb, u.request(tb, base))
}

func do(tb testing.TB, r *http.Request) (a answer) {
	tb.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := res.Body.Close(); err != nil {
			tb.Error(err)
		}
	}()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, &a); err != nil {
		tb.Fatalf("%d %q: %v", res.StatusCode, b, err)
	}
	a.Status = res.StatusCode
	return a
}

func text(s string) *personal.Text {
	t := personal.NewText(s)
	return &t
}

// find returns the one subject with an identifier, nil if there is none.
func (e *env) find(tb testing.TB, ctx context.Context, by subject.By) *subject.Subject { //nolint:revive // tb comes first in tests
	tb.Helper()
	c, err := e.subjects.Find(ctx, by, page.Request{First: 10})
	if err != nil {
		tb.Fatal(err)
	}
	if len(c.Edges) == 0 {
		return nil
	}
	return c.Edges[0].Node
}

// value returns what a subject's only record of a dataset has in a field.
func (e *env) value(tb testing.TB, ctx context.Context, subjectID, datasetID, field string) any { //nolint:revive // tb comes first in tests
	tb.Helper()
	c, err := e.records.List(ctx, record.Query{Subject: subjectID, Dataset: datasetID}, page.Request{First: 10})
	if err != nil {
		tb.Fatal(err)
	}
	if len(c.Edges) != 1 {
		tb.Fatalf("%d records", len(c.Edges))
	}
	for _, f := range c.Edges[0].Node.Fields {
		if f.Key == field {
			return f.Value.Reveal()
		}
	}
	return nil
}

func lines(l ...string) io.Reader { return strings.NewReader(strings.Join(l, "\n") + "\n") }
