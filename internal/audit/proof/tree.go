// Package proof has the forms by which the audit log can be checked without the
// platform: the Merkle tree of a tenant's log (RFC 6962), the signed checkpoint
// over the heads of all logs, and the bundle of entries with their proofs. It
// reads and writes nothing itself. internal/audit/FORMAT.md describes the forms.
package proof

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/vogter/vogter/internal/tenant"
)

// HashSize is the size of every hash, in bytes.
const HashSize = sha256.Size

// ErrTree reports hashes that don't make up the tree.
var ErrTree = errors.New("the hashes of the tree are missing or not the right ones")

// Head says where a tenant's log stands. A tenant has one log, and another one
// after each restore of the database; an entry's place in its log is its seq
// less Base.
type Head struct {
	Tenant tenant.ID
	Log    int64 // number of the log, from 0
	Base   int64 // seq of the log's first entry
	Size   int64 // entries in the log
	Root   []byte
}

// Line returns the head as a line of text: it is the head's leaf in the tree of
// a checkpoint.
func (h *Head) Line() string {
	return fmt.Sprintf("%s %d %d %d %s", h.Tenant, h.Log, h.Base, h.Size, base64.StdEncoding.EncodeToString(h.Root))
}

// ParseHead reads what Line wrote.
func ParseHead(line string) (h Head, err error) {
	parts := strings.Split(line, " ")
	const fields = 5
	if len(parts) != fields {
		return h, errors.New("malformed head of a log")
	}
	h.Tenant = tenant.ID(parts[0])
	for i, into := range []*int64{&h.Log, &h.Base, &h.Size} {
		n, err := strconv.ParseInt(parts[i+1], 10, 64)
		if err != nil || n < 0 {
			return h, errors.New("malformed head of a log")
		}
		*into = n
	}
	if h.Root, err = base64.StdEncoding.DecodeString(parts[4]); err != nil || len(h.Root) != HashSize || h.Line() != line {
		return h, errors.New("malformed head of a log")
	}
	return h, nil
}

// LeafHash returns the hash of a leaf.
func LeafHash(leaf []byte) [HashSize]byte {
	b := make([]byte, 1, 1+len(leaf))
	b[0] = rfc6962.RFC6962LeafHashPrefix
	return sha256.Sum256(append(b, leaf...))
}

// hashChildren returns the hash of an inner node.
func hashChildren(left, right []byte) []byte {
	var b [1 + 2*HashSize]byte
	b[0] = rfc6962.RFC6962NodeHashPrefix
	copy(b[1:], left)
	copy(b[1+HashSize:], right)
	sum := sha256.Sum256(b[:])
	return sum[:]
}

func factory() *compact.RangeFactory { return &compact.RangeFactory{Hash: hashChildren} }

// The tree is kept in tiles of 256 hashes: those of level 0, the leaves, and of
// every 8th level above. What lies between is computed from them.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// TileID names a tile: its hashes are nodes of level 8 × Level, from 256 × Index.
type TileID struct {
	Level int
	Index int64
}

// Tile holds up to 256 hashes, one after the other.
type Tile struct {
	ID     TileID
	Hashes []byte
}

// Tree is a log's tree at its right edge, from where it grows.
type Tree struct {
	edge *compact.Range
	open map[TileID]*Tile
}

// Open returns the tree of a size with its edge, the hashes of the largest whole
// subtrees from left to right, and its tiles that have room left (see OpenTiles).
func Open(size int64, edge [][]byte, tiles []Tile) (*Tree, error) {
	r, err := factory().NewRange(0, uint64(size), edge) //nolint:gosec // G115: sizes are never negative
	if err != nil {
		return nil, ErrTree
	}
	t := &Tree{edge: r, open: make(map[TileID]*Tile, len(tiles))}
	for i := range tiles {
		t.open[tiles[i].ID] = &tiles[i]
	}
	for id, filled := range openTiles(size) {
		if tile := t.open[id]; tile == nil || len(tile.Hashes) != filled*HashSize {
			return nil, ErrTree
		}
	}
	return t, nil
}

// OpenAt is Open for a size that the stored tree may have outgrown: then its
// tiles hold more, which is left out.
func OpenAt(size int64, edge [][]byte, tiles []Tile) (*Tree, error) {
	filled := openTiles(size)
	then := make([]Tile, len(tiles))
	for i, t := range tiles {
		n := min(len(t.Hashes), filled[t.ID]*HashSize)
		then[i] = Tile{t.ID, t.Hashes[:n:n]}
	}
	return Open(size, edge, then)
}

// openTiles returns the tiles of a tree that have room left, and how many hashes
// each holds.
func openTiles(size int64) map[TileID]int {
	open := map[TileID]int{}
	for level, n := 0, size; n > 0; level, n = level+1, n>>tileHeight {
		if filled := int(n % tileWidth); filled > 0 {
			open[TileID{level, n >> tileHeight}] = filled
		}
	}
	return open
}

// OpenTiles returns the tiles from which a tree of that size grows.
func OpenTiles(size int64) []TileID {
	var ids []TileID
	for id := range openTiles(size) {
		ids = append(ids, id)
	}
	return ids
}

