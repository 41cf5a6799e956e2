package erase_test

import (
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// A request is erased on the day that its answer promised, with its letters and
// events, and not before; a hold puts that off. Its ids, its dates and what it came
// to stay.
func TestCaseEnds(t *testing.T) {
	s := begin(t)
	ctx := s.As(testenv.One)
	s.Record(ctx, s.anna, s.notes, world.Value("note", "a note"))
	ends := &erase.Ends{
		Cases: mongo.NewRequestStore(s.DB, s.Vault), Holds: mongo.NewRetentionStore(s.DB, s.Vault), Erasures: s.erasing, Changes: s.Changes, Now: s.Now,
	}
	r, other := s.wants(request.Access, func(*request.ProposeInput) {}), s.wants(request.Access, func(*request.ProposeInput) {})
	last := civil.Of(r.Reply.At).AddMonths(12 * request.EvidenceYears) // which the answer names
	sweep := func() {
		s.ok(ends.Sweep(tenant.System(s.Context(), "test")))
		s.Work(tenant.System(s.Context(), "worker"))
	}
	sealed := func(of *request.Request) (n int) {
		for coll, fields := range map[string][]string{"requests": {"body"}, "requestEvents": {"reason"}, "sentLetters": {"title", "markdown"}} {
			by := "request"
			if coll == "requests" {
				by = "_id"
			}
			for _, f := range fields {
				n += s.Count(ctx, coll, bson.D{{Key: by, Value: of.ID}, {Key: f, Value: bson.D{{Key: "$exists", Value: true}}}})
			}
		}
		return n
	}
	hold, err := s.keeping.Place(ctx, retention.PlaceInput{
		Scope: retention.Scope{Cases: []string{other.ID}}, Exception: retention.LegalClaims, LegalSource: "Retsplejeloven § 298",
		Reason: personal.NewText("dispute"), ReviewOn: last.AddDays(90),
	})
	s.ok(err)
	s.Sleep(last.AddDays(-2).Start(time.UTC).Sub(s.Now()))
	sweep()
	if got, err := s.s.Get(ctx, r.ID); err != nil || got.Gone || sealed(r) < 4 {
		t.Fatalf("it is gone too early: %v", err)
	}
	s.Sleep(48 * time.Hour)
	sweep()
	got, err := s.s.Get(ctx, r.ID)
	if err != nil || !got.Gone || got.State != request.Responded || got.Subject != s.anna.ID || sealed(r) != 0 {
		t.Errorf("%+v, %v: %d things are left", got, err, sealed(r))
	}
	letters, err := s.post.Of(ctx, r)
	if err != nil || len(letters) == 0 || !letters[0].Markdown.IsZero() || letters[0].Hash == "" {
		t.Errorf("%d letters, %v", len(letters), err)
	}
	if _, err := s.post.Open(ctx, letters[0].ID); err != nil && !errors.Is(err, post.ErrNotFound) {
		t.Error(err)
	}
	events, err := rows(s.s.Events(ctx, r, page.Request{First: 100}))
	if err != nil || len(events) < 5 {
		t.Errorf("%d events, %v", len(events), err)
	}
	_, err = s.s.Reopen(s.as(s.approver), request.ReopenInput{ID: r.ID, ExpectedVersion: got.Version, Reason: "once more"})
	if err == nil {
		t.Errorf("it is reopened: %v", err)
	}
	if n := s.Count(ctx, "erasureCertificates", bson.D{{Key: "subject", Value: r.ID}}); n != 0 {
		t.Errorf("%d certificates of a request's end", n)
	}
	if kept, err := s.s.Get(ctx, other.ID); err != nil || kept.Gone {
		t.Errorf("a hold doesn't keep it: %v", err)
	}
	_, err = s.keeping.Release(s.As(testenv.One), retention.ReleaseInput{ID: hold.ID})
	s.ok(err)
	s.Sleep(25 * time.Hour)
	sweep()
	if kept, err := s.s.Get(ctx, other.ID); err != nil || !kept.Gone || sealed(other) != 0 {
		t.Errorf("it outlives its hold: %v", err)
	}
	if me, err := s.Subjects.Get(ctx, s.anna.ID); err != nil || me.State.Gone() {
		t.Errorf("the person went with the request: %v", err)
	}
}
