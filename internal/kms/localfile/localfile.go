// Package localfile is the key management service of one machine: the master
// keys lie in one file. Whoever reads the file reads everything, and a copy of
// it outlives a destroyed key, so it is for development and evaluation only;
// production mode refuses it.
package localfile

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/kms"
)

const (
	format  = "vogter-kms-1"
	keySize = 32
)

// ErrMode reports a key file that others than its owner may read or write.
var ErrMode = errs.New(errs.Internal, "the master key file must be accessible to its owner only (mode 0600)")

// File keeps master keys in one file of mode 0600. It holds no state but the
// path: every call reads the file, so several processes can share it.
type File struct {
	path string
	now  func() time.Time
}

var _ kms.Wrapper = (*File)(nil)

// Open returns the key file at path, which is made when the first master key
// is. It fails when the file is there and can't be used. The clock dates
// creation and destruction.
func Open(path string, now func() time.Time) (*File, error) {
	f := &File{path: path, now: now}
	if _, err := f.read(); err != nil {
		return nil, fmt.Errorf("open master key file: %w", err)
	}
	return f, nil
}

// document is the file's content, as JSON.
type document struct {
	Format string             `json:"format"`
	Keys   map[string]*master `json:"keys"` // by reference
}

// master is one key. A destroyed one stays, without its bytes, so that its name
// is never used again.
type master struct {
	Key       []byte     `json:"key,omitempty"`
	Created   time.Time  `json:"created"`
	Disabled  bool       `json:"disabled,omitempty"`
	Destroyed *time.Time `json:"destroyed,omitempty"`
}

// Create makes the master key of that name unless it exists; its reference is its name.
func (f *File) Create(_ context.Context, name string) (string, error) {
	if err := kms.CheckName(name); err != nil {
		return "", fmt.Errorf("create master key: %w", err)
	}
	err := f.update(func(d *document) (changed bool, err error) {
		if m, ok := d.Keys[name]; ok {
			if m.Destroyed != nil {
				return false, kms.ErrDestroyed
			}
			return false, nil
		}
		key := make([]byte, keySize)
		rand.Read(key) // never fails
		d.Keys[name] = &master{Key: key, Created: f.now().UTC()}
		return true, nil
	})
	if err != nil {
		return "", fmt.Errorf("create master key %s: %w", name, err)
	}
	return name, nil
}

// Wrap seals plaintext under the master key: nonce, ciphertext, tag of AES-256-GCM.
func (f *File) Wrap(_ context.Context, keyRef string, plaintext, aad []byte) ([]byte, error) {
	if len(plaintext) > kms.MaxSize {
		return nil, kms.ErrSize
	}
	aead, err := f.aead(keyRef)
	if err != nil {
		return nil, fmt.Errorf("wrap under %s: %w", keyRef, err)
	}
	return aead.Seal(nil, nil, plaintext, bind(keyRef, aad)), nil //nolint:gosec // G407: the cipher draws the nonce itself
}

// Unwrap returns what Wrap sealed.
func (f *File) Unwrap(_ context.Context, keyRef string, wrapped, aad []byte) ([]byte, error) {
	aead, err := f.aead(keyRef)
	if err != nil {
		return nil, fmt.Errorf("unwrap under %s: %w", keyRef, err)
	}
	plaintext, err := aead.Open(nil, nil, wrapped, bind(keyRef, aad))
	if err != nil {
		return nil, fmt.Errorf("unwrap under %s: %w", keyRef, kms.ErrAuth)
	}
	return plaintext, nil
}

// Disable makes the key unusable until Enable.
func (f *File) Disable(_ context.Context, keyRef string) error { return f.setDisabled(keyRef, true) }

// Enable makes a disabled key usable again.
func (f *File) Enable(_ context.Context, keyRef string) error { return f.setDisabled(keyRef, false) }

func (f *File) setDisabled(keyRef string, disabled bool) error {
	err := f.update(func(d *document) (changed bool, err error) {
		m, ok := d.Keys[keyRef]
		switch {
		case !ok:
			return false, kms.ErrNoKey
		case m.Destroyed != nil:
			return false, kms.ErrDestroyed
		}
		changed = m.Disabled != disabled
		m.Disabled = disabled
		return changed, nil
	})
	if err != nil {
		return fmt.Errorf("change master key %s: %w", keyRef, err)
	}
	return nil
}

