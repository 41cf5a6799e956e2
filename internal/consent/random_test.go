package consent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// dice are numbers that look random and are the same each time.
type dice struct{ seed, n uint64 }

func (d *dice) below(n int) int {
	d.n++
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], d.seed)
	binary.BigEndian.PutUint64(b[8:], d.n)
	sum := sha256.Sum256(b[:])
	return int(binary.BigEndian.Uint32(sum[:4]) % uint32(n))
}

// naive is a model of one person and purpose: what was answered under which notice,
// and nothing derived. A consent in force is the last one that was given and hasn't
// ended; its time is over a month later.
type naive struct {
	force   string // notice of the consent in force, "" for none
	until   time.Time
	last    consent.State            // where the person stands while none is in force
	at      string                   // the notice of that
	answers map[string]consent.State // under each notice, of a record that isn't over
	since   []turn
}

// turn is a change of where the person stands.
type turn struct {
	at    time.Time
	state consent.State
}

func (m *naive) expire(now time.Time) {
	if m.force != "" && !now.Before(m.until) {
		m.end(consent.Expired, m.until)
	}
}

func (m *naive) end(s consent.State, at time.Time) {
	delete(m.answers, m.force)
	m.last, m.at, m.force = s, m.force, ""
	m.since = append(m.since, turn{at, s})
}

// stand notes where the person stands while no consent is in force.
func (m *naive) stand(s consent.State, notice string, at time.Time) {
	m.answers[notice] = s
	if m.force == "" {
		m.last, m.at = s, notice
		m.since = append(m.since, turn{at, s})
	}
}

// do plays what is asked, and reports whether it is allowed.
func (m *naive) do(what consent.State, notice string, now time.Time) bool {
	m.expire(now)
	open := m.answers[notice]
	switch what {
	case consent.Requested:
		switch {
		case open.Valid():
			return false
		case open == consent.Requested:
			return true
		case open == consent.Refused, open == consent.Deferred:
			return false
		case m.force == "" && (m.last == consent.Refused || m.last == consent.Deferred):
			return false // too early, as the sequences are shorter than the cool-down
		}
		m.stand(consent.Requested, notice, now)
	case consent.Refused, consent.Deferred:
		if open.Valid() {
			return false
		}
		if open != what {
			if open != consent.Requested {
				m.stand(consent.Requested, notice, now)
			}
			m.stand(what, notice, now)
		}
	case consent.Given:
		if open.Valid() {
			return true
		}
		if open != consent.Requested {
			m.stand(consent.Requested, notice, now)
		}
		if m.force != "" {
			m.end(consent.Expired, now)
		}
		m.answers[notice], m.force, m.until = consent.Given, notice, civilMonth(now)
		m.since = append(m.since, turn{now, consent.Given})
	case consent.Reconfirmed:
		if m.force == "" {
			return false
		}
		m.answers[m.force], m.until = consent.Reconfirmed, civilMonth(now)
		m.since = append(m.since, turn{now, consent.Reconfirmed})
	case consent.Withdrawn, consent.Revoked:
		if m.force == "" {
			return m.last == what
		}
		m.end(what, now)
	case consent.Unknown, consent.Expired, consent.Invalidated: // nobody asks for that
	}
	return true
}

