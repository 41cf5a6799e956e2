// Package gcp keeps master keys in Google Cloud KMS, over its REST API.
//
// A master key is version 1 of a symmetric key of one key ring, and nothing else
// is ever used of that key: its rotation must stay off. Google keeps the name of a
// key for ever, so a destroyed one leaves a tombstone. A destroyed version waits
// for the time that is set when the key is made, in which an administrator of the
// project can restore it.
//
// Who calls is the service account of the machine, by its metadata server, or who a
// token is of that lies in a file. The account needs, on the key ring,
// roles/cloudkms.cryptoKeyEncrypterDecrypter, and of roles/cloudkms.admin the
// permissions cryptoKeys.create and get, and cryptoKeyVersions.get, update and
// destroy.
package gcp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/kms"
)

// Config says where the keys are and how to sign in.
type Config struct {
	KeyRing string // projects/PROJECT/locations/LOCATION/keyRings/RING

	// TokenFile holds an access token. It is read for every call, so that an agent can
	// renew it. Empty: the metadata server of the machine gives tokens.
	TokenFile string
	CAFile    string // PEM of a private CA; empty: the system's

	// Recovery is how long a destroyed key waits, in which it can be restored: 24 hours
	// to 120 days, as Google allows. Keys that were made with another are refused.
	Recovery time.Duration

	Now func() time.Time

	// Endpoint and Metadata are other addresses than Google's; empty: Google's.
	Endpoint string // https
	Metadata string // http
}

// ErrConfig reports a Config that can't be used.
var ErrConfig = errs.New(errs.Invalid,
	"Google Cloud KMS needs projects/PROJECT/locations/LOCATION/keyRings/RING, and a recovery of 24h to 2880h")

const (
	minRecovery = 24 * time.Hour
	maxRecovery = 120 * 24 * time.Hour
	purpose     = "ENCRYPT_DECRYPT"
	algorithm   = "GOOGLE_SYMMETRIC_ENCRYPTION"
)

// The states of a version that are told apart.
const (
	enabled   = "ENABLED"
	disabled  = "DISABLED"
	destroyed = "DESTROYED"
	scheduled = "DESTROY_SCHEDULED"
)

// ValidRing reports whether s names a key ring.
func ValidRing(s string) bool {
	return regexp.MustCompile(`^projects/[a-z][a-z0-9:.-]+/locations/[a-z0-9-]+/keyRings/[a-zA-Z0-9_-]{1,63}$`).MatchString(s)
}

// Ring is a key ring. It may be used concurrently.
type Ring struct {
	client   *client
	prefix   string // of a key's reference
	recovery time.Duration
}

var _ kms.Wrapper = (*Ring)(nil)

// Open returns the key ring that c names. It sends nothing.
func Open(c Config) (*Ring, error) {
	if !ValidRing(c.KeyRing) || c.Recovery < minRecovery || c.Recovery > maxRecovery || c.Recovery%time.Second != 0 {
		return nil, ErrConfig
	}
	client, err := newClient(&c)
	if err != nil {
		return nil, fmt.Errorf("open Google Cloud KMS: %w", err)
	}
	return &Ring{client, c.KeyRing + "/cryptoKeys/", c.Recovery}, nil
}

// key is what Google says of a key.
type key struct {
	Purpose         string            `json:"purpose,omitempty"`
	VersionTemplate map[string]string `json:"versionTemplate,omitempty"`
	Wait            string            `json:"destroyScheduledDuration,omitempty"`
	NextRotation    string            `json:"nextRotationTime,omitempty"`
}

// Create makes the key of that name unless it exists; its reference is its full
// name. A key of that name that is of another kind, rotates, or waits for another
// time when it is destroyed, is refused.
func (r *Ring) Create(ctx context.Context, name string) (string, error) {
	if err := kms.CheckName(name); err != nil {
		return "", fmt.Errorf("create master key: %w", err)
	}
	ref := r.prefix + name
	want := key{Purpose: purpose, VersionTemplate: map[string]string{"algorithm": algorithm}, Wait: fmt.Sprintf("%ds", int64(r.recovery/time.Second))}
	err := r.client.call(ctx, http.MethodPost, strings.TrimSuffix(r.prefix, "/")+"?cryptoKeyId="+url.QueryEscape(name), want, nil)
	if err != nil && !errors.Is(err, errExists) {
		return "", fmt.Errorf("create master key %s: %w", name, unavailable(err))
	}
	var have key
	if err := r.client.call(ctx, http.MethodGet, ref, nil, &have); err != nil {
		return "", fmt.Errorf("create master key %s: %w", name, unavailable(err))
	}
	if have.Purpose != want.Purpose || have.VersionTemplate["algorithm"] != algorithm || have.Wait != want.Wait || have.NextRotation != "" {
		return "", errs.New(errs.Internal, "create master key %s: there is one of another kind, that rotates, or that waits for another time", name)
	}
	switch s, err := r.state(ctx, ref); {
	case err != nil:
		return "", fmt.Errorf("create master key %s: %w", name, err)
	case s == destroyed || s == scheduled:
		return "", fmt.Errorf("create master key %s: %w", name, kms.ErrDestroyed)
	}
	return ref, nil
}

