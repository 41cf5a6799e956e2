// Package rights carries out what persons ask for beside access and erasure: to
// withdraw consents (GDPR Art. 7(3)), to object (Art. 21), to have processing
// restricted (Art. 18) and to have a person look at an automated decision (Art. 22).
//
// A Stop is what a person has had stopped, for as long as one Cause of it stands.
// It holds ids, codes and times, no personal data, and outlives the person's
// erasure, so that who objected to marketing isn't written to again. The
// objections hold where data is used: see consent.Gate. Each Stop is in the ledger
// too, so that a restored backup doesn't undo it.
package rights

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Kind is what a person has had stopped.
type Kind string

// The kinds of stops.
const (
	Marketing   = Kind(consent.ToMarketing) // Art. 21(2)
	Interests   = Kind(consent.ToInterests) // Art. 21(1)
	Restriction = Kind("RESTRICTION")       // Art. 18: everything but storage
)

// Cause is why something is stopped.
type Cause struct {
	Request string    // that asked for it
	Item    string    // of it
	Ground  string    // of a restriction: "18(1)(a)" …
	At      time.Time // since when
	// Notice is the notice that the restriction will be lifted, Art. 18(3).
	Notice *Notice
}

// Notice tells a person that a restriction will be lifted.
type Notice struct {
	SentAt time.Time
	By     string     // id of who sent it
	LiftOn civil.Date // in the tenant's zone: it is lifted then at the earliest
	Zone   string     // that zone, IANA
	Letter string     // id, "" when the person was told by hand
}

// LetterID returns the letter, nil when the person was told by hand.
func (n *Notice) LetterID() *string {
	if n.Letter == "" {
		return nil
	}
	return &n.Letter
}

// due reports whether the day has come that the person was told.
func (n *Notice) due(now time.Time) (bool, error) {
	today, err := dayIn(n.Zone, now)
	return err == nil && !today.Before(n.LiftOn), err
}

// dayIn returns the day that an instant is of in a zone.
func dayIn(zone string, at time.Time) (civil.Date, error) {
	in, err := time.LoadLocation(zone)
	if err != nil {
		return civil.Date{}, fmt.Errorf("load the tenant's time zone: %w", err)
	}
	return civil.Of(at.In(in)), nil
}

// Stop is what a person has had stopped; it stands while it has a Cause.
type Stop struct {
	Subject string
	Kind    Kind
	Causes  []Cause
}

// cause returns the cause of an item, or nil.
func (s *Stop) cause(itemID string) *Cause {
	i := slices.IndexFunc(s.Causes, func(c Cause) bool { return c.Item == itemID })
	if i < 0 {
		return nil
	}
	return &s.Causes[i]
}

// remove takes the cause of an item away.
func (s *Stop) remove(itemID string) {
	s.Causes = slices.DeleteFunc(slices.Clone(s.Causes), func(c Cause) bool { return c.Item == itemID })
}

// Plan is what restricting would do: approved is this, and nothing else.
type Plan struct {
	SubjectID string
	Ground    string
	State     subject.State // before
	Hash      string
}

// Sentinels.
var (
	ErrNone   = errs.New(errs.NotFound, "no such restriction")
	ErrGround = errs.New(errs.Invalid, "the grounds are 18(1)(a) to 18(1)(d)").At("ground")
	ErrNotice = errs.New(errs.Precondition, "tell the person first that the restriction will be lifted (GDPR Art. 18(3))").Under("art18.notice")
	ErrEarly  = errs.New(errs.Precondition, "the person was told that the restriction is lifted on a later day").Under("art18.notice")
	ErrSame   = errs.New(errs.Precondition, "somebody else than who gave notice lifts a restriction").Under("fourEyes")
)

// Grounds returns the grounds of a restriction, Art. 18(1).
func Grounds() []string { return []string{"18(1)(a)", "18(1)(b)", "18(1)(c)", "18(1)(d)"} }

// Store keeps stops.
type Store interface {
	// Get returns a stop, without causes if there is none.
	Get(ctx context.Context, subjectID string, k Kind) (*Stop, error)
	Save(ctx context.Context, s *Stop) error
	// Restrict restricts a person who isn't, or the other way round.
	Restrict(ctx context.Context, subjectID string, on bool) error
}

// Subjects tells of persons and guards them: see subject.Store.
type Subjects interface {
	GetMany(ctx context.Context, ids []string) ([]*subject.Subject, error)
	GuardStored(ctx context.Context, ids ...string) error
}

