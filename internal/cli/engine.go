package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/vogter/vogter/internal/embedded/mongod"
)

// engineCmd runs the embedded document engine until it is told to stop.
type engineCmd struct {
	Dir    string `required:"" type:"path" help:"Folder of the data; one engine at a time opens it."`
	Listen string `required:"" placeholder:"unix:PATH|127.0.0.1:PORT" help:"Where to listen: a Unix socket or loopback."`
	Cache  int64  `placeholder:"MIB" help:"Memory for stored data that has been read, in MiB. Default: a sixteenth of the machine's, 32 to 256."`
}

// Run serves until ctx ends and prints the URI that clients connect with.
func (c *engineCmd) Run(ctx context.Context) (err error) {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	engine, err := mongod.Open(mongod.Options{Dir: c.Dir, Logger: log, Now: time.Now, Cache: c.Cache << 20})
	if err != nil {
		return fmt.Errorf("open the document engine: %w", err)
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	// Listening comes after opening: who can connect is served.
	l, err := mongod.Listen(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Println(mongod.URI(l))
	return engine.Serve(ctx, l)
}
