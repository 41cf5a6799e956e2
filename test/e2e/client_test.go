package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// client calls the API in the name of the key or session token, if it has one.
type client struct{ base, token string }

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// call makes an HTTP call; headers are names and values by turns.
func (c client) call(t *testing.T, method, path string, body io.Reader, headers ...string) answer {
	t.Helper()
	a, err := c.send(t.Context(), method, path, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (c client) send(ctx context.Context, method, path string, body io.Reader, headers ...string) (answer, error) {
	res, err := c.open(ctx, method, path, body, headers...)
	if err != nil {
		return answer{}, err
	}
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, b}, errors.Join(err, res.Body.Close())
}

func (c client) open(ctx context.Context, method, path string, body io.Reader, headers ...string) (*http.Response, error) {
	if !strings.HasPrefix(path, "http") {
		path = c.base + path
	}
	req, err := http.NewRequestWithContext(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return http.DefaultClient.Do(req)
}

// vars are a document's variables.
type vars map[string]any

// fault is an error of a GraphQL answer.
type fault struct {
	Message    string `json:"message"`
	Path       []any  `json:"path"`
	Extensions struct {
		Code      string `json:"code"`
		Field     string `json:"field"`
		RequestID string `json:"requestId"`
	} `json:"extensions"`
}

// graphql carries a document out. Each call has an Idempotency-Key of its own,
// unless headers have one.
func (c client) graphql(t *testing.T, document string, v vars, headers ...string) (data json.RawMessage, faults []fault) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": document, "variables": v})
	if err != nil {
		t.Fatal(err)
	}
	headers = append([]string{"Content-Type", "application/json", "Idempotency-Key", rand.Text()}, headers...)
	a := c.call(t, http.MethodPost, "/graphql", bytes.NewReader(body), headers...)
	var out struct {
		Data   json.RawMessage `json:"data"`
		Errors []fault         `json:"errors"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return out.Data, out.Errors
}

// ask carries a document out that must succeed, and reads the data.
func ask[T any](t *testing.T, c client, document string, v vars, headers ...string) T {
	t.Helper()
	data, faults := c.graphql(t, document, v, headers...)
	if len(faults) > 0 {
		t.Fatalf("%s: %+v", document, faults)
	}
	var out T
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return out
}

// refused carries a document out that must fail as a whole, and returns the code.
func refused(t *testing.T, c client, document string, v vars, headers ...string) string {
	t.Helper()
	data, faults := c.graphql(t, document, v, headers...)
	if len(faults) != 1 || len(data) > 0 && string(data) != "null" {
		t.Fatalf("%s: got %s, %+v", document, data, faults)
	}
	if faults[0].Extensions.RequestID == "" {
		t.Errorf("%s: the error has no request id", document)
	}
	return faults[0].Extensions.Code
}

// person is a Subject.
type person struct {
	ID        string   `json:"id"`
	Identity  string   `json:"identity"`
	Reference string   `json:"reference"`
	Emails    []string `json:"emails"`
	Phones    []string `json:"phones"`
	BirthDate string   `json:"birthDate"`
	Version   int64    `json:"version"`
	Name      struct {
		Full string `json:"full"`
	} `json:"name"`
	Records recordPage `json:"records"`
}

const personFields = ` id identity reference emails phones birthDate version name { full } `

// row is a Record.
type row struct {
	ID      string `json:"id"`
	Key     string `json:"key"`
	Version int64  `json:"version"`
	Dataset struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"dataset"`
	Subject struct {
		ID string `json:"id"`
	} `json:"subject"`
	Fields []struct {
		FieldID string          `json:"fieldId"`
		Key     string          `json:"key"`
		Value   json.RawMessage `json:"value"`
		State   string          `json:"state"`
	} `json:"fields"`
}

const rowFields = ` id key version dataset { id name } subject { id } fields { fieldId key value state } `

// text is the value of a field, which is a string.
func (r *row) text(t *testing.T, key string) string {
	t.Helper()
	for _, f := range r.Fields {
		if f.Key != key {
			continue
		}
		var s string
		if err := json.Unmarshal(f.Value, &s); err != nil || f.State != "CLEAR" {
			t.Fatalf("field %s is %s: %s", key, f.State, f.Value)
		}
		return s
	}
	t.Fatalf("the record has no field %s", key)
	return ""
}

type pageInfo struct {
	HasNextPage bool   `json:"hasNextPage"`
	EndCursor   string `json:"endCursor"`
}

type recordPage struct {
	Nodes      []row    `json:"nodes"`
	PageInfo   pageInfo `json:"pageInfo"`
	TotalCount int      `json:"totalCount"`
}

type personPage struct {
	Nodes      []person `json:"nodes"`
	PageInfo   pageInfo `json:"pageInfo"`
	TotalCount int      `json:"totalCount"`
}

// find looks persons up; by is a SubjectBy.
func (c client) find(t *testing.T, by vars) []person {
	t.Helper()
	return ask[struct {
		FindSubjects personPage `json:"findSubjects"`
	}](t, c, `query($by: SubjectBy!) { findSubjects(by: $by) { nodes {`+personFields+`} } }`, vars{"by": by}).FindSubjects.Nodes
}

// findOne looks up a person who must be there.
func (c client) findOne(t *testing.T, by vars) person {
	t.Helper()
	found := c.find(t, by)
	if len(found) != 1 {
		t.Fatalf("%d persons were found", len(found))
	}
	return found[0]
}

// person reads a person with up to 100 records.
func (c client) person(t *testing.T, id string) person {
	t.Helper()
	return ask[struct {
		Subject person `json:"subject"`
	}](t, c, `query($id: ID!) { subject(id: $id) {`+personFields+`records(first: 100) { totalCount nodes {`+rowFields+`} } } }`,
		vars{"id": id}).Subject
}

// createPerson makes a person; input is a CreateSubjectInput.
func (c client) createPerson(t *testing.T, input vars) person {
	t.Helper()
	return ask[struct {
		CreateSubject struct {
			Subject person `json:"subject"`
		} `json:"createSubject"`
	}](t, c, `mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject {`+personFields+`} } }`,
		vars{"input": input}).CreateSubject.Subject
}

// dataset is a Dataset.
type dataset struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version int64  `json:"version"`
	Fields  []struct {
		ID  string `json:"id"`
		Key string `json:"key"`
	} `json:"fields"`
}

// createDataset makes a dataset; fields are DatasetFieldInputs.
func (c client) createDataset(t *testing.T, name string, fields ...vars) dataset {
	t.Helper()
	return ask[struct {
		CreateDataset struct {
			Dataset dataset `json:"dataset"`
		} `json:"createDataset"`
	}](t, c, `mutation($input: CreateDatasetInput!) { createDataset(input: $input) { dataset { id name version fields { id key } } } }`,
		vars{"input": vars{"name": name, "fields": fields}}).CreateDataset.Dataset
}

// documents makes a dataset with a title and a file.
func (c client) documents(t *testing.T) dataset {
	t.Helper()
	return c.createDataset(t, "Documents "+rand.Text(),
		vars{"key": "title", "type": "STRING", "lookup": "EXACT", "normaliser": "TEXT"}, vars{"key": "document", "type": "FILE"})
}

// write writes a record with these values.
func (c client) write(t *testing.T, of person, in dataset, values vars) row {
	t.Helper()
	var fields []vars
	for key, value := range values {
		fields = append(fields, vars{"key": key, "value": value})
	}
	return ask[struct {
		WriteRecord struct {
			Record row `json:"record"`
		} `json:"writeRecord"`
	}](t, c, `mutation($input: WriteRecordInput!) { writeRecord(input: $input) { record {`+rowFields+`} } }`,
		vars{"input": vars{"subject": of.ID, "dataset": in.ID, "origin": "PROVIDED", "fields": fields}}).WriteRecord.Record
}

// deleteRecord removes a record.
func (c client) deleteRecord(t *testing.T, r row) {
	t.Helper()
	ask[any](t, c, `mutation($input: DeleteRecordInput!) { deleteRecord(input: $input) { id } }`, vars{"input": vars{"id": r.ID}})
}

// record reads a record.
func (c client) record(t *testing.T, id string) row {
	t.Helper()
	return ask[struct {
		Record row `json:"record"`
	}](t, c, `query($id: ID!) { record(id: $id) {`+rowFields+`} }`, vars{"id": id}).Record
}

// upload sends a document and returns the file's id.
func (c client) upload(t *testing.T, of person, in dataset, name string, content io.Reader) string {
	t.Helper()
	a := c.call(t, http.MethodPut, uploadPath(of, in), content, "Vogter-File-Name", url.PathEscape(name), "Content-Type", "application/pdf")
	var out struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusCreated {
		t.Fatalf("upload: %d %s", a.status, a.body)
	}
	return out.ID
}

func uploadPath(of person, in dataset) string {
	return "/v1/uploads?subject=" + of.ID + "&dataset=" + in.ID
}

// job is a Job.
type job struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Attempt  int    `json:"attempt"`
	Progress struct {
		Done  int64 `json:"done"`
		Total int64 `json:"total"`
	} `json:"progress"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

const jobFields = ` id state attempt progress { done total } error { code message } `

// export is an Export with its Job.
type export struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Size  int64  `json:"size"`
	Job   job    `json:"job"`
}

// requestExport asks for a package.
func (c client) requestExport(t *testing.T, of person) export {
	t.Helper()
	return ask[struct {
		RequestExport struct {
			Export export `json:"export"`
		} `json:"requestExport"`
	}](t, c, `mutation($input: RequestExportInput!) { requestExport(input: $input) { export { id state job {`+jobFields+`} } } }`,
		vars{"input": vars{"subject": of.ID}}).RequestExport.Export
}

// export reads an export.
func (c client) export(t *testing.T, id string) export {
	t.Helper()
	return ask[struct {
		Export export `json:"export"`
	}](t, c, `query($id: ID!) { export(id: $id) { id state size job {`+jobFields+`} } }`, vars{"id": id}).Export
}

// job reads a job.
func (c client) job(t *testing.T, id string) job {
	t.Helper()
	return ask[struct {
		Job job `json:"job"`
	}](t, c, `query($id: ID!) { job(id: $id) {`+jobFields+`} }`, vars{"id": id}).Job
}

// watch follows a job over server-sent events and returns its states, each as
// often as it was told, until the stream is complete or see returns false.
func (c client) watch(t *testing.T, id string, within time.Duration, see func(job) bool) []job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	body, err := json.Marshal(map[string]any{
		"query": `subscription($id: ID!) { job(id: $id) {` + jobFields + `} }`, "variables": vars{"id": id},
	})
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.open(ctx, http.MethodPost, "/graphql", bytes.NewReader(body),
		"Content-Type", "application/json", "Accept", "text/event-stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var told []job
	lines, event := bufio.NewScanner(res.Body), ""
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case name == "event":
			event = value
		case name == "data" && event == "next":
			var next struct {
				Data struct {
					Job job `json:"job"`
				} `json:"data"`
				Errors []fault `json:"errors"`
			}
			if err := json.Unmarshal([]byte(value), &next); err != nil || len(next.Errors) > 0 {
				t.Fatalf("watch job: %s", value)
			}
			told = append(told, next.Data.Job)
			if !see(next.Data.Job) {
				return told
			}
		}
		if event == "complete" {
			return told
		}
	}
	t.Fatalf("the stream ended before the job did, after %+v: %v", told, lines.Err())
	return nil
}

// finish waits until a job has ended and fails unless it succeeded.
func (c client) finish(t *testing.T, id string, within time.Duration) []job {
	t.Helper()
	told := c.watch(t, id, within, func(job) bool { return true })
	if len(told) == 0 || told[len(told)-1].State != "SUCCEEDED" {
		t.Fatalf("the job ended with %+v", told)
	}
	return told
}

// grant is a DownloadGrant.
type grant struct {
	URL      string `json:"url"`
	UsesLeft int    `json:"usesLeft"`
}

const grantDocument = `mutation($input: GrantDownloadInput!) { grantDownload(input: $input) { grant { url usesLeft } } }`

// grant asks for a link.
func (c client) grant(t *testing.T, object string) grant {
	t.Helper()
	return ask[struct {
		GrantDownload struct {
			Grant grant `json:"grant"`
		} `json:"grantDownload"`
	}](t, c, grantDocument, vars{"input": vars{"object": object}}).GrantDownload.Grant
}

// imported is the answer to an import.
type imported struct {
	ID         string `json:"id"`
	State      string `json:"state"`
	Lines      int64  `json:"lines"`
	Created    int64  `json:"created"`
	Updated    int64  `json:"updated"`
	Unchanged  int64  `json:"unchanged"`
	Records    int64  `json:"records"`
	Rejected   int64  `json:"rejected"`
	Code       string `json:"code"`
	Rejections []struct {
		Line    int64  `json:"line"`
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"rejections"`
}

