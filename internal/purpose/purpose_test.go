package purpose_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// office is two servers of a platform on one database, whose clock can be set.
type office struct {
	testing.TB

	here, there *purpose.Service
	datasets    *dataset.Service
	now         time.Time
	keys        int
}

// tenants are two that speak Danish and English. Only the first has a slug.
type tenants struct{}

func (tenants) Get(context.Context) (*tenancy.Tenant, error) {
	return &tenancy.Tenant{Languages: []string{"da-DK", "en"}}, nil
}

func (tenants) BySlug(_ context.Context, slug string) (tenant.ID, error) {
	if slug == "one" {
		return testenv.One, nil
	}
	return "", tenancy.ErrNotFound
}

func open(t *testing.T) *office {
	t.Helper()
	o := &office{TB: t, now: testenv.Now()}
	now := func() time.Time { return o.now }
	db, v := testenv.Mongo(t), testenv.Vault(t)
	changes, _ := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	o.datasets = dataset.NewService(mongo.NewDatasetStore(db), changes, testenv.Authorizer(t), now)
	for _, s := range []**purpose.Service{&o.here, &o.there} {
		*s = purpose.NewService(purpose.Config{
			Purposes: mongo.NewPurposeStore(db), Notices: mongo.NewNoticeStore(db), Tenants: tenants{}, Datasets: o.datasets,
			Changes: changes, Now: now,
		})
	}
	return o
}

// as is a new request of a portal.
func (o *office) as(of tenant.ID) context.Context {
	o.keys++
	o.now = o.now.Add(time.Millisecond)
	ctx := authz.NewContext(tenant.NewContext(o.Context(), of), authz.Principal{
		Kind: authz.KindMachine, ID: "key_1", Tenant: of, Grants: authz.ForKeys(), Clearances: authz.Clearances(),
	})
	return change.WithIdempotency(ctx, change.Idempotency{Key: strconv.Itoa(o.keys), Input: []byte(strconv.Itoa(o.keys))})
}

func (o *office) one() context.Context { return o.as(testenv.One) }

func must[T any](o *office) func(v T, err error) T {
	return func(v T, err error) T {
		o.Helper()
		if err != nil {
			o.Fatal(err)
		}
		return v
	}
}

func refused[T any](o *office, want error) func(v T, err error) {
	return func(v T, err error) {
		o.Helper()
		if !errors.Is(err, want) {
			o.Errorf("got %+v, %v; want %v", v, err, want)
		}
	}
}

func words(name string) []purpose.Text {
	return []purpose.Text{{Language: "da", Name: name, Description: "Det bruger vi dem til."}, {Language: "en", Name: name, Description: "That is what for."}}
}

func newsletter() purpose.Content {
	return purpose.Content{
		Term: "dpv:DirectMarketing", Texts: words("Newsletter"), LegalBasis: purpose.Consent, ValidityMonths: 24, CoolDownMonths: 6,
		Data: []purpose.Data{{Term: "pd:EmailAddress", Class: dataset.Ordinary}}, Marketing: true, Optional: true,
	}
}

func controller() purpose.Party {
	return purpose.Party{
		ID: "CVR 12345674", Type: purpose.Organisation, Role: "dpv:DataController", Name: "Eksempel ApS", Address: "Vej 1\n1000 By",
		Country: "DK", Contact: "privatliv@eksempel.example",
	}
}

func told(keys ...string) purpose.NoticeContent {
	authority := purpose.Party{
		ID: "DT", Type: purpose.Authority, Role: "dpv:DataProtectionAuthority", Name: "Datatilsynet", Address: "By", Country: "DK", Contact: "tlf.",
	}
	return purpose.NoticeContent{
		Purposes: keys,
		Facts: purpose.Facts{
			Controllers: []purpose.Party{controller()}, Authority: &authority, StorageLocations: []string{"DK"},
			ProcessingLocations: []string{"DK", "DE"}, Jurisdiction: "DK", Rights: []string{"eu-gdpr:A7-3", "eu-gdpr:A77"},
			Operations: []string{"dpv:Store", "dpv:Use"},
		},
		Texts: []purpose.NoticeText{
			{Language: "da", Title: "Nyt", Body: "Må vi skrive til dig? <b>&</b>", Collection: "Du skriver dem.", Withdrawal: "Klik.", Retention: "To år."},
			{Language: "en", Title: "News", Body: "May we write to you?", Collection: "You type them.", Withdrawal: "Click.", Retention: "Two years."},
		},
	}
}