// Wrap seals plaintext under the master key.
func (r *Ring) Wrap(ctx context.Context, keyRef string, plaintext, aad []byte) ([]byte, error) {
	if len(plaintext) > kms.MaxSize {
		return nil, kms.ErrSize
	}
	var out struct {
		Ciphertext []byte `json:"ciphertext"` // base64 in JSON
	}
	err := r.use(ctx, keyRef, first(keyRef)+":encrypt", map[string]string{
		"plaintext": encode(plaintext), "additionalAuthenticatedData": encode(aad),
	}, &out)
	if err != nil {
		return nil, fmt.Errorf("wrap under %s: %w", keyRef, err)
	}
	return out.Ciphertext, nil
}

// Unwrap returns what Wrap sealed.
func (r *Ring) Unwrap(ctx context.Context, keyRef string, wrapped, aad []byte) ([]byte, error) {
	var out struct {
		Plaintext []byte `json:"plaintext"`
	}
	err := r.use(ctx, keyRef, keyRef+":decrypt", map[string]string{
		"ciphertext": encode(wrapped), "additionalAuthenticatedData": encode(aad),
	}, &out)
	if err != nil {
		return nil, fmt.Errorf("unwrap under %s: %w", keyRef, err)
	}
	return out.Plaintext, nil
}

// use is a call that needs the key, which says why it is refused.
func (r *Ring) use(ctx context.Context, keyRef, path string, in, out any) error {
	if err := r.check(keyRef); err != nil {
		return err
	}
	err := r.client.call(ctx, http.MethodPost, path, in, out)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotFound):
		return kms.ErrNoKey.Because(err)
	case !errors.Is(err, errRefused):
		return unavailable(err)
	}
	// Google tells why in words only, so the state of the key is asked for.
	switch s, serr := r.state(ctx, keyRef); {
	case serr != nil:
		return serr
	case s == destroyed, s == scheduled:
		return kms.ErrDestroyed.Because(err)
	case s == disabled:
		return kms.ErrDisabled.Because(err)
	case s == enabled:
		return kms.ErrAuth.Because(err)
	default: // not ready yet
		return unavailable(err)
	}
}

// Disable disables the version.
func (r *Ring) Disable(ctx context.Context, keyRef string) error {
	if err := r.set(ctx, keyRef, disabled); err != nil {
		return fmt.Errorf("disable master key %s: %w", keyRef, err)
	}
	return nil
}

// Enable enables the version.
func (r *Ring) Enable(ctx context.Context, keyRef string) error {
	if err := r.set(ctx, keyRef, enabled); err != nil {
		return fmt.Errorf("enable master key %s: %w", keyRef, err)
	}
	return nil
}

func (r *Ring) set(ctx context.Context, keyRef, to string) error {
	switch s, err := r.state(ctx, keyRef); {
	case err != nil:
		return err
	case s == to:
		return nil
	case s == destroyed, s == scheduled:
		return kms.ErrDestroyed
	}
	return r.use(ctx, keyRef, first(keyRef)+"?updateMask=state", map[string]string{"state": to}, nil)
}

// Destroy schedules the version for destruction, which nothing but its
// restoration ends.
func (r *Ring) Destroy(ctx context.Context, keyRef string) error {
	s, err := r.state(ctx, keyRef)
	if err == nil && s != destroyed && s != scheduled {
		err = r.use(ctx, keyRef, first(keyRef)+":destroy", nil, nil)
	}
	if err != nil && !errors.Is(err, kms.ErrDestroyed) { // by another process, meanwhile
		return fmt.Errorf("destroy master key %s: %w", keyRef, err)
	}
	return nil
}

// Recovery returns for how long a destroyed version can be restored.
func (r *Ring) Recovery() time.Duration { return r.recovery }

// Development reports false.
func (r *Ring) Development() bool { return false }

// state returns the state of the only version that is used.
func (r *Ring) state(ctx context.Context, keyRef string) (string, error) {
	if err := r.check(keyRef); err != nil {
		return "", err
	}
	var v struct {
		State string `json:"state"`
	}
	err := r.client.call(ctx, http.MethodGet, first(keyRef), nil, &v)
	if errors.Is(err, errNotFound) {
		return "", kms.ErrNoKey.Because(err)
	}
	if err != nil {
		return "", unavailable(err)
	}
	return v.State, nil
}

// check returns kms.ErrNoKey for what is no reference to a key of the ring.
func (r *Ring) check(keyRef string) error {
	if name, ok := strings.CutPrefix(keyRef, r.prefix); !ok || kms.CheckName(name) != nil {
		return kms.ErrNoKey
	}
	return nil
}

func first(keyRef string) string { return keyRef + "/cryptoKeyVersions/1" }

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func unavailable(err error) error {
	if errors.Is(err, kms.ErrUnavailable) {
		return err
	}
	return kms.ErrUnavailable.Because(err)
}
