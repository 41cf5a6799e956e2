// Package graph is the GraphQL edge: resolvers that are one call of a service,
// the directives that guard them, and the one place where a Go error becomes an
// answer. It decides nothing about the business and touches no store.
package graph

import (
	"context"

	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
)

// Services are the capabilities behind the API.
type Services struct {
	Authorizer authz.Authorizer
	Tenants    Tenants
	APIKeys    APIKeys
	Datasets   Datasets
	Subjects   Subjects
	Records    Records
	Files      Files
	Downloads  Downloads
	Imports    Imports
	Exports    Exports
	Jobs       Jobs
}

// Tenants is what the API needs of package tenancy.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	Create(ctx context.Context, in tenancy.CreateInput) (*tenancy.Tenant, error)
	Update(ctx context.Context, in tenancy.UpdateInput) (*tenancy.Tenant, error)
}

// APIKeys is what the API needs of package apikey.
type APIKeys interface {
	Get(ctx context.Context, keyID string) (*apikey.APIKey, error)
	List(ctx context.Context) ([]*apikey.APIKey, error)
	Create(ctx context.Context, in apikey.CreateInput) (k *apikey.APIKey, secret *string, err error)
	Revoke(ctx context.Context, in apikey.RevokeInput) (*apikey.APIKey, error)
}

// Datasets is what the API needs of package dataset.
type Datasets interface {
	Get(ctx context.Context, datasetID string) (*dataset.Dataset, error)
	List(ctx context.Context) ([]*dataset.Dataset, error)
	Create(ctx context.Context, in dataset.CreateInput) (*dataset.Dataset, error)
	AddField(ctx context.Context, in dataset.AddFieldInput) (*dataset.Dataset, error)
	RenameField(ctx context.Context, in dataset.RenameFieldInput) (*dataset.Dataset, error)
	Retire(ctx context.Context, in dataset.RetireInput) (*dataset.Dataset, error)
}

// Subjects is what the API needs of package subject.
type Subjects interface {
	Get(ctx context.Context, subjectID string) (*subject.Subject, error)
	GetMany(ctx context.Context, ids []string) ([]*subject.Subject, error)
	List(ctx context.Context, r page.Request) (*subject.Connection, error)
	Find(ctx context.Context, by subject.By, r page.Request) (*subject.Connection, error)
	Create(ctx context.Context, in subject.CreateInput) (*subject.Subject, error)
	Update(ctx context.Context, in subject.UpdateInput) (*subject.Subject, error)
	Upsert(ctx context.Context, in subject.UpsertInput) (s *subject.Subject, created bool, err error)
	StartRelation(ctx context.Context, in subject.StartRelationInput) (*subject.Subject, *subject.Relation, error)
	EndRelation(ctx context.Context, in subject.EndRelationInput) (*subject.Subject, *subject.Relation, error)
}

// Records is what the API needs of package record.
type Records interface {
	Get(ctx context.Context, recordID string) (*record.Record, error)
	List(ctx context.Context, q record.Query, r page.Request) (*record.Connection, error)
	Find(ctx context.Context, by record.By, r page.Request) (*record.Connection, error)
	Write(ctx context.Context, in record.WriteInput) (*record.Record, error)
	Upsert(ctx context.Context, in record.UpsertInput) (r *record.Record, created bool, err error)
	Update(ctx context.Context, in record.UpdateInput) (*record.Record, error)
	Delete(ctx context.Context, in record.DeleteInput) error
}

// Files is what the API needs of package file.
type Files interface {
	Get(ctx context.Context, fileID string) (*file.File, error)
}

// Downloads is what the API needs of package download.
type Downloads interface {
	Grant(ctx context.Context, in download.GrantInput) (*download.Grant, error)
}

// Imports is what the API needs of package imports.
type Imports interface {
	Mapping(ctx context.Context, mappingID string) (*imports.Mapping, error)
	Mappings(ctx context.Context) ([]*imports.Mapping, error)
	SaveMapping(ctx context.Context, in imports.SaveMappingInput) (*imports.Mapping, error)
}

// Exports is what the API needs of package export.
type Exports interface {
	Get(ctx context.Context, exportID string) (*export.Export, error)
	Request(ctx context.Context, in export.RequestInput) (*export.Export, error)
}

// Jobs is what the API needs of package job.
type Jobs interface {
	Get(ctx context.Context, jobID string) (*job.Job, error)
	Retry(ctx context.Context, in job.RetryInput) (*job.Job, error)
	Watch(ctx context.Context, jobID string) (<-chan *job.Job, error)
}

// Resolver answers the fields that are more than a look at an object. Its own
// fields are unexported, or they would hide queries of the same name.
type Resolver struct {
	authorizer authz.Authorizer
	guard      *guard
	tenants    Tenants
	apiKeys    APIKeys
	datasets   Datasets
	subjects   Subjects
	records    Records
	files      Files
	downloads  Downloads
	imports    Imports
	exports    Exports
	jobs       Jobs
}

func newResolver(s Services, g *guard) *Resolver {
	return &Resolver{
		s.Authorizer, g, s.Tenants, s.APIKeys, s.Datasets, s.Subjects, s.Records, s.Files, s.Downloads, s.Imports, s.Exports, s.Jobs,
	}
}
