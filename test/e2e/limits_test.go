package e2e_test

import (
	"net/http"
	"strings"
	"testing"
)

const registerDocuments = `mutation($input: RegisterDocumentsInput!) { registerDocuments(input: $input) { documents { id name createdBy } } }`

// TestRegisteredDocuments binds a machine client to what its tenant has registered.
func TestRegisteredDocuments(t *testing.T) {
	p := running(t)
	owner, stranger := p.member(t, first, "OWNER"), p.machine(t, second)
	const text = `query Portal { viewer { id } tenant { id } }`
	input := vars{"input": vars{"documents": []vars{{"name": "portal", "text": text}}}}
	type answer struct {
		RegisterDocuments struct {
			Documents []struct{ ID, Name, CreatedBy string }
		}
	}
	made := ask[answer](t, owner, registerDocuments, input).RegisterDocuments.Documents
	again := ask[answer](t, owner, registerDocuments, input).RegisterDocuments.Documents
	if len(made) != 1 || !strings.HasPrefix(made[0].ID, "sha256:") || made[0].CreatedBy == "" || again[0] != made[0] {
		t.Fatalf("made %+v, and again %+v", made, again)
	}
	key := ask[struct {
		CreateAPIKey struct {
			APIKey struct{ DocumentsOnly bool }
			Secret string
		} `json:"createApiKey"`
	}](t, owner, `mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { apiKey { documentsOnly } secret } }`,
		vars{"input": vars{"name": "portal", "permissions": []string{"TENANT_READ"}, "documentsOnly": true}}).CreateAPIKey
	bound := client{base: owner.base, token: key.Secret}
	if !key.APIKey.DocumentsOnly {
		t.Error("the key isn't bound")
	}
	byID := `{"documentId":"` + made[0].ID + `"}`
	for _, tt := range []struct {
		name   string
		by     client
		body   string
		status int
		want   string
	}{
		{"bound, registered", bound, byID, http.StatusOK, p.tenant(t, first).ID},
		{"bound, the same text", bound, `{"query":"` + text + `"}`, http.StatusForbidden, "documents.only"},
		{"another tenant", stranger, byID, http.StatusNotFound, "NOT_FOUND"},
		{"nobody", client{base: owner.base}, byID, http.StatusUnauthorized, "UNAUTHENTICATED"},
	} {
		a := tt.by.call(t, http.MethodPost, "/graphql", strings.NewReader(tt.body), "Content-Type", "application/json")
		if a.status != tt.status || !strings.Contains(string(a.body), tt.want) || a.header.Get("RateLimit") == "" {
			t.Errorf("%s: %d %v %s", tt.name, a.status, a.header, a.body)
		}
	}
	ask[struct{}](t, owner, `mutation($input: UnregisterDocumentInput!) { unregisterDocument(input: $input) { id } }`,
		vars{"input": vars{"id": made[0].ID}})
	if a := bound.call(t, http.MethodPost, "/graphql", strings.NewReader(byID), "Content-Type", "application/json"); a.status != http.StatusNotFound {
		t.Errorf("after its end: %d %s", a.status, a.body)
	}
}
