package seal_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	platform "github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// kindsOfValues has, by collection, the kinds of documents that the log tells of
// beside persons and records, with what their names begin with in the log, and
// whether they change after they were made.
func kindsOfValues() map[string]struct {
	name    string
	changes bool
} {
	return map[string]struct {
		name    string
		changes bool
	}{
		"files": {"", true}, "requests": {"", true}, "requestEvents": {"", false}, "sentLetters": {"", false},
		"consents": {"", true}, "consentEvents": {"", false}, "consentStandings": {"consentStandings/", true},
		"disclosures": {"", false}, "holds": {"", true}, "stops": {"stops/", true}, "parties": {"", true},
	}
}

// remember notes what the documents of all kinds are now.
func (k *keeper) rememberKinds() {
	k.Helper()
	for coll := range kindsOfValues() {
		for _, d := range k.all(coll) {
			key, _ := d["_id"].(string)
			k.past[key] = append(k.past[key], d)
		}
	}
}

// change runs a change of a store.
func (k *keeper) change(ctx context.Context, object string, do func(ctx context.Context) error) {
	k.Helper()
	k.ok(k.Changes.DoPlain(ctx, "test.write", object, do))
}

// fill makes one of each kind, and a file that is gone again.
func (k *keeper) fill(ctx context.Context) (again func(), deleted string) {
	k.Helper()
	now := k.Now()
	letters := k.Dataset(ctx, "Letters", platform.Field("letter", dataset.TypeFile))
	s := k.Subject(ctx, "somebody")
	f := k.Upload(ctx, s, letters, "a.pdf", "%PDF-1.4 letter")
	gone := k.Upload(ctx, s, letters, "b.pdf", "%PDF-1.4 another")
	with := k.Record(ctx, s, letters, platform.Value("letter", gone.ID))
	k.rememberKinds()
	k.ok(k.Records.Delete(ctx, record.DeleteInput{ID: with.ID}))
	k.ok(k.Files.Remove(ctx, gone.ID))

	r := &request.Request{ID: id.New(id.Request, testenv.One), Subject: s.ID, State: request.Received, Message: personal.NewText("What do you know?"), ReceivedAt: now, CreatedAt: now, Version: 1}
	hold := &retention.Hold{
		ID: id.New(id.Hold, testenv.One), Scope: retention.Scope{Persons: []string{s.ID}}, Exception: retention.LegalClaims,
		Reason: personal.NewText("A claim."), PlacedBy: "mem", PlacedAt: now, ReviewOn: civil.Of(now), State: retention.Placed,
	}
	_, err := k.Vault.Ensure(ctx, request.Unit(testenv.One, r.ID), audit.Evidence(testenv.One, s.ID), retention.HoldOwner(testenv.One, hold.ID),
		vault.Owner{Tenant: testenv.One, Subject: string(testenv.One), Unit: vault.Identity})
	k.ok(err)
	requests, sent := mongo.NewRequestStore(k.DB, k.Vault), mongo.NewPostStore(k.DB, k.Vault)
	disclosures := mongo.NewDisclosureStore(k.DB, k.Vault, testenv.Logger(k))
	holds, stops := mongo.NewRetentionStore(k.DB, k.Vault), mongo.NewRightsStore(k.DB)
	parties := mongo.NewProcessingStore(k.DB, k.Vault)
	party := &processing.Party{ID: id.New(id.Party, testenv.One), PartyFields: processing.PartyFields{LegalName: "Bank A/S", Country: "DK"}, Version: 1, CreatedAt: now, UpdatedAt: now}
	consents := mongo.NewConsentStore(k.DB, k.Vault, testenv.Logger(k))
	ref := purpose.Ref{ID: id.New(id.Purpose, testenv.One), Key: "news.letter", Version: 1}
	track := &consent.Track{SubjectID: s.ID, PurposeKey: ref.Key, Changed: true}
	given := &consent.Consent{ID: id.New(id.Consent, testenv.One), SubjectID: s.ID, Purpose: ref, CreatedAt: now, UpdatedAt: now, Language: "da"}
	says := func(state consent.State) {
		given.State, given.Version = state, given.Version+1
		e := &consent.Event{ID: id.New(id.ConsentNote, testenv.One), ConsentID: given.ID, SubjectID: s.ID, Purpose: ref, Seq: given.Version, State: state, At: now, CreatedAt: now, Evidence: &consent.Evidence{Language: "da"}}
		track.Standing = consent.Standing{SubjectID: s.ID, PurposeKey: ref.Key, ConsentID: given.ID, Purpose: ref, State: state, Since: now, Seq: e.Seq, LastAt: now, NotedAt: now}
		track.Events, track.Consents = []*consent.Event{e}, []*consent.Consent{given}
		k.ok(k.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
			sums, err := consents.Write(ctx, track)
			return change.Change{Action: "test.write", Object: given.ID, Contents: []audit.Content{{Object: e.ID, Version: 1, Digest: sums[0]}}}, err
		}))
	}
	says(consent.Given)
	stop := &rights.Stop{Subject: s.ID, Kind: rights.Marketing}
	k.change(ctx, r.ID, func(ctx context.Context) error {
		note := request.Event{ID: id.New(id.RequestNote, testenv.One), Request: r.ID, At: now, Reason: personal.NewText("by letter")}
		l := &post.Letter{ID: id.New(id.SentLetter, testenv.One), Request: r.ID, Title: personal.NewText("Hello"), Markdown: personal.NewText("We have it."), At: now}
		d := &disclosure.Disclosure{ID: id.New(id.Disclosure, testenv.One), SubjectID: s.ID, Recipient: party.ID, At: now, CreatedAt: now, Reference: personal.NewText("42")}
		return errors.Join(requests.Insert(ctx, r), requests.InsertEvents(ctx, note), sent.Insert(ctx, l),
			disclosures.Insert(ctx, []*disclosure.Disclosure{d}), holds.InsertHold(ctx, hold), stops.Save(ctx, stop), parties.InsertParty(ctx, party))
	})
	return func() {
		k.Helper()
		k.Record(ctx, s, letters, platform.Value("letter", f.ID)) // attaches it
		says(consent.Withdrawn)
		k.change(ctx, r.ID, func(ctx context.Context) error {
			r.State, r.Version = request.InProgress, 2
			party.LegalName, party.Version = "Other Bank A/S", 2
			hold.State, hold.ReleasedAt = retention.Released, &now
			stop.Causes = append(stop.Causes, rights.Cause{Request: r.ID, At: now})
			return errors.Join(requests.Update(ctx, r), holds.ReleaseHold(ctx, hold), stops.Save(ctx, stop), parties.UpdateParty(ctx, party))
		})
	}, gone.ID
}

