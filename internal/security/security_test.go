package security_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

const provider tenant.ID = "ten_pppppppppppppppp"

type tenants struct{}

func (tenants) Get(ctx context.Context) (*tenancy.Tenant, error) {
	of, err := tenant.FromContext(ctx)
	kind := tenancy.Customer
	if of == provider {
		kind = tenancy.Provider
	}
	return &tenancy.Tenant{ID: of, Kind: kind}, err
}

func (tenants) ActiveMembers(context.Context, authz.Role, time.Time) ([]*tenancy.Member, error) {
	return nil, errors.New("nobody is told of what people record")
}

type world struct {
	*security.Service
	now           time.Time
	one, two, top context.Context
}

func start(t *testing.T) *world {
	t.Helper()
	db, v, w := testenv.Mongo(t), testenv.Vault(t), &world{now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)}
	changes, recorder := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	w.Service = security.NewService(security.Config{
		Store: mongo.NewSecurityStore(db, v), Changes: changes, Recorder: recorder, Tenants: tenants{}, Vault: v,
		Now: func() time.Time { w.now = w.now.Add(time.Second); return w.now },
	})
	as := func(of tenant.ID) context.Context {
		return tenant.NewContext(authz.NewContext(t.Context(), authz.Principal{Kind: authz.KindMember, ID: "mem_1", Tenant: of}), of)
	}
	w.one, w.two, w.top = as(testenv.One), as(testenv.Two), as(provider)
	return w
}

func text(s string) personal.Text { return personal.NewText(s) }

// report is an event of an hour ago.
func (w *world) report(with func(in *security.RecordInput)) security.RecordInput {
	in := security.RecordInput{
		OccurredAt: w.now.Add(-time.Hour), DetectedAt: w.now.Add(-time.Minute), Source: security.SourceStaff,
		Category: security.CategoryDisclosure, Severity: security.High, Description: text("A letter went to the wrong person.\nIt came back unopened."),
		AffectedSystems: []string{"post room"},
	}
	with(&in)
	return in
}

