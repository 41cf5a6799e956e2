package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
)

// HeaderIdempotency is the header that a create is repeated safely by.
const HeaderIdempotency = "Idempotency-Key"

const maxIdempotencyKey = 255

// Sentinels of @idempotent.
var (
	ErrNoKey  = errs.New(errs.Invalid, "send header %s with a value of your own, such as a UUID, and the same one when you repeat the call", HeaderIdempotency)
	ErrBadKey = errs.New(errs.Invalid, "header %s takes 1 to %d printable ASCII characters", HeaderIdempotency, maxIdempotencyKey)
	ErrKeyed  = errs.New(errs.Invalid, "a mutation that needs header %s is the only one of its document: send the others by themselves", HeaderIdempotency)
)

// Recorder is what the edge needs of the audit log.
type Recorder interface {
	Record(ctx context.Context, ev audit.Event) error
	Flush(ctx context.Context, c *audit.Reads) error
}

// guard decides whether a field may be asked for.
type guard struct {
	authorizer Authorizer
	recorder   Recorder
}

// can implements @can.
func (g *guard) can(ctx context.Context, obj any, next graphql.Resolver, do authz.Permission) (any, error) {
	ctx, err := g.require(ctx, do, action(ctx), person(obj))
	if err != nil {
		return nil, err
	}
	return next(ctx)
}

// person returns the id of the person below whom an object's fields are, "" for
// what is below nobody.
func person(obj any) string {
	switch obj := obj.(type) {
	case *subject.Subject:
		return obj.ID
	case *record.Record:
		return obj.SubjectID
	case *portal.Self:
		return obj.SubjectID
	default:
		return ""
	}
}

// require returns ctx with the policy that lets the caller do it, below a person
// unless that is "". A refusal of
// somebody who signed in is in the audit log before it is answered.
func (g *guard) require(ctx context.Context, do authz.Permission, action, below string) (context.Context, error) {
	d := g.authorizer.CanBelow(ctx, do, below)
	if strings.HasPrefix(d.Rule, stepUp) {
		// The person may have signed in again since their session was looked at.
		anew, err := authn.Anew(ctx)
		if err != nil {
			return ctx, err
		}
		ctx, d = anew, g.authorizer.CanBelow(anew, do, below)
	}
	ctx = authz.WithPolicy(ctx, d.Policy)
	if d.Allowed {
		decisionsFrom(ctx).pass(d.Policy)
		return ctx, nil
	}
	if !authz.FromContext(ctx).SignedIn() {
		return ctx, authz.Refusal(ctx) // there is no tenant in whose log it could be
	}
	err := decisionsFrom(ctx).refuse(action, func() error {
		return g.recorder.Record(ctx, audit.Event{Action: action, Outcome: audit.Refused})
	})
	if err != nil {
		return ctx, fmt.Errorf("record refusal: %w", err)
	}
	return ctx, d.Err(do)
}

// stepUp begins the names of the rules that ask a person to sign in again.
const stepUp = "stepUp."

// action returns what the audit log calls the field: "createSubject" for one of
// a root type, "record.subject" for another.
func action(ctx context.Context) string {
	fc := graphql.GetFieldContext(ctx)
	switch fc.Object {
	case "Query", "Mutation", "Subscription":
		return fc.Field.Name
	default:
		return strings.ToLower(fc.Object[:1]) + fc.Object[1:] + "." + fc.Field.Name
	}
}

// decisions are those of one operation. A field that is refused for each object
// of a page is one entry in the audit log; the policies that let fields pass are
// named in the entry of the reads.
type decisions struct {
	mu      sync.Mutex
	refused map[string]func() error
	passed  []string
}

type decisionsKey struct{}

func withDecisions(ctx context.Context) context.Context {
	return context.WithValue(ctx, decisionsKey{}, &decisions{refused: make(map[string]func() error)})
}

// decisionsFrom returns those of the operation that ctx belongs to; every field
// is of one.
func decisionsFrom(ctx context.Context) *decisions {
	d, _ := ctx.Value(decisionsKey{}).(*decisions)
	return d
}

func (d *decisions) pass(policy string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.passed, policy) {
		d.passed = append(d.passed, policy)
	}
}

// policies returns the policies that let fields pass; d may be nil.
func (d *decisions) policies() string {
	if d == nil {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.passed, ",")
}

// refuse records an action's refusal the first time; all wait for the outcome.
func (d *decisions) refuse(action string, record func() error) error {
	d.mu.Lock()
	result, ok := d.refused[action]
	if !ok {
		result = sync.OnceValue(record)
		d.refused[action] = result
	}
	d.mu.Unlock()
	return result()
}

// idempotent implements @idempotent: it hands the key and the input, as it was
// sent, to the change that the field makes.
func idempotent(ctx context.Context, _ any, next graphql.Resolver) (any, error) {
	op, fc := graphql.GetOperationContext(ctx), graphql.GetFieldContext(ctx)
	keys := op.Headers.Values(HeaderIdempotency)
	switch {
	case len(keys) == 0:
		return nil, ErrNoKey
	case len(keys) > 1 || !validKey(keys[0]):
		return nil, ErrBadKey
	case len(rootFields(op)) > 1:
		return nil, ErrKeyed
	}
	// The raw arguments: personal data in the bound input refuses to be encoded.
	input, err := json.Marshal([]any{fc.Field.Name, fc.Field.ArgumentMap(op.Variables)})
	if err != nil {
		return nil, fmt.Errorf("encode input: %w", err)
	}
	return next(change.WithIdempotency(ctx, change.Idempotency{Key: keys[0], Input: input}))
}

func validKey(k string) bool {
	return k != "" && len(k) <= maxIdempotencyKey &&
		!strings.ContainsFunc(k, func(c rune) bool { return c < ' ' || c > '~' })
}

// rootFields returns the fields that the operation asks its root type for.
func rootFields(op *graphql.OperationContext) []graphql.CollectedField {
	root := string(op.Operation.Operation)
	fields := graphql.CollectFields(op, op.Operation.SelectionSet, []string{strings.ToUpper(root[:1]) + root[1:]})
	asked := make([]graphql.CollectedField, 0, len(fields))
	for _, f := range fields {
		if !strings.HasPrefix(f.Name, "__") {
			asked = append(asked, f)
		}
	}
	return asked
}
