package processing

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vocabulary"
)

// RegisterState is where a register stands.
type RegisterState string

// The states of a register.
const (
	Prepared  RegisterState = "PREPARED" // waits for another person to publish it
	Published RegisterState = "PUBLISHED"
)

// Register is the whole record of processing at one moment. Its content never
// changes. A prepared one gives way to the next that is prepared.
type Register struct {
	ID          string
	State       RegisterState
	Remark      Words
	Activities  int
	Hash        string // hexadecimal SHA-256 of its content
	PreparedBy  string
	PreparedAt  time.Time
	Number      *int64 // from 1, of those that are published
	PublishedBy *string
	PublishedAt *time.Time
	// Previous is the hexadecimal SHA-256 of the statement of the register before, ""
	// of the first. It chains them.
	Previous *string
	// Statement is what was signed of it when it was published, with the signature.
	Statement *string
}

// Inputs.
type (
	// PrepareInput asks for a register of what is valid now. The remark says in it
	// what is new.
	PrepareInput struct{ Remark Words }
	// PublishInput names a prepared register.
	PublishInput struct{ ID string }
)

// Sentinels of registers.
var (
	ErrFourEyes = errs.New(errs.Forbidden, "a register is published by another person than the one who prepared it").Under("register.fourEyes")
	// ErrNoPerson keeps one person from preparing with a key of theirs and publishing by hand.
	ErrNoPerson = errs.New(errs.Forbidden, "a register is prepared by a person, so that another one looks at it").Under("register.fourEyes")
	ErrStale    = errs.New(errs.Precondition, "something changed since the register was prepared: prepare it again").Under("register.stale")
	ErrMoved    = errs.New(errs.Conflict, "another register was prepared or published at the same time: look again")
	ErrNothing  = errs.New(errs.Precondition, "no activity is valid now: activate one first").Under("register.notEmpty")
	ErrTooLarge = errs.New(errs.Limited, "the register is larger than %d MiB: shorten its texts", MaxContent>>20)
)

// MaxContent bounds a register's content in bytes, before it is compressed.
const MaxContent = 24 << 20

// ContentKind and StatementKind are what a register's parts say they are.
const (
	ContentKind   = "vogter/register-content/1"
	StatementKind = "vogter/register/1"
	FileKind      = "register/1"
)

