package erase_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/access"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// story is what anybody without the clearance sees of a person's life with a
// tenant, from the first record until long after the erasure.
type story struct {
	*rig

	s     *request.Service
	post  *post.Service
	staff context.Context // of nobody who may know of what is secret
	seen  strings.Builder

	handler, approver *tenancy.Member
	notes, reports    *dataset.Dataset
	anna              *subject.Subject
}

// all is the only activity, over every dataset.
type all struct{ datasets []string }

func (a *all) List(context.Context, processing.Filter, page.Request) (*processing.Connection, error) {
	n := &processing.Activity{Valid: &processing.Revision{Content: processing.Content{
		Name: processing.Words{En: "Service"}, Datasets: a.datasets,
		Controller: &processing.ControllerPart{LegalBases: []processing.LegalBasis{{Basis: processing.Art6b}}},
	}}}
	return &processing.Connection{Edges: []processing.Edge{{Node: n}}}, nil
}

func begin(t *testing.T) *story {
	t.Helper()
	s := &story{rig: newRig(t)}
	log, ctx := testenv.Logger(t), s.As(testenv.One)
	subjects := mongo.NewSubjectStore(s.DB, s.Vault, log)
	mail, err := notify.NewService(notify.Config{Store: mongo.NewNotifyStore(s.DB, s.Vault), Changes: s.Changes, Log: log, Now: s.Now})
	s.ok(err)
	tenants := tenancy.NewService(tenancy.Config{
		Store: mongo.NewTenantStore(s.DB, s.Vault), Changes: s.Changes, Recorder: s.Recorder, Vault: s.Vault,
		Hasher: vault.Hasher{Vault: s.Vault}, Mail: mail, Now: s.Now,
	})
	library, err := letter.NewLibrary()
	s.ok(err)
	letters := letter.NewService(letter.Config{Library: library, Store: mongo.NewLetterStore(s.DB), Tenants: tenants, Changes: s.Changes, Now: s.Now})
	requests, activities := mongo.NewRequestStore(s.DB, s.Vault), &all{}
	s.Exports.Contents = &access.Contents{
		Trail:       trail.NewService(trail.Config{Store: mongo.NewTrailStore(s.DB), Vault: s.Vault, Recorder: s.Recorder, Log: log, Now: s.Now}),
		Disclosures: mongo.NewDisclosureStore(s.DB, s.Vault, log), Parties: nobody{}, Activities: activities, Requests: requests,
		Statement: &access.Statement{Tenants: tenants, Retention: s.keeping, Letters: letters},
	}
	works := map[request.Type]request.Work{
		request.Erasure: s.work, request.Access: &access.Work{Type: pack.AccessType, Exports: s.Exports, Tenants: tenants},
	}
	s.post = post.NewService(post.Config{
		Store: mongo.NewPostStore(s.DB, s.Vault), Library: library, Letters: letters, Tenants: tenants, Subjects: subjects, Works: works,
		Mail: mail, Changes: s.Changes, BaseURL: world.BaseURL, Now: s.Now,
	})
	s.work.Requests, s.work.Post = requests, s.post
	s.s = request.NewService(request.Config{
		Store: requests, Changes: s.Changes, Recorder: s.Recorder, Calendars: calendar.NewService(mongo.NewCalendarStore(s.DB), tenants, s.Changes),
		Subjects: subjects, Members: tenants, Works: works, Post: s.post, Vault: s.Vault, Log: log, Now: s.Now,
	})
	s.Handle(request.JobSearch, s.s.Search)
	s.Handle(request.JobCarry, s.s.Carry)
	s.Handle(notify.JobSend, func(context.Context, *job.Run) error { return nil })
	now, err := tenants.Get(ctx)
	s.ok(err)
	country := "DK"
	_, err = tenants.Update(ctx, tenancy.UpdateInput{
		ID: string(testenv.One), ExpectedVersion: now.Version, HolidayCalendar: &country, Letterhead: &tenancy.Letterhead{
			Address: "Opdigtet Vej 1", Email: "privacy@one.example", Phone: "+45 00 00 00 00",
			Authority: tenancy.Authority{Name: "Datatilsynet", Address: "Opdigtet Plads 2", Phone: "+45 00 00 00 01", Email: "dt@authority.example", Website: "https://authority.example"},
		},
	})
	s.ok(err)
	member := func(role authz.Role) *tenancy.Member {
		m, err := tenants.AddMember(ctx, tenancy.AddMemberInput{Email: personal.NewText(string(role) + "@one.example"), Role: role, Identity: "identity-of-" + string(role)})
		s.ok(err)
		return m
	}
	s.handler, s.approver = member(authz.RoleCaseHandler), member(authz.RoleApprover)
	who := authz.FromContext(ctx)
	who.Clearances = nil
	s.staff = authz.NewContext(ctx, who)

	no := false
	_, err = s.keeping.ChangeSettings(ctx, retention.SettingsInput{Approval: &no})
	s.ok(err)
	s.notes = s.Dataset(ctx, "Notes", world.Field("note", dataset.TypeString))
	s.reports, err = s.Datasets.Create(ctx, dataset.CreateInput{Name: "Reports", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("note", dataset.TypeString)}})
	s.ok(err)
	s.keep(ctx, s.reports, "dk-hvl-30-relation")
	activities.datasets = []string{s.notes.ID, s.reports.ID}
	s.anna, err = s.Subjects.Create(ctx, subject.CreateInput{
		Reference: new(personal.NewText("A-1")), Name: &subject.NameInput{Full: new(personal.NewText("Anna Ibsen"))}, Emails: []personal.Text{personal.NewText("anna@mail.example")},
	})
	s.ok(err)
	return s
}

