package gcp_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const ring = "projects/vogter-test/locations/europe-north1/keyRings/masters"

// standIn answers like the REST API of Google Cloud KMS, for one key ring, and like
// the metadata server of a machine: paths, states, status codes. What Google
// documents it follows; it hasn't been compared with the real one.
type standIn struct {
	*httptest.Server

	metadata *httptest.Server
	caFile   string

	mu     sync.Mutex
	keys   map[string]*standInKey
	tokens map[string]bool
	given  int
	// fault answers a request in the service's place when it returns true.
	fault func(w http.ResponseWriter, r *http.Request) bool
}

type standInKey struct {
	doc    map[string]any
	state  string
	secret []byte
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{keys: map[string]*standInKey{}, tokens: map[string]bool{"token": true}}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	s.metadata = httptest.NewServer(http.HandlerFunc(s.give))
	t.Cleanup(s.metadata.Close)
	s.caFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(s.caFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// give is the metadata server.
func (s *standIn) give(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	token := rand.Text()
	s.tokens[token], s.given = true, s.given+1
	answer(w, map[string]any{"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !s.tokens[token] {
		refuse(w, http.StatusUnauthorized)
		return
	}
	var in struct {
		Plaintext  []byte `json:"plaintext"`
		Ciphertext []byte `json:"ciphertext"`
		AAD        []byte `json:"additionalAuthenticatedData"`
		State      string `json:"state"`
	}
	raw := map[string]any{}
	if r.ContentLength > 0 {
		var body json.RawMessage
		if json.NewDecoder(r.Body).Decode(&body) != nil || json.Unmarshal(body, &raw) != nil || json.Unmarshal(body, &in) != nil {
			refuse(w, http.StatusBadRequest)
			return
		}
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/"+ring+"/cryptoKeys")
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	if path == "" && r.Method == http.MethodPost {
		s.create(w, r.URL.Query().Get("cryptoKeyId"), raw)
		return
	}
	name, op, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if op == "" {
		name, op, _ = strings.Cut(name, ":")
	} else {
		op = strings.TrimPrefix(op, "cryptoKeyVersions/1")
	}
	key := s.keys[name]
	if key == nil {
		refuse(w, http.StatusNotFound)
		return
	}
	version := strings.Contains(path, "/cryptoKeyVersions/1")
	switch call := r.Method + " " + op; {
	case !version && call == "GET ":
		answer(w, key.doc)
	case version && call == "GET ":
		answer(w, map[string]any{"state": key.state})
	case version && call == "PATCH " && r.URL.Query().Get("updateMask") == "state":
		if key.state != "ENABLED" && key.state != "DISABLED" || in.State != "ENABLED" && in.State != "DISABLED" {
			refuse(w, http.StatusBadRequest)
			return
		}
		key.state = in.State
		answer(w, map[string]any{"state": key.state})
	case version && call == "POST :destroy":
		if key.state != "ENABLED" && key.state != "DISABLED" {
			refuse(w, http.StatusBadRequest)
			return
		}
		key.state = "DESTROY_SCHEDULED"
		answer(w, map[string]any{"state": key.state})
	case version && call == "POST :encrypt" && key.state == "ENABLED":
		answer(w, map[string]any{"ciphertext": aead(key.secret).Seal(nil, nil, in.Plaintext, in.AAD)})
	case !version && call == "POST decrypt" && key.state == "ENABLED":
		plain, err := aead(key.secret).Open(nil, nil, in.Ciphertext, in.AAD)
		if err != nil {
			refuse(w, http.StatusBadRequest)
			return
		}
		answer(w, map[string]any{"plaintext": plain})
	default:
		refuse(w, http.StatusBadRequest) // FAILED_PRECONDITION, too
	}
}

func (s *standIn) create(w http.ResponseWriter, name string, doc map[string]any) {
	if s.keys[name] != nil {
		refuse(w, http.StatusConflict)
		return
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	s.keys[name] = &standInKey{doc, "ENABLED", secret}
	answer(w, doc)
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

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func refuse(w http.ResponseWriter, code int) {
	w.WriteHeader(code)
	_, _ = w.Write([]byte(`{"error":{"code":0,"message":"no"}}`))
}
