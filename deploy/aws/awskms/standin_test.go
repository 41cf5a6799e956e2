package awskms_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vogter/vogter/internal/kms"

	"github.com/vogter/vogter/deploy/aws/awskms"
)

const (
	region  = "eu-central-1"
	account = "111122223333"
	prefix  = "arn:aws:kms:" + region + ":" + account + ":key/"
)

// standIn answers like AWS KMS in one region, by AWS' JSON 1.1 protocol: the
// operations that the adapter calls, their states and error codes. What it
// doesn't do: check signatures beyond their scope, permissions, quotas, and the
// moment that a change takes to reach all of the real one's servers.
type standIn struct {
	*httptest.Server

	mu      sync.Mutex
	keys    map[string]*key // by id
	aliases map[string]string
	calls   map[string]int // by operation
	bodies  bytes.Buffer
	fault   func(op string) string // an error code, a fault that is none, or ""
}

type key struct {
	secret                              []byte
	tags                                []tag
	state, manager, spec, usage, origin string
	multiRegion                         bool
}

type tag struct{ TagKey, TagValue string }

// hangUp, garbage and slow are faults that are no error codes.
const (
	hangUp  = "hang up"
	garbage = "garbage"
	slow    = "slow"
)

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{keys: map[string]*key{}, aliases: map[string]string{}, calls: map[string]int{}}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_KMS": s.URL, "AWS_CA_BUNDLE": ca, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret-access-key",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	return s
}

func open(t *testing.T, address string) kms.Wrapper {
	t.Helper()
	k, err := awskms.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// elapse lets the waiting time of every key end that waits for deletion.
func (s *standIn) elapse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for alias, id := range s.aliases {
		if s.keys[id].state == "PendingDeletion" {
			delete(s.aliases, alias)
		}
	}
	for id, k := range s.keys {
		if k.state == "PendingDeletion" {
			delete(s.keys, id)
		}
	}
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	var in request
	body, err := io.ReadAll(r.Body)
	if !ok || err != nil || json.Unmarshal(body, &in) != nil || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		refuse(w, "SerializationException")
		return
	}
	if !strings.Contains(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") ||
		!strings.Contains(r.Header.Get("Authorization"), "/"+region+"/kms/aws4_request") {
		refuse(w, "UnrecognizedClientException")
		return
	}
	out, code := s.answer(op, body, &in)
	switch code {
	case "":
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(out)
	case hangUp:
		panic(http.ErrAbortHandler)
	case slow:
		<-r.Context().Done()
	case garbage:
		_, _ = w.Write([]byte("<html>"))
	default:
		refuse(w, code)
	}
}

func (s *standIn) answer(op string, body []byte, in *request) (out any, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[op]++
	s.bodies.Write(body)
	if s.fault != nil {
		if code := s.fault(op); code != "" {
			return nil, code
		}
	}
	return s.do(op, in)
}

// fail has the stand-in answer with faults, by operation, or none at all.
func (s *standIn) fail(fault func(op string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

type request struct {
	KeyId, TargetKeyId, AliasName string //nolint:revive // AWS' name
	Plaintext, CiphertextBlob     []byte
	EncryptionContext             map[string]string
	PendingWindowInDays           int
	Tags                          []tag
}

type metadata struct {
	Arn, KeyId, KeyState, KeyManager, KeySpec, KeyUsage, Origin string //nolint:revive // AWS' names
	MultiRegion                                                 bool
}

func (s *standIn) do(op string, in *request) (out any, code string) {
	if op == "CreateKey" {
		id := hex.EncodeToString(random(16))
		s.keys[id] = &key{
			secret: random(32), tags: in.Tags, state: "Enabled", manager: "CUSTOMER",
			spec: "SYMMETRIC_DEFAULT", usage: "ENCRYPT_DECRYPT", origin: "AWS_KMS",
		}
		return map[string]any{"KeyMetadata": s.keys[id].describe(id)}, ""
	}
	if op == "CreateAlias" {
		in.KeyId = in.TargetKeyId
	}
	id := strings.TrimPrefix(in.KeyId, prefix)
	if strings.HasPrefix(id, "alias/") {
		id = s.aliases[id]
	}
	k := s.keys[id]
	switch {
	case k == nil:
		return nil, "NotFoundException"
	case op == "DescribeKey":
		return map[string]any{"KeyMetadata": k.describe(id)}, ""
	case k.state == "PendingDeletion":
		return nil, "KMSInvalidStateException"
	}
	switch op {
	case "CreateAlias":
		if s.aliases[in.AliasName] != "" {
			return nil, "AlreadyExistsException"
		}
		s.aliases[in.AliasName] = id
	case "DisableKey":
		k.state = "Disabled"
	case "EnableKey":
		k.state = "Enabled"
	case "ScheduleKeyDeletion":
		if in.PendingWindowInDays < 7 || in.PendingWindowInDays > 30 {
			return nil, "ValidationException"
		}
		k.state = "PendingDeletion"
	case "Encrypt":
		switch {
		case k.state == "Disabled":
			return nil, "DisabledException"
		case len(in.Plaintext) < 1 || len(in.Plaintext) > 4096:
			return nil, "ValidationException"
		}
		blob := k.aead().Seal([]byte(id), nil, in.Plaintext, canonical(in.EncryptionContext))
		return map[string]any{"KeyId": prefix + id, "CiphertextBlob": blob}, ""
	case "Decrypt":
		switch {
		case len(in.CiphertextBlob) < 1 || len(in.CiphertextBlob) > 6144:
			return nil, "ValidationException"
		case len(in.CiphertextBlob) < len(id) || s.keys[string(in.CiphertextBlob[:len(id)])] == nil:
			return nil, "InvalidCiphertextException"
		case string(in.CiphertextBlob[:len(id)]) != id:
			return nil, "IncorrectKeyException"
		case k.state == "Disabled":
			return nil, "DisabledException"
		}
		plain, err := k.aead().Open(nil, nil, in.CiphertextBlob[len(id):], canonical(in.EncryptionContext))
		if err != nil {
			return nil, "InvalidCiphertextException"
		}
		return map[string]any{"KeyId": prefix + id, "Plaintext": plain}, ""
	default:
		return nil, "UnknownOperationException"
	}
	return struct{}{}, ""
}

func (k *key) describe(id string) metadata {
	return metadata{prefix + id, id, k.state, k.manager, k.spec, k.usage, k.origin, k.multiRegion}
}

func (k *key) aead() cipher.AEAD {
	block, err := aes.NewCipher(k.secret)
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return a
}

// canonical is the context as additional data; JSON has maps sorted.
func canonical(context map[string]string) []byte {
	b, err := json.Marshal(context)
	if err != nil {
		panic(err)
	}
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// refuse answers with an error whose message repeats what nobody should read in a log.
func refuse(w http.ResponseWriter, code string) {
	status := http.StatusBadRequest
	if strings.HasPrefix(code, "KMSInternal") || strings.HasPrefix(code, "DependencyTimeout") || strings.HasPrefix(code, "KeyUnavailable") {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": words})
}

const words = "User: arn:aws:iam::111122223333:user/example said secret-words"