// published makes a purpose and publishes it.
func (o *office) published(key string, c purpose.Content) *purpose.Purpose {
	o.Helper()
	p := must[*purpose.Purpose](o)(o.here.Create(o.one(), purpose.CreateInput{Key: key, Content: c}))
	return must[*purpose.Purpose](o)(o.here.Publish(o.one(), purpose.PublishInput{ID: p.ID, ExpectedEdit: p.Edit}))
}

// revised makes the next version with another content and publishes it.
func (o *office) revised(p *purpose.Purpose, material bool, c purpose.Content) (*purpose.Purpose, error) {
	o.Helper()
	d := must[*purpose.Purpose](o)(o.here.Revise(o.one(), purpose.ReviseInput{ID: p.ID, Material: material, Reason: "Plainer"}))
	d = must[*purpose.Purpose](o)(o.here.Update(o.one(), purpose.UpdateInput{ID: d.ID, ExpectedEdit: d.Edit, Content: c}))
	return o.here.Publish(o.one(), purpose.PublishInput{ID: d.ID, ExpectedEdit: d.Edit})
}

func (o *office) notice(key string, c purpose.NoticeContent) *purpose.Notice {
	o.Helper()
	n := must[*purpose.Notice](o)(o.here.CreateNotice(o.one(), purpose.CreateNoticeInput{Key: key, Content: c}))
	return must[*purpose.Notice](o)(o.here.PublishNotice(o.one(), purpose.PublishInput{ID: n.ID, ExpectedEdit: n.Edit}))
}

func (o *office) revisedNotice(n *purpose.Notice, material bool, c purpose.NoticeContent) (*purpose.Notice, error) {
	o.Helper()
	d := must[*purpose.Notice](o)(o.here.ReviseNotice(o.one(), purpose.ReviseInput{ID: n.ID, Material: material, Reason: "Plainer"}))
	d = must[*purpose.Notice](o)(o.here.UpdateNotice(o.one(), purpose.UpdateNoticeInput{ID: d.ID, ExpectedEdit: d.Edit, Content: c}))
	return o.here.PublishNotice(o.one(), purpose.PublishInput{ID: d.ID, ExpectedEdit: d.Edit})
}

