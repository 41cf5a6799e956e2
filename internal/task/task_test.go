package task_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// office is a World whose tenant has systems outside the platform.
type office struct {
	*world.World

	s        *task.Service
	requests *request.Service
	tenants  *tenancy.Service
	letters  *post.Service
	staff    context.Context
	person   *subject.Subject
	carried  int
	answers  int
}

// Search implements request.Work.
func (*office) Search(context.Context, *request.Request, *request.Item) ([]request.Answer, error) {
	return []request.Answer{{System: "store", Result: request.None}}, nil
}

// Carry implements request.Work.
func (o *office) Carry(_ context.Context, _ *request.Request, item *request.Item, _ *job.Run) (request.Done, error) {
	o.carried++
	return request.Done{Outcome: item.Proposal.Outcome}, nil
}

// Effect implements request.Work.
func (*office) Effect(context.Context, *request.Request, *request.Item) (request.Done, error) {
	return request.Done{}, errors.New("nothing takes effect at once")
}

// Tell implements request.Post: of what falls due only.
func (o *office) Tell(ctx context.Context, r *request.Request, e *request.Event) (request.Told, error) {
	if e.Rule != request.NoteEscalated {
		return request.Told{}, nil
	}
	return o.letters.Tell(ctx, r, e)
}

// Answer implements request.Post.
func (o *office) Answer(_ context.Context, r *request.Request) (request.Reply, error) {
	o.answers++
	return request.Reply{Channel: request.ByPortal, Hash: strings.Repeat("a", 64), At: r.UpdatedAt}, nil
}

func open(t *testing.T) *office {
	t.Helper()
	o := &office{World: world.Start(t)}
	log := testenv.Logger(t)
	subjects := mongo.NewSubjectStore(o.DB, o.Vault, log)
	mail, err := notify.NewService(notify.Config{Store: mongo.NewNotifyStore(o.DB, o.Vault), Changes: o.Changes, Log: log, Now: o.Now})
	o.ok(err)
	o.tenants = tenancy.NewService(tenancy.Config{
		Store: mongo.NewTenantStore(o.DB, o.Vault), Changes: o.Changes, Recorder: o.Recorder, Vault: o.Vault, Hasher: vault.Hasher{Vault: o.Vault},
		Mail: mail, Now: o.Now,
	})
	library, err := letter.NewLibrary()
	o.ok(err)
	o.letters = post.NewService(post.Config{Library: library, Tenants: o.tenants, Subjects: subjects, Mail: mail, Changes: o.Changes, Now: o.Now})
	o.requests = request.NewService(request.Config{
		Store: mongo.NewRequestStore(o.DB, o.Vault), Changes: o.Changes, Recorder: o.Recorder,
		Calendars: calendar.NewService(mongo.NewCalendarStore(o.DB), o.tenants, o.Changes), Subjects: subjects, Members: o.tenants,
		Works: map[request.Type]request.Work{request.Access: o, request.Portability: o}, Post: o, Vault: o.Vault, Log: log, Now: o.Now,
	})
	o.s = task.NewService(task.Config{
		Store: mongo.NewTaskStore(o.DB, o.Vault), Requests: o.requests, Members: o.tenants, Files: o.Files, Changes: o.Changes,
		Recorder: o.Recorder, Now: o.Now,
	})
	o.requests.Tasks, o.letters.Tasks = o.s, o.s
	o.Files.Cases = task.Cases{Requests: o.requests, Authorizer: testenv.Authorizer(t)}
	o.Handle(request.JobSearch, o.requests.Search)
	o.Handle(request.JobCarry, o.requests.Carry)
	o.Handle(notify.JobSend, func(context.Context, *job.Run) error { return nil })
	o.staff = o.As(testenv.One)
	o.person = o.Subject(o.staff, "kunde-1")
	return o
}

func (o *office) ok(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *office) work() {
	o.Helper()
	o.Work(tenant.System(o.Context(), "worker"))
}

