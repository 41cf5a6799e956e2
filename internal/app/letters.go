package app

import (
	"fmt"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
)

// openLetters makes the service that writes letters. Tenants must be there.
func (p *Platform) openLetters(changes *change.Runner) error {
	library, err := letter.NewLibrary()
	if err != nil {
		return fmt.Errorf("read letters: %w", err)
	}
	p.letters = letter.NewService(letter.Config{
		Library: library, Store: mongo.NewLetterStore(p.db), Tenants: p.Tenants, Changes: changes, Now: p.now,
	})
	return nil
}
