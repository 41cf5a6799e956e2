package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/assessment"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/breakglass"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/machine"
	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/policy"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/webhook"
)

// world is what a tenant has, and notes what it is asked for. Reads go to the
// audit log as those of the services do.
type world struct {
	recorder *audit.Recorder

	mu    sync.Mutex
	asked []string
}

func (w *world) note(ctx context.Context, what string, args ...any) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if of != one {
		return errs.New(errs.NotFound, "no such object")
	}
	w.mu.Lock()
	w.asked = append(w.asked, strings.TrimSpace(fmt.Sprintln(append([]any{what}, args...)...)))
	w.mu.Unlock()
	return w.recorder.Read(ctx, what, "")
}

func (w *world) calls() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

type (
	worldTenants struct {
		graph.Tenants
		*world
	}
	worldPolicies struct {
		graph.Policies
		*world
	}
	worldSecurity struct {
		graph.Security
		*world
	}
	worldWebhooks struct {
		graph.Webhooks
		*world
	}
	worldRequests struct {
		graph.Requests
		*world
	}
	worldRetention struct {
		graph.Retention
		*world
	}
	worldRecipients struct {
		graph.Recipients
		*world
	}
	worldTasks struct {
		graph.Tasks
		*world
	}
	worldLetters struct {
		graph.Letters
		*world
	}
	worldConsents struct {
		graph.Consents
		*world
	}
	worldPurposes struct {
		graph.Purposes
		*world
	}
	worldProcessing struct {
		graph.Processing
		*world
	}
	worldAccess struct {
		graph.Access
		*world
	}
	worldKeys struct {
		graph.APIKeys
		*world
	}
	worldDatasets struct {
		graph.Datasets
		*world
	}
	worldSubjects struct {
		graph.Subjects
		*world
		created []change.Idempotency
	}
	worldRecords struct {
		graph.Records
		*world
	}
	worldFiles   struct{ *world }
	worldImports struct {
		graph.Imports
		*world
	}
	worldExports struct {
		graph.Exports
		*world
	}
	worldAudits struct {
		graph.Audits
		*world
	}
	worldJobs struct {
		graph.Jobs
		*world
	}
	worldAgreements struct {
		graph.Agreements
		*world
	}
	worldMeasures struct {
		graph.Measures
		*world
	}
	worldAssessments struct {
		graph.Assessments
		*world
	}
	worldDisclosures struct {
		graph.Disclosures
		*world
	}
)

func (w worldTenants) Get(ctx context.Context) (*tenancy.Tenant, error) {
	return &tenancy.Tenant{ID: one, LegalName: "One ApS", Kind: tenancy.Customer}, w.note(ctx, "tenant.read")
}

func (w worldTenants) Member(ctx context.Context, memberID string) (*tenancy.Member, error) {
	return &tenancy.Member{ID: memberID}, w.note(ctx, "member.read")
}

func (w worldPolicies) Get(ctx context.Context, policyID string) (*policy.Policy, error) {
	return &policy.Policy{ID: policyID}, w.note(ctx, "policy.read")
}

// worldOAuth answers with clients.
type worldOAuth struct {
	graph.OAuth
	*world
}

func (w worldOAuth) Get(ctx context.Context, clientID string) (*oauth.Client, error) {
	return &oauth.Client{Client: machine.Client{ID: clientID}}, w.note(ctx, "oauthClient.read")
}

func (w worldSecurity) Get(ctx context.Context, eventID string) (*security.Event, error) {
	return &security.Event{ID: eventID}, w.note(ctx, "securityEvent.read")
}

func (w worldWebhooks) Get(ctx context.Context, webhookID string) (*webhook.Webhook, error) {
	return &webhook.Webhook{ID: webhookID}, w.note(ctx, "webhook.read")
}

func (w worldWebhooks) GetDelivery(ctx context.Context, deliveryID string) (*webhook.Delivery, error) {
	return &webhook.Delivery{ID: deliveryID}, w.note(ctx, "delivery.read")
}

func (w worldRetention) Rule(ctx context.Context, ruleID string) (*retention.Rule, error) {
	return &retention.Rule{ID: ruleID}, w.note(ctx, "rule.read")
}

func (w worldRetention) Hold(ctx context.Context, holdID string) (*retention.Hold, error) {
	return &retention.Hold{ID: holdID}, w.note(ctx, "hold.read")
}

