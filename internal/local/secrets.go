package local

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// secrets are made at the first start of a folder, or of the part that they are
// for, and kept in it.
type secrets struct {
	S3AccessKey  string `json:"s3AccessKey"`
	S3SecretKey  string `json:"s3SecretKey"`
	KratosCookie string `json:"kratosCookie"`
	KratosCipher string `json:"kratosCipher"` // exactly 32 characters
	HydraSystem  string `json:"hydraSystem"`
	HydraCookie  string `json:"hydraCookie"`
	Redis        string `json:"redis"`
}

func loadSecrets(path string) (secrets, error) {
	var s secrets
	content, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(content, &s); err != nil {
			return s, fmt.Errorf("read %s: %w", path, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return s, fmt.Errorf("read the secrets: %w", err)
	}
	had := s
	for _, missing := range []struct {
		secret *string
		value  string
	}{
		{&s.S3AccessKey, rand.Text()[:20]},
		{&s.S3SecretKey, rand.Text() + rand.Text()},
		{&s.KratosCookie, rand.Text() + rand.Text()},
		{&s.KratosCipher, (rand.Text() + rand.Text())[:32]},
		{&s.HydraSystem, rand.Text() + rand.Text()},
		{&s.HydraCookie, rand.Text() + rand.Text()},
		{&s.Redis, rand.Text()},
	} {
		if *missing.secret == "" {
			*missing.secret = missing.value
		}
	}
	if s == had {
		return s, nil
	}
	return s, writeJSON(path, s)
}

// writeJSON replaces path by v as JSON, readable by the owner only: a reader
// sees the old file or the new one, never a part.
func writeJSON(path string, v any) error {
	content, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return writeFile(path, append(content, '\n'))
}

// writeFile replaces path by content as writeJSON does.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
