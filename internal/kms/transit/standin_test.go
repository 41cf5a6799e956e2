package transit_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// standIn answers like the transit engine of OpenBao and Vault, mounted at
// "transit", with AppRole: paths, states, status codes. TestVault runs the same
// tests against the real one.
type standIn struct {
	*httptest.Server
	caFile string

	mu     sync.Mutex
	keys   map[string]*standInKey
	tokens map[string]bool
	logins int
	// fault answers a request in the engine's place when it returns true.
	fault func(w http.ResponseWriter, r *http.Request) bool
	seen  []*http.Request
}

type standInKey struct {
	versions                  map[int][]byte
	latest, minDec, minEnc, a int // a: min available
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{keys: map[string]*standInKey{}, tokens: map[string]bool{"token": true}}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	s.caFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(s.caFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.fault
	s.seen = append(s.seen, r)
	s.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	var in struct {
		RoleID         string `json:"role_id"`
		SecretID       string `json:"secret_id"`
		Plaintext      []byte `json:"plaintext"`
		Ciphertext     string `json:"ciphertext"`
		AssociatedData []byte `json:"associated_data"`
		KeyVersion     int    `json:"key_version"`
		MinDecryption  *int   `json:"min_decryption_version"`
		MinEncryption  *int   `json:"min_encryption_version"`
		MinAvailable   int    `json:"min_available_version"`
	}
	if r.ContentLength > 0 {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			refuse(w, http.StatusBadRequest)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/v1/auth/approle/login" {
		if in.RoleID != "role" || in.SecretID != "secret" {
			refuse(w, http.StatusBadRequest)
			return
		}
		s.logins++
		token := rand.Text()
		s.tokens[token] = true
		answer(w, map[string]any{"auth": map[string]any{"client_token": token}})
		return
	}
	if !s.tokens[r.Header.Get("X-Vault-Token")] {
		refuse(w, http.StatusForbidden)
		return
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/transit/"), "/")
	key := s.keys[parts[1]]
	switch op := r.Method + " " + parts[0] + "/" + strings.Join(parts[2:], "/"); {
	case op == "POST keys/":
		if key == nil {
			s.keys[parts[1]] = &standInKey{versions: map[int][]byte{1: fresh()}, latest: 1, minDec: 1}
		}
		answer(w, nil)
	case key == nil && op == "GET keys/":
		refuse(w, http.StatusNotFound)
	case key == nil && op == "POST encrypt/": // the engine's upsert
		s.keys[parts[1]] = &standInKey{versions: map[int][]byte{1: fresh()}, latest: 1, minDec: 1}
		answer(w, map[string]any{"data": map[string]any{"ciphertext": s.keys[parts[1]].seal(1, in.Plaintext, in.AssociatedData)}})
	case key == nil:
		refuse(w, http.StatusBadRequest)
	case op == "GET keys/":
		answer(w, map[string]any{"data": map[string]any{
			"type": "aes256-gcm96", "latest_version": key.latest, "min_decryption_version": key.minDec,
			"min_encryption_version": key.minEnc, "min_available_version": key.a,
		}})
	case op == "POST keys/rotate":
		key.latest++
		key.versions[key.latest] = fresh()
		answer(w, nil)
	case op == "POST keys/config":
		if *in.MinDecryption > key.latest || *in.MinEncryption > key.latest || *in.MinDecryption < key.a {
			refuse(w, http.StatusBadRequest)
			return
		}
		key.minDec, key.minEnc = *in.MinDecryption, *in.MinEncryption
		answer(w, nil)
	case op == "POST keys/trim":
		if in.MinAvailable > key.minDec || in.MinAvailable > key.minEnc {
			refuse(w, http.StatusBadRequest)
			return
		}
		key.a = in.MinAvailable
		for v := range key.versions {
			if v < key.a {
				delete(key.versions, v)
			}
		}
		answer(w, nil)
	case op == "POST encrypt/":
		if in.KeyVersion < key.minEnc || key.versions[in.KeyVersion] == nil {
			refuse(w, http.StatusBadRequest)
			return
		}
		answer(w, map[string]any{"data": map[string]any{"ciphertext": key.seal(in.KeyVersion, in.Plaintext, in.AssociatedData)}})
	case op == "POST decrypt/":
		plain, ok := key.open(in.Ciphertext, in.AssociatedData)
		if !ok {
			refuse(w, http.StatusBadRequest)
			return
		}
		answer(w, map[string]any{"data": map[string]any{"plaintext": plain}})
	default:
		refuse(w, http.StatusNotFound)
	}
}

func (k *standInKey) seal(version int, plain, aad []byte) string {
	return fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(aead(k.versions[version]).Seal(nil, nil, plain, aad)))
}

func (k *standInKey) open(ciphertext string, aad []byte) ([]byte, bool) {
	parts := strings.Split(ciphertext, ":")
	if len(parts) != 3 {
		return nil, false
	}
	version, err := strconv.Atoi(strings.TrimPrefix(parts[1], "v"))
	sealed, berr := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || berr != nil || version < k.minDec || k.versions[version] == nil {
		return nil, false
	}
	plain, err := aead(k.versions[version]).Open(nil, nil, sealed, aad)
	return plain, err == nil
}

func aead(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return a
}

func fresh() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

func answer(w http.ResponseWriter, v any) {
	if v == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code int) {
	w.WriteHeader(code)
	_, _ = w.Write([]byte(`{"errors":["no"]}`))
}
