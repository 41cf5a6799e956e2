package imports

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/errs"
)

// Format is the form of a file.
type Format string

// The formats.
const (
	NDJSON Format = "ndjson" // one JSON object per line
	CSV    Format = "csv"    // RFC 4180, comma, with a header
)

const readBuffer = 64 << 10

// scanner cuts a file into lines, or a CSV into rows, of which none is held
// that is longer than maxLine.
type scanner struct {
	r      *bufio.Reader
	csv    bool
	line   int64 // lines read so far
	header []string
	buf    []byte
	hash   hash.Hash
	begun  bool
}

func newScanner(r io.Reader, f Format) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, readBuffer), csv: f == CSV, hash: sha256.New()}
}

// piece is one line, or one row of a CSV.
type piece struct {
	first, last int64  // its lines
	raw         []byte // without its end; valid until the next piece
	long        bool   // longer than maxLine, and not in raw
	sum         [sha256.Size]byte
}

// next returns the next piece, or io.EOF. Any other error is the reader's; what
// it had begun to read is dropped.
func (s *scanner) next() (piece, error) {
	if !s.begun {
		s.begun = true
		if bom, err := s.r.Peek(3); err == nil && string(bom) == "\ufeff" {
			if _, err := s.r.Discard(len(bom)); err != nil {
				return piece{}, err
			}
		}
	}
	p := piece{first: s.line + 1}
	s.buf = s.buf[:0]
	s.hash.Reset()
	var quotes quoting
	empty := true
	for {
		chunk, err := s.r.ReadSlice('\n')
		whole := err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return piece{}, err
		}
		if len(chunk) > 0 {
			empty = false
		}
		if s.csv {
			quotes.read(chunk)
		}
		if whole {
			s.line++
		}
		end := errors.Is(err, io.EOF) || whole && !quotes.open()
		if end {
			chunk = bytes.TrimSuffix(chunk, []byte("\n"))
		}
		s.hash.Write(chunk)
		if p.long = p.long || len(s.buf)+len(chunk) > maxLine; p.long {
			s.buf = nil
		} else {
			s.buf = append(s.buf, chunk...)
		}
		if !end {
			continue
		}
		if empty {
			return piece{}, io.EOF
		}
		if !whole {
			s.line++ // the last line has no end
		}
		p.last, p.raw = s.line, s.buf
		s.hash.Sum(p.sum[:0])
		return p, nil
	}
}

// quoting follows a CSV's quotes, to know whether a line's end is a row's end.
type quoting byte

const (
	atField     quoting = iota // where a quote opens
	inField                    // where a quote is a mistake, told by the CSV's reader
	inQuotes                   // where a line's end is text
	afterQuotes                // where another quote means one of the text
)

func (q *quoting) read(b []byte) {
	for _, c := range b {
		switch {
		case *q == inQuotes:
			if c == '"' {
				*q = afterQuotes
			}
		case c == '"' && *q != inField:
			*q = inQuotes
		case c == ',' || c == '\n':
			*q = atField
		default:
			*q = inField
		}
	}
}

func (q *quoting) open() bool { return *q == inQuotes }

// blank reports whether p is an empty line.
func (p *piece) blank() bool { return !p.long && len(bytes.TrimSpace(p.raw)) == 0 }

// value reads the piece: a JSON value, or the row's cells by their columns.
func (s *scanner) value(p *piece) (any, error) {
	switch {
	case p.long:
		return nil, errLineTooLong
	case !utf8.Valid(p.raw):
		return nil, errs.New(errs.Invalid, "the line is not valid UTF-8")
	case s.csv:
		return s.cells(p.raw)
	case bytes.Count(p.raw, []byte(","))+bytes.Count(p.raw, []byte("["))+bytes.Count(p.raw, []byte("{")) > maxMarks:
		return nil, errTooManyValues
	}
	var v any
	if err := decode(p.raw, &v); err != nil {
		return nil, errs.New(errs.Invalid, "the line is not one JSON object") // the cause may quote it
	}
	return v, nil
}

func (s *scanner) cells(raw []byte) (any, error) {
	cells, err := parseRow(raw)
	if err != nil {
		return nil, err
	}
	if len(cells) != len(s.header) {
		return nil, errs.New(errs.Invalid, "the row has %d cells and the header %d", len(cells), len(s.header))
	}
	row := make(map[string]any, len(cells))
	for i, name := range s.header {
		row[name] = cells[i]
	}
	return row, nil
}

func parseRow(raw []byte) ([]string, error) {
	r := csv.NewReader(bytes.NewReader(raw))
	cells, err := r.Read()
	if _, end := r.Read(); err != nil || !errors.Is(end, io.EOF) {
		return nil, errs.New(errs.Invalid, "the row is not CSV: a quote is out of place")
	}
	return cells, nil
}

// readHeader reads a CSV's header and returns its piece.
func (s *scanner) readHeader() (p piece, err error) {
	for {
		p, err = s.next()
		switch {
		case errors.Is(err, io.EOF):
			return p, errs.New(errs.Invalid, "a CSV begins with a header").At("header")
		case err != nil:
			return p, err
		case p.blank():
			continue
		case p.long || !utf8.Valid(p.raw):
			return p, errs.New(errs.Invalid, "the header is too long, or not valid UTF-8").At("header")
		}
		header, err := parseRow(p.raw)
		if err != nil {
			return p, errs.At(err, "header")
		}
		s.header = slices.Clone(header)
		for i := range s.header {
			s.header[i] = strings.TrimSpace(s.header[i])
		}
		return p, nil
	}
}