func (o *office) template(stage request.Stage, edit ...func(*task.FormInput)) *task.Template {
	o.Helper()
	f := task.FormInput{Name: "Arkivet " + string(stage), Instructions: "Led i det gamle arkiv.", Stage: stage}
	for _, e := range edit {
		e(&f)
	}
	t, err := o.s.CreateTemplate(o.staff, task.CreateTemplateInput{Right: request.Access, Form: f})
	o.ok(err)
	return t
}

// begun is a request on which work has begun.
func (o *office) begun(types ...request.Type) *request.Request {
	o.Helper()
	in := request.OpenInput{Channel: request.ByPhone, ReceivedAt: o.Now().Add(-time.Minute)}
	for _, t := range types {
		in.Items = append(in.Items, request.ItemInput{Type: t})
	}
	r, err := o.requests.Open(o.As(testenv.One), in)
	o.ok(err)
	_, err = o.requests.Identify(o.As(testenv.One), request.IdentifyInput{ID: r.ID, ExpectedVersion: r.Version, Subject: o.person.ID, Method: request.CallBack})
	o.ok(err)
	o.work()
	return o.now(r)
}

func (o *office) now(r *request.Request) *request.Request {
	o.Helper()
	r, err := o.requests.Get(o.staff, r.ID)
	o.ok(err)
	return r
}

func (o *office) decided(r *request.Request) *request.Request {
	o.Helper()
	for _, item := range r.Items {
		var err error
		r, err = o.requests.Propose(o.staff, request.ProposeInput{ID: r.ID, ExpectedVersion: r.Version, Item: item.ID, Outcome: request.Fulfilled})
		o.ok(err)
	}
	return r
}

func (o *office) submit(r *request.Request) (*request.Request, error) {
	return o.requests.Submit(o.As(testenv.One), request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
}

func (o *office) approve(r *request.Request) (*request.Request, error) {
	return o.requests.Approve(o.As(testenv.One), request.ApproveInput{ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true})
}

// tasks returns the tasks of a request by their names.
func (o *office) tasks(r *request.Request) map[string]*task.Task {
	o.Helper()
	c, err := o.s.Of(o.staff, r.ID, nil, page.Request{First: page.Max})
	o.ok(err)
	by := map[string]*task.Task{}
	for _, t := range c.Nodes() {
		by[t.Name] = t
	}
	if len(by) != len(c.Nodes()) {
		o.Errorf("%d tasks with %d names", len(c.Nodes()), len(by))
	}
	return by
}

func (o *office) complete(t *task.Task) {
	o.Helper()
	_, err := o.s.Complete(o.staff, task.CompleteInput{ID: t.ID, ExpectedVersion: t.Version})
	o.ok(err)
}

func rule(err error) string {
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e.Rule
	}
	return ""
}

