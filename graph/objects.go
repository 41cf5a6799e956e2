package graph

import (
	"context"
	"fmt"

	"github.com/vogter/vogter/graph/node"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/tenancy"
)

// node returns any object by its id, under the permission of its type.
func (r *Resolver) node(ctx context.Context, nodeID string) (node.Node, error) {
	if p := authz.FromContext(ctx); p.Kind == authz.KindSubject {
		return r.own(ctx, p, nodeID)
	}
	kinds := map[id.Type]struct {
		do  authz.Permission
		get func(context.Context) (node.Node, error)
	}{
		id.Tenant:      {authz.TenantRead, func(ctx context.Context) (node.Node, error) { return r.ownTenant(ctx, nodeID) }},
		id.Member:      {authz.MemberRead, func(ctx context.Context) (node.Node, error) { return r.tenants.Member(ctx, nodeID) }},
		id.BreakGlass:  {authz.AuditRead, func(ctx context.Context) (node.Node, error) { return r.access.Get(ctx, nodeID) }},
		id.APIKey:      {authz.ClientRead, func(ctx context.Context) (node.Node, error) { return r.apiKeys.Get(ctx, nodeID) }},
		id.OAuthClient: {authz.ClientRead, func(ctx context.Context) (node.Node, error) { return r.oauth.Get(ctx, nodeID) }},
		id.Dataset:     {authz.DatasetRead, func(ctx context.Context) (node.Node, error) { return r.datasets.Get(ctx, nodeID) }},
		id.Subject:     {authz.SubjectRead, func(ctx context.Context) (node.Node, error) { return r.subjects.Get(ctx, nodeID) }},
		id.Record:      {authz.RecordRead, func(ctx context.Context) (node.Node, error) { return r.records.Get(ctx, nodeID) }},
		id.File:        {authz.FileRead, func(ctx context.Context) (node.Node, error) { return r.files.Get(ctx, nodeID) }},
		id.Mapping:     {authz.ImportRun, func(ctx context.Context) (node.Node, error) { return r.imports.Mapping(ctx, nodeID) }},
		id.Export:      {authz.ExportRequest, func(ctx context.Context) (node.Node, error) { return r.exports.Get(ctx, nodeID) }},
		id.Webhook:     {authz.WebhookRead, func(ctx context.Context) (node.Node, error) { return r.webhooks.Get(ctx, nodeID) }},
		id.Delivery: {authz.WebhookRead, func(ctx context.Context) (node.Node, error) {
			return r.webhooks.GetDelivery(ctx, nodeID)
		}},
		id.Policy:      {authz.PolicyRead, func(ctx context.Context) (node.Node, error) { return r.policies.Get(ctx, nodeID) }},
		id.Audit:       {authz.AuditRead, func(ctx context.Context) (node.Node, error) { return r.audits.Get(ctx, nodeID) }},
		id.AuditExport: {authz.AuditExport, func(ctx context.Context) (node.Node, error) { return r.audits.GetExport(ctx, nodeID) }},
		id.EpochClose:  {authz.VaultRead, func(ctx context.Context) (node.Node, error) { return r.epochs.Get(ctx, nodeID) }},
		id.KeyRotation: {authz.VaultRead, func(ctx context.Context) (node.Node, error) { return r.rotations.Get(ctx, nodeID) }},
		id.SecurityEvent: {authz.SecurityEventRead, func(ctx context.Context) (node.Node, error) {
			return r.security.Get(ctx, nodeID)
		}},
		id.Purpose: {authz.PurposeRead, func(ctx context.Context) (node.Node, error) { return r.purposes.ByID(ctx, nodeID) }},
		id.Consent: {authz.ConsentRead, func(ctx context.Context) (node.Node, error) { return r.consents.Get(ctx, nodeID) }},
		id.ConsentNote: {authz.ConsentRead, func(ctx context.Context) (node.Node, error) {
			return r.consents.GetEvent(ctx, nodeID)
		}},
		id.ErasureCheck: {authz.ConsentRead, func(ctx context.Context) (node.Node, error) {
			return r.consents.GetCheck(ctx, nodeID)
		}},
		id.Notice:      {authz.PurposeRead, func(ctx context.Context) (node.Node, error) { return r.purposes.Notice(ctx, nodeID) }},
		id.Letter:      {authz.LetterRead, func(ctx context.Context) (node.Node, error) { return r.letters.Get(ctx, nodeID) }},
		id.Request:     {authz.RequestRead, func(ctx context.Context) (node.Node, error) { return r.requests.Get(ctx, nodeID) }},
		id.Party:       {authz.ProcessingRead, func(ctx context.Context) (node.Node, error) { return r.processing.Party(ctx, nodeID) }},
		id.System:      {authz.ProcessingRead, func(ctx context.Context) (node.Node, error) { return r.processing.System(ctx, nodeID) }},
		id.Activity:    {authz.ProcessingRead, func(ctx context.Context) (node.Node, error) { return r.processing.Get(ctx, nodeID) }},
		id.Register:    {authz.ProcessingRead, func(ctx context.Context) (node.Node, error) { return r.processing.Register(ctx, nodeID) }},
		id.Agreement:   {authz.AgreementRead, func(ctx context.Context) (node.Node, error) { return r.agreements.Get(ctx, nodeID) }},
		id.Instruction: {authz.AgreementRead, func(ctx context.Context) (node.Node, error) { return r.agreements.Instruction(ctx, nodeID) }},
		id.Measure:     {authz.ProcessingRead, func(ctx context.Context) (node.Node, error) { return r.measures.Get(ctx, nodeID) }},
		id.Assessment: {authz.ProcessingRead, func(ctx context.Context) (node.Node, error) {
			return r.assessments.Get(ctx, nodeID)
		}},
		id.Disclosure: {authz.DisclosureRead, func(ctx context.Context) (node.Node, error) {
			return r.disclosures.Get(ctx, nodeID)
		}},
		id.Retention:    {authz.RetentionRead, func(ctx context.Context) (node.Node, error) { return r.retention.Rule(ctx, nodeID) }},
		id.Hold:         {authz.RetentionRead, func(ctx context.Context) (node.Node, error) { return r.retention.Hold(ctx, nodeID) }},
		id.RetentionRun: {authz.RetentionRead, func(ctx context.Context) (node.Node, error) { return r.retention.RunOf(ctx, nodeID) }},
		id.Told:         {authz.RequestRead, func(ctx context.Context) (node.Node, error) { return r.recipients.Get(ctx, nodeID) }},
		id.Task:         {authz.RequestRead, func(ctx context.Context) (node.Node, error) { return r.tasks.Get(ctx, nodeID) }},
		id.TaskTemplate: {authz.RequestRead, func(ctx context.Context) (node.Node, error) { return r.tasks.Template(ctx, nodeID) }},
		id.Job:          {authz.JobRead, func(ctx context.Context) (node.Node, error) { return r.jobs.Get(ctx, nodeID) }},
	}
	kind, ok := kinds[id.TypeOf(nodeID)]
	if !ok {
		return nil, id.ErrUnknown
	}
	ctx, err := r.guard.require(ctx, kind.do, "node", "")
	if err != nil {
		return nil, err
	}
	found, err := kind.get(ctx)
	if err != nil {
		return nil, err // and no typed nil within the interface
	}
	return found, nil
}

