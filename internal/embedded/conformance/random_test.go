package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// full reports whether the tests run at their full size.
func full() bool { return os.Getenv("VOGTER_SCALE") == "full" }

// history runs programs, each on a collection of its own.
type history struct {
	*server

	runs  int
	codes map[int]int // how often a step gave each code; 0 is success
}

// run compares a program's answers with the model's and returns the first
// difference.
func (h *history) run(ctx context.Context, p program) (difference string, err error) {
	h.runs++
	r, err := newRunner(ctx, h.server, fmt.Sprintf("p%d", h.runs), p)
	if err != nil {
		return "", err
	}
	m := newModel(p)
	for i, st := range p.Steps {
		want := m.expect(st)
		if want.skip {
			continue
		}
		got, err := r.run(st)
		if err != nil {
			return "", fmt.Errorf("step %d: %w", i, err)
		}
		h.codes[got.code]++
		if !want.allows(got) {
			difference = fmt.Sprintf("step %d, %s: got %s, want %s with codes %v", i, show(st), got, show(normal(want.value)), want.codes)
			break
		}
		if got.code != 0 && m.txns[st.Client] != nil {
			_ = r.sessions[st.Client].AbortTransaction(r.contexts[st.Client]) // it has ended already
		}
		m.settle(st, want, got)
	}
	return difference, r.close(ctx)
}

// shrink leaves out steps and indexes while the program still differs.
func (h *history) shrink(ctx context.Context, p program) program {
	differs := func(q program) bool {
		difference, err := h.run(ctx, q)
		return err == nil && difference != ""
	}
	for size := len(p.Steps) / 2; size > 0; {
		smaller := false
		for at := 0; at+size <= len(p.Steps); {
			q := program{Indexes: p.Indexes, Steps: append(append([]step{}, p.Steps[:at]...), p.Steps[at+size:]...)}
			if differs(q) {
				p, smaller = q, true
			} else {
				at += size
			}
		}
		if !smaller || size > len(p.Steps) {
			size /= 2
		}
	}
	for i := 0; i < len(p.Indexes); {
		q := program{Indexes: append(append([]bson.D{}, p.Indexes[:i]...), p.Indexes[i+1:]...), Steps: p.Steps}
		if differs(q) {
			p = q
		} else {
			i++
		}
	}
	return p
}

// programDir holds the programs that have differed once.
const programDir = "testdata/programs"

// TestPrograms runs the kept programs, then generated ones. A generated program
// that differs is made as small as it goes and kept.
func TestPrograms(t *testing.T) {
	ctx := t.Context()
	h := &history{server: connect(t), codes: map[int]int{}}
	kept, err := filepath.Glob(filepath.Join(programDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range kept {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var p program
		if err := bson.UnmarshalExtJSON(text, true, &p); err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		difference, err := h.run(ctx, p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if difference != "" {
			t.Errorf("%s: %s", name, difference)
		}
	}
	programs := uint64(300)
	if full() {
		programs = 5000
	}
	for seed := range programs {
		p := generate(seed)
		difference, err := h.run(ctx, p)
		if err != nil {
			t.Fatalf("program %d: %v", seed, err)
		}
		if difference == "" {
			continue
		}
		small := h.shrink(ctx, p)
		text, err := bson.MarshalExtJSONIndent(small, true, false, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(programDir, fmt.Sprintf("seed%d.json", seed))
		if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		again, _ := h.run(ctx, small)
		t.Fatalf("program %d differs: %s\nkept as %s: %s\n%s", seed, difference, path, again, show(small))
	}
	t.Logf("%d programs; steps by code: %v", h.runs, h.codes)
	for _, code := range []int{0, 112, 11000} {
		if h.codes[code] == 0 {
			t.Errorf("no step gave code %d: the programs do not reach it", code)
		}
	}
}

// TestStream pins the programs to their seeds: another series of numbers would
// make the kept seeds meaningless.
func TestStream(t *testing.T) {
	s := &stream{seed: 7}
	got := []int{s.below(1000), s.below(1000), s.below(1000)}
	if again := (&stream{seed: 7}).below(1000); got[0] != again {
		t.Errorf("the series is not reproducible: %d and %d", got[0], again)
	}
	if got[0] == got[1] && got[1] == got[2] {
		t.Errorf("the series stands still: %v", got)
	}
}
