package portal_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/local/mailsink"
	"github.com/vogter/vogter/internal/mail"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// office is where people call from unless a test says otherwise.
const office = "192.0.2.7"

// desk is a platform with the portals of two tenants, "one" and "two", that sends
// mail.
type desk struct {
	*world.World
	*portal.Service

	sink  *mailsink.Sink
	redis *redis.Client
	one   context.Context
	two   context.Context
	free  atomic.Bool // nothing is limited
}

// limits are the real ones, unless a test is about something else.
type limits struct {
	*ratelimit.Limiter
	d *desk
}

func (l limits) Take(ctx context.Context, uses ...ratelimit.Use) error {
	if l.d.free.Load() {
		return nil
	}
	return l.Limiter.Take(ctx, uses...)
}

func (l limits) Check(ctx context.Context, uses ...ratelimit.Use) error {
	if l.d.free.Load() {
		return nil
	}
	return l.Limiter.Check(ctx, uses...)
}

func start(t *testing.T) *desk {
	t.Helper()
	d := &desk{World: world.Start(t), sink: mailsink.New(testenv.Logger(t), testenv.Now)}
	d.one, d.two = d.As(testenv.One), d.As(testenv.Two)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	ok(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- d.sink.ServeSMTP(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		ok(t, <-served)
	})
	server, err := mail.New("smtp://"+l.Addr().String()+"/?disable_starttls=true", "Vogter <vogter@vogter.example>", nil)
	ok(t, err)
	notices, err := notify.NewService(notify.Config{
		Store: mongo.NewNotifyStore(d.DB, d.Vault), Sender: server, Changes: d.Changes, Log: testenv.Logger(t), Now: d.Now,
	})
	ok(t, err)
	d.redis, err = jobs.OpenRedis(testenv.Redis(t))
	ok(t, err)
	t.Cleanup(func() { ok(t, d.redis.Close()) })
	hasher := vault.Hasher{Vault: d.Vault}
	limiter, err := ratelimit.New(ratelimit.Config{
		Redis: d.redis, Table: ratelimit.Defaults(), Log: testenv.Logger(t), Now: d.World.Now,
		Key: func(ctx context.Context) ([32]byte, error) {
			return hasher.Hash(tenant.NewContext(ctx, testenv.One), "limits", []byte("counters"))
		},
	})
	ok(t, err)
	tenants := tenancy.NewService(tenancy.Config{
		Store: mongo.NewTenantStore(d.DB, d.Vault), Changes: d.Changes, Vault: d.Vault, Now: d.World.Now,
	})
	for slug, of := range map[string]context.Context{"one": d.one, "two": d.two} {
		_, err := tenants.Update(of, tenancy.UpdateInput{ID: string(authz.FromContext(of).Tenant), ExpectedVersion: 1, Slug: &slug})
		ok(t, err)
	}
	d.Service = portal.NewService(portal.Config{
		Store: mongo.NewPortalStore(d.DB, d.Vault), Tenants: tenants, Subjects: mongo.NewSubjectStore(d.DB, d.Vault, testenv.Logger(t)),
		Changes: d.Changes, Recorder: d.Recorder, Vault: d.Vault, Hasher: hasher, Limits: limits{limiter, d}, Mail: notices, Now: d.World.Now,
	})
	d.Handle(notify.JobSend, notices.Send)
	d.Handle(portal.JobCode, d.Deliver)
	return d
}

// Now settles which of the two clocks is meant: they are the same.
func (d *desk) Now() time.Time { return d.World.Now() }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// soon reports whether two times are as near as one call is to the next.
func soon(a, b time.Time) bool { return a.Sub(b).Abs() < time.Minute }

func text(s string) *personal.Text {
	t := personal.NewText(s)
	return &t
}

