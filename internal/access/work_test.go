package access_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/access"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// quiet is a tenant that has disclosed nothing and whose log nobody asks for.
type quiet struct{}

func (quiet) Accesses(context.Context, string, time.Time, func(*trail.Access) error) error {
	return nil
}

func (quiet) List(context.Context, string, dataset.Secrecy, *page.Position, int) ([]*disclosure.Disclosure, error) {
	return nil, nil
}

func (quiet) Of(context.Context, string, bool) ([]*retention.Decided, error) { return nil, nil }

// newsletter is the only activity, on the basis of consent.
type newsletter struct{ datasets []string }

func (n *newsletter) List(context.Context, processing.Filter, page.Request) (*processing.Connection, error) {
	a := &processing.Activity{Valid: &processing.Revision{Content: processing.Content{
		Name: processing.Words{En: "Newsletter"}, Datasets: n.datasets,
		Controller: &processing.ControllerPart{LegalBases: []processing.LegalBasis{{Basis: processing.Art6a}}},
	}}}
	return &processing.Connection{Edges: []processing.Edge{{Node: a}}}, nil
}

// headed is a tenant with a letterhead.
type headed struct{ *mongo.TenantStore }

func (h headed) Get(ctx context.Context) (*tenancy.Tenant, error) {
	t, err := h.TenantStore.Get(ctx)
	if err == nil {
		t.Letterhead = &tenancy.Letterhead{
			Address: "Opdigtet Plads 1", Email: "privacy@one.example", Phone: "+45 00 00 00 00",
			Authority: tenancy.Authority{Name: "Datatilsynet", Address: "Opdigtet Plads 2", Phone: "+45 00 00 00 01", Email: "dt@authority.example", Website: "https://authority.example"},
		}
	}
	return t, err
}

// A request is searched for everywhere, nothing found included, and answered by
// one signed package of the case, however often it is carried out; what is secret
// shows in none of it.
func TestAccess(t *testing.T) {
	w := world.Start(t)
	ctx := w.As(testenv.One)
	library, err := letter.NewLibrary()
	if err != nil {
		t.Fatal(err)
	}
	tenants, activities := headed{mongo.NewTenantStore(w.DB, w.Vault)}, &newsletter{}
	letters := letter.NewService(letter.Config{Library: library, Store: mongo.NewLetterStore(w.DB), Tenants: tenants, Changes: w.Changes, Now: w.Now})
	w.Exports.Contents = &access.Contents{
		Trail: quiet{}, Disclosures: quiet{}, Activities: activities, Requests: mongo.NewRequestStore(w.DB, w.Vault),
		Statement: &access.Statement{Tenants: tenants, Retention: quiet{}, Letters: letters},
	}
	work := &access.Work{Type: pack.AccessType, Exports: w.Exports, Tenants: mongo.NewTenantStore(w.DB, w.Vault)}
	notes := w.Dataset(ctx, "Notes", world.Field("note", dataset.TypeString))
	empty := w.Dataset(ctx, "Empty", world.Field("note", dataset.TypeString))
	secret, err := w.Datasets.Create(ctx, dataset.CreateInput{Name: "Reports", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("note", dataset.TypeString)}})
	if err != nil {
		t.Fatal(err)
	}
	activities.datasets = []string{notes.ID, secret.ID}
	anna := w.Subject(ctx, "A-1")
	w.Record(ctx, anna, notes, world.Value("note", "seen"))
	r := &request.Request{ID: id.New(id.Request, testenv.One), Number: "2031-000001", Subject: anna.ID, Language: "en", Items: []request.Item{{
		ID: id.New(id.RequestItem, testenv.One), Type: request.Access, Proposal: &request.Proposal{Outcome: request.Fulfilled},
	}}}
	before, err := work.Search(ctx, r, &r.Items[0])
	if err != nil {
		t.Fatal(err)
	}
	w.Record(ctx, anna, secret, world.Value("note", "hidden"))
	after, err := work.Search(ctx, r, &r.Items[0])
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("%+v, then %+v, %v", before, after, err)
	}
	counts := map[string]int{}
	for _, a := range after {
		counts[a.System] = a.Count
	}
	if n, ok := counts[empty.ID]; counts[notes.ID] != 1 || !ok || n != 0 || len(after) != 5 {
		t.Errorf("%+v", after)
	}

	if _, err := work.Carry(ctx, r, &r.Items[0], nil); err == nil {
		t.Error("there is a package already")
	}
	w.Work(ctx)
	done, err := work.Carry(ctx, r, &r.Items[0], nil)
	if err != nil || done.Outcome != request.Fulfilled || len(done.Results) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	again, err := work.Carry(ctx, r, &r.Items[0], nil)
	if err != nil || !reflect.DeepEqual(again, done) || w.Count(ctx, "exports", bson.D{}) != 1 {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, _, err := w.Exports.Open(w.As(testenv.Two), done.Results[0]); err == nil {
		t.Error("another tenant has the package")
	}
	_, content, err := w.Exports.Open(ctx, done.Results[0])
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := content.Close(); err != nil {
		t.Error(err)
	}
	said, err := pack.Verify(bytes.NewReader(b), int64(len(b)), pack.Options{})
	if err != nil || said.Type != pack.AccessType || !strings.Contains(said.Notes[0], r.Number) {
		t.Errorf("%+v, %v", said, err)
	}
	if seen, err := json.Marshal(said.Notes); err != nil || strings.Contains(string(seen), "Reports") || !strings.Contains(said.Notes[1], "2 datasets and 3 lists searched, 1 records") {
		t.Errorf("%s, %v", seen, err)
	}
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range z.File {
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(text)
		if strings.Contains(string(text), "Reports") || strings.Contains(string(text), "hidden") {
			t.Errorf("%s tells of what is secret", f.Name)
		}
	}
	if !strings.Contains(files["README.html"], "Read me first") || !strings.Contains(files["schema/requests.schema.json"], `"receivedAt"`) || files["schema/access.schema.json"] != "" {
		t.Errorf("%s, %s", files["README.html"], files["schema/requests.schema.json"])
	}
	if s := files["statement.html"]; !strings.Contains(s, "Newsletter") || !strings.Contains(s, "Datatilsynet") || files["statement.pdf"] == "" || files["log/access.csv"] == "" {
		t.Errorf("%s", s)
	}
	carry := &access.Work{Type: pack.PortabilityType, Exports: w.Exports, Tenants: tenants}
	found, err := carry.Search(ctx, r, &r.Items[0])
	if err != nil || len(found) != 2 || found[0].System != "identity" || found[1].System != notes.ID {
		t.Errorf("%+v, %v", found, err)
	}
}
