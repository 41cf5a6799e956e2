// Package graph is the GraphQL edge: resolvers that are one call of a service,
// the directives that guard them, and the one place where a Go error becomes an
// answer. It decides nothing about the business and touches no store.
package graph

import (
	"context"

	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/breakglass"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/document"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/epoch"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/policy"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/session"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/webhook"
)

// Services are the capabilities behind the API.
type Services struct {
	Authorizer Authorizer
	Policies   Policies
	Tenants    Tenants
	Portal     Portal
	Sessions   Sessions
	Access     Access
	APIKeys    APIKeys
	Documents  Documents
	OAuth      OAuth
	Datasets   Datasets
	Subjects   Subjects
	Records    Records
	Files      Files
	Downloads  Downloads
	Imports    Imports
	Exports    Exports
	Audits     Audits
	Epochs     Epochs
	Erasures   Erasures
	Jobs       Jobs
	Feed       Feed
	Webhooks   Webhooks
	Security   Security
	Purposes   Purposes
}

// Authorizer is what the API needs of package authz.
type Authorizer interface {
	authz.Authorizer
	CanBelow(ctx context.Context, do authz.Permission, subjectID string) authz.Decision
}

// Policies is what the API needs of package policy.
type Policies interface {
	Permissions(ctx context.Context, on *string) ([]authz.Permission, error)
	Can(ctx context.Context, do authz.Permission, on *string) (*policy.Answer, error)
	Explain(ctx context.Context, in policy.ExplainInput) (*policy.Explanation, error)
	Get(ctx context.Context, policyID string) (*policy.Policy, error)
	List(ctx context.Context, r page.Request) (*policy.Connection, error)
	Propose(ctx context.Context, in policy.ProposeInput) (*policy.Policy, error)
	Approve(ctx context.Context, in policy.ApproveInput) (*policy.Policy, error)
	Retire(ctx context.Context, in policy.RetireInput) (*policy.Policy, error)
}

// Epochs is what the API needs of package epoch.
type Epochs interface {
	Status(ctx context.Context) (*epoch.Status, error)
	Get(ctx context.Context, closeID string) (*epoch.Close, error)
	Request(ctx context.Context, in epoch.RequestInput) (*epoch.Close, error)
	Approve(ctx context.Context, in epoch.DecideInput) (*epoch.Close, error)
	Halt(ctx context.Context, in epoch.DecideInput) (*epoch.Close, error)
}

// Erasures is what the API needs of package erasure.
type Erasures interface {
	Overview(ctx context.Context, r page.Request) (*erasure.Connection, error)
}

// Tenants is what the API needs of package tenancy.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	Create(ctx context.Context, in tenancy.CreateInput) (*tenancy.Tenant, error)
	Update(ctx context.Context, in tenancy.UpdateInput) (*tenancy.Tenant, error)

	Member(ctx context.Context, memberID string) (*tenancy.Member, error)
	Members(ctx context.Context, r page.Request) (*tenancy.MemberConnection, error)
	InviteMember(ctx context.Context, in tenancy.InviteInput) (*tenancy.Member, error)
	Resend(ctx context.Context, in tenancy.ResendInput) (*tenancy.Member, error)
	Accept(ctx context.Context, in tenancy.AcceptInput) (*tenancy.Membership, error)
	ChangeMember(ctx context.Context, in tenancy.ChangeInput) (*tenancy.Member, error)
	RemoveMember(ctx context.Context, in tenancy.RemoveInput) (*tenancy.Member, error)
}

// Sessions is what the API needs of package session.
type Sessions interface {
	List(ctx context.Context) ([]*session.Session, error)
	Revoke(ctx context.Context, in session.RevokeInput) (string, error)
	RevokeOthers(ctx context.Context, in session.RevokeOthersInput) (int, error)
	SignOut(ctx context.Context, in session.SignOutInput) (int, error)
}

