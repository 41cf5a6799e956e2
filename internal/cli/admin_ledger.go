package cli

import (
	"context"
	"fmt"

	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/kms"
)

// adminLedgerCmd has the tools of the ledger.
type adminLedgerCmd struct {
	Verify ledgerVerifyCmd `cmd:"" help:"Read the whole ledger and check its chain and every signature. A start checks the last entries and what is new."`
}

type ledgerVerifyCmd struct{}

// Run says how many entries there are, or returns the first bad one.
func (c *ledgerVerifyCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return asAdmin(ctx, adapters, "admin:ledger", func(ctx context.Context, p *app.Platform) error {
		entries, err := p.VerifyLedger(ctx)
		if err != nil {
			return fmt.Errorf("verify the ledger: %w", err)
		}
		fmt.Printf("The ledger is whole: %d entries, each follows from the one before and is signed.\n", entries)
		return nil
	})
}
