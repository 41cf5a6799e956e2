// Package portal lets the persons whose data is kept sign in, and shows them
// what a tenant keeps on them.
//
// A person names an identifier. The code goes to an e-mail address that the
// tenant has on file, never to one that was typed, and only when exactly one
// person is meant. Nobody learns from an answer, nor from its time, whether a
// person is known: what a call does is the same for all, and the looking up is a
// job's. An address that staff put on file is used after a week (Settled), so
// that nobody who can change an address can step into a person's place unseen.
//
// A session lasts SessionLife, shows the one person to one tenant's data, and is
// over as soon as the person's data is being erased. One whose processing is
// restricted may sign in: GDPR Art. 18 doesn't end Art. 15.
package portal

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
)

// Prefix begins every token of a session, so that a leaked one is recognised.
const Prefix = "vgs_"

const (
	// CodeLife is how long a code can be used.
	CodeLife = 10 * time.Minute
	// MaxAttempts is how many codes may be tried on one challenge.
	MaxAttempts = 5
	// SessionLife is how long a session lasts, used or not.
	SessionLife = 30 * time.Minute
	// MaxMails is how many codes a person is sent in MailsWithin from networks that
	// they have never signed in from. From one that they have, theirs still come:
	// whoever asks for codes in the name of somebody else can't keep them out.
	MaxMails = 10
	// MailsWithin is the time of MaxMails.
	MailsWithin = time.Hour
	// Settled is how long an e-mail address that staff have changed gets no code.
	Settled = 7 * 24 * time.Hour
	// Keep is how long it is remembered, by keyed hash, that a person has signed in
	// from a network.
	Keep = 30 * 24 * time.Hour
	// KeepChallenge is how long a challenge is kept past its end.
	KeepChallenge = 24 * time.Hour

	codeDigits  = 8
	secretBytes = 20 // 160 bits of chance
	// maxMatches bounds how many persons with one address are told apart.
	maxMatches = 50
)

// JobCode is the type of the job that sends a code (see Deliver).
const JobCode = "portal:code"

// jobAttempts fit into the life of a code.
const jobAttempts = 5

// Sentinels.
var (
	// ErrCode is the answer to every code that isn't right: wrong, old, used,
	// replaced by a later one, of an unknown challenge or an unknown person.
	ErrCode = errs.New(errs.Unauthenticated, "this code isn't right, or no longer: ask for a new one")
	// ErrSession says nothing of why: unknown, altered, ended, or the person's data is erased.
	ErrSession = errs.New(errs.Unauthenticated, "this session is over or unknown: sign in again")
	// ErrNotSubject reports a caller who isn't a person that signed in here.
	ErrNotSubject = errs.New(errs.Forbidden, "only a person who signed in to see their own data has any here")
	ErrIdentifier = errs.New(errs.Invalid, "give exactly one of email, phone and reference; with a reference goes the birthDate")
	ErrLanguage   = errs.New(errs.Invalid, "a language is a BCP 47 tag, as in da or en").At("language")
	ErrChallenge  = errs.New(errs.NotFound, "no such challenge")
)

// State is where a challenge stands.
type State string

// The states of a challenge. Nobody outside sees them.
const (
	Asked    State = "ASKED"    // nothing has been looked up yet
	Sent     State = "SENT"     // its code is on the way to a person
	Unsent   State = "UNSENT"   // there is nobody to send it to
	Used     State = "USED"     // somebody signed in by it
	Replaced State = "REPLACED" // the person was sent a later one
)

// Challenge is one code asked for, whether or not there is anybody to have it.
type Challenge struct {
	ID        string
	State     State
	By        *lookup.Key   // what was typed; nil once it was looked up
	BirthDate personal.Text // that was typed with it
	Language  string
	Network   string // keyed hash of where it was asked for
	Subject   string // whose it is, of one that was Sent
	Code      [sha256.Size]byte
	Attempts  int
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Method is how a person has signed in.
type Method string

// The methods.
const (
	ByCode Method = "CODE"
	ByEID  Method = "EID" // a national eID, by the identity server
)

// Session is a person's sign-in.
type Session struct {
	ID        string
	Subject   string
	Method    Method
	Hash      [sha256.Size]byte // of the token, keyed
	Network   string            // keyed hash of where it began
	CreatedAt time.Time
	ExpiresAt time.Time
	EndedAt   *time.Time
}

// CodeInput asks for a code.
type CodeInput struct {
	TenantSlug  string
	Email       *personal.Text
	Phone       *personal.Text
	PhoneRegion *string
	Reference   *personal.Text
	BirthDate   *personal.Text
	Language    *string
}

// Receipt is the answer to everybody who asked for a code.
type Receipt struct {
	Challenge string
	ExpiresAt time.Time
}

// SignInInput is a code with the challenge that it answers.
type SignInInput struct {
	Challenge string
	Code      string
}

// SignOutInput asks for the end of the calling session.
type SignOutInput struct {
	Everywhere bool // of all of the person's with the tenant
}

// IdentityInput asks for a session by one at the identity server.
type IdentityInput struct {
	TenantSlug string
}

// Grant is a new session with its token, which is shown once.
type Grant struct {
	Token     string
	ExpiresAt time.Time
}

// Self is what the person who is calling sees of themselves.
type Self struct {
	SubjectID string
	Method    Method
	ExpiresAt time.Time
}

// Store keeps challenges and sessions, for the tenant in ctx.
type Store interface {
	InsertChallenge(ctx context.Context, c *Challenge) error
	// Challenge returns one, or ErrChallenge.
	Challenge(ctx context.Context, challengeID string) (*Challenge, error)
	// Attempt counts an attempt at a challenge that hasn't expired, and returns it
	// as it is then, without By; or ErrChallenge.
	Attempt(ctx context.Context, challengeID string, now time.Time) (*Challenge, error)
	// Send makes an Asked challenge Sent, with Subject and Code, and those before it
	// of the same person Replaced; Drop makes it Unsent. By and BirthDate are gone
	// then. Of a challenge that isn't Asked they change nothing.
	Send(ctx context.Context, c *Challenge) error
	Drop(ctx context.Context, challengeID string) error
	// Use makes a Sent challenge Used, or fails with ErrCode.
	Use(ctx context.Context, challengeID string) error
	// Mails counts the codes that were sent to a person since a time, up to limit.
	Mails(ctx context.Context, subjectID string, since time.Time, limit int) (int, error)
	// KnownNetwork reports whether a person has signed in from a network since a time.
	KnownNetwork(ctx context.Context, subjectID, network string, since time.Time) (bool, error)
	// Readdressed reports whether staff have changed a person's e-mail addresses since a time.
	Readdressed(ctx context.Context, subjectID string, since time.Time) (bool, error)

	InsertSession(ctx context.Context, s *Session) error
	// Session returns one, or ErrSession.
	Session(ctx context.Context, sessionID string) (*Session, error)
	// EndSessions ends one session of a person, or all when it is "", and returns
	// how many weren't over.
	EndSessions(ctx context.Context, subjectID, sessionID string, at time.Time) (int, error)
	// State returns that of a subject, or subject.ErrNotFound.
	State(ctx context.Context, subjectID string) (subject.State, error)

	// Sweep deletes challenges that expired before one time and sessions that began
	// before another. It spans tenants.
	Sweep(ctx context.Context, expired, began time.Time) error
}
