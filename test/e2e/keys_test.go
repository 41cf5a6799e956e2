package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// Operators see how the keys are, by the API and on the machine, and rotate them
// under a tenant that notices nothing.
func TestKeys(t *testing.T) {
	p := running(t)
	config := p.stack.Env().Config
	admin := func(args ...string) string {
		t.Helper()
		out, err := p.vogter(t, config.Environ(), append([]string{"admin", "keys"}, args...)...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
		return out
	}
	if out := admin("status"); !strings.Contains(out, "OPEN") || !strings.Contains(out, "generation 1 seals for ") {
		t.Errorf("status: %s", out)
	}
	if out := admin("inspect"); !strings.Contains(out, " data keys, 0 of them don't open.") {
		t.Errorf("inspect: %s", out)
	}
	of := p.tenant(t, second).ID
	if out := admin("inspect", of+"/"+of+"/credentials"); !strings.Contains(out, "generation 1") || !strings.Contains(out, "current, opens") {
		t.Errorf("inspect a key: %s", out)
	}
	if out, err := p.vogter(t, config.Environ(), "admin", "keys", "inspect", "x"); err == nil || !strings.Contains(out, "no such data key") {
		t.Errorf("inspect no key: %s", out)
	}

	operator, portal := p.member(t, provider, "OPERATOR"), p.machine(t, second)
	s := portal.createPerson(t, vars{"reference": "rotated", "name": vars{"full": "Rotated Person"}}).ID
	type rotation struct {
		ID    string `json:"id"`
		State string `json:"state"`
		Keys  int    `json:"keys"`
	}
	made := ask[struct {
		RotateDataKeys struct {
			Rotation rotation `json:"rotation"`
		} `json:"rotateDataKeys"`
	}](t, operator, `mutation($i: RotateDataKeysInput!) { rotateDataKeys(input: $i) { rotation { id state keys } } }`,
		vars{"i": vars{"tenant": of, "subject": s}}).RotateDataKeys.Rotation
	eventually(t, 3*time.Minute, "new generations", func() bool {
		list := ask[struct {
			KeyRotations struct {
				Nodes []rotation `json:"nodes"`
			} `json:"keyRotations"`
		}](t, operator, `{ keyRotations(first: 1) { nodes { id state keys } } }`, nil).KeyRotations.Nodes
		return len(list) == 1 && list[0].ID == made.ID && list[0].State == "RESEALING" && list[0].Keys > 0
	})
	if got := portal.person(t, s); got.ID != s || got.Name.Full != "Rotated Person" {
		t.Errorf("the person reads %+v", got)
	}
	if out := admin("status"); !strings.Contains(out, "rotation of "+of+", "+s+": RESEALING") || !strings.Contains(out, "generation 2 seals for ") {
		t.Errorf("status: %s", out)
	}
	if out := admin("inspect", of+"/"+s+"/identity"); !strings.Contains(out, "generation 2") {
		t.Errorf("inspect: %s", out)
	}
	halted := ask[struct {
		HaltKeyRotation struct {
			Rotation rotation `json:"rotation"`
		} `json:"haltKeyRotation"`
	}](t, operator, `mutation($i: HaltKeyRotationInput!) { haltKeyRotation(input: $i) { rotation { id state keys } } }`,
		vars{"i": vars{"id": made.ID}}).HaltKeyRotation.Rotation
	if halted.State != "HALTED" {
		t.Errorf("halted: %+v", halted)
	}
	rebuilt := ask[struct {
		RebuildLookups struct{ Tenants int } `json:"rebuildLookups"`
	}](t, operator, `mutation($i: RebuildLookupsInput!) { rebuildLookups(input: $i) { tenants } }`, vars{"i": vars{"tenant": of}})
	status := ask[struct {
		VaultStatus struct {
			LookupsPending int `json:"lookupsPending"`
			Generations    []struct{ Number, Keys int }
		} `json:"vaultStatus"`
	}](t, operator, `{ vaultStatus { lookupsPending generations { number keys } quarantines { id } } }`, nil).VaultStatus
	if rebuilt.RebuildLookups.Tenants != 1 || status.LookupsPending != 1 || len(status.Generations) != 2 {
		t.Errorf("rebuilt %+v, status %+v", rebuilt, status)
	}
	code := refused(t, operator, `mutation($i: RequestKeyQuarantineInput!) { requestKeyQuarantine(input: $i) { quarantine { id } } }`,
		vars{"i": vars{"key": of + "/" + s + "/identity", "reason": "to see whether it is refused"}})
	if code != "PRECONDITION" {
		t.Errorf("a sound key is set aside: %s", code)
	}
}
