package paper

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"strings"
)

// style is how a page looks. It follows the reader's choice of light or dark,
// letter size and width of the window.
const stylesheet = `:root{color-scheme:light dark}body{max-width:48rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 "Liberation Sans",Arial,Helvetica,sans-serif;overflow-wrap:anywhere}` +
	`h1,h2,h3,h4,h5,h6{line-height:1.25}table{border-collapse:collapse;width:100%;margin:1rem 0}caption{text-align:left;font-weight:bold}` +
	`th,td{text-align:left;vertical-align:top;padding:.3rem .5rem;border-bottom:1px solid GrayText}.r{text-align:right}pre{white-space:pre-wrap}` +
	`.s{margin-top:4rem}.s p{border-top:1px solid GrayText}.b{break-before:page}footer{margin-top:2rem;font-size:.875rem}`

// Stylesheet returns the source that a Content-Security-Policy must allow as
// style-src for pages of HTML to look as they should: 'sha256-…'.
func Stylesheet() string {
	sum := sha256.Sum256([]byte(stylesheet))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// HTML writes a Document as a whole page of HTML 5: one file that loads nothing,
// runs nothing and names its language. It fails with ErrDocument, or as w does.
func HTML(w io.Writer, d Document) error {
	if err := d.check(); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	h := page{out, 1}
	h.printf(`<!doctype html><html lang="%s"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">`+
		`<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src %s"><title>%s</title><style>%s</style></head><body>`+"\n",
		d.Language, Stylesheet(), escape(d.Title), stylesheet)
	if d.Sender != "" {
		h.printf("<header><p>%s</p></header>\n", escape(d.Sender))
	}
	h.printf("<main>\n<h1>%s</h1>\n", escape(d.Title))
	h.body(&d)
	h.printf("</main>\n")
	if d.Footer != "" {
		h.printf("<footer><p>%s</p></footer>\n", escape(d.Footer))
	}
	h.printf("</body></html>\n")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write HTML: %w", err)
	}
	return nil
}

// Fragment writes a Document as a part of a page of HTML that has a main heading:
// its title is a heading of the second level, and the others are below it. It fails
// with ErrDocument, or as w does.
func Fragment(w io.Writer, d Document) error {
	if err := d.check(); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	h := page{out, 2} //nolint:mnd // below the title
	h.printf("<section lang=\"%s\">\n<h2>%s</h2>\n", d.Language, escape(d.Title))
	h.body(&d)
	h.printf("</section>\n")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write HTML: %w", err)
	}
	return nil
}

// page is HTML being written. An error stays with the writer until it is flushed.
type page struct {
	*bufio.Writer

	under int // the level of the heading that all others are below
}

func (h page) body(d *Document) {
	for _, b := range d.Body {
		h.block(b, d.words())
	}
}

func (h page) printf(format string, args ...any) { _, _ = fmt.Fprintf(h, format, args...) }

func escape(s string) string {
	return strings.ReplaceAll(html.EscapeString(clean(s)), "\n", "<br>")
}

func (h page) block(b Block, w words) {
	switch b := b.(type) {
	case Heading:
		h.printf("<h%[1]d>%[2]s</h%[1]d>\n", min(b.Level+h.under, 6), inline(b.Text)) //nolint:mnd // there is no deeper one
	case Paragraph:
		h.printf("<p>%s</p>\n", inline(b.Text))
	case List:
		h.list(&b)
	case Table:
		h.table(&b)
	case KeyValue:
		h.printf("<table><tbody>\n")
		for _, p := range b.Pairs {
			h.printf(`<tr><th scope="row">%s</th><td>%s</td></tr>`+"\n", escape(p.Key), inline(p.Value))
		}
		h.printf("</tbody></table>\n")
	case Code:
		h.printf("<pre><code>%s</code></pre>\n", html.EscapeString(clean(b.Text)))
	case Signature:
		h.printf(`<div class="s"><p>%s</p></div><div class="s"><p>%s`, w.date, w.signature)
		for _, who := range []string{b.Name, b.Role} {
			if who != "" {
				h.printf("<br>%s", escape(who))
			}
		}
		h.printf("</p></div>\n")
	case PageBreak:
		h.printf(`<div class="b"></div>` + "\n")
	}
}

func (h page) list(l *List) {
	tag := "ul"
	if l.Ordered {
		tag = "ol"
	}
	h.printf("<%s>\n", tag)
	for _, i := range l.Items {
		h.printf("<li>%s", inline(i.Text))
		if i.List != nil {
			h.list(i.List)
		}
		h.printf("</li>\n")
	}
	h.printf("</%s>\n", tag)
}

func (h page) table(t *Table) {
	h.printf("<table>")
	if t.Caption != "" {
		h.printf("<caption>%s</caption>", escape(t.Caption))
	}
	h.printf("<thead><tr>")
	for _, c := range t.Columns {
		h.printf(`<th scope="col"%s>%s</th>`, right(c), escape(c.Header))
	}
	h.printf("</tr></thead><tbody>\n")
	for _, row := range t.Rows {
		h.printf("<tr>")
		for i, c := range row {
			if i == 0 && t.RowHeader {
				h.printf(`<th scope="row"%s>%s</th>`, right(t.Columns[i]), inline(c))
			} else {
				h.printf("<td%s>%s</td>", right(t.Columns[i]), inline(c))
			}
		}
		h.printf("</tr>\n")
	}
	h.printf("</tbody></table>\n")
}

func right(c Column) string {
	if c.Right {
		return ` class="r"`
	}
	return ""
}

func inline(spans []Span) string {
	var b strings.Builder
	for _, s := range spans {
		t := escape(s.Text)
		for _, with := range []struct {
			is  bool
			tag string
		}{{s.Code, "code"}, {s.Italic, "em"}, {s.Bold, "strong"}} {
			if with.is {
				t = "<" + with.tag + ">" + t + "</" + with.tag + ">"
			}
		}
		if s.Link != "" {
			t = `<a href="` + html.EscapeString(s.Link) + `" rel="noreferrer">` + t + "</a>"
		}
		b.WriteString(t)
	}
	return b.String()
}
