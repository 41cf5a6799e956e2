// Package transit keeps master keys in the transit engine of OpenBao or
// HashiCorp Vault, over HTTP.
//
// A master key is version 1 of a named transit key (aes256-gcm96, not
// exportable), and nothing else is ever used of that key. To disable it the key
// is rotated and version 1 forbidden; to destroy it version 1 is trimmed, which
// removes its bytes for good and leaves the name as a tombstone.
//
// The policy of the token, for a mount called transit:
//
//	path "transit/keys/vogter-*"    { capabilities = ["create", "read", "update"] }
//	path "transit/encrypt/vogter-*" { capabilities = ["update"] }
//	path "transit/decrypt/vogter-*" { capabilities = ["update"] }
package transit

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/kms"
)

// Config says where the engine is and how to sign in: by a token in a file, or
// by AppRole.
type Config struct {
	Address   string // https://host[:port]/mount
	Namespace string // empty: none
	CAFile    string // PEM of a private CA; empty: the system's

	// TokenFile holds the token. It is read for every call, so that an agent can renew it.
	TokenFile string

	RoleID, SecretID string // of AppRole, mounted at auth/approle

	// Recovery is how long snapshots of the server's storage are kept: a trimmed
	// key can be brought back from them.
	Recovery time.Duration
}

// ErrConfig reports a Config that can't be used.
var ErrConfig = errs.New(errs.Invalid, "the transit engine needs https://host[:port]/mount and either a token file or an AppRole")

// Engine is a mounted transit engine. It may be used concurrently.
type Engine struct {
	client   *client
	mount    string
	recovery time.Duration
}

var _ kms.Wrapper = (*Engine)(nil)

// version is the only version of a transit key that is used.
const version = 1

// state is what the server says of a key.
type state struct {
	Type                 string `json:"type"`
	Latest               int    `json:"latest_version"`
	MinDecryption        int    `json:"min_decryption_version"`
	MinAvailable         int    `json:"min_available_version"`
	Derived              bool   `json:"derived"`
	Exportable           bool   `json:"exportable"`
	AllowPlaintextBackup bool   `json:"allow_plaintext_backup"`
}

// unusable returns why version 1 of the key can't be used, nil if it can.
func (s *state) unusable() error {
	switch {
	case s.MinAvailable > version:
		return kms.ErrDestroyed
	case s.MinDecryption > version:
		return kms.ErrDisabled
	}
	return nil
}

// Open returns the engine that c names. It sends nothing.
func Open(c Config) (*Engine, error) {
	client, mount, err := newClient(c)
	if err != nil {
		return nil, fmt.Errorf("open transit engine: %w", err)
	}
	return &Engine{client: client, mount: mount, recovery: c.Recovery}, nil
}

// Create makes the transit key of that name unless it exists; its reference is
// its name. A key of that name that others could read in the clear is refused.
func (e *Engine) Create(ctx context.Context, name string) (string, error) {
	if err := kms.CheckName(name); err != nil {
		return "", fmt.Errorf("create master key: %w", err)
	}
	s, err := e.state(ctx, name)
	if errors.Is(err, kms.ErrNoKey) {
		if err = e.client.call(ctx, http.MethodPost, e.path("keys", name), map[string]any{"type": "aes256-gcm96"}, nil); err == nil {
			s, err = e.state(ctx, name)
		}
	}
	if err != nil {
		return "", fmt.Errorf("create master key %s: %w", name, err)
	}
	if s.MinAvailable > version {
		return "", fmt.Errorf("create master key %s: %w", name, kms.ErrDestroyed)
	}
	if s.Type != "aes256-gcm96" || s.Derived || s.Exportable || s.AllowPlaintextBackup {
		return "", errs.New(errs.Internal, "create master key %s: there is one of another kind", name)
	}
	return name, nil
}

// Wrap seals plaintext under the master key.
func (e *Engine) Wrap(ctx context.Context, keyRef string, plaintext, aad []byte) ([]byte, error) {
	if len(plaintext) > kms.MaxSize {
		return nil, kms.ErrSize
	}
	// The engine would make a key that isn't there.
	s, err := e.state(ctx, keyRef)
	if err == nil {
		err = s.unusable()
	}
	if err != nil {
		return nil, fmt.Errorf("wrap under %s: %w", keyRef, err)
	}
	var out struct {
		Ciphertext string `json:"ciphertext"`
	}
	err = e.client.call(ctx, http.MethodPost, e.path("encrypt", keyRef), map[string]any{
		"plaintext":       base64.StdEncoding.EncodeToString(plaintext),
		"associated_data": base64.StdEncoding.EncodeToString(aad),
		"key_version":     version,
	}, &out)
	if err != nil {
		return nil, fmt.Errorf("wrap under %s: %w", keyRef, e.explain(ctx, keyRef, err))
	}
	return []byte(out.Ciphertext), nil
}

