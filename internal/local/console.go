package local

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// console tells the person at the terminal what happens. Its methods may be called at once.
type console struct {
	out io.Writer
	now func() time.Time
	mu  sync.Mutex
}

// say prints a line.
func (c *console) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.out, "  "+format+"\n", args...)
}

// timed runs a step and prints how long it took.
func (c *console) timed(what string, step func() error) error {
	began := c.now()
	if err := step(); err != nil {
		return err
	}
	c.say("%-28s %6.1f s", what, c.now().Sub(began).Seconds())
	return nil
}

// text prints a block as it is.
func (c *console) text(block string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.out, strings.TrimRight(block, "\n")+"\n")
}
