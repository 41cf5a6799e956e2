package rectify_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/rectify"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/bureau"
	"github.com/vogter/vogter/internal/testenv/world"
)

// rig is a Bureau that corrects data.
type rig struct {
	*bureau.Bureau

	s    *rectify.Service
	work *rectify.Work
	set  *dataset.Dataset
	row  *record.Record
}

func open(t *testing.T) *rig {
	t.Helper()
	w := world.Start(t)
	r := &rig{s: &rectify.Service{Subjects: w.Subjects, Records: w.Records}}
	r.work = &rectify.Work{Service: r.s}
	r.Bureau = bureau.Open(w, map[request.Type]request.Work{request.Rectification: r.work})
	r.s.Requests = r.Requests
	one := r.As(testenv.One)
	income := world.Field("income", dataset.TypeInt)
	income.DataClass = dataset.Confidential
	r.set = r.Dataset(one, "Loans", world.Field("address", dataset.TypeString), world.Field("judgement", dataset.TypeText), income)
	r.row = r.Record(one, r.Person, r.set, world.Value("address", "Forkert Gade 1"), world.Value("judgement", "Pays late."), world.Value("income", int64(100)))
	return r
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// correction corrects all that there is of the person.
func (r *rig) correction(q *request.Request) rectify.Input {
	r.Helper()
	one := r.As(testenv.One)
	row, err := r.Records.Get(one, r.row.ID)
	r.ok(err)
	person, err := r.Subjects.Get(one, r.Person.ID)
	r.ok(err)
	return rectify.Input{
		ID: q.ID, ExpectedVersion: q.Version, Item: q.Items[0].ID,
		Subject: &subject.UpdateInput{ExpectedVersion: person.Version, Emails: []personal.Text{personal.NewText("anna.rigtig@mail.example")}},
		Records: []record.UpdateInput{{
			ID: row.ID, ExpectedVersion: row.Version, Fields: []record.FieldInput{world.Value("address", "Rigtig Gade 2"), world.Value("income", int64(250))},
		}},
		Statements: []rectify.StatementInput{{Record: row.ID, ExpectedVersion: row.Version, Field: new("judgement"), Text: "I paid on the day."}},
		NotChanged: new("The judgement is an opinion."),
	}
}

// TestCorrection goes from the wish to the answer: what was approved is carried out,
// once, also of a person whose data is restricted meanwhile, and nothing else.
func TestCorrection(t *testing.T) {
	r := open(t)
	one := r.As(testenv.One)
	q := r.Begun(request.Rectification, "my address is wrong")
	propose := request.ProposeInput{ID: q.ID, ExpectedVersion: q.Version, Item: q.Items[0].ID, Outcome: request.Fulfilled, Plan: new("x")}
	if _, err := r.Requests.Propose(r.Handler(), propose); errs.KindOf(err) != errs.Precondition {
		t.Errorf("decided without a correction: %v", err)
	}
	in := r.correction(q)
	if _, err := r.s.Prepare(r.As(testenv.Two), in); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := r.s.Prepare(r.Handler(), in); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("prepared without the clearance: %v", err)
	}
	q, err := r.s.Prepare(one, in)
	r.ok(err)
	c, err := r.s.Of(r.Handler(), &q.Items[0])
	r.ok(err)
	shown := func(of *record.Record, key string) record.Field {
		return of.Fields[slices.IndexFunc(of.Fields, func(f record.Field) bool { return f.Key == key })]
	}
	before, after := c.Records[0].Before, c.Records[0].After
	if was, is := shown(before, "address"), shown(after, "address"); was.Value.Reveal() != "Forkert Gade 1" || is.Value.Reveal() != "Rigtig Gade 2" || c.Records[0].Stand != record.Ready {
		t.Errorf("shown %v -> %v, %s", was.Value.Reveal(), is.Value.Reveal(), c.Records[0].Stand)
	}
	if hidden := shown(after, "income"); hidden.State != personal.Withheld || !hidden.Value.IsZero() {
		t.Errorf("without the clearance the new income is %s", hidden.State)
	}
	if c.Subject.After.Emails[0].Reveal() != "anna.rigtig@mail.example" || after.Statements[0].Text.Reveal() != "I paid on the day." {
		t.Errorf("shown %+v", c)
	}
	for _, coll := range []string{"requests", "requestEvents", "audit"} {
		cursor, err := r.Stored(coll).Find(r.Context(), map[string]any{})
		r.ok(err)
		for cursor.Next(r.Context()) {
			if s := string(cursor.Current); strings.Contains(s, "Rigtig") || strings.Contains(s, "rigtig@") || strings.Contains(s, "paid on the day") {
				t.Errorf("%s holds a value in clear", coll)
			}
		}
	}

	// Somebody else changes the record between approval and execution.
	propose.ExpectedVersion, propose.Plan = q.Version, &q.Items[0].Prepared.Hash
	_, err = r.Requests.Propose(r.Handler(), propose)
	r.ok(err)
	r.Approved(q)
	_, err = r.Records.Update(one, record.UpdateInput{ID: r.row.ID, ExpectedVersion: r.row.Version, Fields: []record.FieldInput{world.Value("judgement", "Pays.")}})
	r.ok(err)
	if q = r.Worked(q); q.State != request.InReview {
		t.Fatalf("carried out although the record has moved: %s", q.State)
	}
	if person, err := r.Subjects.Get(one, r.Person.ID); err != nil || person.Emails[0].Reveal() != "anna@mail.example" {
		t.Errorf("a part was carried out: %v", err)
	}
	q, err = r.Requests.SendBack(r.Approver(), request.ReasonInput{ID: q.ID, ExpectedVersion: q.Version, Reason: "the record has moved"})
	r.ok(err)
	stale := in
	stale.ExpectedVersion = q.Version
	if _, err := r.s.Prepare(one, stale); !errors.Is(err, change.ErrVersion) {
		t.Errorf("prepared for a version that is gone: %v", err)
	}

	q, err = r.s.Prepare(one, r.correction(q))
	r.ok(err)
	r.SetState(one, r.Person, subject.Restricted)
	prepared := q.Items[0]
	q = r.Decided(q, request.ProposeInput{Outcome: request.Fulfilled, Plan: &prepared.Prepared.Hash})
	if q.State != request.Responded || q.Items[0].Outcome != request.Fulfilled {
		t.Fatalf("%s, %+v", q.State, q.Items[0])
	}
	r.SetState(one, r.Person, subject.Active)
	row, err := r.Records.Get(one, r.row.ID)
	r.ok(err)
	if shown(row, "address").Value.Reveal() != "Rigtig Gade 2" || shown(row, "income").Value.Reveal() != int64(250) || row.Version != 3 ||
		len(row.Statements) != 1 || row.Statements[0].Text.Reveal() != "I paid on the day." || shown(row, "judgement").Value.Reveal() != "Pays." {
		t.Errorf("the record is at version %d, %d statements", row.Version, len(row.Statements))
	}
	person, err := r.Subjects.Get(one, r.Person.ID)
	r.ok(err)
	if person.Emails[0].Reveal() != "anna.rigtig@mail.example" {
		t.Error("the address for mail is the old one")
	}
	if got := r.Entries(r.Context(), r.row.ID); !slices.Contains(got, "record.update") {
		t.Errorf("the audit log has %q", got)
	}
	text := r.Answer(q, "rectification-answer")
	r.Says(text, "E-mail addresses", "Loans: address", "Loans: judgement", "The judgement is an opinion.")
	if body := q.Items[0].Prepared.Body.Reveal(); strings.Contains(text+body, "Rigtig") || strings.Contains(text+body, "on the day") {
		t.Errorf("a value is left in the letter or the request: %s", body)
	}

	// The job runs again, as after a crash.
	prepared.Proposal = q.Items[0].Proposal
	if done, err := r.work.Carry(one, q, &prepared, nil); err != nil || done.Outcome != request.Fulfilled {
		t.Errorf("again: %+v, %v", done, err)
	}
	if again, err := r.Records.Get(one, r.row.ID); err != nil || again.Version != row.Version || len(again.Statements) != 1 {
		t.Errorf("carried out twice: version %d, %v", again.Version, err)
	}
}