// Append adds leaves, given by their hashes, and returns the tiles that are new
// or have grown.
func (t *Tree) Append(leaves [][HashSize]byte) ([]Tile, error) {
	grown := map[TileID]*Tile{}
	visit := func(id compact.NodeID, hash []byte) {
		if id.Level%tileHeight != 0 {
			return
		}
		at := TileID{int(id.Level / tileHeight), int64(id.Index / tileWidth)} //nolint:gosec // G115: at most 64 levels, and indexes below the size
		tile := t.open[at]
		if tile == nil {
			tile = &Tile{ID: at}
			t.open[at] = tile
		}
		tile.Hashes = append(tile.Hashes, hash...)
		grown[at] = tile
	}
	for i := range leaves {
		if err := t.edge.Append(leaves[i][:], visit); err != nil {
			return nil, ErrTree
		}
	}
	tiles := make([]Tile, 0, len(grown))
	for id, tile := range grown {
		tiles = append(tiles, *tile)
		if len(tile.Hashes) == tileWidth*HashSize {
			delete(t.open, id)
		}
	}
	return tiles, nil
}

// Size returns the number of leaves.
func (t *Tree) Size() int64 { return int64(t.edge.End()) } //nolint:gosec // G115: it was an int64

// Edge returns the tree's edge, as Open takes it.
func (t *Tree) Edge() [][]byte { return t.edge.Hashes() }

// Root returns the root hash.
func (t *Tree) Root() []byte { return root(t.edge) }

func root(r *compact.Range) []byte {
	hash, err := r.GetRootHash(nil)
	if err != nil || hash == nil {
		return rfc6962.DefaultHasher.EmptyRoot()
	}
	return hash
}

// Tiles reads the tiles of one log. Those that aren't there are left out.
type Tiles func(ctx context.Context, ids []TileID) ([]Tile, error)

// hashes returns the nodes' hashes, with one question for all tiles.
func (read Tiles) hashes(ctx context.Context, nodes []compact.NodeID) ([][]byte, error) {
	wanted := map[TileID][]byte{}
	for _, n := range nodes {
		id, _, _ := locate(n)
		wanted[id] = nil
	}
	ids := make([]TileID, 0, len(wanted))
	for id := range wanted {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	tiles, err := read(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read tiles: %w", err)
	}
	for _, t := range tiles {
		wanted[t.ID] = t.Hashes
	}
	out := make([][]byte, len(nodes))
	for i, n := range nodes {
		id, from, to := locate(n)
		if len(wanted[id]) < to {
			return nil, ErrTree
		}
		out[i] = fold(wanted[id][from:to])
	}
	return out, nil
}

// locate returns the tile that has what a node is computed from, and where.
func locate(n compact.NodeID) (id TileID, from, to int) {
	within := n.Level % tileHeight
	first := n.Index << within
	id = TileID{int(n.Level / tileHeight), int64(first / tileWidth)} //nolint:gosec // G115: at most 64 levels, and indexes below the size
	from = int(first%tileWidth) * HashSize
	return id, from, from + HashSize<<within
}

// fold returns the root of a whole subtree with these leaves, a power of two.
func fold(hashes []byte) []byte {
	if len(hashes) == HashSize {
		return hashes
	}
	half := len(hashes) / 2
	return hashChildren(fold(hashes[:half]), fold(hashes[half:]))
}

// Inclusion proves that the leaf of that index is in the tree of that size.
func Inclusion(ctx context.Context, read Tiles, index, size int64) ([][]byte, error) {
	if index < 0 || index >= size {
		return nil, ErrTree
	}
	nodes, err := proof.Inclusion(uint64(index), uint64(size)) //nolint:gosec // G115: neither is negative
	if err != nil {
		return nil, ErrTree
	}
	return rehash(ctx, read, nodes)
}

// Consistency proves that the tree of one size is the beginning of a larger one.
func Consistency(ctx context.Context, read Tiles, from, to int64) ([][]byte, error) {
	if from < 0 || from > to {
		return nil, ErrTree
	}
	nodes, err := proof.Consistency(uint64(from), uint64(to)) //nolint:gosec // G115: neither is negative
	if err != nil {
		return nil, ErrTree
	}
	return rehash(ctx, read, nodes)
}

func rehash(ctx context.Context, read Tiles, nodes proof.Nodes) ([][]byte, error) {
	hashes, err := read.hashes(ctx, nodes.IDs)
	if err != nil {
		return nil, err
	}
	path, err := nodes.Rehash(hashes, hashChildren)
	if err != nil {
		return nil, ErrTree
	}
	return path, nil
}

// Edge returns the edge of the tree at that size: what its leaves from there on
// are checked with.
func Edge(ctx context.Context, read Tiles, size int64) ([][]byte, error) {
	return read.hashes(ctx, compact.RangeNodes(0, uint64(size), nil)) //nolint:gosec // G115: sizes are never negative
}

// CheckInclusion reports whether the proof shows the leaf in the tree.
func CheckInclusion(leaf [HashSize]byte, index, size int64, path [][]byte, root []byte) bool {
	return index >= 0 && index < size &&
		proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), leaf[:], path, root) == nil //nolint:gosec // G115: index is below it
}

// CheckConsistency reports whether the proof shows one tree as the beginning of
// the other.
func CheckConsistency(from, to *Head, path [][]byte) bool {
	if from.Tenant != to.Tenant || from.Log != to.Log || from.Base != to.Base || from.Size < 0 || from.Size > to.Size {
		return false
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(from.Size), uint64(to.Size), path, from.Root, to.Root) == nil //nolint:gosec // G115: neither is negative
}

// RootAt returns the root of the tree when it had that size.
func RootAt(ctx context.Context, read Tiles, size int64) ([]byte, error) {
	edge, err := Edge(ctx, read, size)
	if err != nil {
		return nil, err
	}
	r, err := factory().NewRange(0, uint64(size), edge) //nolint:gosec // G115: sizes are never negative
	if err != nil {
		return nil, ErrTree
	}
	return root(r), nil
}
