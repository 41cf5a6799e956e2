// Package verify recognises every kind of signed thing that the platform makes,
// and checks it offline.
package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/sign"
)

// Report says what a file is and who signed it.
type Report struct {
	What     string
	Notes    []string
	SignedBy *sign.Key    // nil of a key set
	Root     *sign.Key    // the newest root key that vouches for the signer, nil if none is known
	Keys     *sign.KeySet // that were trusted, and what follows from them

	// Receipts are those of consent that the file has, in their order.
	Receipts []*receipt.Receipt
	// Erasure is the certificate of erasure that the file is or holds, or the second
	// statement on one.
	Erasure *certificate.Opened
	// Agreement is the data processing agreement that the file is or holds.
	Agreement *agreement.Content
}

// Options are what File may be told.
type Options struct {
	// Trusted are keys got from the platform on another way. Without them, those
	// that come with a file are taken at their word; a file that comes with none
	// can't be checked.
	Trusted *sign.KeySet
	// Visit sees the entries of an audit bundle, in their order.
	Visit func(seq int64, leaf []byte) error
	// MaxManifest is that of pack.Options.
	MaxManifest int64
}

// ErrUnknown reports a file that is nothing the platform signs.
var ErrUnknown = errors.New("nothing that this vogter knows: neither a package, nor a receipt, a key set, a signed note or a proof")

// errNoKeys reports a file that comes without keys.
var errNoKeys = errors.New("this kind of file comes without keys: give --keys with those of the platform, its /.well-known/jwks.json")

// maxText bounds what is no package, in bytes.
const maxText = 64 << 20

// File checks the file of that name.
func File(name string, o Options) (r *Report, err error) {
	f, err := os.Open(name) //nolint:gosec // G304: the file that the caller asks about
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, ErrUnknown
	}
	if bytes.HasPrefix(head[:n], []byte("PK")) {
		info, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("open file: %w", err)
		}
		return packed(f, info.Size(), o)
	}
	content, err := io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(head[:n]), f), maxText))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	return Text(content, o)
}

// packed checks a package.
func packed(f io.ReaderAt, size int64, o Options) (*Report, error) {
	p, err := pack.Verify(f, size, pack.Options{Trusted: o.Trusted, Visit: o.Visit, MaxManifest: o.MaxManifest})
	if err != nil {
		return nil, err
	}
	return &Report{
		What: fmt.Sprintf("%s, %d files, %d bytes", p.Type, p.Files, p.Bytes), Notes: p.Notes, SignedBy: p.SignedBy,
		Root: p.Keys.Root(), Keys: p.Keys,
	}, nil
}

// kind is a kind of thing that is text: whether a content claims to be one, and
// its check under trusted keys.
type kind struct {
	is    func(content []byte, fields map[string]json.RawMessage) bool
	check func(content []byte, keys *sign.KeySet) (what string, notes []string, p sign.Purpose, note []byte, err error)
}

// kinds has one line for each.
func kinds() []kind {
	return []kind{
		{is: vogter(proof.PublishedKind), check: published},
		{is: vogter(proof.ProofKind), check: entry},
		{is: vogter(processing.FileKind), check: register},
		{is: isNote, check: note},
	}
}

// vogter recognises JSON that names its kind.
func vogter(name string) func([]byte, map[string]json.RawMessage) bool {
	return func(_ []byte, fields map[string]json.RawMessage) bool {
		return string(fields["vogter"]) == `"`+name+`"`
	}
}

func isNote(content []byte, fields map[string]json.RawMessage) bool {
	return fields == nil && bytes.HasPrefix(content, []byte("vogter/"))
}

// Content checks a file that is in memory.
func Content(content []byte, o Options) (*Report, error) {
	if bytes.HasPrefix(content, []byte("PK")) {
		return packed(bytes.NewReader(content), int64(len(content)), o)
	}
	return Text(content, o)
}

