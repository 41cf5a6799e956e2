package imports_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/testenv"
)

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
		header := "r"
		for n := range columns - 1 {
			header += ",c" + strconv.Itoa(n)
		}
		got := send(t, base, upload{
			query: "mapping=wide", key: strconv.Itoa(columns), mime: "text/csv",
			body: strings.NewReader(header + "\nA-1" + strings.Repeat(",", columns-1) + "\n"),
		})
		if got.Status != status || status == http.StatusOK && got.Created+got.Unchanged != 1 {
			t.Errorf("%d columns: %+v", columns, got)
		}
	}
}