// TestOthersAndSecrets: a person has corrected what is about themselves and is no
// secret.
func TestOthersAndSecrets(t *testing.T) {
	r := open(t)
	one := r.As(testenv.One)
	q := r.Begun(request.Rectification, "")
	bo := r.Subject(one, "C-2")
	report, err := r.Datasets.Create(one, dataset.CreateInput{Name: "Reports", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("note", dataset.TypeText)}})
	r.ok(err)
	for name, tt := range map[string]struct {
		row   *record.Record
		field string
		want  error
	}{
		"of another": {r.Record(one, bo, r.set, world.Value("address", "Gade 3")), "address", record.ErrNotFound},
		"secret":     {r.Record(one, r.Person, report, world.Value("note", "reported")), "note", record.ErrSecret},
	} {
		in := rectify.Input{ID: q.ID, ExpectedVersion: q.Version, Item: q.Items[0].ID, Records: []record.UpdateInput{
			{ID: tt.row.ID, ExpectedVersion: 1, Fields: []record.FieldInput{world.Value(tt.field, "x")}},
		}}
		if _, err := r.s.Prepare(one, in); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.s.Prepare(r.Handler(), in); errs.KindOf(err) != errs.NotFound {
			t.Errorf("%s, without the clearance: %v", name, err)
		}
	}
	if _, err := r.s.Prepare(one, rectify.Input{ID: q.ID, ExpectedVersion: q.Version, Item: q.Items[0].ID}); !errors.Is(err, rectify.ErrEmpty) {
		t.Errorf("nothing: %v", err)
	}
}
