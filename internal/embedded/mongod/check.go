package mongod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// ErrInconsistent reports an index that does not agree with its documents.
var ErrInconsistent = errors.New("index and documents disagree")

// Check reads everything and proves that the stored documents are well formed,
// that every document has its index entries and every entry its document, and
// that the counts are right. It returns ErrInconsistent with the collection and
// index of the first disagreement. Writes may go on meanwhile.
func (s *Server) Check(ctx context.Context) error {
	v := s.newView()
	for _, c := range v.cat.collections {
		if err := checkCollection(ctx, v, c); err != nil {
			return errors.Join(err, v.close())
		}
	}
	return v.close()
}

func checkCollection(ctx context.Context, v *view, c *collection) error {
	documents, entries := int64(0), make([]int64, len(c.indexes))
	err := v.each(c.id.prefix(), func(key, val []byte) error {
		documents++
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("check: %w", err)
		}
		if len(val) < writeNumberLen {
			return fmt.Errorf("collection %s: damaged document: %w", c.ns, ErrInconsistent)
		}
		doc := val[writeNumberLen:]
		if err := validate(doc, maxNesting); err != nil {
			return fmt.Errorf("collection %s: %w: %w", c.ns, ErrInconsistent, err)
		}
		id, _ := lookup(doc, "_id")
		if !bytes.Equal(c.recordKey(id), key) {
			return fmt.Errorf("collection %s: document under another key: %w", c.ns, ErrInconsistent)
		}
		for i, ix := range c.indexes {
			want, multikey, err := ix.entries(doc, key[identLen:])
			if err != nil {
				return err
			}
			if multikey&^ix.multikey.Load() != 0 {
				return fmt.Errorf("collection %s: index %s is not marked as multikey: %w", c.ns, ix.name, ErrInconsistent)
			}
			entries[i] += int64(len(want))
			for _, e := range want {
				got, err := v.get(e.key)
				if err != nil {
					return err
				}
				if !bytes.Equal(got, e.val) {
					return fmt.Errorf("collection %s: index %s misses a document: %w", c.ns, ix.name, ErrInconsistent)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, ix := range c.indexes {
		n := int64(0)
		if err := v.each(ix.prefix(), func(_, _ []byte) error { n++; return ctx.Err() }); err != nil {
			return err
		}
		// All entries that documents need exist, so more are strays.
		if n != entries[i] {
			return fmt.Errorf("collection %s: index %s has %d entries without a document: %w", c.ns, ix.name, n-entries[i], ErrInconsistent)
		}
	}
	count, err := v.get(identPrefix(spaceCount, c.ident))
	if err != nil {
		return err
	}
	counted := int64(0)
	if count != nil {
		counted = decodeCount(count)
	}
	if counted != documents {
		return fmt.Errorf("collection %s: %d documents are counted as %d: %w", c.ns, documents, counted, ErrInconsistent)
	}
	return nil
}
