package certificate

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// JobIssue is the type of the job that issues a certificate: its object is the
// shredding's id.
const JobIssue = "certificate:issue"

// Shreddings knows what was destroyed.
type Shreddings interface {
	Get(ctx context.Context, shreddingID string) (*erasure.Shredding, error)
}

// Epochs tells when keys of epochs are gone for good.
type Epochs interface {
	Irrecoverable(ctx context.Context, epochs ...vault.Epoch) (planned time.Time, actual *time.Time, err error)
}

// Datasets knows the datasets.
type Datasets interface {
	Get(ctx context.Context, datasetID string) (*dataset.Dataset, error)
}

// Tenants knows the tenant in ctx, and which one provides the platform.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	// ProviderID needs a system context.
	ProviderID(ctx context.Context) (tenant.ID, error)
}

// Head tells where the ledger of erasures stands.
type Head interface {
	Position(ctx context.Context, first ledger.Position) (ledger.Position, error)
}

// Signer signs.
type Signer interface {
	SignJWS(ctx context.Context, p sign.Purpose, typ string, payload []byte) (string, error)
}

// Config is what a Service needs.
type Config struct {
	Store      Store
	Shreddings Shreddings
	Epochs     Epochs
	Datasets   Datasets
	Tenants    Tenants
	Ledger     Head
	Signer     Signer
	Changes    *change.Runner
	Now        func() time.Time
	// Backups is for how long a backup is kept.
	Backups time.Duration
	// Issued returns the work that follows a certificate; nil means none.
	Issued func(c *Certificate) []job.Spec
}

// Service issues certificates.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

const (
	rulesAlone   = "retention rules alone"
	articleDue   = "GDPR Art. 5(1)(e)"
	articleAsked = "GDPR Art. 17(1)"
	articleKept  = "GDPR Art. 5(2) and 17(3)(e)"
	countZero    = "COUNT_ZERO"
	batch        = 100
	hoursOfDay   = 24
)

// Jobs returns the work that follows a shredding that is done: its certificate. One
// that was carried out again from the ledger has its certificate, or none, and nobody
// asked for that of a request.
func Jobs(sh *erasure.Shredding) []job.Spec {
	if id.TypeOf(sh.Cause) == id.Shredding || sh.Target.Case() {
		return nil
	}
	return []job.Spec{{Type: JobIssue, Object: sh.ID}}
}

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// platform returns ctx for the tenant's own work of the platform.
func platform(ctx context.Context, of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "certificate", Tenant: of})
}

// Begin stores the draft of the certificate of a shredding that begins, within the
// transaction of that change. Of the content the caller gives what it knows, and
// the rest follows when it is issued; language is that of its paper. It fails with ErrExists.
func (s *Service) Begin(ctx context.Context, sh *erasure.Shredding, language string, c Content) (*Certificate, error) {
	cert := &Certificate{
		ID: id.New(id.Certificate, sh.Tenant), Tenant: sh.Tenant, Subject: sh.Target.Subject, Shredding: sh.ID, Cause: sh.Cause, State: Draft,
		Content: c, Language: language, CreatedAt: s.at(),
	}
	cert.Content.Backups.Statement = id.New(id.Certificate, sh.Tenant)
	return cert, s.Store.Insert(ctx, cert)
}

// Scopes returns what is erased of datasets and, when whole, of the person, without
// what is secret.
func (s *Service) Scopes(ctx context.Context, whole bool, units ...vault.Unit) ([]Scope, error) {
	var list []Scope
	for _, u := range units {
		if id.TypeOf(string(u)) != id.Dataset {
			list = append(list, erased(string(u), "", []string{}))
			continue
		}
		d, err := s.Datasets.Get(ctx, string(u))
		if err != nil {
			return nil, fmt.Errorf("find dataset %s: %w", u, err)
		}
		if d.Secrecy != dataset.NoSecrecy {
			continue
		}
		classes := []string{}
		for _, f := range d.Fields {
			if f.Secrecy == dataset.NoSecrecy {
				classes = append(classes, string(f.DataClass))
			}
		}
		slices.Sort(classes)
		list = append(list, erased(d.ID, d.Name, slices.Compact(classes)))
	}
	if whole {
		list = append(list, erased(retention.Person, "", []string{string(dataset.Ordinary), string(dataset.NationalID)}))
	}
	return list, nil
}