func civilMonth(t time.Time) time.Time {
	d := civil.Of(t).AddMonths(1)
	return time.Date(d.Year, d.Month, d.Day, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// then returns where the person stood at an instant.
func (m *naive) then(at time.Time) consent.State {
	s, since := consent.Unknown, time.Time{}
	for _, c := range m.since {
		if !c.at.After(at) {
			s, since = c.state, c.at
		}
	}
	if s.Valid() && !at.Before(civilMonth(since)) {
		return consent.Expired
	}
	return s
}

// TestRandom plays random sequences, of what is allowed and what isn't, under two
// notices, and compares with the model: what is refused, where the person stands,
// and where they stood at any time, which also the report and a replay of the
// history tell.
func TestRandom(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	persons := 12
	if testing.Short() {
		persons = 3
	}
	what := []consent.State{
		consent.Requested, consent.Given, consent.Given, consent.Refused, consent.Deferred, consent.Reconfirmed, consent.Withdrawn, consent.Revoked,
	}
	for seed := range persons {
		key := "news" + strconv.Itoa(seed)
		o.purpose(one, key, func(c *purpose.Content) { c.ValidityMonths, c.CoolDownMonths = 1, 120 })
		notices := []*purpose.Notice{o.notice(one, "a"+strconv.Itoa(seed), key), o.notice(one, "b"+strconv.Itoa(seed), key)}
		s, random, m := o.Subject(one, "C-"+strconv.Itoa(seed)), dice{seed: uint64(seed)}, &naive{answers: map[string]consent.State{}}
		begun := o.Now()
		over := map[string]consent.State{} // by record
		for range 20 {
			o.Sleep(time.Duration(1+random.below(15*24)) * time.Hour)
			n, to := notices[random.below(2)], what[random.below(len(what))]
			in := input(s, key, n, nil)
			var c *consent.Consent
			var err error
			before := o.Now().UTC().Truncate(time.Millisecond)
			switch to {
			case consent.Requested:
				c, err = o.consents.Request(one, in)
			case consent.Given:
				c, err = o.consents.Give(one, in)
			case consent.Refused:
				c, err = o.consents.Refuse(one, in)
			case consent.Deferred:
				c, err = o.consents.Defer(one, in)
			case consent.Reconfirmed:
				c, err = o.consents.Renew(one, in)
			case consent.Withdrawn:
				c, err = o.consents.Withdraw(one, in)
			default:
				c, err = o.consents.Revoke(one, in)
			}
			if err != nil && errs.KindOf(err) != errs.Precondition {
				t.Fatal(err)
			}
			at := before
			if err == nil {
				if last := o.history(one, s); len(last) > 0 && !last[0].At.Before(before) {
					at = last[0].At
				}
			}
			if allowed := m.do(to, n.ID, at); allowed != (err == nil) {
				t.Fatalf("seed %d: %s: allowed %v, got %v (%s)", seed, to, allowed, err, o.told(one, s))
			}
			if c != nil && over[c.ID] != "" && c.State != over[c.ID] {
				t.Fatalf("seed %d: a record that was %s is %s", seed, over[c.ID], c.State)
			}
			if c != nil && c.State.Over() {
				over[c.ID] = c.State
			}
			now := o.Now()
			if got, want := o.state(one, s, key).State, m.then(now); got != want {
				t.Fatalf("seed %d: stands at %s, want %s (%s)", seed, got, want, o.told(one, s))
			}
		}
		sweepErr := o.consents.Sweep(tenant.System(o.Context(), "test"))
		if sweepErr != nil {
			t.Fatal(sweepErr)
		}
		m.expire(o.Now())
		for range 30 {
			at := begun.Add(time.Duration(random.below(int(o.Now().Sub(begun)/time.Minute))) * time.Minute)
			got := must[*consent.Status](o)(o.consents.State(one, s.ID, key, &at))
			if want := m.then(at); got.State != want {
				t.Fatalf("seed %d: stood at %s at %v, want %s", seed, got.State, at, want)
			}
			day := civil.Of(at.UTC())
			end := time.Date(day.Year, day.Month, day.Day+1, 0, 0, 0, -1, time.UTC)
			if end.After(o.Now()) {
				continue
			}
			counted := consent.Unknown
			for _, c := range must[*consent.Report](o)(o.consents.Report(one, consent.ReportInput{Purposes: []string{key}, AsOf: &day})).Standing {
				if c.Count != 1 || counted != consent.Unknown {
					t.Fatalf("seed %d: the report of %v counts %+v", seed, day, c)
				}
				counted = c.State
			}
			if want := m.then(end); counted != want {
				t.Fatalf("seed %d: the report of %v counts %s, want %s", seed, day, counted, want)
			}
		}
		events := o.history(one, s)
		slices.Reverse(events)
		replay := make([]consent.Event, len(events))
		for i, e := range events {
			if e.Seq != int64(i+1) {
				t.Fatalf("seed %d: event %d has seq %d", seed, i, e.Seq)
			}
			replay[i] = *e
		}
		if got, want := consent.Stand(replay), o.state(one, s, key); got.State != want.Standing.State || got.ConsentID != want.ConsentID {
			t.Fatalf("seed %d: a replay stands at %+v, want %+v", seed, got, want)
		}
		for recordID := range over {
			c, of, err := o.consents.Full(one, recordID)
			if err != nil {
				t.Fatal(err)
			}
			plain := make([]consent.Event, len(of))
			for i, e := range of {
				plain[i] = *e
			}
			if got := consent.Derive(plain); got != c.State {
				t.Fatalf("seed %d: the events of a record lead to %s, it is %s", seed, got, c.State)
			}
		}
	}
}

// importer brings in files.
func importer(o *office) *imports.Service {
	log := testenv.Logger(o)
	return imports.NewService(imports.Parts{
		Store: mongo.NewImportStore(o.DB), Changes: o.Changes, Recorder: o.Recorder, Vault: o.Vault, Hasher: vault.Hasher{Vault: o.Vault},
		Datasets: o.Datasets, Looker: testenv.Authorizer(o), Subjects: o.Subjects, Guards: mongo.NewSubjectStore(o.DB, o.Vault, log),
		Records: o.Records, Consents: o.consents, Regions: denmark{}, Now: o.Now,
	})
}

type line map[string]any

func ndjson(tb testing.TB, all ...line) []byte {
	tb.Helper()
	var b bytes.Buffer
	for _, l := range all {
		if err := json.NewEncoder(&b).Encode(l); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

// broken is a body that breaks off.
type broken struct{ *bytes.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		return n, errors.New("the connection is gone")
	}
	return n, nil
}

// TestImport brings in a history, breaks off, and goes on.
func TestImport(t *testing.T) {
	o := open(t)
	one, two := o.As(testenv.One), o.As(testenv.Two)
	o.purpose(one, "news", func(c *purpose.Content) { c.ValidityMonths = 0 })
	o.purpose(one, "prizes", func(c *purpose.Content) { c.ValidityMonths = 12 })
	o.purpose(one, "games", func(c *purpose.Content) { c.OfferedToChildren = true; c.ValidityMonths = 0 })
	n := o.notice(one, "signup", "news", "prizes", "games")
	im := importer(o)
	var persons []*subject.Subject
	for i := range 40 {
		persons = append(persons, o.Subject(one, "C-"+strconv.Itoa(i)))
	}
	child := must[*subject.Subject](o)(o.Subjects.Create(one, subject.CreateInput{Reference: text("CH"), BirthDate: text("2010-01-01")}))
	tell := func(reference, key, state, at string, more ...any) line {
		l := line{"reference": reference, "purpose": key, "state": state, "at": at}
		if state != "WITHDRAWN" && state != "RECONFIRMED" {
			l["notice"], l["language"] = n.ID, "da"
		}
		for i := 0; i < len(more); i += 2 {
			l[fmt.Sprint(more[i])] = more[i+1]
		}
		return l
	}
	var told []line
	for i := range persons {
		ref := "C-" + strconv.Itoa(i)
		told = append(told,
			tell(ref, "news", "GIVEN", "2022-05-01T10:00:00Z", "channel", "PAPER", "actor", "STAFF", "note", "from the old system"),
			tell(ref, "prizes", "GIVEN", "2022-05-01T10:00:00Z", "channel", "WEB"))
		if i%2 == 0 {
			told = append(told, tell(ref, "news", "WITHDRAWN", "2023-01-01T10:00:00Z", "channel", "PHONE"))
		}
	}
	good := len(told)
	told = append(told,
		tell("C-1", "news", "WITHDRAWN", "2021-01-01T10:00:00Z"),          // before what is noted
		tell("C-1", "news", "GIVEN", "2100-01-01T10:00:00Z"),              // not yet
		tell("nobody", "news", "GIVEN", "2022-01-01T10:00:00Z"),           //
		tell("C-2", "news", "WITHDRAWN", "2023-02-01T10:00:00Z"),          // unchanged: it is
		tell("C-3", "none", "GIVEN", "2023-02-01T10:00:00Z"),              //
		tell("C-3", "news", "EXPIRED", "2023-02-01T10:00:00Z"),            //
		tell("C-3", "news", "GIVEN", "2023-02-01T10:00:00Z", "secret", 1), //
		tell("CH", "games", "GIVEN", "2023-12-31T10:00:00Z"),              // 13 in Denmark until then
		tell("CH", "games", "WITHDRAWN", "2024-01-01T10:00:00Z"),
		tell("CH", "games", "GIVEN", "2024-01-02T10:00:00Z"), // 15 since
		tell("CH", "games", "GIVEN", "2024-01-02T11:00:00Z", "actor", "PARENT", "actorName", "the parent"),
	)
	run := func(ctx context.Context, key string, mode imports.Mode, body []byte, cut bool) (*imports.Summary, error) {
		in := imports.Input{Key: key, Kind: imports.KindConsents, Format: imports.NDJSON, Mode: mode, Body: bytes.NewReader(body)}
		if cut {
			in.Body = broken{bytes.NewReader(body)}
		}
		return im.Run(ctx, in)
	}
	whole := ndjson(t, told...)
	sum := must[*imports.Summary](o)(run(one, "", imports.Check, whole, false))
	if sum.Counts.Rejected == 0 || len(o.history(one, persons[0])) != 0 {
		t.Errorf("a check tells %+v", sum.Counts)
	}
	cut := bytes.LastIndexByte(whole[:len(whole)/3], '\n') + 1
	if _, err := run(one, "k", imports.Write, whole[:cut], true); errs.KindOf(err) != errs.Invalid {
		t.Fatalf("broken off: %v", err)
	}
	sum = must[*imports.Summary](o)(run(one, "k", imports.Write, whole, false))
	again := must[*imports.Summary](o)(run(one, "k", imports.Write, whole, false))
	if sum.Counts != again.Counts {
		t.Errorf("told %+v, then %+v", sum.Counts, again.Counts)
	}
	want := imports.Counts{Created: 82, Updated: 21, Unchanged: 1, Rejected: 7, Records: 40*4 + 20 + 3 + 2}
	if sum.Counts != want {
		t.Errorf("counts %+v, want %+v: %+v", sum.Counts, want, sum.Rejections)
	}
	var rejected []int64
	for _, r := range sum.Rejections {
		rejected = append(rejected, r.Line-int64(good))
	}
	if !slices.Equal(rejected, []int64{1, 2, 3, 5, 6, 7, 10}) {
		t.Errorf("rejected %v: %+v", rejected, sum.Rejections)
	}
	o.stands(one, persons[0], "news", consent.Withdrawn, false)
	o.stands(one, persons[1], "news", consent.Given, true)
	o.stands(one, persons[1], "prizes", consent.Expired, false)
	o.stands(one, child, "games", consent.Given, true)
	at := time.Date(2022, 6, 1, 0, 0, 0, 0, time.UTC)
	if st := must[*consent.Status](o)(o.consents.State(one, persons[0].ID, "news", &at)); st.State != consent.Given || !st.Valid {
		t.Errorf("as of then it was %s", st.State)
	}
	events := must[*consent.EventConnection](o)(o.consents.History(one, persons[1].ID, new("news"), page.Request{First: 10})).Nodes()
	if e := events[0]; e.Actor != consent.Staff || e.Channel != consent.Paper || e.Evidence.Note.Reveal() != "from the old system" || !e.At.Equal(at.AddDate(0, -1, 0).Add(10*time.Hour)) {
		t.Errorf("the event is %+v", e)
	}
	report := must[*consent.Report](o)(o.consents.Report(one, consent.ReportInput{Purposes: []string{"news"}, AsOf: &civil.Date{Year: 2022, Month: 12, Day: 31}}))
	if len(report.Standing) != 1 || report.Standing[0] != (consent.StandingCount{Purpose: "news", State: consent.Given, Channel: consent.Paper, Count: 40}) {
		t.Errorf("as of then the report counts %+v", report.Standing)
	}
	o.Work(one)
	if c := must[*consent.CheckConnection](o)(o.consents.Checks(one, consent.CheckPending, page.Request{First: 10})).Nodes(); len(c) != 0 {
		t.Errorf("%d checks aren't done", len(c))
	}
	if c := must[*consent.CheckConnection](o)(o.consents.Checks(one, consent.CheckClear, page.Request{First: 100})).Nodes(); len(c) != 20 {
		t.Errorf("%d checks are done", len(c))
	}
	// The other tenant has neither the persons nor the purposes.
	if sum := must[*imports.Summary](o)(run(two, "k", imports.Write, ndjson(t, told[0]), false)); sum.Counts.Rejected != 1 {
		t.Errorf("the other tenant's import tells %+v", sum.Counts)
	}
}
