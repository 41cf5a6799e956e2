package cli

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// call is what the API was sent.
type call struct {
	address, key, auth, mime, body string
}

// api answers imports with what it is told, and saves any mapping.
func api(t *testing.T, status int, answer string) (url string, calls *[]call) {
	t.Helper()
	calls = &[]call{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*calls = append(*calls, call{
			r.URL.String(), r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(b),
		})
		if r.URL.Path == "/graphql" {
			_, err = io.WriteString(w, `{"data":{"saveImportMapping":{"mapping":{"version":1}}}}`)
		} else {
			w.WriteHeader(status)
			_, err = io.WriteString(w, answer)
		}
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, calls
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImport(t *testing.T) {
	t.Setenv("VOGTER_API_KEY", "vgt_test")
	url, calls := api(t, 200, `{"id":"imp_x","mode":"write","state":"DONE","lines":1,"created":1,"records":1,"rejections":[]}`)
	persons, mapping := file(t, "persons.ndjson", "{\"r\":1}\n"), file(t, "crm.json", `{"subject":{"reference":"r"}}`)
	args := []string{"import", persons, "--mapping", mapping, "--url", url}
	for range 2 {
		if err := run(t.Context(), args, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(mapping, []byte(`{"subject":{"reference":"s"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), args, nil); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), append(args, "--idempotency-key", "mine", "--check"), nil); err != nil {
		t.Fatal(err)
	}
	c := *calls
	if len(c) != 8 || c[0].address != "/graphql" || c[0].auth != "Bearer vgt_test" {
		t.Fatalf("%+v", c)
	}
	var saved struct {
		Variables struct {
			Input struct{ Name, Document string }
		}
	}
	if err := json.Unmarshal([]byte(c[0].body), &saved); err != nil || saved.Variables.Input.Name != "crm" ||
		saved.Variables.Input.Document != `{"subject":{"reference":"r"}}` {
		t.Errorf("%+v, %v", saved, err)
	}
	if c[1].address != "/v1/imports?mapping=crm" || c[1].mime != "application/x-ndjson" || c[1].body != "{\"r\":1}\n" {
		t.Errorf("%+v", c[1])
	}
	if c[1].key == "" || c[1].key != c[3].key {
		t.Error("the same command has another Idempotency-Key")
	}
	if c[5].key == c[1].key {
		t.Error("another mapping has the same Idempotency-Key")
	}
	if c[7].key != "mine" || c[7].address != "/v1/imports?mapping=crm&mode=check" {
		t.Errorf("%+v", c[7])
	}
}

func TestImportFails(t *testing.T) {
	t.Setenv("VOGTER_API_KEY", "vgt_test")
	rejected, _ := api(t, 200, `{"mode":"write","lines":2,"created":1,"rejected":1,`+
		`"rejections":[{"line":2,"field":"subject.phones.0","code":"INVALID","message":"not a valid phone number"}]}`)
	stopped, _ := api(t, 429, `{"mode":"write","lines":9,"rejected":9,"rejections":[],"resumeFrom":10,"code":"LIMITED","message":"too many"}`)
	refused, _ := api(t, 403, `{"code":"FORBIDDEN","message":"you may not"}`)
	csv := file(t, "persons.csv", "reference\na\n")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"rejected lines", []string{csv, "--dataset", "d", "--url", rejected}, "lines were rejected"},
		{"stopped", []string{csv, "--dataset", "d", "--url", stopped}, "stopped before line 10: too many (LIMITED)"},
		{"refused", []string{csv, "--dataset", "d", "--url", refused}, "you may not (FORBIDDEN"},
		{"no server", []string{csv, "--dataset", "d", "--url", "http://127.0.0.1:1"}, "run the same command again"},
		{"neither", []string{csv}, "missing flags"},
		{"both", []string{csv, "--dataset", "d", "--mapping", "m"}, "can't be used together"},
		{"unknown form", []string{file(t, "persons.xlsx", ""), "--dataset", "d"}, "ends with"},
		{"no mapping file", []string{csv, "--mapping", "none.json"}, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := run(t.Context(), append([]string{"import"}, tt.args...), nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if errors.Is(err, errRejected) != (tt.name == "rejected lines") {
				t.Error("wrong kind of error")
			}
		})
	}
}