// Run is the work of JobIssue.
func (s *Service) Run(ctx context.Context, r *job.Run) error {
	_, err := s.Issue(ctx, r.Object())
	return err
}

// Issue signs the certificate of a shredding that is done, and returns it: nil if it
// was of nothing but what is secret by law. It can be repeated.
func (s *Service) Issue(ctx context.Context, shreddingID string) (*Certificate, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	ctx = platform(ctx, of)
	sh, err := s.Shreddings.Get(ctx, shreddingID)
	if err != nil {
		return nil, err
	}
	if sh.State != erasure.Done {
		return nil, fmt.Errorf("certify erasure %s: it isn't done", sh.ID)
	}
	c, err := s.draft(ctx, sh)
	if err != nil || c == nil || c.State != Draft {
		return c, err
	}
	if err := s.complete(ctx, c, sh); err != nil {
		return nil, err
	}
	if c.Signed, err = s.sign(ctx, Type, c.Content); err != nil {
		return nil, err
	}
	c.State, c.IssuedAt = Issued, &c.Content.IssuedAt
	return s.settle(ctx, c, "certificate.issue", Draft)
}

// draft returns the certificate of a shredding: of one that nobody has begun, as it
// follows from the rules alone, a new one.
func (s *Service) draft(ctx context.Context, sh *erasure.Shredding) (*Certificate, error) {
	c, err := s.Store.Of(ctx, sh.ID)
	if !errors.Is(err, ErrNotFound) {
		return c, err
	}
	scope, err := s.Scopes(ctx, sh.Target.Whole, slices.Concat(sh.Target.Units, sh.Target.With)...)
	if err != nil || len(scope) == 0 {
		return nil, err
	}
	content := Content{Ground: articleDue, Rules: rulesAlone, Scope: scope, Exceptions: []Kept{}}
	if id.TypeOf(sh.Cause) == id.RequestItem { // it had to be kept when it was granted
		content.Ground, content.Item = articleAsked, sh.Cause
	}
	err = s.Changes.DoQuiet(ctx, "certificate.begin", sh.ID, func(ctx context.Context) error {
		c, err = s.Begin(ctx, sh, "", content)
		return err
	})
	if errors.Is(err, ErrExists) {
		return s.Store.Of(ctx, sh.ID)
	}
	return c, err
}

// complete fills in what is known once the shredding is done.
func (s *Service) complete(ctx context.Context, cert *Certificate, sh *erasure.Shredding) error {
	c := &cert.Content
	controller, err := s.Tenants.Get(ctx)
	if err != nil {
		return err
	}
	providerID, err := s.Tenants.ProviderID(tenant.System(ctx, "certificate"))
	if err != nil {
		return fmt.Errorf("find the provider: %w", err)
	}
	provider, err := s.Tenants.Get(platform(ctx, providerID))
	if err != nil {
		return err
	}
	at, err := s.Ledger.Position(ctx, ledger.Position{})
	if err != nil {
		return fmt.Errorf("read the ledger's position: %w", err)
	}
	planned, _, err := s.Epochs.Irrecoverable(ctx, sh.Epochs...)
	if err != nil {
		return err
	}
	if planned.IsZero() { // there was no key, so there is none in a backup
		planned = *sh.KeysDestroyedAt()
	}
	c.Version, c.Number, c.Subject, c.Erasure = Version, cert.ID, cert.Subject, sh.ID
	c.Controller, c.Processor = party(controller), party(provider)
	c.StartedAt, c.UnreadableAt, c.EndedAt = sh.CreatedAt, *sh.KeysDestroyedAt(), *sh.At(erasure.Ledger)
	c.Steps, c.Verification, c.WholePerson, c.IssuedAt = nil, countZero, sh.Target.Whole, s.at()
	for _, d := range sh.Steps {
		c.Steps = append(c.Steps, Step{string(d.Step), d.At})
	}
	if !slices.Contains(sh.Target.Units, vault.Evidence) {
		c.Exceptions = append(c.Exceptions, Kept{
			Unit: string(vault.Evidence), Outcome: retention.RestrictUntil, Reason: retention.Within, Article: articleKept,
			Law: "proof that the law was obeyed, kept for its own period only",
		})
	}
	if c.Recipients == nil {
		c.Recipients = []Notice{}
	}
	c.Backups.IrrecoverableOn = planned.UTC()
	c.Backups.Horizon = fmt.Sprintf("P%dD", int(s.Backups.Hours())/hoursOfDay)
	c.Backups.Restored = "a restored backup is erased again from the ledger of erasures before it is used"
	c.Ledger = Ledger{at.Number, at.Hash}
	c.Software = software()
	return nil
}

