package config

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// SecretString is a secret that shows itself to nobody but the caller of
// Reveal: not in logs, messages, dumps or JSON.
type SecretString struct{ value string }

// NewSecret wraps a secret.
func NewSecret(value string) SecretString { return SecretString{value} }

// Reveal is the secret itself.
func (s SecretString) Reveal() string { return s.value }

// IsSet reports whether there is a secret.
func (s SecretString) IsSet() bool { return s.value != "" }

// Format redacts the secret under every verb.
func (s SecretString) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String redacts the secret.
func (s SecretString) String() string { return redacted }

// LogValue redacts the secret in logs.
func (s SecretString) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts the secret in JSON and other encodings.
func (s SecretString) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the secret from the environment.
func (s *SecretString) UnmarshalText(text []byte) error {
	s.value = string(text)
	return nil
}
