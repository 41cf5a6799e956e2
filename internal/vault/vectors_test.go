package vault_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/vault/vaulttest"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew: for a new format only")

// vectors is testdata/vectors.json: a key file, a key store, and what was made
// with them. It was written once with -update, and is not to be written again:
// every later version must read it.
type vectors struct {
	KeyFile   json.RawMessage
	Master    vault.Master
	TenantKey vault.TenantKey
	IndexKey  vault.IndexKey
	DataKeys  []vault.DataKey
	Values    []valueVector
	Streams   []streamVector
	MACs      []macVector
	Digests   []digestVector
}

type valueVector struct {
	Owner  vault.Owner
	Place  vault.Place
	Kind   string
	BSON   []byte // the plaintext with its padding
	Sealed []byte
}

type streamVector struct {
	Owner  vault.Owner
	Place  vault.Place
	Length int    // of the plaintext, which text makes
	Sealed []byte `json:",omitempty"`
	File   string `json:",omitempty"` // in testdata, instead of Sealed
}

type macVector struct {
	Owner   vault.Owner
	Purpose string
	Parts   [][]byte
	MAC     []byte
}

type digestVector struct {
	Tenant     tenant.ID
	Epoch      vault.Epoch
	Index      string
	Normaliser int
	Value      string
	Digest     []byte
}

func values() []personal.Value {
	return []personal.Value{
		personal.String("Ærø"), personal.String(""), personal.Enum("MARRIED"), personal.Int(-2), personal.Bool(true),
		personal.Time(time.Date(2026, 3, 2, 10, 0, 0, 1e6, time.UTC)), personal.Bytes([]byte{0xff, 0}),
	}
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	raw, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vs vectors
	if err := json.Unmarshal(raw, &vs); err != nil {
		t.Fatal(err)
	}
	t.Run("package", func(t *testing.T) { readVectors(t, &vs) })
	t.Run("by FORMAT.md", func(t *testing.T) { rereadVectors(t, &vs) })
}

