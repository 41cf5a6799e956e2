package graph_test

import (
	"context"
	"strings"
	"testing"

	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
)

// stored answers every mutation with all that is stored, which is more than was sent.
type (
	storedSubjects struct{ graph.Subjects }
	storedRecords  struct{ graph.Records }
	storedTenants  struct{ graph.Tenants }
)

func (storedTenants) Get(context.Context) (*tenancy.Tenant, error) {
	return &tenancy.Tenant{ID: one, LegalName: "One ApS", DpoContact: &tenancy.DpoContact{Name: personal.NewText("stored-name")}}, nil
}

func person() *subject.Subject {
	return &subject.Subject{
		ID: "sub_1", State: subject.Active, Identity: personal.Clear, Version: 2, Reference: personal.NewText("stored-reference"),
		Name: &subject.Name{Full: personal.NewText("stored-name")}, BirthDate: personal.NewText("1970-01-31"),
		Emails: []personal.Text{personal.NewText("stored@example.test")}, Phones: []personal.Text{personal.NewText("+4511223344")},
		NationalIDs: []subject.NationalID{{Country: "SE", Number: personal.NewText("stored-number")}},
	}
}

func (storedSubjects) Update(context.Context, subject.UpdateInput) (*subject.Subject, error) {
	return person(), nil
}

func (storedSubjects) Upsert(context.Context, subject.UpsertInput) (*subject.Subject, bool, error) {
	return person(), false, nil
}

func (storedRecords) Update(context.Context, record.UpdateInput) (*record.Record, error) {
	return &record.Record{
		ID: "rec_1", SubjectID: "sub_1", DatasetID: "dst_1", Origin: record.Provided, Version: 2, Key: personal.NewText("stored-key"),
		Source: personal.NewText("stored-source"), Parties: []record.Party{{Subject: "sub_2", Role: "stored-role"}},
		Fields: []record.Field{{
			FieldID: "fld_1", Key: "risk", Class: dataset.Ordinary, State: personal.Clear,
			Value: record.Value{Type: dataset.TypeString, Value: personal.String("stored-value")},
		}},
	}, nil
}

// Who may write and not read is told which object it wrote, and nothing of what
// was stored before.
func TestWritingIsNoReading(t *testing.T) {
	f := newAPI(t, func(*audit.Recorder) graph.Services {
		return graph.Services{Subjects: storedSubjects{}, Records: storedRecords{}}
	})
	next := f.Config.Handler
	const fields = `subject { id identity reference name { full } birthDate emails phones nationalIds { number } version }`
	tests := []struct {
		name, document string
		write, read    authz.Permission
		values         int
	}{
		{
			"updateSubject", `mutation { updateSubject(input: {id: "sub_1", expectedVersion: 1}) { ` + fields + ` } }`,
			authz.SubjectWrite, authz.SubjectRead, 4,
		},
		{
			"upsertSubject", `mutation { upsertSubject(input: {reference: "r"}) { ` + fields + ` } }`,
			authz.SubjectWrite, authz.SubjectRead, 4,
		},
		{
			"updateRecord", `mutation { updateRecord(input: {id: "rec_1", expectedVersion: 1}) {
				record { id key source parties { role } fields { value } version } } }`,
			authz.RecordWrite, authz.RecordRead, 4,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.Config.Handler = grant(next, tt.write)
			a := f.ask(t, tt.document, nil)
			if a.code() != "" || !strings.Contains(a.body, `"version":2`) {
				t.Fatalf("got %s", a.body)
			}
			if strings.Contains(a.body, "stored") || strings.Contains(a.body, "1970") || strings.Contains(a.body, "+45") {
				t.Errorf("a writer reads %s", a.body)
			}
			f.Config.Handler = grant(next, tt.write, tt.read)
			if a := f.ask(t, tt.document, nil); a.code() != "" || strings.Count(a.body, "stored") != tt.values {
				t.Errorf("a reader is told %s", a.body)
			}
		})
	}
}

// Who calls may be asked by anybody; who the tenant's contact is may not.
func TestViewerShowsNoContact(t *testing.T) {
	f := newAPI(t, func(*audit.Recorder) graph.Services { return graph.Services{Tenants: storedTenants{}} })
	next := f.Config.Handler
	for do, shown := range map[authz.Permission]bool{authz.RecordWrite: false, authz.TenantRead: true} {
		f.Config.Handler = grant(next, do)
		a := f.ask(t, `{ viewer { tenant { legalName dpoContact { name } } } }`, nil)
		if a.code() != "" || !strings.Contains(a.body, "One ApS") || strings.Contains(a.body, "stored") != shown {
			t.Errorf("with %s: %s", do, a.body)
		}
	}
}
