package verify

import (
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/sign"
)

// register checks a register of processing as JSON.
func register(content []byte, keys *sign.KeySet) (string, []string, sign.Purpose, []byte, error) {
	notes, note, err := processing.Check(keys, content)
	return "REGISTER", notes, sign.Evidence, note, err
}
