package processing

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// PartyRole is what a party is to the tenant's processing, DOMAIN §1.1.
type PartyRole string

// The roles.
const (
	RoleController      PartyRole = "CONTROLLER"
	RoleJointController PartyRole = "JOINT_CONTROLLER"
	RoleProcessor       PartyRole = "PROCESSOR"
	RoleSubProcessor    PartyRole = "SUB_PROCESSOR"
	RoleRecipient       PartyRole = "RECIPIENT"
	RoleThirdParty      PartyRole = "THIRD_PARTY"
	RoleRepresentative  PartyRole = "REPRESENTATIVE"
)

// PartyRoles returns all roles.
func PartyRoles() []PartyRole {
	return []PartyRole{
		RoleController, RoleJointController, RoleProcessor, RoleSubProcessor, RoleRecipient, RoleThirdParty, RoleRepresentative,
	}
}

// Party is an organisation that takes part in processing.
type Party struct {
	ID string
	PartyFields
	State     PartyState
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// PartyFields are what can be said of a party.
type PartyFields struct {
	LegalName     string
	Country       string // ISO 3166-1 alpha-2
	Registration  *tenancy.Registration
	International bool // an international organisation: data going there is transferred, Art. 44
	Own           bool // the tenant itself: the register takes its contact from here
	Roles         []PartyRole
	Contact       *Contact
}

// Contact is how a party is reached, Art. 30(1)(a). It may name a person.
type Contact struct {
	Name    personal.Text
	Email   personal.Text
	Phone   personal.Text
	Address personal.Text // with line ends
}

// SystemKind is what a system is.
type SystemKind string

// The kinds of systems.
const (
	Application SystemKind = "APPLICATION"
	Database    SystemKind = "DATABASE"
	FileStore   SystemKind = "FILE_STORE"
	Messaging   SystemKind = "MESSAGING"
	Backup      SystemKind = "BACKUP"
	Paper       SystemKind = "PAPER"
	OtherSystem SystemKind = "OTHER"
)

// SystemKinds returns all kinds.
func SystemKinds() []SystemKind {
	return []SystemKind{Application, Database, FileStore, Messaging, Backup, Paper, OtherSystem}
}

// System is where data lie, DOMAIN §1.3.
type System struct {
	ID string
	SystemFields
	State     PartyState
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// SystemFields are what can be said of a system.
type SystemFields struct {
	Name         Words
	Kind         SystemKind
	Location     string  // country where the data lie
	Owner        *string // id of a party; the tenant itself when nil
	SubProcessor *string // id of the party that runs it for the owner
}

// Inputs.
type (
	// CreatePartyInput asks for a party.
	CreatePartyInput struct{ Party PartyFields }
	// UpdatePartyInput asks for all fields of a party to be as given.
	UpdatePartyInput struct {
		ID              string
		ExpectedVersion int64
		Party           PartyFields
	}
	// CreateSystemInput asks for a system.
	CreateSystemInput struct{ System SystemFields }
	// UpdateSystemInput asks for all fields of a system to be as given.
	UpdateSystemInput struct {
		ID              string
		ExpectedVersion int64
		System          SystemFields
	}
	// RetireInput ends a party, a system or an activity.
	RetireInput struct {
		ID              string
		ExpectedVersion int64
	}
)

var errOwn = errs.New(errs.Conflict, "another party is the tenant itself already").At("party.own")

// line reports whether s is a text of 1 to limit characters on one line.
func line(s string, limit int) bool {
	return s != "" && utf8.RuneCountInString(s) <= limit && !strings.ContainsFunc(s, unicode.IsControl)
}

func (p *PartyFields) check() error {
	p.LegalName = strings.TrimSpace(p.LegalName)
	if !line(p.LegalName, maxName) {
		return errs.New(errs.Invalid, "a legal name is a text of 1 to %d characters on one line", maxName).At("legalName")
	}
	if err := country(p.Country, "country"); err != nil {
		return err
	}
	if r := p.Registration; r != nil && (!line(r.Scheme, 50) || !line(r.Number, 50)) {
		return errs.New(errs.Invalid, "a registration is a scheme as in CVR and a number, of up to 50 characters each").At("registration")
	}
	if len(p.Roles) == 0 && !p.Own || slices.ContainsFunc(p.Roles, func(r PartyRole) bool { return !slices.Contains(PartyRoles(), r) }) {
		return errs.New(errs.Invalid, "a party other than the tenant itself has one role or more").At("roles")
	}
	if err := list(p.Roles, "roles", func(a, b PartyRole) bool { return a == b }); err != nil {
		return err
	}
	return p.Contact.check()
}

func (c *Contact) check() error {
	if c == nil {
		return nil
	}
	for field, t := range map[string]personal.Text{"name": c.Name, "email": c.Email, "phone": c.Phone} {
		if s := t.Reveal(); s != "" && !line(s, maxName) {
			return errs.New(errs.Invalid, "this is a text of up to %d characters on one line", maxName).At("contact." + field)
		}
	}
	w := Words{En: c.Address.Reveal()}
	return words(&w, maxName, "contact.address")
}

func (f *SystemFields) check() error {
	if err := name(&f.Name, "name"); err != nil {
		return err
	}
	if !slices.Contains(SystemKinds(), f.Kind) {
		return errs.New(errs.Invalid, "no such kind of system").At("kind")
	}
	return country(f.Location, "location")
}

// Party returns a party, or ErrNoParty.
func (s *Service) Party(ctx context.Context, partyID string) (*Party, error) {
	if err := known(ctx, id.Party, partyID, ErrNoParty); err != nil {
		return nil, err
	}
	return s.Store.Party(ctx, partyID)
}

// Parties returns a page of the tenant's parties, the newest first.
func (s *Service) Parties(ctx context.Context, r page.Request) (*PartyConnection, error) {
	at := func(p *Party) page.Position { return page.Position{CreatedAt: p.CreatedAt, ID: p.ID} }
	return page.Read(ctx, page.List{Of: id.Party}, r, at, s.Store.Parties)
}

// CreateParty makes a party. It obeys the caller's Idempotency-Key.
func (s *Service) CreateParty(ctx context.Context, in CreatePartyInput) (*Party, error) {
	of, err := s.prepareContacts(ctx)
	if err != nil {
		return nil, err
	}
	now := s.at()
	p := &Party{ID: id.New(id.Party, of), PartyFields: in.Party, State: Current, Version: 1, CreatedAt: now, UpdatedAt: now}
	if err := p.check(); err != nil {
		return nil, errs.At(err, "party")
	}
	partyID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		all, err := s.Store.Parties(ctx, nil, MaxParties)
		if err != nil {
			return change.Change{}, err
		}
		if len(all) >= MaxParties {
			return change.Change{}, ErrTooMany
		}
		if err := onlyOwn(p, all); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "party.create", Object: p.ID}, s.Store.InsertParty(ctx, p)
	})
	if err != nil {
		return nil, err
	}
	return s.Store.Party(ctx, partyID)
}