func (w worldRetention) RunOf(ctx context.Context, runID string) (*retention.Run, error) {
	return &retention.Run{ID: runID}, w.note(ctx, "run.read")
}

func (w worldLetters) Get(ctx context.Context, templateID string) (*letter.Template, error) {
	return &letter.Template{ID: templateID}, w.note(ctx, "letter.read")
}

func (w worldProcessing) Party(ctx context.Context, partyID string) (*processing.Party, error) {
	return &processing.Party{ID: partyID}, w.note(ctx, "party.read")
}

func (w worldProcessing) System(ctx context.Context, systemID string) (*processing.System, error) {
	return &processing.System{ID: systemID}, w.note(ctx, "system.read")
}

func (w worldProcessing) Get(ctx context.Context, activityID string) (*processing.Activity, error) {
	return &processing.Activity{ID: activityID}, w.note(ctx, "activity.read")
}

func (w worldProcessing) Register(ctx context.Context, registerID string) (*processing.Register, error) {
	return &processing.Register{ID: registerID}, w.note(ctx, "register.read")
}

func (w worldConsents) Get(ctx context.Context, consentID string) (*consent.Consent, error) {
	return &consent.Consent{ID: consentID}, w.note(ctx, "consent.read")
}

func (w worldConsents) GetEvent(ctx context.Context, eventID string) (*consent.Event, error) {
	return &consent.Event{ID: eventID}, w.note(ctx, "consentEvent.read")
}

func (w worldConsents) GetCheck(ctx context.Context, checkID string) (*consent.Check, error) {
	return &consent.Check{ID: checkID}, w.note(ctx, "erasureCheck.read")
}

func (w worldPurposes) ByID(ctx context.Context, purposeID string) (*purpose.Purpose, error) {
	return &purpose.Purpose{Edition: purpose.Edition{ID: purposeID}}, w.note(ctx, "purpose.read")
}

func (w worldPurposes) Notice(ctx context.Context, noticeID string) (*purpose.Notice, error) {
	return &purpose.Notice{Edition: purpose.Edition{ID: noticeID}}, w.note(ctx, "notice.read")
}

func (w worldRecipients) Get(ctx context.Context, noticeID string) (*recipient.Notice, error) {
	return &recipient.Notice{ID: noticeID}, w.note(ctx, "recipient.read")
}

func (w worldTasks) Get(ctx context.Context, taskID string) (*task.Task, error) {
	return &task.Task{ID: taskID}, w.note(ctx, "task.read")
}

func (w worldTasks) Template(ctx context.Context, templateID string) (*task.Template, error) {
	return &task.Template{ID: templateID}, w.note(ctx, "taskTemplate.read")
}

func (w worldRequests) Get(ctx context.Context, requestID string) (*request.Request, error) {
	return &request.Request{ID: requestID}, w.note(ctx, "request.read")
}

func (w worldAccess) Get(ctx context.Context, grantID string) (*breakglass.Grant, error) {
	return &breakglass.Grant{ID: grantID}, w.note(ctx, "access.read")
}

func (w worldKeys) Get(ctx context.Context, keyID string) (*apikey.APIKey, error) {
	k := &apikey.APIKey{}
	k.ID = keyID
	return k, w.note(ctx, "apiKey.read")
}

func (w worldDatasets) Get(ctx context.Context, datasetID string) (*dataset.Dataset, error) {
	return &dataset.Dataset{ID: datasetID, Fields: []dataset.Field{{ID: "fld_1"}, {ID: "fld_2", Term: "pd:Name"}}}, w.note(ctx, "dataset.read", datasetID)
}

func (w *worldSubjects) Get(ctx context.Context, subjectID string) (*subject.Subject, error) {
	s := &subject.Subject{
		ID: subjectID, State: subject.Active, Identity: personal.Clear, BirthDate: personal.NewText("1970-01-31"),
		Emails: []personal.Text{personal.NewText("ann@example.test")},
		Name:   &subject.Name{Full: personal.NewText("Ann \"A\" Ørsted"), Given: personal.NewText("Ann")},
	}
	return s, w.note(ctx, "subject.read")
}

func (w *worldSubjects) GetMany(ctx context.Context, ids []string) ([]*subject.Subject, error) {
	found := make([]*subject.Subject, len(ids))
	for i, id := range ids {
		found[i] = &subject.Subject{ID: id}
	}
	return found, w.note(ctx, "subject.readMany", ids)
}

