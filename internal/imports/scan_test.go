package imports

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// A scanner cuts a CSV where encoding/csv does.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"a,b\n1,2\n", "a,b\r\n\"x\r\ny\",2\r\n", "a\n\"\"\"\n,\"\n", "a,b\n\"\",\"\"\"\"\n\n\n,\n", "a\n\"open", "a\nb\"c\n",
		"a\n\"b\"c\n", "\ufeffa\nb",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.Contains(text, "\r") {
			t.Skip()
		}
		r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff")))
		r.FieldsPerRecord = -1
		want, err := r.ReadAll()
		if err != nil {
			t.Skip() // where a mistake ends a row is a matter of taste
		}
		var got [][]string
		s := newScanner(iotest.OneByteReader(strings.NewReader(text)), CSV)
		var last int64
		for {
			p, err := s.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || p.first != last+1 || p.last < p.first {
				t.Fatalf("lines %d to %d after %d, %v", p.first, p.last, last, err)
			}
			last = p.last
			if len(p.raw) == 0 {
				continue
			}
			row, err := parseRow(p.raw)
			if err != nil {
				t.Fatalf("%q: %v", p.raw, err)
			}
			got = append(got, row)
		}
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestScannerDropsAnUnfinishedLine(t *testing.T) {
	broken := errors.New("broken")
	s := newScanner(io.MultiReader(strings.NewReader("one\ntwo\nthr"), iotest.ErrReader(broken)), NDJSON)
	for i, want := range []string{"one", "two"} {
		p, err := s.next()
		if err != nil || string(p.raw) != want || p.first != int64(i+1) {
			t.Errorf("%q, %v", p.raw, err)
		}
	}
	if p, err := s.next(); !errors.Is(err, broken) {
		t.Errorf("%q, %v", p.raw, err)
	}
}