func TestLifeOfAPurpose(t *testing.T) {
	o := open(t)
	p := must[*purpose.Purpose](o)(o.here.Create(o.one(), purpose.CreateInput{Key: "letters", Content: newsletter()}))
	if p.State != purpose.Draft || p.Version != 1 || !p.ConsentBased() || p.Explicit() || p.Sensitive() || p.VocabularyVersion != "2.3" {
		t.Errorf("made %+v", p)
	}
	refused[*purpose.Purpose](o, purpose.ErrKeyTaken)(o.here.Create(o.one(), purpose.CreateInput{Key: "LETTERS", Content: newsletter()}))
	refused[*purpose.Purpose](o, purpose.ErrNotFound)(o.here.ByKey(o.one(), "letters")) // a draft is nothing yet
	c := newsletter()
	c.Texts = words("News by mail")
	refused[*purpose.Purpose](o, purpose.ErrEdited)(o.here.Update(o.one(), purpose.UpdateInput{ID: p.ID, ExpectedEdit: 7, Content: c}))
	refused[*purpose.Purpose](o, purpose.ErrNotFound)(o.here.Update(o.as(testenv.Two), purpose.UpdateInput{ID: p.ID, ExpectedEdit: 1, Content: c}))
	d := must[*purpose.Purpose](o)(o.here.Update(o.one(), purpose.UpdateInput{ID: p.ID, ExpectedEdit: 1, Content: c}))
	refused[*purpose.Purpose](o, purpose.ErrEdited)(o.here.Publish(o.one(), purpose.PublishInput{ID: p.ID, ExpectedEdit: 1}))
	refused[*purpose.Purpose](o, purpose.ErrDraft)(o.here.Revise(o.one(), purpose.ReviseInput{ID: p.ID, Reason: "x"}))
	first := must[*purpose.Purpose](o)(o.here.Publish(o.one(), purpose.PublishInput{ID: p.ID, ExpectedEdit: d.Edit}))
	if got := must[*purpose.Purpose](o)(o.here.ByKey(o.one(), "letters")); got.ID != first.ID || got.In("en-GB").Name != "News by mail" || got.In("fr").Language != "da" {
		t.Errorf("found %+v", got)
	}
	refused[*purpose.Purpose](o, purpose.ErrImmutable)(o.here.Update(o.one(), purpose.UpdateInput{ID: p.ID, ExpectedEdit: first.Edit, Content: c}))
	refused[*purpose.Purpose](o, purpose.ErrImmutable)(o.here.Publish(o.one(), purpose.PublishInput{ID: p.ID, ExpectedEdit: first.Edit}))

	second := must[*purpose.Purpose](o)(o.revised(first, false, newsletter()))
	if second.Version != 2 || second.ID == first.ID || second.MaterialSince != 1 || !second.Covers(1) || *second.Reason != "Plainer" {
		t.Errorf("revised to %+v", second)
	}
	c = newsletter()
	c.Data = append(c.Data, purpose.Data{Term: "pd:TelephoneNumber", Class: dataset.Ordinary, Optional: true})
	refused[*purpose.Purpose](o, purpose.ErrMaterial)(o.revised(second, false, c))
	draft := must[*purpose.Connection](o)(o.here.List(o.one(), page.Request{First: 1})).Nodes()[0]
	must[*purpose.Purpose](o)(o.here.Retire(o.one(), purpose.EndInput{ID: draft.ID})) // given up
	third := must[*purpose.Purpose](o)(o.revised(second, true, c))
	if third.Version != 4 || third.MaterialSince != 4 || third.Covers(2) {
		t.Errorf("revised to %+v", third)
	}
	if got := must[*purpose.Purpose](o)(o.here.ByID(o.one(), first.ID)); got.State != purpose.Superseded || got.EndedAt == nil || got.In("en").Name != "News by mail" {
		t.Errorf("the first is %+v", got)
	}

	must[*purpose.Purpose](o)(o.here.Retire(o.one(), purpose.EndInput{ID: third.ID}))
	refused[*purpose.Purpose](o, purpose.ErrOver)(o.here.Retire(o.one(), purpose.EndInput{ID: third.ID}))
	refused[*purpose.Purpose](o, purpose.ErrRetired)(o.here.ByKey(o.one(), "letters"))
	again := must[*purpose.Purpose](o)(o.revised(third, false, c))
	if again.Covers(third.Version) {
		t.Error("what was retired covers what comes after it")
	}
	if got := must[*purpose.Purpose](o)(o.here.ByKey(o.one(), "letters")); got.ID != again.ID {
		t.Errorf("found %+v", got)
	}
	refused[*purpose.Purpose](o, purpose.ErrNotFound)(o.here.ByKey(o.as(testenv.Two), "letters"))
	refused[*purpose.Purpose](o, purpose.ErrNotFound)(o.here.ByID(o.as(testenv.Two), first.ID))
	if got := must[*purpose.Connection](o)(o.here.List(o.as(testenv.Two), page.Request{First: 100})).Nodes(); len(got) != 0 {
		t.Errorf("another tenant sees %+v", got)
	}
}

// What a server did is seen at once there, and in time elsewhere.
func TestOtherServersLearn(t *testing.T) {
	o := open(t)
	refused[*purpose.Purpose](o, purpose.ErrNotFound)(o.there.ByKey(o.one(), "letters"))
	p := o.published("letters", newsletter())
	must[*purpose.Purpose](o)(o.here.ByKey(o.one(), "letters"))
	o.now = o.now.Add(purpose.Fresh)
	must[*purpose.Purpose](o)(o.there.ByKey(o.one(), "letters"))
	must[*purpose.Purpose](o)(o.here.Retire(o.one(), purpose.EndInput{ID: p.ID}))
	refused[*purpose.Purpose](o, purpose.ErrRetired)(o.here.ByKey(o.one(), "letters"))
	o.now = o.now.Add(purpose.Fresh)
	refused[*purpose.Purpose](o, purpose.ErrRetired)(o.there.ByKey(o.one(), "letters"))
}

