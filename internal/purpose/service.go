package purpose

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vocabulary"
)

// Fresh is for how long a server goes on with the purposes that it knows of a
// tenant, when another server has changed them.
const Fresh = 30 * time.Second

const loadTimeout = 5 * time.Second

// Content is what a version of a purpose says.
type Content struct {
	Term              string
	Texts             []Text
	LegalBasis        string
	Art9Basis         *string
	Data              []Data
	ValidityMonths    int
	CoolDownMonths    int
	OfferedToChildren bool
	Marketing         bool
	Optional          bool
}

// CreateInput asks for a purpose.
type CreateInput struct {
	Key     string
	Content Content
}

// UpdateInput gives a draft another content.
type UpdateInput struct {
	ID           string
	ExpectedEdit int64
	Content      Content
}

// NoticeContent is what a version of a notice says.
type NoticeContent struct {
	Facts

	Purposes []string // their keys
	Texts    []NoticeText
}

// CreateNoticeInput asks for a notice.
type CreateNoticeInput struct {
	Key     string
	Content NoticeContent
}

// UpdateNoticeInput gives a draft another content.
type UpdateNoticeInput struct {
	ID           string
	ExpectedEdit int64
	Content      NoticeContent
}

// Purposes is the Store of purposes.
type Purposes interface {
	Store[*Purpose]
	// Current returns the latest version that was published of every key, those
	// that are Retired included.
	Current(ctx context.Context) ([]*Purpose, error)
}

// Notices is the Store of notices.
type Notices interface {
	Store[*Notice]
	// Of returns up to limit notices that name the purpose with a key, in a state
	// if one is given, after a position, the newest first.
	Of(ctx context.Context, purposeKey string, in State, after *page.Position, limit int) ([]*Notice, error)
	// Naming returns which purposes the published notices name that name one of keys.
	Naming(ctx context.Context, keys []string) ([]Ref, error)
}

// Tenants knows the tenants.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	BySlug(ctx context.Context, slug string) (tenant.ID, error)
}

// Datasets knows what data the tenant keeps: to a caller, that they may know of.
type Datasets interface {
	List(ctx context.Context) ([]*dataset.Dataset, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Purposes Purposes
	Notices  Notices
	Tenants  Tenants
	Datasets Datasets
	Changes  *change.Runner
	Now      func() time.Time
}

// Service keeps the purposes and notices of tenants.
type Service struct {
	Config

	purposes shelf[*Purpose]
	notices  shelf[*Notice]
	flight   singleflight.Group

	mu    sync.Mutex
	known map[tenant.ID]current
	// forgotten counts what forget was called for: what was read before isn't kept
	// after it.
	forgotten uint64
}

// current is the latest published version of a tenant's purposes, by key.
type current struct {
	byKey map[string]*Purpose
	at    time.Time
}

// NewService returns a Service.
func NewService(c Config) *Service {
	return &Service{
		Config: c, known: map[tenant.ID]current{},
		purposes: shelf[*Purpose]{c.Purposes, c.Changes, c.Now, "purpose", id.Purpose, ErrNotFound, Retired},
		notices:  shelf[*Notice]{c.Notices, c.Changes, c.Now, "notice", id.Notice, ErrNoNotice, Withdrawn},
	}
}

// ByID returns a version of a purpose, or ErrNotFound.
func (s *Service) ByID(ctx context.Context, purposeID string) (*Purpose, error) {
	return s.purposes.get(ctx, purposeID)
}

// ByIDs returns versions of purposes by their ids, or ErrNotFound if one isn't
// there: in one read, however many.
func (s *Service) ByIDs(ctx context.Context, ids ...string) (map[string]*Purpose, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	for _, i := range ids {
		if id.Check(id.Purpose, of, i) != nil {
			return nil, ErrNotFound
		}
	}
	found, err := s.Purposes.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*Purpose, len(found))
	for _, p := range found {
		byID[p.ID] = p
	}
	if slices.ContainsFunc(ids, func(i string) bool { return byID[i] == nil }) {
		return nil, ErrNotFound
	}
	return byID, nil
}

