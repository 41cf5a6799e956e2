package consent

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// MaxAnswers is how many purposes one call answers.
const MaxAnswers = 50

// Pair names a person and a purpose.
type Pair struct{ SubjectID, PurposeKey string }

// Want names a person and a purpose, and the notice under which an answer is to be
// noted, if any.
type Want struct {
	Pair

	NoticeID string
}

// Query selects consents. Equalities only; the zero Query is all.
type Query struct {
	Subject string
	Purpose string // key
	State   State  // as of the last event
}

// EventQuery selects events of a person, of one purpose if it is given, or of one consent.
type EventQuery struct {
	Subject string
	Purpose string // key
	Consent string
}

// Store keeps consents. Where a person's data is erased, standings are too, and
// what asks for one fails with subject.ErrErased; consents and events stay.
type Store interface {
	// Standing returns where a person stands on a purpose, by one look at an id. It
	// returns State Unknown for who was never asked.
	Standing(ctx context.Context, p Pair) (*Standing, error)
	// Standings returns all of a person, by purpose.
	Standings(ctx context.Context, subjectID string) ([]*Standing, error)
	// StandingsOf returns those of persons on a purpose, in any order, without those
	// who were never asked or are erased.
	StandingsOf(ctx context.Context, purposeKey string, subjects []string) ([]*Standing, error)
	// Tracks returns what a change needs of persons and purposes, in the order of
	// wants: as much of one with 10,000 events as of one with 10.
	Tracks(ctx context.Context, wants ...Want) ([]*Track, error)
	// Write stores what changes have added to tracks, in the change's transaction, and
	// returns the digests of the events as stored, in their order.
	Write(ctx context.Context, tracks ...*Track) (digests [][]byte, err error)

	// Get returns ErrNotFound, GetEvent ErrNoEvent.
	Get(ctx context.Context, consentID string) (*Consent, error)
	GetEvent(ctx context.Context, eventID string) (*Event, error)
	// List and Events return up to limit after a position, the newest first.
	List(ctx context.Context, q Query, after *page.Position, limit int) ([]*Consent, error)
	Events(ctx context.Context, q EventQuery, after *page.Position, limit int) ([]*Event, error)
	// History returns all events of a person and purpose, or of one consent if it is
	// given, in their order.
	History(ctx context.Context, p Pair, consentID string) ([]Event, error)
	// Moves returns how often persons came to, and left, a state by a channel, by day
	// and up to one.
	Moves(ctx context.Context, purposeKeys []string, to civil.Date) ([]Count, error)

	// Due returns pairs of all tenants whose consent's time is over at an instant, up
	// to limit. Askable returns those whom may be asked again. Both need a system
	// context.
	Due(ctx context.Context, at time.Time, limit int) ([]Ref, error)
	Askable(ctx context.Context, at time.Time, limit int) ([]Ref, error)
	// Asked notes that it was told of standings that they may be asked again.
	Asked(ctx context.Context, standings ...*Standing) error
	// InForce returns up to limit standings of persons whose consent to a purpose, or
	// under a notice, is in force and was given before an instant: those after one, in
	// the order of Since.
	InForce(ctx context.Context, scope Scope, before time.Time, after *Standing, limit int) ([]*Standing, error)
	// Answers returns the events that gave or confirmed consents, by the consents' ids.
	Answers(ctx context.Context, consents ...string) (map[string][]*Event, error)

	// Baseless notes, in the change's transaction, since when what a person has in
	// datasets has no basis any more: retention counts from it. Based takes that back.
	Baseless(ctx context.Context, subjectID string, datasets []string, since time.Time) error
	Based(ctx context.Context, subjectID string, datasets []string) error

	// What follows from ends, and ends of many.
	InsertChecks(ctx context.Context, checks ...*Check) error
	SaveCheck(ctx context.Context, c *Check) error
	GetCheck(ctx context.Context, checkID string) (*Check, error)
	Checks(ctx context.Context, state CheckState, after *page.Position, limit int) ([]*Check, error)
	PendingChecks(ctx context.Context, batch string, limit int) ([]*Check, error)
	InsertInvalidation(ctx context.Context, i *Invalidation) error
	GetInvalidation(ctx context.Context, invalidationID string) (*Invalidation, error)
}

