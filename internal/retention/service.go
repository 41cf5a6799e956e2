package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// The types of jobs.
const (
	JobOutdate = "retention:outdate" // see Service.Outdate; its object is a rule, or the tenant for its settings
	JobLedger  = "retention:ledger"  // see Service.TellLedger; its object is a hold
	JobRun     = "retention:run"     // see Service.Run; its object is a run
)

// Store keeps everything of this package.
type Store interface {
	RuleStore
	HoldStore
	DateStore
	RunStore
}

// Datasets knows what records hold, as far as the caller may.
type Datasets interface {
	Get(ctx context.Context, datasetID string) (*dataset.Dataset, error)
	// Hidden returns those that the caller must not know of.
	Hidden(ctx context.Context) ([]string, error)
	// Secret returns those that are secret by law, whoever is calling.
	Secret(ctx context.Context) ([]string, error)
}

// Tenants knows the tenant in ctx.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
}

// Erasures destroys what is due.
type Erasures interface {
	BeginIn(ctx context.Context, p erasure.Plan) (*erasure.Shredding, []job.Spec, error)
}

// Ledger keeps what a restored backup must not undo.
type Ledger interface {
	Append(ctx context.Context, e ledger.Entry) (int64, error)
}

// Vault makes keys before the transaction that needs them.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Config is what a Service needs.
type Config struct {
	Store    Store
	Datasets Datasets
	Tenants  Tenants
	Erasures Erasures
	Ledger   Ledger
	Vault    Vault
	Changes  *change.Runner
	Recorder *audit.Recorder
	Log      *slog.Logger
	Now      func() time.Time
}

// Service keeps rules and holds, and erases what has fallen due.
type Service struct {
	Config
	*Keeper
}

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c, NewKeeper(c.Store, c.Tenants, c.Now)} }

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// check returns missing unless the id is one of the tenant's own.
func check(ctx context.Context, t id.Type, s string, missing error) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if id.Check(t, of, s) != nil {
		return missing
	}
	return nil
}

// CreateInput asks for a rule: of a template, or of one's own.
type CreateInput struct {
	Dataset    *string
	Activity   *string
	Template   *string
	Assessment *string
	Rule       *ContentInput
}

// ContentInput is what a rule says.
type ContentInput struct {
	Trigger     Trigger
	Period      string
	Kind        Kind
	YearEnd     *string
	LegalSource string
	Exception   Exception
	Restricted  bool
	TextDa      string
	TextEn      string
	ValidFrom   *civil.Date
	ValidTo     *civil.Date
}

// ReviseInput asks for changes; what is nil stays.
type ReviseInput struct {
	ID              string
	ExpectedVersion int64
	Period          *string
	YearEnd         *string
	LegalSource     *string
	TextDa          *string
	TextEn          *string
	Assessment      *string
	ValidFrom       *civil.Date
	ValidTo         *civil.Date
}

// RetireInput ends a rule.
type RetireInput struct {
	ID              string
	ExpectedVersion int64
}

// Rule returns a rule, or ErrNotFound, also when it is of a dataset that the caller
// must not know of.
func (s *Service) Rule(ctx context.Context, ruleID string) (*Rule, error) {
	if err := check(ctx, id.Retention, ruleID, ErrNotFound); err != nil {
		return nil, err
	}
	r, err := s.Store.GetRule(ctx, ruleID)
	if err != nil {
		return nil, err
	}
	hidden, err := s.Datasets.Hidden(ctx)
	if err != nil {
		return nil, err
	}
	if slices.Contains(hidden, r.unit()) {
		return nil, ErrNotFound
	}
	return r, nil
}

// Rules returns a page of the rules, the newest first.
func (s *Service) Rules(ctx context.Context, r page.Request) (*Connection, error) {
	hidden, err := s.Datasets.Hidden(ctx)
	if err != nil {
		return nil, err
	}
	at := func(r *Rule) page.Position { return page.Position{CreatedAt: r.CreatedAt, ID: r.ID} }
	return page.Read(ctx, page.List{Of: id.Retention}, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Rule, error) {
		return s.Store.Rules(ctx, hidden, after, limit)
	})
}