// Told returns those of keys of which Show tells: a published notice tells of the
// purpose as it is.
func (s *Service) Told(ctx context.Context, keys ...string) ([]string, error) {
	current, err := s.current(ctx)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	named, err := s.Notices.Naming(ctx, keys)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		p := current[key]
		return p == nil || p.State != Published ||
			!slices.ContainsFunc(named, func(r Ref) bool { return r.Key == key && p.Covers(r.Version) })
	}), nil
}

// List returns a page of the tenant's purposes in all versions, the newest first.
func (s *Service) List(ctx context.Context, r page.Request) (*Connection, error) {
	return s.purposes.list(ctx, r)
}

// ByKey returns the published version of the purpose with a key. It fails with
// ErrNotFound if none was ever published, and with ErrRetired if it is retired.
// What it returns is shared: it must not be changed. A change by another server
// is seen within Fresh.
func (s *Service) ByKey(ctx context.Context, key string) (*Purpose, error) {
	all, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	p, ok := all[key]
	if !ok {
		return nil, ErrNotFound
	}
	if p.State != Published {
		return nil, ErrRetired
	}
	return p, nil
}

// Published returns the purposes that are in use, by their keys. They are shared:
// they must not be changed.
func (s *Service) Published(ctx context.Context) ([]*Purpose, error) {
	all, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	var published []*Purpose
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if p := all[key]; p.State == Published {
			published = append(published, p)
		}
	}
	return published, nil
}

// current returns the tenant's purposes by key, each in the latest version that
// was published.
func (s *Service) current(ctx context.Context) (map[string]*Purpose, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	have, ok := s.known[of]
	s.mu.Unlock()
	if age := s.Now().Sub(have.at); ok && age >= 0 && age < Fresh {
		return have.byKey, nil
	}
	loaded, err, _ := s.flight.Do(string(of), func() (any, error) { return s.load(ctx, of) })
	if err != nil {
		return nil, err
	}
	byKey, _ := loaded.(map[string]*Purpose)
	return byKey, nil
}

func (s *Service) load(ctx context.Context, of tenant.ID) (map[string]*Purpose, error) {
	// Others wait for it too, whose calls may outlive this one.
	ctx, cancel := context.WithTimeout(tenant.NewContext(context.WithoutCancel(ctx), of), loadTimeout)
	defer cancel()
	s.mu.Lock()
	at, before := s.Now(), s.forgotten
	s.mu.Unlock()
	all, err := s.Purposes.Current(ctx)
	if err != nil {
		return nil, err
	}
	byKey := make(map[string]*Purpose, len(all))
	for _, p := range all {
		byKey[p.Key] = p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgotten == before {
		s.known[of] = current{byKey, at}
	}
	return byKey, nil
}

// forget has the purposes of the tenant in ctx read again by the next question.
func (s *Service) forget(ctx context.Context) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return // then nothing was changed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgotten++
	s.flight.Forget(string(of))
	delete(s.known, of)
}