// viewersTenant returns the caller's tenant: to a caller who may not read it,
// without the person who can be reached there.
func (r *Resolver) viewersTenant(ctx context.Context) (*tenancy.Tenant, error) {
	if !authz.FromContext(ctx).SignedIn() {
		return nil, nil //nolint:nilnil // a person without a tenant, or without a choice
	}
	t, err := r.tenants.Get(ctx)
	if err != nil || r.authorizer.Can(ctx, authz.TenantRead).Allowed {
		return t, err
	}
	shown := *t
	shown.DpoContact = nil
	return &shown, nil
}

func (r *Resolver) ownTenant(ctx context.Context, tenantID string) (node.Node, error) {
	t, err := r.tenants.Get(ctx)
	if err != nil {
		return nil, err
	}
	if string(t.ID) != tenantID {
		return nil, id.ErrUnknown
	}
	return t, nil
}

// wroteSubject returns what the answer to a mutation shows of s: all of it to a
// caller who may read subjects, else which one it is and nothing of the person.
func (r *Resolver) wroteSubject(ctx context.Context, s *subject.Subject) *subject.Subject {
	if s == nil || r.authorizer.Can(ctx, authz.SubjectRead).Allowed {
		return s
	}
	return &subject.Subject{
		ID: s.ID, State: s.State, Identity: personal.Withheld, Version: s.Version, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
}

// wroteRequest is wroteSubject for requests.
func (r *Resolver) wroteRequest(ctx context.Context, q *request.Request) *request.Request {
	if q == nil || r.authorizer.Can(ctx, authz.RequestRead).Allowed {
		return q
	}
	return &request.Request{
		ID: q.ID, Number: q.Number, State: q.State, Clock: q.Clock, Urgency: q.Urgency, Channel: q.Channel, Language: q.Language,
		ReceivedAt: q.ReceivedAt, Deadline: q.Deadline, CreatedAt: q.CreatedAt, UpdatedAt: q.UpdatedAt, Version: q.Version,
	}
}

// wroteNotice is wroteSubject for what recipients are told.
func (r *Resolver) wroteNotice(ctx context.Context, n *recipient.Notice) *recipient.Notice {
	if n == nil || r.authorizer.Can(ctx, authz.RequestRead).Allowed {
		return n
	}
	return &recipient.Notice{
		ID: n.ID, Request: n.Request, Item: n.Item, Recipient: n.Recipient, Action: n.Action, State: n.State, CreatedAt: n.CreatedAt,
		Version: n.Version,
	}
}

// wroteTask is wroteSubject for tasks.
func (r *Resolver) wroteTask(ctx context.Context, t *task.Task) *task.Task {
	if t == nil || r.authorizer.Can(ctx, authz.RequestRead).Allowed {
		return t
	}
	return &task.Task{
		ID: t.ID, Request: t.Request, Number: t.Number, Item: t.Item, Form: task.Form{Stage: t.Stage}, State: t.State, CreatedAt: t.CreatedAt,
		Version: t.Version,
	}
}

// wroteRecord is wroteSubject for records.
func (r *Resolver) wroteRecord(ctx context.Context, rec *record.Record) *record.Record {
	if rec == nil || r.authorizer.Can(ctx, authz.RecordRead).Allowed {
		return rec
	}
	return &record.Record{
		ID: rec.ID, SubjectID: rec.SubjectID, DatasetID: rec.DatasetID, DatasetVersion: rec.DatasetVersion, Origin: rec.Origin,
		Version: rec.Version, CreatedAt: rec.CreatedAt, UpdatedAt: rec.UpdatedAt,
	}
}

// wroteEvent is wroteSubject for security events.
func (r *Resolver) wroteEvent(ctx context.Context, e *security.Event) *security.Event {
	if e == nil || r.authorizer.Can(ctx, authz.SecurityEventRead).Allowed {
		return e
	}
	shown := *e
	shown.Description, shown.DispositionReason, shown.AffectedSystems = personal.Text{}, personal.Text{}, []string{}
	return &shown
}

// reasonOf returns why a hold was placed, nil to a caller who may not read the
// persons of whom it may speak.
func (r *Resolver) reasonOf(ctx context.Context, h *retention.Hold) *string {
	if !r.authorizer.Can(ctx, authz.SubjectRead).Allowed {
		return nil
	}
	return optional(h.Reason.Reveal())
}

// subjectsOf returns the subject of each record, asked for together.
func (r *Resolver) subjectsOf(ctx context.Context, records []*record.Record) ([]*subject.Subject, error) {
	ids := unique(records, func(rec *record.Record) string { return rec.SubjectID })
	read, err := r.subjects.GetMany(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("find subjects of records: %w", err)
	}
	byID := make(map[string]*subject.Subject, len(read))
	for _, s := range read {
		byID[s.ID] = s
	}
	return each(records, func(rec *record.Record) *subject.Subject { return byID[rec.SubjectID] }), nil
}

// datasetsOf returns the dataset of each record, each asked for once: the
// records of a page are of few.
func (r *Resolver) datasetsOf(ctx context.Context, records []*record.Record) ([]*dataset.Dataset, error) {
	byID := map[string]*dataset.Dataset{}
	for _, datasetID := range unique(records, func(rec *record.Record) string { return rec.DatasetID }) {
		d, err := r.datasets.Get(ctx, datasetID)
		if err != nil {
			return nil, fmt.Errorf("find dataset of records: %w", err)
		}
		byID[datasetID] = d
	}
	return each(records, func(rec *record.Record) *dataset.Dataset { return byID[rec.DatasetID] }), nil
}

func each[T, U any](objs []T, of func(T) U) []U {
	out := make([]U, len(objs))
	for i, obj := range objs {
		out[i] = of(obj)
	}
	return out
}

// unique returns the distinct ids of objs, in order of first appearance.
func unique[T any](objs []T, of func(T) string) []string {
	seen, ids := make(map[string]bool, len(objs)), make([]string, 0, len(objs))
	for _, obj := range objs {
		if k := of(obj); !seen[k] {
			seen[k] = true
			ids = append(ids, k)
		}
	}
	return ids
}

// optional returns nil for an empty text, which the API shows as null.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// zero returns what p points to, or nothing for nil.
func zero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