// Unwrap returns what Wrap sealed.
func (e *Engine) Unwrap(ctx context.Context, keyRef string, wrapped, aad []byte) ([]byte, error) {
	var out struct {
		Plaintext []byte `json:"plaintext"` // base64 in JSON
	}
	err := e.client.call(ctx, http.MethodPost, e.path("decrypt", keyRef), map[string]any{
		"ciphertext":      string(bytes.ToValidUTF8(wrapped, nil)),
		"associated_data": base64.StdEncoding.EncodeToString(aad),
	}, &out)
	if err != nil {
		return nil, fmt.Errorf("unwrap under %s: %w", keyRef, e.explain(ctx, keyRef, err))
	}
	return out.Plaintext, nil
}

// Disable forbids version 1.
func (e *Engine) Disable(ctx context.Context, keyRef string) error {
	s, err := e.state(ctx, keyRef)
	if err == nil && s.MinAvailable > version {
		err = kms.ErrDestroyed
	}
	if err == nil {
		err = e.forbid(ctx, keyRef, s)
	}
	if err != nil {
		return fmt.Errorf("disable master key %s: %w", keyRef, err)
	}
	return nil
}

// forbid makes version 1 the last but one and forbids it.
func (e *Engine) forbid(ctx context.Context, keyRef string, s *state) error {
	if s.Latest == version {
		if err := e.client.call(ctx, http.MethodPost, e.path("keys", keyRef, "rotate"), nil, nil); err != nil {
			return err
		}
	}
	return e.allow(ctx, keyRef, version+1)
}

// allow sets the oldest version of the key that may be used.
func (e *Engine) allow(ctx context.Context, keyRef string, oldest int) error {
	return e.client.call(ctx, http.MethodPost, e.path("keys", keyRef, "config"),
		map[string]any{"min_decryption_version": oldest, "min_encryption_version": oldest}, nil)
}

// Enable allows version 1 again.
func (e *Engine) Enable(ctx context.Context, keyRef string) error {
	s, err := e.state(ctx, keyRef)
	switch {
	case err != nil:
	case s.MinAvailable > version:
		err = kms.ErrDestroyed
	default:
		err = e.allow(ctx, keyRef, version)
	}
	if err != nil {
		return fmt.Errorf("enable master key %s: %w", keyRef, err)
	}
	return nil
}

// Destroy removes version 1 for good.
func (e *Engine) Destroy(ctx context.Context, keyRef string) error {
	s, err := e.state(ctx, keyRef)
	if err == nil && s.MinAvailable > version {
		return nil
	}
	if err == nil {
		err = e.forbid(ctx, keyRef, s)
	}
	if err == nil {
		err = e.client.call(ctx, http.MethodPost, e.path("keys", keyRef, "trim"),
			map[string]any{"min_available_version": version + 1}, nil)
	}
	if err != nil {
		return fmt.Errorf("destroy master key %s: %w", keyRef, err)
	}
	return nil
}

// Recovery returns how long snapshots of the server's storage are kept.
func (e *Engine) Recovery() time.Duration { return e.recovery }

// Development reports false.
func (e *Engine) Development() bool { return false }

func (e *Engine) state(ctx context.Context, keyRef string) (*state, error) {
	if kms.CheckName(keyRef) != nil {
		return nil, kms.ErrNoKey
	}
	var s state
	err := e.client.call(ctx, http.MethodGet, e.path("keys", keyRef), nil, &s)
	if errors.Is(err, errNotFound) {
		return nil, kms.ErrNoKey.Because(err)
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// explain says why the engine refused what was sent: it tells by words only, so
// the key's state is asked for.
func (e *Engine) explain(ctx context.Context, keyRef string, err error) error {
	if !errors.Is(err, errRefused) && !errors.Is(err, errNotFound) {
		return err
	}
	s, serr := e.state(ctx, keyRef)
	if serr != nil {
		return serr
	}
	if why := s.unusable(); why != nil {
		return why
	}
	return kms.ErrAuth.Because(err)
}

func (e *Engine) path(parts ...string) string { return e.mount + "/" + strings.Join(parts, "/") }
