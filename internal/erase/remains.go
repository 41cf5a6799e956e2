package erase

import (
	"context"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// Remains is who an erased person was, as a dataset that is secret by AML law keeps
// it for as long as its own rules say. Only those know of it who may know of the
// dataset.
type Remains struct {
	Subject     string
	Dataset     string
	Reference   personal.Text
	Name        *subject.Name
	BirthDate   personal.Text
	Emails      []personal.Text
	Phones      []personal.Text
	NationalIDs []subject.NationalID
}

// Remains returns what a secret dataset keeps of who an erased person was. It fails
// with subject.ErrNotFound, also for who may not know of the dataset.
func (s *Service) Remains(ctx context.Context, person, datasetID string) (*Remains, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Subject, of, person) != nil || id.Check(id.Dataset, of, datasetID) != nil {
		return nil, subject.ErrNotFound
	}
	d, err := s.Datasets.Get(ctx, datasetID)
	if err != nil || d.Secrecy == dataset.NoSecrecy {
		return nil, subject.ErrNotFound
	}
	r, err := s.Store.Remains(ctx, person, datasetID)
	if err != nil {
		return nil, err
	}
	return r, s.Recorder.Read(ctx, "erasure.remains", person, audit.Touch{Subject: person, Object: person, Secret: true})
}
