// Package personal has the types that hold personal data in memory. They
// redact themselves wherever Go would print, log or encode a value, and give
// up what they hold only to an explicit Reveal.
//
// What they hold lies in a closure, where no printer reaches: package fmt prints
// what a struct keeps in unexported fields without asking its methods, and
// follows pointers under some verbs. So they can't be compared with == nor with
// reflect.DeepEqual; Equal does it, also for go-cmp.
package personal

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/vogter/vogter/internal/errs"
)

// Redacted is what is printed and logged in place of a value.
const Redacted = "[personal]"

// ErrEncode reports an attempt to encode a value that was not revealed, say
// into JSON or BSON. It is always a fault of ours: what goes to a caller is
// revealed first, what goes to storage is sealed first.
var ErrEncode = errs.New(errs.Internal, "personal data must be revealed or sealed before it is encoded")

// Text is a piece of text that is personal data: a name, an address, an
// identifier. The zero Text is empty.
type Text struct {
	reveal func() string // nil when empty
}

// NewText returns the Text that holds s.
func NewText(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{reveal: func() string { return s }}
}

// Reveal returns the text itself.
func (t Text) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// IsZero reports whether t is empty.
func (t Text) IsZero() bool { return t.reveal == nil }

// Equal reports whether t and u hold the same text. It is no secret comparison:
// its time tells where they differ.
func (t Text) Equal(u Text) bool { return t.Reveal() == u.Reveal() }

// String redacts.
func (t Text) String() string { return Redacted }

// GoString redacts.
func (t Text) GoString() string { return Redacted }

// Format redacts under every verb and flag.
func (t Text) Format(f fmt.State, _ rune) { redact(f) }

// LogValue redacts.
func (t Text) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON refuses with ErrEncode.
func (t Text) MarshalJSON() ([]byte, error) { return nil, ErrEncode }

// MarshalText refuses with ErrEncode.
func (t Text) MarshalText() ([]byte, error) { return nil, ErrEncode }

// MarshalBinary refuses with ErrEncode.
func (t Text) MarshalBinary() ([]byte, error) { return nil, ErrEncode }

// MarshalBSONValue refuses with ErrEncode.
func (t Text) MarshalBSONValue() (typ byte, data []byte, err error) { return 0, nil, ErrEncode }

func redact(f fmt.State) { _, _ = io.WriteString(f, Redacted) }
