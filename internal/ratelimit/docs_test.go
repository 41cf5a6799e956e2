package ratelimit_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/ratelimit"
)

// The table in docs/limits.md is that of the program.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[ratelimit.Class][]string{}
	for line := range strings.Lines(string(b)) {
		if cells := strings.Split(line, "|"); len(cells) == 6 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			rows[ratelimit.Class(strings.Trim(cells[1], " `"))] = cells[2:]
		}
	}
	table := ratelimit.Defaults()
	if len(rows) != len(table) {
		t.Errorf("%d classes are documented of %d", len(rows), len(table))
	}
	for _, c := range table.Classes() {
		row := rows[c]
		if row == nil {
			t.Errorf("%s isn't documented", c)
			continue
		}
		quota, window, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(row[0]), ",", ""), " in ")
		said := table[c]
		if parsed, err := ratelimit.Parse(string(c) + "=" + quota + "/" + window); err != nil || parsed[c] != said || quota != strconv.FormatInt(said.Quota, 10) {
			t.Errorf("%s is %+v, and documented as %s", c, said, row[0])
		}
		if strings.Contains(row[2], "UNAVAILABLE") != said.Closed {
			t.Errorf("%s without Redis is documented as %s", c, row[2])
		}
	}
}