// Ref names a person and purpose of any tenant.
type Ref struct {
	Tenant tenant.ID
	Pair
}

// Purposes knows purposes and notices.
type Purposes interface {
	ByKey(ctx context.Context, key string) (*purpose.Purpose, error)
	ByID(ctx context.Context, purposeID string) (*purpose.Purpose, error)
	Notice(ctx context.Context, noticeID string) (*purpose.Notice, error)
}

// Subjects tells of persons and guards them: see subject.Store.
type Subjects interface {
	GetMany(ctx context.Context, ids []string) ([]*subject.Subject, error)
	Guard(ctx context.Context, ids ...string) error
	// GuardStored lets pass who is restricted.
	GuardStored(ctx context.Context, ids ...string) error
}

// Datasets knows what may hold data that rested on a consent.
type Datasets interface {
	List(ctx context.Context) ([]*dataset.Dataset, error)
}

// Records counts what is kept.
type Records interface {
	Count(ctx context.Context, q record.Query, limit int) (int, error)
}

// Files attaches the proof of a consent.
type Files interface {
	Attach(ctx context.Context, recordID string, files []record.Attachment) error
}

// Vault makes the keys of evidence before the transaction that needs them.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Ledger keeps withdrawals where a restored backup can't undo them.
type Ledger interface {
	Append(ctx context.Context, e ledger.Entry) (int64, error)
}

// Signals notes what a person objects to without a word: see rights.Service.Signal.
type Signals interface {
	Signal(ctx context.Context, subjectID string) error
}

// Jobs finds jobs.
type Jobs interface {
	Get(ctx context.Context, jobID string) (*job.Job, error)
}

// Config is what a Service needs. All of it is required but Signals, which itself
// needs a Service and is set before that is used; nil notes none.
type Config struct {
	Store    Store
	Purposes Purposes
	Subjects Subjects
	Datasets Datasets
	Records  Records
	Files    Files
	Vault    Vault
	Ledger   Ledger
	Looker   authz.Looker
	Regions  subject.Regions
	Recorder *audit.Recorder
	Changes  *change.Runner
	Log      *slog.Logger
	Now      func() time.Time

	Signals Signals
}

// Service keeps the consents of tenants.
type Service struct {
	Config

	ages ages
}

// NewService returns a Service.
func NewService(c Config) (*Service, error) {
	table, err := readAges(childAges)
	return &Service{c, table}, err
}

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// Context is what an answer came with: its evidence, as the caller has it.
type Context struct {
	Actor      *Actor   // SELF when absent, or STAFF of what a member enters
	Channel    *Channel // OTHER when absent
	Language   *string  // of the notice as shown
	ActorName  *personal.Text
	Component  *personal.Text
	ScreenHash *personal.Text
	Locale     *personal.Text
	AppVersion *personal.Text
	Session    *personal.Text
	Proof      *string
	Note       *personal.Text
	GPC        bool
	// GPCConfirmed says that the person was asked which they mean, this answer or the
	// signal.
	GPCConfirmed bool
	Age          *int
	Country      *string
}

// Input is one answer, or a request for one.
type Input struct {
	Subject    string
	Purpose    string  // key, or id of a version
	Notice     *string // id of the version shown
	Expression *Expression
	Context    *Context
}

// Answer is one of several.
type Answer struct {
	Purpose    string
	Notice     *string
	Answer     AnswerKind
	Expression *Expression
}

// AnswerKind is what a person answers.
type AnswerKind string

// The kinds of answers.
const (
	Give     AnswerKind = "GIVE"
	Refuse   AnswerKind = "REFUSE"
	Defer    AnswerKind = "DEFER"
	Withdraw AnswerKind = "WITHDRAW"
	Renew    AnswerKind = "RENEW"
)

func (k AnswerKind) state() State {
	switch k {
	case Give:
		return Given
	case Refuse:
		return Refused
	case Defer:
		return Deferred
	case Withdraw:
		return Withdrawn
	case Renew:
		return Reconfirmed
	}
	return Unknown
}

