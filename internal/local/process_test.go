package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// shell is a child that runs a script, and what the supervisor said about it.
func shell(t *testing.T, script string) (*process, func() string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "part.log"))
	if err != nil {
		t.Fatal(err)
	}
	spawn := newSpawner()
	t.Cleanup(spawn.close)
	var mu sync.Mutex
	var said strings.Builder
	p := &process{
		name: "part", argv: []string{"/bin/sh", "-c", script}, env: []string{"PATH=/bin:/usr/bin"}, grace: time.Minute,
		spawn: spawn, log: log, now: time.Now,
		say: func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(&said, format+"\n", args...)
		},
	}
	return p, func() string {
		mu.Lock()
		defer mu.Unlock()
		return said.String()
	}
}

// logged is ready once the child's log contains text.
func logged(p *process, text string) func(context.Context) error {
	return func(context.Context) error {
		content, err := os.ReadFile(p.log.Name())
		if err == nil && !strings.Contains(string(content), text) {
			err = errors.New("not yet")
		}
		return err
	}
}

func TestProcessThatStopsInTime(t *testing.T) {
	p, said := shell(t, `trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done`)
	p.ready = logged(p, "up")
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.current() == 0 {
		t.Error("it has no process id")
	}
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := logged(p, "bye")(t.Context()); err != nil {
		t.Errorf("it was not asked to stop: %v", err)
	}
	if p.current() != 0 || said() != "" {
		t.Errorf("after the stop it has process id %d and %q was said", p.current(), said())
	}
}

func TestProcessThatIgnoresItsStop(t *testing.T) {
	p, _ := shell(t, `trap '' TERM; echo up; while :; do sleep 0.01; done`)
	p.ready, p.grace = logged(p, "up"), 50*time.Millisecond
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := p.current()
	if err := p.stop(); err == nil || !strings.Contains(err.Error(), "did not stop within 50ms and was killed") {
		t.Errorf("got %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("it still runs: %v", err)
	}
}

func TestProcessThatNeverGetsReady(t *testing.T) {
	t.Run("it ends", func(t *testing.T) {
		p, _ := shell(t, `echo the reason; exit 1`)
		p.ready = logged(p, "up")
		err := p.start(t.Context())
		if err == nil || !strings.Contains(err.Error(), "part stopped before it was ready: exit status 1") || !strings.Contains(err.Error(), "the reason") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the start is given up", func(t *testing.T) {
		p, _ := shell(t, `sleep 60`)
		p.ready = logged(p, "up")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := p.start(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if p.current() != 0 {
			t.Error("it still runs")
		}
	})
	t.Run("it does not exist", func(t *testing.T) {
		p, _ := shell(t, "")
		p.argv = []string{"/nonexistent"}
		if err := p.start(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
}

func TestProcessThatCrashes(t *testing.T) {
	p, said := shell(t, `echo up; exec sleep 0.05`)
	p.ready = logged(p, "up")
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); strings.Count(said(), "starting it again") < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it was not started again: %q", said())
		}
	}
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	for _, pause := range []string{"in 250ms", "in 500ms", "in 1s"} {
		if !strings.Contains(said(), pause) {
			t.Errorf("no pause %s in %q", pause, said())
		}
	}
}

func TestProcessLivesLongerThanTheContextOfItsStart(t *testing.T) {
	p, said := shell(t, `echo up; exec sleep 60`)
	p.ready = logged(p, "up")
	ctx, cancel := context.WithCancel(t.Context())
	if err := p.start(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	time.Sleep(50 * time.Millisecond)
	if p.current() == 0 || said() != "" {
		t.Errorf("it ended: %q", said())
	}
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}