func (w *world) record(t *testing.T, with func(in *security.RecordInput)) *security.Event {
	t.Helper()
	e, err := w.Record(w.one, w.report(with))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func same(*security.RecordInput) {}

func TestRecord(t *testing.T) {
	w := start(t)
	future := w.now.Add(time.Hour)
	tests := []struct {
		name string
		with func(in *security.RecordInput)
		want *errs.Error
		at   string
	}{
		{"as it is", same, nil, ""},
		{"naming itself", func(in *security.RecordInput) { in.AffectedTenants = []string{string(testenv.One)} }, nil, ""},
		{"occurred in the future", func(in *security.RecordInput) { in.OccurredAt, in.DetectedAt = future, future }, security.ErrFuture, "occurredAt"},
		{"detected in the future", func(in *security.RecordInput) { in.DetectedAt = future }, security.ErrFuture, "detectedAt"},
		{"detected before it occurred", func(in *security.RecordInput) { in.DetectedAt = in.OccurredAt.Add(-time.Second) }, security.ErrOrder, "detectedAt"},
		{"without a text", func(in *security.RecordInput) { in.Description = text(" \n") }, security.ErrText, "description"},
		{"too long", func(in *security.RecordInput) { in.Description = text(strings.Repeat("å", 4001)) }, security.ErrText, "description"},
		{"by a detector", func(in *security.RecordInput) { in.Source = security.SourceDetector }, security.ErrSource, "source"},
		{"system of two lines", func(in *security.RecordInput) { in.AffectedSystems = []string{"a\nb"} }, security.ErrSystems, "affectedSystems"},
		{"too many systems", func(in *security.RecordInput) { in.AffectedSystems = slices.Repeat([]string{"a"}, 21) }, security.ErrSystems, "affectedSystems"},
		{"naming another tenant", func(in *security.RecordInput) { in.AffectedTenants = []string{string(testenv.Two)} }, security.ErrTenants, "affectedTenants"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := w.Record(w.one, w.report(tt.with))
			if tt.want != nil {
				found, ok := errors.AsType[*errs.Error](err)
				if !ok || !errors.Is(err, tt.want) && found.Message != tt.want.Message || found.Field != tt.at {
					t.Errorf("got %v, want %v at %s", err, tt.want, tt.at)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Disposition != security.Open || e.Reporter != "mem_1" || e.Version != 1 || e.Occurrences != 1 ||
				!strings.HasPrefix(e.Description.Reveal(), "A letter") || e.AffectedSystems[0] != "post room" {
				t.Errorf("recorded %+v", e)
			}
		})
	}
	if e, err := w.Record(w.top, w.report(func(in *security.RecordInput) {
		in.AffectedTenants = []string{string(testenv.Two), string(testenv.One), string(testenv.Two)}
	})); err != nil || len(e.AffectedTenants) != 2 {
		t.Errorf("the provider names tenants: %v, %v", e, err)
	}
}

// TestHistory: nothing that was said is lost.
func TestHistory(t *testing.T) {
	w := start(t)
	e := w.record(t, same)
	step := func(after *security.Event, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if after.Version != e.Version+1 {
			t.Errorf("version %d after %d", after.Version, e.Version)
		}
		e = after
	}
	step(w.AddActivity(w.one, security.ActivityInput{ID: e.ID, At: w.now.Add(-time.Minute), Text: text("Called the recipient.")}))
	low, better := security.Low, text("A letter went to the wrong address.")
	step(w.Correct(w.one, security.CorrectInput{
		ID: e.ID, ExpectedVersion: e.Version, Reason: text("the recipient told us more"), Severity: &low, Description: &better,
	}))
	step(w.Dispose(w.one, security.DisposeInput{ID: e.ID, ExpectedVersion: e.Version, Disposition: security.Benign, Reason: text("it was never opened")}))
	step(w.Dispose(w.one, security.DisposeInput{ID: e.ID, ExpectedVersion: e.Version, Disposition: security.Open, Reason: text("it was opened after all")}))
	link := "case-17"
	step(w.Dispose(w.one, security.DisposeInput{
		ID: e.ID, ExpectedVersion: e.Version, Disposition: security.EscalatedBreach, Reason: text("a breach of confidentiality"), LinkedIncident: &link,
	}))
	if e.Severity != low || e.Description.Reveal() != better.Reveal() || e.Disposition != security.EscalatedBreach || *e.LinkedIncident != link ||
		*e.DispositionBy != "mem_1" || e.DispositionReason.Reveal() != "a breach of confidentiality" {
		t.Errorf("now %+v", e)
	}
	notes, err := w.History(w.one, e)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range notes {
		line := fmt.Sprintf("%s %q", n.Kind, n.Text.Reveal())
		if n.Facts != nil {
			line += fmt.Sprintf(" %s %q %v", n.Facts.Severity, n.Facts.Description.Reveal(), n.Facts.AffectedSystems)
		}
		if n.Disposition != nil {
			line += " " + string(*n.Disposition)
		}
		got = append(got, line)
	}
	want := []string{
		`RECORDED "" HIGH "A letter went to the wrong person.\nIt came back unopened." [post room]`,
		`ACTIVITY "Called the recipient."`,
		`CORRECTION "the recipient told us more" LOW "A letter went to the wrong address." [post room]`,
		`DISPOSITION "it was never opened" BENIGN`,
		`DISPOSITION "it was opened after all" OPEN`,
		`DISPOSITION "a breach of confidentiality" ESCALATED_BREACH`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("history\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if notes, err := w.History(w.two, e); err != nil || len(notes) > 0 {
		t.Errorf("another tenant sees %v, %v", notes, err)
	}
}

func TestRefused(t *testing.T) {
	w := start(t)
	e := w.record(t, same)
	why, link, late := text("it was never opened"), "case 17", w.now.Add(48*time.Hour)
	dispose := func(ctx context.Context, with func(in *security.DisposeInput)) error {
		in := security.DisposeInput{ID: e.ID, ExpectedVersion: e.Version, Disposition: security.Benign, Reason: why}
		with(&in)
		_, err := w.Dispose(ctx, in)
		return err
	}
	correct := func(ctx context.Context, with func(in *security.CorrectInput)) error {
		low := security.Low
		in := security.CorrectInput{ID: e.ID, ExpectedVersion: e.Version, Severity: &low, Reason: why}
		with(&in)
		_, err := w.Correct(ctx, in)
		return err
	}
	act := func(ctx context.Context, at time.Time, s string) error {
		_, err := w.AddActivity(ctx, security.ActivityInput{ID: e.ID, At: at, Text: text(s)})
		return err
	}
	for name, tt := range map[string]struct {
		err, want error
	}{
		"to decide without a reason":     {dispose(w.one, func(in *security.DisposeInput) { in.Reason = text("no") }), security.ErrReason},
		"to decide as it is":             {dispose(w.one, func(in *security.DisposeInput) { in.Disposition = security.Open }), security.ErrSame},
		"to link what isn't escalated":   {dispose(w.one, func(in *security.DisposeInput) { in.LinkedIncident = &e.ID }), security.ErrLink},
		"to link to a text":              {dispose(w.one, func(in *security.DisposeInput) { in.Disposition, in.LinkedIncident = security.EscalatedBreach, &link }), security.ErrLink},
		"to decide about another":        {dispose(w.one, func(in *security.DisposeInput) { in.ExpectedVersion++ }), change.ErrVersion},
		"another tenant to decide":       {dispose(w.two, func(*security.DisposeInput) {}), security.ErrNotFound},
		"to correct nothing":             {correct(w.one, func(in *security.CorrectInput) { in.Severity = nil }), security.ErrNothing},
		"to correct without a reason":    {correct(w.one, func(in *security.CorrectInput) { in.Reason = text("") }), security.ErrReason},
		"to correct into the future":     {correct(w.one, func(in *security.CorrectInput) { in.DetectedAt = &late }), security.ErrFuture},
		"another tenant to correct":      {correct(w.two, func(*security.CorrectInput) {}), security.ErrNotFound},
		"activities of the future":       {act(w.one, late, "done"), security.ErrFuture},
		"activities without a text":      {act(w.one, w.now, " "), security.ErrText},
		"another tenant to add activity": {act(w.two, w.now, "done"), security.ErrNotFound},
		"another tenant to see it":       {second(w.Get(w.two, e.ID)), security.ErrNotFound},
		"an id of another type":          {second(w.Get(w.one, id.New(id.Subject, testenv.One))), security.ErrNotFound},
	} {
		found, _ := errors.AsType[*errs.Error](tt.err)
		want, _ := errors.AsType[*errs.Error](tt.want)
		if found == nil || found.Message != want.Message {
			t.Errorf("%s: got %v, want %v", name, tt.err, tt.want)
		}
	}
	if now, err := w.Get(w.one, e.ID); err != nil || now.Version != e.Version || now.Notes != 1 {
		t.Errorf("what was refused left a trace: %+v, %v", now, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestList(t *testing.T) {
	w := start(t)
	var all []string
	for i := range 5 {
		e := w.record(t, func(in *security.RecordInput) {
			if i%2 == 0 {
				in.Severity, in.Category = security.Low, security.CategoryLoss
			}
		})
		all = append([]string{e.ID}, all...)
	}
	from, err := w.Get(w.one, all[3])
	if err != nil {
		t.Fatal(err)
	}
	to, err := w.Get(w.one, all[1])
	if err != nil {
		t.Fatal(err)
	}
	low, loss, open, benign, staff := security.Low, security.CategoryLoss, security.Open, security.Benign, security.SourceStaff
	for name, tt := range map[string]struct {
		filter *security.Filter
		want   []string
	}{
		"all":         {nil, all},
		"low":         {&security.Filter{Severity: &low}, []string{all[0], all[2], all[4]}},
		"all of it":   {&security.Filter{Severity: &low, Category: &loss, Disposition: &open, Source: &staff}, []string{all[0], all[2], all[4]}},
		"none":        {&security.Filter{Disposition: &benign}, nil},
		"in a time":   {&security.Filter{From: &from.RecordedAt, To: &to.RecordedAt}, []string{all[2], all[3]}},
		"low in time": {&security.Filter{From: &from.RecordedAt, To: &to.RecordedAt, Severity: &low}, []string{all[2]}},
	} {
		var got []string
		for after := (*string)(nil); ; {
			c, err := w.List(w.one, tt.filter, page.Request{First: 2, After: after})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range c.Nodes() {
				got = append(got, e.ID)
			}
			if !c.PageInfo.HasNextPage {
				break
			}
			after = c.PageInfo.EndCursor
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
	if c, err := w.List(w.two, nil, page.Request{First: 10}); err != nil || len(c.Edges) > 0 {
		t.Errorf("another tenant sees %v, %v", c, err)
	}
}

func TestDetectors(t *testing.T) {
	w := start(t)
	threshold, minutes, off := 7, 30, false
	set, err := w.ChangeDetector(w.one, security.ChangeDetectorInput{Detector: security.MassRead, Threshold: &threshold, WindowMinutes: &minutes})
	if err != nil || set.Threshold != 7 || set.WindowMinutes != 30 || !set.Enabled || set.UpdatedAt == nil {
		t.Errorf("set %+v, %v", set, err)
	}
	set, err = w.ChangeDetector(w.one, security.ChangeDetectorInput{Detector: security.MassRead, Enabled: &off})
	if err != nil || set.Threshold != 7 || set.Enabled {
		t.Errorf("set %+v, %v", set, err)
	}
	of := func(ctx context.Context) security.Setting {
		all, err := w.Detectors(ctx)
		if err != nil || len(all) != 11 {
			t.Fatalf("%d detectors, %v", len(all), err)
		}
		return *all[slices.IndexFunc(all, func(s *security.Setting) bool { return s.Detector == security.MassRead })]
	}
	if got := of(w.one); got.Threshold != 7 || got.Enabled {
		t.Errorf("kept %+v", got)
	}
	if got := of(w.two); got.Threshold != 2000 || !got.Enabled || got.UpdatedAt != nil {
		t.Errorf("another tenant has %+v", got)
	}
	for _, bad := range []security.ChangeDetectorInput{{Threshold: new(int)}, {WindowMinutes: new(int)}} {
		bad.Detector = security.Refusals
		if _, err := w.ChangeDetector(w.one, bad); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