// as is a call of a member.
func (s *story) as(m *tenancy.Member) context.Context {
	return authz.NewContext(tenant.NewContext(s.Context(), testenv.One), authz.Principal{
		Kind: authz.KindMember, ID: m.ID, Tenant: testenv.One, Role: m.Role, AAL: authz.AAL2, AuthenticatedAt: s.Now(),
	})
}

// self is a call of the person.
func (s *story) self() context.Context {
	return authz.NewContext(tenant.NewContext(s.Context(), testenv.One), authz.Principal{
		Kind: authz.KindSubject, ID: "slf_1", Tenant: testenv.One, Subject: s.anna.ID,
	})
}

// see notes what is seen.
func (s *story) see(what string, v any, err error) {
	s.Helper()
	b, jerr := json.MarshalIndent(v, "", " ")
	s.ok(jerr)
	fmt.Fprintf(&s.seen, "%s: %v\n%s\n", what, err, b)
}

// recordsOf asks for what a dataset, or each, holds on a person.
func recordsOf(s *subject.Subject, datasetID string) record.Query {
	return record.Query{Subject: s.ID, Dataset: datasetID}
}

// state is where a person stands, "" for nobody.
func state(s *subject.Subject) string {
	if s == nil {
		return ""
	}
	return fmt.Sprint(s.State, " ", s.Identity, " ", s.Version)
}

// rows are nodes of a page.
func rows[T any](c interface{ Nodes() []T }, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return c.Nodes(), nil
}

