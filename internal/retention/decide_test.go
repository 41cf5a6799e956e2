package retention_test

import (
	"crypto/rand"
	"encoding/json"
	"math/big"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
)

const kyc = "dst_kyc"

func date(s string) civil.Date {
	d, err := civil.Parse(s)
	if err != nil {
		panic(err)
	}
	return d
}

func day(s string) *civil.Date {
	d := date(s)
	return &d
}

// rule makes a rule about the dataset kyc, out of a template when it names one.
func rule(t *testing.T, id, template string, change func(*retention.Rule)) *retention.Rule {
	t.Helper()
	all, err := retention.Templates()
	if err != nil {
		t.Fatal(err)
	}
	r := &retention.Rule{ID: id, State: retention.Active}
	if i := slices.IndexFunc(all, func(d *retention.Template) bool { return d.ID == template }); i >= 0 {
		d := all[i]
		r.Content = retention.Content{
			Template: &d.ID, Trigger: d.Trigger, Period: d.Period, Kind: d.Kind, LegalSource: d.LegalSource, Exception: d.Exception(),
			Restricted: d.Restricted, ValidFrom: d.ValidFrom, ValidTo: d.ValidTo,
		}
	} else if template != "" {
		t.Fatalf("no template %s", template)
	}
	unit := kyc
	r.Dataset = &unit
	if change != nil {
		change(r)
	}
	return r
}

func relation(kind subject.RelationKind, open bool, ended *civil.Date) map[subject.RelationKind]retention.Span {
	return map[subject.RelationKind]retention.Span{kind: {Open: open, Ended: ended}}
}

// The dated examples of the defaults' file.
func TestExamples(t *testing.T) {
	b, err := os.ReadFile("defaults/dk-defaults.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Examples []struct {
			Rule        string     `json:"rule"`
			TriggerDate civil.Date `json:"triggerDate"`
			KeepUntil   civil.Date `json:"keepUntil"`
			EraseFrom   civil.Date `json:"eraseFrom"`
		} `json:"examples"`
	}
	if err := json.Unmarshal(b, &f); err != nil || len(f.Examples) != 3 {
		t.Fatal(err, len(f.Examples))
	}
	for _, e := range f.Examples {
		d := retention.Datum{Unit: kyc, Requested: true, Dates: retention.Dates{
			Relations: relation(subject.BusinessRelation, false, &e.TriggerDate), Collected: &e.TriggerDate,
		}}
		r := rule(t, "r", e.Rule, func(r *retention.Rule) {
			if r.Trigger == retention.FinancialYearEnd {
				end := e.TriggerDate.String()[5:]
				r.YearEnd = &end
			}
		})
		rules := []*retention.Rule{r}
		got := retention.Decide(d, rules, nil, e.KeepUntil)
		if got.Outcome != retention.EraseAt || *got.KeepUntil != e.KeepUntil || *got.Date != e.EraseFrom || got.Rule != r || *got.Article != "GDPR Art. 17(3)(b)" {
			t.Errorf("%s on the last day: %+v", e.Rule, got)
		}
		if got := retention.Decide(d, rules, nil, e.EraseFrom); got.Outcome != retention.EraseNow || got.Reason != retention.Asked {
			t.Errorf("%s on the day after: %+v", e.Rule, got)
		}
	}
}

