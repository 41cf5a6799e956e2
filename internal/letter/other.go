package letter

import (
	"time"

	"github.com/vogter/vogter/internal/paper"
)

// Parse reads a file as the forms are written: a head that declares fields, and
// Markdown. It is for texts of other packages that no letter is made of. Whether the
// Markdown goes with the fields Document says.
func Parse(file string) (*Form, error) { return parse(file) }

// Document returns what f.Source says with values in place of its placeholders. It
// fails with ErrSource or paper.ErrMarkdown when the source doesn't go with the
// fields, and with ErrField or ErrMissing when the values don't.
func (f *Form) Document(fields Fields, zone *time.Location) (paper.Document, error) {
	other := *f
	if err := other.read(); err != nil {
		return paper.Document{}, err
	}
	return other.fill(fields, zone)
}