// importLines sends NDJSON; query is mapping=NAME or dataset=NAME.
func (c client) importLines(t *testing.T, query, key string, lines io.Reader) imported {
	t.Helper()
	a := c.call(t, http.MethodPost, "/v1/imports?"+query, lines, "Content-Type", "application/x-ndjson", "Idempotency-Key", key)
	var out imported
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK {
		t.Fatalf("import: %d %s", a.status, a.body)
	}
	return out
}

// signIn signs a person in at Kratos without a browser and returns the session's token.
func signIn(t *testing.T, kratos, email, password string) string {
	t.Helper()
	identity := client{base: kratos}
	var flow struct {
		UI struct {
			Action string `json:"action"`
		} `json:"ui"`
	}
	a := identity.call(t, http.MethodGet, "/self-service/login/api", http.NoBody, "Accept", "application/json")
	if err := json.Unmarshal(a.body, &flow); err != nil || a.status != http.StatusOK {
		t.Fatalf("start sign-in: %d", a.status)
	}
	body, err := json.Marshal(map[string]string{"method": "password", "identifier": email, "password": password})
	if err != nil {
		t.Fatal(err)
	}
	a = identity.call(t, http.MethodPost, flow.UI.Action, bytes.NewReader(body), "Content-Type", "application/json", "Accept", "application/json")
	var session struct {
		Token string `json:"session_token"`
	}
	if err := json.Unmarshal(a.body, &session); err != nil || a.status != http.StatusOK || session.Token == "" {
		t.Fatalf("sign in: %d", a.status)
	}
	return session.Token
}