func (w *worldSubjects) Create(ctx context.Context, _ subject.CreateInput) (*subject.Subject, error) {
	w.mu.Lock()
	// What the change's runner would find.
	w.created = append(w.created, idempotencyOf(ctx))
	w.mu.Unlock()
	return &subject.Subject{ID: "sub_1"}, nil
}

func (w worldRecords) Get(ctx context.Context, recordID string) (*record.Record, error) {
	return &record.Record{ID: recordID, SubjectID: "sub_1", DatasetID: "dst_1"}, w.note(ctx, "record.read")
}

func (w worldRecords) List(ctx context.Context, q record.Query, r page.Request) (*record.Connection, error) {
	c := &record.Connection{}
	for i := range r.First {
		c.Edges = append(c.Edges, record.Edge{Node: &record.Record{
			ID: fmt.Sprintf("rec_%d", i), SubjectID: fmt.Sprintf("sub_%d", i%3), DatasetID: fmt.Sprintf("dst_%d", i%2), Fields: values(),
		}})
	}
	return c, w.note(ctx, "record.list", q.Subject, q.Dataset)
}

// values has one value of each type.
func values() []record.Field {
	at := time.Date(2026, 2, 28, 12, 0, 0, 0, time.UTC)
	of := func(key string, t dataset.Type, v personal.Value) record.Field {
		return record.Field{FieldID: "fld_" + key, Key: key, State: personal.Clear, Value: record.Value{Type: t, Value: v}}
	}
	return []record.Field{
		of("string", dataset.TypeString, personal.String(`quoted "text"`)),
		of("date", dataset.TypeDate, personal.String("2026-02-28")),
		of("dateTime", dataset.TypeDateTime, personal.Time(at)),
		of("int", dataset.TypeInt, personal.Int(9007199254740993)),
		of("decimal", dataset.TypeDecimal, personal.String("1.50")),
		of("bool", dataset.TypeBool, personal.Bool(false)),
		of("enum", dataset.TypeEnum, personal.Enum("RED")),
		of("json", dataset.TypeJSON, personal.String(`{"a":[1,null]}`)),
		{FieldID: "fld_gone", Key: "gone", State: personal.Erased, Value: record.Value{Type: dataset.TypeString}},
	}
}

func (w worldFiles) Get(ctx context.Context, fileID string) (*file.File, error) {
	return &file.File{ID: fileID}, w.note(ctx, "file.read")
}

func (w worldImports) Mapping(ctx context.Context, mappingID string) (*imports.Mapping, error) {
	return &imports.Mapping{ID: mappingID}, w.note(ctx, "mapping.read")
}

func (w worldAudits) Get(ctx context.Context, entryID string) (*trail.Entry, error) {
	return &trail.Entry{ID: entryID}, w.note(ctx, "audit.read")
}

func (w worldAudits) GetExport(ctx context.Context, exportID string) (*trail.Export, error) {
	return &trail.Export{ID: exportID}, w.note(ctx, "audit.export.read")
}

func (w worldExports) Get(ctx context.Context, exportID string) (*export.Export, error) {
	return &export.Export{ID: exportID}, w.note(ctx, "export.read")
}

func (w worldAgreements) Get(ctx context.Context, agreementID string) (*agreement.Agreement, error) {
	return &agreement.Agreement{ID: agreementID}, w.note(ctx, "agreement.read")
}

func (w worldAgreements) Instruction(ctx context.Context, instructionID string) (*agreement.Instruction, error) {
	return &agreement.Instruction{ID: instructionID}, w.note(ctx, "instruction.read")
}

func (w worldMeasures) Get(ctx context.Context, measureID string) (*measure.Measure, error) {
	return &measure.Measure{ID: measureID}, w.note(ctx, "measure.read")
}

func (w worldAssessments) Get(ctx context.Context, assessmentID string) (*assessment.Assessment, error) {
	return &assessment.Assessment{ID: assessmentID}, w.note(ctx, "assessment.read")
}

func (w worldDisclosures) Get(ctx context.Context, disclosureID string) (*disclosure.Disclosure, error) {
	return &disclosure.Disclosure{ID: disclosureID}, w.note(ctx, "disclosure.read")
}

func (w worldJobs) Get(ctx context.Context, jobID string) (*job.Job, error) {
	return &job.Job{ID: jobID}, w.note(ctx, "job.read")
}