// TestStages: what comes before holds up the approval, what comes after the answer,
// and what is beside nothing.
func TestStages(t *testing.T) {
	o := open(t)
	for _, stage := range []request.Stage{request.Before, request.Beside, request.After} {
		o.template(stage)
	}
	retired := o.template(request.Before, func(f *task.FormInput) { f.Name = "Nedlagt" })
	_, err := o.s.RetireTemplate(o.staff, task.RetireTemplateInput{ID: retired.ID, ExpectedVersion: 1})
	o.ok(err)
	r := o.begun(request.Access, request.Portability)
	by := o.tasks(r)
	if len(by) != 3 {
		t.Fatalf("%d tasks", len(by))
	}
	r = o.decided(r)
	if _, err := o.submit(r); rule(err) != "request.tasks" {
		t.Errorf("given to review before the task: %v", err)
	}
	o.complete(by["Arkivet PRE"])
	r, err = o.submit(o.now(r))
	o.ok(err)
	late, err := o.s.Create(o.staff, task.CreateInput{Request: r.ID, Item: r.Items[0].ID, Form: task.FormInput{Name: "Spørg igen", Stage: request.Before}})
	o.ok(err)
	if _, err := o.approve(o.now(r)); rule(err) != "request.tasks" {
		t.Errorf("approved before a task that was made in review: %v", err)
	}
	if _, err := o.s.CancelOne(o.staff, task.CancelInput{ID: late.ID, ExpectedVersion: 1, Reason: " "}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("cancelled without a reason: %v", err)
	}
	_, err = o.s.CancelOne(o.staff, task.CancelInput{ID: late.ID, ExpectedVersion: 1, Reason: "answered meanwhile"})
	o.ok(err)
	r, err = o.approve(o.now(r))
	o.ok(err)
	if _, err := o.s.Create(o.staff, task.CreateInput{Request: r.ID, Item: r.Items[0].ID, Form: task.FormInput{Name: "For sent", Stage: request.Before}}); rule(err) != "task.stage" {
		t.Errorf("a task before what was approved: %v", err)
	}
	o.work()
	if r = o.now(r); r.State != request.Executing || o.carried != 2 || o.answers != 0 {
		t.Fatalf("%s, carried out %d, answered %d times", r.State, o.carried, o.answers)
	}
	if _, err := o.requests.Respond(o.staff, request.ReplyInput{ID: r.ID, ExpectedVersion: r.Version, Channel: request.ByLetter, Hash: "a", At: o.Now()}); rule(err) != "request.tasks" {
		t.Errorf("answered by hand before the task: %v", err)
	}
	o.complete(by["Arkivet POST"])
	o.work()
	if r = o.now(r); r.State != request.Responded || o.carried != 2 || o.answers != 1 {
		t.Errorf("at last %s, carried out %d, answered %d times", r.State, o.carried, o.answers)
	}
	if left := o.tasks(r)["Arkivet PARALLEL"]; left.State != task.Open {
		t.Errorf("what is beside is %s", left.State)
	}
	events, err := o.requests.Events(o.staff, r, page.Request{First: page.Max})
	o.ok(err)
	noted := 0
	for _, e := range events.Nodes() {
		if e.Rule == request.NoteTask {
			noted++
		}
	}
	if noted != 4 { // made, cancelled, and two completed
		t.Errorf("%d events of tasks", noted)
	}
}

// TestWithdrawn: nobody goes on with what the person has taken back.
func TestWithdrawn(t *testing.T) {
	o := open(t)
	o.template(request.Before)
	r := o.begun(request.Access)
	_, err := o.requests.Withdraw(o.staff, request.WithdrawInput{ID: r.ID, Statement: new("by phone")})
	o.ok(err)
	if got := o.tasks(r)["Arkivet PRE"]; got.State != task.Cancelled {
		t.Errorf("the task is %s", got.State)
	}
}

