package e2e_test

import (
	"strings"
	"testing"
)

// keptThings are a tenant's rule, hold and a run's id.
type keptThings struct{ rule, hold, run string }

// keep has the first tenant's people say how long something is kept: a record isn't
// deleted before its time, nor under a hold, which another person releases.
func (p *platform) keep(t *testing.T) keptThings {
	t.Helper()
	mine, owner, handler := p.machine(t, first), p.member(t, first, "OWNER"), p.member(t, first, "CASE_HANDLER")
	d := mine.createDataset(t, "Kept for five years", vars{"key": "title", "type": "STRING"})
	about := mine.createPerson(t, vars{"reference": "keep-1"})
	rec := mine.write(t, about, d, vars{"title": "x"})
	relation := ask[struct {
		StartRelation struct{ Relation struct{ ID string } }
	}](t, mine, `mutation($input: StartRelationInput!) { startRelation(input: $input) { relation { id } } }`,
		vars{"input": vars{"subject": about.ID, "kind": "BUSINESS_RELATION", "startedOn": "2020-01-01"}}).StartRelation.Relation.ID

	made := keptThings{}
	made.rule = ask[struct {
		CreateRetentionRule struct {
			Rule struct{ ID, Period, Exception string }
		}
	}](t, owner, `mutation($input: CreateRetentionRuleInput!) { createRetentionRule(input: $input) { rule { id period exception } } }`,
		vars{"input": vars{"dataset": d.ID, "template": "dk-hvl-30-relation"}}).CreateRetentionRule.Rule.ID
	made.run = strings.Replace(made.rule, "rul_", "rtr_", 1)
	ask[struct {
		EndRelation struct{ Relation struct{ ID string } }
	}](t, mine, `mutation($input: EndRelationInput!) { endRelation(input: $input) { relation { id } } }`,
		vars{"input": vars{"subject": about.ID, "relation": relation, "endedOn": "2024-02-29"}})
	type decision struct {
		Dataset         *string
		Outcome, Reason string
		Date, KeepUntil *string
		Article         *string
		Rule            *struct{ ID string }
	}
	of := ask[struct{ RetentionOf []decision }](t, owner,
		`query($id: ID!) { retentionOf(subject: $id, requested: true) { dataset outcome reason date keepUntil article rule { id } } }`, vars{"id": about.ID}).RetentionOf
	if len(of) != 2 || of[0].Dataset == nil || of[0].Outcome != "ERASE_AT" || *of[0].KeepUntil != "2029-02-28" || *of[0].Date != "2029-03-01" ||
		*of[0].Article != "GDPR Art. 17(3)(b)" || of[0].Rule.ID != made.rule || of[1].Reason != "OTHER_PARTS" {
		t.Errorf("what is kept: %+v", of)
	}
	gone := `mutation($input: DeleteRecordInput!) { deleteRecord(input: $input) { id } }`
	if code := refused(t, mine, gone, vars{"input": vars{"id": rec.ID}}); code != "PRECONDITION" {
		t.Errorf("deleted before its time: %s", code)
	}

	reason := "The dispute with Kresten Æbleskov"
	p.plant(reason)
	place := func(by client) string {
		return ask[struct {
			PlaceHold struct{ Hold struct{ ID string } }
		}](t, by, `mutation($input: PlaceHoldInput!) { placeHold(input: $input) { hold { id } } }`,
			vars{"input": vars{"scope": vars{"persons": []string{about.ID}}, "exception": "E17_3_E", "legalSource": "Retsplejeloven", "reason": reason, "reviewOn": "2040-01-01"}}).PlaceHold.Hold.ID
	}
	made.hold = place(owner)
	release := `mutation($input: ReleaseHoldInput!) { releaseHold(input: $input) { hold { id state reason } } }`
	if code := refused(t, owner, release, vars{"input": vars{"id": made.hold}}); code != "FORBIDDEN" {
		t.Errorf("released by who placed it: %s", code)
	}
	released := ask[struct {
		ReleaseHold struct {
			Hold struct{ State, Reason string }
		}
	}](t, owner, release, vars{"input": vars{"id": place(handler)}}).ReleaseHold.Hold
	if released.State != "RELEASED" || released.Reason != reason {
		t.Errorf("released: %+v", released)
	}
	year := ask[struct {
		HolidayCalendar struct {
			Version  string
			Holidays []struct{ Date, Danish string }
		}
	}](t, owner, `{ holidayCalendar(year: 2026) { version holidays { date danish } } }`, nil).HolidayCalendar
	if year.Version != "DK/1" || len(year.Holidays) != 10 || year.Holidays[1].Danish != "skærtorsdag" {
		t.Errorf("holidays: %+v", year)
	}
	return made
}