// The content of a register: plain types in one order, so that the same record
// has the same bytes, and the same hash. It has the contacts of parties: it is
// sealed wherever it is kept, and never logged.
type (
	content struct {
		Kind         string       `json:"kind"`
		Tenant       string       `json:"tenant"`
		Organisation organisation `json:"organisation"`
		DPO          *contact     `json:"dataProtectionOfficer,omitempty"` // Art. 30(1)(a), 37
		Authority    string       `json:"supervisoryAuthority,omitempty"`
		Vocabulary   string       `json:"vocabulary"` // version of the Data Privacy Vocabulary
		TimeZone     string       `json:"timeZone"`
		Remark       Words        `json:"remark"`
		Activities   []entry      `json:"activities"`
	}
	contact struct {
		Name    string `json:"name,omitempty"`
		Email   string `json:"email,omitempty"`
		Phone   string `json:"phone,omitempty"`
		Address string `json:"address,omitempty"`
	}
	organisation struct {
		ID            string   `json:"id,omitempty"`
		Name          string   `json:"name"`
		Country       string   `json:"country"`
		Scheme        string   `json:"registrationScheme,omitempty"`
		Number        string   `json:"registrationNumber,omitempty"`
		International bool     `json:"internationalOrganisation,omitempty"`
		Contact       *contact `json:"contact,omitempty"`
	}
	entry struct {
		ID                  string         `json:"id"`
		Revision            int64          `json:"revision"`
		Hat                 Hat            `json:"hat"`
		ValidFrom           time.Time      `json:"validFrom"`
		Name                Words          `json:"name"`
		Description         Words          `json:"description"`
		Owner               string         `json:"owner,omitempty"`
		LastReviewedOn      *civil.Date    `json:"lastReviewedOn,omitempty"`
		NextReviewOn        *civil.Date    `json:"nextReviewOn,omitempty"`
		Representatives     []organisation `json:"representatives,omitempty"`
		Transfers           []transfer     `json:"transfers,omitempty"`
		Measures            []Words        `json:"measures,omitempty"`
		MeasuresDescription Words          `json:"measuresDescription"`
		Systems             []place        `json:"systems,omitempty"`

		Controller *controllerEntry `json:"controller,omitempty"`
		Processor  *processorEntry  `json:"processor,omitempty"`
	}
	transfer struct {
		Country    string        `json:"country"`
		Party      *organisation `json:"party,omitempty"`
		Tool       *TransferTool `json:"tool,omitempty"`
		Assessment string        `json:"assessment,omitempty"`
		Safeguards Words         `json:"safeguards"`
	}
	place struct {
		Name     Words  `json:"name"`
		Location string `json:"location"`
	}
	aim struct {
		ID    string `json:"id"`
		Key   string `json:"key"`
		Term  string `json:"term"`
		Basis string `json:"legalBasis"`
		Name  Words  `json:"name"`
	}
	term struct {
		Term  string `json:"term,omitempty"`
		Label Words  `json:"label"`
		Note  Words  `json:"note"`
	}
	dataTerm struct {
		term

		Class     dataset.Class `json:"class"`
		TimeLimit Words         `json:"timeLimit"`
		Rule      string        `json:"retentionRule,omitempty"`
	}
	controllerEntry struct {
		JointControllers    []organisation `json:"jointControllers,omitempty"`
		JointArrangement    Words          `json:"jointArrangement"`
		Purposes            []aim          `json:"purposes"`
		SubjectCategories   []term         `json:"subjectCategories"`
		DataCategories      []dataTerm     `json:"dataCategories"`
		Recipients          []organisation `json:"recipients,omitempty"`
		RecipientCategories Words          `json:"recipientCategories"`
		LegalBases          []LegalBasis   `json:"legalBases"`
		LegitimateInterest  string         `json:"legitimateInterestAssessment,omitempty"`
		ImpactNeed          ImpactNeed     `json:"impactAssessmentNeed"`
		ImpactReason        Words          `json:"impactAssessmentReason"`
		ImpactAssessment    string         `json:"impactAssessment,omitempty"`
		Sources             Words          `json:"sources"`
		AutomatedDecisions  Words          `json:"automatedDecisions"`
	}
	processorEntry struct {
		Controllers     []organisation `json:"controllers,omitempty"`
		ControllerGroup Words          `json:"controllerGroup"`
		Processors      []organisation `json:"processors,omitempty"`
		Operations      []term         `json:"operations"`
	}
)

// countryName returns what a country is called.
func countryName(code string) Words {
	r, err := language.ParseRegion(code)
	if err != nil {
		return Words{Da: code, En: code}
	}
	return Words{Da: display.Regions(language.Danish).Name(r), En: display.Regions(language.English).Name(r)}
}

func label(id string) Words {
	t, ok := vocabulary.Lookup(id)
	if !ok {
		return Words{}
	}
	return Words{Da: t.Danish, En: t.English}
}

func terms(l []Category) []term {
	all := make([]term, len(l))
	for i, c := range l {
		all[i] = term{c.Term, label(c.Term), c.Note}
	}
	return all
}

func (l *landscape) organisation(partyID string) organisation {
	p := l.parties[partyID]
	if p == nil {
		return organisation{ID: partyID}
	}
	o := organisation{ID: p.ID, Name: p.LegalName, Country: p.Country, International: p.International, Contact: p.Contact.plain()}
	if p.Registration != nil {
		o.Scheme, o.Number = p.Registration.Scheme, p.Registration.Number
	}
	return o
}

func (l *landscape) organisations(ids []string) []organisation {
	all := make([]organisation, len(ids))
	for i, n := range ids {
		all[i] = l.organisation(n)
	}
	return all
}

func (c *Contact) plain() *contact {
	if c == nil {
		return nil
	}
	return &contact{c.Name.Reveal(), c.Email.Reveal(), c.Phone.Reveal(), c.Address.Reveal()}
}

