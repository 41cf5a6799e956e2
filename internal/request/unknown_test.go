package request_test

import (
	"errors"
	"testing"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

// TestUnknown: somebody whom nobody knows makes a request, which waits until it is
// known who they are, and is then theirs alone.
func TestUnknown(t *testing.T) {
	o := open(t)
	nobody := change.WithIdempotency(tenant.NewContext(o.Context(), testenv.One), change.Idempotency{Key: "1", Input: []byte("a")})
	in := request.UnknownInput{
		Language: new("da"), Items: []request.ItemInput{{Type: request.Access}}, Message: new("give me my things"), Contact: "somebody@else.example",
	}
	filed, err := o.s.OpenUnknown(nobody, in)
	o.ok(err)
	if again, err := o.s.OpenUnknown(nobody, in); err != nil || again.ID != filed.ID {
		t.Errorf("sent twice: %+v, %v", again, err)
	}
	r, err := o.s.Get(o.staff, filed.ID)
	o.ok(err)
	if r.State != request.Received || r.Clock != request.Running || r.Subject != "" || r.Identity.Verified() || r.Channel != request.ByPortal ||
		filed.Deadline.Due == nil || filed.Number != r.Number || r.Contact.Reveal() != in.Contact {
		t.Errorf("opened %+v", r)
	}
	me := o.self(o.person)
	if _, err := o.s.Get(me, filed.ID); !errors.Is(err, request.ErrNotFound) {
		t.Errorf("a request of nobody is shown to a person: %v", err)
	}
	for name, contact := range map[string]string{"empty": " ", "long": string(make([]byte, 300))} {
		bad := in
		bad.Contact = contact
		if _, err := o.s.OpenUnknown(tenant.NewContext(o.Context(), testenv.One), bad); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s contact: %v", name, err)
		}
	}

	foreign := authz.NewContext(tenant.NewContext(o.Context(), testenv.Two), authz.Principal{
		Kind: authz.KindSubject, ID: id.New(id.Session, testenv.Two), Tenant: testenv.Two, Subject: id.New(id.Subject, testenv.Two),
	})
	for name, ctx := range map[string]func() error{
		"of another tenant": func() error { _, err := o.s.Claim(foreign, filed.ID); return err },
		"by staff":          func() error { _, err := o.s.Claim(o.staff, filed.ID); return err },
		"of staff's":        func() error { _, err := o.s.Claim(me, o.opened(request.Erasure).ID); return err },
	} {
		if err := ctx(); !errors.Is(err, request.ErrNotFound) {
			t.Errorf("claimed %s: %v", name, err)
		}
	}
	r, err = o.s.Claim(me, filed.ID)
	o.ok(err)
	if r.State != request.InProgress || r.Subject != o.person.ID || r.Identity.Method != request.ExistingCredential || !r.Contact.IsZero() {
		t.Errorf("claimed %+v", r)
	}
	other, err := o.Subjects.Create(o.staff, subject.CreateInput{Emails: []personal.Text{personal.NewText("b@b.example")}})
	o.ok(err)
	if _, err := o.s.Claim(o.self(other), filed.ID); !errors.Is(err, request.ErrNotFound) {
		t.Errorf("claimed twice: %v", err)
	}

	// Asked who they are, a person may answer by signing in.
	again, err := o.s.OpenUnknown(tenant.NewContext(o.Context(), testenv.One), in)
	o.ok(err)
	asked, err := o.s.AskIdentity(o.as(o.handler), request.AskInput{
		ID: again.ID, ExpectedVersion: 1, ReasonForDoubt: "nobody knows", Asked: "who you are", Proportionality: "a code does",
	})
	o.ok(err)
	if asked.State != request.AwaitingIdentity {
		t.Fatalf("asked: %s", asked.State)
	}
	if r, err = o.s.Claim(me, again.ID); err != nil || r.State != request.InProgress || r.Clock != request.Running {
		t.Errorf("claimed after a question: %+v, %v", r, err)
	}
}