func newWorld(t *testing.T) (*fixture, *world, *worldSubjects) {
	t.Helper()
	var w *world
	var subjects *worldSubjects
	f := newAPI(t, func(r *audit.Recorder) graph.Services {
		w = &world{recorder: r}
		subjects = &worldSubjects{world: w}
		return graph.Services{
			Webhooks:   worldWebhooks{world: w},
			Processing: worldProcessing{world: w}, Consents: worldConsents{world: w}, Purposes: worldPurposes{world: w}, Letters: worldLetters{world: w}, Retention: worldRetention{world: w}, Requests: worldRequests{world: w}, Recipients: worldRecipients{world: w}, Tasks: worldTasks{world: w},
			Policies: worldPolicies{world: w}, Security: worldSecurity{world: w}, OAuth: worldOAuth{world: w},
			Tenants: worldTenants{world: w}, Access: worldAccess{world: w}, APIKeys: worldKeys{world: w}, Datasets: worldDatasets{world: w}, Subjects: subjects,
			Records: worldRecords{world: w}, Files: worldFiles{w}, Imports: worldImports{world: w}, Exports: worldExports{world: w}, Audits: worldAudits{world: w},
			Jobs: worldJobs{world: w}, Measures: worldMeasures{world: w}, Agreements: worldAgreements{world: w}, Assessments: worldAssessments{world: w}, Disclosures: worldDisclosures{world: w},
		}
	})
	return f, w, subjects
}

// idempotencyOf returns what a change's runner is told, by running one.
func idempotencyOf(ctx context.Context) change.Idempotency {
	var got change.Idempotency
	r := change.NewRunner(nil, nil, hasher(func(purpose string, parts [][]byte) {
		switch purpose {
		case "idempotency key":
			got.Key = string(parts[1])
		case "idempotency input":
			got.Input = parts[0]
		}
	}), time.Now, func() {})
	_, _ = r.Create(ctx, nil) // ends at the second hash
	return got
}

type hasher func(purpose string, parts [][]byte)

func (h hasher) Hash(_ context.Context, purpose string, parts ...[]byte) (sum [32]byte, err error) {
	h(purpose, parts)
	if purpose == "idempotency input" {
		err = errors.New("that was all")
	}
	return sum, err
}

func TestPermissions(t *testing.T) {
	everybody := `{ viewer { id kind role permissions memberships { tenant } tenant { id } } }`
	tests := []struct {
		name, query, token, code string
		audited                  []string
	}{
		{"signed out", `{ dataset(id: "dst_1") { id } }`, "", "UNAUTHENTICATED", nil},
		{"not permitted", `{ dataset(id: "dst_1") { id } }`, "vgt_none", "FORBIDDEN", []string{string(one) + " dataset REFUSED none"}},
		{"permitted", `{ dataset(id: "dst_1") { id } }`, "vgt_all", "", []string{string(one) + " dataset.read OK machine.grants"}},
		{"another tenant", `{ dataset(id: "dst_1") { id } }`, "vgt_two", "NOT_FOUND", nil},
		{"mutation", `mutation { deleteRecord(input: {id: "rec_1"}) { id } }`, "vgt_none", "FORBIDDEN", []string{string(one) + " deleteRecord REFUSED none"}},
		{"alias doesn't hide it", `{ harmless: dataset(id: "dst_1") { id } }`, "vgt_none", "FORBIDDEN", []string{string(one) + " dataset REFUSED none"}},
		{
			"twice in a document is one entry", `{ a: dataset(id: "dst_1") { id } b: dataset(id: "dst_2") { id } }`, "vgt_none", "FORBIDDEN",
			[]string{string(one) + " dataset REFUSED none"},
		},
		{"by node", `{ node(id: "sub_1") { id } }`, "vgt_none", "FORBIDDEN", []string{string(one) + " node REFUSED none"}},
		{"viewer, signed out", everybody, "", "", nil},
		{"viewer", everybody, "vgt_none", "", []string{string(one) + " tenant.read OK "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, w, _ := newWorld(t)
			token := tt.token
			if token != "" {
				token = "Bearer " + token
			}
			a := f.ask(t, tt.query, nil, "Authorization", token)
			if a.code() != tt.code || a.status != 200 {
				t.Errorf("got %d %s, want %s", a.status, a.body, tt.code)
			}
			if got := f.audit.entries(); !slices.Equal(got, tt.audited) {
				t.Errorf("audited %q, want %q", got, tt.audited)
			}
			if tt.code != "" && len(w.calls()) > 0 {
				t.Errorf("the service was asked: %v", w.calls())
			}
		})
	}
}