// freeze returns the content of a register of now, how many activities it has,
// and its hash. It is the same to every caller: datasets, which may be secret, are
// no part of it.
func (s *Service) freeze(ctx context.Context, remark Words) (b []byte, activities int, hash string, err error) {
	l, err := s.look(ctx)
	if err != nil {
		return nil, 0, "", err
	}
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return nil, 0, "", err
	}
	c := content{
		Kind: ContentKind, Tenant: string(t.ID), Vocabulary: vocabulary.Version(), TimeZone: t.TimeZone, Remark: remark, Authority: value(t.SupervisoryAuthority),
		Organisation: organisation{Name: t.LegalName, Country: t.Country}, Activities: []entry{},
	}
	if r := t.Registration; r != nil {
		c.Organisation.Scheme, c.Organisation.Number = r.Scheme, r.Number
	}
	if d := t.DpoContact; d != nil {
		c.DPO = &contact{Name: d.Name.Reveal(), Email: d.Email.Reveal(), Phone: d.Phone.Reveal()}
	}
	for _, p := range l.parties {
		if p.Own && p.State == Current {
			c.Organisation.Contact = p.Contact.plain()
		}
	}
	for _, a := range l.activities {
		if a.Valid != nil {
			c.Activities = append(c.Activities, l.entry(a))
		}
	}
	slices.SortStableFunc(c.Activities, func(a, b entry) int { return cmp.Compare(a.Hat, b.Hat) })
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(c); err != nil {
		return nil, 0, "", fmt.Errorf("encode register: %w", err)
	}
	b = bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	if len(b) > MaxContent {
		return nil, 0, "", ErrTooLarge
	}
	return b, len(c.Activities), digest(b), nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (l *landscape) entry(a *Activity) entry {
	c := &a.Valid.Content
	e := entry{
		ID: a.ID, Revision: a.Valid.Number, Hat: a.Hat, ValidFrom: *a.Valid.ValidFrom, Name: c.Name, Description: c.Description, Owner: value(c.Owner),
		LastReviewedOn: a.LastReviewedOn, NextReviewOn: a.NextReviewOn, Representatives: l.organisations(c.Representatives),
		MeasuresDescription: c.MeasuresDescription,
	}
	for _, t := range c.Transfers {
		f := transfer{Country: t.Country, Tool: t.Tool, Assessment: value(t.Assessment), Safeguards: t.Safeguards}
		if t.Party != nil {
			o := l.organisation(*t.Party)
			f.Party = &o
		}
		e.Transfers = append(e.Transfers, f)
	}
	for _, m := range c.Measures {
		e.Measures = append(e.Measures, l.measures[m].Text)
	}
	for _, n := range c.Systems {
		if y := l.systems[n]; y != nil {
			e.Systems = append(e.Systems, place{y.Name, y.Location})
		}
	}
	if p := c.Controller; p != nil {
		e.Controller = l.controller(p)
	}
	if p := c.Processor; p != nil {
		e.Processor = &processorEntry{
			l.organisations(p.Controllers), p.ControllerGroup, l.organisations(p.Processors), terms(p.Operations),
		}
	}
	return e
}

func (l *landscape) controller(p *ControllerPart) *controllerEntry {
	e := &controllerEntry{
		JointControllers: l.organisations(p.JointControllers), JointArrangement: p.JointArrangement, SubjectCategories: terms(p.SubjectCategories),
		Recipients: l.organisations(p.Recipients), RecipientCategories: p.RecipientCategories, LegalBases: p.LegalBases,
		LegitimateInterest: value(p.LegitimateInterest), ImpactNeed: p.ImpactNeed, ImpactReason: p.ImpactReason,
		ImpactAssessment: value(p.ImpactAssessment), Sources: p.Sources, AutomatedDecisions: p.AutomatedDecisions,
	}
	for _, n := range p.Purposes {
		pur := l.purposes[n]
		e.Purposes = append(e.Purposes, aim{pur.ID, pur.Key, pur.Term, pur.LegalBasis, purposeName(pur)})
	}
	for _, d := range p.DataCategories {
		e.DataCategories = append(e.DataCategories, dataTerm{
			term{d.Term, label(d.Term), d.Note}, d.Class, d.TimeLimit, value(d.RetentionRule),
		})
	}
	return e
}

// Register returns a register, or ErrNoRegister.
func (s *Service) Register(ctx context.Context, registerID string) (*Register, error) {
	if err := known(ctx, id.Register, registerID, ErrNoRegister); err != nil {
		return nil, err
	}
	return s.Store.Register(ctx, registerID)
}

