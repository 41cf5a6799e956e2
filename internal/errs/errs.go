// Package errs defines the one error type that crosses every boundary of Vogter
// and the closed set of kinds a caller of the API can meet.
//
// A message is written for the caller: it says what is wrong and what to do,
// and never holds a value that somebody typed, for it may be personal data.
package errs

import (
	"errors"
	"fmt"
)

// Kind is what a caller can act on. It is the errors[].extensions.code of the
// GraphQL API.
type Kind string

// The closed set of kinds.
const (
	// Invalid: the input breaks a rule that can be checked without looking anything up.
	Invalid Kind = "INVALID"
	// NotFound: the tenant has no such thing; foreign and unknown ids look the same.
	NotFound Kind = "NOT_FOUND"
	// Conflict: another version, a duplicate, or another input under the same idempotency key.
	Conflict Kind = "CONFLICT"
	// Precondition: the state of things does not allow the step, or a rule of law is not met.
	Precondition Kind = "PRECONDITION"
	// Forbidden: the caller is known and may not do this.
	Forbidden Kind = "FORBIDDEN"
	// Unauthenticated: the caller is not known.
	Unauthenticated Kind = "UNAUTHENTICATED"
	// Erased: the personal data existed and is gone for good.
	Erased Kind = "ERASED"
	// Limited: too many, too large or too often.
	Limited Kind = "LIMITED"
	// Unavailable: a part the answer needs is down; the same call may succeed later.
	Unavailable Kind = "UNAVAILABLE"
	// Internal: a fault of ours. Its message never reaches a caller.
	Internal Kind = "INTERNAL"
)

// Error is a failure with a kind and a message fit for the caller.
type Error struct {
	Kind    Kind
	Message string
	Field   string // the input field at fault, as a path: "fields.birthDate"
	Rule    string // the rule that was not met, where one has a name: "art28.agreement"

	origin *Error // what this is a copy of
	cause  error
}

// New returns an error of kind k. The format's arguments must not be personal data.
func New(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// At returns a copy that names the input field at fault.
func (e *Error) At(field string) *Error {
	c := e.copy()
	if c.Field != "" {
		field = field + "." + c.Field
	}
	c.Field = field
	return c
}

// Under returns a copy that names the rule that was not met.
func (e *Error) Under(rule string) *Error {
	c := e.copy()
	c.Rule = rule
	return c
}

// Because returns a copy that wraps cause, which is logged but never shown.
func (e *Error) Because(cause error) *Error {
	c := e.copy()
	c.cause = cause
	return c
}

func (e *Error) copy() *Error {
	c := *e
	c.origin = e
	return &c
}

// Error returns the message, and the cause where there is one.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is a sentinel that e was made from, at any remove.
func (e *Error) Is(target error) bool {
	for o := e.origin; o != nil; o = o.origin {
		if error(o) == target {
			return true
		}
	}
	return false
}

// KindOf returns the kind of err: the kind of the first *Error in its chain,
// else Internal. It returns "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// At puts a field in front of the path of an *Error; other errors, and nil, stay
// as they are.
func At(err error, field string) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.At(field)
	}
	return err
}