// TestForm: a task is completed with what its form asks for, and nothing else.
func TestForm(t *testing.T) {
	o := open(t)
	o.template(request.Beside, func(f *task.FormInput) {
		f.Fields = []task.FieldInput{
			{Key: "found", Label: "Fundet", Type: task.YesNoField, Required: true},
			{Key: "boxes", Label: "Kasser", Type: task.NumberField},
			{Key: "day", Label: "Dag", Type: task.DateField},
			{Key: "where", Label: "Hvor", Type: task.ChoiceField, Options: []string{"kælder", "loft"}},
			{Key: "words", Label: "Bemærkning", Type: task.TextField},
		}
	})
	tk := o.tasks(o.begun(request.Access))["Arkivet PARALLEL"]
	for name, answers := range map[string][]task.AnswerInput{
		"nothing":       nil,
		"no such field": {{Key: "found", Value: "true"}, {Key: "color", Value: "red"}},
		"twice":         {{Key: "found", Value: "true"}, {Key: "found", Value: "false"}},
		"no number":     {{Key: "found", Value: "true"}, {Key: "boxes", Value: "many"}},
		"not finite":    {{Key: "found", Value: "true"}, {Key: "boxes", Value: "Inf"}},
		"no day":        {{Key: "found", Value: "true"}, {Key: "day", Value: "2026-02-30"}},
		"no choice":     {{Key: "found", Value: "true"}, {Key: "where", Value: "garage"}},
		"neither":       {{Key: "found", Value: "perhaps"}},
		"left empty":    {{Key: "found", Value: " "}},
	} {
		if _, err := o.s.Complete(o.staff, task.CompleteInput{ID: tk.ID, ExpectedVersion: 1, Answers: answers}); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	done, err := o.s.Complete(o.staff, task.CompleteInput{ID: tk.ID, ExpectedVersion: 1, Note: new("to kasser"), Answers: []task.AnswerInput{
		{Key: "where", Value: "loft"}, {Key: "found", Value: "true"}, {Key: "boxes", Value: "2"}, {Key: "day", Value: "2026-02-28"},
	}})
	o.ok(err)
	done, err = o.s.Get(o.staff, done.ID)
	o.ok(err)
	if done.State != task.Completed || len(done.Answers) != 4 || done.Answers[0].Key != "found" || done.Answers[3].Value.Reveal() != "loft" || done.Note.Reveal() != "to kasser" {
		t.Errorf("completed: %+v", done)
	}
	if _, err := o.s.Comment(o.staff, task.CommentInput{ID: tk.ID, Text: "x"}); rule(err) != "task.state" {
		t.Errorf("changed afterwards: %v", err)
	}
	for name, edit := range map[string]func(*task.FormInput){
		"no name":  func(f *task.FormInput) { f.Name = " " },
		"no stage": func(f *task.FormInput) { f.Stage = "LATER" },
		"a key twice": func(f *task.FormInput) {
			f.Fields = []task.FieldInput{{Key: "a", Label: "A", Type: task.TextField}, {Key: "a", Label: "B", Type: task.TextField}}
		},
		"a bad key":  func(f *task.FormInput) { f.Fields = []task.FieldInput{{Key: "a b", Label: "A", Type: task.TextField}} },
		"no options": func(f *task.FormInput) { f.Fields = []task.FieldInput{{Key: "a", Label: "A", Type: task.ChoiceField}} },
		"options of words": func(f *task.FormInput) {
			f.Fields = []task.FieldInput{{Key: "a", Label: "A", Type: task.TextField, Options: []string{"x"}}}
		},
	} {
		f := task.FormInput{Name: "x", Stage: request.Before}
		edit(&f)
		if _, err := o.s.CreateTemplate(o.staff, task.CreateTemplateInput{Right: request.Access, Form: f}); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPeople: tasks are given to members, who see their own and are told when the
// request falls due.
func TestPeople(t *testing.T) {
	o := open(t)
	o.template(request.Before)
	r := o.begun(request.Access)
	tk := o.tasks(r)["Arkivet PRE"]
	m, err := o.tenants.AddMember(o.staff, tenancy.AddMemberInput{Email: personal.NewText("arkivar@one.example"), Role: authz.RoleCaseHandler, Identity: "identity-1"})
	o.ok(err)
	tk, err = o.s.Assign(o.staff, task.AssignInput{ID: tk.ID, ExpectedVersion: tk.Version, Member: &m.ID})
	o.ok(err)
	tk, err = o.s.Comment(o.staff, task.CommentInput{ID: tk.ID, Text: "Kassen om Karen står på loftet"})
	o.ok(err)
	as := authz.NewContext(tenant.NewContext(o.Context(), testenv.One), authz.Principal{Kind: authz.KindMember, ID: m.ID, Tenant: testenv.One, Role: m.Role})
	mine, err := o.s.Mine(as, page.Request{First: 10})
	o.ok(err)
	if len(mine.Nodes()) != 1 || mine.Nodes()[0].ID != tk.ID || len(mine.Nodes()[0].Comments) != 1 {
		t.Errorf("mine: %+v", mine.Nodes())
	}
	before := o.Count(o.Context(), "messages", bson.D{{Key: "template", Value: notify.TemplateRequestDue}})
	o.Sleep(28 * 24 * time.Hour)
	o.ok(o.requests.Sweep(tenant.System(o.Context(), "sweep")))
	if n := o.Count(o.Context(), "messages", bson.D{{Key: "template", Value: notify.TemplateRequestDue}, {Key: "subject", Value: m.ID}}) - before; n != 1 {
		t.Errorf("who has the task was told %d times", n)
	}

	two := o.As(testenv.Two)
	if _, err := o.s.Of(two, r.ID, nil, page.Request{First: 10}); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant lists: %v", err)
	}
	if _, err := o.s.Complete(two, task.CompleteInput{ID: tk.ID, ExpectedVersion: tk.Version}); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant completes: %v", err)
	}
	if _, err := o.s.Create(two, task.CreateInput{Request: r.ID, Item: r.Items[0].ID, Form: task.FormInput{Name: "x", Stage: request.Before}}); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant makes one: %v", err)
	}
	if found, err := o.s.Templates(two, page.Request{First: 10}); err != nil || len(found.Nodes()) != 0 {
		t.Errorf("another tenant sees templates: %v, %v", found, err)
	}
	for _, done := range []string{"task.assign", "task.comment"} {
		if !slices.Contains(o.Entries(o.Context(), tk.ID), done) {
			t.Errorf("no %s in the log", done)
		}
	}
}

