package proof

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/transparency-dev/merkle/proof"

	"github.com/vogter/vogter/internal/sign"
)

// CheckpointKind is the first line of a checkpoint.
const CheckpointKind = "vogter/checkpoint/1"

// Checkpoint speaks for the heads of all logs at one moment. Its tree has one
// leaf for each log that ever was, by tenant and number.
type Checkpoint struct {
	Platform string // id of the provider
	Number   int64  // from 1, without a gap
	At       time.Time
	Heads    int64  // leaves of the tree
	Root     []byte // of the tree
	Previous string // Digest of the checkpoint before; "" of the first
}

// none stands for no previous checkpoint.
const none = "-"

// Text returns the checkpoint as it is signed.
func (c *Checkpoint) Text() []byte {
	previous := c.Previous
	if previous == "" {
		previous = none
	}
	return sign.Text(CheckpointKind, c.Platform, strconv.FormatInt(c.Number, 10), c.At.UTC().Format(time.RFC3339Nano),
		strconv.FormatInt(c.Heads, 10), base64.StdEncoding.EncodeToString(c.Root), previous)
}

var errCheckpoint = errors.New("malformed checkpoint")

// ParseCheckpoint reads what Text wrote.
func ParseCheckpoint(text string) (*Checkpoint, error) {
	lines := strings.Split(text, "\n")
	const count = 8
	if len(lines) != count || lines[0] != CheckpointKind {
		return nil, errCheckpoint
	}
	c := &Checkpoint{Platform: lines[1], Previous: strings.TrimPrefix(lines[6], none)}
	var err [4]error
	c.Number, err[0] = strconv.ParseInt(lines[2], 10, 64)
	c.At, err[1] = time.Parse(time.RFC3339Nano, lines[3])
	c.Heads, err[2] = strconv.ParseInt(lines[4], 10, 64)
	c.Root, err[3] = base64.StdEncoding.DecodeString(lines[5])
	if errors.Join(err[:]...) != nil || string(c.Text()) != text {
		return nil, errCheckpoint
	}
	return c, nil
}

// OpenCheckpoint checks the signature of a checkpoint and reads it.
func OpenCheckpoint(keys *sign.KeySet, note []byte) (*Checkpoint, error) {
	text, _, err := keys.Open(sign.Checkpoint, note)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	return ParseCheckpoint(text)
}

// Digest returns the SHA-256 of a signed checkpoint, hexadecimal.
func Digest(note []byte) string {
	sum := sha256.Sum256(note)
	return hex.EncodeToString(sum[:])
}

// HeadsTree returns the root of the tree of heads, and of each the proof that it
// is in there. The heads are in the order of tenant and log.
func HeadsTree(heads []Head) (root []byte, paths func(i int) ([][]byte, error), err error) {
	leaves := make([][HashSize]byte, len(heads))
	for i := range heads {
		leaves[i] = LeafHash([]byte(heads[i].Line()))
	}
	t, err := Open(0, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	if _, err := t.Append(leaves); err != nil {
		return nil, nil, err
	}
	levels := [][][]byte{make([][]byte, len(leaves))} // whole subtrees only
	for i := range leaves {
		levels[0][i] = leaves[i][:]
	}
	for last := levels[0]; len(last) > 1; last = levels[len(levels)-1] {
		above := make([][]byte, len(last)/2)
		for i := range above {
			above[i] = hashChildren(last[2*i], last[2*i+1])
		}
		levels = append(levels, above)
	}
	return t.Root(), func(i int) ([][]byte, error) {
		nodes, err := proof.Inclusion(uint64(i), uint64(len(leaves))) //nolint:gosec // G115: an index
		if err != nil {
			return nil, ErrTree
		}
		hashes := make([][]byte, len(nodes.IDs))
		for n, id := range nodes.IDs {
			hashes[n] = levels[id.Level][id.Index]
		}
		path, err := nodes.Rehash(hashes, hashChildren)
		if err != nil {
			return nil, ErrTree
		}
		return path, nil
	}, nil
}

// Covered is a head with the proof that a checkpoint speaks for it.
type Covered struct {
	Head  Head     `json:"-"`
	Line  string   `json:"head"`
	Note  string   `json:"checkpoint"` // the signed checkpoint
	Index int64    `json:"index"`      // of the head in the checkpoint's tree
	Path  [][]byte `json:"path"`       // inclusion proof of the head
}

// Check opens the checkpoint, and fails unless it speaks for the head. It fills
// in Head from its line.
func (c *Covered) Check(keys *sign.KeySet) (*Checkpoint, error) {
	cp, err := OpenCheckpoint(keys, []byte(c.Note))
	if err != nil {
		return nil, err
	}
	if c.Head, err = ParseHead(c.Line); err != nil {
		return nil, err
	}
	if !CheckInclusion(LeafHash([]byte(c.Line)), c.Index, cp.Heads, c.Path, cp.Root) {
		return nil, fmt.Errorf("checkpoint %d doesn't speak for the head of the log", cp.Number)
	}
	return cp, nil
}

// PublishedKind tells a published checkpoint from other JSON.
const PublishedKind = "checkpoint/1"

// Published is a checkpoint as it lies in object storage: with all heads.
type Published struct {
	Kind  string   `json:"vogter"` // PublishedKind
	Note  string   `json:"checkpoint"`
	Heads []string `json:"heads"` // lines
}

// Encode returns the object's bytes.
func (p *Published) Encode() ([]byte, error) {
	p.Kind = PublishedKind
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	return append(b, '\n'), nil
}

// ParsePublished reads a published checkpoint and checks its signature and that
// it speaks for these heads.
func ParsePublished(keys *sign.KeySet, b []byte) (*Checkpoint, []Head, []byte, error) {
	var p Published
	if err := json.Unmarshal(b, &p); err != nil || p.Kind != PublishedKind {
		return nil, nil, nil, errCheckpoint
	}
	if again, err := p.Encode(); err != nil || string(again) != string(b) {
		return nil, nil, nil, errCheckpoint
	}
	c, err := OpenCheckpoint(keys, []byte(p.Note))
	if err != nil {
		return nil, nil, nil, err
	}
	heads := make([]Head, len(p.Heads))
	for i, line := range p.Heads {
		if heads[i], err = ParseHead(line); err != nil {
			return nil, nil, nil, err
		}
	}
	root, _, err := HeadsTree(heads)
	if err != nil || string(root) != string(c.Root) || int64(len(heads)) != c.Heads {
		return nil, nil, nil, fmt.Errorf("checkpoint %d is not of these heads", c.Number)
	}
	return c, heads, []byte(p.Note), nil
}

// Follows fails unless c is the next checkpoint after the one whose signed form
// is before.
func (c *Checkpoint) Follows(before *Checkpoint, note []byte) error {
	switch {
	case c.Number != before.Number+1:
		return fmt.Errorf("checkpoint %d is missing: %d follows %d", before.Number+1, c.Number, before.Number)
	case c.Platform != before.Platform || c.Previous != Digest(note):
		return fmt.Errorf("checkpoint %d doesn't follow from checkpoint %d: the chain is forked", c.Number, before.Number)
	case c.At.Before(before.At):
		return fmt.Errorf("checkpoint %d is older than the one before", c.Number)
	}
	return nil
}