// Templates returns the defaults that rules can be made from.
func (s *Service) Templates() ([]*Template, error) { return Templates() }

// Create makes a rule, in force at once. It obeys the caller's Idempotency-Key.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Rule, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.content(in)
	if err != nil {
		return nil, err
	}
	if in.Dataset != nil {
		if _, err := s.Datasets.Get(ctx, *in.Dataset); err != nil {
			return nil, errs.At(err, "dataset")
		}
	}
	if in.Activity != nil && id.Check(id.Activity, of, *in.Activity) != nil {
		return nil, errs.New(errs.NotFound, "no such processing activity").At("activity")
	}
	now := s.at()
	r := &Rule{
		ID: id.New(id.Retention, of), Content: c, State: Active, Version: 1, CreatedBy: authz.FromContext(ctx).ID, CreatedAt: now, UpdatedAt: now,
	}
	ruleID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		active, err := s.Store.ActiveRules(ctx)
		if err != nil {
			return change.Change{}, err
		}
		if len(active) >= MaxRules {
			return change.Change{}, ErrTooMany
		}
		return change.Change{Action: "retention.create", Object: r.ID, Then: []job.Spec{r.outdate()}}, s.Store.InsertRule(ctx, r)
	})
	if err != nil {
		return nil, err
	}
	return s.Rule(ctx, ruleID)
}

// content returns what a new rule says.
func (s *Service) content(in CreateInput) (Content, error) {
	c := Content{}
	switch {
	case (in.Template == nil) == (in.Rule == nil):
		return c, errs.New(errs.Invalid, "a rule is made from a template or from a rule of your own: give one of both").At("rule")
	case in.Template != nil:
		all, err := Templates()
		if err != nil {
			return c, err
		}
		i := slices.IndexFunc(all, func(t *Template) bool { return t.ID == *in.Template })
		if i < 0 {
			return c, ErrTemplate
		}
		if all[i].NeedsAssessment && in.Assessment == nil {
			return c, ErrAssessment
		}
		c = all[i].content()
	default:
		p, err := ParsePeriod(in.Rule.Period)
		if err != nil {
			return c, errs.At(err, "rule")
		}
		c = Content{
			Trigger: in.Rule.Trigger, Period: p, Kind: in.Rule.Kind, YearEnd: in.Rule.YearEnd, LegalSource: in.Rule.LegalSource,
			Exception: in.Rule.Exception, Restricted: in.Rule.Restricted, TextDa: in.Rule.TextDa, TextEn: in.Rule.TextEn,
			ValidFrom: in.Rule.ValidFrom, ValidTo: in.Rule.ValidTo,
		}
	}
	c.Dataset, c.Activity, c.Assessment = in.Dataset, in.Activity, in.Assessment
	return c, errs.At(c.check(), "rule")
}

// outdate is the job that has all that a rule is about decided on anew.
func (r *Rule) outdate() job.Spec { return job.Spec{Type: JobOutdate, Object: r.ID} }

// Revise changes a rule.
func (s *Service) Revise(ctx context.Context, in ReviseInput) (*Rule, error) {
	return s.updateRule(ctx, "retention.revise", in.ID, in.ExpectedVersion, func(r *Rule) ([]string, error) {
		var changed []string
		text := func(name string, to *string, set func(string)) {
			if to != nil {
				set(*to)
				changed = append(changed, name)
			}
		}
		var failed error
		text("period", in.Period, func(v string) { r.Period, failed = ParsePeriod(v) })
		if failed != nil {
			return nil, failed
		}
		text("yearEnd", in.YearEnd, func(string) { r.YearEnd = in.YearEnd })
		text("legalSource", in.LegalSource, func(v string) { r.LegalSource = v })
		text("textDa", in.TextDa, func(v string) { r.TextDa = v })
		text("textEn", in.TextEn, func(v string) { r.TextEn = v })
		text("assessment", in.Assessment, func(string) { r.Assessment = in.Assessment })
		if in.ValidFrom != nil {
			r.ValidFrom, changed = in.ValidFrom, append(changed, "validFrom")
		}
		if in.ValidTo != nil {
			r.ValidTo, changed = in.ValidTo, append(changed, "validTo")
		}
		if err := r.fixed(in.Period != nil); err != nil {
			return nil, err
		}
		return changed, r.check()
	})
}

