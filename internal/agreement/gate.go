package agreement

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// Mode is what the gate does with personal data that no agreement covers.
type Mode string

// The modes.
const (
	Off     Mode = "OFF"
	Warn    Mode = "WARN"    // take it in, say so in the answer, and note it once a day
	Enforce Mode = "ENFORCE" // refuse it
)

// Valid reports whether m is a mode.
func (m Mode) Valid() bool { return m == Off || m == Warn || m == Enforce }

// Fresh is after how long a server looks for what others have changed of a tenant's
// standing; what it changed itself it knows at once.
const Fresh = 20 * time.Second

// Sentinels of the gate.
var (
	ErrGate     = errs.New(errs.Precondition, "no personal data is taken in without a data processing agreement in force (GDPR Art. 28(3)): request one and have both sides sign it").Under("agreement.inForce")
	ErrClass    = errs.New(errs.Precondition, "the agreement in force doesn't cover data of this class (GDPR Art. 28(3)(a)): propose an amendment").Under("agreement.categories")
	ErrLocation = errs.New(errs.Precondition, "the agreement in force doesn't let data be processed where the platform does: propose an amendment").Under("agreement.locations")
)

// Standings is what a Gate reads and notes.
type Standings interface {
	Standing(ctx context.Context) (*Standing, error)
	NoteOn(ctx context.Context, day civil.Date, what string) (bool, error)
}

// Gate stands before all that takes in personal data.
type Gate struct {
	store     Standings
	provider  Tenants
	changes   *change.Runner
	log       *slog.Logger
	now       func() time.Time
	mode      Mode
	countries []string

	mu        sync.Mutex
	known     map[tenant.ID]standing
	noted     map[tenant.ID]string // the day, and what
	home      tenant.ID
	forgotten uint64
}

type standing struct {
	*Standing

	at time.Time
}

// NewGate returns a Gate in a mode where tenants have none of their own, for a
// platform that processes in countries.
func NewGate(store Standings, provider Tenants, changes *change.Runner, log *slog.Logger, now func() time.Time, mode Mode, countries []string) *Gate {
	return &Gate{
		store: store, provider: provider, changes: changes, log: log, now: now, mode: mode, countries: countries,
		known: map[tenant.ID]standing{}, noted: map[tenant.ID]string{},
	}
}

// Take reports why the tenant in ctx may not put in data of some classes, and of the
// categories given: ErrGate, ErrClass or ErrLocation. In mode Warn it returns nil, and
// the answer to the caller carries the reason (see WithWarnings). The provider is the
// controller of what it has itself, and passes. It must not be called in a transaction.
func (g *Gate) Take(ctx context.Context, classes []dataset.Class, categories []string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	now := g.now()
	s, err := g.standing(ctx, of, now)
	if err != nil {
		return err
	}
	mode := g.mode
	if s.Mode != nil {
		mode = *s.Mode
	}
	if mode == Off {
		return nil
	}
	denied := g.denied(s, now, classes, categories)
	if denied == nil {
		return nil
	}
	if is, err := g.isProvider(ctx, of); err != nil || is {
		return err
	}
	if mode == Enforce {
		return denied
	}
	warn(ctx, denied)
	return g.note(ctx, of, civil.Of(now.UTC()), denied.Rule)
}

func (g *Gate) denied(s *Standing, now time.Time, classes []dataset.Class, categories []string) *errs.Error {
	outside := func(list []string, within []string) bool {
		return slices.ContainsFunc(list, func(c string) bool { return c != "" && !slices.Contains(within, c) })
	}
	switch {
	case s.Agreement == "", s.Until != nil && !now.Before(*s.Until):
		return ErrGate
	case slices.ContainsFunc(classes, func(c dataset.Class) bool { return !slices.Contains(s.Scope.Classes, c) }):
		return ErrClass
	case len(s.Scope.Categories) > 0 && outside(categories, s.Scope.Categories):
		return ErrClass
	case outside(g.countries, s.Scope.Countries):
		return ErrLocation
	default:
		return nil
	}
}

// standing returns a tenant's, which is read once for all its writes.
func (g *Gate) standing(ctx context.Context, of tenant.ID, now time.Time) (*Standing, error) {
	g.mu.Lock()
	have, before := g.known[of], g.forgotten
	g.mu.Unlock()
	if have.Standing != nil && now.Sub(have.at) < Fresh {
		return have.Standing, nil
	}
	s, err := g.store.Standing(ctx)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.forgotten == before {
		g.known[of] = standing{s, now}
	}
	return s, nil
}

// Forget has a tenant's standing read again by the next question.
func (g *Gate) Forget(of tenant.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgotten++
	delete(g.known, of)
	delete(g.noted, of)
}

