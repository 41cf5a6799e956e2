package portal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Tenants knows the tenants.
type Tenants interface {
	BySlug(ctx context.Context, slug string) (tenant.ID, error)
	Get(ctx context.Context) (*tenancy.Tenant, error)
}

// Subjects finds persons, past what the caller may see: see subject.Store.
type Subjects interface {
	Find(ctx context.Context, q lookup.Search, after *page.Position, limit int) ([]*subject.Subject, error)
}

// Vault makes the keys of new data before the transaction that writes it.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Hasher makes and checks keyed hashes under a key of the tenant in ctx.
type Hasher interface {
	Hash(ctx context.Context, purpose string, parts ...[]byte) ([sha256.Size]byte, error)
	Verify(ctx context.Context, hash [sha256.Size]byte, purpose string, parts ...[]byte) (bool, error)
}

// The purposes of keyed hashes.
const (
	hashCode       = "subject code"
	hashSession    = "subject session"
	hashIdentifier = "subject identifier"
	hashNetwork    = "subject network"
)

// Limiter bounds how often codes are asked for and tried.
type Limiter interface {
	Take(ctx context.Context, uses ...ratelimit.Use) error
	Check(ctx context.Context, uses ...ratelimit.Use) error
	Spend(ctx context.Context, uses ...ratelimit.Use) error
}

// Mailer queues mail within a change, and returns the job that sends it.
type Mailer interface {
	Queue(ctx context.Context, m notify.Message) (job.Spec, error)
}

// Config is what a Service is made of.
type Config struct {
	Store    Store
	Tenants  Tenants
	Subjects Subjects
	Changes  *change.Runner
	Recorder *audit.Recorder
	Vault    Vault
	Hasher   Hasher
	Limits   Limiter
	Mail     Mailer
	EID      EID
	Now      func() time.Time
}

// Service signs persons in and knows their sessions.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// enter returns ctx for the work of a tenant in the name of p, whoever is
// calling: a person who signs in may hold another credential, of another tenant.
func enter(ctx context.Context, of tenant.ID, p authz.Principal) context.Context {
	p.Kind, p.Tenant = authz.KindSubject, of
	return tenant.NewContext(authz.NewContext(ctx, p), of)
}

// bySlug returns ctx for the tenant with a public slug.
func (s *Service) bySlug(ctx context.Context, slug string) (context.Context, tenant.ID, error) {
	of, err := s.Tenants.BySlug(ctx, slug)
	if err != nil {
		return nil, "", errs.At(err, "tenantSlug")
	}
	return enter(ctx, of, authz.Principal{}), of, nil
}

// RequestCode has a code sent to the person who is meant, if there is one. Its
// answer is the same in any case.
func (s *Service) RequestCode(ctx context.Context, in CodeInput) (*Receipt, error) {
	from := network.AddrFrom(ctx)
	if err := s.Limits.Take(ctx, ratelimit.CodeNetwork.From(from)...); err != nil {
		return nil, err
	}
	ctx, of, err := s.bySlug(ctx, in.TenantSlug)
	if err != nil {
		return nil, err
	}
	c := &Challenge{ID: id.New(id.Challenge, of), State: Asked, CreatedAt: s.now()}
	c.ExpiresAt = c.CreatedAt.Add(CodeLife)
	if err := s.identify(ctx, c, in); err != nil {
		return nil, err
	}
	typed, err := s.Hasher.Hash(ctx, hashIdentifier, []byte(c.By.Name), []byte(c.By.Value.Reveal()))
	if err != nil {
		return nil, err
	}
	if err := s.Limits.Take(ctx, ratelimit.CodeIdentifier.From(from, string(of), hex.EncodeToString(typed[:]))...); err != nil {
		return nil, err
	}
	if c.Network, err = s.network(ctx); err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(ctx, tenancy.Contact(of)); err != nil {
		return nil, err
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{
			Action: "subjectCode.request", Object: c.ID, Quiet: true,
			Then: []job.Spec{{Type: JobCode, Object: c.ID, MaxAttempts: jobAttempts, Quiet: true}},
		}, s.Store.InsertChallenge(ctx, c)
	})
	if err != nil {
		return nil, err
	}
	return &Receipt{c.ID, c.ExpiresAt}, nil
}

