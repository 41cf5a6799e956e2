package errs_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/vogter/vogter/internal/errs"
)

func TestSentinelsSurviveDecoration(t *testing.T) {
	notFound := errs.New(errs.NotFound, "no such subject")
	other := errs.New(errs.NotFound, "no such subject")
	err := fmt.Errorf("find subject: %w", notFound.At("subject").Under("tenant").Because(io.EOF))
	if !errors.Is(err, notFound) {
		t.Error("decorated error is not its sentinel")
	}
	if errors.Is(err, other) {
		t.Error("error equals a sentinel with the same words")
	}
	if named := notFound.Under("rule"); !errors.Is(named.At("field").Because(io.EOF), named) || errors.Is(notFound, named) {
		t.Error("decorated error is not its sentinel, which was decorated itself")
	}
	if !errors.Is(err, io.EOF) {
		t.Error("cause is lost")
	}
	if notFound.Field != "" {
		t.Error("decoration changed the sentinel")
	}
}

func TestFieldsNest(t *testing.T) {
	if got := errs.New(errs.Invalid, "x").At("value").At("fields.2").Field; got != "fields.2.value" {
		t.Errorf("field %q", got)
	}
}

func TestKindOf(t *testing.T) {
	for err, want := range map[error]errs.Kind{
		errs.New(errs.Limited, "slow down"):                      errs.Limited,
		fmt.Errorf("a: %w", errs.New(errs.Erased, "it is gone")): errs.Erased,
		io.EOF: errs.Internal,
	} {
		if got := errs.KindOf(err); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
	if errs.KindOf(nil) != "" {
		t.Error("nil has a kind")
	}
}