func TestRefusalWithinAnObject(t *testing.T) {
	f, w, _ := newWorld(t)
	f.Config.Handler = grant(f.Config.Handler, authz.DatasetRead, authz.RecordRead)
	a := f.ask(t, `{ dataset(id: "dst_1") { records(first: 20) { nodes { id subject { id } } } } }`, nil)
	if a.code() != "FORBIDDEN" || strings.Contains(a.body, "sub_") {
		t.Errorf("got %s", a.body)
	}
	if got, want := strings.Count(strings.Join(f.audit.entries(), "\n"), "record.subject REFUSED"), 1; got != want {
		t.Errorf("%d entries of the refusal, want %d: %q", got, want, f.audit.entries())
	}
	if slices.ContainsFunc(w.calls(), func(c string) bool { return strings.HasPrefix(c, "subject") }) {
		t.Errorf("subjects were read: %v", w.calls())
	}
}

func TestRefusalThatCannotBeRecorded(t *testing.T) {
	f, _, _ := newWorld(t)
	f.audit.broken = true
	if a := f.ask(t, `{ dataset(id: "dst_1") { id } }`, nil, "Authorization", "Bearer vgt_none"); a.code() != "UNAVAILABLE" {
		t.Errorf("got %s", a.body)
	}
}

func TestNode(t *testing.T) {
	types := map[string]struct{ typename, do string }{
		string(one): {"Tenant", "TENANT_READ"}, "key_1": {"ApiKey", "CLIENT_READ"}, "dst_1": {"Dataset", "DATASET_READ"},
		"sub_1": {"Subject", "SUBJECT_READ"}, "rec_1": {"Record", "RECORD_READ"}, "fil_1": {"File", "FILE_READ"},
		"mem_1": {"Member", "MEMBER_READ"}, "brk_1": {"OperatorAccess", "AUDIT_READ"},
		"whk_1": {"Webhook", "WEBHOOK_READ"}, "dlv_1": {"Delivery", "WEBHOOK_READ"},
		"pol_1": {"TenantPolicy", "POLICY_READ"}, "sev_1": {"SecurityEvent", "SECURITY_EVENT_READ"},
		"oac_1": {"OAuthClient", "CLIENT_READ"},
		"req_1": {"Request", "REQUEST_READ"},
		"rcn_1": {"RecipientNotice", "REQUEST_READ"}, "tsk_1": {"Task", "REQUEST_READ"}, "tkt_1": {"TaskTemplate", "REQUEST_READ"},
		"agr_1": {"Agreement", "AGREEMENT_READ"}, "ins_1": {"Instruction", "AGREEMENT_READ"},
		"mea_1": {"SecurityMeasure", "PROCESSING_READ"}, "asm_1": {"Assessment", "PROCESSING_READ"}, "dsc_1": {"Disclosure", "DISCLOSURE_READ"},
		"pty_1": {"ProcessingParty", "PROCESSING_READ"}, "sys_1": {"DataSystem", "PROCESSING_READ"},
		"act_1": {"ProcessingActivity", "PROCESSING_READ"}, "reg_1": {"ProcessingRegister", "PROCESSING_READ"},
		"cns_1": {"Consent", "CONSENT_READ"}, "cne_1": {"ConsentEvent", "CONSENT_READ"}, "ech_1": {"ErasureCheck", "CONSENT_READ"},
		"pur_1": {"Purpose", "PURPOSE_READ"}, "ntc_1": {"Notice", "PURPOSE_READ"}, "ltr_1": {"LetterTemplate", "LETTER_READ"},
		"rul_1": {"RetentionRule", "RETENTION_READ"}, "hld_1": {"LegalHold", "RETENTION_READ"}, "rtr_1": {"RetentionRun", "RETENTION_READ"},
		"map_1": {"ImportMapping", "IMPORT_RUN"}, "exp_1": {"Export", "EXPORT_REQUEST"}, "aud_1": {"AuditEntry", "AUDIT_READ"}, "aux_1": {"AuditExport", "AUDIT_EXPORT"}, "job_1": {"Job", "JOB_READ"},
	}
	operators := []string{"EpochClose", "KeyRotation"} // see TestNodeOfOperators
	for _, def := range load(t).PossibleTypes["Node"] {
		if slices.Contains(operators, def.Name) {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(mapValues(types)), func(v struct{ typename, do string }) bool { return v.typename == def.Name }) {
			t.Errorf("no test for %s", def.Name)
		}
	}
	f, _, _ := newWorld(t)
	query := `query($id: ID!) { node(id: $id) { __typename id } }`
	for id, tt := range types {
		a := f.ask(t, query, map[string]any{"id": id}, "Authorization", "Bearer vgt_as:OWNER")
		if want := fmt.Sprintf(`{"data":{"node":{"__typename":%q,"id":%q}}}`, tt.typename, id); a.body != want {
			t.Errorf("%s: got %s, want %s", id, a.body, want)
		}
		a = f.ask(t, query, map[string]any{"id": id}, "Authorization", "Bearer vgt_none")
		if a.code() != "FORBIDDEN" || a.Errors[0].Extensions["rule"] != tt.do {
			t.Errorf("%s: got %s, want FORBIDDEN under %s", id, a.body, tt.do)
		}
	}
	for _, id := range []string{"xxx_1", "nothing", "fld_1", string(two)} {
		if a := f.ask(t, query, map[string]any{"id": id}); a.code() != "NOT_FOUND" {
			t.Errorf("%s: got %s", id, a.body)
		}
	}
}