// asks has the person ask for a right, and returns the request as it is answered.
func (s *story) wants(t request.Type, propose func(*request.ProposeInput)) *request.Request {
	s.Helper()
	work := func() { s.Work(tenant.System(s.Context(), "worker")) }
	r, err := s.s.Open(s.as(s.handler), request.OpenInput{
		Channel: request.ByPhone, ReceivedAt: s.Now().Add(-time.Minute), Contact: new("anna@mail.example"), Language: new("en"), Items: []request.ItemInput{{Type: t}},
	})
	s.ok(err)
	r, err = s.s.Identify(s.as(s.handler), request.IdentifyInput{ID: r.ID, ExpectedVersion: r.Version, Subject: s.anna.ID, Method: request.CallBack})
	s.ok(err)
	work()
	r, err = s.s.Get(s.staff, r.ID)
	s.ok(err)
	in := request.ProposeInput{ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, Outcome: request.Fulfilled}
	propose(&in)
	r, err = s.s.Propose(s.as(s.handler), in)
	s.ok(err)
	r, err = s.s.Submit(s.as(s.handler), request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	s.ok(err)
	r, err = s.s.Approve(s.as(s.approver), request.ApproveInput{ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true})
	s.ok(err)
	for range 3 {
		work()
		s.Sleep(time.Minute) // it waits for the package
	}
	r, err = s.s.Get(s.staff, r.ID)
	s.ok(err)
	if r.State != request.Responded {
		s.Fatalf("%s is %s", t, r.State)
	}
	return r
}

// look notes all that is seen of a request.
func (s *story) look(r *request.Request) {
	s.Helper()
	now, err := s.s.Get(s.staff, r.ID)
	s.see("request", now, err)
	for name, ctx := range map[string]context.Context{"staff": s.as(s.handler), "self": s.self()} {
		e, err := rows(s.s.Events(ctx, r, page.Request{First: 100}))
		s.see("timeline to "+name, e, err)
	}
	mine, err := rows(s.s.Mine(s.self(), page.Request{First: 100}))
	s.see("mine", mine, err)
	sent, err := s.post.Of(s.staff, r)
	s.see("letters", sent, err)
	for _, l := range sent {
		s.seen.WriteString(l.Text().Reveal() + "\n")
	}
	today := civil.Of(s.Now())
	n, err := s.s.Statistics(s.staff, today.AddDays(-4000), today.AddDays(1))
	s.see("statistics", n, err)
}

// unpack notes every file of a package.
func (s *story) unpack(exportID string) {
	s.Helper()
	_, content, err := s.Exports.Open(s.self(), exportID)
	s.ok(err)
	b, err := io.ReadAll(content)
	s.ok(errors.Join(err, content.Close()))
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	s.ok(err)
	for _, f := range z.File {
		r, err := f.Open()
		s.ok(err)
		text, err := io.ReadAll(r)
		s.ok(err)
		if strings.HasSuffix(f.Name, ".pdf") || f.Name == pack.SignaturePath {
			text = nil // the same as its HTML; compressed, and so of another length with another id
		}
		fmt.Fprintf(&s.seen, "%s\n%s\n", f.Name, text)
	}
}

// certified notes the certificates of a cause.
func (s *story) certified(cause string) {
	s.Helper()
	found, err := s.certs.For(s.staff, cause)
	slices.SortFunc(found, func(a, b *certificate.Certificate) int { return a.CreatedAt.Compare(b.CreatedAt) })
	for _, c := range found {
		s.see("certificate", c.Content, err)
		keys, err := s.ring.Keys(s.Context())
		s.ok(err)
		for _, signed := range []string{c.Signed, c.Statement} {
			if signed == "" {
				s.seen.WriteString("not signed\n")
				continue
			}
			o, err := certificate.Open(keys, signed)
			s.ok(err)
			d, err := o.Document("da")
			s.ok(err)
			s.ok(paper.Markdown(&s.seen, d))
		}
	}
}

// tell goes through it all, with and without what is secret.
func (s *story) tell(secret bool) string {
	s.Helper()
	ctx := s.As(testenv.One)
	_, relation, err := s.Subjects.StartRelation(ctx, subject.StartRelationInput{Subject: s.anna.ID, Kind: subject.BusinessRelation, StartedOn: civil.Of(s.Now()).AddDays(-900)})
	s.ok(err)
	ended := civil.Of(s.Now()).AddDays(-10)
	_, _, err = s.Subjects.EndRelation(ctx, subject.EndRelationInput{Subject: s.anna.ID, Relation: relation.ID, EndedOn: ended})
	s.ok(err)
	s.Record(ctx, s.anna, s.notes, world.Value("note", "a note"))
	var scan string
	if secret {
		s.Record(ctx, s.anna, s.reports, world.Value("note", "suspicion"))
		scan = s.Upload(ctx, s.anna, s.reports, "scan.txt", "suspicion").ID
	}
	s.Work(ctx)
	s.ok(s.keeping.Resolve(tenant.System(s.Context(), "test")))

	look := func(when string) {
		p, err := s.rig.s.Preview(s.staff, s.anna.ID)
		s.see(when+": preview", p, err)
		due, err := rows(s.keeping.Due(s.staff, new(civil.Of(s.Now())), page.Request{First: 100}))
		s.see(when+": due", due, err)
		kept, err := s.keeping.Of(s.staff, s.anna.ID, false)
		s.see(when+": retention", kept, err)
		who, err := s.Subjects.Get(s.staff, s.anna.ID)
		s.see(when+": person", fmt.Sprintf("%s %s", state(who), err), nil)
		read, err := rows(s.Records.List(s.staff, recordsOf(s.anna, ""), page.Request{First: 100}))
		s.see(when+": records", len(read), err)
		for _, r := range read {
			fmt.Fprintln(&s.seen, "record", r.DatasetID == s.notes.ID, r.Version, r.Gone, len(r.Fields), r.Fields[0].Value.Reveal(), r.Fields[0].State)
		}
		_, err = rows(s.Records.List(s.staff, recordsOf(s.anna, s.reports.ID), page.Request{First: 100}))
		s.see(when+": reports", nil, err)
		s.see(when+": mails", s.Count(ctx, "messages", bson.D{}), nil)
	}
	look("before")
	answered := s.wants(request.Access, func(*request.ProposeInput) {})
	s.look(answered)
	s.unpack(answered.Items[0].Results[0])

	p, err := s.rig.s.Preview(s.staff, s.anna.ID)
	s.ok(err)
	erased := s.wants(request.Erasure, func(in *request.ProposeInput) { in.Plan, in.Ground = &p.Hash, new("17(1)(a)") })
	s.look(erased)
	s.certified(erased.Items[0].ID)
	look("erased")
	again, err := s.Subjects.Create(ctx, subject.CreateInput{Reference: new(personal.NewText("A-1"))})
	s.see("returns", state(again), err)

	if secret { // what must be kept is kept, for those who may know
		n, err := rows(s.Records.List(ctx, recordsOf(s.anna, s.reports.ID), page.Request{First: 10}))
		if err != nil || len(n) != 1 || n[0].Fields[0].Value.Reveal() != "suspicion" {
			s.Errorf("the secret records: %d, %v", len(n), err)
		}
		_, content, err := s.Files.Open(ctx, scan)
		if err != nil {
			s.Errorf("the secret file: %v", err)
		} else {
			s.ok(content.Close())
		}
		was, err := s.rig.s.Remains(ctx, s.anna.ID, s.reports.ID)
		if err != nil || was.Name.Full.Reveal() != "Anna Ibsen" || was.Emails[0].Reveal() != "anna@mail.example" {
			s.Errorf("who it is about: %v", err)
		}
		for name, ctx := range map[string]context.Context{"uncleared": s.staff, "another tenant": s.As(testenv.Two)} {
			if _, err := s.rig.s.Remains(ctx, s.anna.ID, s.reports.ID); !errors.Is(err, subject.ErrNotFound) {
				s.Errorf("who it is about, to %s: %v", name, err)
			}
		}
	}

	gone := s.Now()
	s.epochs.actual = &gone
	s.Sleep(time.Hour)
	s.ok(s.certs.Sweep(tenant.System(s.Context(), "test")))
	s.certified(erased.Items[0].ID)
	// Its own rules end what was secret, and nobody is told.
	s.Sleep(ended.AddMonths(60).AddDays(3).Start(time.UTC).Sub(s.Now()))
	for range 3 {
		s.ok(s.keeping.Sweep(tenant.System(s.Context(), "test")))
		s.Work(tenant.System(s.Context(), "worker"))
		s.Sleep(24 * time.Hour)
	}
	look("in the end")
	s.look(erased)
	s.certified(erased.Items[0].ID)
	left := s.Count(ctx, "records", bson.D{{Key: "subjects", Value: s.anna.ID}}) + s.Count(ctx, "files", bson.D{{Key: "subject", Value: s.anna.ID}}) +
		s.Count(ctx, "subjects", bson.D{{Key: "_id", Value: s.anna.ID}, {Key: "remains." + s.reports.ID, Value: bson.D{{Key: "$exists", Value: true}}}})
	if left != 0 {
		s.Errorf("%d things are left in the end", left)
	}
	return s.seen.String()
}

// lines are what was seen without what differs between any two persons: ids, times
// and what follows from them.
func lines(seen string) []string {
	for _, r := range [][2]string{
		{`\\_`, "_"},                    // Markdown
		{`"Revision": \d+`, "REVISION"}, // a guard of the store's, which the API doesn't have
		{`[a-z]{3}_[a-z2-7]{26,}`, "ID"},
		{`[0-9a-f]{64}`, "HASH"},
		{`\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2}| [A-Z]{3,4})?`, "TIME"},
		{`\d{2}[:.]\d{2}`, "TIME"},
		{`"bytes": ?\d+`, "BYTES"},
	} {
		seen = regexp.MustCompile(r[0]).ReplaceAllString(seen, r[1])
	}
	all := strings.Split(seen, "\n")
	slices.Sort(all)
	return all
}

// A person of whom something is secret by AML law is, to all who may not know and
// in every byte, like one of whom nothing is (DOMAIN §2.7): before, in the answers,
// when they are erased, and when the secret ends.
func TestNoTrace(t *testing.T) {
	without, with := begin(t).tell(false), begin(t).tell(true)
	if d := cmp.Diff(lines(without), lines(with)); d != "" {
		t.Errorf("what is secret shows (- without, + with):\n%s", d)
	}
	for _, told := range []string{"Reports", "suspicion"} {
		if strings.Contains(with, told) {
			t.Errorf("%q is told", told)
		}
	}
	for _, want := range []string{"Erasure certificate no.", "ERASED", "Sletteattest", "a note", "log/access.csv"} {
		if !strings.Contains(with, want) {
			t.Errorf("nothing tells of %q: what is compared?", want)
		}
	}
}