func TestWhatAPurposeMaySay(t *testing.T) {
	o := open(t)
	text := func(s string) *string { return &s }
	for name, tt := range map[string]struct {
		change func(c *purpose.Content)
		field  string // INVALID with it, or else the words of what lacks
	}{
		"an unknown term":           {func(c *purpose.Content) { c.Term = "dpv:Nothing" }, "content.term"},
		"a term of another kind":    {func(c *purpose.Content) { c.Term = "dpv:Consent" }, "content.term"},
		"a basis that is none":      {func(c *purpose.Content) { c.LegalBasis = "dpv:Consent" }, "content.legalBasis"},
		"a basis of Art. 9":         {func(c *purpose.Content) { c.LegalBasis = "eu-gdpr:A9-2-a" }, "content.legalBasis"},
		"Art. 6 for Art. 9":         {func(c *purpose.Content) { c.Art9Basis = text("eu-gdpr:A6-1-a") }, "content.art9Basis"},
		"validity too long":         {func(c *purpose.Content) { c.ValidityMonths = 121 }, "content.validityMonths"},
		"cool-down below nothing":   {func(c *purpose.Content) { c.CoolDownMonths = -1 }, "content.coolDownMonths"},
		"a language that is none":   {func(c *purpose.Content) { c.Texts[0].Language = "Danish!" }, "content.texts.0.language"},
		"a language twice":          {func(c *purpose.Content) { c.Texts[1].Language = "da" }, "content.texts.1.language"},
		"no name":                   {func(c *purpose.Content) { c.Texts[1].Name = " " }, "content.texts.1.name"},
		"a name on two lines":       {func(c *purpose.Content) { c.Texts[0].Name = "a\nb" }, "content.texts.0.name"},
		"a text that hashes differ": {func(c *purpose.Content) { c.Texts[0].Description = "a\u2028b" }, "content.texts.0.description"},
		"data of an unknown class":  {func(c *purpose.Content) { c.Data[0].Class = "SECRET" }, "content.data.0.class"},
		"data twice":                {func(c *purpose.Content) { c.Data = append(c.Data, c.Data[0]) }, "content.data"},
		"a purpose as data":         {func(c *purpose.Content) { c.Data[0].Term = "dpv:DirectMarketing" }, "content.data"},

		"a language missing": {func(c *purpose.Content) { c.Texts = c.Texts[:1] }, "a text in en"},
		"no text":            {func(c *purpose.Content) { c.Texts = nil }, "a text in da-DK; a text in en"},
		"no data":            {func(c *purpose.Content) { c.Data = nil }, "the data that it uses"},
		"special data":       {func(c *purpose.Content) { c.Data[0] = purpose.Data{Term: "pd:Health", Class: dataset.Art9} }, "an art9Basis"},
		"no special data":    {func(c *purpose.Content) { c.Art9Basis = text(purpose.ExplicitConsent) }, "data of class ART9"},
		"consent to a duty":  {func(c *purpose.Content) { c.Term = "dpv:CounterMoneyLaundering" }, "a legal basis other than consent"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newsletter()
			tt.change(&c)
			p, err := o.here.Create(o.one(), purpose.CreateInput{Key: strconv.Itoa(o.keys), Content: c})
			if strings.HasPrefix(tt.field, "content.") {
				e, ok := errors.AsType[*errs.Error](err)
				if !ok || e.Kind != errs.Invalid || e.Field != tt.field {
					t.Errorf("got %+v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = o.here.Publish(o.one(), purpose.PublishInput{ID: p.ID, ExpectedEdit: 1})
			if !errors.Is(err, purpose.ErrIncomplete) || !strings.Contains(err.Error(), tt.field) {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, key := range []string{"", "a b", "æ", strings.Repeat("a", 101)} {
		if _, err := o.here.Create(o.one(), purpose.CreateInput{Key: key, Content: newsletter()}); errs.KindOf(err) != errs.Invalid {
			t.Errorf("key %q: %v", key, err)
		}
	}
	c := newsletter()
	c.Data[0] = purpose.Data{Term: "pd:Health", Class: dataset.Art9}
	c.LegalBasis, c.Art9Basis = "eu-gdpr:A6-1-b", text(purpose.ExplicitConsent)
	if p := o.published("health", c); !p.ConsentBased() || !p.Explicit() || !p.Sensitive() {
		t.Errorf("made %+v", p)
	}
}

// Who has taken a consent back isn't overruled by another legal basis, not even of a
// purpose that was retired in between.
func TestConsentIsNotSwapped(t *testing.T) {
	o := open(t)
	p, other := o.published("letters", newsletter()), newsletter()
	other.LegalBasis = "eu-gdpr:A6-1-f"
	_, err := o.revised(p, true, other)
	if !errors.Is(err, purpose.ErrIncomplete) || !strings.Contains(err.Error(), "a purpose of its own") {
		t.Errorf("revised: %v", err)
	}
	draft := must[*purpose.Connection](o)(o.here.List(o.one(), page.Request{First: 1})).Nodes()[0]
	for _, versionID := range []string{draft.ID, p.ID} {
		must[*purpose.Purpose](o)(o.here.Retire(o.one(), purpose.EndInput{ID: versionID}))
	}
	if _, err := o.revised(p, true, other); !errors.Is(err, purpose.ErrIncomplete) {
		t.Errorf("retired and revised: %v", err)
	}
	o.published("post", other)
}

func TestCreatedOnce(t *testing.T) {
	o := open(t)
	ctx := o.one()
	a := must[*purpose.Purpose](o)(o.here.Create(ctx, purpose.CreateInput{Key: "letters", Content: newsletter()}))
	b := must[*purpose.Purpose](o)(o.here.Create(ctx, purpose.CreateInput{Key: "letters", Content: newsletter()}))
	if a.ID != b.ID {
		t.Error("a repeat made another one")
	}
}

func TestUnregistered(t *testing.T) {
	o := open(t)
	o.published("letters", newsletter())
	for name, keys := range map[string][]string{"a": {"letters", "b.old"}, "b": {"b.old", "a.old"}, "c": nil} {
		must[*dataset.Dataset](o)(o.datasets.Create(o.one(), dataset.CreateInput{Name: name, Secrecy: dataset.NoSecrecy, Purposes: keys}))
	}
	if got := must[[]string](o)(o.here.Unregistered(o.one())); !slices.Equal(got, []string{"a.old", "b.old"}) {
		t.Errorf("unregistered %q", got)
	}
	if got := must[[]string](o)(o.here.Unregistered(o.as(testenv.Two))); len(got) != 0 {
		t.Errorf("another tenant sees %q", got)
	}
}

func TestLifeOfANotice(t *testing.T) {
	o := open(t)
	p := o.published("letters", newsletter())
	refused[*purpose.Notice](o, purpose.ErrNotFound)(o.here.CreateNotice(o.one(), purpose.CreateNoticeInput{Key: "n", Content: told("nothing")}))
	refused[*purpose.Notice](o, purpose.ErrNotFound)(o.here.CreateNotice(o.as(testenv.Two), purpose.CreateNoticeInput{Key: "n", Content: told("letters")}))
	refused[*purpose.Shown](o, purpose.ErrNotShown)(o.here.Show(o.one(), "letters", "en"))
	n := o.notice("n", told("letters"))
	if n.State != purpose.Published || n.Purposes[0] != (purpose.Ref{ID: p.ID, Key: "letters", Version: 1}) {
		t.Errorf("made %+v", n)
	}
	shown := must[*purpose.Shown](o)(o.here.Show(o.one(), "letters", "en-GB"))
	if shown.Notice.ID != n.ID || shown.Text.Title != "News" || shown.Purposes[0].ID != p.ID || shown.Text.ContentHash != n.In("en").ContentHash {
		t.Errorf("shown %+v", shown)
	}

	// Another wording of the purpose needs no new notice; another purpose does.
	second := must[*purpose.Purpose](o)(o.revised(p, false, newsletter()))
	if got := must[*purpose.Shown](o)(o.here.Show(o.one(), "letters", "da")); got.Notice.ID != n.ID || got.Purposes[0].Version != 1 {
		t.Errorf("shown %+v", got)
	}
	c := newsletter()
	c.OfferedToChildren = true
	must[*purpose.Purpose](o)(o.revised(second, true, c))
	refused[*purpose.Shown](o, purpose.ErrNotShown)(o.here.Show(o.one(), "letters", "da"))
	refused[*purpose.Notice](o, purpose.ErrMaterial)(o.revisedNotice(n, false, told("letters")))
	draft := must[*purpose.NoticeConnection](o)(o.here.ListNotices(o.one(), nil, page.Request{First: 1})).Nodes()[0]
	if draft.Texts[0].ContentHash != "" {
		t.Error("a draft has the hash of what it was copied from")
	}
	must[*purpose.Notice](o)(o.here.WithdrawNotice(o.one(), purpose.EndInput{ID: draft.ID}))
	next := must[*purpose.Notice](o)(o.revisedNotice(n, true, told("letters")))
	if got := must[*purpose.Shown](o)(o.here.Show(o.one(), "letters", "da")); got.Notice.ID != next.ID || got.Purposes[0].Version != 3 {
		t.Errorf("shown %+v", got)
	}
	if got := must[*purpose.Notice](o)(o.here.Notice(o.one(), n.ID)); got.State != purpose.Superseded || got.Texts[0].ContentHash != n.Texts[0].ContentHash {
		t.Errorf("the first is %+v", got)
	}

	key := "letters"
	of := must[*purpose.NoticeConnection](o)(o.here.ListNotices(o.one(), &key, page.Request{First: 2}))
	if got := of.Nodes(); len(got) != 2 || !of.PageInfo.HasNextPage || got[0].ID != next.ID {
		t.Errorf("listed %+v", of)
	}
	if got := must[*purpose.NoticeConnection](o)(o.here.ListNotices(o.one(), &key, page.Request{First: 2, After: of.PageInfo.EndCursor})).Nodes(); len(got) != 1 || got[0].ID != n.ID {
		t.Errorf("listed %+v", got)
	}
	for _, of := range []*string{nil, &key} {
		if got := must[*purpose.NoticeConnection](o)(o.here.ListNotices(o.as(testenv.Two), of, page.Request{First: 100})).Nodes(); len(got) != 0 {
			t.Errorf("another tenant sees %+v", got)
		}
	}
	refused[*purpose.Notice](o, purpose.ErrNoNotice)(o.here.Notice(o.as(testenv.Two), n.ID))
	refused[*purpose.Notice](o, purpose.ErrNoNotice)(o.here.WithdrawNotice(o.as(testenv.Two), purpose.EndInput{ID: next.ID}))
	must[*purpose.Notice](o)(o.here.WithdrawNotice(o.one(), purpose.EndInput{ID: next.ID}))
	refused[*purpose.Shown](o, purpose.ErrNotShown)(o.here.Show(o.one(), "letters", "da"))
}

func TestShownToEverybody(t *testing.T) {
	o := open(t)
	o.published("letters", newsletter())
	n := o.notice("n", told("letters"))
	nobody := t.Context()
	got := must[*purpose.Shown](o)(o.here.ShowPublic(nobody, "one", "letters", nil))
	if got.Notice.ID != n.ID || got.Text.Language != "da" {
		t.Errorf("shown %+v", got)
	}
	refused[*purpose.Shown](o, tenancy.ErrNotFound)(o.here.ShowPublic(nobody, "two", "letters", nil))
	refused[*purpose.Shown](o, purpose.ErrNotShown)(o.here.ShowPublic(nobody, "one", "nothing", nil))
	p := must[*purpose.Purpose](o)(o.here.ByKey(o.one(), "letters"))
	must[*purpose.Purpose](o)(o.here.Retire(o.one(), purpose.EndInput{ID: p.ID}))
	refused[*purpose.Shown](o, purpose.ErrNotShown)(o.here.ShowPublic(nobody, "one", "letters", nil))
}

func TestWhatANoticeMaySay(t *testing.T) {
	o := open(t)
	o.published("letters", newsletter())
	must[*purpose.Purpose](o)(o.here.Create(o.one(), purpose.CreateInput{Key: "draft", Content: newsletter()}))
	text := func(s string) *string { return &s }
	for name, tt := range map[string]struct {
		change func(c *purpose.NoticeContent)
		field  string // INVALID with it, or else the words of what lacks
	}{
		"a purpose twice":           {func(c *purpose.NoticeContent) { c.Purposes = []string{"letters", "letters"} }, "content.purposes"},
		"a country that is none":    {func(c *purpose.NoticeContent) { c.StorageLocations = []string{"Denmark"} }, "content.storageLocations"},
		"an unknown right":          {func(c *purpose.NoticeContent) { c.Rights = []string{"eu-gdpr:A99"} }, "content.rights"},
		"an unknown operation":      {func(c *purpose.NoticeContent) { c.Operations = []string{"dpv:Wonder"} }, "content.operations"},
		"an unknown role":           {func(c *purpose.NoticeContent) { c.Controllers[0].Role = "dpv:King" }, "content.controllers.0.role"},
		"a party without address":   {func(c *purpose.NoticeContent) { c.Controllers[0].Address = "" }, "content.controllers.0.address"},
		"a party of no country":     {func(c *purpose.NoticeContent) { c.Controllers[0].Country = "" }, "content.controllers.0.country"},
		"an address of another web": {func(c *purpose.NoticeContent) { c.Controllers[0].URL = text("http://a.example") }, "content.controllers.0.url"},
		"mail to nobody":            {func(c *purpose.NoticeContent) { c.Controllers[0].Email = text("nobody") }, "content.controllers.0.email"},
		"a type that is none":       {func(c *purpose.NoticeContent) { c.Authority.Type = "KING" }, "content.authority.type"},
		"an empty withdrawal":       {func(c *purpose.NoticeContent) { c.Texts[0].Withdrawal = "" }, "content.texts.0.withdrawal"},
		"a text that is too long":   {func(c *purpose.NoticeContent) { c.Texts[0].Body = strings.Repeat("a", 50_001) }, "content.texts.0.body"},

		"a language missing":   {func(c *purpose.NoticeContent) { c.Texts = c.Texts[1:] }, "a text in da-DK"},
		"no purposes":          {func(c *purpose.NoticeContent) { c.Purposes = nil }, "the purposes that it tells of"},
		"a purpose in draft":   {func(c *purpose.NoticeContent) { c.Purposes = []string{"draft"} }, "purpose draft published"},
		"no controller":        {func(c *purpose.NoticeContent) { c.Controllers[0].Role = "dpv:DataProcessor" }, "a controller"},
		"no authority":         {func(c *purpose.NoticeContent) { c.Authority = nil }, "the supervisory authority"},
		"no storage":           {func(c *purpose.NoticeContent) { c.StorageLocations = nil }, "storageLocations"},
		"no place":             {func(c *purpose.NoticeContent) { c.ProcessingLocations = nil }, "processingLocations"},
		"no operations":        {func(c *purpose.NoticeContent) { c.Operations = nil }, "the operations"},
		"no right to complain": {func(c *purpose.NoticeContent) { c.Rights = c.Rights[:1] }, "eu-gdpr:A77"},
		"no way back":          {func(c *purpose.NoticeContent) { c.Rights = c.Rights[1:] }, "eu-gdpr:A7-3"},
	} {
		t.Run(name, func(t *testing.T) {
			c := told("letters")
			tt.change(&c)
			n, err := o.here.CreateNotice(o.one(), purpose.CreateNoticeInput{Key: strconv.Itoa(o.keys), Content: c})
			if strings.HasPrefix(tt.field, "content.") {
				e, ok := errors.AsType[*errs.Error](err)
				if !ok || e.Kind != errs.Invalid || e.Field != tt.field {
					t.Errorf("got %+v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = o.here.PublishNotice(o.one(), purpose.PublishInput{ID: n.ID, ExpectedEdit: 1})
			if !errors.Is(err, purpose.ErrIncomplete) || !strings.Contains(err.Error(), tt.field) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What tells of more than before says so.
func TestMaterialChangesOfNotices(t *testing.T) {
	o := open(t)
	o.published("letters", newsletter())
	o.published("calls", newsletter())
	processor := controller()
	processor.ID, processor.Role = "CVR 87654321", "dpv:Recipient"
	for name, change := range map[string]func(c *purpose.NoticeContent){
		"another controller":  func(c *purpose.NoticeContent) { c.Controllers[0].ID = "CVR 87654321" },
		"one controller less": func(c *purpose.NoticeContent) { c.Controllers = c.Controllers[:1] },
		"another recipient":   func(c *purpose.NoticeContent) { c.Recipients = append(c.Recipients, processor) },
		"another purpose":     func(c *purpose.NoticeContent) { c.Purposes = append(c.Purposes, "calls") },
		"another country":     func(c *purpose.NoticeContent) { c.StorageLocations = []string{"DK", "US"} },
		"another place":       func(c *purpose.NoticeContent) { c.ProcessingLocations = append(c.ProcessingLocations, "US") },
		"another law":         func(c *purpose.NoticeContent) { c.Jurisdiction = "SE" },
		"another operation":   func(c *purpose.NoticeContent) { c.Operations = append(c.Operations, "dpv:Profiling") },
		"a right less":        func(c *purpose.NoticeContent) { c.Rights = c.Rights[:2] },
		"a restriction less":  func(c *purpose.NoticeContent) { c.GeographicRestrictions = nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := func() purpose.NoticeContent {
				c := told("letters")
				joint := controller()
				joint.ID, joint.Role = "CVR 11111111", "dpv:JointDataControllers"
				c.Controllers = append(c.Controllers, joint)
				c.Rights, c.GeographicRestrictions = append(c.Rights, "eu-gdpr:A15"), []string{"US"}
				return c
			}
			n := o.notice(strconv.Itoa(o.keys), c())
			less := c()
			less.ProcessingLocations, less.Texts[0].Body = []string{"DK"}, "Må vi?"
			next, err := o.revisedNotice(n, false, less)
			if err != nil || next.MaterialSince != 1 {
				t.Fatalf("words only, and a country less: %+v, %v", next, err)
			}
			more := c()
			change(&more)
			if _, err := o.revisedNotice(next, false, more); !errors.Is(err, purpose.ErrMaterial) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The hash is of a content that anybody can make again, and nothing of which can
// be changed without another hash.
func TestContentHash(t *testing.T) {
	o := open(t)
	p := o.published("letters", newsletter())
	c := told("letters")
	service := "A \"service\""
	c.Service, c.Recipients = &service, []purpose.Party{{ID: "banks", Type: purpose.Category, Role: "dpv:Recipient", Name: "Banks"}}
	n := o.notice("n", c)
	hashes := map[string]bool{}
	for _, text := range n.Texts {
		content, err := purpose.Canonical(n, text, []*purpose.Purpose{p})
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if text.ContentHash != hex.EncodeToString(sum[:]) {
			t.Errorf("hash %s of %s", text.ContentHash, content)
		}
		hashes[text.ContentHash] = true
	}
	content, err := purpose.Canonical(n, n.In("da"), []*purpose.Purpose{p})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"authority":{"address":"By","contact":"tlf.","country":"DK","id":"DT","name":"Datatilsynet","role":"dpv:DataProtectionAuthority","type":"AUTHORITY"},` +
		`"body":"Må vi skrive til dig? <b>&</b>","collection":"Du skriver dem.","controllers":[{"address":"Vej 1\n1000 By","contact":"privatliv@eksempel.example",` +
		`"country":"DK","id":"CVR 12345674","name":"Eksempel ApS","role":"dpv:DataController","type":"ORGANISATION"}],"format":"vogter/notice/1","geographicRestrictions":[],` +
		`"id":"` + n.ID + `","jurisdiction":"DK","key":"n","language":"da","operations":["dpv:Store","dpv:Use"],"processingLocations":["DK","DE"],` +
		`"purposes":[{"data":[{"class":"ORDINARY","optional":false,"term":"pd:EmailAddress"}],"description":"Det bruger vi dem til.","id":"` + p.ID + `","key":"letters",` +
		`"legalBasis":"eu-gdpr:A6-1-a","marketing":true,"name":"Newsletter","offeredToChildren":false,"optional":true,"term":"dpv:DirectMarketing","validityMonths":24,"version":1}],` +
		`"recipients":[{"address":"","contact":"","country":"","id":"banks","name":"Banks","role":"dpv:Recipient","type":"CATEGORY"}],"retention":"To år.",` +
		`"rights":["eu-gdpr:A7-3","eu-gdpr:A77"],"service":"A \"service\"","storageLocations":["DK"],"title":"Nyt","version":1,"vocabularyVersion":"2.3","withdrawal":"Klik."}`
	if string(content) != want {
		t.Errorf("content\n%s\nwant\n%s", content, want)
	}
	if !json.Valid(content) || len(hashes) != 2 {
		t.Errorf("hashes %v", hashes)
	}
}