// AnswersInput is several answers of a person, as one form has them: all are
// noted, or none.
type AnswersInput struct {
	Subject string
	Answers []Answer
	Context *Context
}

// OwnAnswersInput is AnswersInput of the person who is calling.
type OwnAnswersInput struct {
	Answers []Answer
	Context *Context
}

// Request notes that the person is shown a request.
func (s *Service) Request(ctx context.Context, in Input) (*Consent, error) {
	return s.one(ctx, Requested, in)
}

// Give notes a yes. One that is given already, under the same notice, is not
// noted again.
func (s *Service) Give(ctx context.Context, in Input) (*Consent, error) { return s.one(ctx, Given, in) }

// Refuse notes a no.
func (s *Service) Refuse(ctx context.Context, in Input) (*Consent, error) {
	return s.one(ctx, Refused, in)
}

// Defer notes a later.
func (s *Service) Defer(ctx context.Context, in Input) (*Consent, error) {
	return s.one(ctx, Deferred, in)
}

// Withdraw notes that the person takes the consent back: GDPR Art. 7(3). Who has
// taken it back has done so, and is told the same again.
func (s *Service) Withdraw(ctx context.Context, in Input) (*Consent, error) {
	return s.one(ctx, Withdrawn, in)
}

// Renew notes that the person confirms a consent in force.
func (s *Service) Renew(ctx context.Context, in Input) (*Consent, error) {
	return s.one(ctx, Reconfirmed, in)
}

// Revoke ends a consent because the controller uses the data no more.
func (s *Service) Revoke(ctx context.Context, in Input) (*Consent, error) {
	return s.one(ctx, Revoked, in)
}

func (s *Service) one(ctx context.Context, to State, in Input) (*Consent, error) {
	told, err := s.tell(ctx, in.Subject, in.Context, ask{to, in.Purpose, in.Notice, in.Expression})
	if err != nil {
		return nil, err
	}
	return told[0], nil
}

// Answer notes several answers of a person.
func (s *Service) Answer(ctx context.Context, in AnswersInput) ([]*Consent, error) {
	if len(in.Answers) == 0 || len(in.Answers) > MaxAnswers {
		return nil, errs.New(errs.Invalid, "there are 1 to %d answers", MaxAnswers).At("answers")
	}
	asks := make([]ask, len(in.Answers))
	for i, a := range in.Answers {
		asks[i] = ask{a.Answer.state(), a.Purpose, a.Notice, a.Expression}
	}
	return s.tell(ctx, in.Subject, in.Context, asks...)
}

// AnswerOwn is Answer of the person who is calling.
func (s *Service) AnswerOwn(ctx context.Context, in OwnAnswersInput) ([]*Consent, error) {
	return s.Answer(ctx, AnswersInput{authz.FromContext(ctx).Subject, in.Answers, in.Context})
}

// ask is what is asked to be noted of a person.
type ask struct {
	to         State
	purpose    string
	notice     *string
	expression *Expression
}

// tell notes what is asked, all or nothing, and returns the records it was noted of.
func (s *Service) tell(ctx context.Context, subjectID string, c *Context, asks ...ask) ([]*Consent, error) {
	of, err := checkSubject(ctx, subjectID)
	if err != nil {
		return nil, err
	}
	at := s.at()
	steps, pairs, wants := make([]*step, len(asks)), make([]Pair, len(asks)), make([]Want, len(asks))
	restricted := true // whether who is restricted may
	for i, a := range asks {
		if steps[i], err = s.step(ctx, a, c, at); err == nil {
			pairs[i], err = s.pair(ctx, subjectID, a.purpose)
		}
		if err == nil && slices.Contains(pairs[:i], pairs[i]) {
			err = errs.New(errs.Invalid, "a purpose is answered twice").At("purpose")
		}
		if err != nil {
			return nil, place(err, i, asks)
		}
		wants[i] = steps[i].of(pairs[i])
		restricted = restricted && (a.to.Over() || a.to == Refused || a.to == Deferred)
	}
	if err := s.ofAge(ctx, subjectID, steps...); err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(ctx, audit.Evidence(of, subjectID)); err != nil {
		return nil, err
	}
	var told []*Consent
	object, err := s.Changes.CreateAll(ctx, func(ctx context.Context) (string, []change.Change, error) {
		guard := s.Subjects.Guard
		if restricted {
			guard = s.Subjects.GuardStored
		}
		if err := guard(ctx, subjectID); err != nil {
			return "", nil, err
		}
		tracks, err := s.Store.Tracks(ctx, wants...)
		if err != nil {
			return "", nil, err
		}
		told = make([]*Consent, len(asks))
		for i, t := range tracks {
			next := *steps[i] // this may run again
			if err = s.renewal(ctx, &next, t); err == nil {
				told[i], err = t.move(&next, of)
			}
			if err == nil && next.evidence.Proof != nil && len(t.Events) > 0 {
				err = s.attach(ctx, t, *next.evidence.Proof)
			}
			if err != nil {
				return "", nil, place(err, i, asks)
			}
		}
		changes, err := s.write(ctx, "", tracks...)
		return told[0].ID, changes, err
	})
	if err != nil {
		return nil, err
	}
	if err := s.signal(ctx, subjectID, steps...); err != nil {
		return nil, err
	}
	if told == nil || object != told[0].ID { // the answer to a replay
		return s.again(ctx, object, pairs)
	}
	return told, nil
}

