package detect_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/detect"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

const provider tenant.ID = "ten_pppppppppppppppp"

// people are the tenants, each with one owner; the provider has an operator. Any
// member whose id is asked for has the role that it ends with.
type people struct{}

func (people) ProviderID(context.Context) (tenant.ID, error) { return provider, nil }

func (people) Get(ctx context.Context) (*tenancy.Tenant, error) {
	of, err := tenant.FromContext(ctx)
	kind := tenancy.Customer
	if of == provider {
		kind = tenancy.Provider
	}
	return &tenancy.Tenant{ID: of, Kind: kind}, err
}

func (people) ActiveMembers(ctx context.Context, role authz.Role, _ time.Time) ([]*tenancy.Member, error) {
	of, err := tenant.FromContext(ctx)
	if lead := map[bool]authz.Role{true: authz.RoleOperator, false: authz.RoleOwner}[of == provider]; role != lead {
		return nil, err
	}
	return []*tenancy.Member{{ID: id.New(id.Member, of), Tenant: of, Role: role, Email: personal.NewText("lead@work.example")}}, err
}

func (people) GetMember(_ context.Context, memberID string) (*tenancy.Member, error) {
	switch memberID {
	case "mem_owner":
		return &tenancy.Member{ID: memberID, Role: authz.RoleOwner}, nil
	case "mem_handler":
		return &tenancy.Member{ID: memberID, Role: authz.RoleCaseHandler}, nil
	default:
		return nil, tenancy.ErrNoMember
	}
}

// post keeps the mail that is queued.
type post []notify.Message

func (p *post) Queue(_ context.Context, m notify.Message) (job.Spec, error) {
	*p = append(*p, m)
	return job.Spec{Type: "test:mail", Object: "msg"}, nil
}

type world struct {
	testing.TB

	db       *mongo.DB
	store    *mongo.DetectStore
	register *security.Service
	follower *detect.Follower
	inbox    *detect.Inbox
	sealer   *seal.Sealer
	post     post
	now      time.Time
	system   context.Context
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{TB: t, db: testenv.Mongo(t), now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), system: tenant.System(t.Context(), "test")}
	v := testenv.Vault(t)
	changes, recorder := testenv.Changes(t, w.db, v, vault.Hasher{Vault: v}, nil)
	now := func() time.Time { return w.now }
	w.store = mongo.NewDetectStore(w.db)
	w.register = security.NewService(security.Config{
		Store: mongo.NewSecurityStore(w.db, v), Changes: changes, Recorder: recorder, Tenants: people{}, Mail: &w.post, Vault: v, Now: now,
	})
	w.inbox = detect.NewInbox(w.store, people{}, now, testenv.Logger(t))
	w.sealer = seal.NewSealer(seal.Config{Store: mongo.NewAuditStore(w.db), Now: now, Log: testenv.Logger(t)})
	w.restart()
	return w
}

// restart is another process that takes over.
func (w *world) restart() {
	w.follower = detect.NewFollower(detect.Config{
		Store: w.store, Register: w.register, Members: people{}, Now: func() time.Time { return w.now }, Log: testenv.Logger(w),
	})
}

// entry is an entry of the first tenant's log by the member mem_owner, now.
func (w *world) entry(with func(e *audit.Entry)) audit.Row {
	e := audit.Entry{
		ID: id.New(id.Audit, testenv.One), Tenant: testenv.One, At: w.now, Actor: audit.Actor{Kind: "MEMBER", ID: "mem_owner"},
		Action: "subject.read", Outcome: audit.OK, Purpose: "casework", Network: "192.0.2.0/24",
	}
	with(&e)
	return audit.Row{Entry: e, Sealed: make([][]byte, len(e.Subjects))}
}

// follow writes entries, one a second, and has them followed.
func (w *world) follow(n int, with func(i int, e *audit.Entry)) {
	w.Helper()
	for i := range n {
		w.now = w.now.Add(time.Second)
		if err := w.db.InsertAudit(w.system, w.entry(func(e *audit.Entry) { with(i, e) })); err != nil {
			w.Fatal(err)
		}
	}
	w.catchUp()
}

