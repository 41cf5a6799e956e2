// Package world puts the services together on real parts, for tests that need
// persons with records, files and exports.
package world

import (
	"bytes"
	"context"
	"crypto/rand"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/s3"
	"github.com/vogter/vogter/internal/vault"
)

// Provider is the tenant that runs the platform; testenv.One and testenv.Two are
// its customers.
const Provider = testenv.Provider

// BaseURL is where download links lead.
const BaseURL = "https://vogter.example"

// World is a platform without its API and its queue.
type World struct {
	testing.TB

	DB       *mongo.DB
	Places   Places
	Storage  *s3.Server
	Bucket   *blob.Bucket
	Keys     *mongo.KeyStore
	KMS      kms.Wrapper
	Vault    *vault.Vault
	Changes  *change.Runner
	Recorder *audit.Recorder

	Datasets  *dataset.Service
	Subjects  *subject.Service
	Records   *record.Service
	Jobs      *job.Service
	Files     *file.Service
	Exports   *export.Service
	Downloads *download.Service

	data     *driver.Database
	skew     atomic.Int64
	handlers map[string]func(ctx context.Context, r *job.Run) error
}

// Places are where a World keeps things, for other processes of the same platform.
type Places struct {
	Data, Keys string // connection strings
	Masters    string // path of the file of master keys
	Objects    blob.Config
}

// Start makes a World with three tenants.
func Start(tb testing.TB) *World {
	tb.Helper()
	storage := s3.Start(tb)
	bucket := storage.Config
	bucket.Bucket = "test-" + strings.ToLower(rand.Text())
	w := Open(tb, Places{
		Data: testenv.MongoURI(tb), Keys: testenv.MongoURI(tb), Masters: filepath.Join(tb.TempDir(), "masters.json"), Objects: bucket,
	})
	w.Storage = storage
	w.ok(w.Bucket.Ensure(tb.Context()))
	tenants := mongo.NewTenantStore(w.DB, w.Vault)
	for _, t := range []tenancy.Tenant{
		{ID: Provider, Kind: tenancy.Provider, LegalName: "Vogter Drift A/S"},
		{ID: testenv.One, Kind: tenancy.Customer, LegalName: "Første ApS"},
		{ID: testenv.Two, Kind: tenancy.Customer, LegalName: "Anden ApS"},
	} {
		t.Country, t.TimeZone, t.Languages, t.Version = "DK", "Europe/Copenhagen", []string{"da-DK", "en"}, 1
		w.ok(w.DB.InTransaction(w.As(t.ID), func(ctx context.Context) error { return tenants.Insert(ctx, &t) }))
	}
	return w
}

// Open is another process of the World that keeps its things there: without Storage.
func Open(tb testing.TB, at Places) *World {
	tb.Helper()
	db, log := testenv.Data(tb, at.Data), testenv.Logger(tb)
	w := &World{
		TB: tb, DB: db, Places: at, handlers: map[string]func(context.Context, *job.Run) error{},
		Keys: mongo.NewKeyStore(testenv.Connect(tb, at.Keys)), data: raw(tb, at.Data),
	}
	var err error
	w.Bucket, err = blob.New(at.Objects)
	w.ok(err)
	w.KMS, err = localfile.Open(at.Masters, testenv.Now)
	w.ok(err)
	w.Vault, err = vault.New(vault.Config{Store: w.Keys, KMS: w.KMS, Now: w.Now})
	w.ok(err)
	w.Changes, w.Recorder = testenv.Changes(tb, db, w.Vault, vault.Hasher{Vault: w.Vault}, nil)
	permit := testenv.Authorizer(tb)
	tenants := mongo.NewTenantStore(db, w.Vault)
	subjects := mongo.NewSubjectStore(db, w.Vault, log)
	w.Datasets = dataset.NewService(mongo.NewDatasetStore(db), w.Changes, permit, w.Now)
	w.Subjects = subject.NewService(subjects, w.Changes, w.Recorder, w.Vault, permit, denmark{}, w.Now)
	w.Jobs = job.NewService(mongo.NewJobStore(db), w.Changes, w.Now, log, job.Timing{Pause: time.Nanosecond})
	w.Files = file.NewService(file.Config{
		Store: mongo.NewFileStore(db, w.Vault), Objects: w.Bucket, Subjects: subjects, Datasets: w.Datasets, Looker: permit,
		Vault: w.Vault, Changes: w.Changes, Recorder: w.Recorder, Log: log, Now: w.Now,
	})
	w.Records = record.NewService(record.Parts{
		Store: mongo.NewRecordStore(db, w.Vault, log), Changes: w.Changes, Recorder: w.Recorder, Vault: w.Vault,
		Looker: permit, Datasets: w.Datasets, Subjects: subjects, Files: w.Files,
		Kept: retention.NewKeeper(mongo.NewRetentionStore(db, w.Vault), tenants, w.Now), Regions: denmark{}, Now: w.Now,
	})
	w.Exports = export.NewService(export.Config{
		Store: mongo.NewExportStore(db), Objects: w.Bucket, Subjects: subjects, Datasets: w.Datasets, Looker: permit, Records: w.Records,
		Files: w.Files, Tenants: tenants, Jobs: w.Jobs, Vault: w.Vault, Keys: w.Keys,
		Signer: testenv.Ring(tb, db, w.Vault, w.Changes), Changes: w.Changes, Log: log, Now: w.Now,
	})
	w.Downloads = download.NewService(download.Config{
		Store: mongo.NewDownloadStore(db), Files: w.Files, Exports: w.Exports, Authorizer: permit, Recorder: w.Recorder,
		Changes: w.Changes, Log: log, Now: w.Now, BaseURL: BaseURL,
	})
	return w
}

