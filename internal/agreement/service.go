package agreement

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Tenants tells of the tenant in ctx, and which one is the provider.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	// ProviderID needs a system context.
	ProviderID(ctx context.Context) (tenant.ID, error)
}

// Owners tells who answers for the tenant in ctx.
type Owners interface {
	Owners(ctx context.Context) ([]*tenancy.Member, error)
}

// Processing has the record of processing.
type Processing interface {
	List(ctx context.Context, f processing.Filter, r page.Request) (*processing.Connection, error)
}

// Datasets has the datasets.
type Datasets interface {
	List(ctx context.Context) ([]*dataset.Dataset, error)
}

// SubProcessors tells who works for the provider.
type SubProcessors interface {
	InUse(ctx context.Context) ([]SubProcessor, error)
}

// Mailer queues mail within a change.
type Mailer interface {
	Queue(ctx context.Context, m notify.Message) (job.Spec, error)
}

// Vault makes keys before the transaction that needs them.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Signer signs documents.
type Signer interface {
	SignJWS(ctx context.Context, p sign.Purpose, typ string, payload []byte) (string, error)
}

// Trail is the audit log of the tenant in ctx.
type Trail interface {
	Page(ctx context.Context, f *trail.Filter, r page.Request) (*trail.Connection, error)
	Proof(ctx context.Context, entryID string) (*trail.Proof, error)
}

// Config is what a Service needs. All of it is required but SubProcessors.
type Config struct {
	Store         Store
	Changes       *change.Runner
	Vault         Vault
	Tenants       Tenants
	Owners        Owners
	Processing    Processing
	Datasets      Datasets
	SubProcessors SubProcessors // nil: there are none
	Mail          Mailer
	Signer        Signer
	Trail         Trail
	Gate          *Gate
	Terms         Terms
	Now           func() time.Time
}

// Service keeps agreements.
type Service struct {
	Config

	library *library
}

// NewService returns a Service.
func NewService(c Config) (*Service, error) {
	l, err := newLibrary()
	return &Service{c, l}, err
}

// Inputs.
type (
	// RequestInput asks for an agreement, filled in with what is known.
	RequestInput struct {
		Tenant   *string // of the provider's people: for whom
		Template string
		Language *string // the tenant's first when nil
	}
	// ProposeInput asks for other terms: of an agreement in force, for an amendment.
	ProposeInput struct {
		ID              string
		ExpectedVersion int64
		Values          []Value
		Scope           *Scope
		Reason          string
	}
	// OfferInput offers the newest version for signature.
	OfferInput struct {
		ID              string
		ExpectedVersion int64
		ValidDays       int
	}
	// DeclineInput turns what is offered down.
	DeclineInput struct {
		ID              string
		ExpectedVersion int64
	}
	// SignInput signs the newest version for the caller's side.
	SignInput struct {
		ID              string
		ExpectedVersion int64
		SHA256          string // of the text that is signed
		Name            personal.Text
		Title           string
		Authority       string
		Method          Method
		Reference       *string
	}
	// TerminateInput gives notice.
	TerminateInput struct {
		ID              string
		ExpectedVersion int64
		EndsOn          civil.Date
		Choice          *Choice // the agreement's when nil; the controller's to say
	}
	// ChooseInput changes what becomes of the data at the end.
	ChooseInput struct {
		ID              string
		ExpectedVersion int64
		Choice          Choice
	}
	// TaskInput notes that a task of the winding-down is done.
	TaskInput struct {
		ID              string
		ExpectedVersion int64
		Task            TaskKind
		Receipt         string
	}
	// CloseInput closes what is wound down.
	CloseInput struct {
		ID              string
		ExpectedVersion int64
	}
)

func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

func (s *Service) provider(ctx context.Context) (tenant.ID, error) {
	of, err := s.Tenants.ProviderID(tenant.System(ctx, "agreements"))
	if err != nil {
		return "", fmt.Errorf("find the provider: %w", err)
	}
	return of, nil
}

// home returns the provider's tenant, if it is an operator of it who calls from there.
func (s *Service) home(ctx context.Context) (tenant.ID, error) {
	if !operator(ctx) {
		return "", ErrProvider
	}
	return authz.FromContext(ctx).Home, nil
}