func (g *Gate) isProvider(ctx context.Context, of tenant.ID) (bool, error) {
	g.mu.Lock()
	home := g.home
	g.mu.Unlock()
	if home == "" {
		var err error
		if home, err = g.provider.ProviderID(tenant.System(ctx, "agreements")); errs.KindOf(err) == errs.NotFound {
			return false, nil
		} else if err != nil {
			return false, err
		}
		g.mu.Lock()
		g.home = home
		g.mu.Unlock()
	}
	return of == home, nil
}

// note writes to the audit log, once on a day, that data was taken in which no
// agreement covers.
func (g *Gate) note(ctx context.Context, of tenant.ID, day civil.Date, rule string) error {
	what := day.String() + " " + rule
	g.mu.Lock()
	known := g.noted[of] == what
	g.mu.Unlock()
	if known {
		return nil
	}
	fresh, err := g.claim(ctx, of, day, rule)
	if err != nil {
		return err
	}
	if fresh {
		g.log.WarnContext(ctx, "personal data without an agreement that covers it", "tenant", string(of), "rule", rule)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.noted[of] = what
	return nil
}

// errNoted ends a transaction that has nothing to note.
var errNoted = errs.New(errs.Conflict, "it has been noted today")

func (g *Gate) claim(ctx context.Context, of tenant.ID, day civil.Date, rule string) (bool, error) {
	err := g.changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		fresh, err := g.store.NoteOn(ctx, day, rule)
		if err != nil {
			return change.Change{}, err
		}
		if !fresh {
			return change.Change{}, errNoted
		}
		return change.Change{Action: "agreement.uncovered", Object: string(of), Fields: []string{rule}}, nil
	})
	if errs.KindOf(err) == errs.Conflict {
		return false, nil
	}
	return err == nil, err
}

type warningsKey struct{}

// Warnings are what an answer carries beside its data.
type Warnings struct {
	mu  sync.Mutex
	all []Warning
}

// Warning is one of them.
type Warning struct {
	Rule    string `json:"rule"`
	Message string `json:"message"`
}

// WithWarnings returns ctx in which warnings are collected.
func WithWarnings(ctx context.Context) (context.Context, *Warnings) {
	w := &Warnings{}
	return context.WithValue(ctx, warningsKey{}, w), w
}

// All returns what was warned of, each rule once.
func (w *Warnings) All() []Warning {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// Header is the warnings as the value of header Vogter-Warning, "" of none.
func (w *Warnings) Header() string {
	var rules []string
	for _, x := range w.All() {
		rules = append(rules, x.Rule)
	}
	return strings.Join(rules, ", ")
}

func warn(ctx context.Context, e *errs.Error) {
	w, ok := ctx.Value(warningsKey{}).(*Warnings)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.ContainsFunc(w.all, func(x Warning) bool { return x.Rule == e.Rule }) {
		w.all = append(w.all, Warning{e.Rule, e.Message})
	}
}

// GateInput sets what the gate does for a tenant.
type GateInput struct {
	Tenant string
	Mode   *Mode // the platform's when nil
}

// SetMode sets what the gate does for a tenant, for the provider's people.
func (s *Service) SetMode(ctx context.Context, in GateInput) (*Standing, error) {
	if !operator(ctx) {
		return nil, ErrProvider
	}
	within, _, err := s.customer(ctx, &in.Tenant)
	if err != nil {
		return nil, err
	}
	if in.Mode != nil && !in.Mode.Valid() {
		return nil, errs.New(errs.Invalid, "no such mode").At("mode")
	}
	if _, err := s.Tenants.Get(within); errs.KindOf(err) == errs.NotFound {
		return nil, ErrTenant
	} else if err != nil {
		return nil, err
	}
	var set *Standing
	err = s.Changes.Do(within, func(ctx context.Context) (change.Change, error) {
		if set, err = s.Store.Standing(ctx); err != nil {
			return change.Change{}, err
		}
		set.Mode = in.Mode
		set.Version++
		return change.Change{Action: "agreement.setGate", Object: in.Tenant, Fields: []string{"mode"}}, s.Store.SetStanding(ctx, set)
	})
	if err != nil {
		return nil, err
	}
	s.Gate.Forget(tenant.ID(in.Tenant))
	return set, nil
}

// Standing returns what holds of the tenant; the provider's people name it.
func (s *Service) Standing(ctx context.Context, of *string) (*Standing, error) {
	within, _, err := s.customer(ctx, of)
	if err != nil {
		return nil, err
	}
	return s.Store.Standing(within)
}
