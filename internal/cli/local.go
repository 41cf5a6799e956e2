package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/vogter/vogter/internal/config"
	"github.com/vogter/vogter/internal/demo"
	"github.com/vogter/vogter/internal/local"
)

// localCmd runs the whole platform on this machine until it is told to stop.
type localCmd struct {
	Dir       string `type:"path" default:".local" env:"VOGTER_LOCAL_DIR" help:"Folder of data, keys and logs."`
	Source    string `type:"path" env:"VOGTER_LOCAL_SOURCE" help:"Root of the repository; found from the working directory."`
	Prepare   bool   `help:"Build and install what is missing, then stop."`
	AutoPorts bool   `env:"VOGTER_LOCAL_AUTO_PORTS" help:"Take free ports instead of the ones below."`

	PortAPI          int `name:"port-api" default:"8080" env:"VOGTER_LOCAL_PORT_API" help:"Port of the API."`
	PortMail         int `name:"port-mail" default:"8025" env:"VOGTER_LOCAL_PORT_MAIL" help:"Port of the page of captured mail."`
	PortSMTP         int `name:"port-smtp" default:"1025" env:"VOGTER_LOCAL_PORT_SMTP" help:"Port of the mail sink."`
	PortS3           int `name:"port-s3" default:"7070" env:"VOGTER_LOCAL_PORT_S3" help:"Port of the object storage."`
	PortKratosPublic int `default:"4433" env:"VOGTER_LOCAL_PORT_KRATOS_PUBLIC" help:"Port of the identity server."`
	PortKratosAdmin  int `default:"4434" env:"VOGTER_LOCAL_PORT_KRATOS_ADMIN" help:"Port of the identity server's administration."`
	PortHydraPublic  int `default:"4444" env:"VOGTER_LOCAL_PORT_HYDRA_PUBLIC" help:"Port of the authorization server."`
	PortHydraAdmin   int `default:"4445" env:"VOGTER_LOCAL_PORT_HYDRA_ADMIN" help:"Port of the authorization server's administration."`
}

// Run starts everything and returns once everything has stopped.
func (c *localCmd) Run(ctx context.Context, command *kong.Context) error {
	if err := checkLocal(command.Selected(), os.Environ()); err != nil {
		return err
	}
	if c.Prepare {
		return local.Prepare(ctx, c.Source, os.Stdout, time.Now)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	opts := local.Options{
		Dir:     c.Dir,
		Source:  c.Source,
		Environ: os.Environ(),
		Out:     os.Stdout,
		Seed:    demo.Seed(time.Now, log),
		Logger:  log,
		Now:     time.Now,
	}
	if !c.AutoPorts {
		opts.Ports = local.Ports{
			API: c.PortAPI, Mail: c.PortMail, SMTP: c.PortSMTP, S3: c.PortS3,
			KratosPublic: c.PortKratosPublic, KratosAdmin: c.PortKratosAdmin,
			HydraPublic: c.PortHydraPublic, HydraAdmin: c.PortHydraAdmin,
		}
	}
	return local.Run(ctx, opts)
}

// checkLocal refuses a variable that looks like one of the command's and isn't.
func checkLocal(command *kong.Node, environ []string) error {
	for _, setting := range environ {
		name, _, _ := strings.Cut(setting, "=")
		if strings.HasPrefix(name, config.LocalPrefix) &&
			!slices.ContainsFunc(command.Flags, func(f *kong.Flag) bool { return slices.Contains(f.Envs, name) }) {
			return fmt.Errorf("%s is not a setting of `vogter local`", name)
		}
	}
	return nil
}
