package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/kms"
)

// adminKeysCmd has the tools of who answers for the keys.
type adminKeysCmd struct {
	Status keysStatusCmd `cmd:"" help:"Show the epochs of keys, how many keys each protects, and from when what was erased is irrecoverable."`
}

// keysStatusCmd shows how the keys are.
type keysStatusCmd struct{}

// Run prints a table, and fails when an epoch is late.
func (c *keysStatusCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return withPlatform(ctx, adapters, func(ctx context.Context, p *app.Platform, _ *slog.Logger) error {
		status, err := p.KeyStatus(ctx)
		if err != nil {
			return fmt.Errorf("read the status of keys: %w", err)
		}
		day := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "EPOCH\tSTATE\tBEGINS\tENDS\tDATA KEYS\tDESTROYED\tIRRECOVERABLE FROM\t")
		late := 0
		for _, e := range status.Epochs {
			destroyed, note := "planned "+day(e.DestroyAt), ""
			if e.DestroyedAt != nil {
				destroyed = day(*e.DestroyedAt)
			}
			if e.Late {
				late++
				note = "LATE"
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n",
				e.Epoch, e.State, day(e.Begins), day(e.Ends), e.DataKeys, destroyed, day(e.IrrecoverableAt), note)
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("print the status: %w", err)
		}
		for _, c := range status.Closes {
			fmt.Printf("closing of epoch %d: %s, %d steps done\n", c.Number(), c.State, len(c.Steps))
			if c.Trouble != nil {
				fmt.Printf("  %s\n", *c.Trouble)
			}
		}
		if late > 0 {
			return fmt.Errorf("%d epochs are late: close them (requestEpochClose)", late)
		}
		return nil
	})
}