// Unregistered returns the keys of purposes that the tenant's datasets name and
// that were never published, in alphabetical order.
func (s *Service) Unregistered(ctx context.Context) ([]string, error) {
	registered, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	all, err := s.Datasets.List(ctx)
	if err != nil {
		return nil, err
	}
	keys := []string{}
	for _, d := range all {
		for _, key := range d.Purposes {
			if registered[key] == nil {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// Create makes a purpose, as a draft. It obeys the caller's Idempotency-Key.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Purpose, error) {
	if err := in.Content.check(); err != nil {
		return nil, errs.At(err, "content")
	}
	return s.purposes.create(ctx, in.Key, &Purpose{}, in.Content.fill)
}

func (c *Content) fill(_ context.Context, p *Purpose) error {
	*p = Purpose{
		Edition: p.Edition, VocabularyVersion: vocabulary.Version(), Term: c.Term, Texts: c.Texts, LegalBasis: c.LegalBasis,
		Art9Basis: c.Art9Basis, Data: c.Data, ValidityMonths: c.ValidityMonths, CoolDownMonths: c.CoolDownMonths,
		OfferedToChildren: c.OfferedToChildren, Marketing: c.Marketing, Optional: c.Optional,
	}
	return nil
}

// Update gives a draft another content.
func (s *Service) Update(ctx context.Context, in UpdateInput) (*Purpose, error) {
	if err := in.Content.check(); err != nil {
		return nil, errs.At(err, "content")
	}
	return s.purposes.update(ctx, in.ID, in.ExpectedEdit, in.Content.fill)
}

// Revise makes the next version of a purpose, as a draft. It obeys the caller's
// Idempotency-Key.
func (s *Service) Revise(ctx context.Context, in ReviseInput) (*Purpose, error) {
	return s.purposes.revise(ctx, in)
}

// Publish makes a draft final. It fails with ErrIncomplete, which says what the
// draft lacks, and with ErrMaterial.
func (s *Service) Publish(ctx context.Context, in PublishInput) (*Purpose, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return nil, err
	}
	defer s.forget(ctx)
	return s.purposes.publish(ctx, in, func(_ context.Context, p, before *Purpose) error { return p.ready(t.Languages, before) })
}

// Retire ends a purpose, or gives up a draft of it.
func (s *Service) Retire(ctx context.Context, in EndInput) (*Purpose, error) {
	defer s.forget(ctx)
	return s.purposes.finish(ctx, in, "retire")
}

// Notice returns a version of a notice, or ErrNoNotice.
func (s *Service) Notice(ctx context.Context, noticeID string) (*Notice, error) {
	return s.notices.get(ctx, noticeID)
}

// PurposesOf returns the versions of purposes that a notice names, in its order.
func (s *Service) PurposesOf(ctx context.Context, n *Notice) ([]*Purpose, error) {
	ids := make([]string, len(n.Purposes))
	for i, r := range n.Purposes {
		ids[i] = r.ID
	}
	byID, err := s.ByIDs(ctx, ids...)
	if err != nil {
		return nil, err
	}
	found := make([]*Purpose, len(ids))
	for i := range ids {
		found[i] = byID[ids[i]]
	}
	return found, nil
}

// ListNotices returns a page of the tenant's notices in all versions, the newest
// first: all, or those that name the purpose with a key.
func (s *Service) ListNotices(ctx context.Context, purposeKey *string, r page.Request) (*NoticeConnection, error) {
	if purposeKey == nil {
		return s.notices.list(ctx, r)
	}
	at := func(n *Notice) page.Position { return page.Position{CreatedAt: n.CreatedAt, ID: n.ID} }
	return page.Read(ctx, page.List{Of: id.Notice, Scope: *purposeKey}, r, at,
		func(ctx context.Context, after *page.Position, limit int) ([]*Notice, error) {
			return s.Notices.Of(ctx, *purposeKey, "", after, limit)
		})
}

// Show returns the current notice of the purpose with a key in the language of a
// BCP 47 tag, or in the notice's first if it doesn't have that one: the one
// published last of those that tell of the purpose as it is. It fails with
// ErrNotShown if there is none.
func (s *Service) Show(ctx context.Context, key, tag string) (*Shown, error) {
	p, err := s.ByKey(ctx, key)
	if errs.KindOf(err) == errs.NotFound || errs.KindOf(err) == errs.Precondition {
		return nil, ErrNotShown
	}
	if err != nil {
		return nil, err
	}
	published, err := s.Notices.Of(ctx, key, Published, nil, MaxKeys)
	if err != nil {
		return nil, err
	}
	published = slices.DeleteFunc(published, func(n *Notice) bool {
		version, _ := n.Names(key)
		return !p.Covers(version)
	})
	if len(published) == 0 {
		return nil, ErrNotShown
	}
	n := slices.MaxFunc(published, func(a, b *Notice) int { return a.PublishedAt.Compare(*b.PublishedAt) })
	purposes, err := s.PurposesOf(ctx, n)
	if err != nil {
		return nil, err
	}
	return &Shown{Notice: n, Purposes: purposes, Text: n.In(tag)}, nil
}

// ShowPublic is Show for everybody: of the tenant with a slug.
func (s *Service) ShowPublic(ctx context.Context, slug, key string, tag *string) (*Shown, error) {
	of, err := s.Tenants.BySlug(ctx, slug)
	if err != nil {
		return nil, errs.At(err, "tenantSlug")
	}
	if tag == nil {
		tag = new(string)
	}
	ctx = authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSubject, Tenant: of})
	return s.Show(ctx, key, *tag)
}

