package e2e_test

import (
	"testing"
)

// accounts are what a tenant answers for its processing with.
type accounts struct{ measure, assessment, party, disclosure string }

// account has the first tenant's people make a security measure, weigh risks by it
// and decide, and note to whom a person's data went.
func (p *platform) account(t *testing.T, about person) accounts {
	t.Helper()
	handler, officer, owner := p.member(t, first, "CASE_HANDLER"), p.member(t, first, "DPO"), p.member(t, first, "OWNER")
	var made accounts
	made.measure = ask[struct {
		CreateSecurityMeasure struct{ Measure struct{ ID string } }
	}](t, handler, `mutation($input: CreateSecurityMeasureInput!) { createSecurityMeasure(input: $input) { measure { id } } }`,
		vars{"input": vars{
			"key": "face-blurring", "kind": "TECHNICAL", "term": "dpv:Pseudonymisation", "art32": []string{"A"}, "controls": []string{"B.8"},
			"texts": []vars{{"language": "da", "description": "Billeder sløres."}},
		}}).CreateSecurityMeasure.Measure.ID
	me := ask[struct{ Viewer struct{ ID string } }](t, handler, `{ viewer { id } }`, nil).Viewer.ID

	type assessment struct {
		ID      string
		State   string
		Version int64
		Dpia    struct {
			Risks []struct{ Before, After string }
		}
		Versions []struct {
			Number   int
			Decision struct{ By string }
		}
	}
	const fields = `assessment { id state version dpia { risks { before after } } versions { number decision { by } } }`
	var a assessment
	take := func(c client, name, kind string, in vars) {
		t.Helper()
		if a.ID != "" {
			in["id"], in["expectedVersion"] = a.ID, a.Version
		}
		a = ask[map[string]struct{ Assessment assessment }](t, c,
			`mutation($input: `+kind+`!) { `+name+`(input: $input) { `+fields+` } }`, vars{"input": in})[name].Assessment
	}
	risk := vars{
		"threat": "Billeder lækkes", "likelihoodBefore": "LIMITED", "severityBefore": "MAXIMUM", "likelihoodAfter": "NEGLIGIBLE",
		"severityAfter": "LIMITED", "measures": []string{made.measure},
	}
	take(handler, "createAssessment", "CreateAssessmentInput", vars{
		"kind": "DPIA", "title": "Ansigtsbilleder", "owner": me, "reviewOn": "2031-01-01",
		"screening": vars{"criteria": []string{"LARGE_SCALE_SPECIAL"}, "note": "Biometri"},
		"dpia": vars{
			"description": "Billeder sammenlignes.", "purposes": "Kundekendskab", "necessity": "Loven kræver det", "subjectViews": "Spurgt",
			"risks": []vars{risk}, "residualRisk": "LOW",
		},
	})
	if code := refused(t, handler, `mutation($input: ScreenOutAssessmentInput!) { screenOutAssessment(input: $input) { assessment { id } } }`,
		vars{"input": vars{"id": a.ID, "expectedVersion": a.Version, "reason": "Nej"}}); code != "PRECONDITION" {
		t.Errorf("screening out what is required: %s", code)
	}
	take(handler, "beginAssessment", "BeginAssessmentInput", vars{})
	take(handler, "submitAssessment", "SubmitAssessmentInput", vars{})
	approval := `mutation($input: ApproveAssessmentInput!) { approveAssessment(input: $input) { assessment { id } } }`
	decide := vars{"input": vars{"id": a.ID, "expectedVersion": a.Version, "reason": "Godt"}}
	for _, tt := range []struct {
		by   client
		code string
	}{{handler, "FORBIDDEN"}, {officer, "FORBIDDEN"}, {owner, "PRECONDITION"}} {
		if code := refused(t, tt.by, approval, decide); code != tt.code {
			t.Errorf("approving without advice: %s, want %s", code, tt.code)
		}
	}
	take(officer, "adviseOnAssessment", "AdviseOnAssessmentInput", vars{"opinion": "FAVOURABLE", "text": "Det kan ske."})
	take(owner, "approveAssessment", "ApproveAssessmentInput", vars{"reason": "Risikoen er lav."})
	if a.State != "APPROVED" || len(a.Versions) != 1 || a.Dpia.Risks[0].Before != "MEDIUM" || a.Dpia.Risks[0].After != "LOW" {
		t.Errorf("approved %+v", a)
	}
	made.assessment = a.ID

	made.party = ask[struct {
		CreateParty struct{ Party struct{ ID string } }
	}](t, handler, `mutation($input: CreatePartyInput!) { createParty(input: $input) { party { id } } }`,
		vars{"input": vars{"party": vars{"legalName": "Modtager ApS", "country": "DK", "roles": []string{"RECIPIENT"}}}}).CreateParty.Party.ID
	reference := "brev 4711 til naboen om arven"
	p.plant(reference)
	recorded := ask[struct {
		RecordDisclosures struct {
			Disclosures []struct{ ID, Reference string }
		}
	}](t, handler, `mutation($input: RecordDisclosuresInput!) { recordDisclosures(input: $input) { disclosures { id reference } } }`,
		vars{"input": vars{"disclosures": []vars{{
			"subject": about.ID, "recipient": made.party, "categories": []string{"pd:Name"}, "legalBasis": "eu-gdpr:A6-1-c", "purpose": "kyc",
			"at": "2026-01-02T09:00:00Z", "reference": reference,
		}}}}).RecordDisclosures.Disclosures
	if len(recorded) != 1 || recorded[0].Reference != reference {
		t.Fatalf("recorded %+v", recorded)
	}
	made.disclosure = recorded[0].ID
	listed := ask[struct {
		Disclosures struct {
			Nodes []struct{ ID, Recipient string }
		}
	}](t, officer, `query($id: ID!) { disclosures(subject: $id) { nodes { id recipient } } }`, vars{"id": about.ID}).Disclosures.Nodes
	if len(listed) == 0 || listed[0].ID != made.disclosure || listed[0].Recipient != made.party {
		t.Errorf("listed %+v", listed)
	}
	return made
}
