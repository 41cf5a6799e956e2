// Command vogter is the whole platform: the API, the worker, the tools of
// operators and customers, and everything at once on one machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line, one field per subcommand.
type cli struct {
	Serve  serveCmd  `cmd:"" help:"Answer the API."`
	Worker workerCmd `cmd:"" help:"Do the jobs."`
	Admin  adminCmd  `cmd:"" help:"Tools of who runs the platform."`
	Local  localCmd  `cmd:"" help:"Run the whole platform on this machine."`
	Engine engineCmd `cmd:"" help:"Run the embedded document engine."`
	Import importCmd `cmd:"" help:"Import a file of persons and records through the API."`
	Verify verifyCmd `cmd:"" help:"Check a package, offline, and name the first altered, missing or unlisted file."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "vogter: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var c cli
	parser, err := kong.New(&c,
		kong.Name("vogter"),
		kong.Description("Vogter keeps personal data encrypted, consented and erasable for many tenants."),
		kong.BindTo(ctx, (*context.Context)(nil)),
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
