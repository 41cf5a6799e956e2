package mongo_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// Another tenant that knows an id, which the services refuse before, finds and
// changes nothing in the stores; without a tenant nothing works at all.
func TestObjectsOfTenants(t *testing.T) {
	db, v := testenv.Mongo(t), testenv.Vault(t)
	changes, _ := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	one, two := tenant.NewContext(t.Context(), testenv.One), tenant.NewContext(t.Context(), testenv.Two)
	now := testenv.Now().UTC().Truncate(time.Millisecond)

	files := mongo.NewFileStore(db, v)
	f := &file.File{
		ID: id.New(id.File, testenv.One), Subject: id.New(id.Subject, testenv.One), Dataset: id.New(id.Dataset, testenv.One),
		Name: personal.NewText("a.txt"), MediaType: "text/plain", State: file.Uploading, CreatedAt: now, SHA256: personal.Bytes([]byte{1}),
	}
	if _, err := v.Ensure(one, file.Owner(testenv.One, f), file.Owner(testenv.Two, f)); err != nil {
		t.Fatal(err)
	}
	changed := func(do func(ctx context.Context) error) func(ctx context.Context) error {
		return func(ctx context.Context) error { return changes.DoPlain(ctx, "file.change", f.ID, do) }
	}
	if err := changed(func(ctx context.Context) error { return files.Insert(ctx, f) })(one); err != nil {
		t.Fatal(err)
	}
	a := record.Attachment{File: f.ID, Subject: f.Subject, Dataset: f.Dataset}

	exports := mongo.NewExportStore(db)
	size := int64(1)
	e := &export.Export{
		ID: id.New(id.Export, testenv.One), SubjectID: f.Subject, JobID: id.New(id.Job, testenv.One), State: export.Building,
		CreatedAt: now, ExpiresAt: &now, Size: &size,
	}
	if err := exports.Insert(one, e, now); err != nil {
		t.Fatal(err)
	}
	ready := *e
	ready.State = export.Ready

	grants := mongo.NewDownloadStore(db)
	g := &download.Row{Hash: "00", Object: f.ID, Subject: f.Subject, Principal: "p", UsesLeft: 1, CreatedAt: now, ExpiresAt: now}
	if err := grants.Insert(one, g); err != nil {
		t.Fatal(err)
	}

	steps := []struct {
		name string
		do   func(ctx context.Context) error
		want error // of the other tenant
	}{
		{"get file", func(ctx context.Context) error { _, err := files.Get(ctx, f.ID); return err }, file.ErrNotFound},
		{"finish file", changed(func(ctx context.Context) error { return files.Finish(ctx, f) }), file.ErrState},
		{"attach file", changed(func(ctx context.Context) error { return files.Attach(ctx, "rec", a) }), file.ErrNotFound},
		{"detach file", changed(func(ctx context.Context) error {
			had, err := files.Detach(ctx, "rec", f.ID)
			if err == nil && !had {
				return file.ErrState
			}
			return err
		}), file.ErrState},
		{"discard file", func(ctx context.Context) error {
			if err := files.Discard(ctx, f.ID); !errors.Is(err, file.ErrState) {
				return err
			}
			return nil // it is detached already
		}, nil},
		{"delete file", changed(func(ctx context.Context) error { return files.Delete(ctx, f.ID) }), file.ErrNotFound},
		{"get export", func(ctx context.Context) error { _, err := exports.Get(ctx, e.ID); return err }, export.ErrNotFound},
		{"finish export", func(ctx context.Context) error { return exports.Finish(ctx, &ready) }, export.ErrExpired},
		{"expire export", func(ctx context.Context) error { return exports.Expire(ctx, e.ID) }, export.ErrNotFound},
		{"get grant", func(ctx context.Context) error { _, err := grants.Get(ctx, g.Hash); return err }, download.ErrNotFound},
		{"use grant", func(ctx context.Context) error { return grants.Use(ctx, g.Hash) }, download.ErrSpent},
	}
	for _, s := range steps {
		if err := s.do(two); !errors.Is(err, s.want) {
			t.Errorf("%s by another tenant: got %v, want %v", s.name, err, s.want)
		}
		if err := s.do(t.Context()); !errors.Is(err, tenant.ErrNone) {
			t.Errorf("%s without a tenant: got %v", s.name, err)
		}
		if err := s.do(one); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}
