package paper_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/paper"
)

// texts are what people write, and what Markdown and HTML would read as something else.
func texts() []string {
	return []string{
		"Blåbærgrød", "1. juni", "- minus", "+ plus", "# nummer", "> større", "= lig", "`kode`", "**fed**", "_under_", "[x](javascript:alert(1))",
		"<script>alert(1)</script>", "&amp; &lt;", "a | b", "~~~", "```", "\\", "\\*", "![x](y)", "<https://example.org>", "***", "---", "a * b * c",
		"2) to", "| a |", "{{x}}", "::", "http://example.org/a_b_c", "O'Brien \"Bob\"", "x\ny", "1986", "12.", "a\\\nb", "#", "&#35;", "*a_b*c_",
	}
}

func FuzzMarkdown(f *testing.F) {
	for _, s := range texts() {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if a, b = tidy(a), tidy(b); a == "" || b == "" {
			t.Skip("blank")
		}
		flat := strings.ReplaceAll(b, "\n", " ")
		want := paper.Document{
			Title: "T", Language: paper.English, Date: time.Unix(0, 0),
			Body: []paper.Block{
				paper.Heading{Level: 1, Text: paper.Plain(flat)},
				paper.Paragraph{Text: paper.Plain(a)},
				paper.List{Items: []paper.Item{{Text: paper.Plain(flat), List: &paper.List{Ordered: true, Items: []paper.Item{{Text: paper.Plain(flat)}}}}}},
				paper.Table{Columns: []paper.Column{{Header: flat}, {Header: "n", Right: true}}, Rows: [][]paper.Cell{{paper.Plain(flat), paper.Plain("1")}}},
				paper.Paragraph{Text: []paper.Span{{Text: "Se "}, {Text: flat, Link: "https://example.org/?a=1&copy=2"}, {Text: " nu"}}},
			},
		}
		var md strings.Builder
		if err := paper.Markdown(&md, want); err != nil {
			t.Fatal(err)
		}
		have, err := paper.FromMarkdown(md.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, md.String())
		}
		if have.Title != want.Title || !reflect.DeepEqual(have.Body, want.Body) {
			t.Fatalf("have %q\nwant %q\nfrom %s", have.Body, want.Body, md.String())
		}
	})
}

// tidy returns s as it is drawn, without blanks that Markdown doesn't keep.
func tidy(s string) string {
	var lines []string
	for line := range strings.SplitSeq(paper.Clean(s), "\n") {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
