// Package graph is the GraphQL edge: resolvers that are one call of a service,
// the directives that guard them, and the one place where a Go error becomes an
// answer. It decides nothing about the business and touches no store.
package graph

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/access"
	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/assessment"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/breakglass"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/document"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/epoch"
	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/policy"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/rectify"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/rotation"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/session"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/webhook"
)

// Services are the capabilities behind the API.
type Services struct {
	Authorizer   Authorizer
	Policies     Policies
	Tenants      Tenants
	Portal       Portal
	Sessions     Sessions
	Access       Access
	APIKeys      APIKeys
	Documents    Documents
	OAuth        OAuth
	Datasets     Datasets
	Subjects     Subjects
	Records      Records
	Files        Files
	Downloads    Downloads
	Imports      Imports
	Exports      Exports
	Audits       Audits
	Epochs       Epochs
	Rotations    Rotations
	Erasures     Erasures
	Jobs         Jobs
	Feed         Feed
	Webhooks     Webhooks
	Security     Security
	Purposes     Purposes
	Receipts     Receipts
	Consents     Consents
	Letters      Letters
	Requests     Requests
	Recipients   Recipients
	Tasks        Tasks
	Post         Post
	Processing   Processing
	Measures     Measures
	Assessments  Assessments
	Disclosures  Disclosures
	Retention    Retention
	Erase        Erase
	Answers      Answers
	Rights       Rights
	Rectify      Rectify
	Certificates Certificates
	Agreements   Agreements
	Calendars    Calendars
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

// Recipients is what the API needs of package recipient.
type Recipients interface {
	Get(ctx context.Context, noticeID string) (*recipient.Notice, error)
	List(ctx context.Context, requestID string, r page.Request) (*recipient.Connection, error)
	Mine(ctx context.Context, r page.Request) (*recipient.Connection, error)
	Send(ctx context.Context, in recipient.SendInput) (*recipient.Notice, error)
	Acknowledge(ctx context.Context, in recipient.AcknowledgeInput) (*recipient.Notice, error)
	Excuse(ctx context.Context, in recipient.ExcuseInput) (*recipient.Notice, error)
	Endpoints(ctx context.Context) ([]*recipient.Endpoint, error)
	SetEndpoint(ctx context.Context, in recipient.EndpointInput) (*recipient.Endpoint, error)
}

// Tasks is what the API needs of package task.
type Tasks interface {
	Template(ctx context.Context, templateID string) (*task.Template, error)
	Templates(ctx context.Context, r page.Request) (*task.TemplateConnection, error)
	CreateTemplate(ctx context.Context, in task.CreateTemplateInput) (*task.Template, error)
	UpdateTemplate(ctx context.Context, in task.UpdateTemplateInput) (*task.Template, error)
	RetireTemplate(ctx context.Context, in task.RetireTemplateInput) (*task.Template, error)
	Get(ctx context.Context, taskID string) (*task.Task, error)
	Of(ctx context.Context, requestID string, state *task.State, r page.Request) (*task.Connection, error)
	Mine(ctx context.Context, r page.Request) (*task.Connection, error)
	Create(ctx context.Context, in task.CreateInput) (*task.Task, error)
	Assign(ctx context.Context, in task.AssignInput) (*task.Task, error)
	Comment(ctx context.Context, in task.CommentInput) (*task.Task, error)
	Complete(ctx context.Context, in task.CompleteInput) (*task.Task, error)
	CancelOne(ctx context.Context, in task.CancelInput) (*task.Task, error)
}

// Letters is what the API needs of package letter.
type Letters interface {
	Forms() []*letter.Form
	Preview(ctx context.Context, in letter.PreviewInput) (*letter.Letter, error)
	Get(ctx context.Context, templateID string) (*letter.Template, error)
	List(ctx context.Context, r page.Request) (*letter.Connection, error)
	Propose(ctx context.Context, in letter.ProposeInput) (*letter.Template, error)
	Approve(ctx context.Context, in letter.ApproveInput) (*letter.Template, error)
	Withdraw(ctx context.Context, in letter.WithdrawInput) (*letter.Template, error)
}

// Epochs is what the API needs of package epoch.
type Epochs interface {
	Status(ctx context.Context) (*epoch.Status, error)
	Get(ctx context.Context, closeID string) (*epoch.Close, error)
	Request(ctx context.Context, in epoch.RequestInput) (*epoch.Close, error)
	Approve(ctx context.Context, in epoch.DecideInput) (*epoch.Close, error)
	Halt(ctx context.Context, in epoch.DecideInput) (*epoch.Close, error)
	RebuildLookups(ctx context.Context, in epoch.RebuildInput) (tenants int, err error)
	RequestQuarantine(ctx context.Context, in epoch.QuarantineInput) (*epoch.Quarantine, error)
	ApproveQuarantine(ctx context.Context, in epoch.DecideInput) (*epoch.Quarantine, error)
	ReleaseQuarantine(ctx context.Context, in epoch.DecideInput) (*epoch.Quarantine, error)
}

// Rotations is what the API needs of package rotation.
type Rotations interface {
	Get(ctx context.Context, rotationID string) (*rotation.Rotation, error)
	List(ctx context.Context, r page.Request) (*rotation.Connection, error)
	Request(ctx context.Context, in rotation.RequestInput) (*rotation.Rotation, error)
	Halt(ctx context.Context, in rotation.HaltInput) (*rotation.Rotation, error)
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
	Verification(ctx context.Context) (*seal.Verification, error)
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

// Consents is what the API needs of package consent.
type Consents interface {
	State(ctx context.Context, subjectID, purposeRef string, asOf *time.Time) (*consent.Status, error)
	States(ctx context.Context, subjectID string) ([]*consent.Status, error)
	Own(ctx context.Context) ([]*consent.Status, error)
	Get(ctx context.Context, consentID string) (*consent.Consent, error)
	GetEvent(ctx context.Context, eventID string) (*consent.Event, error)
	GetCheck(ctx context.Context, checkID string) (*consent.Check, error)
	List(ctx context.Context, q consent.Query, r page.Request) (*consent.Connection, error)
	History(ctx context.Context, subjectID string, purposeRef *string, r page.Request) (*consent.EventConnection, error)
	OwnHistory(ctx context.Context, r page.Request) (*consent.EventConnection, error)
	Checks(ctx context.Context, state consent.CheckState, r page.Request) (*consent.CheckConnection, error)
	Report(ctx context.Context, in consent.ReportInput) (*consent.Report, error)
	ChildAges() []*consent.ChildAge

	Request(ctx context.Context, in consent.Input) (*consent.Consent, error)
	Give(ctx context.Context, in consent.Input) (*consent.Consent, error)
	Refuse(ctx context.Context, in consent.Input) (*consent.Consent, error)
	Defer(ctx context.Context, in consent.Input) (*consent.Consent, error)
	Withdraw(ctx context.Context, in consent.Input) (*consent.Consent, error)
	Renew(ctx context.Context, in consent.Input) (*consent.Consent, error)
	Revoke(ctx context.Context, in consent.Input) (*consent.Consent, error)
	Answer(ctx context.Context, in consent.AnswersInput) ([]*consent.Consent, error)
	AnswerOwn(ctx context.Context, in consent.OwnAnswersInput) ([]*consent.Consent, error)
	Invalidate(ctx context.Context, in consent.InvalidateInput) (*consent.Invalidation, error)
}

// Receipts is what the API needs of package receipt.
type Receipts interface {
	Issue(ctx context.Context, consentID string, at *time.Time) (*receipt.Issued, error)
	Chain(ctx context.Context, issued *receipt.Issued) (string, error)
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

// Processing is what the API needs of package processing.
type Processing interface {
	Party(ctx context.Context, partyID string) (*processing.Party, error)
	Parties(ctx context.Context, r page.Request) (*processing.PartyConnection, error)
	CreateParty(ctx context.Context, in processing.CreatePartyInput) (*processing.Party, error)
	UpdateParty(ctx context.Context, in processing.UpdatePartyInput) (*processing.Party, error)
	RetireParty(ctx context.Context, in processing.RetireInput) (*processing.Party, error)
	System(ctx context.Context, systemID string) (*processing.System, error)
	Systems(ctx context.Context, r page.Request) (*processing.SystemConnection, error)
	CreateSystem(ctx context.Context, in processing.CreateSystemInput) (*processing.System, error)
	UpdateSystem(ctx context.Context, in processing.UpdateSystemInput) (*processing.System, error)
	RetireSystem(ctx context.Context, in processing.RetireInput) (*processing.System, error)
	Get(ctx context.Context, activityID string) (*processing.Activity, error)
	List(ctx context.Context, f processing.Filter, r page.Request) (*processing.Connection, error)
	Revisions(ctx context.Context, activityID string, r page.Request) (*processing.RevisionConnection, error)
	AsOf(ctx context.Context, activityID string, at time.Time) (*processing.Revision, error)
	Create(ctx context.Context, in processing.CreateInput) (*processing.Activity, error)
	Revise(ctx context.Context, in processing.ReviseInput) (*processing.Activity, error)
	Activate(ctx context.Context, in processing.ActivateInput) (*processing.Activity, error)
	Review(ctx context.Context, in processing.ReviewInput) (*processing.Activity, error)
	Retire(ctx context.Context, in processing.RetireInput) (*processing.Activity, error)
	Drift(ctx context.Context, activityID *string) ([]*processing.Drift, error)
	DataMap(ctx context.Context, f processing.MapFilter) (*processing.Map, error)
	Register(ctx context.Context, registerID string) (*processing.Register, error)
	Registers(ctx context.Context, r page.Request) (*processing.RegisterConnection, error)
	RegisterAsOf(ctx context.Context, at time.Time) (*processing.Register, error)
	Prepare(ctx context.Context, in processing.PrepareInput) (*processing.Register, error)
	Publish(ctx context.Context, in processing.PublishInput) (*processing.Register, error)
}

// Post is what the API needs of package post.
type Post interface {
	Of(ctx context.Context, r *request.Request) ([]*post.Letter, error)
}

// Requests is what the API needs of package request.
type Requests interface {
	Get(ctx context.Context, requestID string) (*request.Request, error)
	List(ctx context.Context, f *request.Filter, r page.Request) (*request.Connection, error)
	Mine(ctx context.Context, r page.Request) (*request.Connection, error)
	Events(ctx context.Context, of *request.Request, r page.Request) (*request.EventConnection, error)
	Statistics(ctx context.Context, from, to civil.Date) (*request.Statistics, error)
	Open(ctx context.Context, in request.OpenInput) (*request.Request, error)
	OpenMine(ctx context.Context, in request.MyInput) (*request.Request, error)
	Forward(ctx context.Context, in request.ForwardInput) (*request.Request, error)
	AskIdentity(ctx context.Context, in request.AskInput) (*request.Request, error)
	Remind(ctx context.Context, in request.IDInput) (*request.Request, error)
	Identify(ctx context.Context, in request.IdentifyInput) (*request.Request, error)
	GiveUpIdentity(ctx context.Context, in request.ReplyInput) (*request.Request, error)
	AskToClarify(ctx context.Context, in request.ReasonInput) (*request.Request, error)
	Clarify(ctx context.Context, in request.ReasonInput) (*request.Request, error)
	Extend(ctx context.Context, in request.ExtendInput) (*request.Request, error)
	Propose(ctx context.Context, in request.ProposeInput) (*request.Request, error)
	Answer(ctx context.Context, in request.AnswerInput) (*request.Request, error)
	Submit(ctx context.Context, in request.IDInput) (*request.Request, error)
	SendBack(ctx context.Context, in request.ReasonInput) (*request.Request, error)
	Approve(ctx context.Context, in request.ApproveInput) (*request.Request, error)
	Respond(ctx context.Context, in request.ReplyInput) (*request.Request, error)
	Delivered(ctx context.Context, in request.DeliveredInput) (*request.Request, error)
	Close(ctx context.Context, in request.IDInput) (*request.Request, error)
	Reopen(ctx context.Context, in request.ReopenInput) (*request.Request, error)
	Withdraw(ctx context.Context, in request.WithdrawInput) (*request.Request, error)
	Assign(ctx context.Context, in request.AssignInput) (*request.Request, error)
	Comment(ctx context.Context, in request.CommentInput) (*request.Request, error)
	CorrectReceipt(ctx context.Context, in request.CorrectInput) (*request.Request, error)
	OverrulePause(ctx context.Context, in request.OverruleInput) (*request.Request, error)
	AnnounceFee(ctx context.Context, in request.FeeInput) (*request.Request, error)
}

// Measures is what the API needs of package measure.
type Measures interface {
	Get(ctx context.Context, measureID string) (*measure.Measure, error)
	List(ctx context.Context, status *measure.Status, r page.Request) (*measure.Connection, error)
	Create(ctx context.Context, in measure.CreateInput) (*measure.Measure, error)
	Update(ctx context.Context, in measure.UpdateInput) (*measure.Measure, error)
	Retire(ctx context.Context, in measure.RetireInput) (*measure.Measure, error)
	Adopt(ctx context.Context, in measure.AdoptInput) ([]*measure.Measure, error)
}

// Assessments is what the API needs of package assessment.
type Assessments interface {
	Get(ctx context.Context, assessmentID string) (*assessment.Assessment, error)
	List(ctx context.Context, f assessment.Filter, r page.Request) (*assessment.Connection, error)
	Editions(ctx context.Context, assessmentID string) ([]*assessment.Edition, error)
	Create(ctx context.Context, in assessment.CreateInput) (*assessment.Assessment, error)
	Update(ctx context.Context, in assessment.UpdateInput) (*assessment.Assessment, error)
	ScreenOut(ctx context.Context, in assessment.ReasonInput) (*assessment.Assessment, error)
	Begin(ctx context.Context, in assessment.Input) (*assessment.Assessment, error)
	Submit(ctx context.Context, in assessment.Input) (*assessment.Assessment, error)
	Advise(ctx context.Context, in assessment.AdviseInput) (*assessment.Assessment, error)
	Consult(ctx context.Context, in assessment.ConsultInput) (*assessment.Assessment, error)
	Note(ctx context.Context, in assessment.NoteInput) (*assessment.Assessment, error)
	Approve(ctx context.Context, in assessment.ApproveInput) (*assessment.Assessment, error)
	Reject(ctx context.Context, in assessment.ReasonInput) (*assessment.Assessment, error)
	Revise(ctx context.Context, in assessment.Input) (*assessment.Assessment, error)
	Demand(ctx context.Context, in assessment.ReasonInput) (*assessment.Assessment, error)
}

// Disclosures is what the API needs of package disclosure.
type Disclosures interface {
	Get(ctx context.Context, disclosureID string) (*disclosure.Disclosure, error)
	List(ctx context.Context, subjectID string, r page.Request) (*disclosure.Connection, error)
	Mine(ctx context.Context, r page.Request) (*disclosure.RecipientConnection, error)
	Record(ctx context.Context, in disclosure.RecordInput) ([]*disclosure.Disclosure, error)
	Correct(ctx context.Context, in disclosure.CorrectInput) (*disclosure.Disclosure, error)
}

// Erase is what the API needs of package erase.
type Erase interface {
	Preview(ctx context.Context, subject string) (*erase.Plan, error)
	Remains(ctx context.Context, subject, datasetID string) (*erase.Remains, error)
}

// Answers is what the API needs of package access.
type Answers interface {
	Reissue(ctx context.Context, in access.ReissueInput) (*export.Export, error)
}

// Rights is what the API needs of package rights.
type Rights interface {
	Plan(ctx context.Context, subjectID, ground string) (*rights.Plan, error)
	Restriction(ctx context.Context, subjectID string) (*rights.Stop, error)
	Announce(ctx context.Context, in rights.NoticeInput) (*rights.Stop, error)
	Lift(ctx context.Context, in rights.LiftInput) (*rights.Stop, error)
	Weigh(ctx context.Context, in rights.WeighInput) (*request.Request, error)
	WeighingOf(item *request.Item) (*rights.Weighing, error)
	Review(ctx context.Context, in rights.ReviewInput) (*request.Request, error)
	ReviewOf(item *request.Item) (*rights.Review, error)
}

// Rectify is what the API needs of package rectify.
type Rectify interface {
	Prepare(ctx context.Context, in rectify.Input) (*request.Request, error)
	Of(ctx context.Context, item *request.Item) (*rectify.Correction, error)
}

// Agreements is what the API needs of package agreement.
type Agreements interface {
	Get(ctx context.Context, agreementID string) (*agreement.Agreement, error)
	List(ctx context.Context, r page.Request) (*agreement.Connection, error)
	Current(ctx context.Context) (*agreement.Agreement, error)
	Revisions(ctx context.Context, agreementID string) ([]*agreement.Revision, error)
	Differences(ctx context.Context, agreementID string, from, to int64) ([]*agreement.Difference, error)
	Events(ctx context.Context, agreementID string) ([]*agreement.Event, error)
	Templates(ctx context.Context) ([]*agreement.Template, error)
	Standing(ctx context.Context, of *string) (*agreement.Standing, error)
	Instructions(ctx context.Context, of *string, r page.Request) (*agreement.InstructionConnection, error)
	Instruction(ctx context.Context, instructionID string) (*agreement.Instruction, error)
	Request(ctx context.Context, in agreement.RequestInput) (*agreement.Agreement, error)
	Propose(ctx context.Context, in agreement.ProposeInput) (*agreement.Agreement, error)
	Offer(ctx context.Context, in agreement.OfferInput) (*agreement.Agreement, error)
	Decline(ctx context.Context, in agreement.DeclineInput) (*agreement.Agreement, error)
	Sign(ctx context.Context, in agreement.SignInput) (*agreement.Agreement, error)
	Terminate(ctx context.Context, in agreement.TerminateInput) (*agreement.Agreement, error)
	Choose(ctx context.Context, in agreement.ChooseInput) (*agreement.Agreement, error)
	CompleteTask(ctx context.Context, in agreement.TaskInput) (*agreement.Agreement, error)
	Close(ctx context.Context, in agreement.CloseInput) (*agreement.Agreement, error)
	Load(ctx context.Context, in agreement.LoadInput) (*agreement.Template, error)
	SetMode(ctx context.Context, in agreement.GateInput) (*agreement.Standing, error)
	Instruct(ctx context.Context, in agreement.InstructInput) (*agreement.Instruction, error)
	Assess(ctx context.Context, in agreement.AssessInput) (*agreement.Instruction, error)
	Answer(ctx context.Context, in agreement.AnswerInput) (*agreement.Instruction, error)
}

// Certificates is what the API needs of package certificate.
type Certificates interface {
	Get(ctx context.Context, certificateID string) (*certificate.Certificate, error)
	For(ctx context.Context, cause string) ([]*certificate.Certificate, error)
}

// Retention is what the API needs of package retention.
type Retention interface {
	Rule(ctx context.Context, ruleID string) (*retention.Rule, error)
	Rules(ctx context.Context, r page.Request) (*retention.Connection, error)
	Templates() ([]*retention.Template, error)
	Create(ctx context.Context, in retention.CreateInput) (*retention.Rule, error)
	Revise(ctx context.Context, in retention.ReviseInput) (*retention.Rule, error)
	Retire(ctx context.Context, in retention.RetireInput) (*retention.Rule, error)

	Hold(ctx context.Context, holdID string) (*retention.Hold, error)
	Holds(ctx context.Context, state *retention.HoldState, r page.Request) (*retention.HoldConnection, error)
	Place(ctx context.Context, in retention.PlaceInput) (*retention.Hold, error)
	Release(ctx context.Context, in retention.ReleaseInput) (*retention.Hold, error)

	Of(ctx context.Context, person string, requested bool) ([]*retention.Decided, error)
	Due(ctx context.Context, by *civil.Date, r page.Request) (*retention.DueConnection, error)
	RunOf(ctx context.Context, runID string) (*retention.Run, error)
	Runs(ctx context.Context, r page.Request) (*retention.RunConnection, error)
	Approve(ctx context.Context, in retention.RunInput) (*retention.Run, error)
	Dismiss(ctx context.Context, in retention.RunInput) (*retention.Run, error)
	Settings(ctx context.Context) (*retention.Settings, error)
	ChangeSettings(ctx context.Context, in retention.SettingsInput) (*retention.Settings, error)
}

// Calendars is what the API needs of package calendar.
type Calendars interface {
	Year(ctx context.Context, year int) (*calendar.Year, error)
	Change(ctx context.Context, in calendar.ChangeInput) (*calendar.Calendar, error)
}

// Resolver answers the fields that are more than a look at an object. Its own
// fields are unexported, or they would hide queries of the same name.
type Resolver struct {
	authorizer   Authorizer
	guard        *guard
	policies     Policies
	tenants      Tenants
	portal       Portal
	sessions     Sessions
	access       Access
	apiKeys      APIKeys
	documents    Documents
	oauth        OAuth
	datasets     Datasets
	subjects     Subjects
	records      Records
	files        Files
	downloads    Downloads
	imports      Imports
	exports      Exports
	audits       Audits
	epochs       Epochs
	rotations    Rotations
	erasures     Erasures
	jobs         Jobs
	feed         Feed
	webhooks     Webhooks
	security     Security
	purposes     Purposes
	receipts     Receipts
	consents     Consents
	letters      Letters
	requests     Requests
	recipients   Recipients
	tasks        Tasks
	post         Post
	processing   Processing
	measures     Measures
	assessments  Assessments
	disclosures  Disclosures
	retention    Retention
	erase        Erase
	answers      Answers
	rights       Rights
	rectify      Rectify
	certificates Certificates
	agreements   Agreements
	calendars    Calendars
}

func newResolver(s Services, g *guard) *Resolver {
	return &Resolver{
		authorizer:   s.Authorizer,
		guard:        g,
		policies:     s.Policies,
		tenants:      s.Tenants,
		portal:       s.Portal,
		sessions:     s.Sessions,
		access:       s.Access,
		apiKeys:      s.APIKeys,
		documents:    s.Documents,
		oauth:        s.OAuth,
		datasets:     s.Datasets,
		subjects:     s.Subjects,
		records:      s.Records,
		files:        s.Files,
		downloads:    s.Downloads,
		imports:      s.Imports,
		exports:      s.Exports,
		audits:       s.Audits,
		epochs:       s.Epochs,
		rotations:    s.Rotations,
		erasures:     s.Erasures,
		jobs:         s.Jobs,
		feed:         s.Feed,
		webhooks:     s.Webhooks,
		security:     s.Security,
		purposes:     s.Purposes,
		receipts:     s.Receipts,
		consents:     s.Consents,
		letters:      s.Letters,
		requests:     s.Requests,
		recipients:   s.Recipients,
		tasks:        s.Tasks,
		post:         s.Post,
		processing:   s.Processing,
		measures:     s.Measures,
		assessments:  s.Assessments,
		disclosures:  s.Disclosures,
		retention:    s.Retention,
		erase:        s.Erase,
		answers:      s.Answers,
		rights:       s.Rights,
		rectify:      s.Rectify,
		certificates: s.Certificates,
		agreements:   s.Agreements,
		calendars:    s.Calendars,
	}
}