// identify notes what was typed, in its normal form.
func (s *Service) identify(ctx context.Context, c *Challenge, in CodeInput) error {
	if in.Language != nil {
		if _, err := language.Parse(*in.Language); err != nil {
			return ErrLanguage
		}
		c.Language = *in.Language
	}
	if in.BirthDate != nil {
		if _, err := civil.Parse(in.BirthDate.Reveal()); err != nil {
			return errs.At(identifier.ErrBirthDate, "birthDate")
		}
		c.BirthDate = *in.BirthDate
	}
	var (
		n    identifier.Normal
		err  error
		name lookup.Name
	)
	switch {
	case in.Email != nil && in.Phone == nil && in.Reference == nil:
		name = lookup.Email
		n, err = identifier.Email(*in.Email)
	case in.Phone != nil && in.Email == nil && in.Reference == nil:
		name = lookup.Phone
		n, err = s.phone(ctx, in)
	case in.Reference != nil && in.BirthDate != nil && in.Email == nil && in.Phone == nil:
		name = lookup.Reference
		n, err = identifier.Reference(*in.Reference)
	default:
		return ErrIdentifier
	}
	c.By = &lookup.Key{Name: name, Unique: name == lookup.Reference, Normaliser: n.Version, Value: n.Value, Before: n.Before}
	return errs.At(err, string(name))
}

// phone reads a phone number, one without country code as of the tenant's country.
func (s *Service) phone(ctx context.Context, in CodeInput) (identifier.Normal, error) {
	if in.PhoneRegion != nil {
		return identifier.Phone(*in.Phone, *in.PhoneRegion)
	}
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return identifier.Normal{}, err
	}
	return identifier.Phone(*in.Phone, t.Country)
}

// network returns the keyed hash of the network that the call comes from, "" when
// nobody can tell.
func (s *Service) network(ctx context.Context) (string, error) {
	from := audit.NetworkOf(network.AddrFrom(ctx))
	if from == "" {
		return "", nil
	}
	h, err := s.Hasher.Hash(ctx, hashNetwork, []byte(from))
	return hex.EncodeToString(h[:]), err
}

// Deliver looks up who is meant by a challenge, and sends them a code. It is the
// work of JobCode.
func (s *Service) Deliver(ctx context.Context, r *job.Run) error {
	c, err := s.Store.Challenge(ctx, r.Object())
	if err != nil {
		return err
	}
	if c.State != Asked || !s.now().Before(c.ExpiresAt) {
		return s.drop(ctx, r, c)
	}
	found, err := s.match(ctx, c)
	if err != nil {
		return err
	}
	switch ok, err := s.mailable(ctx, c, found); {
	case err != nil:
		return err
	case !ok:
		return s.drop(ctx, r, c)
	}
	return s.send(ctx, r, c, found)
}

// drop ends a challenge that nobody is sent a code for.
func (s *Service) drop(ctx context.Context, r *job.Run, c *Challenge) error {
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := r.Guard(ctx); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "subjectCode.drop", Object: c.ID, Quiet: true}, s.Store.Drop(ctx, c.ID)
	})
}

// match returns the one person who is meant, nil if it is nobody or not clear
// who: families share addresses, and a birth date tells them apart.
func (s *Service) match(ctx context.Context, c *Challenge) (*subject.Subject, error) {
	all, err := s.Subjects.Find(ctx, lookup.Search{Key: *c.By, Restricted: true}, nil, maxMatches+1)
	if err != nil {
		return nil, fmt.Errorf("look up who is meant: %w", err)
	}
	if len(all) > maxMatches {
		return nil, nil //nolint:nilnil // nobody is an answer
	}
	all = slices.DeleteFunc(all, func(found *subject.Subject) bool {
		return found.Identity != personal.Clear || !c.BirthDate.IsZero() && !c.BirthDate.Equal(found.BirthDate)
	})
	if len(all) != 1 {
		return nil, nil //nolint:nilnil // as above
	}
	return all[0], nil
}

// mailable reports whether a person may be sent a code.
func (s *Service) mailable(ctx context.Context, c *Challenge, to *subject.Subject) (bool, error) {
	if to == nil || len(to.Emails) == 0 {
		return false, nil
	}
	now := s.now()
	if changed, err := s.Store.Readdressed(ctx, to.ID, now.Add(-Settled)); changed || err != nil {
		return false, err
	}
	n, err := s.Store.Mails(ctx, to.ID, now.Add(-MailsWithin), MaxMails)
	if n < MaxMails || err != nil {
		return err == nil, err
	}
	if c.Network == "" {
		return false, nil
	}
	return s.Store.KnownNetwork(ctx, to.ID, c.Network, now.Add(-Keep))
}