// signal notes that the request of a person carried Global Privacy Control, unless
// they were asked which they mean, the answer or the signal.
func (s *Service) signal(ctx context.Context, subjectID string, steps ...*step) error {
	if s.Signals == nil || !slices.ContainsFunc(steps, func(st *step) bool { return st.evidence.GPC && !st.confirmed }) {
		return nil
	}
	return s.Signals.Signal(ctx, subjectID)
}

// again returns what a call was answered with that is made again: one record, or
// where the person stands now.
func (s *Service) again(ctx context.Context, object string, pairs []Pair) ([]*Consent, error) {
	if len(pairs) == 1 {
		c, err := s.Get(ctx, object)
		return []*Consent{c}, err
	}
	tracks, err := s.Store.Tracks(ctx, wanted(pairs)...)
	if err != nil {
		return nil, err
	}
	told := make([]*Consent, len(tracks))
	for i, t := range tracks {
		if told[i] = t.governing(); told[i] == nil {
			return nil, ErrNotFound
		}
	}
	return told, nil
}

// place names the answer at fault, if there are several.
func place(err error, i int, asks []ask) error {
	if len(asks) == 1 {
		return err
	}
	return errs.At(err, "answers."+itoa(i))
}

// attach makes a file the proof of a track's last event.
func (s *Service) attach(ctx context.Context, t *Track, fileID string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if id.Check(id.File, of, fileID) != nil {
		return errs.New(errs.NotFound, "no such file").At("proof")
	}
	last := t.Events[len(t.Events)-1]
	return errs.At(s.Files.Attach(ctx, last.ConsentID, []record.Attachment{{File: fileID, Subject: t.SubjectID}}), "proof")
}

// pair names a person and purpose, by its key or the id of a version.
func (s *Service) pair(ctx context.Context, subjectID, purposeRef string) (Pair, error) {
	key, err := s.key(ctx, purposeRef)
	return Pair{subjectID, key}, err
}

func (s *Service) key(ctx context.Context, purposeRef string) (string, error) {
	if !strings.HasPrefix(purposeRef, string(id.Purpose)+"_") {
		return purposeRef, nil
	}
	p, err := s.Purposes.ByID(ctx, purposeRef)
	if err != nil {
		return "", errs.At(err, "purpose")
	}
	return p.Key, nil
}

// renewal gives a step that confirms or ends a consent the purpose in the version
// that was consented to.
func (s *Service) renewal(ctx context.Context, st *step, t *Track) error {
	if st.to != Reconfirmed || t.Standing.ConsentID == "" {
		return nil
	}
	p, err := s.Purposes.ByID(ctx, t.Standing.Purpose.ID)
	if err != nil {
		return err
	}
	if !st.historic && !st.current.Covers(p.Version) {
		return ErrNotice // what was consented to isn't what is done now
	}
	st.purpose = p
	return st.explicit()
}

