package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// full reports whether the sizes are those that are promised.
func full() bool { return os.Getenv("VOGTER_SCALE") == "full" }

// checked is what an approver confirms.
func checked() vars {
	return vars{"holds": true, "exceptions": true, "rightsOfOthers": true, "secrecy": true}
}

// read reads the request as it is now.
func (r *wish) read(t *testing.T, c client) {
	t.Helper()
	*r = ask[struct{ Request wish }](t, c, `query($id: ID!) { request(id: $id) {`+requestFields+`} }`, vars{"id": r.ID}).Request
}

// await reads the request until it is in a state.
func (r *wish) await(t *testing.T, c client, state string) {
	t.Helper()
	eventually(t, time.Minute, "the request is "+state, func() bool {
		r.read(t, c)
		return r.State == state
	})
}

// begun opens a request of a person whom the staff know, and waits until every
// place that the first right has to be looked for in has answered.
func begun(t *testing.T, handler client, s person, types ...string) *wish {
	t.Helper()
	r := openRequest(t, handler, s.Emails[0], types...)
	r.step(t, handler, "identifyRequester", vars{"subject": s.ID, "method": "CALL_BACK_KNOWN_NUMBER"})
	if !slices.Contains([]string{"ACCESS", "PORTABILITY", "ERASURE"}, types[0]) {
		return r
	}
	eventually(t, time.Minute, "every place has answered", func() bool {
		return len(ask[struct {
			Request struct{ Answers []struct{ System string } }
		}](t, handler, `query($id: ID!) { request(id: $id) { answers { system } } }`, vars{"id": r.ID}).Request.Answers) > 0
	})
	r.read(t, handler)
	return r
}

// decided decides the first item, gives the request to review and has another
// person approve it.
func (r *wish) decided(t *testing.T, handler, approver client, decision vars) {
	t.Helper()
	decision["item"] = r.Items[0].ID
	r.step(t, handler, "decideItem", decision)
	r.step(t, handler, "submitRequest", nil)
	r.step(t, approver, "approveRequest", checked())
}

// closed notes that the answer arrived, and closes the request.
func (r *wish) closed(t *testing.T, handler client) {
	t.Helper()
	r.step(t, handler, "confirmDelivery", nil)
	r.step(t, handler, "closeRequest", nil)
	if r.State != "CLOSED" {
		t.Errorf("at last %s", r.State)
	}
}

// foreseen is the preview of an erasure.
type foreseen struct {
	Hash     string
	Packages int
	Parts    []struct {
		Dataset               *string
		Name, Outcome, Reason string
		Date, KeepUntil       *string
		Article, Hold         *string
		Records, Passages     int
		Files                 int
		Fields                []struct{ Key string }
		Rule                  *struct{ ID string }
	}
	Irreversible []string
}

func (c client) previewErasure(t *testing.T, s person) foreseen {
	t.Helper()
	return ask[struct{ PreviewErasure foreseen }](t, c, `query($id: ID!) { previewErasure(subject: $id) {
		hash packages irreversible parts { dataset name outcome reason date keepUntil article hold records passages files fields { key } rule { id } }
	} }`, vars{"id": s.ID}).PreviewErasure
}

// certified is a certificate of erasure.
type certified struct {
	Number, Subject, Erasure, SHA256 string
	Signed, Statement                *string
}

func (c client) certificates(t *testing.T, cause string) []certified {
	t.Helper()
	return ask[struct{ ErasureCertificates []certified }](t, c, `query($cause: ID!) { erasureCertificates(cause: $cause) { number subject erasure sha256 signed statement } }`,
		vars{"cause": cause}).ErasureCertificates
}

// identityOf is whether it can be read who a person is: CLEAR, ERASED and so on.
func (c client) identityOf(t *testing.T, s person) string {
	t.Helper()
	return ask[struct{ Subject person }](t, c, `query($id: ID!) { subject(id: $id) {`+personFields+`} }`, vars{"id": s.ID}).Subject.Identity
}

// verify has a signed file checked, with the platform's keys, as anybody can.
func (p *platform) verify(t *testing.T, content []byte) (string, error) {
	t.Helper()
	keys, name := filepath.Join(t.TempDir(), "jwks.json"), filepath.Join(t.TempDir(), "file")
	write(t, keys, client{base: p.stack.Env().API}.call(t, http.MethodGet, "/.well-known/jwks.json", http.NoBody).body)
	write(t, name, content)
	return p.vogter(t, nil, "verify", "--keys", keys, name)
}

// jsonOf is a value as JSON.
func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
