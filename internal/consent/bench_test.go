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

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
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

// persons makes persons, many in one transaction, and returns their ids.
func (o *office) persons(ctx context.Context, from, count int) []string {
	o.Helper()
	const batch = 250
	ids := make([]string, 0, count)
	for len(ids) < count {
		made, owners := make([]subject.New, 0, batch), make([]vault.Owner, 0, 2*batch)
		for range min(batch, count-len(ids)) {
			personID, reference := id.New(id.Subject, testenv.One), personal.NewText(fmt.Sprintf("C-%d", from+len(ids)))
			m, err := subject.Make(personID, subject.CreateInput{Reference: &reference}, "DK", o.Now())
			if err != nil {
				o.Fatal(err)
			}
			made, owners, ids = append(made, m), append(owners, subject.Owners(testenv.One, personID)...), append(ids, personID)
		}
		if _, err := o.Vault.Ensure(ctx, owners...); err != nil {
			o.Fatal(err)
		}
		if err := o.Changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) { return o.Subjects.Insert(ctx, made...) }); err != nil {
			o.Fatal(err)
		}
	}
	return ids
}

// BenchmarkState asks where persons stand, while few events are kept and when many
// are, which are imported; and finds a document by its _id through the same driver
// and server. Ratios are those of medians. Each person has answered for five
// purposes, and two events are of one consent: that it is given, and that it was
// asked for.
func BenchmarkState(b *testing.B) {
	o := open(b)
	one := o.As(testenv.One)
	purposes := []string{"news", "offers", "surveys", "profile", "partners"}
	for _, key := range purposes {
		o.purpose(one, key, func(c *purpose.Content) { c.ValidityMonths = 0 })
	}
	n, im := o.notice(one, "signup", purposes...), importer(o)
	each := len(purposes)
	few, many := scaled(2_000, 10_000)/2/each, scaled(20_000, 1_000_000)/2/each
	var persons []string
	bring := func(key string, count int) time.Duration {
		at := len(persons)
		persons = append(persons, o.persons(one, at, count)...)
		r, w := io.Pipe()
		go func() {
			for i := range count * each {
				_, err := fmt.Fprintf(w, `{"reference":"C-%d","purpose":%q,"notice":%q,"language":"da","state":"GIVEN","at":"20%02d-%02d-%02dT10:00:00Z","channel":"WEB"}`+"\n",
					at+i/each, purposes[i%each], n.ID, 20+i%6, 1+i%12, 1+i%28)
				if err != nil {
					return
				}
			}
			_ = w.Close()
		}()
		begun := time.Now()
		sum, err := im.Run(one, imports.Input{Key: key, Kind: imports.KindConsents, Format: imports.NDJSON, Mode: imports.Write, Body: r})
		if err != nil || sum.Counts.Created != int64(count*each) {
			b.Fatalf("imported %+v, %v", sum, err)
		}
		return time.Since(begun)
	}
	pick := func(i int) (person, key string) { return persons[(i*7919)%len(persons)], purposes[i%each] }
	ask := func(i int) error {
		person, key := pick(i)
		st, err := o.consents.State(one, person, key, nil)
		if err == nil && !st.Valid {
			err = errors.New("not given")
		}
		return err
	}
	standings := o.Stored("consentStandings")
	const times = 3000
	bare := func(i int) error {
		person, key := pick(i + times) // others than ask has just had read into the cache
		_, err := standings.FindOne(context.WithoutCancel(one), bson.D{{Key: "_id", Value: string(testenv.One) + "/" + person + "/" + key}}).Raw()
		return err
	}
	bring("few", few)
	p50(b, times/10, ask)
	before, bareBefore := p50(b, times, ask), p50(b, times, bare)
	took := bring("many", many-few)
	p50(b, times/10, ask)
	scans := o.scans()
	after, found := p50(b, times, ask), p50(b, times, bare)
	begun := time.Now()
	report, err := o.consents.Report(one, consent.ReportInput{Purposes: purposes})
	if err != nil || len(report.Standing) != each || report.Standing[0].Count != int64(many) {
		b.Fatalf("the report counts %+v, %v", report, err)
	}
	b.ReportMetric(float64(time.Since(begun).Microseconds())/1000, "report-ms")
	if scans = o.scans() - scans; scans != 0 {
		b.Errorf("states and the report made %d scans", scans)
	}
	b.ReportMetric(float64(after.Microseconds()), "state-p50-µs")
	b.ReportMetric(float64(found.Microseconds()), "bare-p50-µs")
	b.ReportMetric(float64(found)/float64(after), "rate-of-bare")
	b.ReportMetric(float64(after)/float64(before), "many-of-few")
	b.ReportMetric(float64(found)/float64(bareBefore), "bare-many-of-few")
	b.ReportMetric(2*float64((many-few)*each)/took.Seconds(), "imported-events/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkGate asks where two persons stand who have given a consent: one, once;
// the other after many times of giving and withdrawing it.
func BenchmarkGate(b *testing.B) {
	o := open(b)
	one := o.As(testenv.One)
	o.purpose(one, "news", nil)
	n := o.notice(one, "signup", "news")
	once, often := o.Subject(one, "C-1"), o.Subject(one, "C-2")
	give := func(s *subject.Subject) { must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil))) }
	give(once)
	give(often)
	for range scaled(300, 10_000) / 3 { // events: asked, given, withdrawn
		must[*consent.Consent](o)(o.consents.Withdraw(one, input(often, "news", nil, nil)))
		give(often)
	}
	var took [2]time.Duration
	for i, s := range []*subject.Subject{once, often} {
		took[i] = p50(b, 3000, func(int) error {
			st, err := o.consents.State(one, s.ID, "news", nil)
			if err == nil && !st.Valid {
				err = errors.New("not given")
			}
			return err
		})
	}
	b.ReportMetric(float64(took[1])/float64(took[0]), "often-of-once")
	b.ReportMetric(0, "ns/op")
}