// Standings tells where a person stands on all purposes.
type Standings interface {
	Standings(ctx context.Context, subjectID string) ([]*consent.Standing, error)
}

// Consents ends consents.
type Consents interface {
	Withdraw(ctx context.Context, in consent.Input) (*consent.Consent, error)
}

// Purposes knows purposes by the ids of their versions.
type Purposes interface {
	ByID(ctx context.Context, purposeID string) (*purpose.Purpose, error)
	// Published returns those that are in use.
	Published(ctx context.Context) ([]*purpose.Purpose, error)
}

// Ledger keeps stops where a restored backup can't undo them.
type Ledger interface {
	Append(ctx context.Context, e ledger.Entry) (int64, error)
}

// Requests finds the requests that asked for something to be stopped.
type Requests interface {
	Get(ctx context.Context, requestID string) (*request.Request, error)
	// Prepare keeps what a decision on an item rests on.
	Prepare(ctx context.Context, in request.PrepareInput, t request.Type, body personal.Text, allows ...request.Outcome) (*request.Request, error)
}

// Members knows who works for the tenant.
type Members interface {
	Member(ctx context.Context, memberID string) (*tenancy.Member, error)
}

// Post writes letters: see post.Service.
type Post interface {
	// Notice writes a letter about a request within a change's transaction.
	Notice(ctx context.Context, r *request.Request, form, key string, fields letter.Fields) (request.Told, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store     Store
	Subjects  Subjects
	Standings Standings
	Consents  Consents
	Purposes  Purposes
	Ledger    Ledger
	Members   Members
	Recorder  *audit.Recorder
	Changes   *change.Runner
	Now       func() time.Time

	// Requests and Post need what this package does themselves, and are set before
	// the Service is used.
	Requests Requests
	Post     Post
}

// Service keeps what persons have had stopped.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// platform is ctx of the platform itself, for the tenant in ctx.
func platform(ctx context.Context, of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "rights", Tenant: of})
}

// Restriction returns what restricts a person, without causes if nothing does.
func (s *Service) Restriction(ctx context.Context, subjectID string) (*Stop, error) {
	if _, err := s.subject(ctx, subjectID); err != nil {
		return nil, err
	}
	st, err := s.Store.Get(ctx, subjectID, Restriction)
	if err != nil {
		return nil, err
	}
	return st, s.Recorder.Read(ctx, "restriction.read", subjectID, audit.Touch{Subject: subjectID, Object: subjectID})
}

// Plan returns what restricting a person on a ground would do.
func (s *Service) Plan(ctx context.Context, subjectID, ground string) (*Plan, error) {
	if !slices.Contains(Grounds(), ground) {
		return nil, ErrGround
	}
	found, err := s.subject(ctx, subjectID)
	if err != nil {
		return nil, err
	}
	if found.State.Gone() {
		return nil, subject.ErrErased
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{"vogter/restriction/1", subjectID, ground, string(found.State)}, "\n")))
	return &Plan{subjectID, ground, found.State, hex.EncodeToString(sum[:])}, nil
}

func (s *Service) subject(ctx context.Context, subjectID string) (*subject.Subject, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Subject, of, subjectID) != nil {
		return nil, subject.ErrNotFound
	}
	found, err := s.Subjects.GetMany(ctx, []string{subjectID})
	if err == nil && len(found) == 0 {
		err = subject.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// begin adds a cause to a stop, or gives that of the item another ground, in one
// change; allowed is asked in it, if it is given. What the ledger misses after a crash is added when it is repeated.
func (s *Service) begin(ctx context.Context, subjectID string, k Kind, c Cause, allowed func(context.Context) error) error {
	err := s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		done := change.Change{
			Action: "rights." + strings.ToLower(string(k)), Object: c.Item, Touches: []audit.Touch{{Subject: subjectID, Object: c.Item}},
		}
		st, err := s.Store.Get(ctx, subjectID, k)
		if err != nil {
			return done, err
		}
		had := st.cause(c.Item)
		if had != nil && had.Ground == c.Ground {
			done.Quiet = true
			return done, nil
		}
		if allowed != nil {
			if err := allowed(ctx); err != nil {
				return done, err
			}
		}
		if err := s.Subjects.GuardStored(ctx, subjectID); err != nil {
			return done, err
		}
		if had != nil {
			had.Ground = c.Ground
		} else {
			st.Causes = append(st.Causes, c)
		}
		if k == Restriction {
			if err := s.Store.Restrict(ctx, subjectID, true); err != nil {
				return done, err
			}
		}
		return done, s.Store.Save(ctx, st)
	})
	if err != nil {
		return err
	}
	return s.enter(ctx, subjectID, k, c, "ON")
}