// fixed refuses another period than that of the law.
func (r *Rule) fixed(changed bool) error {
	if r.Template == nil || !changed {
		return nil
	}
	all, err := Templates()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(t *Template) bool { return t.ID == *r.Template })
	if i < 0 || all[i].Adjustable || all[i].Period == r.Period {
		return nil
	}
	return ErrFixed.At("period")
}

// Retire ends a rule.
func (s *Service) Retire(ctx context.Context, in RetireInput) (*Rule, error) {
	return s.updateRule(ctx, "retention.retire", in.ID, in.ExpectedVersion, func(r *Rule) ([]string, error) {
		r.State = Retired
		return []string{"state"}, nil
	})
}

func (s *Service) updateRule(
	ctx context.Context, action, ruleID string, expected int64, apply func(*Rule) ([]string, error),
) (r *Rule, err error) {
	if _, err := s.Rule(ctx, ruleID); err != nil {
		return nil, err
	}
	at := s.at()
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if r, err = s.Store.GetRule(ctx, ruleID); err != nil {
			return c, err
		}
		switch {
		case r.Version != expected:
			return c, change.ErrVersion
		case r.State == Retired:
			return c, ErrRetired
		}
		fields, err := apply(r)
		if err != nil {
			return c, err
		}
		r.Version++
		r.UpdatedAt = at
		return change.Change{Action: action, Object: r.ID, Fields: fields, Then: []job.Spec{r.outdate()}}, s.Store.UpdateRule(ctx, r)
	})
	return r, err
}

// PlaceInput asks for a hold.
type PlaceInput struct {
	Scope       Scope
	Exception   Exception
	LegalSource string
	Reason      personal.Text
	ReviewOn    civil.Date
}

// ReleaseInput ends a hold.
type ReleaseInput struct{ ID string }

// HoldOwner returns the owner of the key of what a hold says.
func HoldOwner(of tenant.ID, holdID string) vault.Owner {
	return vault.Owner{Tenant: of, Subject: holdID, Unit: vault.Identity}
}

// Hold returns a hold, or ErrNoHold.
func (s *Service) Hold(ctx context.Context, holdID string) (*Hold, error) {
	if err := check(ctx, id.Hold, holdID, ErrNoHold); err != nil {
		return nil, err
	}
	h, err := s.Store.GetHold(ctx, holdID)
	if err != nil {
		return nil, err
	}
	return h, s.showHolds(ctx, h)
}

// Holds returns a page of holds, the newest first, in any state when it is nil.
func (s *Service) Holds(ctx context.Context, state *HoldState, r page.Request) (*HoldConnection, error) {
	list := page.List{Of: id.Hold}
	if state != nil {
		list.Scope = string(*state)
	}
	at := func(h *Hold) page.Position { return page.Position{CreatedAt: h.PlacedAt, ID: h.ID} }
	c, err := page.Read(ctx, list, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Hold, error) {
		return s.Store.Holds(ctx, state, after, limit)
	})
	if err != nil {
		return nil, err
	}
	return c, s.showHolds(ctx, c.Nodes()...)
}

// showHolds takes from holds what the caller must not know of, and notes that they
// are read.
func (s *Service) showHolds(ctx context.Context, holds ...*Hold) error {
	hidden, err := s.Datasets.Hidden(ctx)
	if err != nil {
		return err
	}
	object := ""
	for _, h := range holds {
		h.Scope.Datasets = slices.DeleteFunc(h.Scope.Datasets, func(d string) bool { return slices.Contains(hidden, d) })
		object = h.ID
	}
	if len(holds) != 1 {
		object = ""
	}
	return s.Recorder.Read(ctx, "hold.read", object)
}

