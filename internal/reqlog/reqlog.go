// Package reqlog collects what the log's one line about a call says of its
// inside: who called, what was asked for and how it ended. Only ids and names
// that are ours go in, never what a caller wrote.
package reqlog

import (
	"context"
	"strings"
	"sync"

	"github.com/vogter/vogter/internal/errs"
)

// Line is what is known of a call. It may be written to from several goroutines.
type Line struct {
	mu                         sync.Mutex
	principal, operation, code string
}

type lineKey struct{}

// NewContext returns ctx with an empty Line, and that.
func NewContext(ctx context.Context) (context.Context, *Line) {
	l := &Line{}
	return context.WithValue(ctx, lineKey{}, l), l
}

// Attrs returns the line as keys and values for a slog.Logger.
func (l *Line) Attrs() []any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []any{"principal", l.principal, "operation", l.operation, "code", l.code}
}

// Refused returns the code with which a call of an unknown caller was refused; ok
// is false for any other call.
func (l *Line) Refused() (code errs.Kind, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	code = errs.Kind(l.code)
	return code, l.principal == "" && (code == errs.Unauthenticated || code == errs.Forbidden)
}

// Principal notes the id of who is calling.
func Principal(ctx context.Context, id string) {
	note(ctx, func(l *Line) { l.principal = id })
}

// maxFields is how many root fields of an operation are named.
const maxFields = 10

// Operation notes the kind of a GraphQL operation and its root fields, which are
// the schema's: "mutation createSubject". Not its name or aliases, which the
// caller chose.
func Operation(ctx context.Context, kind string, fields []string) {
	if len(fields) > maxFields {
		fields = append(fields[:maxFields:maxFields], "…")
	}
	note(ctx, func(l *Line) { l.operation = kind + " " + strings.Join(fields, ",") })
}

// Code notes how a call failed. The first one counts.
func Code(ctx context.Context, k errs.Kind) {
	note(ctx, func(l *Line) {
		if l.code == "" {
			l.code = string(k)
		}
	})
}

func note(ctx context.Context, write func(*Line)) {
	l, ok := ctx.Value(lineKey{}).(*Line)
	if !ok {
		return // no call: a job, say
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	write(l)
}
