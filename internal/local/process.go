package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyWithin  = 60 * time.Second // a part that takes longer to answer is taken as broken
	readyPoll    = 20 * time.Millisecond
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 10 * time.Second
	steadyAfter  = time.Minute // a part that lived this long starts again without a long wait
)

// spawner starts processes from one operating-system thread that lives as long
// as this process: the kernel sends a child its parent-death signal when the
// thread that made it ends, not when the process does.
type spawner struct{ work chan func() }

func newSpawner() *spawner {
	s := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: see close
		for f := range s.work {
			f()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	s.work <- func() { result <- cmd.Start() }
	return <-result
}

// close ends the thread, and with it whatever it started that still runs.
func (s *spawner) close() { close(s.work) }

// process is one child: what to start, how to tell that it is ready, and how
// long it may take to stop. It is started again when it ends by itself.
type process struct {
	name  string
	argv  []string
	env   []string
	grace time.Duration
	ready func(ctx context.Context) error // nil: ready as soon as it runs

	spawn *spawner
	log   *os.File
	say   func(format string, args ...any)
	now   func() time.Time

	mu  sync.Mutex
	pid int // 0 while it is not running

	cancel context.CancelFunc
	done   chan error
}

// start runs the child and returns once it is ready. The end of ctx doesn't end the child; stop does.
func (p *process) start(ctx context.Context) error {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	exited, err := p.launch(life)
	if err != nil {
		cancel()
		return err
	}
	if err := p.await(ctx, exited); err != nil {
		cancel()
		for range exited { // until it has ended
		}
		return fmt.Errorf("%w%s", err, p.tail())
	}
	p.cancel, p.done = cancel, make(chan error, 1)
	go func() { p.done <- p.keep(life, exited) }()
	return nil
}

// once runs another command with the child's log and waits for its end.
func (p *process) once(ctx context.Context, argv, env []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, p.log, p.log
	cmd.SysProcAttr = childAttributes()
	if err := p.spawn.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", argv[0], err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w%s", err, p.tail())
	}
	return nil
}

// stop ends the child: SIGTERM, and SIGKILL after its grace.
func (p *process) stop() error {
	p.cancel()
	return <-p.done
}

// current is the child's process id, 0 while it is not running.
func (p *process) current() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// launch starts the child once; the channel is closed when it has ended, after its error.
func (p *process) launch(life context.Context) (<-chan error, error) {
	cmd := exec.CommandContext(life, p.argv[0], p.argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, p.log, p.log
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = p.grace
	if err := p.spawn.start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	p.setPID(cmd.Process.Pid)
	exited := make(chan error, 1)
	go func() {
		defer close(exited)
		err := cmd.Wait()
		p.setPID(0)
		if life.Err() != nil {
			err = nil // how it ended on our signal is its own affair
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
				err = fmt.Errorf("%s did not stop within %s and was killed", p.name, p.grace)
			}
		} else if err == nil {
			err = errors.New("it ended by itself")
		}
		exited <- err
	}()
	return exited, nil
}

// await polls until the child is ready.
func (p *process) await(ctx context.Context, exited <-chan error) error {
	if p.ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case cause := <-exited:
			return fmt.Errorf("%s stopped before it was ready: %w", p.name, cause)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last answer: %w)", p.name, ctx.Err(), err)
		}
	}
}

// keep starts the child again, with growing pauses, until its life ends.
func (p *process) keep(life context.Context, exited <-chan error) error {
	pause := firstBackoff
	for {
		began := p.now()
		err := <-exited
		if life.Err() != nil {
			return err
		}
		if p.now().Sub(began) >= steadyAfter {
			pause = firstBackoff
		}
		p.say("%s stopped (%v); starting it again in %s, its log is %s", p.name, err, pause, p.log.Name())
		select {
		case <-life.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastBackoff)
		next, err := p.launch(life)
		if err != nil {
			if life.Err() != nil {
				return nil //nolint:nilerr // a stop between two starts is no fault
			}
			failed := make(chan error, 1)
			failed <- err
			next = failed
		}
		exited = next
	}
}

func (p *process) setPID(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
}

// tail is the end of the child's log, for the message that it didn't start.
func (p *process) tail() string {
	const size = 2048
	f, err := os.Open(p.log.Name())
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > size {
		if _, err := f.Seek(-size, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil || len(text) == 0 {
		return ""
	}
	return "; its log " + p.log.Name() + " ends:\n" + strings.TrimSpace(string(text))
}
