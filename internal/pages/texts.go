package pages

import (
	"bufio"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"strings"
)

//go:embed texts
var files embed.FS

// Texts are texts by language and id.
type Texts struct{ in map[string]map[string]string }

// Default returns the texts of the privacy centre.
func Default() (Texts, error) {
	return Texts{}.With(files)
}

// With returns the texts with those of files texts/da.md and texts/en.md on top:
// after a head between lines of ---, which is for editors, each line is "id: text".
func (t Texts) With(from fs.FS) (Texts, error) {
	all := Texts{map[string]map[string]string{}}
	for _, tag := range []string{Danish, English} {
		b, err := fs.ReadFile(from, "texts/"+tag+".md")
		if err != nil {
			return Texts{}, fmt.Errorf("read texts: %w", err)
		}
		if all.in[tag] = maps.Clone(t.in[tag]); all.in[tag] == nil {
			all.in[tag] = map[string]string{}
		}
		body := string(b)
		if rest, ok := strings.CutPrefix(body, "---\n"); ok {
			_, body, _ = strings.Cut(rest, "\n---\n")
		}
		for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
			if id, text, ok := strings.Cut(lines.Text(), ": "); ok {
				all.in[tag][id] = text
			}
		}
	}
	return all, nil
}

// Say returns a text in a language, with the values of the fields that its
// placeholders {{name}} name: name, value, name, value. It fails if there is no
// such text, or a placeholder without value.
func (t Texts) Say(tag, id string, fields ...string) (string, error) {
	text, ok := t.in[tag][id]
	if !ok {
		return "", fmt.Errorf("no text %q in %q", id, tag)
	}
	pairs := make([]string, len(fields))
	for i, f := range fields {
		if pairs[i] = f; i%2 == 0 {
			pairs[i] = "{{" + f + "}}"
			ok = ok && strings.Contains(text, pairs[i])
		}
	}
	if !ok || len(fields)%2 != 0 || strings.Count(text, "{{") != len(fields)/2 {
		return "", fmt.Errorf("text %q takes other fields", id)
	}
	return strings.NewReplacer(pairs...).Replace(text), nil
}