// end takes the cause of an item from a stop that isn't a restriction, in one change.
func (s *Service) end(ctx context.Context, subjectID string, k Kind, itemID string) error {
	var ended *Cause
	err := s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		done := change.Change{Action: "rights.end", Object: itemID, Touches: []audit.Touch{{Subject: subjectID, Object: itemID}}}
		st, err := s.Store.Get(ctx, subjectID, k)
		if err != nil {
			return done, err
		}
		if ended = st.cause(itemID); ended == nil {
			done.Quiet = true
			return done, nil
		}
		if err := s.Subjects.GuardStored(ctx, subjectID); err != nil {
			return done, err
		}
		was := *ended
		ended = &was
		st.remove(itemID)
		return done, s.Store.Save(ctx, st)
	})
	if err != nil || ended == nil {
		return err
	}
	return s.enter(ctx, subjectID, k, *ended, "OFF")
}

func (s *Service) enter(ctx context.Context, subjectID string, k Kind, c Cause, state string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	e := ledger.Entry{
		Kind: ledger.Objection, Tenant: of, Object: c.Item, Subject: subjectID, Units: []string{string(k), c.Ground, c.Request}, State: state,
	}
	if k == Restriction {
		e.Kind = ledger.Restriction
	}
	if _, err := s.Ledger.Append(ctx, e); err != nil {
		return fmt.Errorf("enter %s of %s in the ledger: %w", k, c.Item, err)
	}
	return nil
}

// NoticeInput tells a person that a restriction will be lifted, Art. 18(3).
type NoticeInput struct {
	Request      string // that asked for the restriction
	Item         string
	LiftOn       civil.Date // a day to come, in the tenant's zone
	Reason       string     // as the person is told it
	Consequences string     // likewise: what happens then
	// SentAt is when the person was told by hand; else the platform writes to them.
	SentAt *time.Time
}

// Announce tells the person that a restriction will be lifted, or notes that they
// were told.
func (s *Service) Announce(ctx context.Context, in NoticeInput) (*Stop, error) {
	r, err := s.Requests.Get(ctx, in.Request)
	if err != nil {
		return nil, errs.At(err, "request")
	}
	if r.Item(in.Item) == nil || r.Subject == "" {
		return nil, ErrNone.At("item")
	}
	told := Notice{SentAt: s.now(), By: authz.FromContext(ctx).ID, LiftOn: in.LiftOn, Zone: r.Deadline.Zone}
	today, err := dayIn(told.Zone, told.SentAt)
	switch {
	case err != nil:
		return nil, err
	case !in.LiftOn.After(today):
		return nil, errs.New(errs.Invalid, "the person needs time to answer: lift it on a day to come").At("liftOn")
	case in.SentAt != nil && in.SentAt.After(told.SentAt):
		return nil, errs.New(errs.Invalid, "the notice is to have been sent").At("sentAt")
	case in.SentAt != nil:
		told.SentAt = in.SentAt.UTC().Truncate(time.Millisecond)
	}
	return s.edit(ctx, "rights.announceLifting", r.Subject, in.Item, func(ctx context.Context, _ *Stop, c *Cause) ([]job.Spec, error) {
		if told.SentAt.Before(c.At) {
			return nil, errs.New(errs.Invalid, "the notice comes after the restriction").At("sentAt")
		}
		n := told
		c.Notice = &n
		if in.SentAt != nil {
			return nil, nil
		}
		since, err := dayIn(n.Zone, c.At)
		if err != nil {
			return nil, err
		}
		sent, err := s.Post.Notice(ctx, r, "restriction-before-lifting", "lifting/"+c.Item+"/"+n.SentAt.Format(time.RFC3339Nano), letter.Fields{
			"restriction.fromDate": letter.Date(since), "restriction.liftDate": letter.Date(n.LiftOn),
			"restriction.liftReason": letter.Text(in.Reason), "restriction.afterLift": letter.Text(in.Consequences),
			"restriction.scopeList": letter.Items(wordsIn(r.Language).everything),
		})
		n.Letter = sent.Letter
		return sent.Then, err
	})
}

// LiftInput names a restriction.
type LiftInput struct {
	Subject string
	Item    string // of the request that asked for the restriction
}