// CreateNotice makes a notice, as a draft. It obeys the caller's Idempotency-Key.
func (s *Service) CreateNotice(ctx context.Context, in CreateNoticeInput) (*Notice, error) {
	if err := in.Content.check(); err != nil {
		return nil, errs.At(err, "content")
	}
	return s.notices.create(ctx, in.Key, &Notice{}, s.filler(in.Content))
}

// UpdateNotice gives a draft another content.
func (s *Service) UpdateNotice(ctx context.Context, in UpdateNoticeInput) (*Notice, error) {
	if err := in.Content.check(); err != nil {
		return nil, errs.At(err, "content")
	}
	return s.notices.update(ctx, in.ID, in.ExpectedEdit, s.filler(in.Content))
}

func (s *Service) filler(c NoticeContent) func(ctx context.Context, n *Notice) error {
	return func(ctx context.Context, n *Notice) error {
		c.VocabularyVersion = vocabulary.Version()
		*n = Notice{Edition: n.Edition, Facts: c.Facts, Texts: slices.Clone(c.Texts), Purposes: make([]Ref, len(c.Purposes))}
		for i := range n.Texts {
			n.Texts[i].ContentHash = ""
		}
		for i, key := range c.Purposes {
			if slices.Contains(c.Purposes[:i], key) {
				return errs.New(errs.Invalid, "a purpose is named twice").At("content.purposes")
			}
			p, err := s.Purposes.Latest(ctx, key, false)
			if err != nil {
				return err
			}
			if p == nil {
				return ErrNotFound.At("content.purposes")
			}
			n.Purposes[i] = Ref{p.ID, p.Key, p.Version}
		}
		return nil
	}
}

// ReviseNotice makes the next version of a notice, as a draft. It obeys the
// caller's Idempotency-Key.
func (s *Service) ReviseNotice(ctx context.Context, in ReviseInput) (*Notice, error) {
	return s.notices.revise(ctx, in)
}

// PublishNotice makes a draft final, about the purposes as they are published
// then. It fails with ErrIncomplete, which says what the draft lacks, and with
// ErrMaterial.
func (s *Service) PublishNotice(ctx context.Context, in PublishInput) (*Notice, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return nil, err
	}
	return s.notices.publish(ctx, in, func(ctx context.Context, n, before *Notice) error {
		purposes := make([]*Purpose, len(n.Purposes))
		for i, r := range n.Purposes {
			p, err := s.Purposes.Latest(ctx, r.Key, true)
			if err != nil {
				return err
			}
			if p != nil && p.State == Published {
				purposes[i], n.Purposes[i] = p, Ref{p.ID, p.Key, p.Version}
			}
		}
		if err := n.ready(t.Languages, before, purposes); err != nil {
			return err
		}
		return n.seal(purposes)
	})
}

// WithdrawNotice ends a notice, or gives up a draft of it.
func (s *Service) WithdrawNotice(ctx context.Context, in EndInput) (*Notice, error) {
	return s.notices.finish(ctx, in, "withdraw")
}