// Place makes a hold, which keeps data from then on. It obeys the caller's
// Idempotency-Key.
func (s *Service) Place(ctx context.Context, in PlaceInput) (*Hold, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	h := &Hold{
		ID: id.New(id.Hold, of), Scope: in.Scope, Exception: in.Exception, LegalSource: in.LegalSource, Reason: in.Reason,
		PlacedBy: authz.FromContext(ctx).ID, PlacedAt: s.at(), ReviewOn: in.ReviewOn, State: Placed,
	}
	if err := s.checkHold(ctx, of, h); err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(ctx, HoldOwner(of, h.ID)); err != nil {
		return nil, err
	}
	holdID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		n, err := s.Store.CountHolds(ctx, MaxHolds)
		if err != nil {
			return change.Change{}, err
		}
		if n >= MaxHolds {
			return change.Change{}, ErrManyHolds
		}
		return change.Change{Action: "hold.place", Object: h.ID, Then: []job.Spec{h.tell()}}, s.Store.InsertHold(ctx, h)
	})
	if err != nil {
		return nil, err
	}
	return s.Hold(ctx, holdID)
}

// tell is the job that has the ledger know of a hold.
func (h *Hold) tell() job.Spec { return job.Spec{Type: JobLedger, Object: h.ID} }

func (s *Service) checkHold(ctx context.Context, of tenant.ID, h *Hold) error {
	for _, part := range []struct {
		ids  []string
		kind id.Type
		most int
	}{{h.Scope.Persons, id.Subject, MaxPersons}, {h.Scope.Datasets, id.Dataset, MaxDatasets}, {h.Scope.Cases, id.Request, MaxCases}} {
		if len(part.ids) > part.most {
			return ErrScope
		}
		for i, v := range part.ids {
			if id.Check(part.kind, of, v) != nil || slices.Contains(part.ids[:i], v) {
				return ErrScope
			}
		}
	}
	if len(h.Scope.Persons)+len(h.Scope.Datasets)+len(h.Scope.Cases) == 0 {
		return ErrScope
	}
	for _, d := range h.Scope.Datasets {
		if _, err := s.Datasets.Get(ctx, d); err != nil {
			return errs.At(err, "scope.datasets")
		}
	}
	switch h.Exception {
	case Expression, LegalObligation, PublicHealth, Archiving, LegalClaims:
	default:
		return errs.New(errs.Invalid, "an exception is E17_3_A to E17_3_E").At("exception")
	}
	if err := checkText("legalSource", h.LegalSource, maxSource); err != nil {
		return err
	}
	if err := checkText("reason", strings.ReplaceAll(h.Reason.Reveal(), "\n", " "), maxText); err != nil {
		return err
	}
	_, today, err := s.today(ctx)
	if err == nil && !h.ReviewOn.After(today) {
		err = errs.New(errs.Invalid, "a hold is reviewed on a day to come").At("reviewOn")
	}
	return err
}

// Release ends a hold. It takes another person than the one who placed it.
func (s *Service) Release(ctx context.Context, in ReleaseInput) (*Hold, error) {
	if err := check(ctx, id.Hold, in.ID, ErrNoHold); err != nil {
		return nil, err
	}
	by, at := authz.FromContext(ctx).ID, s.at()
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		h, err := s.Store.GetHold(ctx, in.ID)
		switch {
		case err != nil:
			return c, err
		case h.State == Released:
			return c, ErrReleased
		case h.PlacedBy == by:
			return c, ErrFourEyes
		}
		h.State, h.ReleasedBy, h.ReleasedAt = Released, &by, &at
		return change.Change{Action: "hold.release", Object: h.ID, Then: []job.Spec{h.tell()}}, s.Store.ReleaseHold(ctx, h)
	})
	if err != nil {
		return nil, err
	}
	return s.Hold(ctx, in.ID)
}

// The states of a hold in the ledger.
const (
	ledgerOn  = "ON"
	ledgerOff = "OFF"
)

// TellLedger is the work of JobLedger: an entry for each person of the hold, or one
// for a hold that names none. A hold that changes meanwhile is told again.
func (s *Service) TellLedger(ctx context.Context, r *job.Run) error {
	for told := HoldState(""); ; {
		h, err := s.Store.GetHold(ctx, r.Object())
		if err != nil || h.State == told {
			return err
		}
		persons := h.Scope.Persons
		if len(persons) == 0 {
			persons = []string{""}
		}
		for _, p := range persons {
			e := ledger.Entry{
				Kind: ledger.Hold, Tenant: r.Tenant(), Object: h.ID, Subject: p, Units: slices.Concat(h.Scope.Datasets, h.Scope.Cases), State: ledgerOn,
			}
			if h.State == Released {
				e.State = ledgerOff
			}
			if _, err := s.Ledger.Append(ctx, e); err != nil {
				return err
			}
		}
		told = h.State
	}
}