// Destroy removes the key's bytes from the file. The disk's blocks and copies of
// the file are out of its reach: one reason why it is for development only.
func (f *File) Destroy(_ context.Context, keyRef string) error {
	err := f.update(func(d *document) (changed bool, err error) {
		m, ok := d.Keys[keyRef]
		if !ok {
			return false, kms.ErrNoKey
		}
		if m.Destroyed != nil {
			return false, nil
		}
		at := f.now().UTC()
		m.Key, m.Destroyed = nil, &at
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("destroy master key %s: %w", keyRef, err)
	}
	return nil
}

// Recovery returns 0: nothing of the file is kept by this package.
func (f *File) Recovery() time.Duration { return 0 }

// Development reports true: a file is no key management for production.
func (f *File) Development() bool { return true }

func (f *File) aead(keyRef string) (cipher.AEAD, error) {
	d, err := f.read()
	if err != nil {
		return nil, err
	}
	m, ok := d.Keys[keyRef]
	switch {
	case !ok:
		return nil, kms.ErrNoKey
	case m.Destroyed != nil:
		return nil, kms.ErrDestroyed
	case m.Disabled:
		return nil, kms.ErrDisabled
	}
	block, err := aes.NewCipher(m.Key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// read returns the file's content, empty when there is no file yet.
func (f *File) read() (*document, error) {
	d := &document{Format: format, Keys: map[string]*master{}}
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, kms.ErrUnavailable.Because(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, kms.ErrUnavailable.Because(err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, ErrMode
	}
	dec := json.NewDecoder(file)
	dec.DisallowUnknownFields()
	if err := dec.Decode(d); err != nil {
		return nil, errs.New(errs.Internal, "the master key file is damaged")
	}
	if d.Format != format || d.Keys == nil {
		return nil, errs.New(errs.Internal, "the master key file is of another format than %s", format)
	}
	for ref, m := range d.Keys {
		if m == nil || (m.Destroyed == nil && len(m.Key) != keySize) {
			return nil, errs.New(errs.Internal, "master key %s in the key file is damaged", ref)
		}
	}
	return d, nil
}

// update changes the file, alone among all processes, and returns once the
// change is on disk.
func (f *File) update(change func(*document) (changed bool, err error)) error {
	lock, err := os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return kms.ErrUnavailable.Because(err)
	}
	defer lock.Close() // releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return kms.ErrUnavailable.Because(err)
	}
	d, err := f.read()
	if err != nil {
		return err
	}
	changed, err := change(d)
	if err != nil || !changed {
		return err
	}
	if err := f.write(d); err != nil {
		return kms.ErrUnavailable.Because(err)
	}
	return nil
}

// write replaces the file by d: a crash leaves the old one or the new one.
func (f *File) write(d *document) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return fmt.Errorf("encode master keys: %w", err)
	}
	dir := filepath.Dir(f.path)
	tmp, err := os.CreateTemp(dir, filepath.Base(f.path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("create master key file: %w", err)
	}
	defer os.Remove(tmp.Name()) // nothing there after the rename
	_, err = tmp.Write(b.Bytes())
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return fmt.Errorf("write master key file: %w", err)
	}
	if err := os.Rename(tmp.Name(), f.path); err != nil {
		return fmt.Errorf("replace master key file: %w", err)
	}
	parent, err := os.Open(dir) //nolint:gosec // G304: the folder of the configured file
	if err != nil {
		return fmt.Errorf("open folder of master key file: %w", err)
	}
	if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
		return fmt.Errorf("sync folder of master key file: %w", err)
	}
	return nil
}

// bind returns the associated data of a wrapped secret.
func bind(keyRef string, aad []byte) []byte {
	b := make([]byte, 0, len(format)+4+len(keyRef)+len(aad))
	b = append(b, format...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(keyRef))) //nolint:gosec // G115: a reference is a short name
	b = append(b, keyRef...)
	return append(b, aad...)
}