// TestRolledBackValuesOfAllKinds does to every other kind of stored values what who
// rules the database can: each time it is found, and the value is named.
func TestRolledBackValuesOfAllKinds(t *testing.T) {
	k := keep(t)
	again, deleted := k.fill(k.As(testenv.One))
	k.rememberKinds()
	again()
	k.rememberKinds()
	_, err := k.verifier.Publisher.Publish(t.Context())
	k.ok(err)
	sound := func() int64 {
		t.Helper()
		r, err := k.verifier.Verify(t.Context())
		k.ok(err)
		return r.Values
	}
	if n := sound(); n < int64(len(kindsOfValues()))+1 {
		t.Errorf("%d values were compared", n)
	}
	for coll, kind := range kindsOfValues() {
		docs := k.all(coll)
		if len(docs) == 0 {
			t.Fatalf("no documents of %s", coll)
		}
		now := docs[0]
		docID, _ := now["_id"].(string)
		was := clone(k.past[docID][0])
		alterations := map[string]bson.M{"delete": nil, "alter": clone(now), "insert": clone(now)}
		alterations["alter"]["createdAt"] = "never"
		other := docID[:len(docID)-1] + string('a'+(docID[len(docID)-1]-'a'+1)%2)
		alterations["insert"]["_id"] = other
		if kind.changes {
			alterations["roll back"], alterations["roll back under the count of now"] = was, clone(was)
			alterations["roll back under the next count"], alterations["roll back under no count"] = clone(was), clone(was)
			for _, field := range []string{"kept", "version", "seq"} {
				if _, ok := now[field].(int64); ok {
					alterations["roll back under the count of now"][field] = number(now, field)
					alterations["roll back under the next count"][field] = number(now, field) + 1
					delete(alterations["roll back under no count"], field)
				}
			}
		}
		for name, after := range alterations {
			object := kind.name + docID
			if name == "insert" {
				object = kind.name + other
				k.replace(coll, bson.M{"_id": other}, after)
				k.undo = []func(){func() {
					_, err := k.Stored(coll).DeleteOne(context.WithoutCancel(t.Context()), bson.D{{Key: "_id", Value: other}})
					k.ok(err)
				}}
			} else {
				k.replace(coll, now, after)
			}
			_, err := k.verifier.Verify(t.Context())
			fault, ok := errors.AsType[*proof.Error](err)
			if !ok || fault.Object != object || !strings.Contains(fault.Error(), object) {
				t.Errorf("%s of %s (%s): it says %v", name, coll, object, err)
			}
			for _, undo := range k.undo {
				undo()
			}
			k.undo = nil
		}
	}
	sound()
	k.replace("files", bson.M{"_id": deleted}, clone(k.past[deleted][0]))
	if _, err := k.verifier.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), deleted+" was rolled back") {
		t.Errorf("a file that was brought back: it says %v", err)
	}
}

// What the log tells of can't be written without it.
func TestKeptValuesAreWrittenInChanges(t *testing.T) {
	k := keep(t)
	ctx := k.As(testenv.One)
	stops := mongo.NewRightsStore(k.DB)
	stop := &rights.Stop{Subject: id.New(id.Subject, testenv.One), Kind: rights.Marketing}
	for name, err := range map[string]error{
		"outside":          stops.Save(ctx, stop),
		"without an entry": k.DB.InTransaction(ctx, func(ctx context.Context) error { return stops.Save(ctx, stop) }),
	} {
		if err == nil {
			t.Errorf("%s: it is written", name)
		}
	}
	if err := k.Changes.DoPlain(k.As(testenv.Two), "test.write", "x", func(ctx context.Context) error {
		return stops.Save(tenant.NewContext(ctx, testenv.One), stop)
	}); err == nil {
		t.Error("another tenant's change writes it")
	}
}