// Replay puts back a hold that a restored database doesn't know. Entries of other
// kinds are left to others: handled is false.
func (s *Service) Replay(ctx context.Context, e ledger.Entry) (handled bool, err error) {
	if e.Kind != ledger.Hold {
		return false, nil
	}
	ctx = authz.NewContext(tenant.NewContext(ctx, e.Tenant), authz.Principal{Kind: authz.KindSystem, ID: "ledger", Tenant: e.Tenant})
	h := &Hold{
		ID: e.Object, Exception: LegalClaims, LegalSource: "restored from the ledger", PlacedBy: "ledger", PlacedAt: e.At, ReviewOn: civil.Of(e.At), State: Placed,
	}
	if e.Subject != "" {
		h.Scope.Persons = []string{e.Subject}
	}
	for _, u := range e.Units {
		if id.TypeOf(u) == id.Dataset {
			h.Scope.Datasets = append(h.Scope.Datasets, u)
		} else {
			h.Scope.Cases = append(h.Scope.Cases, u)
		}
	}
	if e.State == ledgerOff {
		by := "ledger"
		h.State, h.ReleasedBy, h.ReleasedAt = Released, &by, &e.At
	}
	err = s.Changes.DoPlain(ctx, "hold.replay", h.ID, func(ctx context.Context) error { return s.Store.RestoreHold(ctx, h) })
	if err != nil {
		return true, fmt.Errorf("replay hold %s: %w", h.ID, err)
	}
	s.Log.WarnContext(ctx, "hold put back: the database was older than the ledger", "hold", h.ID, "state", h.State)
	return true, nil
}

// Decided is an item with what happens to it.
type Decided struct {
	*Item
	Decision
}

// DatasetID returns the dataset of the item, or Proof; nil for what identifies the
// person.
func (d *Decided) DatasetID() *string {
	if d.Unit == Person {
		return nil
	}
	return &d.Unit
}

// HoldID returns the id of the hold that keeps the item.
func (d *Decided) HoldID() *string {
	if d.Hold == nil {
		return nil
	}
	return &d.Hold.ID
}

// Of decides on everything that a person has, what identifies the person last.
// Requested is whether erasure is asked for, with a ground of Art. 17(1): then only
// minimums and holds keep anything. Parts of hidden datasets are left out.
func (s *Service) Of(ctx context.Context, person string, requested bool) ([]*Decided, error) {
	return s.OfAll(ctx, person, requested, nil)
}

// OfAll is Of, and decides on units of which no dates are stored, too, as of a
// document without a record.
func (s *Service) OfAll(ctx context.Context, person string, requested bool, also []Unit) ([]*Decided, error) {
	if err := check(ctx, id.Subject, person, subject.ErrNotFound); err != nil {
		return nil, err
	}
	items, err := s.Store.Items(ctx, person)
	if err != nil {
		return nil, err
	}
	items = slices.DeleteFunc(items, func(i *Item) bool { return i.Unit == Proof }) // no wish is about it
	if personOf(items, person) == nil {
		return nil, subject.ErrNotFound // or erased, which nothing that outlives it may tell
	}
	hidden, err := s.Datasets.Hidden(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range also {
		if !slices.ContainsFunc(items, func(i *Item) bool { return i.Unit == u }) {
			items = append(items, &Item{Tenant: items[0].Tenant, Subject: person, Unit: u, State: items[0].State})
		}
	}
	all, err := s.decide(ctx, items, items, requested)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(d *Decided) bool { return slices.Contains(hidden, d.Unit) }), nil
}

