package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/epoch"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/rotation"
)

// adminKeysCmd has the tools of who answers for the keys.
type adminKeysCmd struct {
	Status  keysStatusCmd  `cmd:"" help:"Show the epochs of keys, how many keys each protects, and from when what was erased is irrecoverable."`
	Inspect keysInspectCmd `cmd:"" help:"Try to open a data key, or all of them, and show those that don't open. Nothing is changed."`
}

// keysStatusCmd shows how the keys are.
type keysStatusCmd struct{}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Run prints tables, and fails when an epoch is late.
func (c *keysStatusCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return withPlatform(ctx, adapters, func(ctx context.Context, p *app.Platform, _ *slog.Logger) error {
		status, rotations, err := p.KeyStatus(ctx)
		if err != nil {
			return fmt.Errorf("read the status of keys: %w", err)
		}
		late, err := printEpochs(os.Stdout, status)
		if err != nil {
			return fmt.Errorf("print the status: %w", err)
		}
		printRest(os.Stdout, status, rotations)
		if late > 0 {
			return fmt.Errorf("%d epochs are late: close them (requestEpochClose)", late)
		}
		return nil
	})
}

func printEpochs(out io.Writer, status *epoch.Status) (late int, err error) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EPOCH\tSTATE\tBEGINS\tENDS\tDATA KEYS\tDESTROYED\tIRRECOVERABLE FROM\t")
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
	return late, w.Flush()
}

func printRest(out io.Writer, status *epoch.Status, rotations []*rotation.Rotation) {
	for _, g := range status.Generations {
		fmt.Fprintf(out, "generation %d seals for %d data keys\n", g.Number, g.Keys)
	}
	for _, c := range status.Closes {
		fmt.Fprintf(out, "closing of epoch %d: %s, %d steps done\n", c.Number(), c.State, len(c.Steps))
		if c.Trouble != nil {
			fmt.Fprintf(out, "  %s\n", *c.Trouble)
		}
	}
	for _, r := range rotations {
		whose := string(r.Tenant)
		if r.Subject != nil {
			whose += ", " + *r.Subject
		}
		fmt.Fprintf(out, "rotation of %s: %s, %d keys renewed, %d values sealed anew\n", whose, r.State, r.Keys, r.Values)
		if r.LeftValues+r.LeftObjects > 0 {
			fmt.Fprintf(out, "  left: %d values, of which %d don't open, and %d files and packages\n", r.LeftValues, r.Unreadable, r.LeftObjects)
		}
		if r.DestroyAt != nil {
			fmt.Fprintf(out, "  older generations are destroyed on %s\n", day(*r.DestroyAt))
		}
	}
	for _, q := range status.Quarantines {
		fmt.Fprintf(out, "key %s: quarantine %s since %s: %s\n", q.Key, q.State, day(q.RequestedAt), q.Reason)
	}
	if status.LookupsPending > 0 {
		fmt.Fprintf(out, "lookups of %d tenants are being made anew\n", status.LookupsPending)
	}
}

// keysInspectCmd tries to open data keys.
type keysInspectCmd struct {
	Key string `arg:"" optional:"" help:"Id of a key: tenant/person/unit. All keys when left out."`
}

// errFaulty ends the command when a key doesn't open.
var errFaulty = errors.New("a key doesn't open: restore it from a backup of the key store, or have it set aside (requestKeyQuarantine)")

// Run prints what was found, and fails when a key doesn't open.
func (c *keysInspectCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return withPlatform(ctx, adapters, func(ctx context.Context, p *app.Platform, _ *slog.Logger) error {
		faulty := 0
		show := func(i *epoch.Inspection) error {
			printKey(os.Stdout, i)
			if i.Faulty() {
				faulty++
			}
			return nil
		}
		if c.Key != "" {
			i, err := p.InspectKey(ctx, c.Key)
			if err != nil {
				return fmt.Errorf("inspect key %s: %w", c.Key, err)
			}
			_ = show(i) // never fails
		} else {
			n, err := p.InspectKeys(ctx, show)
			if err != nil {
				return fmt.Errorf("inspect keys: %w", err)
			}
			fmt.Printf("%d data keys, %d of them don't open.\n", n, faulty)
		}
		if faulty > 0 {
			return errFaulty
		}
		return nil
	})
}

func printKey(out io.Writer, i *epoch.Inspection) {
	fmt.Fprintf(out, "key %s, made %s", i.Key, day(i.CreatedAt))
	if i.DestroyedAt != nil {
		fmt.Fprintf(out, ", destroyed %s", day(*i.DestroyedAt))
	}
	fmt.Fprintln(out)
	for _, g := range i.Generations {
		var notes []string
		if g.Current {
			notes = append(notes, "current")
		}
		switch {
		case g.Fault != nil:
			notes = append(notes, "doesn't open: "+g.Fault.Error())
		case g.Destroyed:
			notes = append(notes, "destroyed")
		case g.Quarantined:
			notes = append(notes, "set aside")
		default:
			notes = append(notes, "opens")
		}
		fmt.Fprintf(out, "  generation %d, key id %x, epoch %d: %s\n", g.Number, g.ID, g.Epoch, strings.Join(notes, ", "))
	}
}
