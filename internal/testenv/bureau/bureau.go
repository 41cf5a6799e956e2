// Package bureau answers requests of persons from the first message to the letter, for
// tests of what carries them out.
package bureau

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// Bureau is a World whose first tenant answers requests.
type Bureau struct {
	*world.World

	Requests *request.Service
	Post     *post.Service
	Tenants  *tenancy.Service
	Person   *subject.Subject

	handler, approver authz.Principal
}

// Open opens a Bureau in which works carry out the rights.
func Open(w *world.World, works map[request.Type]request.Work) *Bureau {
	w.Helper()
	b := &Bureau{World: w}
	log := testenv.Logger(w)
	subjects := mongo.NewSubjectStore(b.DB, b.Vault, log)
	mail, err := notify.NewService(notify.Config{Store: mongo.NewNotifyStore(b.DB, b.Vault), Changes: b.Changes, Log: log, Now: b.Now})
	b.ok(err)
	b.Tenants = tenancy.NewService(tenancy.Config{
		Store: mongo.NewTenantStore(b.DB, b.Vault), Changes: b.Changes, Recorder: b.Recorder, Vault: b.Vault,
		Hasher: vault.Hasher{Vault: b.Vault}, Mail: mail, Now: b.Now,
	})
	library, err := letter.NewLibrary()
	b.ok(err)
	letters := letter.NewService(letter.Config{
		Library: library, Store: mongo.NewLetterStore(b.DB), Tenants: b.Tenants, Changes: b.Changes, Now: b.Now,
	})
	b.Post = post.NewService(post.Config{
		Store: mongo.NewPostStore(b.DB, b.Vault), Library: library, Letters: letters, Tenants: b.Tenants, Subjects: subjects, Works: works,
		Mail: mail, Changes: b.Changes, BaseURL: world.BaseURL, Now: b.Now,
	})
	b.Requests = request.NewService(request.Config{
		Store: mongo.NewRequestStore(b.DB, b.Vault), Changes: b.Changes, Recorder: b.Recorder,
		Calendars: calendar.NewService(mongo.NewCalendarStore(b.DB), b.Tenants, b.Changes), Subjects: subjects, Members: b.Tenants,
		Works: works, Post: b.Post, Vault: b.Vault, Log: log, Now: b.Now,
	})
	b.Handle(request.JobSearch, b.Requests.Search)
	b.Handle(request.JobCarry, b.Requests.Carry)
	b.Handle(request.JobFollow, b.Requests.Follow)
	b.Handle(notify.JobSend, func(context.Context, *job.Run) error { return nil })
	b.handler, b.approver = b.member(authz.RoleCaseHandler, "handler"), b.member(authz.RoleApprover, "approver")
	b.Person, err = b.Subjects.Create(b.As(testenv.One), subject.CreateInput{
		Name: &subject.NameInput{Full: new(personal.NewText("Anna Ibsen"))}, Emails: []personal.Text{personal.NewText("anna@mail.example")},
	})
	b.ok(err)
	now, err := b.Tenants.Get(b.As(testenv.One))
	b.ok(err)
	_, err = b.Tenants.Update(b.As(testenv.One), tenancy.UpdateInput{
		ID: string(testenv.One), ExpectedVersion: now.Version, HolidayCalendar: new("DK"), Letterhead: &tenancy.Letterhead{
			Address: "Opdigtet Vej 1", Email: "privacy@one.example", Phone: "+45 00 00 00 00",
			Authority: tenancy.Authority{
				Name: "Datatilsynet", Address: "Opdigtet Plads 2", Phone: "+45 00 00 00 01", Email: "dt@authority.example",
				Website: "https://authority.example",
			},
		},
	})
	b.ok(err)
	return b
}

// Handler is a call of a case handler.
func (b *Bureau) Handler() context.Context { return b.as(b.handler) }

// Approver is a call of an approver.
func (b *Bureau) Approver() context.Context { return b.as(b.approver) }

func (b *Bureau) as(p authz.Principal) context.Context {
	return authz.NewContext(tenant.NewContext(b.Context(), testenv.One), p)
}

// member makes a member of the first tenant who has just signed in.
func (b *Bureau) member(role authz.Role, name string) authz.Principal {
	b.Helper()
	m, err := b.Tenants.AddMember(b.As(testenv.One), tenancy.AddMemberInput{
		Email: personal.NewText(name + "@one.example"), Role: role, Identity: "identity-of-" + name,
	})
	b.ok(err)
	return authz.Principal{Kind: authz.KindMember, ID: m.ID, Tenant: testenv.One, Role: role, AAL: authz.AAL2, AuthenticatedAt: b.Now()}
}

// Begun is a request of the person for one right, whose search is over.
func (b *Bureau) Begun(t request.Type, wish string) *request.Request {
	b.Helper()
	r, err := b.Requests.Open(b.Handler(), request.OpenInput{
		Channel: request.ByPhone, ReceivedAt: b.Now().Add(-time.Minute), Language: new("en"), Items: []request.ItemInput{{Type: t, Wish: &wish}},
	})
	b.ok(err)
	_, err = b.Requests.Identify(b.Handler(), request.IdentifyInput{ID: r.ID, ExpectedVersion: r.Version, Subject: b.Person.ID, Method: request.CallBack})
	b.ok(err)
	return b.Worked(r)
}

// Worked lets the worker do what follows.
func (b *Bureau) Worked(r *request.Request) *request.Request {
	b.Helper()
	b.Work(tenant.System(b.Context(), "worker"))
	return b.Read(r)
}

// Read reads a request anew.
func (b *Bureau) Read(r *request.Request) *request.Request {
	b.Helper()
	r, err := b.Requests.Get(b.Handler(), r.ID)
	b.ok(err)
	return r
}

// Decided has what is proposed approved by another, carried out and answered.
func (b *Bureau) Decided(r *request.Request, p request.ProposeInput) *request.Request {
	b.Helper()
	r = b.Read(r)
	p.ID, p.ExpectedVersion, p.Item = r.ID, r.Version, r.Items[0].ID
	r, err := b.Requests.Propose(b.Handler(), p)
	b.ok(err)
	return b.Worked(b.Approved(r))
}

// Approved submits what is proposed and has it approved by another.
func (b *Bureau) Approved(r *request.Request) *request.Request {
	b.Helper()
	r = b.Read(r)
	if r.Items[0].Outcome == "" || r.State == request.InProgress {
		var err error
		r, err = b.Requests.Submit(b.Handler(), request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
		b.ok(err)
	}
	r, err := b.Requests.Approve(b.Approver(), request.ApproveInput{
		ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true,
	})
	b.ok(err)
	return r
}

// Answer is the text of the last letter to the person.
func (b *Bureau) Answer(r *request.Request, form string) string {
	b.Helper()
	letters, err := b.Post.Of(b.Handler(), r)
	b.ok(err)
	last := letters[len(letters)-1]
	if !slices.Equal(last.Forms, []string{form}) {
		b.Fatalf("the last letter is %v, want %s; the request is %s", last.Forms, form, r.State)
	}
	return last.Text().Reveal()
}

// Says sees that a letter has each of parts.
func (b *Bureau) Says(text string, parts ...string) {
	b.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			b.Errorf("the letter doesn't say %q:\n%s", p, text)
		}
	}
}

func (b *Bureau) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