// send sends a code: to the address that was typed, when it was one, else to the
// first on file.
func (s *Service) send(ctx context.Context, r *job.Run, c *Challenge, to *subject.Subject) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return err
	}
	address := to.Emails[0]
	if c.By.Name == lookup.Email {
		address = c.By.Value
	}
	code, err := newCode()
	if err != nil {
		return err
	}
	c.Subject = to.ID
	if c.Code, err = s.Hasher.Hash(ctx, hashCode, []byte(c.ID), []byte(code)); err != nil {
		return err
	}
	if _, err := s.Vault.Ensure(ctx, subject.Owners(of, to.ID)...); err != nil {
		return err
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := r.Guard(ctx); err != nil {
			return change.Change{}, err
		}
		if err := s.Store.Send(ctx, c); err != nil {
			return change.Change{}, err
		}
		mail, err := s.Mail.Queue(ctx, notify.Message{
			Template: notify.TemplateSubjectCode, Language: c.Language, To: address, Owner: subject.Identity(of, to.ID),
			Vars: map[string]personal.Text{
				"tenant": personal.NewText(t.LegalName), "code": personal.NewText(code),
				"minutes": personal.NewText(strconv.Itoa(int(CodeLife / time.Minute))),
			},
		})
		mail.Quiet = true
		return change.Change{
			Action: "subjectCode.send", Object: c.ID, Quiet: true, Then: []job.Spec{mail},
			Touches: []audit.Touch{{Subject: to.ID, Object: c.ID}},
		}, err
	})
}

func newCode() (string, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Exp(big.NewInt(10), big.NewInt(codeDigits), nil))
	if err != nil {
		return "", fmt.Errorf("draw a code: %w", err)
	}
	return fmt.Sprintf("%0*d", codeDigits, n), nil
}

// SignIn answers a challenge with its code. It fails with ErrCode for whatever
// isn't right. What it does until then is the same for known and unknown persons.
func (s *Service) SignIn(ctx context.Context, in SignInInput) (*Grant, error) {
	guess := ratelimit.CodeGuess.From(network.AddrFrom(ctx))
	if err := s.Limits.Check(ctx, guess...); err != nil {
		return nil, err
	}
	grant, err := s.answer(ctx, in)
	if !errors.Is(err, ErrCode) {
		return grant, err
	}
	if lerr := s.Limits.Spend(ctx, guess...); lerr != nil && errs.KindOf(lerr) != errs.Limited {
		return nil, lerr
	}
	return nil, err
}

func (s *Service) answer(ctx context.Context, in SignInInput) (*Grant, error) {
	of, ok := id.TenantOf(in.Challenge)
	if !ok || id.Check(id.Challenge, of, in.Challenge) != nil {
		return nil, ErrCode
	}
	ctx = enter(ctx, of, authz.Principal{})
	// Counted first: of guesses side by side each is one.
	c, err := s.Store.Attempt(ctx, in.Challenge, s.now())
	switch {
	case errors.Is(err, ErrChallenge):
		return nil, ErrCode
	case err != nil:
		return nil, err
	case c.Attempts > MaxAttempts:
		return nil, ErrCode
	}
	code := strings.Join(strings.Fields(in.Code), "")
	right, err := s.Hasher.Verify(ctx, c.Code, hashCode, []byte(c.ID), []byte(code))
	if err != nil {
		return nil, err
	}
	if !right || c.State != Sent {
		// The entry names the challenge; that of its sending names the person, if there is one.
		err := s.Recorder.Record(ctx, audit.Event{Action: "subject.signIn", Object: c.ID, Outcome: audit.Failed})
		if err != nil {
			return nil, fmt.Errorf("record failed sign-in: %w", err)
		}
		return nil, ErrCode
	}
	return s.begin(ctx, ByCode, c.Subject, func(ctx context.Context) error { return s.Store.Use(ctx, c.ID) })
}