// Access is what the API needs of package breakglass.
type Access interface {
	Get(ctx context.Context, grantID string) (*breakglass.Grant, error)
	List(ctx context.Context, r page.Request) (*breakglass.Connection, error)
	Enter(ctx context.Context, in breakglass.EnterInput) (*breakglass.Grant, error)
	Leave(ctx context.Context, in breakglass.LeaveInput) (*breakglass.Grant, error)
}

// Portal is what the API needs of package portal.
type Portal interface {
	RequestCode(ctx context.Context, in portal.CodeInput) (*portal.Receipt, error)
	SignIn(ctx context.Context, in portal.SignInInput) (*portal.Grant, error)
	SignInWithIdentity(ctx context.Context, in portal.IdentityInput) (*portal.Grant, error)
	SignOut(ctx context.Context, in portal.SignOutInput) (ended int, err error)
	Self(ctx context.Context) (*portal.Self, error)
}

// APIKeys is what the API needs of package apikey.
type APIKeys interface {
	Get(ctx context.Context, keyID string) (*apikey.APIKey, error)
	List(ctx context.Context) ([]*apikey.APIKey, error)
	Create(ctx context.Context, in apikey.CreateInput) (k *apikey.APIKey, secret *string, err error)
	Update(ctx context.Context, in apikey.UpdateInput) (*apikey.APIKey, error)
	Rotate(ctx context.Context, in apikey.RotateInput) (k *apikey.APIKey, secret string, err error)
	Revoke(ctx context.Context, in apikey.RevokeInput) (*apikey.APIKey, error)
}

// Documents is what the API needs of package document.
type Documents interface {
	Register(ctx context.Context, in document.RegisterInput) ([]*document.Document, error)
	List(ctx context.Context) ([]*document.Document, error)
	Unregister(ctx context.Context, in document.UnregisterInput) (string, error)
	Text(ctx context.Context, docID string) (string, error)
}

