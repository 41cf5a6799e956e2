package imports_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/turns"
)

// held is a body whose end comes when it is released.
type held struct {
	begun   func()
	release <-chan struct{}
}

func (h held) Read([]byte) (int, error) {
	h.begun()
	<-h.release
	return 0, io.EOF
}

// So many imports of one caller run at once, and no more; the next one has its
// turn afterwards.
func TestImportsAtOnce(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	check := func(ctx context.Context, body io.Reader) error {
		_, err := e.imports.Run(ctx, imports.Input{
			Dataset: "Members", Origin: record.Provided, Format: imports.NDJSON, Mode: imports.Check, Body: body,
		})
		return err
	}
	const atOnce = 2
	var begun, ended sync.WaitGroup
	begun.Add(atOnce)
	release := make(chan struct{})
	for range atOnce {
		h := held{sync.OnceFunc(begun.Done), release}
		ended.Go(func() {
			if err := check(ctx, h); err != nil {
				t.Errorf("import: %v", err)
			}
		})
	}
	begun.Wait()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := check(short, strings.NewReader("")); !errors.Is(err, turns.ErrBusy) {
		t.Errorf("got %v, want LIMITED", err)
	}
	close(release)
	ended.Wait()
	if err := check(ctx, strings.NewReader("")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
