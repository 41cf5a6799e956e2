// Package webhook tells the tenant's own systems of changes, over HTTPS.
//
// Each webhook follows the change feed by a cursor of its own. Dispatch moves the
// cursor, and writes the deliveries of the changes it passed with their jobs, in
// one transaction: a delivery is made once for each change. Deliver sends it, at
// least once, under an id that stays the same, signed as the Standard Webhooks
// specification has it. What is sent holds opaque ids and names of fields only;
// nothing secret by law is told.
package webhook

import (
	"context"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

// The types of jobs.
const (
	JobVerify  = "webhook:verify"  // see Service.VerifyEndpoint
	JobDeliver = "webhook:deliver" // see Service.Deliver
)

// The limits.
const (
	MaxWebhooks = 50 // of a tenant

	maxURL         = 2000
	maxEvents      = 50
	maxDescription = 200

	// Overlap is how long a secret goes on signing after its successor came.
	Overlap = 24 * time.Hour
	// maxSecrets bounds those that sign at once.
	maxSecrets = 5
	// Keep is how long a delivery can be seen and sent again.
	Keep = 30 * 24 * time.Hour
	// Expiry ends a delivery that its webhook's state held up.
	Expiry = 7 * 24 * time.Hour
	// DisableAfter is how long an endpoint may take nothing.
	DisableAfter = 72 * time.Hour
)

// State is where a webhook stands.
type State string

// The states. Only an ACTIVE webhook is told of changes; the others keep their
// place in the feed.
const (
	Unverified State = "UNVERIFIED"
	Active     State = "ACTIVE"
	Disabled   State = "DISABLED" // its endpoint took nothing for long; verify it again
)

// Webhook is an endpoint of the tenant's, and what it wants to hear of.
type Webhook struct {
	ID           string
	URL          string
	Events       []string // actions, or prefixes as in "record.*"
	Description  *string
	State        State
	Version      int64
	CreatedAt    time.Time
	UpdatedAt    time.Time
	VerifiedAt   *time.Time // the endpoint proved itself, at its present URL
	FailingSince *time.Time // no delivery succeeded since then

	Cursor int64 // place in the feed up to which deliveries were made; unplaced before the first verification
}

// wants reports whether the webhook asked for an event.
func (w *Webhook) wants(action string) bool {
	return slices.ContainsFunc(w.Events, func(e string) bool {
		prefix, all := strings.CutSuffix(e, "*")
		return e == action || all && strings.HasPrefix(action, prefix)
	})
}

// Secret signs deliveries.
type Secret struct {
	Value     personal.Text // "whsec_…"
	ExpiresAt *time.Time    // nil for the newest
}

// DeliveryState is where a delivery stands.
type DeliveryState string

// The states of a delivery.
const (
	Pending   DeliveryState = "PENDING"
	Succeeded DeliveryState = "SUCCEEDED"
	Failed    DeliveryState = "FAILED" // given up; redeliver it
)

// Problem is why a try failed.
type Problem string

// The problems.
const (
	ProblemStatus   Problem = "STATUS"   // an answer other than 2xx
	ProblemRedirect Problem = "REDIRECT" // redirects are not followed
	ProblemTimeout  Problem = "TIMEOUT"
	ProblemTLS      Problem = "TLS"     // the certificate isn't valid for the host
	ProblemAddress  Problem = "ADDRESS" // the host is in a network that isn't allowed
	ProblemConnect  Problem = "CONNECT" // no connection, or one that broke
	ProblemEcho     Problem = "ECHO"    // of a verification: the challenge wasn't in the answer
	ProblemExpired  Problem = "EXPIRED" // its webhook wasn't active for too long
	ProblemDeleted  Problem = "DELETED" // its webhook is gone
)

// Delivery is one change told to one webhook.
type Delivery struct {
	ID            string // the webhook-id of every try
	WebhookID     string
	Event         string
	Change        string // id of the audit entry: the feed's cursor; "" of what was sent by Queue
	JobID         string
	State         DeliveryState
	Attempts      int        // tries since it was made or asked for again
	Status        *int       // of the last answer
	Problem       *Problem   // of the last try
	NextAttemptAt *time.Time // while PENDING
	EndedAt       *time.Time
	CreatedAt     time.Time

	Body string // what is sent, the same each time
	// Acknowledged is whether the endpoint took it with the JSON {"acknowledged": true},
	// which says that what it tells of has been done there, too.
	Acknowledged bool
}

// Inputs.
type (
	// CreateInput asks for a webhook.
	CreateInput struct {
		URL         string
		Events      []string
		Description *string
	}
	// UpdateInput asks for changes; what is nil stays.
	UpdateInput struct {
		ID              string
		ExpectedVersion int64
		URL             *string
		Events          []string
		Description     *string
	}
	// Input names a webhook.
	Input struct{ ID string }
	// RedeliverInput names a delivery.
	RedeliverInput struct{ Delivery string }
)

// Connection is a page of deliveries, the newest first.
type Connection = page.Connection[*Delivery]

// Edge is a delivery in a page of them.
type Edge = page.Edge[*Delivery]

// Sentinels.
var (
	ErrNotFound   = errs.New(errs.NotFound, "no such webhook")
	ErrNoDelivery = errs.New(errs.NotFound, "no such delivery")
	ErrTooMany    = errs.New(errs.Limited, "a tenant has at most %d webhooks", MaxWebhooks)
	ErrSecrets    = errs.New(errs.Limited, "%d secrets are signing already: wait until one has expired", maxSecrets)
	ErrInactive   = errs.New(errs.Precondition, "the webhook isn't active: verify its endpoint first").Under("webhook.active")
	ErrPending    = errs.New(errs.Precondition, "the delivery is still being tried")
	ErrURL        = errs.New(errs.Invalid, "a webhook has an absolute https URL of at most %d characters, without user and fragment", maxURL).At("url")
	ErrAddress    = errs.New(errs.Invalid, "this address is in a network that webhooks don't reach").At("url").Under("webhook.network")
	ErrEvents     = errs.New(errs.Invalid, "events are 1 to %d actions as in \"record.update\", or prefixes as in \"record.*\" or \"*\"", maxEvents).At("events")

	// ErrMoved reports a webhook that was changed under one who works on it.
	ErrMoved = errs.New(errs.Conflict, "the webhook was changed meanwhile")

	errDescription = errs.New(errs.Invalid, "a description is a text of at most %d characters on one line", maxDescription).At("description")
)

// unplaced is the cursor of a webhook that was never verified.
const unplaced = feed.Start - 1

// check reports the first thing that is wrong with w.
func (w *Webhook) check(private bool) error {
	if err := CheckURL(w.URL, private); err != nil {
		return err
	}
	pattern := regexp.MustCompile(`^(\*|[a-z][A-Za-z]*\.(\*|[a-z][A-Za-z]*))$`)
	if len(w.Events) == 0 || len(w.Events) > maxEvents ||
		slices.ContainsFunc(w.Events, func(e string) bool { return len(e) > 100 || !pattern.MatchString(e) }) {
		return ErrEvents
	}
	if d := w.Description; d != nil && (utf8.RuneCountInString(*d) > maxDescription || !utf8.ValidString(*d) ||
		strings.ContainsFunc(*d, unicode.IsControl)) {
		return errDescription
	}
	return nil
}

// CheckURL fails with ErrURL or ErrAddress for an address that isn't called. With
// private set, those of private networks are, and http.
func CheckURL(to string, private bool) error {
	u, err := url.Parse(to)
	switch {
	case err != nil, len(to) > maxURL, u.Hostname() == "", u.User != nil, u.Fragment != "",
		u.Scheme != "https" && (u.Scheme != "http" || !private):
		return ErrURL
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !reachable(ip, private) {
		return ErrAddress // a name is looked up, and checked, when it is called
	}
	return nil
}

func check(ctx context.Context, t id.Type, s string, missing error) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if id.Check(t, of, s) != nil {
		return missing
	}
	return nil
}

// Ref names a webhook of a tenant.
type Ref struct {
	Tenant tenant.ID
	ID     string
}

// Store keeps webhooks and deliveries, for the tenant in ctx and within a
// transaction that it carries. Secrets are sealed under the tenant's
// credentials key, which the caller has made sure of.
type Store interface {
	// Get fails with ErrNotFound.
	Get(ctx context.Context, webhookID string) (*Webhook, error)
	// List returns all, the newest first.
	List(ctx context.Context, limit int) ([]*Webhook, error)
	Insert(ctx context.Context, w *Webhook, secret Secret) error
	// Update writes all but cursor and FailingSince at the version before, or fails
	// with change.ErrVersion.
	Update(ctx context.Context, w *Webhook) error
	// Delete fails with ErrNotFound.
	Delete(ctx context.Context, webhookID string) error
	// Secrets returns them, the newest first.
	Secrets(ctx context.Context, webhookID string) ([]Secret, error)
	// Rotate replaces the secrets at the version before w's, or fails with
	// change.ErrVersion.
	Rotate(ctx context.Context, w *Webhook, secrets []Secret) error
	// Failing notes since when deliveries fail, nil for no longer. Of one that is
	// failing already the time stays.
	Failing(ctx context.Context, webhookID string, since *time.Time) error
	// Advance moves the cursor of an ACTIVE webhook, or fails with ErrMoved.
	Advance(ctx context.Context, webhookID string, from, to int64) error
	// Active returns ACTIVE webhooks by id after one. It spans tenants.
	Active(ctx context.Context, after string, limit int) ([]Ref, error)

	InsertDeliveries(ctx context.Context, ds []*Delivery) error
	// GetDelivery fails with ErrNoDelivery.
	GetDelivery(ctx context.Context, deliveryID string) (*Delivery, error)
	// Deliveries returns those of a webhook, in any state when it is nil, the newest first.
	Deliveries(ctx context.Context, webhookID string, state *DeliveryState, after *page.Position, limit int) ([]*Delivery, error)
	// SaveDelivery writes job, state, tries and times of a delivery that is in a
	// state, or fails with ErrNoDelivery.
	SaveDelivery(ctx context.Context, d *Delivery, from DeliveryState) error
	// Pending counts PENDING deliveries of a webhook, up to a limit.
	Pending(ctx context.Context, webhookID string, limit int) (int, error)
	// DeleteDeliveries deletes those made before a time that aren't PENDING. It
	// spans tenants.
	DeleteDeliveries(ctx context.Context, before time.Time) error
}

// Feed is the change feed of the tenant in ctx (package feed).
type Feed interface {
	Open(ctx context.Context, after int64, limit int) ([]*feed.Change, error)
	// Ends returns where the feeds of tenants end, as numbers that grow when one is
	// added to. It spans tenants.
	Ends(ctx context.Context, of []tenant.ID) (map[tenant.ID]int64, error)
	Head(ctx context.Context) (int64, error)
}
