package bench_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/demo"
	"github.com/vogter/vogter/internal/local"
)

// BenchmarkFirewall makes the same calls of two platforms, one with the firewall
// off and one where it blocks, by turns: one class of route and caller after
// another. ratio is the time of the one over that of the other.
func BenchmarkFirewall(b *testing.B) {
	program := build(b)
	off, block := startDemo(b, program, "off"), startDemo(b, program, "block")
	const small = `{"query": "{ viewer { id } }"}`
	const person = `{"query": "query($by: SubjectBy!) { findSubjects(by: $by) { nodes { id name { full } emails birthDate } } }",
 "variables": {"by": {"reference": "Åse Ødegård"}}}`
	for _, class := range []struct {
		name string
		make func(ctx context.Context, p *front) (*http.Request, error)
	}{
		{"anonymous", func(ctx context.Context, p *front) (*http.Request, error) { return p.graphql(ctx, "", small) }},
		{"member", func(ctx context.Context, p *front) (*http.Request, error) { return p.graphql(ctx, p.session, person) }},
		{"machine", func(ctx context.Context, p *front) (*http.Request, error) { return p.graphql(ctx, p.key, person) }},
		{"download", func(ctx context.Context, p *front) (*http.Request, error) {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.link, http.NoBody)
			if err == nil {
				r.Header.Set("Authorization", "Bearer "+p.key)
				r.Header.Set("Range", "bytes=1-") // resuming is no new use of a link
			}
			return r, err
		}},
	} {
		b.Run(class.name, func(b *testing.B) {
			var took [2]time.Duration
			for b.Loop() {
				for i, p := range []*front{off, block} {
					r, err := class.make(b.Context(), p)
					if err != nil {
						b.Fatal(err)
					}
					began := time.Now()
					if _, err := p.do(r); err != nil {
						b.Fatal(err)
					}
					took[i] += time.Since(began)
				}
			}
			each := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(b.N) }
			b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
			b.ReportMetric(each(took[0]), "off-ms/op")
			b.ReportMetric(each(took[1]), "block-ms/op")
		})
	}
}

// front is what callers of each class need of a platform with the demo's data.
type front struct {
	api, key, session, link string
}

func startDemo(b *testing.B, program, mode string) *front {
	b.Helper()
	stack, err := local.Start(b.Context(), local.Options{
		Dir: b.TempDir(), Binary: program, Environ: []string{"VOGTER_WAF=" + mode, "VOGTER_LIMITS=network=1000000000/1m,anonymous=1000000/1m,requests=1000000/1m,points=1000000000/1m"}, Out: b.Output(),
		Seed: demo.Seed(time.Now, slog.New(slog.DiscardHandler)), Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := stack.Stop(); err != nil {
			b.Errorf("stop the platform: %v", err)
		}
	})
	ready := stack.Ready()
	p := &front{api: ready.API, key: ready.Tenants[0].APIKey}
	if err := p.prepare(b.Context(), stack.Env().Config.Kratos.PublicURL, ready.Tenants[0]); err != nil {
		b.Fatal(err)
	}
	return p
}

// prepare signs a member in and makes a link to a document.
func (p *front) prepare(ctx context.Context, kratos string, of local.Tenant) error {
	var flow struct{ UI struct{ Action string } }
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, kratos+"/self-service/login/api", http.NoBody)
	if err != nil {
		return err
	}
	if err := p.ask(r, &flow); err != nil {
		return err
	}
	owner := of.Members[0]
	form, err := json.Marshal(map[string]string{"method": "password", "identifier": owner.Email, "password": owner.Password})
	if err != nil {
		return err
	}
	var session struct {
		Token string `json:"session_token"`
	}
	r, err = http.NewRequestWithContext(ctx, http.MethodPost, flow.UI.Action, bytes.NewReader(form))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if err := p.ask(r, &session); err != nil {
		return err
	}
	p.session = session.Token

	var made struct {
		Data struct {
			CreateSubject struct{ Subject struct{ ID string } }
			CreateDataset struct{ Dataset struct{ ID string } }
			GrantDownload struct{ Grant struct{ URL string } }
		}
	}
	for _, document := range []string{
		`mutation { createSubject(input: {reference: "bench"}) { subject { id } } }`,
		`mutation { createDataset(input: {name: "Bench", fields: [{key: "letter", type: FILE}]}) { dataset { id } } }`,
	} {
		if err := p.graphqlAnswer(ctx, document, &made); err != nil {
			return err
		}
	}
	address := p.api + "/v1/uploads?" + url.Values{"subject": {made.Data.CreateSubject.Subject.ID}, "dataset": {made.Data.CreateDataset.Dataset.ID}}.Encode()
	r, err = http.NewRequestWithContext(ctx, http.MethodPut, address, strings.NewReader(strings.Repeat("a letter\n", 1000)))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+p.key)
	r.Header.Set("Vogter-File-Name", "letter.txt")
	r.Header.Set("Content-Type", "text/plain")
	var letter struct{ ID string }
	if err := p.ask(r, &letter); err != nil {
		return err
	}
	if err := p.graphqlAnswer(ctx, fmt.Sprintf(`mutation { grantDownload(input: {object: %q}) { grant { url } } }`, letter.ID), &made); err != nil {
		return err
	}
	p.link = made.Data.GrantDownload.Grant.URL
	r, err = http.NewRequestWithContext(ctx, http.MethodGet, p.link, http.NoBody) // the first use, which others resume
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+p.key)
	_, err = p.do(r)
	return err
}

func (p *front) graphql(ctx context.Context, token, body string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.api+"/graphql", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", rand.Text())
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r, nil
}

// graphqlAnswer carries a document out with the key and decodes the answer.
func (p *front) graphqlAnswer(ctx context.Context, document string, answer any) error {
	body, err := json.Marshal(map[string]string{"query": document})
	if err != nil {
		return err
	}
	r, err := p.graphql(ctx, p.key, string(body))
	if err != nil {
		return err
	}
	return p.ask(r, answer)
}

func (p *front) ask(r *http.Request, answer any) error {
	body, err := p.do(r)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, answer)
}

// do makes a request that must succeed.
func (p *front) do(r *http.Request) ([]byte, error) {
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 || bytes.Contains(body, []byte(`"errors":`)) {
		return nil, fmt.Errorf("%s: %s", res.Status, body)
	}
	return body, nil
}