func TestDecide(t *testing.T) {
	ended := relation(subject.BusinessRelation, false, day("2024-02-29"))
	hvl := rule(t, "hvl", "dk-hvl-30-relation", nil)
	single := rule(t, "single", "dk-hvl-30-single", nil)
	books := rule(t, "books", "dk-bookkeeping", func(r *retention.Rule) { act := "act_books"; r.Activity = &act })
	proof := rule(t, "proof", "dk-evidence-consent", nil)
	profile := rule(t, "profile", "", func(r *retention.Rule) {
		act := "act_profile"
		r.Content = retention.Content{Dataset: r.Dataset, Activity: &act, Trigger: retention.LastActivity, Period: retention.Period{Years: 2}, Kind: retention.Max, Exception: retention.LegalObligation}
	})
	amlr := rule(t, "amlr", "eu-amlr-77-relation", nil)
	retired := rule(t, "retired", "dk-hvl-30-relation", func(r *retention.Rule) { r.State = retention.Retired })
	other := rule(t, "other", "dk-hvl-30-relation", func(r *retention.Rule) { unit := "dst_other"; r.Dataset = &unit })
	hold := func(s retention.Scope) *retention.Hold {
		return &retention.Hold{ID: "hld", State: retention.Placed, Scope: s, Exception: retention.LegalClaims}
	}
	over := hold(retention.Scope{Persons: []string{"sub_a"}})
	over.State = retention.Released

	for _, c := range []struct {
		name    string
		dates   retention.Dates
		rules   []*retention.Rule
		holds   []*retention.Hold
		today   string
		change  func(*retention.Datum)
		outcome retention.Outcome
		reason  retention.Reason
		from    string // "" for no date
		by      *retention.Rule
	}{
		{name: "within", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{hvl}, today: "2026-01-01", outcome: retention.EraseAt, reason: retention.Minimum, from: "2029-03-01", by: hvl},
		{name: "due", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{hvl}, today: "2029-03-01", outcome: retention.EraseNow, reason: retention.Due, from: "2029-03-01", by: hvl},
		{name: "relation open", dates: retention.Dates{Relations: relation(subject.BusinessRelation, true, day("2010-01-01"))}, rules: []*retention.Rule{hvl}, today: "2029-03-01", outcome: retention.Keep, reason: retention.Pending, by: hvl},
		{name: "no relation known", rules: []*retention.Rule{hvl, single}, today: "2040-01-01", outcome: retention.Keep, reason: retention.Pending, by: hvl},
		{name: "a single transaction only", dates: retention.Dates{Relations: relation(subject.SingleTransaction, false, day("2020-05-04"))}, rules: []*retention.Rule{hvl, single}, today: "2025-05-05", outcome: retention.EraseNow, reason: retention.Due, from: "2025-05-05", by: single},
		{name: "a relation after the transaction", dates: retention.Dates{Relations: map[subject.RelationKind]retention.Span{
			subject.SingleTransaction: {Ended: day("2020-05-04")}, subject.BusinessRelation: {Open: true},
		}}, rules: []*retention.Rule{hvl, single}, today: "2025-05-05", outcome: retention.Keep, reason: retention.Pending, by: hvl},
		{name: "a voucher, too", dates: retention.Dates{Relations: ended, Collected: day("2026-03-01")}, rules: []*retention.Rule{hvl, books}, today: "2029-03-01", outcome: retention.EraseAt, reason: retention.Minimum, from: "2032-01-01", by: books},
		{name: "and when that is over", dates: retention.Dates{Relations: ended, Collected: day("2026-03-01")}, rules: []*retention.Rule{hvl, books}, today: "2032-01-01", outcome: retention.EraseNow, reason: retention.Due, from: "2032-01-01", by: books},
		{name: "nothing demands that vouchers go", dates: retention.Dates{Collected: day("2010-03-01")}, rules: []*retention.Rule{books}, today: "2032-01-01", outcome: retention.Keep, reason: retention.NoMaximum},
		{name: "vouchers that must stay", dates: retention.Dates{Collected: day("2030-03-01")}, rules: []*retention.Rule{books}, today: "2032-01-01", outcome: retention.Keep, reason: retention.Minimum, by: books},
		{name: "no rule", today: "2032-01-01", outcome: retention.Keep, reason: retention.NoRule},
		{name: "retired", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{retired}, today: "2040-01-01", outcome: retention.Keep, reason: retention.NoRule},
		{name: "another dataset's", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{other}, today: "2040-01-01", outcome: retention.Keep, reason: retention.NoRule},
		{name: "not yet in force", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{amlr}, today: "2027-07-09", outcome: retention.Keep, reason: retention.NoRule},
		{name: "in force", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{amlr}, today: "2027-07-10", outcome: retention.EraseAt, reason: retention.Minimum, from: "2029-03-01", by: amlr},
		{name: "proof", dates: retention.Dates{Withdrawn: day("2026-01-31")}, rules: []*retention.Rule{proof}, today: "2026-02-01", outcome: retention.RestrictUntil, reason: retention.Minimum, from: "2031-02-01", by: proof},
		{name: "a maximum only", dates: retention.Dates{Activity: day("2024-08-31")}, rules: []*retention.Rule{profile}, today: "2025-01-01", outcome: retention.EraseAt, reason: retention.Within, from: "2026-09-01", by: profile},
		{name: "hold", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{hvl}, holds: []*retention.Hold{hold(retention.Scope{Persons: []string{"sub_a"}})}, today: "2029-03-01", outcome: retention.Keep, reason: retention.Held},
		{name: "hold on the dataset", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{hvl}, holds: []*retention.Hold{hold(retention.Scope{Datasets: []string{kyc}})}, today: "2029-03-01", outcome: retention.Keep, reason: retention.Held},
		{name: "hold on others", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{hvl}, holds: []*retention.Hold{
			hold(retention.Scope{Persons: []string{"sub_b"}, Datasets: []string{kyc}}), hold(retention.Scope{Persons: []string{"sub_a"}, Datasets: []string{"dst_other"}}), hold(retention.Scope{Cases: []string{"req_a"}}), over,
		}, today: "2029-03-01", outcome: retention.EraseNow, reason: retention.Due, from: "2029-03-01", by: hvl},
		{name: "restricted", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{hvl}, today: "2029-03-01", change: func(d *retention.Datum) { d.Restricted = true }, outcome: retention.Keep, reason: retention.InRestrict, by: hvl},

		{name: "asked: no rule", today: "2026-01-01", change: asked, outcome: retention.EraseNow, reason: retention.Asked},
		{name: "asked: a maximum doesn't keep", dates: retention.Dates{Activity: day("2025-12-31")}, rules: []*retention.Rule{profile}, today: "2026-01-01", change: asked, outcome: retention.EraseNow, reason: retention.Asked},
		{name: "asked: a minimum does", dates: retention.Dates{Relations: ended}, rules: []*retention.Rule{hvl, profile}, today: "2026-01-01", change: asked, outcome: retention.EraseAt, reason: retention.Minimum, from: "2029-03-01", by: hvl},
		{name: "asked: open", dates: retention.Dates{Relations: relation(subject.BusinessRelation, true, nil)}, rules: []*retention.Rule{hvl}, today: "2026-01-01", change: asked, outcome: retention.Keep, reason: retention.Pending, by: hvl},
		{name: "asked: held", holds: []*retention.Hold{hold(retention.Scope{Persons: []string{"sub_a"}})}, today: "2026-01-01", change: asked, outcome: retention.Keep, reason: retention.Held},
		{name: "asked: proof", dates: retention.Dates{Withdrawn: day("2026-01-31")}, rules: []*retention.Rule{proof}, today: "2026-02-01", change: asked, outcome: retention.RestrictUntil, reason: retention.Minimum, from: "2031-02-01", by: proof},
		{name: "asked: the person, with parts that stay", today: "2026-01-01", change: func(d *retention.Datum) { asked(d); d.Unit, d.Parts = retention.Person, true }, outcome: retention.Keep, reason: retention.OtherParts},
		{name: "the person, held for a part", today: "2026-01-01", holds: []*retention.Hold{hold(retention.Scope{Persons: []string{"sub_a"}, Datasets: []string{kyc}})}, change: func(d *retention.Datum) { asked(d); d.Unit = retention.Person }, outcome: retention.Keep, reason: retention.Held},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := retention.Datum{Subject: "sub_a", Unit: kyc, Dates: c.dates}
			if c.change != nil {
				c.change(&d)
			}
			got := retention.Decide(d, c.rules, c.holds, date(c.today))
			from := ""
			if got.Date != nil {
				from = got.Date.String()
			}
			if got.Outcome != c.outcome || got.Reason != c.reason || from != c.from || got.Rule != c.by {
				t.Errorf("%s %s from %q by %v", got.Outcome, got.Reason, from, got.Rule)
			}
		})
	}
}

