// Package kms says what Vogter asks of a key management service: to hold one
// master key per epoch, wrap and unwrap small secrets under it, and destroy it
// alone. The adapters are in its subpackages; kmstest is their contract.
package kms

import (
	"context"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/errs"
)

// The ways in which a key management service can fail. An adapter wraps one of
// these. What is none of them is taken for ErrUnavailable.
var (
	// ErrUnavailable: the service can't be reached or refuses us; the same call may succeed later.
	ErrUnavailable = errs.New(errs.Unavailable, "the key management service is unavailable")
	// ErrNoKey: there is no master key of that reference.
	ErrNoKey = errs.New(errs.Internal, "no such master key")
	// ErrDisabled: the master key is disabled; Enable makes it usable again.
	ErrDisabled = errs.New(errs.Internal, "the master key is disabled")
	// ErrDestroyed: the master key was destroyed; what it wrapped is gone for good.
	ErrDestroyed = errs.New(errs.Internal, "the master key is destroyed")
	// ErrAuth: the wrapped bytes or the associated data are not those that were wrapped.
	ErrAuth = errs.New(errs.Internal, "the wrapped key is not authentic")
	// ErrSize: the plaintext is longer than MaxSize.
	ErrSize = errs.New(errs.Internal, "more than %d bytes to wrap", MaxSize)
	// ErrName: a name that isn't lower-case letters, digits and hyphens.
	ErrName = errs.New(errs.Internal, "a master key's name is lower-case letters, digits and hyphens")
)

// MaxSize is the longest plaintext that Wrap takes, in bytes.
const MaxSize = 4 << 10

// Wrapper is a key management service. Its methods may be called concurrently,
// also by several processes.
type Wrapper interface {
	// Create makes the master key of that name unless it exists, and returns the
	// reference by which the other methods know it. A destroyed key's name is
	// never used again: ErrDestroyed.
	Create(ctx context.Context, name string) (keyRef string, err error)

	// Wrap seals plaintext, at most MaxSize bytes, under the master key and binds it to aad.
	Wrap(ctx context.Context, keyRef string, plaintext, aad []byte) ([]byte, error)

	// Unwrap returns what Wrap sealed. A service without associated data may
	// ignore aad, so callers repeat inside the plaintext what they rely on.
	Unwrap(ctx context.Context, keyRef string, wrapped, aad []byte) ([]byte, error)

	// Disable makes the master key unusable until Enable. Repeating either is no
	// error; a destroyed key is ErrDestroyed.
	Disable(ctx context.Context, keyRef string) error
	Enable(ctx context.Context, keyRef string) error

	// Destroy makes the master key unusable for ever, at once or, where the
	// service insists on a waiting time, as soon as it allows. Repeating it is
	// no error.
	Destroy(ctx context.Context, keyRef string) error

	// Recovery returns how long after Destroy the service itself, or a snapshot
	// of it that its operator keeps, could still bring a key back.
	Recovery() time.Duration

	// Development reports that the service is for development only: production
	// mode refuses to start with it.
	Development() bool
}

// Adapters open the services that a program has beside the core's own, by the
// word that names them in VOGTER_KMS. What follows the word and a colon is the
// address; Open sends nothing there.
type Adapters map[string]func(ctx context.Context, address string) (Wrapper, error)

// CheckName returns ErrName unless name is fit for Create.
func CheckName(name string) error {
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ErrName
	}
	return nil
}