// OAuth is what the API needs of package oauth.
type OAuth interface {
	Get(ctx context.Context, clientID string) (*oauth.Client, error)
	List(ctx context.Context) ([]*oauth.Client, error)
	Create(ctx context.Context, in oauth.CreateInput) (*oauth.Client, *oauth.Credentials, error)
	RotateSecret(ctx context.Context, in oauth.RotateSecretInput) (*oauth.Client, *oauth.Credentials, error)
	Revoke(ctx context.Context, in oauth.RevokeInput) (*oauth.Client, error)
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

// Audits is what the API needs of package trail.
type Audits interface {
	Page(ctx context.Context, f *trail.Filter, r page.Request) (*trail.Connection, error)
	Get(ctx context.Context, entryID string) (*trail.Entry, error)
	Proof(ctx context.Context, entryID string) (*trail.Proof, error)
	Consistency(ctx context.Context, from, to int64) (*trail.Consistency, error)
	Publish(ctx context.Context, in trail.SealAuditInput) (*trail.State, error)
	Self(ctx context.Context, r page.Request) (*trail.AccessConnection, error)
	Request(ctx context.Context, in trail.ExportAuditInput) (*trail.Export, error)
	GetExport(ctx context.Context, exportID string) (*trail.Export, error)
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

// Feed is what the API needs of package feed.
type Feed interface {
	List(ctx context.Context, r page.Request) (*feed.Connection, error)
}

// Webhooks is what the API needs of package webhook.
type Webhooks interface {
	Get(ctx context.Context, webhookID string) (*webhook.Webhook, error)
	List(ctx context.Context) ([]*webhook.Webhook, error)
	Create(ctx context.Context, in webhook.CreateInput) (w *webhook.Webhook, secret *string, err error)
	Update(ctx context.Context, in webhook.UpdateInput) (*webhook.Webhook, error)
	Delete(ctx context.Context, in webhook.Input) error
	Verify(ctx context.Context, in webhook.Input) (w *webhook.Webhook, jobID string, err error)
	Rotate(ctx context.Context, in webhook.Input) (w *webhook.Webhook, secret string, err error)
	GetDelivery(ctx context.Context, deliveryID string) (*webhook.Delivery, error)
	Deliveries(ctx context.Context, webhookID string, state *webhook.DeliveryState, r page.Request) (*webhook.Connection, error)
	Redeliver(ctx context.Context, in webhook.RedeliverInput) (*webhook.Delivery, error)
}

// Security is what the API needs of package security.
type Security interface {
	Get(ctx context.Context, eventID string) (*security.Event, error)
	List(ctx context.Context, f *security.Filter, r page.Request) (*security.Connection, error)
	History(ctx context.Context, e *security.Event) ([]*security.Note, error)
	Record(ctx context.Context, in security.RecordInput) (*security.Event, error)
	AddActivity(ctx context.Context, in security.ActivityInput) (*security.Event, error)
	Correct(ctx context.Context, in security.CorrectInput) (*security.Event, error)
	Dispose(ctx context.Context, in security.DisposeInput) (*security.Event, error)
	Detectors(ctx context.Context) ([]*security.Setting, error)
	ChangeDetector(ctx context.Context, in security.ChangeDetectorInput) (*security.Setting, error)
}

// Purposes is what the API needs of package purpose.
type Purposes interface {
	ByID(ctx context.Context, purposeID string) (*purpose.Purpose, error)
	ByKey(ctx context.Context, key string) (*purpose.Purpose, error)
	List(ctx context.Context, r page.Request) (*purpose.Connection, error)
	Unregistered(ctx context.Context) ([]string, error)
	Create(ctx context.Context, in purpose.CreateInput) (*purpose.Purpose, error)
	Update(ctx context.Context, in purpose.UpdateInput) (*purpose.Purpose, error)
	Revise(ctx context.Context, in purpose.ReviseInput) (*purpose.Purpose, error)
	Publish(ctx context.Context, in purpose.PublishInput) (*purpose.Purpose, error)
	Retire(ctx context.Context, in purpose.EndInput) (*purpose.Purpose, error)

	Notice(ctx context.Context, noticeID string) (*purpose.Notice, error)
	ListNotices(ctx context.Context, purposeKey *string, r page.Request) (*purpose.NoticeConnection, error)
	ShowPublic(ctx context.Context, slug, key string, tag *string) (*purpose.Shown, error)
	CreateNotice(ctx context.Context, in purpose.CreateNoticeInput) (*purpose.Notice, error)
	UpdateNotice(ctx context.Context, in purpose.UpdateNoticeInput) (*purpose.Notice, error)
	ReviseNotice(ctx context.Context, in purpose.ReviseInput) (*purpose.Notice, error)
	PublishNotice(ctx context.Context, in purpose.PublishInput) (*purpose.Notice, error)
	WithdrawNotice(ctx context.Context, in purpose.EndInput) (*purpose.Notice, error)
}

// Resolver answers the fields that are more than a look at an object. Its own
// fields are unexported, or they would hide queries of the same name.
type Resolver struct {
	authorizer Authorizer
	guard      *guard
	policies   Policies
	tenants    Tenants
	portal     Portal
	sessions   Sessions
	access     Access
	apiKeys    APIKeys
	documents  Documents
	oauth      OAuth
	datasets   Datasets
	subjects   Subjects
	records    Records
	files      Files
	downloads  Downloads
	imports    Imports
	exports    Exports
	audits     Audits
	epochs     Epochs
	erasures   Erasures
	jobs       Jobs
	feed       Feed
	webhooks   Webhooks
	security   Security
	purposes   Purposes
}

func newResolver(s Services, g *guard) *Resolver {
	return &Resolver{
		s.Authorizer, g, s.Policies, s.Tenants, s.Portal, s.Sessions, s.Access, s.APIKeys, s.Documents, s.OAuth, s.Datasets, s.Subjects, s.Records, s.Files, s.Downloads, s.Imports, s.Exports, s.Audits, s.Epochs, s.Erasures, s.Jobs, s.Feed, s.Webhooks, s.Security, s.Purposes,
	}
}