func onlyOwn(p *Party, all []*Party) error {
	if p.Own && slices.ContainsFunc(all, func(o *Party) bool { return o.Own && o.ID != p.ID && o.State == Current }) {
		return errOwn
	}
	return nil
}

// UpdateParty replaces what is said of a party. Registers that were published
// keep what they say.
func (s *Service) UpdateParty(ctx context.Context, in UpdatePartyInput) (*Party, error) {
	if _, err := s.prepareContacts(ctx); err != nil {
		return nil, err
	}
	if err := in.Party.check(); err != nil {
		return nil, errs.At(err, "party")
	}
	return s.moveParty(ctx, "party.update", in.ID, in.ExpectedVersion, func(ctx context.Context, p *Party) error {
		p.PartyFields = in.Party
		if !p.Own {
			return nil
		}
		all, err := s.Store.Parties(ctx, nil, MaxParties)
		if err != nil {
			return err
		}
		return onlyOwn(p, all)
	})
}

// RetireParty ends a party. Activities that name it go on doing so, which is drift.
func (s *Service) RetireParty(ctx context.Context, in RetireInput) (*Party, error) {
	return s.moveParty(ctx, "party.retire", in.ID, in.ExpectedVersion, func(_ context.Context, p *Party) error {
		p.State = Former
		return nil
	})
}

