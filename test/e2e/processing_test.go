package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorded are what a tenant's record of processing consists of.
type recorded struct{ party, system, activity, register string }

// keepRecord has the first tenant's people keep a record of processing: one prepares
// the register, another publishes it, and a third fetches it and checks it.
func (p *platform) keepRecord(t *testing.T) recorded {
	t.Helper()
	handler, officer, owner := p.member(t, first, "CASE_HANDLER"), p.member(t, first, "DPO"), p.member(t, first, "OWNER")
	contact := "Kontaktperson Æbelø Planteskole"
	p.plant(contact)
	var made recorded
	made.party = ask[struct {
		CreateParty struct{ Party struct{ ID string } }
	}](t, handler, `mutation($input: CreatePartyInput!) { createParty(input: $input) { party { id } } }`,
		vars{"input": vars{"party": vars{
			"legalName": "Lagerplads A/S", "country": "DK", "roles": []string{"SUB_PROCESSOR"}, "contact": vars{"name": contact},
		}}}).CreateParty.Party.ID
	made.system = ask[struct {
		CreateDataSystem struct{ System struct{ ID string } }
	}](t, handler, `mutation($input: CreateDataSystemInput!) { createDataSystem(input: $input) { system { id } } }`,
		vars{"input": vars{"system": vars{"name": vars{"da": "Lager"}, "kind": "DATABASE", "location": "DK", "subProcessor": made.party}}}).CreateDataSystem.System.ID
	me := ask[struct{ Viewer struct{ ID string } }](t, handler, `{ viewer { id } }`, nil).Viewer.ID
	type activity struct {
		ID, State string
		Version   int64
		Valid     *struct {
			Number  int64
			Content struct {
				Name      struct{ Da, En string }
				Processor struct{ Processors []string }
			}
		}
	}
	a := ask[struct{ CreateProcessingActivity struct{ Activity activity } }](t, handler,
		`mutation($input: CreateProcessingActivityInput!) { createProcessingActivity(input: $input) { activity { id state version } } }`,
		vars{"input": vars{"hat": "PROCESSOR", "nextReviewOn": "2031-01-01", "content": vars{
			"name": vars{"da": "Opbevaring på Ærø"}, "owner": me, "systems": []string{made.system},
			"processor": vars{
				"controllerGroup": vars{"da": "Kunder"}, "processors": []string{made.party}, "operations": []vars{{"term": "dpv:Store"}},
			},
		}}}).CreateProcessingActivity.Activity
	made.activity = a.ID
	a = ask[struct{ ActivateProcessingActivity struct{ Activity activity } }](t, handler,
		`mutation($input: ActivateProcessingActivityInput!) { activateProcessingActivity(input: $input) { activity { id state version valid { number content { name { da en } processor { processors } } } } } }`,
		vars{"input": vars{"id": a.ID, "expectedVersion": a.Version}}).ActivateProcessingActivity.Activity
	if a.State != "ACTIVE" || a.Valid == nil || a.Valid.Content.Name.Da != "Opbevaring på Ærø" || len(a.Valid.Content.Processor.Processors) != 1 {
		t.Errorf("activated %+v", a)
	}
	if _, faults := handler.graphql(t, `mutation($input: ReviseProcessingActivityInput!) { reviseProcessingActivity(input: $input) { activity { id } } }`,
		vars{"input": vars{"id": a.ID, "expectedVersion": a.Version, "content": vars{
			"name": vars{"da": "x"}, "processor": vars{"purposes": []string{"x"}},
		}}}); len(faults) == 0 {
		t.Error("a processor's activity has purposes")
	}
	made.register = ask[struct {
		PrepareRegister struct{ Register struct{ ID string } }
	}](t, handler, `mutation($input: PrepareRegisterInput!) { prepareRegister(input: $input) { register { id } } }`, vars{"input": vars{}}).PrepareRegister.Register.ID
	const publish = `mutation($input: PublishRegisterInput!) { publishRegister(input: $input) { register { id state number statement } } }`
	for _, c := range []client{handler, officer} {
		if code := refused(t, c, publish, vars{"input": vars{"id": made.register}}); code != "FORBIDDEN" {
			t.Errorf("publishing: %s", code)
		}
	}
	r := ask[struct {
		PublishRegister struct {
			Register struct {
				State     string
				Number    int64
				Statement string
			}
		}
	}](t, owner, publish, vars{"input": vars{"id": made.register}}).PublishRegister.Register
	if r.State != "PUBLISHED" || r.Number < 1 || !strings.Contains(r.Statement, made.register) {
		t.Errorf("published %+v", r)
	}
	file := officer.register(t, made.register, vars{"format": "JSON"})
	if !strings.Contains(string(file), contact) {
		t.Error("the register says nothing of the contact")
	}
	if pdf := officer.register(t, made.register, vars{"format": "PDF", "language": "da"}); !strings.HasPrefix(string(pdf), "%PDF-") {
		t.Error("the register isn't a PDF")
	}
	name, keys := filepath.Join(t.TempDir(), "register.json"), filepath.Join(t.TempDir(), "jwks.json")
	for path, content := range map[string][]byte{name: file, keys: officer.call(t, http.MethodGet, "/.well-known/jwks.json", http.NoBody).body} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := p.vogter(t, nil, "verify", "--keys", keys, name); err != nil || !strings.Contains(out, "REGISTER") {
		t.Errorf("verify says %s: %v", out, err)
	}
	return made
}

// register downloads a register in a form.
func (c client) register(t *testing.T, id string, form vars) []byte {
	t.Helper()
	url := ask[struct {
		GrantDownload struct{ Grant struct{ URL string } }
	}](t, c, `mutation($input: GrantDownloadInput!) { grantDownload(input: $input) { grant { url } } }`,
		vars{"input": vars{"object": id, "register": form}}).GrantDownload.Grant.URL
	a := c.call(t, http.MethodGet, strings.TrimPrefix(url, c.base), http.NoBody)
	if a.status != http.StatusOK {
		t.Fatalf("download: %d %s", a.status, a.body)
	}
	return a.body
}