// RegisterAsOf returns the register that was published last at a time, or
// ErrNoRegister.
func (s *Service) RegisterAsOf(ctx context.Context, at time.Time) (*Register, error) {
	r, err := s.Store.Published(ctx, at)
	if err == nil && r == nil {
		err = ErrNoRegister
	}
	return r, err
}

// Registers returns a page of the tenant's registers, the newest first.
func (s *Service) Registers(ctx context.Context, r page.Request) (*RegisterConnection, error) {
	at := func(r *Register) page.Position { return page.Position{CreatedAt: r.PreparedAt, ID: r.ID} }
	return page.Read(ctx, page.List{Of: id.Register}, r, at, s.Store.Registers)
}

// Prepare freezes what is valid now, for another person to look at and to publish.
// It obeys the caller's Idempotency-Key.
func (s *Service) Prepare(ctx context.Context, in PrepareInput) (*Register, error) {
	of, err := s.prepareContacts(ctx)
	if err != nil {
		return nil, err
	}
	if by := authz.FromContext(ctx).Kind; by != authz.KindMember && by != authz.KindOperator {
		return nil, ErrNoPerson
	}
	if err := words(&in.Remark, maxWords, "remark"); err != nil {
		return nil, err
	}
	r := &Register{ID: id.New(id.Register, of), State: Prepared, Remark: in.Remark, PreparedBy: authz.FromContext(ctx).ID, PreparedAt: s.at()}
	registerID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		var b []byte
		var err error
		if b, r.Activities, r.Hash, err = s.freeze(ctx, r.Remark); err != nil {
			return change.Change{}, err
		}
		if r.Activities == 0 {
			return change.Change{}, ErrNothing
		}
		return change.Change{Action: "register.prepare", Object: r.ID}, s.Store.InsertRegister(ctx, r, b)
	})
	if err != nil {
		return nil, err
	}
	return s.Store.Register(ctx, registerID)
}

// Publish makes a prepared register the valid one, if all is still as it says. It
// gets the next number, and is signed with the hash of the one before.
func (s *Service) Publish(ctx context.Context, in PublishInput) (*Register, error) {
	r, err := s.Register(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	by, now := authz.FromContext(ctx).ID, s.at()
	switch {
	case r.State != Prepared:
		return nil, errs.New(errs.Precondition, "the register is published already").Under("register.state")
	case r.PreparedBy == by:
		return nil, ErrFourEyes
	}
	before, err := s.Store.Published(ctx, now.Add(maxAhead))
	if err != nil {
		return nil, err
	}
	if before != nil && !now.After(*before.PublishedAt) { // a clock that was set back
		now = before.PublishedAt.Add(time.Millisecond)
	}
	if err := r.follow(ctx, before, by, now); err != nil {
		return nil, err
	}
	signed, err := s.Signer.Sign(ctx, sign.Evidence, []byte(*r.Statement))
	if err != nil {
		return nil, err
	}
	statement := string(signed)
	r.Statement = &statement
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		_, _, hash, err := s.freeze(ctx, r.Remark)
		if err != nil {
			return change.Change{}, err
		}
		if hash != r.Hash {
			return change.Change{}, ErrStale
		}
		sum, err := hex.DecodeString(r.Hash)
		if err != nil {
			return change.Change{}, fmt.Errorf("decode hash of %s: %w", r.ID, err)
		}
		return change.Change{
			Action: "register.publish", Object: r.ID, Contents: []audit.Content{{Object: r.ID, Version: 1, Digest: sum}},
		}, s.Store.PublishRegister(ctx, r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// follow makes r the register after another, with the statement to be signed.
func (r *Register) follow(ctx context.Context, before *Register, by string, at time.Time) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	number, previous := int64(1), ""
	if before != nil {
		number, previous = *before.Number+1, digest([]byte(*before.Statement))
	}
	r.State, r.Number, r.PublishedBy, r.PublishedAt, r.Previous = Published, &number, &by, &at, &previous
	statement := string(sign.Text(StatementKind, string(of), r.ID, strconv.FormatInt(number, 10), at.Format(time.RFC3339Nano), r.Hash, "previous "+previous))
	r.Statement = &statement
	return nil
}