func party(t *tenancy.Tenant) Party {
	p := Party{ID: string(t.ID), Name: t.LegalName}
	if t.Registration != nil {
		p.Registration = t.Registration.Scheme + " " + t.Registration.Number
	}
	return p
}

// software names the build.
func software() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "vogter"
	}
	name := []string{"vogter", info.Main.Version}
	for _, b := range info.Settings {
		if b.Key == "vcs.revision" {
			name = append(name, b.Value)
		}
	}
	return strings.Join(name, " ")
}

func (s *Service) sign(ctx context.Context, typ string, content any) (string, error) {
	payload, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("write certificate: %w", err)
	}
	return s.Signer.SignJWS(ctx, sign.Certificate, typ, payload)
}

// settle stores what was signed, unless another worker was faster.
func (s *Service) settle(ctx context.Context, c *Certificate, action string, from State) (*Certificate, error) {
	err := s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		did := change.Change{Action: action, Object: c.ID}
		if c.State == Issued && s.Issued != nil {
			did.Then = s.Issued(c)
		}
		return did, s.Store.Update(ctx, c, from)
	})
	if errors.Is(err, change.ErrVersion) {
		return s.Store.Of(ctx, c.Shredding)
	}
	return c, err
}

// Hash returns the SHA-256 of what a certificate says, in hexadecimal letters: of
// the JSON that was signed, or of a draft would be.
func (c *Certificate) Hash() (string, error) {
	if c.Signed != "" {
		return digest(c.Signed)
	}
	b, err := json.Marshal(c.Content)
	if err != nil {
		return "", fmt.Errorf("write certificate: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// digest returns the SHA-256 of the JSON that a text signs.
func digest(signed string) (string, error) {
	var raw json.RawMessage
	if err := payload(signed, &raw); err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// payload reads what a text signs, which came from the store and isn't checked again.
func payload(signed string, into any) error {
	_, rest, _ := strings.Cut(signed, ".")
	body, _, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForm, err)
	}
	return nil
}

// Years is for how long a certificate is kept from its issue on, unless the second
// statement on it is still to come: until an offence against data protection law is
// barred by time (databeskyttelsesloven § 41), DOMAIN §3.2. What it was about is gone
// by then; that it was issued stays in the audit log.
const Years = 5

// Sweep signs the second statement on each certificate whose data nobody can bring
// back any more, and erases those whose own time is over. ctx spans tenants.
func (s *Service) Sweep(ctx context.Context) error {
	if err := s.stateAll(ctx); err != nil {
		return err
	}
	for {
		old, err := s.Store.IssuedBefore(tenant.System(ctx, "certificates"), s.at().AddDate(-Years, 0, -1), batch)
		if err != nil {
			return err
		}
		for _, c := range old {
			err := s.Changes.Do(platform(ctx, c.Tenant), func(ctx context.Context) (change.Change, error) {
				return change.Change{Action: "certificate.erase", Object: c.ID}, s.Store.Delete(ctx, c)
			})
			if err != nil {
				return fmt.Errorf("erase certificate %s: %w", c.ID, err)
			}
		}
		if len(old) < batch {
			return nil
		}
	}
}

func (s *Service) stateAll(ctx context.Context) error {
	for after := ""; ; {
		list, err := s.Store.Unstated(tenant.System(ctx, "certificates"), after, batch)
		if err != nil {
			return err
		}
		for _, c := range list {
			after = c.Shredding
			if err := s.state(platform(ctx, c.Tenant), c); err != nil {
				return fmt.Errorf("state what became of certificate %s: %w", c.ID, err)
			}
		}
		if len(list) < batch {
			return nil
		}
	}
}

// state signs the second statement, if what it says is true by now.
func (s *Service) state(ctx context.Context, c *Certificate) error {
	sh, err := s.Shreddings.Get(ctx, c.Shredding)
	if err != nil {
		return err
	}
	now, since := s.at(), sh.KeysDestroyedAt()
	if len(sh.Epochs) > 0 {
		if _, since, err = s.Epochs.Irrecoverable(ctx, sh.Epochs...); err != nil {
			return err
		}
	}
	if since == nil || since.After(now) {
		return nil
	}
	hash, err := c.Hash()
	if err != nil {
		return err
	}
	say := Irrecoverable{
		Version: Version, Number: c.Content.Backups.Statement, Certificate: c.ID, SHA256: hash, Subject: c.Subject, Erasure: sh.ID,
		Epochs: []string{}, Since: since.UTC(), IssuedAt: now,
	}
	for _, e := range sh.Epochs {
		say.Epochs = append(say.Epochs, e.Start().Format("2006-01"))
	}
	if c.Statement, err = s.sign(ctx, StatementType, say); err != nil {
		return err
	}
	c.State, c.StatedAt = Stated, &now
	_, err = s.settle(ctx, c, "certificate.state", Issued)
	return err
}

// Get returns a certificate that is signed, by its number or its statement's, or
// ErrNotFound. To a person it returns their own.
func (s *Service) Get(ctx context.Context, number string) (*Certificate, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Certificate, of, number) != nil {
		return nil, ErrNotFound
	}
	c, err := s.Store.Get(ctx, number)
	if err != nil {
		return nil, err
	}
	p := authz.FromContext(ctx)
	if c.State == Draft || number != c.ID && c.Statement == "" || p.Kind == authz.KindSubject && p.Subject != c.Subject {
		return nil, ErrNotFound
	}
	return c, nil
}

// File is a certificate, or the second statement on one, as PDF.
type File struct {
	Name    string
	Subject string
	Content []byte
}

// Open returns what has a number to be downloaded, as Get does.
func (s *Service) Open(ctx context.Context, number string) (*File, error) {
	c, err := s.Get(ctx, number)
	if err != nil {
		return nil, err
	}
	language := c.Language
	if language == "" {
		t, err := s.Tenants.Get(ctx)
		if err != nil {
			return nil, err
		}
		language = letter.Language(strings.Join(t.Languages[:min(1, len(t.Languages))], ""))
	}
	return c.file(language, number)
}

func (c *Certificate) file(language, number string) (*File, error) {
	content, err := c.PDF(language, number != c.ID)
	name := "certificate-" + c.IssuedAt.UTC().Format("20060102") + "-" + number[len(number)-8:] + ".pdf"
	return &File{name, c.Subject, content}, err
}

// Public returns what has a number to anybody who knows the number: it can't be
// guessed, is in letters to the person only, and leads to nothing but opaque ids. In
// it lies what is signed, in the language that is asked for. It fails with
// ErrNotFound.
func (s *Service) Public(ctx context.Context, language, number string) (*File, error) {
	of, ok := id.TenantOf(number)
	if !ok {
		return nil, ErrNotFound
	}
	c, err := s.Get(platform(ctx, of), number)
	if err != nil {
		return nil, err
	}
	return c.file(language, number)
}

// For returns the certificates that a cause has, drafts included: the item of a
// request has at most one of its own, and one for each part that went later.
func (s *Service) For(ctx context.Context, cause string) ([]*Certificate, error) {
	return s.Store.For(ctx, cause)
}
