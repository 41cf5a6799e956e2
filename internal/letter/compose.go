package letter

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/personal"
)

// Part is a letter that is to be a part of another.
type Part struct {
	Letter string
	Fields Fields
}

// Compose writes several letters as one: a greeting, the body of each in the
// order given, and one closing section, the fullest of theirs. A part's own title
// is the heading of its body; the whole is titled by the phrase "answer.TITLE", or
// by its only part. It fails as Render does. From is that of the first part; All
// has the origin of each.
func (s *Service) Compose(ctx context.Context, language string, parts ...Part) (l *Letter, all []Origin, err error) {
	if len(parts) == 0 {
		return nil, nil, errs.New(errs.Internal, "a letter without parts")
	}
	letters := make([]*Letter, len(parts))
	for i, p := range parts {
		if letters[i], err = s.Render(ctx, p.Letter, language, p.Fields); err != nil {
			return nil, nil, err
		}
		all = append(all, letters[i].From)
	}
	if len(letters) == 1 {
		return letters[0], all, nil
	}
	title, err := s.Library.Phrase(language, "answer.TITLE")
	if err != nil {
		return nil, nil, err
	}
	l, err = published(join(title, letters), letters[0].From)
	return l, all, err
}

// join puts the documents of letters together.
func join(title string, letters []*Letter) paper.Document {
	first := letters[0].Document()
	whole := first
	whole.Title, whole.Body = title, nil
	var closing []paper.Block
	for i, l := range letters {
		d := l.Document()
		body := d.Body
		if end := lastSection(body); end >= 0 {
			if len(body)-end > len(closing) {
				closing = body[end:]
			}
			body = body[:end]
		}
		greeting := 0
		if len(body) > 0 && len(first.Body) > 0 && same(body[0], first.Body[0]) {
			greeting = 1
		}
		if i == 0 {
			whole.Body = append(whole.Body, body[:greeting]...)
		}
		whole.Body = append(whole.Body, paper.Heading{Level: 1, Text: paper.Plain(d.Title)})
		for _, b := range body[greeting:] {
			if h, ok := b.(paper.Heading); ok {
				h.Level++
				b = h
			}
			whole.Body = append(whole.Body, b)
		}
	}
	whole.Body = append(whole.Body, closing...)
	return whole
}

// lastSection returns where the last section of the first level begins, which is
// the closing one of every letter; -1 when there is none.
func lastSection(body []paper.Block) int {
	for i, b := range slices.Backward(body) {
		if h, ok := b.(paper.Heading); ok && h.Level == 1 {
			return i
		}
	}
	return -1
}

func same(a, b paper.Block) bool {
	p, ok := a.(paper.Paragraph)
	q, also := b.(paper.Paragraph)
	return ok && also && slices.Equal(p.Text, q.Text)
}

// published returns a document as a letter in all its forms.
func published(d paper.Document, from Origin) (*Letter, error) {
	l := &Letter{Subject: d.Title, From: from, document: func() paper.Document { return d }}
	for _, out := range []struct {
		to    *personal.Text
		write func(io.Writer, paper.Document) error
	}{{&l.Text, paper.Text}, {&l.HTML, paper.HTML}, {&l.Markdown, paper.Markdown}} {
		var b strings.Builder
		if err := out.write(&b, d); err != nil {
			return nil, fmt.Errorf("write letter %s: %w", from.Letter, err)
		}
		*out.to = personal.NewText(b.String())
	}
	return l, nil
}