func (s *Service) moveParty(
	ctx context.Context, action, partyID string, expected int64, mutate func(context.Context, *Party) error,
) (*Party, error) {
	if err := known(ctx, id.Party, partyID, ErrNoParty); err != nil {
		return nil, err
	}
	var p *Party
	now := s.at()
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if p, err = s.Store.Party(ctx, partyID); err != nil {
			return c, err
		}
		switch {
		case p.Version != expected:
			return c, change.ErrVersion
		case p.State == Former:
			return c, ErrRetired
		}
		p.Version++
		p.UpdatedAt = now
		if err := mutate(ctx, p); err != nil {
			return c, err
		}
		return change.Change{Action: action, Object: p.ID}, s.Store.UpdateParty(ctx, p)
	})
	return p, err
}

// System returns a system, or ErrNoSystem.
func (s *Service) System(ctx context.Context, systemID string) (*System, error) {
	if err := known(ctx, id.System, systemID, ErrNoSystem); err != nil {
		return nil, err
	}
	return s.Store.System(ctx, systemID)
}

// Systems returns a page of the tenant's systems, the newest first.
func (s *Service) Systems(ctx context.Context, r page.Request) (*SystemConnection, error) {
	at := func(y *System) page.Position { return page.Position{CreatedAt: y.CreatedAt, ID: y.ID} }
	return page.Read(ctx, page.List{Of: id.System}, r, at, s.Store.Systems)
}

// CreateSystem makes a system. It obeys the caller's Idempotency-Key.
func (s *Service) CreateSystem(ctx context.Context, in CreateSystemInput) (*System, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	now := s.at()
	y := &System{ID: id.New(id.System, of), SystemFields: in.System, State: Current, Version: 1, CreatedAt: now, UpdatedAt: now}
	if err := s.checkSystem(ctx, &y.SystemFields); err != nil {
		return nil, err
	}
	systemID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		n, err := s.Store.CountSystems(ctx, MaxSystems)
		if err != nil {
			return change.Change{}, err
		}
		if n >= MaxSystems {
			return change.Change{}, ErrTooMany
		}
		return change.Change{Action: "system.create", Object: y.ID}, s.Store.InsertSystem(ctx, y)
	})
	if err != nil {
		return nil, err
	}
	return s.Store.System(ctx, systemID)
}

func (s *Service) checkSystem(ctx context.Context, f *SystemFields) error {
	if err := f.check(); err != nil {
		return errs.At(err, "system")
	}
	for field, party := range map[string]*string{"system.owner": f.Owner, "system.subProcessor": f.SubProcessor} {
		if party == nil {
			continue
		}
		if _, err := s.Party(ctx, *party); err != nil {
			return errs.At(err, field)
		}
	}
	return nil
}

// UpdateSystem replaces what is said of a system.
func (s *Service) UpdateSystem(ctx context.Context, in UpdateSystemInput) (*System, error) {
	if err := s.checkSystem(ctx, &in.System); err != nil {
		return nil, err
	}
	return s.moveSystem(ctx, "system.update", in.ID, in.ExpectedVersion, func(y *System) { y.SystemFields = in.System })
}

// RetireSystem ends a system. Activities that name it go on doing so, which is drift.
func (s *Service) RetireSystem(ctx context.Context, in RetireInput) (*System, error) {
	return s.moveSystem(ctx, "system.retire", in.ID, in.ExpectedVersion, func(y *System) { y.State = Former })
}

func (s *Service) moveSystem(ctx context.Context, action, systemID string, expected int64, mutate func(*System)) (*System, error) {
	if err := known(ctx, id.System, systemID, ErrNoSystem); err != nil {
		return nil, err
	}
	var y *System
	now := s.at()
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if y, err = s.Store.System(ctx, systemID); err != nil {
			return c, err
		}
		switch {
		case y.Version != expected:
			return c, change.ErrVersion
		case y.State == Former:
			return c, ErrRetired
		}
		y.Version++
		y.UpdatedAt = now
		mutate(y)
		return change.Change{Action: action, Object: y.ID}, s.Store.UpdateSystem(ctx, y)
	})
	return y, err
}