func (w *world) catchUp() {
	w.Helper()
	if _, err := w.sealer.Seal(w.Context()); err != nil {
		w.Fatal(err)
	}
	if err := w.follower.Follow(w.system); err != nil {
		w.Fatal(err)
	}
}

// events are those of a tenant, the newest first.
func (w *world) events(of tenant.ID) []*security.Event {
	w.Helper()
	c, err := w.register.List(tenant.NewContext(w.Context(), of), nil, page.Request{First: 100})
	if err != nil {
		w.Fatal(err)
	}
	return c.Nodes()
}

func (w *world) set(of tenant.ID, d security.Detector, threshold, minutes int, enabled bool) {
	w.Helper()
	_, err := w.register.ChangeDetector(tenant.NewContext(w.Context(), of), security.ChangeDetectorInput{
		Detector: d, Threshold: &threshold, WindowMinutes: &minutes, Enabled: &enabled,
	})
	if err != nil {
		w.Fatal(err)
	}
}

func person(i int) []audit.SubjectRef {
	return []audit.SubjectRef{{ID: fmt.Sprintf("sub_%d", i)}}
}

// TestLog: each detector of the log at a threshold of three raises one event, and
// by what is like it and isn't it, none.
func TestLog(t *testing.T) {
	refused := func(_ int, e *audit.Entry) { e.Outcome = audit.Refused }
	guess := func(i int, e *audit.Entry) {
		e.Actor, e.Action, e.Outcome = audit.Actor{}, "subject.signIn", audit.Failed
		e.Network = fmt.Sprintf("198.51.%d.0/24", i)
	}
	read := func(i int, e *audit.Entry) { e.Subjects = person(i) }
	tests := []struct {
		name     string
		detector security.Detector
		group    string // "" for the whole tenant
		with     func(i int, e *audit.Entry)
		but      map[string]func(i int, e *audit.Entry)
	}{
		{"refusals", security.Refusals, "mem_owner", refused, map[string]func(int, *audit.Entry){
			"of different callers": func(i int, e *audit.Entry) { refused(i, e); e.Actor.ID = fmt.Sprintf("mem_%d", i%2) },
			"that failed":          func(_ int, e *audit.Entry) { e.Outcome = audit.Failed },
			"of the platform":      func(i int, e *audit.Entry) { refused(i, e); e.Actor.Kind = "SYSTEM" },
		}},
		{"codes", security.CodesGuessed, "", guess, map[string]func(int, *audit.Entry){
			"that were right": func(i int, e *audit.Entry) { guess(i, e); e.Outcome = audit.OK },
		}},
		{"reads", security.MassRead, "mem_owner", read, map[string]func(int, *audit.Entry){
			"of two persons":        func(i int, e *audit.Entry) { e.Subjects = person(i % 2) },
			"that are changes":      func(i int, e *audit.Entry) { e.Subjects, e.Action = person(i), "subject.update" },
			"of persons themselves": func(i int, e *audit.Entry) { e.Subjects, e.Actor.Kind = person(i), "DATA_SUBJECT" },
		}},
		{
			"exports", security.MassExport, "mem_owner", func(i int, e *audit.Entry) { e.Subjects, e.Action = person(i), "export.request" },
			map[string]func(int, *audit.Entry){
				"of one person": func(_ int, e *audit.Entry) { e.Subjects, e.Action = person(0), "export.request" },
			},
		},
		{
			"no purpose", security.NoPurpose, "mem_owner", func(i int, e *audit.Entry) { e.Subjects, e.Purpose = person(i), "" },
			map[string]func(int, *audit.Entry){"but one": read},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t)
			for _, s := range security.Settings(nil) {
				w.set(testenv.One, s.Detector, 3, 10, s.Detector == tt.detector)
			}
			for name, with := range tt.but {
				if w.follow(4, with); len(w.events(testenv.One)) > 0 {
					t.Errorf("%s %s: raised", tt.name, name)
				}
				w.now = w.now.Add(time.Hour)
			}
			if w.follow(2, tt.with); len(w.events(testenv.One)) > 0 {
				t.Error("raised below the threshold")
			}
			w.follow(5, func(i int, e *audit.Entry) { tt.with(i+2, e) })
			got := w.events(testenv.One)
			if len(got) != 1 {
				t.Fatalf("raised %d events", len(got))
			}
			e := got[0]
			group := ""
			if e.Group != nil {
				group = *e.Group
			}
			if *e.Detector != tt.detector || group != tt.group || e.Occurrences != 7 || e.Disposition != security.Open {
				t.Errorf("raised %s of %q with %d occurrences, %s", *e.Detector, group, e.Occurrences, e.Disposition)
			}
			if e.LastOccurredAt.Sub(e.OccurredAt) != 6*time.Second || e.Description.Reveal() == "" {
				t.Errorf("from %s to %s", e.OccurredAt, e.LastOccurredAt)
			}
			if len(w.post) != 1 || w.post[0].Vars["event"].Reveal() != e.ID {
				t.Errorf("mailed %d times", len(w.post))
			}
			if other := w.events(testenv.Two); len(other) != 0 {
				t.Errorf("another tenant sees %v", other)
			}
		})
	}
}

