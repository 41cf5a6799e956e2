package mongod

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// markName is a file beside the store that says how far its log was known to be
// on disk. The store takes a damaged record near the end of its log for one that
// was being written when the machine stopped, and forgets it and what follows;
// against the mark that is seen. The mark is renewed every second and on Close, so
// only damage to the last second before a crash can pass for a torn write.
const markName = "durable"

const markLen = 12 // sequence number, checksum

// formatUpgrades are the steps from one format version to the next, the first
// from version 1. The current version is one more than their number.
func formatUpgrades() []func(*Server) error {
	return []func(*Server) error{
		func(*Server) error { return nil }, // 2: there is a mark, which checkFormat has made
	}
}

// checkFormat proves that the log is complete, refuses a folder of a newer format
// and upgrades one of an older format.
func (s *Server) checkFormat(upgrades []func(*Server) error) error {
	current := byte(len(upgrades) + 1) //nolint:gosec // a handful
	stored, err := readKey(s.db, []byte{spaceFormat})
	if err != nil {
		return err
	}
	version := current // of a new folder
	if stored != nil {
		if len(stored) != 1 || stored[0] == 0 {
			return fmt.Errorf("read format version: %w", ErrDamaged)
		}
		version = stored[0]
	}
	if version > current {
		return fmt.Errorf("open store: format version %d, this program reads up to %d", version, current)
	}
	if err := s.openMark(stored == nil || version == 1); err != nil {
		return err
	}
	if stored == nil || version < current {
		if err := s.upgrade(upgrades[version-1:], current); err != nil {
			return err
		}
	}
	s.commits.applied, err = s.nextNumber()
	return err
}

func (s *Server) upgrade(steps []func(*Server) error, current byte) error {
	for _, step := range steps {
		if err := step(s); err != nil {
			return fmt.Errorf("upgrade to format version %d: %w", current, err)
		}
	}
	if err := s.db.Set([]byte{spaceFormat}, []byte{current}, pebble.Sync); err != nil {
		return fmt.Errorf("write format version: %w", err)
	}
	return nil
}

// openMark compares the mark with the store. A missing one is made if that is to
// be expected.
func (s *Server) openMark(expectMissing bool) error {
	path := filepath.Join(s.dir, markName)
	_, err := s.fs.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if missing && !expectMissing {
		return fmt.Errorf("open store: file %s is missing: %w", markName, ErrDamaged)
	}
	if err == nil || missing {
		s.mark, err = s.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	}
	if err != nil {
		return fmt.Errorf("open mark: %w", err)
	}
	if missing {
		return s.writeMark(0)
	}
	var content [markLen]byte
	_, err = s.mark.ReadAt(content[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read mark: %w", err)
	}
	if err != nil || markSum(content[:8]) != binary.BigEndian.Uint32(content[8:]) {
		return fmt.Errorf("open store: file %s: %w", markName, ErrDamaged)
	}
	next, err := s.nextNumber()
	if err != nil {
		return err
	}
	if durable := binary.BigEndian.Uint64(content[:]); next < durable {
		return fmt.Errorf("open store: the log lacks %d writes that were on disk: %w", durable-next, ErrDamaged)
	}
	return nil
}

// nextNumber returns the number that the store gives to the next write.
func (s *Server) nextNumber() (uint64, error) {
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	err := batch.LogData(nil, nil) // a batch that numbers nothing
	if err == nil {
		err = s.db.Apply(batch, pebble.NoSync)
	}
	if err != nil {
		return 0, fmt.Errorf("look at the log: %w", err)
	}
	return uint64(batch.SeqNum()), nil
}

func markSum(number []byte) uint32 {
	return crc32.Checksum(number, crc32.MakeTable(crc32.Castagnoli))
}

// renewMark notes what is on disk now, if that is more than the mark says.
func (s *Server) renewMark() error {
	s.commits.mu.Lock()
	durable := s.commits.visible.number
	s.commits.mu.Unlock()
	if durable == s.marked {
		return nil
	}
	return s.writeMark(durable)
}

func (s *Server) writeMark(durable uint64) error {
	content := binary.BigEndian.AppendUint64(nil, durable)
	content = binary.BigEndian.AppendUint32(content, markSum(content))
	_, err := s.mark.WriteAt(content, 0)
	if err == nil {
		err = s.mark.SyncData()
	}
	if err != nil {
		return fmt.Errorf("write mark: %w", err)
	}
	s.marked = durable
	return nil
}

// openError tells a store that cannot be understood from a disk that fails.
func openError(err error) error {
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return fmt.Errorf("open store: %w", err)
	}
	return fmt.Errorf("open store: %w: %w", ErrDamaged, err)
}
