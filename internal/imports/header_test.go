package imports_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/testenv"
)

// A line is rejected before its values, of which a few bytes make each, fill the
// memory; the next one is not.
func TestTooManyValues(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	base := e.serve(t, ctx)
	got := send(t, base, upload{
		query: "dataset=Members&mode=check",
		body:  lines(`{"reference": "a", "note": [`+strings.Repeat("[],", 3_000_000)+`[]]}`, `{"reference": "b", "note": "x"}`),
	})
	if got.counts() != [5]int64{1, 0, 0, 1, 1} || got.Rejections[0].Line != 1 || got.Rejections[0].Code != errs.Limited {
		t.Errorf("%+v", got)
	}
}

// A header of very many columns is refused before they are compared.
func TestTooManyColumns(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	in := imports.SaveMappingInput{Name: "Wide", Document: `{"subject": {"reference": "r"}, "records": []}`}
	if _, err := e.imports.SaveMapping(ctx, in); err != nil {
		t.Fatal(err)
	}
	base := e.serve(t, ctx)
	for columns, status := range map[int]int{5000: http.StatusOK, 5001: http.StatusTooManyRequests} {
		header := make([]string, columns)
		for n := range header {
			header[n] = "c" + strconv.Itoa(n)
		}
		header[0] = "r"
		got := send(t, base, upload{
			query: "mapping=wide", key: strconv.Itoa(columns), mime: "text/csv",
			body: strings.NewReader(strings.Join(header, ",") + "\nA-1" + strings.Repeat(",", columns-1) + "\n"),
		})
		if got.Status != status || status == http.StatusOK && got.Created+got.Unchanged != 1 {
			t.Errorf("%d columns: %+v", columns, got)
		}
	}
}