func TestNewNetwork(t *testing.T) {
	w := start(t)
	from := func(member, network string) []*security.Event {
		t.Helper()
		w.follow(1, func(_ int, e *audit.Entry) { e.Actor.ID, e.Network = member, network })
		return w.events(testenv.One)
	}
	if got := from("mem_owner", "192.0.2.0/24"); len(got) != 0 {
		t.Error("the first network of all is an event")
	}
	from("mem_handler", "192.0.2.0/24")
	if got := from("mem_handler", "198.51.100.0/24"); len(got) != 0 {
		t.Error("that of a member without privileges is an event")
	}
	w.restart() // it is remembered
	if got := from("mem_owner", "192.0.2.0/24"); len(got) != 0 {
		t.Error("a known network is an event")
	}
	if got := from("mem_owner", "198.51.100.0/24"); len(got) != 1 || *got[0].Detector != security.NewNetwork || *got[0].Group != "mem_owner" {
		t.Errorf("raised %v", got)
	}
	if got := from("mem_owner", "198.51.100.0/24"); got[0].Occurrences != 1 {
		t.Errorf("it is new %d times", got[0].Occurrences)
	}
	w.now = w.now.Add(91 * 24 * time.Hour)
	if err := w.follower.Sweep(w.system); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if got := from("mem_owner", "192.0.2.0/24"); got[0].Occurrences != 1 {
		t.Error("a network is remembered beyond its time")
	}
}

// TestTakeover: what one process counted, another one goes on from, and what
// waits is counted once.
func TestTakeover(t *testing.T) {
	w := start(t)
	refuse := func(_ int, e *audit.Entry) { e.Outcome = audit.Refused }
	w.follow(19, refuse)
	other := w.follower
	w.restart()
	w.follow(1, refuse)
	if got := w.events(testenv.One); len(got) != 1 || got[0].Occurrences != 20 {
		t.Fatalf("raised %v", got)
	}
	w.restart()
	w.follow(3, refuse)
	// The one before wakes up with what it knows, which is old.
	for range 2 {
		w.follower = other
		w.follow(1, refuse)
	}
	w.restart()
	w.now = w.now.Add(time.Hour)
	if w.follow(19, refuse); w.events(testenv.One)[0].Occurrences != 25 {
		t.Errorf("counted %d, want 25", w.events(testenv.One)[0].Occurrences)
	}
}