func (st *step) explicit() error {
	if (st.to == Given || st.to == Reconfirmed) && st.purpose.Explicit() && st.expression != Explicit {
		return ErrExplicit.At("expression")
	}
	return nil
}

// write stores tracks with what follows, and returns the changes. Batch is the
// import that they are of, if any.
func (s *Service) write(ctx context.Context, batch string, tracks ...*Track) ([]change.Change, error) {
	tracks = unique(tracks)
	digests, err := s.Store.Write(ctx, tracks...)
	if err != nil {
		return nil, err
	}
	var changes []change.Change
	var checks []*Check
	for _, t := range tracks {
		if err := s.restore(ctx, t); err != nil {
			return nil, err
		}
		for _, e := range t.Events {
			c := change.Change{
				Action: "consent." + strings.ToLower(string(e.State)), Object: e.ConsentID,
				Touches: []audit.Touch{{Subject: e.SubjectID, Object: e.ID, Version: 1, Digest: digests[0]}},
			}
			digests = digests[1:]
			if k := s.check(t, e, batch); k != nil {
				if checks = append(checks, k); batch == "" {
					c.Then = []job.Spec{{Type: JobCheck, Object: k.ID}}
				}
			}
			changes = append(changes, c)
		}
		if len(t.Events) == 0 && t.Changed {
			changes = append(changes, change.Change{
				Action: "consent.conflict", Object: t.Standing.ConsentID,
				Touches: []audit.Touch{{Subject: t.SubjectID, Object: t.Standing.ConsentID}},
			})
		}
	}
	if len(checks) == 0 {
		return changes, nil
	}
	if batch != "" {
		changes[len(changes)-1].Then = []job.Spec{{Type: JobCheck, Object: batch}}
	}
	return changes, s.Store.InsertChecks(ctx, checks...)
}

// unique returns the tracks, each once: several steps may be of one.
func unique(tracks []*Track) []*Track {
	var once []*Track
	known := make(map[*Track]bool, len(tracks))
	for _, t := range tracks {
		if !known[t] {
			known[t] = true
			once = append(once, t)
		}
	}
	return once
}

func checkSubject(ctx context.Context, subjectID string) (tenant.ID, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", err
	}
	if id.Check(id.Subject, of, subjectID) != nil {
		return "", subject.ErrNotFound
	}
	return of, nil
}

// mayBeChild reports whether the step is a yes, be it a new one or a renewal, to a
// purpose that is offered to children, and isn't their parent's.
func (st *step) mayBeChild() bool {
	if !st.to.Valid() || st.actor == Parent {
		return false
	}
	if st.purpose != nil {
		return st.purpose.OfferedToChildren
	}
	return st.current != nil && st.current.OfferedToChildren // of a renewal
}

// ofAge fails for a yes of a child that isn't its parent's, of a purpose that is
// offered to children: GDPR Art. 8.
func (s *Service) ofAge(ctx context.Context, subjectID string, steps ...*step) error {
	steps = slices.DeleteFunc(slices.Clone(steps), func(st *step) bool { return !st.mayBeChild() })
	if len(steps) == 0 {
		return nil
	}
	found, err := s.Subjects.GetMany(ctx, []string{subjectID})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return subject.ErrNotFound
	}
	for _, st := range steps {
		if err := s.oldEnough(ctx, st, found[0].BirthDate); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) oldEnough(ctx context.Context, st *step, birthDate personal.Text) error {
	own, err := s.Regions.Country(ctx)
	if err != nil {
		return err
	}
	day, country := civil.Of(st.at), cmp.Or(st.evidence.Country, own)
	// Nobody makes themselves older by naming another country.
	if authz.FromContext(ctx).Kind == authz.KindSubject && s.ages.at(own, day) > s.ages.at(country, day) {
		country = own
	}
	years, known := st.evidence.years(birthDate, st.at, day)
	if !known {
		return ErrAge
	}
	if limit := s.ages.at(country, day); years < limit {
		e := ErrParent.At("actor")
		e.Message = errs.New(errs.Precondition, "in %s a child below %d years doesn't give this consent alone: the holder of parental responsibility does (GDPR Art. 8(1))", country, limit).Message
		return e
	}
	return nil
}
