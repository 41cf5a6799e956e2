package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/tenant"
)

// A vector fixes the leaf of an entry: what it says, and its encoding.
type vector struct {
	Name  string
	Entry audit.Entry
	Leaf  string // hexadecimal
}

const vectors = "testdata/leaves.json"

func entries() []vector {
	full := audit.Entry{
		ID: "aud_aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbb", Tenant: tenant.ID("ten_aaaaaaaaaaaaaaaa"),
		At: time.UnixMilli(1_780_000_000_123).UTC(),
		Actor: audit.Actor{
			Kind: "MEMBER", ID: "mem_aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbb", Credential: "session", OnBehalfOf: "mem_other",
		},
		Action: "record.update", Object: "rec_aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbb",
		Subjects: []audit.SubjectRef{
			{ID: "sub_one", Commitment: sha256.Sum256([]byte("one"))}, {ID: "sub_two", Commitment: sha256.Sum256([]byte("two"))},
		},
		Purpose: "dpv:LegalCompliance", Outcome: audit.OK, Policy: "role:OWNER", RequestID: "req_1",
		Network: "192.0.2.0/24", Fields: []string{"risk", "share"},
	}
	refused := audit.Entry{ID: "aud_x", Tenant: "ten_x", At: time.UnixMilli(-1).UTC(), Action: "subjects", Outcome: audit.Refused}
	second := full
	second.Actor.Role = "OWNER"
	digest := sha256.Sum256([]byte("stored"))
	second.Contents = []audit.Content{{Object: full.Object, Version: 3, Digest: digest[:]}, {Object: "rec_gone"}}
	return []vector{
		{Name: "every field", Entry: full},
		{Name: "hardly any field", Entry: refused},
		{Name: "role and contents", Entry: second},
		{Name: "role", Entry: audit.Entry{ID: "aud_y", Tenant: "ten_x", At: refused.At, Actor: audit.Actor{Role: "DPO"}}},
	}
}

func TestLeafVectors(t *testing.T) {
	if flag.Lookup("update").Value.String() == "true" {
		all := entries()
		for i := range all {
			all[i].Leaf = hex.EncodeToString(all[i].Entry.Leaf())
		}
		b, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectors, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectors)
	if err != nil {
		t.Fatal(err)
	}
	var fixed []vector
	if err := json.Unmarshal(b, &fixed); err != nil {
		t.Fatal(err)
	}
	if len(fixed) != len(entries()) {
		t.Errorf("%d vectors", len(fixed))
	}
	for _, v := range fixed {
		if got := hex.EncodeToString(v.Entry.Leaf()); got != v.Leaf {
			t.Errorf("%s: the leaf is\n%s, want\n%s", v.Name, got, v.Leaf)
		}
		leaf, err := hex.DecodeString(v.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := audit.ParseLeaf(leaf); err != nil || !bytes.Equal(e.Leaf(), leaf) {
			t.Errorf("%s: the leaf is read as %+v, %v", v.Name, e, err)
		}
		for n := range leaf {
			if _, err := audit.ParseLeaf(leaf[:n]); err == nil {
				t.Errorf("%s: %d bytes of the leaf are taken for one", v.Name, n)
			}
		}
		leaf[0] = 3
		if _, err := audit.ParseLeaf(leaf); err == nil {
			t.Errorf("%s: an unknown form is taken for a leaf", v.Name)
		}
	}
}

var _ = flag.Bool("update", false, "write the vectors anew: only for a new version of the leaf")

// Whatever differs in an entry differs in its leaf, also where text moves from
// one field to the next.
func TestLeavesDiffer(t *testing.T) {
	base := entries()[2].Entry
	leaf := base.Leaf()
	for name, change := range map[string]func(*audit.Entry){
		"id":         func(e *audit.Entry) { e.ID += "x" },
		"tenant":     func(e *audit.Entry) { e.Tenant += "x" },
		"time":       func(e *audit.Entry) { e.At = e.At.Add(time.Millisecond) },
		"kind":       func(e *audit.Entry) { e.Actor.Kind = "OPERATOR" },
		"actor":      func(e *audit.Entry) { e.Actor.ID = "" },
		"credential": func(e *audit.Entry) { e.Actor.Credential, e.Actor.OnBehalfOf = e.Actor.OnBehalfOf, e.Actor.Credential },
		"action":     func(e *audit.Entry) { e.Action, e.Object = e.Action+e.Object, "" },
		"order":      func(e *audit.Entry) { e.Subjects = []audit.SubjectRef{e.Subjects[1], e.Subjects[0]} },
		"commitment": func(e *audit.Entry) {
			s := e.Subjects[0]
			s.Commitment[0] ^= 1
			e.Subjects = []audit.SubjectRef{s, e.Subjects[1]}
		},
		"purpose": func(e *audit.Entry) { e.Purpose = "" },
		"outcome": func(e *audit.Entry) { e.Outcome = audit.Refused },
		"policy":  func(e *audit.Entry) { e.Policy = "" },
		"request": func(e *audit.Entry) { e.RequestID = "" },
		"network": func(e *audit.Entry) { e.Network = "" },
		"fields":  func(e *audit.Entry) { e.Fields = []string{"riskshare"} },
		"role":    func(e *audit.Entry) { e.Actor.Role = "" },
		"form":    func(e *audit.Entry) { e.Actor.Role, e.Contents = "", nil },
		"content": func(e *audit.Entry) { e.Contents = e.Contents[:1] },
		"version": func(e *audit.Entry) {
			e.Contents = []audit.Content{{Object: e.Contents[0].Object, Version: 4, Digest: e.Contents[0].Digest}, e.Contents[1]}
		},
		"digest": func(e *audit.Entry) {
			e.Contents = []audit.Content{{Object: e.Contents[0].Object, Version: 3}, e.Contents[1]}
		},
	} {
		e := base
		change(&e)
		if bytes.Equal(e.Leaf(), leaf) {
			t.Errorf("another %s has the same leaf", name)
		}
	}
}

func TestNetworkOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.77": "192.0.2.0/24", "2001:db8:1:2::3": "2001:db8:1::/48",
	} {
		if got := audit.NetworkOf(netip.MustParseAddr(address)); got != want {
			t.Errorf("network of %s is %s", address, got)
		}
	}
	if got := audit.NetworkOf(netip.Addr{}); got != "" {
		t.Errorf("no address has the network %s", got)
	}
}