// TestGroups: one open event and a mail an hour for each group, a new event once
// the one before is disposed of.
func TestGroups(t *testing.T) {
	w := start(t)
	refuse := func(_ int, e *audit.Entry) { e.Outcome = audit.Refused }
	w.follow(25, refuse)
	w.now = w.now.Add(30 * time.Minute)
	w.follow(25, refuse)
	if got := w.events(testenv.One); len(got) != 1 || got[0].Occurrences != 50 || len(w.post) != 1 {
		t.Fatalf("raised %v, mailed %d times", got, len(w.post))
	}
	first := w.events(testenv.One)[0]
	by := authz.NewContext(tenant.NewContext(t.Context(), testenv.One), authz.Principal{Kind: authz.KindMember, ID: "mem_owner"})
	_, err := w.register.Dispose(by, security.DisposeInput{
		ID: first.ID, ExpectedVersion: first.Version, Disposition: security.Benign, Reason: personal.NewText("a misconfigured client"),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.follow(5, refuse)
	if got := w.events(testenv.One); len(got) != 2 || got[0].Occurrences != 5 || got[1].Occurrences != 50 || len(w.post) != 1 {
		t.Fatalf("after the disposition %v, mailed %d times", got, len(w.post))
	}
	w.now = w.now.Add(31 * time.Minute)
	w.follow(25, refuse)
	if len(w.post) != 2 {
		t.Errorf("mailed %d times within two hours", len(w.post))
	}
	w.follow(25, func(_ int, e *audit.Entry) { e.Outcome, e.Actor.ID = audit.Refused, "mem_handler" })
	if got := w.events(testenv.One); len(got) != 3 {
		t.Errorf("another caller has no event of its own: %v", got)
	}
}

func TestSettings(t *testing.T) {
	w := start(t)
	w.set(testenv.One, security.Refusals, 1, 10, false)
	if w.follow(30, func(_ int, e *audit.Entry) { e.Outcome = audit.Refused }); len(w.events(testenv.One)) > 0 {
		t.Error("a detector that is off raises events")
	}
	w.set(testenv.One, security.Refusals, 2, 1, true)
	w.follow(2, func(i int, e *audit.Entry) {
		e.Outcome, e.At = audit.Refused, w.now.Add(time.Duration(i)*2*time.Minute)
	})
	if len(w.events(testenv.One)) > 0 {
		t.Error("what lies further apart than the window counts together")
	}
}

// TestSignals: what the log doesn't tell.
func TestSignals(t *testing.T) {
	w := start(t)
	report := func(s detect.Signal) {
		t.Helper()
		if err := w.inbox.Report(w.Context(), s); err != nil {
			t.Fatal(err)
		}
		if err := w.follower.Follow(w.system); err != nil {
			t.Fatal(err)
		}
	}
	raised := func(of tenant.ID) (all []string) {
		for _, e := range w.events(of) {
			all = append(all, fmt.Sprintf("%s %d", *e.Detector, e.Occurrences))
		}
		slices.Sort(all)
		return all
	}
	report(detect.Signal{Tenant: testenv.One, Detector: security.Firewall, Count: 19})
	report(detect.Signal{Tenant: testenv.One, Detector: security.CodesGuessed})
	report(detect.Signal{Detector: security.ClockJump, Group: "queue", Count: 4})
	if got := append(raised(testenv.One), raised(provider)...); len(got) > 0 {
		t.Errorf("below their thresholds: %v", got)
	}
	w.restart()
	report(detect.Signal{Tenant: testenv.One, Detector: security.Firewall, Count: 3})
	report(detect.Signal{Tenant: testenv.One, Detector: security.KeyNetwork, Group: "key_1"})
	report(detect.Signal{Tenant: testenv.One, Detector: security.KeyNetwork, Group: "key_1"})
	report(detect.Signal{Detector: security.ClockJump, Group: "queue", Count: 3600})
	report(detect.Signal{Detector: security.LateEpoch, Group: "epoch"})
	report(detect.Signal{Detector: security.LogIntegrity, Group: "audit"})
	if got, want := raised(testenv.One), []string{"FIREWALL 22", "KEY_NETWORK 2"}; !slices.Equal(got, want) {
		t.Errorf("raised %v, want %v", got, want)
	}
	if got, want := raised(provider), []string{"CLOCK_JUMP 1", "LATE_EPOCH_CLOSE 1", "LOG_INTEGRITY 1"}; !slices.Equal(got, want) {
		t.Errorf("the provider has %v, want %v", got, want)
	}
	if got := raised(testenv.Two); len(got) > 0 {
		t.Errorf("another tenant has %v", got)
	}
	if len(w.post) != 5 {
		t.Errorf("mailed %d times", len(w.post))
	}
}

// TestInbox: a storm of signals is few rows, and what is told last is kept.
func TestInbox(t *testing.T) {
	w := start(t)
	ctx, stop := context.WithCancel(t.Context())
	for i := range 5000 {
		w.inbox.Tell(detect.Signal{Tenant: testenv.One, Detector: security.Firewall, Group: strconv.Itoa(i)})
	}
	stop()
	if err := w.inbox.Run(ctx); err != nil {
		t.Fatal(err)
	}
	one := tenant.NewContext(t.Context(), testenv.One)
	rows, err := w.store.Signals(one, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, r := range rows {
		sum += r.Count
	}
	if sum != 5000 || len(rows) > 1001 {
		t.Errorf("%d signals in %d rows", sum, len(rows))
	}
	if rows, err := w.store.Signals(tenant.NewContext(t.Context(), testenv.Two), 10); err != nil || len(rows) > 0 {
		t.Errorf("another tenant: %v, %v", rows, err)
	}
	if err := w.store.MarkRead(one, []string{rows[0].ID}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.MarkRead(one, []string{rows[0].ID}); !errors.Is(err, detect.ErrMoved) {
		t.Errorf("read twice: %v", err)
	}
}

func TestClock(t *testing.T) {
	w := start(t)
	var mono, skew time.Duration
	c := detect.Clock{
		Wall: func() time.Time { return w.now }, Mono: func() time.Duration { return mono }, Inbox: w.inbox, Log: testenv.Logger(t),
		Peers: map[string]func(context.Context) (time.Time, error){
			"documents": func(context.Context) (time.Time, error) { return w.now.Add(skew), nil },
			"queue":     func(context.Context) (time.Time, error) { return time.Time{}, errors.New("down") },
		},
	}
	pass := func(wall, passed time.Duration) int {
		t.Helper()
		w.now, mono = w.now.Add(wall), mono+passed
		c.Look()
		c.Ask(t.Context())
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := w.inbox.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if err := w.follower.Follow(w.system); err != nil {
			t.Fatal(err)
		}
		return len(w.events(provider))
	}
	pass(0, 0)
	if n := pass(10*time.Second, 10*time.Second); n != 0 {
		t.Error("a clock that goes well raises an event")
	}
	if n := pass(13*time.Second, 10*time.Second); n != 0 {
		t.Error("a correction by less than the threshold raises an event")
	}
	if n := pass(-time.Hour, 10*time.Second); n != 1 {
		t.Errorf("a clock put back by an hour: %d events", n)
	}
	skew = -20 * time.Second
	if n := pass(10*time.Second, 10*time.Second); n != 2 {
		t.Errorf("the database's clock 20 s behind: %d events", n)
	}
}

// TestAdvance: two followers can't both move the place.
func TestAdvance(t *testing.T) {
	w := start(t)
	one := tenant.NewContext(t.Context(), testenv.One)
	for _, step := range []struct {
		from, to int64
		want     error
	}{{0, 5, nil}, {0, 7, detect.ErrMoved}, {5, 9, nil}, {5, 9, detect.ErrMoved}} {
		err := w.db.InTransaction(one, func(ctx context.Context) error { return w.store.Advance(ctx, step.from, step.to) })
		if !errors.Is(err, step.want) {
			t.Errorf("%d to %d: %v, want %v", step.from, step.to, err, step.want)
		}
	}
	if got, err := w.store.Next(one); err != nil || got != 9 {
		t.Errorf("at %d, %v", got, err)
	}
	if got, err := w.store.Next(tenant.NewContext(t.Context(), testenv.Two)); err != nil || got != 0 {
		t.Errorf("another tenant is at %d, %v", got, err)
	}
	if _, err := w.store.Behind(one); err == nil {
		t.Error("a tenant asks for all tenants")
	}
}