// Lift ends a restriction on the day that the person was told, by another than who
// told them. The person's data is used again when it was the last one.
func (s *Service) Lift(ctx context.Context, in LiftInput) (*Stop, error) {
	var lifted Cause
	st, err := s.edit(ctx, "rights.liftRestriction", in.Subject, in.Item, func(ctx context.Context, st *Stop, c *Cause) ([]job.Spec, error) {
		switch {
		case c.Notice == nil:
			return nil, ErrNotice
		case c.Notice.By == authz.FromContext(ctx).ID:
			return nil, ErrSame
		}
		if due, err := c.Notice.due(s.now()); err != nil || !due {
			return nil, errors.Join(err, ErrEarly)
		}
		lifted = *c
		st.remove(in.Item)
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return st, s.enter(ctx, in.Subject, Restriction, lifted, "OFF")
}

// edit changes a restriction in one change, with the jobs that follow.
func (s *Service) edit(
	ctx context.Context, action, subjectID, itemID string, edit func(context.Context, *Stop, *Cause) ([]job.Spec, error),
) (st *Stop, err error) {
	if _, err := s.subject(ctx, subjectID); err != nil {
		return nil, err
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		done := change.Change{Action: action, Object: itemID, Touches: []audit.Touch{{Subject: subjectID, Object: itemID}}}
		if st, err = s.Store.Get(ctx, subjectID, Restriction); err != nil {
			return done, err
		}
		c := st.cause(itemID)
		if c == nil {
			return done, ErrNone
		}
		if err := s.Subjects.GuardStored(ctx, subjectID); err != nil {
			return done, err
		}
		if done.Then, err = edit(ctx, st, c); err != nil {
			return done, err
		}
		if len(st.Causes) == 0 {
			if err := s.Store.Restrict(ctx, subjectID, false); err != nil {
				return done, err
			}
		}
		return done, s.Store.Save(ctx, st)
	})
	return st, err
}

// Replay does again what an entry of the ledger tells, which the database that was
// restored doesn't know. It reports whether it is of a kind that it handles.
func (s *Service) Replay(ctx context.Context, e ledger.Entry) (handled bool, err error) {
	if e.Kind != ledger.Objection && e.Kind != ledger.Restriction {
		return false, nil
	}
	if len(e.Units) == 0 {
		return true, errs.New(errs.Internal, "the ledger's entry doesn't say what was stopped")
	}
	ctx, k := platform(ctx, e.Tenant), Kind(e.Units[0])
	c := Cause{Item: e.Object, At: e.At}
	if len(e.Units) > 1 {
		c.Ground = e.Units[1]
	}
	if len(e.Units) > 2 { // older entries don't say
		c.Request = e.Units[2]
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		done := change.Change{Action: "rights.replay", Object: e.Object, Touches: []audit.Touch{{Subject: e.Subject, Object: e.Object}}}
		st, err := s.Store.Get(ctx, e.Subject, k)
		if err != nil {
			return done, err
		}
		st.remove(e.Object)
		if e.State == "ON" {
			st.Causes = append(st.Causes, c)
		}
		if k == Restriction {
			if err := s.Store.Restrict(ctx, e.Subject, len(st.Causes) > 0); err != nil {
				return done, err
			}
		}
		return done, s.Store.Save(ctx, st)
	})
	if err != nil {
		return true, fmt.Errorf("replay %s of %s: %w", k, e.Object, err)
	}
	return true, nil
}

// withdraw takes back the person's consents in force that match, and returns the
// ids of all that were taken back since the request came: it can be repeated.
func (s *Service) withdraw(ctx context.Context, subjectID string, since time.Time, match func(*purpose.Purpose) bool) ([]string, error) {
	standings, err := s.Standings.Standings(ctx, subjectID)
	if errors.Is(err, subject.ErrErased) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ended []string
	for _, st := range standings {
		again := st.State == consent.Withdrawn && !st.Since.Before(since)
		if !again && !st.Valid(s.now()) {
			continue
		}
		p, err := s.Purposes.ByID(ctx, st.Purpose.ID)
		if err != nil {
			return nil, err
		}
		if !match(p) {
			continue
		}
		if !again {
			_, err := s.Consents.Withdraw(ctx, consent.Input{Subject: subjectID, Purpose: st.PurposeKey})
			if err != nil && !errors.Is(err, consent.ErrNone) {
				return nil, err
			}
		}
		ended = append(ended, st.ConsentID)
	}
	return ended, nil
}