// Text checks what is no package. Of a PDF it checks what lies in it.
func Text(content []byte, o Options) (*Report, error) {
	if bytes.HasPrefix(content, []byte("%PDF-")) {
		content = paper.Attached(content)
	}
	if certificate.Is(string(content)) {
		return erased(string(content), o.Trusted)
	}
	if agreement.Is(string(content)) {
		return agreed(string(content), o.Trusted)
	}
	if signed := receipt.Split(content); signed != nil {
		return receipts(signed, o.Trusted)
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(content, &fields) != nil {
		fields = nil
	}
	if fields["keys"] != nil {
		return keySet(content, o.Trusted)
	}
	for _, k := range kinds() {
		if !k.is(content, fields) {
			continue
		}
		if o.Trusted == nil {
			return nil, errNoKeys
		}
		what, notes, p, signed, err := k.check(content, o.Trusted)
		if err != nil {
			return nil, err
		}
		_, by, err := o.Trusted.Open(p, signed)
		if err != nil {
			return nil, err
		}
		return &Report{What: what, Notes: notes, SignedBy: by, Root: o.Trusted.Root(), Keys: o.Trusted}, nil
	}
	return nil, ErrUnknown
}

// keySet checks that the keys of a set introduce each other, and which of them
// follow from trusted ones.
func keySet(content []byte, trusted *sign.KeySet) (*Report, error) {
	keys, err := sign.ParseKeySet(content)
	if err != nil {
		return nil, err
	}
	r := &Report{What: fmt.Sprintf("KEY_SET, %d keys", len(keys.Keys()))}
	if trusted == nil {
		if err := keys.Consistent(); err != nil {
			return nil, err
		}
		r.Keys = keys
	} else {
		r.Keys = sign.NewKeySet(trusted.Keys()...)
		r.Keys.Extend(keys)
		for _, k := range keys.Keys() {
			if !r.Keys.Has(&k) {
				return nil, fmt.Errorf("key %s doesn't follow from the keys you trust", k.ID())
			}
		}
	}
	for _, k := range keys.Keys() {
		state := "signing since " + k.From.Format("2006-01-02")
		if !k.Retired.IsZero() {
			state += ", retired " + k.Retired.Format("2006-01-02")
		}
		r.Notes = append(r.Notes, fmt.Sprintf("%s: %s", k.ID(), state))
	}
	r.Root = r.Keys.Root()
	return r, nil
}

func published(content []byte, keys *sign.KeySet) (string, []string, sign.Purpose, []byte, error) {
	c, heads, signed, err := proof.ParsePublished(keys, content)
	if err != nil {
		return "", nil, "", nil, err
	}
	return "CHECKPOINT", append(about(c), fmt.Sprintf("it speaks for %d logs", len(heads))), sign.Checkpoint, signed, nil
}

func about(c *proof.Checkpoint) []string {
	return []string{fmt.Sprintf("checkpoint %d of %s, signed %s", c.Number, c.Platform, c.At.Format("2006-01-02 15:04:05.000 MST"))}
}

func entry(content []byte, keys *sign.KeySet) (string, []string, sign.Purpose, []byte, error) {
	var p proof.Entry
	if err := json.Unmarshal(content, &p); err != nil {
		return "", nil, "", nil, errors.New("malformed proof")
	}
	e, c, err := p.Check(keys)
	if err != nil {
		return "", nil, "", nil, err
	}
	return "AUDIT_PROOF", append(about(c), fmt.Sprintf("entry %d of %s, %s: %s at %s", p.Seq, e.Tenant, e.ID, e.Action,
		e.At.Format("2006-01-02 15:04:05.000 MST"))), sign.Checkpoint, []byte(p.Covered.Note), nil
}

// note checks any signed note: of the platform's kinds those of now and those to
// come, for the signature is over the text that is shown.
func note(content []byte, keys *sign.KeySet) (string, []string, sign.Purpose, []byte, error) {
	p, _, err := sign.PurposeOf(content)
	if err != nil {
		return "", nil, "", nil, err
	}
	text, _, err := keys.Open(p, content)
	if err != nil {
		return "", nil, "", nil, err
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return strings.ToUpper(string(p)), lines, p, content, nil
}