func asked(d *retention.Datum) { d.Requested = true }

// Of two purposes the one that is over is named, while the other keeps the data.
func TestEnded(t *testing.T) {
	purpose := func(act string, years int) *retention.Rule {
		return rule(t, act, "", func(r *retention.Rule) {
			r.Content = retention.Content{Dataset: r.Dataset, Activity: &act, Trigger: retention.CollectedAt, Period: retention.Period{Years: years}, Kind: retention.Max}
		})
	}
	rules := []*retention.Rule{purpose("act_short", 1), purpose("act_long", 3), purpose("act_long", 4)}
	d := retention.Datum{Unit: kyc, Dates: retention.Dates{Collected: day("2024-01-01")}}
	got := retention.Decide(d, rules, nil, date("2025-06-01"))
	if got.Outcome != retention.EraseAt || got.Date.String() != "2027-01-02" || !slices.Equal(got.Ended, []string{"act_short"}) {
		t.Errorf("%+v", got)
	}
	if got := retention.Decide(d, rules, nil, date("2027-01-02")); got.Outcome != retention.EraseNow {
		t.Errorf("%+v", got)
	}
}

func TestPeriod(t *testing.T) {
	for in, want := range map[string]string{"P5Y": "P5Y", "P18M": "P18M", "P2W": "P14D", "P1Y6M3D": "P1Y6M3D", "P0D": "P0D"} {
		p, err := retention.ParsePeriod(in)
		if err != nil || p.String() != want {
			t.Errorf("%s: %s, %v", in, p, err)
		}
	}
	for _, bad := range []string{"", "P", "5Y", "P5", "PT5H", "P-1Y", "P101Y", "P1D5Y", "P5Y ", "P40000D"} {
		if _, err := retention.ParsePeriod(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// Whatever rules there are: a minimum is never undercut, a hold always keeps, and
// time only ever brings erasure nearer.
func TestProperties(t *testing.T) {
	triggers := []retention.Trigger{retention.BusinessRelationEnd, retention.SingleTransactionDone, retention.FinancialYearEnd, retention.ConsentWithdrawn, retention.LastActivity, retention.CollectedAt}
	kinds := []retention.Kind{retention.Min, retention.Max, retention.MinAndMax}
	some := func() *civil.Date {
		d := civil.Of(time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, random(3000)))
		return &d
	}
	unit := kyc
	for range 5000 {
		var rules []*retention.Rule
		for range random(5) {
			act := []string{"act_a", "act_b"}[random(2)]
			rules = append(rules, &retention.Rule{State: retention.Active, Content: retention.Content{
				Dataset: &unit, Activity: &act, Trigger: triggers[random(len(triggers))], Kind: kinds[random(len(kinds))],
				Period: retention.Period{Years: random(6), Months: random(12)}, Exception: retention.LegalObligation,
			}})
		}
		d := retention.Datum{Subject: "sub_a", Unit: kyc, Requested: random(2) == 0, Dates: retention.Dates{
			Collected: some(), Activity: some(), Withdrawn: some(), Relations: relation(subject.BusinessRelation, random(4) == 0, some()),
		}}
		today := *some()
		got := retention.Decide(d, rules, nil, today)
		if got.Outcome == retention.EraseNow {
			for _, r := range rules {
				alone := retention.Decide(d, []*retention.Rule{r}, nil, today)
				if d.Requested && r.Kind != retention.Max && alone.Outcome != retention.EraseNow && r.Trigger != retention.SingleTransactionDone {
					t.Fatalf("erased on %s though %s of %s from %+v keeps it: %+v", today, r.Kind, r.Period, d.Dates, alone)
				}
			}
			if later := retention.Decide(d, rules, nil, today.AddDays(random(1000))); later.Outcome != retention.EraseNow {
				t.Fatalf("erased on %s, and kept later: %+v", today, later)
			}
		}
		if got.Date != nil && got.Outcome != retention.EraseNow {
			if got.Outcome == retention.EraseAt && !today.Before(*got.Date) {
				t.Fatalf("to be erased at %s, seen on %s", got.Date, today)
			}
			if on := retention.Decide(d, rules, nil, *got.Date); on.Outcome != retention.EraseNow {
				t.Fatalf("erased on %s as said: %+v", got.Date, on)
			}
			if before := retention.Decide(d, rules, nil, got.Date.AddDays(-1)); before.Outcome == retention.EraseNow {
				t.Fatalf("erased the day before %s: %+v", got.Date, before)
			}
		}
		h := &retention.Hold{State: retention.Placed, Scope: retention.Scope{Persons: []string{"sub_a"}}, Exception: retention.LegalClaims}
		if held := retention.Decide(d, rules, []*retention.Hold{h}, today); held.Outcome != retention.Keep || held.Hold != h {
			t.Fatalf("under a hold: %+v", held)
		}
	}
}

// random returns a number from 0 to below n.
func random(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err)
	}
	return int(i.Int64())
}
