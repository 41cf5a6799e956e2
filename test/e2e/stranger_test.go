package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// belongings are the first tenant's: one thing of each kind that has an id.
type belongings struct {
	person   person
	human    human
	dataset  dataset
	record   row
	title    string
	file     string
	export   export
	link     string
	relation string
	imported imported
}

// walkAsStranger tries every root field of the schema, and every other address,
// as the owner of the second tenant with what belongs to the first.
func walkAsStranger(t *testing.T, p *platform, b belongings) {
	t.Helper()
	mine, owner := p.machine(t, first), p.member(t, first, "OWNER")
	stranger := p.member(t, second, "OWNER")
	foreign := p.tenant(t, first).ID
	key := ask[struct {
		CreateAPIKey struct {
			APIKey struct{ ID string }
			Secret string
		} `json:"createApiKey"`
	}](t, owner, `mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { apiKey { id } secret } }`,
		vars{"input": vars{"name": "walk", "permissions": []string{"TENANT_READ"}}}).CreateAPIKey
	machine := ask[struct {
		CreateOAuthClient struct{ OAuthClient struct{ ID string } }
	}](t, owner, `mutation($input: CreateOAuthClientInput!) { createOAuthClient(input: $input) { oauthClient { id } } }`,
		vars{"input": vars{"name": "walk", "permissions": []string{"TENANT_READ"}, "tokenFormat": "OPAQUE"}}).CreateOAuthClient.OAuthClient.ID
	mapping := ask[struct {
		ImportMappings []struct{ ID, Name string }
	}](t, mine, `{ importMappings { id name } }`, nil).ImportMappings[0]
	template := ask[struct {
		ProposeLetterTemplate struct{ Template struct{ ID string } }
	}](t, owner, `mutation($input: ProposeLetterTemplateInput!) { proposeLetterTemplate(input: $input) { template { id } } }`,
		vars{"input": vars{"letter": "one-time-code", "language": "en", "source": standardLetter(t, owner, "one-time-code", "en")}}).ProposeLetterTemplate.Template.ID
	policy := ask[struct {
		ProposeTenantPolicy struct{ Policy struct{ ID string } }
	}](t, owner, `mutation($input: ProposeTenantPolicyInput!) { proposeTenantPolicy(input: $input) { policy { id } } }`,
		vars{"input": vars{
			"name": "walk", "description": "Nobody exports", "source": `forbid (principal, action == Action::"EXPORT_REQUEST", resource);`,
		}}).ProposeTenantPolicy.Policy.ID
	contract := ask[struct {
		RequestAgreement struct{ Agreement struct{ ID string } }
	}](t, owner, `mutation($input: RequestAgreementInput!) { requestAgreement(input: $input) { agreement { id } } }`, vars{"input": vars{}}).RequestAgreement.Agreement.ID
	order := ask[struct {
		RecordInstruction struct{ Instruction struct{ ID string } }
	}](t, owner, `mutation($input: RecordInstructionInput!) { recordInstruction(input: $input) { instruction { id } } }`,
		vars{"input": vars{"text": "walk", "givenBy": "walk"}}).RecordInstruction.Instruction.ID
	purpose, notice := purposeAndNotice(t, owner, "walk.letters")
	happened := ask[struct {
		RecordSecurityEvent struct{ Event struct{ ID string } }
	}](t, owner, `mutation($input: RecordSecurityEventInput!) { recordSecurityEvent(input: $input) { event { id } } }`,
		vars{"input": vars{
			"occurredAt": "2024-01-01T00:00:00Z", "detectedAt": "2024-01-01T00:00:00Z", "source": "STAFF", "category": "OTHER",
			"severity": "LOW", "description": "walk",
		}}).RecordSecurityEvent.Event.ID
	tree := ask[struct {
		Tenant struct{ Version int64 }
	}](t, owner, `{ tenant { version } }`, nil).Tenant
	people := ask[struct {
		Viewer   struct{ ID string }
		Sessions []struct{ ID string }
	}](t, owner, `{ viewer { id } sessions { id } }`, nil)
	entry := ask[struct {
		AuditLog struct{ Nodes []struct{ ID string } }
	}](t, owner, `{ auditLog(first: 1) { nodes { id } } }`, nil).AuditLog.Nodes[0].ID
	hooked, told := mine.delivered(t, p)
	defer mine.unhook(t, hooked)
	registered := ask[struct {
		RegisterDocuments struct{ Documents []struct{ ID string } }
	}](t, owner, `mutation($input: RegisterDocumentsInput!) { registerDocuments(input: $input) { documents { id } } }`,
		vars{"input": vars{"documents": []vars{{"name": "walk", "text": "{ viewer { id } }"}}}}).RegisterDocuments.Documents[0].ID
	account := p.account(t, b.person)
	kept := p.keepRecord(t)
	ruled := p.keep(t)
	wished := openRequest(t, p.member(t, first, "CASE_HANDLER"), b.person.Emails[0], "ACCESS")
	chores := p.chores(t, wished)
	handle := func(more vars) vars {
		more["id"], more["expectedVersion"] = wished.ID, wished.Version
		return more
	}
	weigh := func(more vars) vars {
		more["id"], more["expectedVersion"] = account.assessment, 6
		return more
	}
	field := vars{"key": "extra", "type": "STRING"}
	values := []vars{{"key": "title", "value": "x"}}

	type call struct {
		name, document string
		input          vars
		want           string // code; "" of one that answers, with nothing of the first tenant
	}
	query := func(name, document string, v vars, want string) call { return call{name, document, v, want} }
	mutation := func(name, selection string, in vars, want string) call {
		kind := strings.ToUpper(name[:1]) + name[1:] + "Input"
		return call{name, `mutation($input: ` + kind + `!) { ` + name + `(input: $input) { ` + selection + ` } }`, vars{"input": in}, want}
	}
	calls := []call{
		query("viewer", `{ viewer { id kind role tenant { id } memberships { tenant legalName } } }`, nil, ""),
		query("tenant", `{ tenant { id legalName slug } }`, nil, ""),
		query("apiKeys", `{ apiKeys { id name } }`, nil, ""),
		query("oauthClients", `{ oauthClients { id name } }`, nil, ""),
		query("documents", `{ documents { id name } }`, nil, ""),
		mutation("registerDocuments", "documents { id }",
			vars{"documents": []vars{{"name": "walk", "text": "{ foreign: " + foreign + " }"}}}, "INVALID"),
		mutation("unregisterDocument", "id", vars{"id": registered}, "NOT_FOUND"),
		query("parties", `{ parties { nodes { id legalName } } }`, nil, ""),
		query("party", `query($id: ID!) { party(id: $id) { id } }`, vars{"id": kept.party}, "NOT_FOUND"),
		query("dataSystems", `{ dataSystems { nodes { id } } }`, nil, ""),
		query("dataSystem", `query($id: ID!) { dataSystem(id: $id) { id } }`, vars{"id": kept.system}, "NOT_FOUND"),
		query("processingActivities", `{ processingActivities { nodes { id } } }`, nil, ""),
		query("processingActivity", `query($id: ID!) { processingActivity(id: $id) { id } }`, vars{"id": kept.activity}, "NOT_FOUND"),
		query("processingActivityAsOf", `query($id: ID!) { processingActivityAsOf(id: $id, at: "2030-01-01T00:00:00Z") { id } }`, vars{"id": kept.activity}, "NOT_FOUND"),
		query("processingDrift", `query($id: ID!) { processingDrift(activity: $id) { kind } }`, vars{"id": kept.activity}, "NOT_FOUND"),
		query("dataMap", `query($id: ID!) { dataMap(around: $id) { nodes { id } } }`, vars{"id": kept.party}, ""),
		query("registers", `{ registers { nodes { id hash } } }`, nil, ""),
		query("register", `query($id: ID!) { register(id: $id) { id } }`, vars{"id": kept.register}, "NOT_FOUND"),
		query("registerAsOf", `{ registerAsOf(at: "2030-01-01T00:00:00Z") { id } }`, nil, "NOT_FOUND"),
		mutation("updateParty", "party { id }", vars{"id": kept.party, "expectedVersion": 1, "party": vars{"legalName": "x", "country": "DK", "roles": []string{"RECIPIENT"}}}, "NOT_FOUND"),
		mutation("retireParty", "party { id }", vars{"id": kept.party, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("createDataSystem", "system { id }", vars{"system": vars{"name": vars{"da": "x"}, "kind": "PAPER", "location": "DK", "owner": kept.party}}, "NOT_FOUND"),
		mutation("updateDataSystem", "system { id }", vars{"id": kept.system, "expectedVersion": 1, "system": vars{"name": vars{"da": "x"}, "kind": "PAPER", "location": "DK"}}, "NOT_FOUND"),
		mutation("retireDataSystem", "system { id }", vars{"id": kept.system, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("createProcessingActivity", "activity { id }", vars{"hat": "PROCESSOR", "content": vars{
			"name": vars{"da": "x"}, "systems": []string{kept.system}, "processor": vars{},
		}}, "NOT_FOUND"),
		mutation("reviseProcessingActivity", "activity { id }", vars{"id": kept.activity, "expectedVersion": 2, "content": vars{"name": vars{"da": "x"}, "processor": vars{}}}, "NOT_FOUND"),
		mutation("activateProcessingActivity", "activity { id }", vars{"id": kept.activity, "expectedVersion": 2}, "NOT_FOUND"),
		mutation("reviewProcessingActivity", "activity { id }", vars{"id": kept.activity, "expectedVersion": 2, "nextReviewOn": "2040-01-01"}, "NOT_FOUND"),
		mutation("retireProcessingActivity", "activity { id }", vars{"id": kept.activity, "expectedVersion": 2}, "NOT_FOUND"),
		mutation("prepareRegister", "register { id }", vars{}, "PRECONDITION"),
		mutation("publishRegister", "register { id }", vars{"id": kept.register}, "NOT_FOUND"),
		mutation("grantDownload", "grant { url }", vars{"object": kept.register, "register": vars{"format": "JSON"}}, "NOT_FOUND"),
		query("agreements", `{ agreements { nodes { id } } }`, nil, ""),
		query("agreement", `query($id: ID!) { agreement(id: $id) { id } }`, vars{"id": contract}, "NOT_FOUND"),
		query("currentAgreement", `{ currentAgreement { id } }`, nil, ""),
		query("agreementVersions", `query($id: ID!) { agreementVersions(agreement: $id) { number } }`, vars{"id": contract}, "NOT_FOUND"),
		query("agreementDifferences", `query($id: ID!) { agreementDifferences(agreement: $id, from: 1, to: 1) { field } }`, vars{"id": contract}, "NOT_FOUND"),
		query("agreementEvents", `query($id: ID!) { agreementEvents(agreement: $id) { id } }`, vars{"id": contract}, "NOT_FOUND"),
		query("agreementTemplates", `{ agreementTemplates { key } }`, nil, ""),
		query("agreementStanding", `{ agreementStanding { agreement } }`, nil, ""),
		query("instructions", `{ instructions { nodes { id } } }`, nil, ""),
		query("instruction", `query($id: ID!) { instruction(id: $id) { id } }`, vars{"id": order}, "NOT_FOUND"),
		mutation("requestAgreement", "agreement { id }", vars{"template": "none"}, "NOT_FOUND"),
		mutation("prepareAgreement", "agreement { id }", vars{"tenant": foreign}, "FORBIDDEN"),
		mutation("negotiateAgreement", "agreement { id }", vars{"id": contract, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("counterAgreement", "agreement { id }", vars{"id": contract, "expectedVersion": 1}, "FORBIDDEN"),
		mutation("offerAgreement", "agreement { id }", vars{"id": contract, "expectedVersion": 1}, "FORBIDDEN"),
		mutation("declineAgreement", "agreement { id }", vars{"id": contract, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("rejectAmendment", "agreement { id }", vars{"id": contract, "expectedVersion": 1}, "FORBIDDEN"),
		mutation("signAgreement", "agreement { id }", vars{"id": contract, "expectedVersion": 1, "sha256": "x", "name": "x", "title": "x", "authority": "x"}, "NOT_FOUND"),
		mutation("countersignAgreement", "agreement { id }", vars{"id": contract, "expectedVersion": 1, "sha256": "x", "name": "x", "title": "x", "authority": "x"}, "FORBIDDEN"),
		mutation("terminateAgreement", "agreement { id }", vars{"id": contract, "expectedVersion": 1, "endsOn": "2040-01-01"}, "NOT_FOUND"),
		mutation("endAgreement", "agreement { id }", vars{"id": contract, "expectedVersion": 1, "endsOn": "2040-01-01"}, "FORBIDDEN"),
		mutation("chooseAgreementEnding", "agreement { id }", vars{"id": contract, "expectedVersion": 1, "choice": "RETURN"}, "NOT_FOUND"),
		mutation("completeAgreementTask", "agreement { id }", vars{"id": contract, "expectedVersion": 1, "task": "DELETE_DATA", "receipt": "x"}, "FORBIDDEN"),
		mutation("closeAgreement", "agreement { id }", vars{"id": contract, "expectedVersion": 1}, "FORBIDDEN"),
		mutation("loadTemplateText", "template { key }", vars{"template": "dk-scc", "language": "da", "text": "x"}, "FORBIDDEN"),
		mutation("setAgreementGate", "standing { mode }", vars{"tenant": foreign}, "FORBIDDEN"),
		mutation("recordInstruction", "instruction { id }", vars{"text": " ", "givenBy": "x"}, "INVALID"),
		mutation("assessInstruction", "instruction { id }", vars{"id": order, "expectedVersion": 1, "lawful": true}, "FORBIDDEN"),
		mutation("answerObjection", "instruction { id }", vars{"id": order, "expectedVersion": 1, "withdraw": true, "answer": "x"}, "NOT_FOUND"),
		query("securityMeasures", `{ securityMeasures { nodes { id key } } }`, nil, ""),
		query("securityMeasure", `query($id: ID!) { securityMeasure(id: $id) { id } }`, vars{"id": account.measure}, "NOT_FOUND"),
		query("assessments", `{ assessments { nodes { id title } } }`, nil, ""),
		query("assessment", `query($id: ID!) { assessment(id: $id) { id } }`, vars{"id": account.assessment}, "NOT_FOUND"),
		query("disclosures", `query($id: ID!) { disclosures(subject: $id) { nodes { id } } }`, vars{"id": b.person.ID}, "NOT_FOUND"),
		query("disclosure", `query($id: ID!) { disclosure(id: $id) { id } }`, vars{"id": account.disclosure}, "NOT_FOUND"),
		query("myRecipients", `{ myRecipients { nodes { id } } }`, nil, "FORBIDDEN"),
		mutation("updateSecurityMeasure", "measure { id }", vars{"id": account.measure, "expectedVersion": 1, "status": "IN_PLACE"}, "NOT_FOUND"),
		mutation("retireSecurityMeasure", "measure { id }", vars{"id": account.measure, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("adoptSecurityMeasures", "measures { id }", vars{}, "PRECONDITION"),
		mutation("createAssessment", "assessment { id }", vars{"kind": "LIA", "title": "walk", "owner": people.Viewer.ID}, "NOT_FOUND"),
		mutation("updateAssessment", "assessment { id }", weigh(vars{"title": "taken"}), "NOT_FOUND"),
		mutation("screenOutAssessment", "assessment { id }", weigh(vars{"reason": "taken"}), "NOT_FOUND"),
		mutation("beginAssessment", "assessment { id }", weigh(vars{}), "NOT_FOUND"),
		mutation("submitAssessment", "assessment { id }", weigh(vars{}), "NOT_FOUND"),
		mutation("adviseOnAssessment", "assessment { id }", weigh(vars{"opinion": "FAVOURABLE", "text": "x"}), "FORBIDDEN"),
		mutation("consultAuthority", "assessment { id }", weigh(vars{"authority": "x", "receivedOn": "2026-01-01"}), "NOT_FOUND"),
		mutation("noteConsultation", "assessment { id }", weigh(vars{"note": "EXTENDED", "on": "2026-01-01"}), "NOT_FOUND"),
		mutation("approveAssessment", "assessment { id }", weigh(vars{"reason": "x"}), "NOT_FOUND"),
		mutation("rejectAssessment", "assessment { id }", weigh(vars{"reason": "x"}), "NOT_FOUND"),
		mutation("reviseAssessment", "assessment { id }", weigh(vars{}), "NOT_FOUND"),
		mutation("demandAssessmentReview", "assessment { id }", weigh(vars{"reason": "x"}), "NOT_FOUND"),
		mutation("recordDisclosures", "disclosures { id }", vars{"disclosures": []vars{{
			"subject": b.person.ID, "recipient": account.party, "categories": []string{"pd:Name"}, "legalBasis": "eu-gdpr:A6-1-c", "purpose": "x",
			"at": "2026-01-02T09:00:00Z",
		}}}, "NOT_FOUND"),
		mutation("correctDisclosure", "disclosure { id }", vars{"id": account.disclosure, "reason": "x"}, "NOT_FOUND"),
		query("retentionRules", `{ retentionRules { nodes { id dataset } } }`, nil, ""),
		query("retentionTemplates", `{ retentionTemplates { id } }`, nil, ""),
		query("holds", `{ holds { nodes { id reason } } }`, nil, ""),
		query("retentionDue", `{ retentionDue(by: "2060-01-01") { nodes { id subject } } }`, nil, ""),
		query("sparedIdentity", `query($id: ID!, $dataset: ID!) { sparedIdentity(subject: $id, dataset: $dataset) { subject } }`, vars{"id": b.person.ID, "dataset": b.dataset.ID}, "NOT_FOUND"),
		mutation("reissueAnswer", "export { id }", vars{"id": wished.ID, "item": wished.Items[0].ID}, "NOT_FOUND"),
		query("previewErasure", `query($id: ID!) { previewErasure(subject: $id) { hash } }`, vars{"id": b.person.ID}, "NOT_FOUND"),
		query("previewRestriction", `query($id: ID!) { previewRestriction(subject: $id, ground: "18(1)(a)") { hash } }`, vars{"id": b.person.ID}, "NOT_FOUND"),
		query("restriction", `query($id: ID!) { restriction(subject: $id) { subject } }`, vars{"id": b.person.ID}, "NOT_FOUND"),
		mutation("announceLifting", "restriction { subject }", vars{
			"request": wished.ID, "item": wished.Items[0].ID, "liftOn": "2060-01-02", "reason": "x", "consequences": "x",
		}, "NOT_FOUND"),
		mutation("weighObjection", "request { id }", handle(vars{
			"item": wished.Items[0].ID, "processing": "x", "grounds": "x", "balance": "x", "verdict": "UPHELD",
		}), "NOT_FOUND"),
		mutation("reviewDecision", "request { id }", handle(vars{
			"item": wished.Items[0].ID, "mayChange": true, "view": "x", "explanation": "x", "reasons": "x", "result": "x", "finding": "CHANGED",
		}), "NOT_FOUND"),
		mutation("planCorrection", "request { id }", handle(vars{"item": wished.Items[0].ID}), "NOT_FOUND"),
		mutation("liftRestriction", "restriction { subject }", vars{"subject": b.person.ID, "item": wished.Items[0].ID}, "NOT_FOUND"),
		query("erasureCertificate", `query($id: ID!) { erasureCertificate(number: $id) { number } }`, vars{"id": strings.Replace(b.person.ID, "sub_", "crt_", 1)}, "NOT_FOUND"),
		query("erasureCertificates", `query($id: ID!) { erasureCertificates(cause: $id) { number } }`, vars{"id": b.person.ID}, ""),
		query("retentionOf", `query($id: ID!) { retentionOf(subject: $id) { id } }`, vars{"id": b.person.ID}, "NOT_FOUND"),
		query("retentionRuns", `{ retentionRuns { nodes { id } } }`, nil, ""),
		query("retentionSettings", `{ retentionSettings { version } }`, nil, ""),
		query("holidayCalendar", `{ holidayCalendar(year: 2026) { version } }`, nil, ""),
		mutation("createRetentionRule", "rule { id }", vars{"dataset": b.dataset.ID, "template": "dk-hvl-30-relation"}, "NOT_FOUND"),
		mutation("reviseRetentionRule", "rule { id }", vars{"id": ruled.rule, "expectedVersion": 1, "textEn": "x"}, "NOT_FOUND"),
		mutation("retireRetentionRule", "rule { id }", vars{"id": ruled.rule, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("placeHold", "hold { id }", vars{
			"scope": vars{"persons": []string{b.person.ID}}, "exception": "E17_3_E", "legalSource": "x", "reason": "x", "reviewOn": "2040-01-01",
		}, "INVALID"),
		mutation("releaseHold", "hold { id }", vars{"id": ruled.hold}, "NOT_FOUND"),
		mutation("approveRetentionRun", "run { id }", vars{"id": ruled.run}, "NOT_FOUND"),
		mutation("dismissRetentionRun", "run { id }", vars{"id": ruled.run}, "NOT_FOUND"),
		mutation("changeRetentionSettings", "settings { version }", vars{"expectedVersion": 99, "cap": 1}, "CONFLICT"),
		mutation("changeHolidays", "version", vars{"expectedNumber": 99}, "CONFLICT"),
		query("datasets", `{ datasets { id name fields { id key } } }`, nil, ""),
		query("dataset", `query($id: ID!) { dataset(id: $id) { id } }`, vars{"id": b.dataset.ID}, "NOT_FOUND"),
		query("subjects", `{ subjects { totalCount nodes { id reference } } }`, nil, ""),
		query("subject", `query($id: ID!) { subject(id: $id) { id } }`, vars{"id": b.person.ID}, "NOT_FOUND"),
		query("record", `query($id: ID!) { record(id: $id) { id } }`, vars{"id": b.record.ID}, "NOT_FOUND"),
		query("findRecords", `query($by: RecordBy!) { findRecords(by: $by) { nodes { id } } }`,
			vars{"by": vars{"dataset": b.dataset.ID, "field": "title", "value": b.title}}, "NOT_FOUND"),
		query("export", `query($id: ID!) { export(id: $id) { id } }`, vars{"id": b.export.ID}, "NOT_FOUND"),
		query("job", `query($id: ID!) { job(id: $id) { id } }`, vars{"id": b.export.Job.ID}, "NOT_FOUND"),
		query("permissions", `query($on: ID) { permissions(on: $on) }`, vars{"on": b.record.ID}, "NOT_FOUND"),
		query("can", `query($on: ID) { can(action: RECORD_READ, on: $on) { allowed } }`, vars{"on": b.person.ID}, "NOT_FOUND"),
		query("explainDecision", `query($in: ExplainDecisionInput!) { explainDecision(input: $in) { allowed } }`,
			vars{"in": vars{"action": "DATASET_READ", "on": b.dataset.ID}}, "NOT_FOUND"),
		query("tenantPolicies", `{ tenantPolicies { nodes { id name } } }`, nil, ""),
		query("policySchema", `{ policySchema }`, nil, ""),
		query("importMappings", `{ importMappings { id name document } }`, nil, ""),
		query("auditLog", `{ auditLog { nodes { id object subjects { id } } } }`, nil, ""),
		query("auditEntry", `query($id: ID!) { auditEntry(id: $id) { id } }`, vars{"id": entry}, "NOT_FOUND"),
		query("auditProof", `query($id: ID!) { auditProof(entry: $id) { document } }`, vars{"id": entry}, "NOT_FOUND"),
		query("auditConsistency", `{ auditConsistency(from: 0, to: 0) { path } }`, nil, "NOT_FOUND"),
		query("auditVerification", `{ auditVerification { sound } }`, nil, ""),
		query("auditExport", `query($id: ID!) { auditExport(id: $id) { id } }`, vars{"id": strings.Replace(entry, "aud_", "aux_", 1)}, "NOT_FOUND"),
		query("selfAccessLog", `{ selfAccessLog { nodes { id } } }`, nil, "FORBIDDEN"),
		mutation("sealAudit", "state { number }", vars{"entry": entry}, "NOT_FOUND"),
		mutation("exportAudit", "export { id }", vars{"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "INVALID"),
		query("changes", `{ changes { nodes { id object subjects } } }`, nil, ""),
		query("webhooks", `{ webhooks { id url } }`, nil, ""),
		query("deliveries", `query($id: ID!) { deliveries(webhook: $id) { nodes { id } } }`, vars{"id": hooked.ID}, "NOT_FOUND"),

		mutation("updateWebhook", "webhook { id }", vars{"id": hooked.ID, "expectedVersion": hooked.Version, "events": []string{"*"}}, "NOT_FOUND"),
		mutation("deleteWebhook", "id", vars{"id": hooked.ID}, "NOT_FOUND"),
		mutation("verifyWebhook", "webhook { id }", vars{"id": hooked.ID}, "NOT_FOUND"),
		mutation("rotateWebhookSecret", "webhook { id }", vars{"id": hooked.ID}, "NOT_FOUND"),
		mutation("redeliver", "delivery { id }", vars{"delivery": told.ID}, "NOT_FOUND"),

		query("vocabulary", `{ vocabulary(kind: RIGHT) { version terms { id } } }`, nil, ""),
		query("purposes", `{ purposes { nodes { id key texts { name } } } }`, nil, ""),
		query("purpose", `{ purpose(key: "walk.letters") { id } }`, nil, "NOT_FOUND"),
		query("unregisteredPurposes", `{ unregisteredPurposes }`, nil, ""),
		query("notices", `{ notices(purpose: "walk.letters") { nodes { id key } } }`, nil, ""),
		query("currentNotice", `{ currentNotice(tenantSlug: "nobody-of-that-name", purpose: "walk.letters") { text { title } } }`, nil, "NOT_FOUND"),
		query("consentReceipt", `query($id: ID!) { consentReceipt(consent: $id) { document } }`,
			vars{"id": "cns_" + strings.TrimPrefix(foreign, "ten_") + strings.Repeat("a", 26)}, "NOT_FOUND"),
		query("myConsentReceipt", `query($id: ID!) { myConsentReceipt(consent: $id) { document } }`,
			vars{"id": "cns_" + strings.TrimPrefix(foreign, "ten_") + strings.Repeat("a", 26)}, "FORBIDDEN"),
		query("consentState", `query($id: ID!) { consentState(subject: $id, purpose: "walk.letters") { state } }`, vars{"id": b.person.ID}, "NOT_FOUND"),
		query("consentStates", `query($id: ID!) { consentStates(subject: $id) { state } }`, vars{"id": b.person.ID}, "NOT_FOUND"),
		query("consentHistory", `query($id: ID!) { consentHistory(subject: $id) { nodes { id } } }`, vars{"id": b.person.ID}, "NOT_FOUND"),
		query("consents", `{ consents { nodes { id subject } } }`, nil, ""),
		query("consentReport", `{ consentReport(purposes: ["walk.letters"]) { standing { count } months { count } } }`, nil, ""),
		query("erasureChecks", `{ erasureChecks { nodes { id subject } } }`, nil, ""),
		query("childAges", `{ childAges { country age } }`, nil, ""),
		query("myConsents", `{ myConsents { state } }`, nil, "FORBIDDEN"),
		query("myConsentHistory", `{ myConsentHistory { nodes { id } } }`, nil, "FORBIDDEN"),
		mutation("requestConsent", "consent { id }", vars{"subject": b.person.ID, "purpose": purpose, "notice": notice}, "NOT_FOUND"),
		mutation("giveConsent", "consent { id }", vars{"subject": b.person.ID, "purpose": purpose, "notice": notice}, "NOT_FOUND"),
		mutation("refuseConsent", "consent { id }", vars{"subject": b.person.ID, "purpose": purpose, "notice": notice}, "NOT_FOUND"),
		mutation("deferConsent", "consent { id }", vars{"subject": b.person.ID, "purpose": purpose, "notice": notice}, "NOT_FOUND"),
		mutation("withdrawConsent", "consent { id }", vars{"subject": b.person.ID, "purpose": "walk.letters"}, "NOT_FOUND"),
		mutation("renewConsent", "consent { id }", vars{"subject": b.person.ID, "purpose": "walk.letters"}, "NOT_FOUND"),
		mutation("revokeConsent", "consent { id }", vars{"subject": b.person.ID, "purpose": "walk.letters"}, "NOT_FOUND"),
		mutation("answerConsents", "consents { id }",
			vars{"subject": b.person.ID, "answers": []vars{{"purpose": purpose, "notice": notice, "answer": "GIVE"}}}, "NOT_FOUND"),
		mutation("answerMyConsents", "consents { id }", vars{"answers": []vars{{"purpose": purpose, "notice": notice, "answer": "GIVE"}}}, "FORBIDDEN"),
		mutation("invalidateConsents", "job { id }", vars{"notice": notice, "cause": "DEFECTIVE", "reason": "x"}, "NOT_FOUND"),
		mutation("updatePurpose", "purpose { id }", vars{"id": purpose, "expectedEdit": 1, "content": letters()}, "NOT_FOUND"),
		mutation("revisePurpose", "purpose { id }", vars{"id": purpose, "material": false, "reason": "x"}, "NOT_FOUND"),
		mutation("publishPurpose", "purpose { id }", vars{"id": purpose, "expectedEdit": 1}, "NOT_FOUND"),
		mutation("retirePurpose", "purpose { id }", vars{"id": purpose}, "NOT_FOUND"),
		mutation("createNotice", "notice { id }", vars{"key": "walk", "content": aboutLetters("walk.letters")}, "NOT_FOUND"),
		mutation("updateNotice", "notice { id }", vars{"id": notice, "expectedEdit": 1, "content": aboutLetters("walk.letters")}, "NOT_FOUND"),
		mutation("reviseNotice", "notice { id }", vars{"id": notice, "material": false, "reason": "x"}, "NOT_FOUND"),
		mutation("publishNotice", "notice { id }", vars{"id": notice, "expectedEdit": 1}, "NOT_FOUND"),
		mutation("withdrawNotice", "notice { id }", vars{"id": notice}, "NOT_FOUND"),

		query("self", `{ self { subject { id } } }`, nil, "FORBIDDEN"),
		mutation("signOutSubject", "count", vars{}, "FORBIDDEN"),
		mutation("signInSubjectWithIdentity", "token", vars{"tenantSlug": "nobody-of-that-name"}, "PRECONDITION"),
		mutation("requestSubjectCode", "challenge", vars{"tenantSlug": "nobody-of-that-name", "email": b.person.Emails[0]}, "NOT_FOUND"),
		mutation("signInSubject", "token",
			vars{"challenge": "chl_" + strings.TrimPrefix(foreign, "ten_") + strings.Repeat("a", 26), "code": "00000000"}, "UNAUTHENTICATED"),
		query("securityEvents", `{ securityEvents { nodes { id description group } } }`, nil, ""),
		query("securityEvent", `query($id: ID!) { securityEvent(id: $id) { id } }`, vars{"id": happened}, "NOT_FOUND"),
		query("detectors", `{ detectors { detector threshold } }`, nil, ""),
		mutation("addSecurityEventActivity", "event { id }", vars{"id": happened, "at": "2024-01-01T00:00:00Z", "text": "x"}, "NOT_FOUND"),
		mutation("correctSecurityEvent", "event { id }",
			vars{"id": happened, "expectedVersion": 1, "reason": "it is not ours", "severity": "LOW"}, "NOT_FOUND"),
		mutation("disposeSecurityEvent", "event { id }",
			vars{"id": happened, "expectedVersion": 1, "reason": "it is not ours", "disposition": "BENIGN"}, "NOT_FOUND"),

		query("requests", `{ requests { nodes { id contact letters { text } } } }`, nil, ""),
		query("request", `query($id: ID!) { request(id: $id) { id } }`, vars{"id": wished.ID}, "NOT_FOUND"),
		query("myRequests", `{ myRequests { nodes { id } } }`, nil, "FORBIDDEN"),
		query("requestStatistics", `{ requestStatistics(from: "2026-01-01", to: "2027-06-01") { rows { received } } }`, nil, ""),
		query("recipientNotices", `query($id: ID!) { recipientNotices(request: $id) { nodes { id } } }`, vars{"id": wished.ID}, "NOT_FOUND"),
		query("myRecipientNotices", `{ myRecipientNotices { nodes { id } } }`, nil, "FORBIDDEN"),
		query("recipientEndpoints", `{ recipientEndpoints { party webhook } }`, nil, ""),
		mutation("sendNotice", "notice { id }", vars{"id": chores.notice, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("acknowledgeNotice", "notice { id }", vars{"id": chores.notice, "expectedVersion": 1, "result": "DONE"}, "NOT_FOUND"),
		mutation("excuseNotice", "notice { id }", vars{"id": chores.notice, "expectedVersion": 1, "exception": "IMPOSSIBLE", "reason": "x"}, "NOT_FOUND"),
		mutation("setRecipientEndpoint", "endpoint { party }", vars{"party": kept.party}, "NOT_FOUND"),
		query("taskTemplates", `{ taskTemplates { nodes { id name } } }`, nil, ""),
		query("tasks", `query($id: ID!) { tasks(request: $id) { nodes { id } } }`, vars{"id": wished.ID}, "NOT_FOUND"),
		query("myTasks", `{ myTasks { nodes { id name } } }`, nil, ""),
		mutation("createTaskTemplate", "template { id }", vars{"right": "ACCESS", "form": vars{"name": foreign, "stage": "LATER"}}, "INVALID"),
		mutation("updateTaskTemplate", "template { id }", vars{"id": chores.template, "expectedVersion": 1, "form": vars{"name": "x", "stage": "PRE"}}, "NOT_FOUND"),
		mutation("retireTaskTemplate", "template { id }", vars{"id": chores.template, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("createTask", "task { id }", vars{"request": wished.ID, "item": wished.Items[0].ID, "form": vars{"name": "x", "stage": "PRE"}}, "NOT_FOUND"),
		mutation("assignTask", "task { id }", vars{"id": chores.task, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("commentTask", "task { id }", vars{"id": chores.task, "text": "x"}, "NOT_FOUND"),
		mutation("completeTask", "task { id }", vars{"id": chores.task, "expectedVersion": 1}, "NOT_FOUND"),
		mutation("cancelTask", "task { id }", vars{"id": chores.task, "expectedVersion": 1, "reason": "x"}, "NOT_FOUND"),
		mutation("openRequest", "request { id }", vars{"subject": b.person.ID, "channel": "PHONE", "receivedAt": "2026-01-02T09:00:00Z", "items": []vars{{"type": "ACCESS"}}}, "NOT_FOUND"),
		mutation("openMyRequest", "request { id }", vars{"items": []vars{{"type": "ACCESS"}}}, "FORBIDDEN"),
		mutation("withdrawMyRequest", "request { id }", vars{"id": wished.ID}, "FORBIDDEN"),
		mutation("forwardRequest", "request { id }", handle(vars{"to": "x"}), "NOT_FOUND"),
		mutation("askIdentity", "request { id }", handle(vars{"reasonForDoubt": "x", "asked": "x", "proportionality": "x"}), "NOT_FOUND"),
		mutation("remindRequester", "request { id }", handle(vars{}), "NOT_FOUND"),
		mutation("identifyRequester", "request { id }", handle(vars{"subject": b.person.ID, "method": "KNOWN_FACTS"}), "NOT_FOUND"),
		mutation("giveUpIdentity", "request { id }", handle(vars{}), "NOT_FOUND"),
		mutation("askToClarify", "request { id }", handle(vars{"reason": "x"}), "NOT_FOUND"),
		mutation("clarifyRequest", "request { id }", handle(vars{"reason": "x"}), "NOT_FOUND"),
		mutation("extendRequest", "request { id }", handle(vars{"reason": "x"}), "NOT_FOUND"),
		mutation("decideItem", "request { id }", handle(vars{"item": wished.Items[0].ID, "outcome": "FULFILLED"}), "NOT_FOUND"),
		mutation("answerSearch", "request { id }", handle(vars{"system": "x", "result": "NONE"}), "NOT_FOUND"),
		mutation("submitRequest", "request { id }", handle(vars{}), "NOT_FOUND"),
		mutation("sendBackRequest", "request { id }", handle(vars{"reason": "x"}), "NOT_FOUND"),
		mutation("approveRequest", "request { id }", handle(vars{"holds": true, "exceptions": true, "rightsOfOthers": true, "secrecy": true}), "NOT_FOUND"),
		mutation("respondRequest", "request { id }", handle(vars{"channel": "LETTER", "hash": "x", "at": "2026-01-02T09:00:00Z"}), "NOT_FOUND"),
		mutation("confirmDelivery", "request { id }", handle(vars{}), "NOT_FOUND"),
		mutation("closeRequest", "request { id }", handle(vars{}), "NOT_FOUND"),
		mutation("reopenRequest", "request { id }", handle(vars{"reason": "x", "items": []string{wished.Items[0].ID}}), "NOT_FOUND"),
		mutation("withdrawRequest", "request { id }", handle(vars{"statement": "x"}), "NOT_FOUND"),
		mutation("assignRequest", "request { id }", handle(vars{}), "NOT_FOUND"),
		mutation("commentRequest", "request { id }", vars{"id": wished.ID, "text": "x"}, "NOT_FOUND"),
		mutation("correctReceipt", "request { id }", handle(vars{"receivedAt": "2026-01-02T09:00:00Z", "reason": "x"}), "NOT_FOUND"),
		mutation("overrulePause", "request { id }", handle(vars{"pause": 0, "reason": "x"}), "NOT_FOUND"),
		mutation("announceFee", "request { id }", handle(vars{"reason": "x"}), "NOT_FOUND"),
		mutation("grantDownload", "grant { url }", vars{"object": wished.Letters[0].ID}, "NOT_FOUND"),
		query("members", `{ members { nodes { id email } } }`, nil, ""),
		query("member", `query($id: ID!) { member(id: $id) { id } }`, vars{"id": people.Viewer.ID}, "NOT_FOUND"),
		query("sessions", `{ sessions { id } }`, nil, ""),
		query("operatorAccess", `{ operatorAccess { nodes { id reason } } }`, nil, ""),
		mutation("resendInvitation", "member { id }", vars{"id": people.Viewer.ID}, "NOT_FOUND"),
		mutation("acceptInvitation", "membership { tenant }",
			vars{"token": "vgi_" + strings.TrimPrefix(people.Viewer.ID, "mem_") + "_" + strings.Repeat("a", 32)}, "NOT_FOUND"),
		mutation("changeMember", "member { id }", vars{"id": people.Viewer.ID, "expectedVersion": 2, "role": "DPO"}, "NOT_FOUND"),
		mutation("removeMember", "member { id }", vars{"id": people.Viewer.ID, "expectedVersion": 2}, "NOT_FOUND"),
		mutation("revokeSession", "id", vars{"id": people.Sessions[0].ID}, "NOT_FOUND"),
		mutation("revokeOtherSessions", "count", vars{"keep": people.Sessions[0].ID}, "NOT_FOUND"),
		query("vaultStatus", `{ vaultStatus { epochs { epoch } closes { id } } }`, nil, "FORBIDDEN"),
		query("vaultErasures", `{ vaultErasures { nodes { id tenant } } }`, nil, "FORBIDDEN"),
		query("epochClose", `{ epochClose(id: "epc_x") { id } }`, nil, "FORBIDDEN"),
		mutation("requestEpochClose", "close { id }", vars{"epoch": 1}, "FORBIDDEN"),
		mutation("approveEpochClose", "close { id }", vars{"id": "epc_x"}, "FORBIDDEN"),
		mutation("haltEpochClose", "close { id }", vars{"id": "epc_x"}, "FORBIDDEN"),
		query("keyRotations", `{ keyRotations { nodes { id tenant } } }`, nil, "FORBIDDEN"),
		mutation("rotateDataKeys", "rotation { id }", vars{"tenant": foreign}, "FORBIDDEN"),
		mutation("haltKeyRotation", "rotation { id }", vars{"id": "rot_x"}, "FORBIDDEN"),
		mutation("rebuildLookups", "tenants", vars{}, "FORBIDDEN"),
		mutation("requestKeyQuarantine", "quarantine { id }", vars{"key": "x", "reason": "it doesn't open"}, "FORBIDDEN"),
		mutation("approveKeyQuarantine", "quarantine { id }", vars{"id": "qua_x"}, "FORBIDDEN"),
		mutation("releaseKeyQuarantine", "quarantine { id }", vars{"id": "qua_x"}, "FORBIDDEN"),
		mutation("enterTenant", "access { id }", vars{"tenant": foreign, "reason": "ticket 4711", "minutes": 1}, "FORBIDDEN"),
		mutation("leaveTenant", "access { id }", vars{"tenant": foreign}, "NOT_FOUND"),
		mutation("addDatasetField", "dataset { id }", vars{"dataset": b.dataset.ID, "expectedVersion": b.dataset.Version, "field": field}, "NOT_FOUND"),
		mutation("renameDatasetField", "dataset { id }",
			vars{"dataset": b.dataset.ID, "expectedVersion": b.dataset.Version, "field": b.dataset.Fields[0].ID, "key": "renamed"}, "NOT_FOUND"),
		mutation("retireDataset", "dataset { id }", vars{"dataset": b.dataset.ID, "expectedVersion": b.dataset.Version}, "NOT_FOUND"),
		mutation("requestExport", "job { id }", vars{"subject": b.person.ID}, "NOT_FOUND"),
		mutation("grantDownload", "grant { url }", vars{"object": b.file}, "NOT_FOUND"),
		mutation("grantDownload", "grant { url }", vars{"object": b.export.ID}, "NOT_FOUND"),
		mutation("retryJob", "job { id }", vars{"id": b.export.Job.ID}, "NOT_FOUND"),
		mutation("writeRecord", "record { id }",
			vars{"subject": b.person.ID, "dataset": b.dataset.ID, "origin": "PROVIDED", "fields": values}, "NOT_FOUND"),
		mutation("upsertRecord", "record { id }",
			vars{"subject": b.person.ID, "dataset": b.dataset.ID, "key": "k", "origin": "PROVIDED", "fields": values}, "NOT_FOUND"),
		mutation("updateRecord", "record { id }", vars{"id": b.record.ID, "expectedVersion": b.record.Version, "fields": values}, "NOT_FOUND"),
		query("standardLetters", `{ standardLetters { letter } }`, nil, ""),
		query("letterTemplates", `{ letterTemplates { nodes { id source } } }`, nil, ""),
		query("previewLetter", `query($input: PreviewLetterInput!) { previewLetter(input: $input) { text } }`, vars{"input": vars{"letter": "one-time-code", "language": "en"}}, ""),
		mutation("approveLetterTemplate", "template { id }", vars{"id": template}, "NOT_FOUND"),
		mutation("withdrawLetterTemplate", "template { id }", vars{"id": template}, "NOT_FOUND"),
		mutation("approveTenantPolicy", "policy { id }", vars{"id": policy}, "NOT_FOUND"),
		mutation("retireTenantPolicy", "policy { id }", vars{"id": policy}, "NOT_FOUND"),
		mutation("deleteRecord", "id", vars{"id": b.record.ID}, "NOT_FOUND"),
		mutation("updateSubject", "subject { id }",
			vars{"id": b.person.ID, "expectedVersion": b.person.Version, "emails": []string{}}, "NOT_FOUND"),
		mutation("startRelation", "relation { id }", vars{"subject": b.person.ID, "kind": "OTHER", "startedOn": "2024-01-01"}, "NOT_FOUND"),
		mutation("endRelation", "relation { id }", vars{"subject": b.person.ID, "relation": b.relation, "endedOn": "2024-03-01"}, "NOT_FOUND"),
		mutation("updateTenant", "tenant { id }", vars{"id": foreign, "expectedVersion": tree.Version, "legalName": "Taken ApS"}, "NOT_FOUND"),
		mutation("revokeApiKey", "apiKey { id }", vars{"id": key.APIKey.ID}, "NOT_FOUND"),
		mutation("updateApiKey", "apiKey { id }", vars{"id": key.APIKey.ID, "expectedVersion": 1, "name": "taken"}, "NOT_FOUND"),
		mutation("rotateApiKey", "secret", vars{"id": key.APIKey.ID, "overlapHours": 0}, "NOT_FOUND"),
		mutation("rotateOAuthClientSecret", "oauthClient { id }", vars{"id": machine}, "NOT_FOUND"),
		mutation("revokeOAuthClient", "oauthClient { id }", vars{"id": machine}, "NOT_FOUND"),
		query("createTenant", createTenantDocument, newTenant("stranger@third.example"), "FORBIDDEN"),
	}
	for by, value := range map[string]any{
		"reference": b.human.reference, "email": b.person.Emails[0], "phone": b.human.phone,
		"nameAndBirthDate": vars{"name": b.human.name, "birthDate": b.human.birthDate},
	} {
		calls = append(calls, query("findSubjects", `query($by: SubjectBy!) { findSubjects(by: $by) { totalCount nodes { id } } }`,
			vars{"by": vars{by: value}}, ""))
	}
	for _, id := range []string{
		b.person.ID, b.record.ID, b.dataset.ID, b.file, b.export.ID, b.export.Job.ID, foreign, key.APIKey.ID, mapping.ID, policy, template,
		b.imported.ID, happened, machine, b.relation, b.dataset.Fields[0].ID, people.Viewer.ID, kept.party, kept.system, kept.activity, kept.register, account.measure, account.assessment, account.disclosure,
		purpose, notice, wished.ID,
	} {
		calls = append(calls, query("node", `query($id: ID!) { node(id: $id) { id } }`, vars{"id": id}, "NOT_FOUND"))
	}
	secrets := append(p.secrets(), people.Viewer.ID, people.Sessions[0].ID, key.APIKey.ID, mapping.ID, mapping.Name, b.dataset.ID, b.person.ID, b.record.ID)
	before := p.view(t, mine, b)
	tried := map[string]bool{}
	for _, call := range calls {
		tried[call.name] = true
		data, faults := stranger.graphql(t, call.document, call.input)
		code := ""
		if len(faults) > 0 {
			code = faults[0].Extensions.Code
		}
		if code != call.want {
			t.Errorf("%s: got %s %+v, want %s", call.name, data, faults, call.want)
		}
		told, err := json.Marshal(faults)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range append(secrets, foreign) {
			if bytes.Contains(append(told, data...), []byte(secret)) {
				t.Errorf("%s tells of the first tenant: %s %s", call.name, data, told)
			}
		}
	}
	// These take no id of anything: they make things of the stranger's own.
	for _, own := range []string{"recordSecurityEvent", "changeDetector", "proposeTenantPolicy", "proposeLetterTemplate", "createSubject", "createDataset", "saveImportMapping", "createApiKey", "createOAuthClient", "upsertSubject", "inviteMember", "signOut", "createWebhook", "createSecurityMeasure", "createPurpose", "createParty"} {
		tried[own] = true
	}
	upsertSubject(t, p, b)
	for _, name := range rootFields(t, mine) {
		if !tried[name] {
			t.Errorf("the walk doesn't try %s", name)
		}
	}
	walkAddresses(t, stranger, b, foreign)
	if after := p.view(t, mine, b); !reflect.DeepEqual(before, after) {
		t.Errorf("the stranger left a trace: %+v, was %+v", after, before)
	}
	if a := (client{mine.base, key.Secret}); refused(t, a, `{ apiKeys { id } }`, nil) != "FORBIDDEN" {
		t.Error("the key doesn't work any more")
	}
	lists := ask[struct{ Datasets, ImportMappings []struct{ ID string } }](t, stranger, `{ datasets { id } importMappings { id } }`, nil)
	if len(lists.Datasets)+len(lists.ImportMappings) != 0 {
		t.Errorf("the stranger sees %+v", lists)
	}
}

// standardLetter returns the platform's text of a letter.
func standardLetter(t *testing.T, c client, letter, language string) string {
	t.Helper()
	for _, l := range ask[struct {
		StandardLetters []struct{ Letter, Language, Source string }
	}](t, c, `{ standardLetters { letter language source } }`, nil).StandardLetters {
		if l.Letter == letter && l.Language == language {
			return l.Source
		}
	}
	t.Fatalf("no letter %s in %s", letter, language)
	return ""
}

// secrets are the values noted so far.
func (p *platform) secrets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.planted...)
}

// view is how the first tenant's things look to it.
func (p *platform) view(t *testing.T, c client, b belongings) []any {
	t.Helper()
	return []any{
		c.person(t, b.person.ID), c.record(t, b.record.ID), c.export(t, b.export.ID),
		ask[any](t, c, `query($id: ID!) { dataset(id: $id) { name state version } tenant { legalName version } }`, vars{"id": b.dataset.ID}),
	}
}

// upsertSubject writes a person under the reference that the first tenant has,
// which must be another person.
func upsertSubject(t *testing.T, p *platform, b belongings) {
	t.Helper()
	c := p.machine(t, second)
	got := ask[struct {
		UpsertSubject struct{ Subject person }
	}](t, c, `mutation($input: UpsertSubjectInput!) { upsertSubject(input: $input) { subject {`+personFields+`} } }`,
		vars{"input": vars{"reference": b.human.reference}}).UpsertSubject.Subject
	if got.ID == b.person.ID || got.Name.Full != "" || len(got.Phones) > 0 {
		t.Error("upserting reached the first tenant's person")
	}
}

// rootFields are the names of all root fields, as the API tells them.
func rootFields(t *testing.T, c client) []string {
	t.Helper()
	a := c.call(t, http.MethodGet, "/schema.graphql", http.NoBody)
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: string(a.body)})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation} {
		for _, f := range root.Fields {
			if !strings.HasPrefix(f.Name, "__") {
				names = append(names, f.Name)
			}
		}
	}
	if len(schema.Subscription.Fields) != 1 {
		t.Error("the walk tries the subscription to jobs only")
	}
	return names
}

// walkAddresses tries everything outside GraphQL, and the subscription.
func walkAddresses(t *testing.T, stranger client, b belongings, foreign string) {
	t.Helper()
	ndjson := []string{"Content-Type", "application/x-ndjson", "Idempotency-Key", rand.Text()}
	subscription, err := json.Marshal(map[string]any{
		"query": `subscription($id: ID!) { job(id: $id) { id } }`, "variables": vars{"id": b.export.Job.ID},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     string
	}{
		{"upload", "PUT", uploadPath(b.person, b.dataset), "x", []string{"Vogter-File-Name", "x"}, 404, "NOT_FOUND"},
		{"import into a dataset", "POST", "/v1/imports?dataset=" + b.dataset.ID, "{}", ndjson, 404, "NOT_FOUND"},
		{"import by a mapping", "POST", "/v1/imports?mapping=legislators", "{}", ndjson, 404, "NOT_FOUND"},
		{"import", "GET", "/v1/imports/" + b.imported.ID, "", nil, 404, "NOT_FOUND"},
		{"link", "GET", b.link, "", nil, 404, "NOT_FOUND"},
		{"tenant by header", "POST", "/graphql", "{}", []string{"Vogter-Tenant", foreign}, 403, `"FORBIDDEN"`},
		{
			"subscription", "POST", "/graphql", string(subscription),
			[]string{"Content-Type", "application/json", "Accept", "text/event-stream"},
			200, `"code":"NOT_FOUND"`,
		},
	} {
		began := time.Now()
		a := stranger.call(t, tt.method, tt.path, strings.NewReader(tt.body), tt.headers...)
		if a.status != tt.status || !strings.Contains(string(a.body), tt.code) {
			t.Errorf("%s: %d %s, want %d %s", tt.name, a.status, a.body, tt.status, tt.code)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %s", tt.name, took)
		}
	}
}