// person makes a person with an address.
func (d *desk) person(t *testing.T, of context.Context, reference, email string) *subject.Subject { //nolint:revive // the test comes first
	t.Helper()
	in := subject.CreateInput{
		Reference: text(reference), Name: &subject.NameInput{Full: text("Åse Ødegård")}, BirthDate: text("1961-04-05"),
		Phones: []personal.Text{personal.NewText("+4526000001")},
	}
	if email != "" {
		in.Emails = []personal.Text{personal.NewText(email)}
	}
	s, err := d.Subjects.Create(of, in)
	ok(t, err)
	return s
}

// from is a call of nobody from an address.
func from(t *testing.T, address string) context.Context {
	t.Helper()
	return network.NewContext(t.Context(), netip.MustParseAddr(address))
}

func byEmail(slug, email string) portal.CodeInput {
	return portal.CodeInput{TenantSlug: slug, Email: text(email)}
}

// mails are the codes sent to an address so far, with the languages.
func (d *desk) mails(address string) (codes []string) {
	for _, m := range d.sink.Messages() {
		if slices.Contains(m.To, address) {
			codes = append(codes, regexp.MustCompile(`\b\d{8}\b`).FindString(m.Text))
		}
	}
	return codes
}

// ask asks for a code and returns it, "" when none was sent to the address.
func (d *desk) ask(t *testing.T, at string, in portal.CodeInput, address string) (challenge, code string) {
	t.Helper()
	before := len(d.mails(address))
	r, err := d.RequestCode(from(t, at), in)
	ok(t, err)
	d.Work(t.Context())
	if after := d.mails(address); len(after) > before {
		code = after[len(after)-1]
	}
	return r.Challenge, code
}

// enter signs a person in, and returns their context.
func (d *desk) enter(t *testing.T, challenge, code string) (ctx context.Context, token string) {
	t.Helper()
	g, err := d.SignIn(from(t, office), portal.SignInInput{Challenge: challenge, Code: code})
	ok(t, err)
	p, err := d.Authenticate(tenant.System(t.Context(), "test"), g.Token)
	ok(t, err)
	return tenant.NewContext(authz.NewContext(t.Context(), p), p.Tenant), g.Token
}

func (d *desk) signIn(t *testing.T, challenge, code string) error {
	t.Helper()
	_, err := d.SignIn(from(t, office), portal.SignInInput{Challenge: challenge, Code: code})
	return err
}

const aase = "aase.oedegaard@kunde.example"