// decide resolves what happens to items today; known are all items of their
// persons. It works within a transaction, too.
func (s *Service) decide(ctx context.Context, items, known []*Item, requested bool) ([]*Decided, error) {
	zone, today, err := s.today(ctx)
	if err != nil {
		return nil, err
	}
	rules, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	persons := make([]string, 0, len(items))
	for _, i := range items {
		persons = append(persons, i.Subject)
	}
	holds, err := s.Store.HoldsOn(ctx, persons...)
	if err != nil {
		return nil, err
	}
	secret, err := s.Datasets.Secret(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*Decided, len(items))
	for n, i := range items {
		d := i.datum(personOf(known, i.Subject), zone)
		d.Requested = d.Requested || requested
		d.Parts = i.Unit == Person && s.parts(known, i.Subject, func(other *Item) bool {
			if slices.Contains(secret, other.Unit) {
				return false // it outlives the person: see Spare
			}
			o := other.datum(personOf(known, i.Subject), zone)
			o.Requested = o.Requested || requested
			return Decide(o, rules, holds, today).Outcome != EraseNow
		})
		all[n] = &Decided{i, Decide(d, rules, holds, today)}
		if i.Unit == Proof {
			all[n].Rule = nil // it is the settings'
		}
	}
	return all, nil
}

// rules returns the tenant's rules in force, and the one about Proof.
func (s *Service) rules(ctx context.Context) ([]*Rule, error) {
	rules, err := s.Store.ActiveRules(ctx)
	if err != nil {
		return nil, err
	}
	set, err := s.Store.Settings(ctx)
	return append(rules, set.proof()), err
}

// Spare returns the datasets of a person that outlive the erasure of the rest, within
// the transaction of the change that begins it: what is secret by AML law stays for
// as long as its own rules say, and nothing that anybody else sees may tell of it
// (DOMAIN §2.7). Who the person is stays with it, under its own key.
func (s *Service) Spare(ctx context.Context, person string) ([]vault.Unit, error) {
	secret, err := s.Datasets.Secret(ctx)
	if err != nil || len(secret) == 0 {
		return nil, err
	}
	known, err := s.Store.Items(ctx, person)
	if err != nil {
		return nil, err
	}
	items := slices.DeleteFunc(slices.Clone(known), func(i *Item) bool { return !slices.Contains(secret, i.Unit) || i.State.Gone() })
	if len(items) == 0 {
		return nil, nil
	}
	all, err := s.decide(ctx, items, known, false)
	if err != nil {
		return nil, err
	}
	var spared []vault.Unit
	var units []Unit
	for _, d := range all {
		if d.Outcome != EraseNow {
			spared, units = append(spared, vault.Unit(d.Unit)), append(units, d.Unit)
		}
	}
	if len(units) == 0 {
		return nil, nil
	}
	return spared, s.Store.Spare(ctx, person, units...)
}

// parts reports whether a person has data in other units that stays.
func (s *Service) parts(known []*Item, person string, stays func(*Item) bool) bool {
	return slices.ContainsFunc(known, func(i *Item) bool { return i.Subject == person && i.Unit != Person && stays(i) })
}

func personOf(items []*Item, person string) *Item {
	for _, i := range items {
		if i.Subject == person && i.Unit == Person {
			return i
		}
	}
	return nil
}

// CaseClosed notes that a case about a person was closed, within a change's
// transaction: whatever the person has under a rule that counts from it is decided
// on anew. There is nothing to note of a person who is erased.
func (s *Service) CaseClosed(ctx context.Context, person string, at time.Time) error {
	known, err := s.Store.Items(ctx, person)
	if err != nil || personOf(known, person) == nil {
		return err
	}
	return s.Store.Note(ctx, person, Person, CaseClosed, at)
}

// Note stores that an event happened on what a person has in a unit, within a
// change's transaction: CONSENT_WITHDRAWN or CASE_CLOSED. The other dates are
// stored with the relations and records themselves.
func (s *Service) Note(ctx context.Context, person string, u Unit, t Trigger, at time.Time) error {
	if t != ConsentWithdrawn && t != CaseClosed {
		return errors.New("note an event: the trigger's date isn't noted but stored with the data")
	}
	return s.Store.Note(ctx, person, u, t, at)
}

// Schedule has what a person has in a unit erased as soon as no minimum and no hold
// keeps it, within a change's transaction. Cause is the id of what granted it.
func (s *Service) Schedule(ctx context.Context, person string, u Unit, cause string) error {
	return s.Store.Request(ctx, person, u, cause)
}
