package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/embedded/mongod"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
)

// adminCmd has the tools of who runs the platform.
type adminCmd struct {
	Bootstrap bootstrapCmd   `cmd:"" help:"Make the provider tenant and invite its first operator, once."`
	Engine    adminEngineCmd `cmd:"" help:"Tools of the embedded document engine."`
	Sign      adminSignCmd   `cmd:"" help:"The keys that the platform signs with."`
	Audit     adminAuditCmd  `cmd:"" help:"The audit log as a whole."`
	Keys      adminKeysCmd   `cmd:"" help:"The keys of what is encrypted."`
	Ledger    adminLedgerCmd `cmd:"" help:"The ledger of what a restored backup must not undo."`
	Deadline  deadlineCmd    `cmd:"" help:"Compute by when a request must be answered, with the reasons; needs no server."`
}

type adminEngineCmd struct {
	Check engineCheckCmd `cmd:"" help:"Prove that the folder of a stopped engine is whole: every index entry has its document and the reverse."`
}

// engineCheckCmd reads all of an engine's folder.
type engineCheckCmd struct {
	Dir string `arg:"" type:"existingdir" help:"Folder of the data."`
}

// Run says what is checked and returns the first fault.
func (c *engineCheckCmd) Run(ctx context.Context) (err error) {
	engine, err := mongod.Open(mongod.Options{Dir: c.Dir, Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil)), Now: time.Now})
	if err != nil {
		return fmt.Errorf("open the document engine: %w", err)
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	if err := engine.Check(ctx); err != nil {
		return fmt.Errorf("check %s: %w", c.Dir, err)
	}
	fmt.Printf("%s is whole: documents, index entries and counts agree.\n", c.Dir)
	return nil
}

// bootstrapCmd makes the provider. A worker must run for the invitation to leave.
type bootstrapCmd struct {
	LegalName string `required:"" help:"Legal name of the provider."`
	Country   string `required:"" help:"Country of establishment, ISO 3166-1 alpha-2."`
	TimeZone  string `required:"" help:"IANA time zone, as in Europe/Copenhagen."`
	Language  string `default:"en" help:"Default language, BCP 47."`
	Operator  string `required:"" help:"E-mail address of the first operator, who gets a code to sign in with."`
}

// Run makes the provider, or says that there is one.
func (c *bootstrapCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return withPlatform(ctx, adapters, func(ctx context.Context, p *app.Platform, _ *slog.Logger) error {
		ctx = authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: "bootstrap"})
		return p.Record(ctx, func(ctx context.Context) error {
			t, err := p.Tenants.Bootstrap(ctx, tenancy.CreateInput{
				LegalName: c.LegalName, Country: c.Country, TimeZone: c.TimeZone, Languages: []string{c.Language},
				Owner: tenancy.OwnerInput{Email: personal.NewText(c.Operator)},
			})
			if err != nil {
				return fmt.Errorf("bootstrap: %w", err)
			}
			fmt.Printf("The provider is %s, %s.\n", t.LegalName, t.ID)
			return nil
		})
	})
}
