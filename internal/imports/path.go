package imports

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/vogter/vogter/internal/errs"
)

// path is where in a line a value lies: members of objects joined by dots, with
// the elements of arrays in brackets, as in name.first, offices[0].phone or
// terms[*].start. It begins at the element that a record is made of, or, with
// "$." in front, at the line; "@" is the element itself, "$" the line itself.
type path struct {
	text  string // without what says where it begins; the name of a CSV's column
	line  bool   // begins at the line
	steps []step
	many  bool // has a [*]
}

type step struct {
	member  string // "" for an element of an array
	element int    // from 0, or every
}

const (
	every   = -1
	maxPath = 500
)

func parsePath(s string) (path, error) {
	p := path{text: s}
	if rest, ok := strings.CutPrefix(s, "$"); ok {
		p.line, p.text = true, rest
	} else if rest, ok := strings.CutPrefix(s, "@"); ok {
		p.text = rest
	} else {
		s = "." + s
	}
	rest := strings.TrimLeft(s, "$@")
	p.text = strings.TrimPrefix(p.text, ".")
	token := regexp.MustCompile(`^(?:\.([^.\[\]]+)|\[(\*|\d{1,6})\])`)
	for rest != "" {
		m := token.FindStringSubmatch(rest)
		if m == nil || len(s) > maxPath {
			return path{}, errs.New(errs.Invalid, "a path is names joined by dots, with [*] or [0] after an array's name")
		}
		switch {
		case m[1] != "":
			p.steps = append(p.steps, step{member: m[1]})
		case m[2] == "*":
			p.steps = append(p.steps, step{element: every})
			p.many = true
		default:
			n, err := strconv.Atoi(m[2])
			if err != nil {
				return path{}, err
			}
			p.steps = append(p.steps, step{element: n})
		}
		rest = rest[len(m[0]):]
	}
	return p, nil
}

// scope is where paths begin.
type scope struct {
	line    any
	element any
	index   int  // of the element, from 0
	csv     bool // the line is a row of cells
}

// start returns where p begins, and in a CSV the cell right away.
func (p *path) start(s *scope) (at any, steps []step, ok bool) {
	at = s.element
	if p.line {
		at = s.line
	}
	if !s.csv {
		return at, p.steps, true
	}
	row, isRow := at.(map[string]any)
	cell, has := row[p.text]
	return cell, nil, isRow && has
}

// one returns the value at p, which has no [*]; ok is false where it leads nowhere.
func (p *path) one(s *scope) (value any, ok bool) {
	at, steps, ok := p.start(s)
	for i := 0; ok && i < len(steps); i++ {
		at, ok = steps[i].from(at)
	}
	return at, ok
}

// all returns the values at p; ok is false where the path leads nowhere.
func (p *path) all(s *scope) (values []any, ok bool) {
	at, steps, ok := p.start(s)
	if !ok {
		return nil, false
	}
	return descend(at, steps, nil)
}

func descend(at any, steps []step, into []any) ([]any, bool) {
	for i, next := range steps {
		if next.element == every {
			array, ok := at.([]any)
			for _, e := range array {
				into, _ = descend(e, steps[i+1:], into)
			}
			return into, ok
		}
		var ok bool
		if at, ok = next.from(at); !ok {
			return into, false
		}
	}
	return append(into, at), true
}

// from returns the member or element of at that s names.
func (s *step) from(at any) (any, bool) {
	if s.member != "" {
		object, ok := at.(map[string]any)
		member, has := object[s.member]
		return member, ok && has
	}
	array, ok := at.([]any)
	if !ok || s.element >= len(array) {
		return nil, false
	}
	return array[s.element], true
}
