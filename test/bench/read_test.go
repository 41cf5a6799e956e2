package bench_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/tenant"
)

// many is the larger number of clients.
const many = 32

const readDocument = `query($id: ID!) {
  subject(id: $id) {
    id state reference birthDate emails phones name { full given family }
    records(first: 1) { nodes { id version origin fields { key class value state } } }
  }
}`

// BenchmarkRead reads a subject with its record of ten fields, audited. Each
// read goes over HTTP to `vogter serve`, with an API key; then as many are made
// in this process by the same services on the same stores, without HTTP,
// sign-in and GraphQL. cpu-ratio is the processor time of the one process over
// that of the other, the document engines' own left out of both. Then they are made
// once more without writing the audit entries: recorder-share is what the recorder
// takes of the processor time of a read over the API, platform and document engines
// together.
func BenchmarkRead(b *testing.B) {
	p := start(b, build(b))
	p.load("R", scaled(500, 10_000))
	ids := p.subjects()
	read, unrecorded, ctx := p.inProcess(b)
	for _, id := range ids { // both know the keys then
		if err := errors.Join(p.query(ctx, id), read(ctx, id)); err != nil {
			b.Fatal(err)
		}
	}
	for _, clients := range []int{1, many} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			api, engine, here := p.stack.PID(local.PartAPI), p.stack.PID(local.PartData), os.Getpid()
			before, engineBefore := p.cpu(api), p.cpu(engine)
			b.ResetTimer()
			latencies := spread(b, clients, func(i int) error { return p.query(ctx, ids[i%len(ids)]) })
			b.StopTimer()
			served, took := p.cpu(api)-before, b.Elapsed()
			all := served + p.cpu(engine) - engineBefore

			inProcess := func(read func(context.Context, string) error) (stores, engines time.Duration) {
				before, engineBefore := p.cpu(here), p.cpu(engine)
				spread(b, clients, func(i int) error { return read(ctx, ids[i%len(ids)]) })
				return p.cpu(here) - before, p.cpu(engine) - engineBefore
			}
			stored, engineStored := inProcess(read)
			bare, engineBare := inProcess(unrecorded)
			recorder := stored + engineStored - bare - engineBare

			each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
			b.ReportMetric(float64(served)/float64(max(stored, 1)), "cpu-ratio")
			b.ReportMetric(each(served), "served-cpu-µs/op")
			b.ReportMetric(each(stored), "stores-cpu-µs/op")
			b.ReportMetric(float64(recorder)/float64(max(all, 1)), "recorder-share")
			b.ReportMetric(each(stored-bare), "recorder-cpu-µs/op")
			b.ReportMetric(each(engineStored-engineBare), "recorder-engine-cpu-µs/op")
			b.ReportMetric(each(all), "all-cpu-µs/op")
			b.ReportMetric(float64(b.N)/took.Seconds(), "reads/s")
			b.ReportMetric(percentile(latencies, 50), "p50-ms")
			b.ReportMetric(percentile(latencies, 99), "p99-ms")
		})
	}
}

// query reads a subject over the API.
func (p *platform) query(ctx context.Context, id string) error {
	var data struct {
		Subject struct {
			Records struct {
				Nodes []struct{ Fields []struct{ State string } }
			}
		}
	}
	if err := p.call(ctx, readDocument, map[string]any{"id": id}, "", &data); err != nil {
		return err
	}
	if nodes := data.Subject.Records.Nodes; len(nodes) != 1 || len(nodes[0].Fields) != 10 || nodes[0].Fields[0].State != "CLEAR" {
		return fmt.Errorf("subject %s: not one record with ten fields", id)
	}
	return nil
}

// subjects returns the ids of all subjects.
func (p *platform) subjects() (ids []string) {
	p.Helper()
	var after *string
	for {
		var data struct {
			Subjects struct {
				Nodes    []struct{ ID string }
				PageInfo struct {
					EndCursor   *string
					HasNextPage bool
				}
			}
		}
		p.must(`query($after: String) { subjects(first: 100, after: $after) { nodes { id } pageInfo { endCursor hasNextPage } } }`,
			map[string]any{"after": after}, "", &data)
		for _, n := range data.Subjects.Nodes {
			ids = append(ids, n.ID)
		}
		if !data.Subjects.PageInfo.HasNextPage {
			return ids
		}
		after = data.Subjects.PageInfo.EndCursor
	}
}

// inProcess connects this process to the same stores and returns what reads a
// subject with its record and flushes the audit entries of that, and what leaves
// those out.
func (p *platform) inProcess(b *testing.B) (read, unrecorded func(context.Context, string) error, ctx context.Context) {
	b.Helper()
	v, err := app.Open(b.Context(), p.stack.Env().Config, slog.New(slog.DiscardHandler), time.Now, nil)
	if err != nil {
		b.Fatal(err)
	}
	recording, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	recorded := make(chan error, 1)
	go func() { recorded <- v.Recorder.Run(recording) }()
	b.Cleanup(func() {
		stop()
		if err := errors.Join(<-recorded, v.Close(context.WithoutCancel(b.Context()))); err != nil {
			b.Error(err)
		}
	})
	ctx = audit.WithRequest(tenant.NewContext(b.Context(), p.tenant), audit.Request{ID: "BENCH"})
	ctx = authz.NewContext(ctx, authz.Principal{Kind: authz.KindMachine, ID: "bench", Tenant: p.tenant, Grants: authz.ForKeys()})
	look := func(ctx context.Context, id string) error {
		if _, err := v.Subjects.Get(ctx, id); err != nil {
			return err
		}
		c, err := v.Records.List(ctx, record.Query{Subject: id}, page.Request{First: 1})
		if err != nil {
			return err
		}
		if len(c.Edges) != 1 || len(c.Edges[0].Node.Fields) != 10 {
			return fmt.Errorf("subject %s: not one record with ten fields", id)
		}
		return nil
	}
	return func(ctx context.Context, id string) error {
			ctx, reads := audit.Collect(ctx)
			return errors.Join(look(ctx, id), v.Recorder.Flush(ctx, reads))
		}, func(ctx context.Context, id string) error {
			ctx, _ = audit.Collect(ctx)
			return look(ctx, id)
		}, ctx
}

// spread calls do b.N times from several clients and returns how long the calls
// took, in rising order.
func spread(b *testing.B, clients int, do func(i int) error) []time.Duration {
	b.Helper()
	latencies := make([]time.Duration, b.N)
	var next atomic.Int64
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				began := time.Now()
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
				latencies[i] = time.Since(began)
			}
		})
	}
	group.Wait()
	slices.Sort(latencies)
	return latencies
}

// percentile returns the nth percentile of sorted times, in milliseconds.
func percentile(sorted []time.Duration, n int) float64 {
	return float64(sorted[(len(sorted)-1)*n/100].Microseconds()) / 1000
}
