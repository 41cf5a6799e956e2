// Package cli is the command line of vogter, one file per subcommand. Commands
// for the services of one cloud run the same with that cloud's adapters.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/vogter/vogter/internal/kms"
)

// commands is the command line, one field per subcommand.
type commands struct {
	Serve  serveCmd  `cmd:"" help:"Answer the API."`
	Worker workerCmd `cmd:"" help:"Do the jobs."`
	Admin  adminCmd  `cmd:"" help:"Tools of who runs the platform."`
	Local  localCmd  `cmd:"" help:"Run the whole platform on this machine."`
	Engine engineCmd `cmd:"" help:"Run the embedded document engine."`
	Import importCmd `cmd:"" help:"Import a file of persons and records through the API."`
	Verify verifyCmd `cmd:"" help:"Check a package, offline, and name the first altered, missing or unlisted file."`
}

// Main runs the command that the program's arguments name, with the adapters of
// key management that the program has, and ends the program when that fails.
func Main(adapters kms.Adapters) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:], adapters)
	if err != nil {
		fmt.Fprintf(os.Stderr, "vogter: %v\n", err)
		os.Exit(exitCode(err))
	}
}

// exitCode is 2 for what was typed wrong, and 1 for all else.
func exitCode(err error) int {
	var input *inputError
	var parse *kong.ParseError
	if errors.As(err, &input) || errors.As(err, &parse) {
		return 2
	}
	return 1
}

func run(ctx context.Context, args []string, adapters kms.Adapters) error {
	var c commands
	parser, err := kong.New(&c,
		kong.Name("vogter"),
		kong.Description("Vogter keeps personal data encrypted, consented and erasable for many tenants."),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(adapters),
	)
	if err != nil {
		return fmt.Errorf("read the command line: %w", err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("read the command line: %w", err)
	}
	return command.Run()
}