// TestAttachment: a document is sealed with its request, given to one task, and goes
// with the request.
func TestAttachment(t *testing.T) {
	o := open(t)
	o.template(request.Beside, func(f *task.FormInput) { f.Attachment = true })
	r, other := o.begun(request.Access), o.begun(request.Access)
	tk, theirs := o.tasks(r)["Arkivet PARALLEL"], o.tasks(other)["Arkivet PARALLEL"]
	const content = "et ark om Karen"
	upload := func(ctx context.Context, requestID string) (*file.File, error) {
		return o.Files.Upload(ctx, file.UploadInput{Request: requestID, Name: personal.NewText("ark.txt"), MediaType: "text/plain", Size: int64(len(content))}, strings.NewReader(content))
	}
	if _, err := upload(o.As(testenv.Two), r.ID); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant uploads: %v", err)
	}
	f, err := upload(o.staff, r.ID)
	o.ok(err)
	complete := func(t *task.Task, files ...string) error {
		_, err := o.s.Complete(o.staff, task.CompleteInput{ID: t.ID, ExpectedVersion: 1, Files: files})
		return err
	}
	if err := complete(tk); errs.KindOf(err) != errs.Invalid {
		t.Errorf("without the document: %v", err)
	}
	if err := complete(theirs, f.ID); errs.KindOf(err) != errs.NotFound {
		t.Errorf("with another request's document: %v", err)
	}
	o.ok(complete(tk, f.ID, f.ID))
	_, body, err := o.Files.Open(o.staff, f.ID)
	o.ok(err)
	got, err := io.ReadAll(body)
	if o.ok(err); string(got) != content {
		t.Errorf("read %q", got)
	}
	o.ok(body.Close())
	for who, ctx := range map[string]context.Context{
		"another tenant": o.As(testenv.Two),
		"the person": authz.NewContext(tenant.NewContext(o.Context(), testenv.One), authz.Principal{
			Kind: authz.KindSubject, Tenant: testenv.One, Subject: o.person.ID,
		}),
		"who may not read requests": authz.NewContext(tenant.NewContext(o.Context(), testenv.One), authz.Principal{
			Kind: authz.KindMachine, Tenant: testenv.One, Grants: []authz.Permission{authz.FileRead},
		}),
	} {
		if _, _, err := o.Files.Open(ctx, f.ID); errs.KindOf(err) != errs.NotFound {
			t.Errorf("%s opens it: %v", who, err)
		}
	}
	raw, err := o.Stored("tasks").FindOne(o.Context(), bson.D{{Key: "_id", Value: tk.ID}}).Raw()
	if o.ok(err); bytes.Contains(raw, []byte("Arkivet")) {
		t.Error("a task is stored in clear")
	}
	gone := erasure.Target{Subject: r.ID, Units: []vault.Unit{vault.Case}}
	for _, e := range mongo.Erasers(o.DB, o.Bucket, o.Changes) {
		o.ok(e.Erase(o.staff, gone))
		if left, err := e.Left(o.staff, gone); err != nil || left != 0 {
			t.Errorf("%s: %d left, %v", e.Name(), left, err)
		}
	}
	if _, _, err := o.Files.Open(o.staff, f.ID); !errors.Is(err, file.ErrNotFound) {
		t.Errorf("the document: %v", err)
	}
	if left, err := o.s.Get(o.staff, tk.ID); err != nil || !left.Gone || left.Name != "" || left.State != task.Completed {
		t.Errorf("the task: %+v, %v", left, err)
	}
	if kept := o.tasks(other)["Arkivet PARALLEL"]; kept == nil || kept.Gone {
		t.Error("another request's task is gone")
	}
}
