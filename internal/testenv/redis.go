package testenv

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

const (
	redisStart = 10 * time.Second
	redisTick  = 250 * time.Millisecond
)

// Redis starts an empty redis-server on a Unix socket and returns its URL.
// Where none is installed it is miniredis, in this process, and the test says so.
func Redis(tb testing.TB) string {
	tb.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Log("notice: redis-server is not installed; running on miniredis")
		return miniRedis(tb)
	}
	dir := socketDir(tb)
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), program, //nolint:gosec // found in the path, fixed arguments
		"--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", dir, "--save", "", "--appendonly", "no",
		"--maxmemory-policy", "noeviction", "--loglevel", "warning")
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start redis-server: %v", err)
	}
	tb.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			tb.Errorf("stop redis-server: %v", err)
		}
		if err := cmd.Wait(); err != nil {
			tb.Errorf("wait for redis-server: %v", err)
		}
	})
	waitForSocket(tb, socket)
	return (&url.URL{Scheme: "unix", Path: socket}).String()
}

func waitForSocket(tb testing.TB, socket string) {
	tb.Helper()
	var d net.Dialer
	ctx, cancel := context.WithTimeout(tb.Context(), redisStart)
	defer cancel()
	for {
		c, err := d.DialContext(ctx, "unix", socket)
		if err == nil {
			if err := c.Close(); err != nil {
				tb.Fatal(err)
			}
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("redis-server doesn't answer: %v", errors.Join(err, ctx.Err()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// miniRedis starts the stand-in, whose clock must be moved from outside.
func miniRedis(tb testing.TB) string {
	tb.Helper()
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		tb.Fatal(err)
	}
	tick, stop := time.NewTicker(redisTick), make(chan struct{})
	go func() {
		for {
			select {
			case <-tick.C:
				server.FastForward(redisTick)
			case <-stop:
				return
			}
		}
	}()
	tb.Cleanup(func() {
		tick.Stop()
		close(stop)
		server.Close()
	})
	return (&url.URL{Scheme: "redis", Host: server.Addr()}).String()
}