// raw connects to the database beside the platform.
func raw(tb testing.TB, uri string) *driver.Database {
	tb.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := client.Disconnect(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("disconnect: %v", err)
		}
	})
	return client.Database("vogter")
}

type denmark struct{}

func (denmark) Country(context.Context) (string, error) { return "DK", nil }

func (w *World) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Now is the clock of all services but the audit log.
func (w *World) Now() time.Time { return testenv.Now().Add(time.Duration(w.skew.Load())) }

// Sleep lets the clock run ahead.
func (w *World) Sleep(d time.Duration) { w.skew.Add(int64(d)) }

// As returns a context of a new portal of the tenant that may do everything.
func (w *World) As(of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(w.Context(), of), authz.Principal{
		Kind: authz.KindMachine, ID: id.New(id.APIKey, of), Tenant: of, Grants: authz.ForKeys(), Clearances: authz.Clearances(),
	})
}

// Subject makes a person.
func (w *World) Subject(ctx context.Context, reference string) *subject.Subject {
	w.Helper()
	ref := personal.NewText(reference)
	s, err := w.Subjects.Create(ctx, subject.CreateInput{Reference: &ref})
	w.ok(err)
	return s
}

// Field describes a field of a dataset in which nothing is secret.
func Field(key string, t dataset.Type) dataset.FieldInput {
	return dataset.FieldInput{Key: key, Type: t, DataClass: dataset.Ordinary, Secrecy: dataset.NoSecrecy, Lookup: dataset.NoLookup}
}

// Dataset makes a dataset in which nothing is secret.
func (w *World) Dataset(ctx context.Context, name string, fields ...dataset.FieldInput) *dataset.Dataset {
	w.Helper()
	d, err := w.Datasets.Create(ctx, dataset.CreateInput{Name: name, Secrecy: dataset.NoSecrecy, Fields: fields})
	w.ok(err)
	return d
}

// Value is a value of a record about its subject.
func Value(key string, v any) record.FieldInput {
	return record.FieldInput{Key: key, Value: dataset.RawJSON(v)}
}

// About is a value of a record about a party.
func About(party, key string, v any) record.FieldInput {
	return record.FieldInput{Key: key, Value: dataset.RawJSON(v), About: &party}
}

// Record makes a record of a person.
func (w *World) Record(ctx context.Context, s *subject.Subject, d *dataset.Dataset, values ...record.FieldInput) *record.Record {
	w.Helper()
	r, err := w.Records.Write(ctx, record.WriteInput{Subject: s.ID, Dataset: d.ID, Origin: record.Provided, Fields: values})
	w.ok(err)
	return r
}

// Upload uploads a document.
func (w *World) Upload(ctx context.Context, s *subject.Subject, d *dataset.Dataset, name, content string) *file.File {
	w.Helper()
	f, err := w.Files.Upload(ctx, file.UploadInput{
		Subject: s.ID, Dataset: d.ID, Name: personal.NewText(name), MediaType: "text/plain", Size: int64(len(content)),
	}, bytes.NewReader([]byte(content)))
	w.ok(err)
	return f
}

// Work carries out all jobs there are, and those that follow from them.
func (w *World) Work(ctx context.Context) {
	w.Helper()
	for {
		due, err := w.Jobs.Due(ctx, 100)
		w.ok(err)
		if len(due) == 0 {
			return
		}
		for _, j := range due {
			w.ok(w.Jobs.Work(tenant.NewContext(ctx, j.Tenant), j.ID, j.Delivery, w.Dispatch))
		}
	}
}

// Handle has jobs of a type carried out by h.
func (w *World) Handle(jobType string, h func(ctx context.Context, r *job.Run) error) {
	w.handlers[jobType] = h
}

// Dispatch carries out a job.
func (w *World) Dispatch(ctx context.Context, r *job.Run) error {
	if h, ok := w.handlers[r.Type()]; ok {
		return h(ctx, r)
	}
	switch r.Type() {
	case export.JobBuild:
		return w.Exports.Build(ctx, r)
	case file.JobRemove:
		return w.Files.Remove(ctx, r.Object())
	default:
		w.Errorf("a job of unknown type %s", r.Type())
		return nil
	}
}

// SetState puts a person in a state, as a later capability will.
func (w *World) SetState(ctx context.Context, s *subject.Subject, state subject.State) {
	w.Helper()
	res, err := w.data.Collection("subjects").UpdateByID(ctx, s.ID,
		bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: state}}}})
	w.ok(err)
	if res.MatchedCount != 1 {
		w.Fatalf("no subject %s", s.ID)
	}
}

// Stored returns a collection as it is stored.
func (w *World) Stored(collection string) *driver.Collection { return w.data.Collection(collection) }

// Count counts the documents of a collection.
func (w *World) Count(ctx context.Context, collection string, filter bson.D) int {
	w.Helper()
	n, err := w.data.Collection(collection).CountDocuments(ctx, filter)
	w.ok(err)
	return int(n)
}

// Entries returns the actions in the audit log on an object, the oldest first.
func (w *World) Entries(ctx context.Context, object string) []string {
	w.Helper()
	cursor, err := w.data.Collection("audit").Find(ctx, bson.D{{Key: "object", Value: object}},
		options.Find().SetSort(bson.D{{Key: "at", Value: 1}}))
	w.ok(err)
	var docs []struct {
		Action string `bson:"action"`
	}
	w.ok(cursor.All(ctx, &docs))
	actions := make([]string, len(docs))
	for i, d := range docs {
		actions[i] = d.Action
	}
	return actions
}
