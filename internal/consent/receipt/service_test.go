package receipt_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

type denmark struct{}

func (denmark) Country(context.Context) (string, error) { return "DK", nil }

// office is a tenant that asks for consent.
type office struct {
	*world.World

	purposes *purpose.Service
	consents *consent.Service
	keys     int
}

func start(t *testing.T) *office {
	t.Helper()
	w := world.Start(t)
	o := &office{World: w}
	ring := testenv.Ring(t, w.DB, w.Vault, w.Changes)
	o.purposes = purpose.NewService(purpose.Config{
		Purposes: mongo.NewPurposeStore(w.DB), Notices: mongo.NewNoticeStore(w.DB), Tenants: mongo.NewTenantStore(w.DB, w.Vault),
		Datasets: w.Datasets, Changes: w.Changes, Now: w.Now,
	})
	withdrawals := ledger.New(ledger.Config{Store: mongo.NewLedgerStore(w.DB), Objects: w.Bucket, Signer: ring, Now: w.Now, Keep: time.Hour})
	if err := withdrawals.Check(tenant.System(t.Context(), "test"), "db", nil); err != nil {
		t.Fatal(err)
	}
	log := testenv.Logger(t)
	var err error
	o.consents, err = consent.NewService(consent.Config{
		Store: mongo.NewConsentStore(w.DB, w.Vault, log), Purposes: o.purposes, Subjects: mongo.NewSubjectStore(w.DB, w.Vault, log),
		Datasets: w.Datasets, Records: mongo.NewRecordStore(w.DB, w.Vault, log), Files: w.Files, Vault: w.Vault, Ledger: withdrawals,
		Looker: testenv.Authorizer(t), Regions: denmark{}, Recorder: w.Recorder, Changes: w.Changes, Log: log, Now: w.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// keyed is ctx with an Idempotency-Key of its own.
func (o *office) keyed(ctx context.Context) context.Context {
	o.keys++
	return change.WithIdempotency(ctx, change.Idempotency{Key: strconv.Itoa(o.keys), Input: []byte(strconv.Itoa(o.keys))})
}

func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newsletter publishes a purpose and its notice, with the words of source.
func (o *office) newsletter(t *testing.T) *purpose.Notice {
	t.Helper()
	ctx := o.As(testenv.One)
	words := source()
	p := must[*purpose.Purpose](t)(o.purposes.Create(o.keyed(ctx), purpose.CreateInput{Key: "letters", Content: purpose.Content{
		Term: "dpv:DirectMarketing", Texts: words.Purpose.Texts, LegalBasis: purpose.Consent, ValidityMonths: 24,
		Data: []purpose.Data{{Term: "pd:EmailAddress", Class: dataset.Ordinary}},
	}}))
	must[*purpose.Purpose](t)(o.purposes.Publish(ctx, purpose.PublishInput{ID: p.ID, ExpectedEdit: p.Edit}))
	content := purpose.NoticeContent{Facts: words.Notice.Facts, Purposes: []string{"letters"}, Texts: words.Notice.Texts}
	for i := range content.Texts {
		content.Texts[i].Body = "Må vi?"
	}
	n := must[*purpose.Notice](t)(o.purposes.CreateNotice(o.keyed(ctx), purpose.CreateNoticeInput{Key: "n", Content: content}))
	return must[*purpose.Notice](t)(o.purposes.PublishNotice(ctx, purpose.PublishInput{ID: n.ID, ExpectedEdit: n.Edit}))
}

// asPerson is a new request of a person who signed in.
func (o *office) asPerson(of tenant.ID, s *subject.Subject) context.Context {
	return authz.NewContext(tenant.NewContext(o.Context(), of), authz.Principal{Kind: authz.KindSubject, ID: "ses_1", Tenant: of, Subject: s.ID})
}

// A consent on the real stores has the same receipts for all who may have them,
// before and after it is withdrawn and the key rotated; and nobody else has any.
func TestReceiptsOfAPerson(t *testing.T) {
	o := start(t)
	ring := testenv.Ring(t, o.DB, o.Vault, o.Changes)
	receipts := receipt.NewService(receipt.Config{Consents: o.consents, Purposes: o.purposes, Signer: ring})
	staff := o.As(testenv.One)
	n := o.newsletter(t)
	anna, bo := o.Subject(o.keyed(staff), "K-1"), o.Subject(o.keyed(staff), "K-2")
	danish, channel := "da", consent.Web
	in := consent.Input{Subject: anna.ID, Purpose: "letters", Notice: &n.ID, Context: &consent.Context{Language: &danish, Channel: &channel}}
	must[*consent.Consent](t)(o.consents.Request(o.keyed(staff), in))
	o.Sleep(time.Second)
	given := must[*consent.Consent](t)(o.consents.Give(o.keyed(staff), in))
	first := must[*receipt.Issued](t)(receipts.Issue(staff, given.ID, nil))
	if own := must[*receipt.Issued](t)(receipts.Issue(o.asPerson(testenv.One, anna), given.ID, nil)); own.Document != first.Document || own.State != consent.Given {
		t.Errorf("the person has another receipt: %+v", own)
	}
	then := o.Now()
	o.Sleep(time.Hour)
	in.Notice = nil
	must[*consent.Consent](t)(o.consents.Withdraw(o.keyed(staff), in))
	last := must[*receipt.Issued](t)(receipts.Issue(staff, given.ID, nil))
	if again := must[*receipt.Issued](t)(receipts.Issue(staff, given.ID, &then)); again.Document != first.Document || last.State != consent.Withdrawn {
		t.Errorf("the receipt of then is another one now: %+v", again)
	}
	chain := receipt.Split([]byte(must[string](t)(receipts.Chain(staff, last))))
	if !slices.Contains(chain, first.Document) {
		t.Error("the chain has another receipt of the consent")
	}
	sorted, err := receipt.Chain(open(t, keysOf(t, ring), chain...))
	if err != nil || len(sorted) != last.Sequence {
		t.Errorf("%d receipts, %v", len(sorted), err)
	}
	record := sorted[len(sorted)-1].Record
	if record.Subject.ID != "urn:vogter:"+anna.ID || record.Notice.Hash != n.In("da").ContentHash || record.Language != "da" ||
		record.Events[len(record.Events)-1].TextHash != "" && record.Events[len(record.Events)-1].TextHash != record.Notice.Hash {
		t.Errorf("it says %+v", record)
	}

	for name, ctx := range map[string]context.Context{
		"another person": o.asPerson(testenv.One, bo), "another tenant": o.As(testenv.Two), "a person elsewhere": o.asPerson(testenv.Two, anna),
	} {
		if got, err := receipts.Issue(ctx, given.ID, nil); !errors.Is(err, consent.ErrNotFound) {
			t.Errorf("%s has %+v, %v", name, got, err)
		}
	}
	o.SetState(staff, anna, subject.Restricted)
	if got, err := receipts.Issue(o.As(testenv.One), given.ID, nil); !errors.Is(err, receipt.ErrProof) {
		t.Errorf("of who is restricted: %+v, %v", got, err)
	}
	if _, err := receipt.Chain(open(t, keysOf(t, ring), chain...)); err != nil {
		t.Errorf("what was handed out holds no more: %v", err)
	}
}