// begin begins a session of a person, in one transaction with what proves them.
func (s *Service) begin(ctx context.Context, by Method, subjectID string, proof func(context.Context) error) (*Grant, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, secretBytes)
	rand.Read(secret)
	made := &Session{ID: id.New(id.Session, of), Subject: subjectID, Method: by, CreatedAt: s.now()}
	made.ExpiresAt = made.CreatedAt.Add(SessionLife)
	token := Prefix + strings.TrimPrefix(made.ID, string(id.Session)+"_") + "_" + id.Encode(secret)
	if made.Hash, err = s.Hasher.Hash(ctx, hashSession, []byte(token)); err != nil {
		return nil, err
	}
	if made.Network, err = s.network(ctx); err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(ctx, audit.Evidence(of, subjectID)); err != nil {
		return nil, gone(err)
	}
	ctx = enter(ctx, of, authz.Principal{ID: made.ID, Subject: subjectID})
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := proof(ctx); err != nil {
			return change.Change{}, err
		}
		state, err := s.Store.State(ctx, subjectID)
		if err != nil {
			return change.Change{}, err
		}
		if state.Gone() {
			return change.Change{}, ErrCode
		}
		return change.Change{
			Action: "subject.signIn", Object: made.ID, Quiet: true,
			Touches: []audit.Touch{{Subject: subjectID, Object: made.ID}},
		}, s.Store.InsertSession(ctx, made)
	})
	if err != nil {
		return nil, gone(err)
	}
	return &Grant{token, made.ExpiresAt}, nil
}

// gone makes of the error that a person's keys are destroyed the one of a code
// that isn't right.
func gone(err error) error {
	if errors.Is(err, vault.ErrErased) {
		return ErrCode
	}
	return err
}

// Authenticate returns the person whom a token proves, or ErrSession. The session
// and the person's state are read each time, so that an end holds at once.
func (s *Service) Authenticate(ctx context.Context, token string) (authz.Principal, error) {
	rest, ok := strings.CutPrefix(token, Prefix)
	named, _, found := strings.Cut(rest, "_")
	sessionID := string(id.Session) + "_" + named
	of, valid := id.TenantOf(sessionID)
	if !ok || !found || !valid || id.Check(id.Session, of, sessionID) != nil {
		return authz.Principal{}, ErrSession
	}
	ctx = tenant.NewContext(ctx, of)
	have, err := s.Store.Session(ctx, sessionID)
	if err != nil {
		return authz.Principal{}, err
	}
	right, err := s.Hasher.Verify(ctx, have.Hash, hashSession, []byte(token))
	if err != nil {
		return authz.Principal{}, err
	}
	if !right || have.EndedAt != nil || !s.now().Before(have.ExpiresAt) {
		return authz.Principal{}, ErrSession
	}
	state, err := s.Store.State(ctx, have.Subject)
	switch {
	case errors.Is(err, subject.ErrNotFound) || err == nil && state.Gone():
		return authz.Principal{}, ErrSession
	case err != nil:
		return authz.Principal{}, err
	}
	return authz.Principal{
		Kind: authz.KindSubject, ID: have.ID, Tenant: of, Subject: have.Subject, Credential: have.ID, AuthenticatedAt: have.CreatedAt,
	}, nil
}

// caller returns the session of the person in ctx, or ErrNotSubject.
func (s *Service) caller(ctx context.Context) (*Session, error) {
	p := authz.FromContext(ctx)
	if p.Kind != authz.KindSubject || p.Subject == "" {
		return nil, ErrNotSubject
	}
	return s.Store.Session(ctx, p.ID)
}

// Self returns what the person in ctx is shown of themselves.
func (s *Service) Self(ctx context.Context) (*Self, error) {
	have, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	return &Self{have.Subject, have.Method, have.ExpiresAt}, nil
}

// SignOut ends the session of the person in ctx, or all that they have with the
// tenant, and returns how many it ended.
func (s *Service) SignOut(ctx context.Context, in SignOutInput) (ended int, err error) {
	have, err := s.caller(ctx)
	if err != nil {
		return 0, err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := s.Vault.Ensure(ctx, audit.Evidence(of, have.Subject)); err != nil {
		return 0, err
	}
	only := have.ID
	if in.Everywhere {
		only = ""
	}
	at := s.now()
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		ended, err = s.Store.EndSessions(ctx, have.Subject, only, at)
		return change.Change{
			Action: "subject.signOut", Object: have.ID, Quiet: true,
			Touches: []audit.Touch{{Subject: have.Subject, Object: have.ID}},
		}, err
	})
	return ended, err
}

// Sweep deletes what isn't needed any more, of all tenants. ctx spans tenants.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.now()
	return s.Store.Sweep(ctx, now.Add(-KeepChallenge), now.Add(-Keep))
}
