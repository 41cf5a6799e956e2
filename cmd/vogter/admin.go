package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
)

// adminCmd has the tools of who runs the platform.
type adminCmd struct {
	Bootstrap bootstrapCmd `cmd:"" help:"Make the provider tenant and invite its first operator, once."`
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
func (c *bootstrapCmd) Run(ctx context.Context) error {
	return withPlatform(ctx, func(ctx context.Context, p *app.Platform, _ *slog.Logger) error {
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