func TestSignInByEachIdentifierInBothLanguages(t *testing.T) {
	d := start(t)
	s := d.person(t, d.one, "C-1", aase)
	for _, tt := range []struct {
		name, language, greeting string
		in                       portal.CodeInput
	}{
		{"e-mail", "da", "Din kode til Første ApS", portal.CodeInput{Email: text("Aase.Oedegaard@KUNDE.example")}},
		{"phone", "en-GB", "Your code for Første ApS", portal.CodeInput{Phone: text("26 00 00 01")}},
		{"reference and birth date", "", "Din kode til Første ApS", portal.CodeInput{Reference: text("C-1"), BirthDate: text("1961-04-05")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.TenantSlug = "one"
			if tt.language != "" {
				tt.in.Language = &tt.language
			}
			challenge, code := d.ask(t, office, tt.in, aase)
			if all := d.sink.Messages(); all[len(all)-1].Subject != tt.greeting {
				t.Errorf("the mail begins %q", all[len(all)-1].Subject)
			}
			ctx, token := d.enter(t, challenge, code[:4]+" "+code[4:])
			p := authz.FromContext(ctx)
			if p.Kind != authz.KindSubject || p.Subject != s.ID || p.Tenant != testenv.One || !strings.HasPrefix(token, "vgs_") {
				t.Errorf("signed in as %+v", p)
			}
			me, err := d.Self(ctx)
			if err != nil || me.SubjectID != s.ID || me.Method != portal.ByCode || !soon(me.ExpiresAt, d.Now().Add(30*time.Minute)) {
				t.Errorf("self is %+v, %v", me, err)
			}
			shown, err := d.Subjects.Get(ctx, s.ID)
			if err != nil || shown.Identity != personal.Clear || shown.Name.Full.Reveal() != "Åse Ødegård" {
				t.Errorf("sees %+v, %v", shown, err)
			}
			if got := d.Entries(t.Context(), challenge); !slices.Equal(got, []string{"subjectCode.request", "subjectCode.send"}) {
				t.Errorf("the log has %v", got)
			}
			if got := d.Entries(t.Context(), p.ID); !slices.Equal(got, []string{"subject.signIn"}) {
				t.Errorf("the log has %v", got)
			}
		})
	}
	for name, in := range map[string]portal.CodeInput{
		"nothing": {}, "two": {Email: text(aase), Phone: text("26000001")}, "a reference alone": {Reference: text("C-1")},
		"no address": {Email: text("Åse")}, "no date": {Email: text(aase), BirthDate: text("1961-02-30")},
		"no language": {Email: text(aase), Language: new(string)},
	} {
		in.TenantSlug = "one"
		if _, err := d.RequestCode(from(t, "198.51.100.1"), in); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.RequestCode(from(t, office), byEmail("three", aase)); errs.KindOf(err) != errs.NotFound {
		t.Errorf("of no tenant: %v", err)
	}
}

// TestNobodyLearnsWhoIsKnown compares what is left of a call for persons of each
// kind: all that was written but ids, times and what is sealed, and how each
// guess is answered.
func TestNobodyLearnsWhoIsKnown(t *testing.T) {
	d := start(t)
	d.free.Store(true)
	d.person(t, d.one, "C-1", "known@kunde.example")
	d.person(t, d.one, "C-2", "family@kunde.example")
	d.person(t, d.one, "C-3", "family@kunde.example")
	d.SetState(d.one, d.person(t, d.one, "C-4", "restricted@kunde.example"), subject.Restricted)
	d.SetState(d.one, d.person(t, d.one, "C-5", "erased@kunde.example"), subject.Erased)
	d.person(t, d.one, "C-6", "")
	changed := d.person(t, d.one, "C-7", "before@kunde.example")
	staff := authz.NewContext(tenant.NewContext(t.Context(), testenv.One), authz.Principal{
		Kind: authz.KindMember, ID: "mem_1", Tenant: testenv.One, Role: authz.RoleOwner, Clearances: authz.Clearances(),
	})
	_, err := d.Subjects.Update(staff, subject.UpdateInput{
		ID: changed.ID, ExpectedVersion: changed.Version, Emails: []personal.Text{personal.NewText("changed@kunde.example")},
	})
	ok(t, err)
	d.person(t, d.two, "C-1", "elsewhere@kunde.example")

	kinds := []struct {
		name string
		in   portal.CodeInput
		sent bool
	}{
		{"known", byEmail("one", "known@kunde.example"), true},
		{"unknown", byEmail("one", "nobody@kunde.example"), false},
		{"two of a family", byEmail("one", "family@kunde.example"), false},
		{"restricted", byEmail("one", "restricted@kunde.example"), true},
		{"erased", byEmail("one", "erased@kunde.example"), false},
		{"without address", portal.CodeInput{TenantSlug: "one", Reference: text("C-6"), BirthDate: text("1961-04-05")}, false},
		{"with another birth date", portal.CodeInput{TenantSlug: "one", Reference: text("C-1"), BirthDate: text("1961-04-06")}, false},
		{"with an address that staff have just changed", byEmail("one", "changed@kunde.example"), false},
		{"of another tenant", byEmail("one", "elsewhere@kunde.example"), false},
	}
	const rounds = 8
	var first []string
	took, failed := map[string]time.Duration{}, map[string]time.Duration{}
	for range rounds {
		for _, k := range kinds {
			began := testenv.Now()
			r, err := d.RequestCode(from(t, office), k.in)
			took[k.name] += testenv.Now().Sub(began)
			ok(t, err)
			left := d.traces(t, r.Challenge)
			if !soon(r.ExpiresAt, d.Now().Add(portal.CodeLife)) {
				t.Errorf("%s: the code holds until %v", k.name, r.ExpiresAt)
			}
			before := len(d.sink.Messages())
			d.Work(t.Context())
			if sent := len(d.sink.Messages()) > before; sent != k.sent {
				t.Errorf("%s: a code was sent: %t", k.name, sent)
			}
			began = testenv.Now()
			err = d.signIn(t, r.Challenge, "abc")
			failed[k.name] += testenv.Now().Sub(began)
			left = append(left, fmt.Sprint(err))
			left = append(left, d.Entries(t.Context(), r.Challenge)[2:]...)
			if first == nil {
				first = left
			} else if !slices.Equal(left, first) {
				t.Errorf("%s leaves\n%v, a known person\n%v", k.name, left, first)
			}
			d.Sleep(portal.MailsWithin / 4) // so that nobody is sent too many
		}
	}
	for _, k := range kinds {
		t.Logf("%-45s asked in %6.2f ms, refused in %6.2f ms on average", k.name,
			float64(took[k.name].Microseconds())/1000/rounds, float64(failed[k.name].Microseconds())/1000/rounds)
	}

	d.Sleep(portal.Settled)
	if _, code := d.ask(t, office, byEmail("one", "changed@kunde.example"), "changed@kunde.example"); code == "" {
		t.Error("no code to an address that has settled")
	}
	told := byEmail("one", "family@kunde.example")
	told.BirthDate = text("1961-04-05")
	if _, code := d.ask(t, office, told, "family@kunde.example"); code != "" {
		t.Error("a code for two who share a birth date too")
	}
}

// traces is what a call for a code has written, but for what differs from call to
// call anyway.
func (d *desk) traces(t *testing.T, challenge string) (left []string) {
	t.Helper()
	for coll, filter := range map[string]bson.D{
		"challenges": {{Key: "_id", Value: challenge}}, "jobs": {{Key: "object", Value: challenge}}, "audit": {{Key: "object", Value: challenge}},
	} {
		var doc bson.D
		ok(t, d.Stored(coll).FindOne(t.Context(), filter).Decode(&doc))
		for _, e := range doc {
			line := coll + "." + e.Key
			switch e.Key {
			case "_id", "object", "createdAt", "expiresAt", "runAfter", "enqueuedAt", "at", "typed":
			default:
				line += fmt.Sprintf(": %v", e.Value)
			}
			left = append(left, line)
		}
	}
	slices.Sort(left)
	return left
}

func TestCodesEnd(t *testing.T) {
	d := start(t)
	d.person(t, d.one, "C-1", aase)
	d.person(t, d.two, "C-1", aase)
	refused := func(name, challenge, code string) {
		t.Helper()
		if err := d.signIn(t, challenge, code); !errors.Is(err, portal.ErrCode) {
			t.Errorf("%s: %v", name, err)
		}
	}
	first, old := d.ask(t, office, byEmail("one", aase), aase)
	second, code := d.ask(t, office, byEmail("one", aase), aase)
	refused("replaced", first, old)
	refused("of another challenge", second, old)
	ok(t, d.signIn(t, second, code))
	refused("used", second, code)

	foreign, theirs := d.ask(t, office, byEmail("two", aase), aase)
	mine, code := d.ask(t, office, byEmail("one", aase), aase)
	refused("of the other tenant", mine, theirs)
	refused("for the other tenant", foreign, code)
	refused("of a challenge that was moved to the other tenant", "chl_"+strings.TrimPrefix(string(testenv.Two), "ten_")+mine[len(mine)-26:], code)
	refused("of no challenge", id.New(id.Challenge, testenv.One), code)
	refused("of no tenant", id.New(id.Challenge, id.NewTenant()), code)
	refused("of nothing", "", "")
	d.Sleep(portal.CodeLife - time.Minute)
	ok(t, d.signIn(t, mine, code))
	d.Sleep(time.Minute)
	refused("expired", foreign, theirs)

	if n := d.Count(t.Context(), "audit", bson.D{{Key: "action", Value: "subject.signIn"}, {Key: "outcome", Value: "FAILED"}}); n != 5 {
		t.Errorf("%d failed attempts are in the log, want those on challenges that there are", n)
	}
	if n := d.Count(t.Context(), "audit", bson.D{{Key: "tenant", Value: testenv.Two}, {Key: "action", Value: "subject.signIn"}, {Key: "outcome", Value: "OK"}}); n != 0 {
		t.Errorf("%d sign-ins are in the log of the second tenant", n)
	}
}

func TestGuessesSideBySideAreEachCounted(t *testing.T) {
	d := start(t)
	d.person(t, d.one, "C-1", aase)
	challenge, code := d.ask(t, office, byEmail("one", aase), aase)
	const guesses = 16
	var all sync.WaitGroup
	var refused atomic.Int32
	for i := range guesses {
		all.Go(func() {
			_, err := d.SignIn(from(t, office), portal.SignInInput{Challenge: challenge, Code: fmt.Sprintf("x%d", i)})
			if errors.Is(err, portal.ErrCode) {
				refused.Add(1)
			}
		})
	}
	all.Wait()
	var doc struct {
		Attempts int `bson:"attempts"`
	}
	ok(t, d.Stored("challenges").FindOne(t.Context(), bson.D{{Key: "_id", Value: challenge}}).Decode(&doc))
	if refused.Load() != guesses || doc.Attempts != guesses {
		t.Errorf("%d refused, %d counted, of %d", refused.Load(), doc.Attempts, guesses)
	}
	if err := d.signIn(t, challenge, code); !errors.Is(err, portal.ErrCode) {
		t.Errorf("the right code after %d guesses: %v", guesses, err)
	}
	if n := len(d.Entries(t.Context(), challenge)); n != 2+portal.MaxAttempts {
		t.Errorf("%d entries in the log", n)
	}

	// The right code side by side with itself lets one in.
	challenge, code = d.ask(t, office, byEmail("one", aase), aase)
	var in atomic.Int32
	for range portal.MaxAttempts {
		all.Go(func() {
			if d.signIn(t, challenge, code) == nil {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("a code was used %d times", in.Load())
	}
}

func TestSessionsEnd(t *testing.T) {
	d := start(t)
	d.free.Store(true)
	s := d.person(t, d.one, "C-1", aase)
	begin := func() (context.Context, string) {
		t.Helper()
		challenge, code := d.ask(t, office, byEmail("one", aase), aase)
		return d.enter(t, challenge, code)
	}
	known := func(token string) bool {
		t.Helper()
		_, err := d.Authenticate(tenant.System(t.Context(), "test"), token)
		if err != nil && !errors.Is(err, portal.ErrSession) {
			t.Errorf("refused by %v", err)
		}
		return err == nil
	}
	ctx, token := begin()
	_, other := begin()
	for name, bad := range map[string]string{
		"altered": token[:len(token)-1] + map[bool]string{true: "b", false: "a"}[strings.HasSuffix(token, "a")],
		"cut":     token[:len(token)-2], "moved": strings.Replace(token, "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", 1),
		"mixed": token[:strings.LastIndex(token, "_")] + other[strings.LastIndex(other, "_"):], "empty": "vgs_", "other": "vgs_x_y",
	} {
		if known(bad) {
			t.Errorf("a token that is %s passes", name)
		}
	}
	if n, err := d.SignOut(ctx, portal.SignOutInput{}); n != 1 || err != nil || known(token) || !known(other) {
		t.Errorf("signing out ended %d, %v", n, err)
	}
	ctx, token = begin()
	if n, err := d.SignOut(ctx, portal.SignOutInput{Everywhere: true}); n != 2 || err != nil || known(token) || known(other) {
		t.Errorf("signing out everywhere ended %d, %v", n, err)
	}
	if _, err := d.SignOut(d.one, portal.SignOutInput{}); !errors.Is(err, portal.ErrNotSubject) {
		t.Errorf("a portal signs out: %v", err)
	}
	_, token = begin()
	d.SetState(d.one, s, subject.Restricted)
	_, again := begin()
	if !known(token) || !known(again) {
		t.Error("Art. 18 ends Art. 15")
	}
	d.Sleep(portal.SessionLife - time.Minute)
	if !known(token) {
		t.Error("a session ends early")
	}
	d.Sleep(time.Minute)
	if known(token) {
		t.Error("a session goes on")
	}
	_, token = begin()
	waiting, code := d.ask(t, office, byEmail("one", aase), aase)
	d.SetState(d.one, s, subject.Erasing)
	if err := d.signIn(t, waiting, code); !errors.Is(err, portal.ErrCode) || known(token) {
		t.Errorf("while being erased: %v", err)
	}
	for _, e := range mongo.Erasers(d.DB, d.Bucket, d.Changes) {
		if e.Name() != "sign-ins" {
			continue
		}
		target := erasure.Target{Subject: s.ID, Whole: true}
		left, err := e.Left(d.one, target)
		ok(t, err)
		if foreign, err := e.Left(d.two, target); left == 0 || foreign != 0 || err != nil {
			t.Errorf("%d left, %d of the other tenant, %v", left, foreign, err)
		}
		ok(t, e.Erase(d.one, target))
		if left, err := e.Left(d.one, target); left != 0 || err != nil {
			t.Errorf("%d left, %v", left, err)
		}
	}
	begin2 := d.person(t, d.two, "C-2", "other@kunde.example")
	challenge, code := d.ask(t, office, byEmail("two", "other@kunde.example"), "other@kunde.example")
	if ctx, _ := d.enter(t, challenge, code); authz.FromContext(ctx).Subject != begin2.ID {
		t.Error("somebody else signed in")
	}
	ok(t, d.Sweep(tenant.System(t.Context(), "test")))
	if n := d.Count(t.Context(), "selfSessions", bson.D{}); n != 1 {
		t.Errorf("%d sessions after a sweep", n)
	}
	d.Sleep(portal.Keep + time.Second)
	ok(t, d.Sweep(tenant.System(t.Context(), "test")))
	if n := d.Count(t.Context(), "selfSessions", bson.D{}) + d.Count(t.Context(), "challenges", bson.D{}); n != 0 {
		t.Errorf("%d rows after a month", n)
	}
}

// TestThePersonsOwn: a session shows one person to one tenant's data, without
// what AML law keeps secret from them.
func TestThePersonsOwn(t *testing.T) {
	d := start(t)
	mine, theirs := d.person(t, d.one, "C-1", aase), d.person(t, d.two, "C-1", aase)
	neighbour := d.person(t, d.one, "C-2", "neighbour@kunde.example")
	secret := world.Field("suspicion", dataset.TypeString)
	secret.Secrecy = dataset.AML
	kyc := d.Dataset(d.one, "kyc", world.Field("occupation", dataset.TypeString), secret)
	reports, err := d.Datasets.Create(d.one, dataset.CreateInput{
		Name: "reports", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("text", dataset.TypeString)},
	})
	ok(t, err)
	open := d.Record(d.one, mine, kyc, world.Value("occupation", "skipper"), world.Value("suspicion", "smuggling"))
	hidden := d.Record(d.one, mine, kyc, world.Value("suspicion", "more smuggling"))
	report := d.Record(d.one, mine, reports, world.Value("text", "filed"))
	about, err := d.Records.Write(d.one, record.WriteInput{
		Subject: neighbour.ID, Dataset: kyc.ID, Origin: record.Provided, Parties: []record.Party{{Subject: mine.ID, Role: "owner"}},
		Fields: []record.FieldInput{world.Value("occupation", "baker"), world.About(mine.ID, "suspicion", "the neighbour's partner")},
	})
	ok(t, err)
	foreign := d.Record(d.one, neighbour, kyc, world.Value("occupation", "baker"))
	elsewhere := d.Record(d.two, theirs, d.Dataset(d.two, "kyc", world.Field("occupation", dataset.TypeString)), world.Value("occupation", "captain"))

	challenge, code := d.ask(t, office, byEmail("one", aase), aase)
	ctx, _ := d.enter(t, challenge, code)
	list, err := d.Records.List(ctx, record.Query{Subject: mine.ID}, page.Request{First: 10})
	ok(t, err)
	n, err := list.TotalCount(ctx)
	if err != nil || n != 1 || len(list.Edges) != 1 || list.PageInfo.HasNextPage {
		t.Fatalf("%d records of %d, %v", len(list.Edges), n, err)
	}
	r := list.Nodes()[0]
	if r.ID != open.ID || len(r.Fields) != 1 || r.Fields[0].Key != "occupation" || r.Fields[0].State != personal.Clear {
		t.Errorf("sees %+v", r)
	}
	before := *r
	_, err = d.Records.Update(d.one, record.UpdateInput{
		ID: open.ID, ExpectedVersion: 1, Fields: []record.FieldInput{world.Value("occupation", "skipper"), world.Value("suspicion", "none")},
	})
	ok(t, err)
	r, err = d.Records.Get(ctx, open.ID)
	ok(t, err)
	if r.Version != before.Version || !r.UpdatedAt.Equal(before.UpdatedAt) || len(r.Fields) != 1 {
		t.Errorf("a change of a secret value shows: %+v, was %+v", r, before)
	}
	for name, recordID := range map[string]string{
		"with a secret value only": hidden.ID, "of a secret dataset": report.ID, "with a secret about them": about.ID,
		"of somebody else": foreign.ID, "of the other tenant": elsewhere.ID,
	} {
		if _, err := d.Records.Get(ctx, recordID); !errors.Is(err, record.ErrNotFound) {
			t.Errorf("a record %s: %v", name, err)
		}
	}
	if _, err := d.Subjects.Get(ctx, theirs.ID); errs.KindOf(err) != errs.NotFound {
		t.Errorf("the person at the other tenant: %v", err)
	}
	if datasets, err := d.Datasets.List(ctx); err != nil || len(datasets) != 1 || len(datasets[0].Fields) != 1 {
		t.Errorf("datasets %+v, %v", datasets, err)
	}
}

// TestNoIdentifierLiesOpen looks at what is stored and what is in Redis.
func TestNoIdentifierLiesOpen(t *testing.T) {
	d := start(t)
	d.person(t, d.one, "C-1", aase)
	r, err := d.RequestCode(from(t, office), byEmail("one", aase))
	ok(t, err)
	scan := func(when string, also ...string) {
		t.Helper()
		for _, coll := range []string{"challenges", "jobs", "audit", "messages", "selfSessions"} {
			cursor, err := d.Stored(coll).Find(t.Context(), bson.D{})
			ok(t, err)
			var docs []bson.M
			ok(t, cursor.All(t.Context(), &docs))
			for _, doc := range docs {
				raw, err := bson.MarshalExtJSON(doc, false, false)
				ok(t, err)
				for _, secret := range append(also, aase, "oedegaard") {
					if strings.Contains(string(raw), secret) {
						t.Errorf("%s: %s holds a value: %s", when, coll, raw)
					}
				}
			}
		}
		for _, key := range d.redis.Keys(t.Context(), "*").Val() {
			if strings.Contains(key, "oedegaard") || strings.Contains(key, office) || strings.Contains(key, string(testenv.One)) {
				t.Errorf("%s: redis has %s", when, key)
			}
		}
	}
	scan("asked")
	d.Work(t.Context())
	code := d.mails(aase)[0]
	scan("sent", code)
	if n := d.Count(t.Context(), "challenges", bson.D{{Key: "typed", Value: bson.D{{Key: "$exists", Value: true}}}}); n != 0 {
		t.Errorf("%d challenges keep what was typed", n)
	}
	_, token := d.enter(t, r.Challenge, code)
	scan("signed in", code, token, token[strings.LastIndex(token, "_")+1:])
}

// TestBruteForce tries 10,000 wrong codes from many addresses, a few in the small
// size: they are throttled, and the person still gets in from where they have
// signed in before.
func TestBruteForce(t *testing.T) {
	d := start(t)
	tries, addresses := 360, 3
	if os.Getenv("VOGTER_SCALE") == "full" {
		tries, addresses = 10_000, 50
	}
	d.person(t, d.one, "C-1", aase)
	challenge, code := d.ask(t, office, byEmail("one", aase), aase)
	d.enter(t, challenge, code)

	var wrong, limited, asked, refused int
	open := make([]string, addresses)
	for i := range tries {
		n := i % addresses
		at := fmt.Sprintf("198.51.%d.%d", 100+n/250, 1+n%250)
		if i/addresses%portal.MaxAttempts == 0 {
			switch r, err := d.RequestCode(from(t, at), byEmail("one", aase)); {
			case err == nil:
				open[n], asked = r.Challenge, asked+1
			case errs.KindOf(err) == errs.Limited:
				refused++
			default:
				t.Fatal(err)
			}
		}
		switch _, err := d.SignIn(from(t, at), portal.SignInInput{Challenge: open[n], Code: fmt.Sprintf("%08d", i)}); {
		case errors.Is(err, portal.ErrCode):
			wrong++
		case errs.KindOf(err) == errs.Limited:
			limited++
		default:
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	d.Work(t.Context())
	t.Logf("%d guesses from %d addresses: %d were wrong, %d limited; %d codes asked for, %d limited; %d mails",
		tries, addresses, wrong, limited, asked, refused, len(d.mails(aase)))
	if limited == 0 || refused == 0 {
		t.Error("nothing was limited")
	}
	if n := len(d.mails(aase)); n != portal.MaxMails {
		t.Errorf("%d mails to the person", n)
	}
	if counted := d.Count(t.Context(), "audit", bson.D{{Key: "action", Value: "subject.signIn"}, {Key: "outcome", Value: "FAILED"}}); counted > asked*portal.MaxAttempts {
		t.Errorf("%d entries of failures for %d codes", counted, asked)
	}
	challenge, code = d.ask(t, office, byEmail("one", aase), aase)
	if code == "" {
		t.Fatal("the person gets no code")
	}
	d.enter(t, challenge, code)
	if _, code := d.ask(t, "203.0.113.9", byEmail("one", aase), aase); code != "" {
		t.Error("somebody from elsewhere gets one more")
	}
	d.Sleep(portal.MailsWithin + time.Second)
	if _, code := d.ask(t, "203.0.113.9", byEmail("one", aase), aase); code == "" {
		t.Error("no code after the attack")
	}
}

// TestLimits: who asks too often is told so, whoever is asked for.
func TestLimits(t *testing.T) {
	d := start(t)
	d.person(t, d.one, "C-1", aase)
	answers := map[string][]string{}
	for _, email := range []string{aase, "nobody@kunde.example"} {
		for range 7 {
			_, err := d.RequestCode(from(t, office), byEmail("one", email))
			answers[email] = append(answers[email], fmt.Sprint(err))
		}
	}
	known, unknown := answers[aase], answers["nobody@kunde.example"]
	if !slices.Equal(known, unknown) || known[4] != "<nil>" || known[5] == "<nil>" {
		t.Errorf("known %v, unknown %v", known, unknown)
	}
	if _, err := d.RequestCode(from(t, office), byEmail("two", aase)); err != nil {
		t.Errorf("the second tenant's limits are used up: %v", err)
	}
	for i := 0; ; i++ {
		_, err := d.SignIn(from(t, office), portal.SignInInput{Challenge: "chl_x", Code: "1"})
		if errs.KindOf(err) == errs.Limited {
			break
		}
		if i > 200 {
			t.Fatal("guessing isn't limited")
		}
	}
	if _, err := d.SignIn(from(t, "203.0.113.9"), portal.SignInInput{Challenge: "chl_x", Code: "1"}); !errors.Is(err, portal.ErrCode) {
		t.Errorf("another network: %v", err)
	}
	ok(t, d.redis.Close())
	if _, err := d.RequestCode(from(t, "203.0.113.10"), byEmail("one", aase)); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("without Redis: %v", err)
	}
	d.redis = redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // to be closed
}