func operator(ctx context.Context) bool {
	p := authz.FromContext(ctx)
	return p.Kind == authz.KindOperator && p.Home != "" && p.Tenant == p.Home
}

// reach returns ctx for the tenant whose thing has an id of a type, and the side that
// the caller is on. The provider's people reach those of all tenants.
func reach(ctx context.Context, t id.Type, s string, missing error) (context.Context, Side, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, "", err
	}
	side := Controller
	if operator(ctx) {
		side = Processor
		of, _ = id.TenantOf(s)
	}
	if id.Check(t, of, s) != nil {
		return nil, "", missing
	}
	return tenant.NewContext(ctx, of), side, nil
}

// Get returns an agreement, or ErrNotFound.
func (s *Service) Get(ctx context.Context, agreementID string) (*Agreement, error) {
	within, _, err := reach(ctx, id.Agreement, agreementID, ErrNotFound)
	if err != nil {
		return nil, err
	}
	a, err := s.Store.Get(within, agreementID)
	if err != nil {
		return nil, err
	}
	return a, s.fill(within, a)
}

// fill gives an agreement its newest version, and the one in force.
func (s *Service) fill(ctx context.Context, a *Agreement) (err error) {
	if a.LatestVersion, err = s.Store.Revision(ctx, a.ID, a.Latest); err != nil || a.InForce == nil {
		return err
	}
	if a.ForceVersion = a.LatestVersion; *a.InForce != a.Latest {
		a.ForceVersion, err = s.Store.Revision(ctx, a.ID, *a.InForce)
	}
	return err
}

// List returns a page of the tenant's agreements, the newest first; for the provider's
// people, those of all tenants. They are without their versions.
func (s *Service) List(ctx context.Context, r page.Request) (*Connection, error) {
	list, read := page.List{Of: id.Agreement}, s.Store.List
	if operator(ctx) {
		list.All, list.Scope, read = true, "all", s.Store.ListAll
		ctx = tenant.System(ctx, "agreements of the provider")
	}
	at := func(a *Agreement) page.Position { return page.Position{CreatedAt: a.CreatedAt, ID: a.ID} }
	return page.Read(ctx, list, r, at, read)
}

// Current returns the agreement in force, nil when there is none.
func (s *Service) Current(ctx context.Context) (*Agreement, error) {
	standing, err := s.Store.Standing(ctx)
	if err != nil || standing.Agreement == "" {
		return nil, err
	}
	return s.Get(ctx, standing.Agreement)
}

// Revisions returns the versions of an agreement, the newest first.
func (s *Service) Revisions(ctx context.Context, agreementID string) ([]*Revision, error) {
	within, _, err := reach(ctx, id.Agreement, agreementID, ErrNotFound)
	if err != nil {
		return nil, err
	}
	if _, err := s.Store.Get(within, agreementID); err != nil {
		return nil, err
	}
	return s.Store.Revisions(within, agreementID)
}

// Differences returns by what one version of an agreement differs from another.
func (s *Service) Differences(ctx context.Context, agreementID string, from, to int64) ([]*Difference, error) {
	within, _, err := reach(ctx, id.Agreement, agreementID, ErrNotFound)
	if err != nil {
		return nil, err
	}
	before, err := s.Store.Revision(within, agreementID, from)
	if err != nil {
		return nil, err
	}
	after, err := s.Store.Revision(within, agreementID, to)
	if err != nil {
		return nil, err
	}
	found := differences(&before.Body, &after.Body)
	all := make([]*Difference, len(found))
	for i := range found {
		all[i] = &found[i]
	}
	return all, nil
}

// Events returns what became of an agreement, the oldest first.
func (s *Service) Events(ctx context.Context, agreementID string) ([]*Event, error) {
	within, _, err := reach(ctx, id.Agreement, agreementID, ErrNotFound)
	if err != nil {
		return nil, err
	}
	if _, err := s.Store.Get(within, agreementID); err != nil {
		return nil, err
	}
	return s.Store.Events(within, agreementID)
}