func TestNodeOfOperators(t *testing.T) {
	f, _, _ := newWorld(t)
	for _, role := range []string{"OWNER", "DPO"} {
		for _, nodeID := range []string{"epc_1", "rot_1"} {
			a := f.ask(t, fmt.Sprintf(`{ node(id: %q) { id } }`, nodeID), nil, "Authorization", "Bearer vgt_as:"+role)
			if a.code() != "FORBIDDEN" || a.Errors[0].Extensions["rule"] != "VAULT_READ" {
				t.Errorf("%s, %s: got %s", role, nodeID, a.body)
			}
		}
	}
}

func mapValues[K comparable, V any](m map[K]V) func(func(V) bool) {
	return func(yield func(V) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// TestReads: nothing is answered before it is in the audit log.
func TestReads(t *testing.T) {
	const query = `{ subject(id: "sub_1") { name { full given family } birthDate emails reference } }`
	f, _, _ := newWorld(t)
	a := f.ask(t, query, nil)
	want := `{"data":{"subject":{"name":{"full":"Ann \"A\" Ørsted","given":"Ann","family":null},"birthDate":"1970-01-31","emails":["ann@example.test"],"reference":null}}}`
	if a.body != want {
		t.Errorf("got %s, want %s", a.body, want)
	}
	if got := f.audit.entries(); !slices.Equal(got, []string{string(one) + " subject.read OK machine.grants"}) {
		t.Errorf("audited %q", got)
	}
	f.audit.mu.Lock()
	f.audit.broken = true
	f.audit.mu.Unlock()
	a = f.ask(t, query, nil)
	if a.code() != "UNAVAILABLE" || strings.Contains(a.body, "Ann") || a.Data != nil {
		t.Errorf("log down: got %s", a.body)
	}
	if got := events(t, f, quote(`{ subject(id: "sub_1") { id name { full } } }`), func(string) {}); !strings.Contains(got, "UNAVAILABLE") || strings.Contains(got, "Ann") {
		t.Errorf("log down, as a stream: got %s", got)
	}
	f.Close()
	if strings.Contains(f.log.String(), "Ann") {
		t.Errorf("the log has personal data: %s", f.log)
	}
}

func TestBatches(t *testing.T) {
	f, w, _ := newWorld(t)
	a := f.ask(t, `{ subject(id: "sub_9") { records(first: 7, dataset: "dst_1") { nodes { id subject { id } dataset { id } } } } }`, nil)
	for i := range 7 {
		if want := fmt.Sprintf(`{"id":"rec_%d","subject":{"id":"sub_%d"},"dataset":{"id":"dst_%d"}}`, i, i%3, i%2); !strings.Contains(a.body, want) {
			t.Errorf("no %s in %s", want, a.body)
		}
	}
	got := w.calls()
	slices.Sort(got)
	want := []string{"dataset.read dst_0", "dataset.read dst_1", "record.list sub_9 dst_1", "subject.read", "subject.readMany [sub_0 sub_1 sub_2]"}
	if !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestValues(t *testing.T) {
	f, _, _ := newWorld(t)
	a := f.ask(t, `{ dataset(id: "dst_1") { description fields { term } records(first: 1) { nodes { collectedAt fields { key value state } } } } }`, nil)
	for _, want := range []string{
		`{"key":"string","value":"quoted \"text\"","state":"CLEAR"}`, `{"key":"date","value":"2026-02-28","state":"CLEAR"}`,
		`{"key":"dateTime","value":"2026-02-28T12:00:00Z","state":"CLEAR"}`, `{"key":"int","value":9007199254740993,"state":"CLEAR"}`,
		`{"key":"decimal","value":"1.50","state":"CLEAR"}`, `{"key":"bool","value":false,"state":"CLEAR"}`, `{"key":"enum","value":"RED","state":"CLEAR"}`,
		`{"key":"json","value":{"a":[1,null]},"state":"CLEAR"}`, `{"key":"gone","value":null,"state":"ERASED"}`,
		`"description":null`, `"fields":[{"term":null},{"term":"pd:Name"}]`, `"collectedAt":null`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("no %s in %s", want, a.body)
		}
	}
}

func TestIdempotency(t *testing.T) {
	const create = `mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject { id } } }`
	input := map[string]any{"input": map[string]any{"reference": "planted", "emails": []any{"planted@example.test"}}}

	t.Run("keys", func(t *testing.T) {
		for _, tt := range []struct{ name, key, query, code string }{
			{"none", "", create, "INVALID"},
			{"good", "3f1c", create, ""},
			{"longest", strings.Repeat("x", 255), create, ""},
			{"too long", strings.Repeat("x", 256), create, "INVALID"},
			{"not ASCII", "nøgle", create, "INVALID"},
			{"beside another", "k", `mutation($input: CreateSubjectInput!) { a: createSubject(input: $input) { subject { id } } b: createSubject(input: $input) { subject { id } } }`, "INVALID"},
			{"beside another in a fragment", "k", `mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject { id } } ...f } fragment f on Mutation { deleteRecord(input: {id: "rec_1"}) { id } }`, "INVALID"},
			{"beside its type's name", "k", `mutation($input: CreateSubjectInput!) { __typename createSubject(input: $input) { subject { id } } }`, ""},
		} {
			f, _, subjects := newWorld(t)
			if tt.query != create && strings.Contains(tt.query, "deleteRecord") {
				f.Config.Handler = grant(f.Config.Handler, authz.SubjectWrite)
			}
			a := f.ask(t, tt.query, input, "Idempotency-Key", tt.key)
			if a.code() != tt.code || strings.Contains(a.body, "planted") {
				t.Errorf("%s: got %s, want %s", tt.name, a.body, tt.code)
			}
			if tt.code != "" && len(subjects.created) > 0 {
				t.Errorf("%s: it was created", tt.name)
			}
		}
	})
	t.Run("same input in other words", func(t *testing.T) {
		f, _, subjects := newWorld(t)
		for _, body := range []string{
			`{"query": "mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject { id } } }", "variables": {"input": {"reference": "planted", "emails": ["planted@example.test"]}}}`,
			`{"variables": {"x": {"emails": ["planted@example.test"], "reference": "\u0070lanted"}}, "query": "mutation($x: CreateSubjectInput!) { y: createSubject(input: $x) { subject { id version } } }"}`,
			`{"query": "mutation { createSubject(input: {reference: \"planted\", emails: [\"planted@example.test\"]}) { subject { id } } }"}`,
			`{"query": "mutation { createSubject(input: {reference: \"planted\", emails: [\"other@example.test\"]}) { subject { id } } }"}`,
		} {
			if a := f.send(t, strings.NewReader(body), "Idempotency-Key", "key-1"); a.code() != "" {
				t.Fatal(a.body)
			}
		}
		got := subjects.created
		for i := range 3 {
			if got[i].Key != "key-1" || !json.Valid(got[i].Input) || string(got[i].Input) != string(got[0].Input) {
				t.Errorf("%d: got %q %s, want %s", i, got[i].Key, got[i].Input, got[0].Input)
			}
		}
		if string(got[3].Input) == string(got[0].Input) || !strings.Contains(string(got[0].Input), "createSubject") {
			t.Error("another input looks the same")
		}
	})
}
