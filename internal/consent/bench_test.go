package consent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/testenv"
)

// scaled returns the size that is stated, with VOGTER_SCALE=full, or a small one.
func scaled(small, full int) int {
	if os.Getenv("VOGTER_SCALE") == "full" {
		return full
	}
	return small
}

// scans is how many queries of the engine had no index so far.
func (o *office) scans() int64 {
	o.Helper()
	var status struct {
		Metrics struct {
			QueryExecutor struct {
				CollectionScans struct {
					Total int64 `bson:"total"`
				} `bson:"collectionScans"`
			} `bson:"queryExecutor"`
		} `bson:"metrics"`
	}
	admin := o.Stored("consents").Database().Client().Database("admin")
	if err := admin.RunCommand(o.Context(), bson.D{{Key: "serverStatus", Value: 1}}).Decode(&status); err != nil {
		o.Fatal(err)
	}
	return status.Metrics.QueryExecutor.CollectionScans.Total
}

// p50 returns the median time of do.
func p50(tb testing.TB, times int, do func(i int) error) time.Duration {
	tb.Helper()
	took := make([]time.Duration, times)
	for i := range took {
		begun := time.Now()
		if err := do(i); err != nil {
			tb.Fatal(err)
		}
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return took[times/2]
}

// BenchmarkState asks where persons stand, while few events are kept and when many
// are, which are imported; and finds a document by its _id through the same driver
// and server. Ratios are those of medians. Two events are of one consent: that it is
// given, and that it was asked for.
func BenchmarkState(b *testing.B) {
	o := open(b)
	one := o.As(testenv.One)
	o.purpose(one, "news", func(c *purpose.Content) { c.ValidityMonths = 0 })
	n, im := o.notice(one, "signup", "news"), importer(o)
	few, many := scaled(2_000, 10_000)/2, scaled(20_000, 1_000_000)/2
	var persons []string
	bring := func(key string, count int) time.Duration {
		at := len(persons)
		for i := range count {
			persons = append(persons, o.Subject(one, fmt.Sprintf("C-%d", at+i)).ID)
		}
		r, w := io.Pipe()
		go func() {
			for i := range count {
				_, err := fmt.Fprintf(w, `{"reference":"C-%d","purpose":"news","notice":%q,"language":"da","state":"GIVEN","at":"20%02d-%02d-%02dT10:00:00Z","channel":"WEB"}`+"\n",
					at+i, n.ID, 20+i%6, 1+i%12, 1+i%28)
				if err != nil {
					return
				}
			}
			_ = w.Close()
		}()
		begun := time.Now()
		sum, err := im.Run(one, imports.Input{Key: key, Kind: imports.KindConsents, Format: imports.NDJSON, Mode: imports.Write, Body: r})
		if err != nil || sum.Counts.Created != int64(count) {
			b.Fatalf("imported %+v, %v", sum, err)
		}
		return time.Since(begun)
	}
	ask := func(i int) error {
		st, err := o.consents.State(one, persons[(i*7919)%len(persons)], "news", nil)
		if err == nil && !st.Valid {
			err = errors.New("not given")
		}
		return err
	}
	standings := o.Stored("consentStandings")
	bare := func(i int) error {
		_, err := standings.FindOne(context.WithoutCancel(one), bson.D{{Key: "_id", Value: string(testenv.One) + "/" + persons[(i*7919)%len(persons)] + "/news"}}).Raw()
		return err
	}
	const times = 3000
	bring("few", few)
	p50(b, times/10, ask)
	before := p50(b, times, ask)
	took := bring("many", many-few)
	p50(b, times/10, ask)
	after, found := p50(b, times, ask), p50(b, times, bare)
	scans := o.scans()
	begun := time.Now()
	report, err := o.consents.Report(one, consent.ReportInput{Purposes: []string{"news"}})
	if err != nil || len(report.Standing) != 1 || report.Standing[0].Count != int64(many) {
		b.Fatalf("the report counts %+v, %v", report, err)
	}
	b.ReportMetric(float64(time.Since(begun).Microseconds())/1000, "report-ms")
	if scans = o.scans() - scans; scans != 0 {
		b.Errorf("the report made %d scans", scans)
	}
	b.ReportMetric(float64(after.Microseconds()), "state-p50-µs")
	b.ReportMetric(float64(found.Microseconds()), "bare-p50-µs")
	b.ReportMetric(float64(found)/float64(after), "rate-of-bare")
	b.ReportMetric(float64(after)/float64(before), "many-of-few")
	b.ReportMetric(2*float64(many-few)/took.Seconds(), "imported-events/s")
	b.ReportMetric(0, "ns/op")
}