// readVectors opens the vectors with the package.
func readVectors(t *testing.T, vs *vectors) {
	t.Helper()
	keyFile := filepath.Join(t.TempDir(), "masters.json")
	if err := os.WriteFile(keyFile, vs.KeyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	clock := newClock()
	service, err := localfile.Open(keyFile, clock.now)
	if err != nil {
		t.Fatal(err)
	}
	store := vaulttest.NewMemory()
	store.PutMaster(vs.Master)
	for _, k := range vs.DataKeys {
		store.PutDataKey(k)
	}
	_, tenantErr := store.InsertTenantKey(t.Context(), vs.TenantKey)
	_, indexErr := store.InsertIndexKey(t.Context(), vs.IndexKey)
	if tenantErr != nil || indexErr != nil {
		t.Fatal(tenantErr, indexErr)
	}
	v := newVault(t, store, service, clock)

	for i, x := range vs.Values {
		got, err := load(t, v, x.Owner).Open(x.Owner, x.Place, x.Sealed)
		if err != nil || !got.Equal(values()[i]) || got.Kind().String() != x.Kind {
			t.Errorf("value %d: %v", i, err)
		}
	}
	for i, x := range vs.Streams {
		got, err := openStream(load(t, v, x.Owner), x.Owner, x.Place, x.bytes(t))
		if err != nil || !bytes.Equal(got, text(x.Length)) {
			t.Errorf("stream %d: %v", i, err)
		}
	}
	for i, x := range vs.MACs {
		got, err := load(t, v, x.Owner).MAC(x.Owner, x.Purpose, x.Parts...)
		if err != nil || !bytes.Equal(got[:], x.MAC) {
			t.Errorf("mac %d: %v", i, err)
		}
	}
	for i, x := range vs.Digests {
		index, err := v.IndexAt(t.Context(), x.Tenant, x.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		got, err := index.Digest(x.Index, x.Normaliser, personal.NewText(x.Value))
		if err != nil || !bytes.Equal(got[:], x.Digest) {
			t.Errorf("digest %d: %v", i, err)
		}
	}
}

func (x *streamVector) bytes(t *testing.T) []byte {
	t.Helper()
	if x.File == "" {
		return x.Sealed
	}
	b, err := os.ReadFile(filepath.Join("testdata", x.File))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rereadVectors opens the vectors by what FORMAT.md says, without the package.
func rereadVectors(t *testing.T, vs *vectors) {
	t.Helper()
	open := func(key, sealed []byte, aad ...[]byte) []byte {
		t.Helper()
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		gcm, err := cipher.NewGCMWithRandomNonce(block) // reads nonce, ciphertext, tag
		if err != nil {
			t.Fatal(err)
		}
		plain, err := gcm.Open(nil, nil, sealed, bytes.Join(aad, nil))
		if err != nil {
			t.Fatal(err)
		}
		return plain
	}
	part := func(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
	number := func(n int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	derive := func(root []byte, info ...[]byte) []byte {
		t.Helper()
		key, err := hkdf.Expand(sha256.New, root, string(bytes.Join(info, nil)), 32)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(bytes.Join(parts, nil))
		return h.Sum(nil)
	}

	var file struct {
		Keys map[string]struct{ Key []byte }
	}
	if err := json.Unmarshal(vs.KeyFile, &file); err != nil {
		t.Fatal(err)
	}
	ref := vs.Master.KeyRef
	bound := bytes.Join([][]byte{part("vogter/tenant-key/1"), part(string(vs.TenantKey.Tenant)), number(int32(vs.TenantKey.Epoch))}, nil)
	tenantPlain := open(file.Keys[ref].Key, vs.TenantKey.Wrapped, []byte("vogter-kms-1"), part(ref), bound)
	if !bytes.Equal(tenantPlain[32:], bound) {
		t.Error("the tenant key doesn't repeat whose it is")
	}
	tenantKey := tenantPlain[:32]

	roots := map[vault.Owner][]byte{}
	ids := map[vault.Owner][]byte{}
	owner := func(o vault.Owner) []byte {
		return bytes.Join([][]byte{part(string(o.Tenant)), part(o.Subject), part(string(o.Unit))}, nil)
	}
	at := func(o vault.Owner, p vault.Place) []byte {
		return bytes.Join([][]byte{owner(o), part(p.Collection), part(p.Record), part(p.Field)}, nil)
	}
	for _, k := range vs.DataKeys {
		g := k.Generations[0]
		roots[k.Owner] = open(tenantKey, g.Wrapped,
			part("vogter/data-key/1"), owner(k.Owner), g.KeyID[:], number(g.Number), number(int32(g.Epoch)))
		ids[k.Owner] = g.KeyID[:]
	}
	for i, x := range vs.Values {
		key := derive(roots[x.Owner], part("vogter/field/1"))
		if x.Sealed[0] != 1 || !bytes.Equal(x.Sealed[2:18], ids[x.Owner]) {
			t.Errorf("value %d: header", i)
		}
		if got := open(key, x.Sealed[18:], x.Sealed[:18], at(x.Owner, x.Place)); !bytes.Equal(got, x.BSON) {
			t.Errorf("value %d: %x", i, got)
		}
	}
	for i, x := range vs.Streams {
		sealed := x.bytes(t)
		head, body := sealed[:50], sealed[50:]
		key := derive(roots[x.Owner], part("vogter/stream/1"), part(string(head[18:])))
		var plain []byte
		for n := uint64(0); len(body) > 0; n++ {
			size := min(len(body), 65536+28)
			last := byte(0)
			if size == len(body) {
				last = 1
			}
			plain = append(plain, open(key, body[:size], head, at(x.Owner, x.Place), binary.BigEndian.AppendUint64(nil, n), []byte{last})...)
			body = body[size:]
		}
		if !bytes.Equal(plain, text(x.Length)) {
			t.Errorf("stream %d: %d bytes", i, len(plain))
		}
	}
	for i, x := range vs.MACs {
		parts := [][]byte{owner(x.Owner)}
		for _, p := range x.Parts {
			parts = append(parts, part(string(p)))
		}
		if got := mac(derive(roots[x.Owner], part("vogter/mac/1"), part(x.Purpose)), parts...); !bytes.Equal(got, x.MAC) {
			t.Errorf("mac %d: %x", i, got)
		}
	}
	index := open(tenantKey, vs.IndexKey.Wrapped,
		part("vogter/index-key/1"), part(string(vs.IndexKey.Tenant)), number(int32(vs.IndexKey.Epoch)), number(int32(vs.IndexKey.WrappedIn)))
	for i, x := range vs.Digests {
		key := derive(index, part("vogter/index/1"), part(x.Index))
		got := mac(key, part(string(x.Tenant)), part(x.Index), number(int32(x.Normaliser)), part(x.Value))[:16]
		if !bytes.Equal(got, x.Digest) {
			t.Errorf("digest %d: %x", i, got)
		}
	}
}

// writeVectors writes testdata anew.
func writeVectors(t *testing.T) {
	t.Helper()
	const longStream = "stream.bin"
	r := newRig(t)
	kyc := vault.Owner{Tenant: one, Subject: anna.Subject, Unit: "dst_kyc"}
	credentials := vault.Owner{Tenant: one, Subject: string(one), Unit: vault.Credentials}
	owners := []vault.Owner{anna, kyc, credentials}
	keys := r.ensure(t, owners...)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var vs vectors
	bson := []string{
		"06000000c38672c3b800", "0100000000",
		"080000004d41525249454400" + strings.Repeat("00", 52),
		"feffffffffffffff", "01", "0189fdad9c010000", "0200000000ff00",
	}
	for i, v := range values() {
		o := owners[i%2]
		plain, err := hex.DecodeString(bson[i])
		must(err)
		vs.Values = append(vs.Values, valueVector{
			Owner: o, Place: place, Kind: v.Kind().String(), BSON: plain, Sealed: seal(t, keys, o, place, v),
		})
	}
	for _, n := range []int{0, 5} {
		vs.Streams = append(vs.Streams, streamVector{
			Owner: anna, Place: file, Length: n, Sealed: sealStream(t, keys, anna, file, text(n), chunk),
		})
	}
	long := sealStream(t, keys, kyc, file, text(chunk+7), chunk)
	must(os.WriteFile(filepath.Join("testdata", longStream), long, 0o600))
	vs.Streams = append(vs.Streams, streamVector{Owner: kyc, Place: file, Length: chunk + 7, File: longStream})
	for _, parts := range [][][]byte{{}, {[]byte("ab"), []byte("c")}, {[]byte("a"), []byte("bc")}} {
		mac, err := keys.MAC(credentials, "api-key", parts...)
		must(err)
		vs.MACs = append(vs.MACs, macVector{Owner: credentials, Purpose: "api-key", Parts: parts, MAC: mac[:]})
	}
	x, err := r.Index(t.Context(), one)
	must(err)
	for _, d := range []digestVector{
		{Index: "EMAIL", Normaliser: 1, Value: "anna@example.com"},
		{Index: "EMAIL", Normaliser: 2, Value: "anna@example.com"},
		{Index: "NATIONAL_ID", Normaliser: 1, Value: "DK:CPR:0101364003"},
	} {
		digest, err := x.Digest(d.Index, d.Normaliser, personal.NewText(d.Value))
		must(err)
		d.Tenant, d.Epoch, d.Digest = one, x.Epoch(), digest[:]
		vs.Digests = append(vs.Digests, d)
	}
	vs.KeyFile, err = os.ReadFile(r.keyFile)
	must(err)
	all, err := r.store.Masters(t.Context())
	must(err)
	vs.Master = all[0]
	vs.TenantKey, _, err = r.store.FindTenantKey(t.Context(), one, x.Epoch())
	must(err)
	vs.IndexKey, _, err = r.store.FindIndexKey(t.Context(), one, x.Epoch())
	must(err)
	vs.DataKeys, err = r.store.FindDataKeys(t.Context(), owners)
	must(err)
	out, err := json.MarshalIndent(vs, "", "  ")
	must(err)
	must(os.WriteFile(filepath.Join("testdata", "vectors.json"), append(out, '\n'), 0o600))
}