// Request makes an agreement as a draft, filled in with what is known of both sides.
// It obeys the caller's Idempotency-Key. The provider is told.
func (s *Service) Request(ctx context.Context, in RequestInput) (*Agreement, error) {
	within, side, err := s.customer(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	of, err := tenant.FromContext(within)
	if err != nil {
		return nil, err
	}
	providerID, err := s.provider(ctx)
	if err != nil {
		return nil, err
	}
	if of == providerID {
		return nil, ErrOwn
	}
	controller, err := s.Tenants.Get(within)
	if errs.KindOf(err) == errs.NotFound {
		return nil, ErrTenant
	}
	if err != nil {
		return nil, err
	}
	processor, err := s.Tenants.Get(tenant.NewContext(ctx, providerID))
	if err != nil {
		return nil, err
	}
	language := languageOf(in.Language, controller)
	t, err := s.template(ctx, in.Template, language)
	if err != nil {
		return nil, err
	}
	body, err := s.draft(within, t, controller, processor)
	if err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(within, tenancy.Contact(of)); err != nil {
		return nil, err
	}
	now := s.at()
	a := &Agreement{
		ID: id.New(id.Agreement, of), Tenant: of, State: Draft, Template: t.Key, Language: language, Latest: 1, ValidDays: Validity, Version: 1,
		CreatedAt: now, UpdatedAt: now,
	}
	const tail = 8
	a.Number = "DPA-" + strconv.Itoa(now.Year()) + "-" + strings.ToUpper(a.ID[len(a.ID)-tail:])
	r := &Revision{
		ID: id.New(id.AgreementVersion, of), Agreement: a.ID, Number: 1, Template: t.Key, Language: language, By: side,
		ProposedBy: authz.FromContext(ctx).ID, CreatedAt: now, Body: body,
	}
	if err := s.compose(controller, t, a, r); err != nil {
		return nil, err
	}
	agreementID, err := s.Changes.Create(within, func(ctx context.Context) (change.Change, error) {
		making, err := s.Store.Making(ctx)
		if err != nil {
			return change.Change{}, err
		}
		if making != nil {
			return change.Change{}, ErrOpen
		}
		if err := s.Store.InsertRevision(ctx, r); err != nil {
			return change.Change{}, err
		}
		if err := s.note(ctx, a, MoveRequest, "", side); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "agreement.request", Object: a.ID}, s.Store.Insert(ctx, a)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, agreementID)
}

// customer returns ctx for the tenant that an agreement is with.
func (s *Service) customer(ctx context.Context, named *string) (context.Context, Side, error) {
	switch {
	case !operator(ctx) && named != nil:
		return nil, "", ErrProvider.At("tenant")
	case !operator(ctx):
		return ctx, Controller, nil
	case named == nil || !id.ValidTenant(tenant.ID(*named)):
		return nil, "", ErrTenant
	default:
		return tenant.NewContext(ctx, tenant.ID(*named)), Processor, nil
	}
}

// compose writes a version's text.
func (s *Service) compose(controller *tenancy.Tenant, t *Template, a *Agreement, r *Revision) error {
	zone, err := time.LoadLocation(controller.TimeZone)
	if err != nil {
		return errs.New(errs.Internal, "the tenant's time zone is unknown").Because(err)
	}
	return r.write(t, s.library.words[r.Language], a.Number, zone)
}

// note stores an event.
func (s *Service) note(ctx context.Context, a *Agreement, m Move, from State, side Side) error {
	latest := a.Latest
	return s.Store.InsertEvent(ctx, &Event{
		ID: id.New(id.AgreementNote, a.Tenant), Agreement: a.ID, Move: m, From: from, To: a.State, Side: side, By: authz.FromContext(ctx).ID,
		Version: &latest, At: a.UpdatedAt,
	})
}

// moved is an agreement in the transaction of a move.
type moved struct {
	*Agreement

	was  State
	then []job.Spec
	more []change.Change
}

// move does a move with an agreement for the caller's side: mutate fails, or changes
// what the move changes beside the state. It is called in the transaction.
func (s *Service) move(
	ctx context.Context, m Move, agreementID string, expected *int64, mutate func(ctx context.Context, a *moved) error,
) (*Agreement, error) {
	within, side, err := reach(ctx, id.Agreement, agreementID, ErrNotFound)
	if err != nil {
		return nil, err
	}
	if p := authz.FromContext(ctx); p.Kind == authz.KindSystem && p.ID == worker {
		side = Platform
	}
	of, err := tenant.FromContext(within)
	if err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(within, tenancy.Contact(of)); err != nil {
		return nil, err
	}
	mails, err := s.addressees(within, m)
	if err != nil {
		return nil, err
	}
	now := s.at()
	err = s.Changes.DoAll(within, func(ctx context.Context) ([]change.Change, error) {
		a, err := s.Store.Get(ctx, agreementID)
		if err != nil {
			return nil, err
		}
		if expected != nil && a.Version != *expected {
			return nil, change.ErrVersion
		}
		done := &moved{Agreement: a, was: a.State}
		if a.State, err = next(m, a.State, side); err != nil {
			return nil, err
		}
		a.Version++
		a.UpdatedAt = now
		if err := mutate(ctx, done); err != nil {
			return nil, err
		}
		if err := s.note(ctx, a, m, done.was, side); err != nil {
			return nil, err
		}
		sent, err := s.tell(ctx, a, mails)
		if err != nil {
			return nil, err
		}
		c := change.Change{Action: action(m), Object: a.ID, Then: append(done.then, sent...)}
		return append([]change.Change{c}, done.more...), s.Store.Update(ctx, a)
	})
	if err != nil {
		return nil, err
	}
	s.Gate.Forget(of)
	return s.Get(ctx, agreementID)
}

// worker is the id of the platform's own work.
const worker = "agreements"

func action(m Move) string {
	switch m {
	case MoveTask:
		return "agreement.completeTask"
	case MoveChoose:
		return "agreement.chooseEnding"
	case MoveSign, MoveComplete:
		return "agreement.sign"
	default:
		return "agreement." + strings.ToLower(string(m))
	}
}

// addressees returns who is told of a move by mail: the tenant's owners, of what asks
// something of them.
func (s *Service) addressees(ctx context.Context, m Move) ([]*tenancy.Member, error) {
	switch m {
	case MoveOffer, MoveTerminate, MoveEnd, MoveClose, MoveLapse:
		return s.Owners.Owners(ctx)
	default:
		return nil, nil
	}
}

func (s *Service) tell(ctx context.Context, a *Agreement, to []*tenancy.Member) ([]job.Spec, error) {
	var sent []job.Spec
	for _, m := range to {
		spec, err := s.Mail.Queue(ctx, notify.Message{
			Template: notify.TemplateAgreement, Language: m.Language, To: m.Email, Owner: tenancy.MemberIdentity(a.Tenant, m.ID),
			Vars: map[string]personal.Text{"number": personal.NewText(a.Number), "state": personal.NewText(string(a.State))},
		})
		if err != nil {
			return nil, err
		}
		sent = append(sent, spec)
	}
	return sent, nil
}

// Propose writes other terms down: as the next version of what is being made, or as an
// amendment of what is in force, which needs a reason.
func (s *Service) Propose(ctx context.Context, in ProposeInput) (*Agreement, error) {
	before, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	within := tenant.NewContext(ctx, before.Tenant)
	controller, err := s.Tenants.Get(within)
	if err != nil {
		return nil, err
	}
	t, err := s.template(ctx, before.Template, before.Language)
	if err != nil {
		return nil, err
	}
	reason := strings.TrimSpace(in.Reason)
	if utf8.RuneCountInString(reason) > maxValue || before.State.InForce() && reason == "" {
		return nil, errs.New(errs.Invalid, "a reason is a text of at most %d characters, and an amendment has one", maxValue).At("reason")
	}
	base := before.LatestVersion
	if before.State == Active {
		base = before.ForceVersion
	}
	body, err := base.apply(t, in.Values, in.Scope)
	if err != nil {
		return nil, err
	}
	body.Reason, body.Changes = reason, differences(&base.Body, &body)
	if len(body.Changes) == 0 {
		return nil, errs.New(errs.Invalid, "nothing differs from the version before").At("values")
	}
	r := &Revision{
		ID: id.New(id.AgreementVersion, before.Tenant), Agreement: before.ID, Number: before.Latest + 1, Template: t.Key, Language: before.Language,
		By: Controller, ProposedBy: authz.FromContext(ctx).ID, CreatedAt: s.at(), Body: body,
	}
	if operator(ctx) {
		r.By = Processor
	}
	if err := s.compose(controller, t, before, r); err != nil {
		return nil, err
	}
	if before.State.InForce() { // an amendment can be signed at once
		if err := r.signable(t); err != nil {
			return nil, err
		}
		until := r.CreatedAt.AddDate(0, 0, Validity)
		r.OfferedAt, r.ValidUntil = &r.CreatedAt, &until
	}
	return s.move(ctx, MovePropose, in.ID, &in.ExpectedVersion, func(ctx context.Context, a *moved) error {
		if a.was == AmendmentPending {
			last, err := s.Store.Revision(ctx, a.ID, a.Latest)
			if err != nil {
				return err
			}
			if len(last.Signatures) > 0 {
				return ErrSigned
			}
		}
		if a.Latest >= MaxVersions {
			return ErrTooMany
		}
		a.Latest, a.DueAt = r.Number, r.ValidUntil
		return s.Store.InsertRevision(ctx, r)
	})
}

// signable reports why a version can't be signed yet.
func (r *Revision) signable(t *Template) error {
	switch {
	case !t.HasText():
		return ErrNoText
	case r.SHA256 == nil:
		e := errs.New(errs.Precondition, "the agreement lacks what it must say: %s", strings.Join(r.Missing, ", "))
		return e.Under(ErrIncomplete.Rule)
	default:
		return nil
	}
}

// Offer makes the newest version ready to be signed by both sides.
func (s *Service) Offer(ctx context.Context, in OfferInput) (*Agreement, error) {
	if in.ValidDays < 1 || in.ValidDays > maxValidity {
		return nil, errs.New(errs.Invalid, "an offer is valid for 1 to %d days", maxValidity).At("validDays")
	}
	before, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	t, err := s.template(ctx, before.Template, before.Language)
	if err != nil {
		return nil, err
	}
	r := before.LatestVersion
	if r.SHA256 == nil { // the text may have been loaded since
		controller, err := s.Tenants.Get(tenant.NewContext(ctx, before.Tenant))
		if err != nil {
			return nil, err
		}
		if err := s.compose(controller, t, before, r); err != nil {
			return nil, err
		}
	}
	if err := r.signable(t); err != nil {
		return nil, err
	}
	now := s.at()
	until := now.AddDate(0, 0, in.ValidDays)
	r.OfferedAt, r.ValidUntil = &now, &until
	return s.move(ctx, MoveOffer, in.ID, &in.ExpectedVersion, func(ctx context.Context, a *moved) error {
		a.ValidDays, a.DueAt = int64(in.ValidDays), &until
		return s.Store.UpdateRevision(ctx, r)
	})
}

// Decline turns an offer down, or an amendment: what is in force stays so.
func (s *Service) Decline(ctx context.Context, in DeclineInput) (*Agreement, error) {
	return s.move(ctx, MoveDecline, in.ID, &in.ExpectedVersion, func(_ context.Context, a *moved) error {
		a.DueAt = nil
		return nil
	})
}

// Sign signs the newest version for the caller's side. The second of the two puts it
// in force, in place of any other agreement of the tenant.
func (s *Service) Sign(ctx context.Context, in SignInput) (*Agreement, error) {
	p := authz.FromContext(ctx)
	if p.Kind != authz.KindMember && p.Kind != authz.KindOperator || p.BreakGlass != "" {
		return nil, ErrPerson
	}
	mark, err := in.signature(s.at(), p)
	if err != nil {
		return nil, err
	}
	before, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	mark.Side = Controller
	if operator(ctx) {
		mark.Side = Processor
	}
	if before.LatestVersion.SHA256 == nil || *before.LatestVersion.SHA256 != in.SHA256 {
		return nil, ErrSHA256
	}
	m := MoveSign
	if before.State == PartlySigned || len(before.LatestVersion.Signatures) > 0 {
		m = MoveComplete
	}
	return s.move(ctx, m, in.ID, &in.ExpectedVersion, func(ctx context.Context, a *moved) error {
		r, err := s.Store.Revision(ctx, a.ID, a.Latest)
		if err != nil {
			return err
		}
		switch {
		case r.ValidUntil == nil || !mark.At.Before(*r.ValidUntil):
			return ErrLapsed
		case len(r.Signatures) > 0 && r.Signatures[0].Side == mark.Side:
			return ErrSigned
		case len(r.Signatures) > 0 && (r.Signatures[0].Member == mark.Member || mark.Identity != "" && r.Signatures[0].Identity == mark.Identity):
			return ErrBothSides
		}
		r.Signatures = append(r.Signatures, mark)
		if m == MoveComplete {
			if err := s.activate(ctx, a, r, mark.At); err != nil {
				return err
			}
		}
		return s.Store.UpdateRevision(ctx, r)
	})
}

// signature checks what a signatory says of themselves.
func (in *SignInput) signature(at time.Time, p authz.Principal) (Signature, error) {
	mark := Signature{
		Name: strings.TrimSpace(in.Name.Reveal()), Title: strings.TrimSpace(in.Title), Authority: strings.TrimSpace(in.Authority), Method: in.Method,
		At: at, Member: p.ID, SHA256: in.SHA256, Identity: p.Identity,
	}
	for field, v := range map[string]string{"name": mark.Name, "title": mark.Title, "authority": mark.Authority} {
		if !line(v) {
			return mark, errs.New(errs.Invalid, "a signatory says name, title and authority, on one line each").At(field)
		}
	}
	switch in.Method {
	case Simple:
	case Advanced, Qualified, EID:
		if in.Reference == nil {
			return mark, errs.New(errs.Invalid, "a signature made elsewhere has the reference by which it is found there").At("reference")
		}
	default:
		return mark, errs.New(errs.Invalid, "no such method").At("method")
	}
	if in.Reference != nil {
		if mark.Reference = strings.TrimSpace(*in.Reference); !line(mark.Reference) {
			return mark, errs.New(errs.Invalid, "a reference is a text of at most %d characters on one line", maxLine).At("reference")
		}
	}
	return mark, nil
}

func line(v string) bool {
	return v != "" && utf8.ValidString(v) && utf8.RuneCountInString(v) <= maxLine && !strings.ContainsFunc(v, unicode.IsControl)
}

// activate puts a version in force, within the transaction.
func (s *Service) activate(ctx context.Context, a *moved, r *Revision, at time.Time) error {
	r.ActivatedAt = &at
	number := r.Number
	a.InForce, a.DueAt = &number, nil
	standing, err := s.Store.Standing(ctx)
	if err != nil {
		return err
	}
	if standing.Agreement != "" && standing.Agreement != a.ID {
		if err := s.supersede(ctx, a, standing.Agreement); err != nil {
			return err
		}
	}
	standing.Agreement, standing.Scope, standing.Until = a.ID, r.Scope, nil
	standing.Version++
	a.then = append(a.then, job.Spec{Type: JobDocument, Object: a.ID})
	return s.Store.SetStanding(ctx, standing)
}

// supersede ends the agreement that another takes the place of.
func (s *Service) supersede(ctx context.Context, by *moved, agreementID string) error {
	old, err := s.Store.Get(ctx, agreementID)
	if err != nil {
		return err
	}
	was := old.State
	if old.State, err = next(MoveSupersede, was, Platform); err != nil {
		return err
	}
	old.Version++
	old.UpdatedAt, old.DueAt, old.InForce = by.UpdatedAt, nil, nil
	if err := s.note(ctx, old, MoveSupersede, was, Platform); err != nil {
		return err
	}
	by.more = append(by.more, change.Change{Action: action(MoveSupersede), Object: old.ID})
	return s.Store.Update(ctx, old)
}
