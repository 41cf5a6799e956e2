package feed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// platform is a World with a sealer.
type platform struct {
	*world.World

	feed   *feed.Service
	sealer *seal.Sealer
}

func start(t *testing.T) *platform {
	t.Helper()
	p := &platform{World: world.Start(t)}
	p.feed = feed.NewService(mongo.NewFeedStore(p.DB))
	p.sealer = p.newSealer()
	return p
}

func (p *platform) newSealer() *seal.Sealer {
	return seal.NewSealer(seal.Config{Store: mongo.NewAuditStore(p.DB), Now: testenv.Now, Log: testenv.Logger(p), Batch: 7})
}

func (p *platform) seal() {
	p.Helper()
	if _, err := p.sealer.Seal(p.Context()); err != nil {
		p.Fatal(err)
	}
}

// commit makes a change.
func (p *platform) commit(of tenant.ID, c change.Change) {
	p.Helper()
	if err := p.Changes.Do(p.As(of), func(context.Context) (change.Change, error) { return c, nil }); err != nil {
		p.Error(err)
	}
}

// as returns a context of a member with clearances.
func (p *platform) as(of tenant.ID, cleared ...authz.Clearance) context.Context {
	return authz.NewContext(tenant.NewContext(p.Context(), of), authz.Principal{
		Kind: authz.KindMember, ID: id.New(id.Member, of), Tenant: of, Role: authz.RoleCaseHandler, Clearances: cleared,
	})
}

// read reads a feed to its end by pages.
func (p *platform) read(ctx context.Context, after *string, first int) []*feed.Change {
	p.Helper()
	var all []*feed.Change
	for {
		c, err := p.feed.List(ctx, page.Request{First: first, After: after})
		if err != nil {
			p.Fatal(err)
		}
		all = append(all, c.Nodes()...)
		if len(c.Edges) > 0 && *c.PageInfo.EndCursor != c.Edges[len(c.Edges)-1].Node.ID {
			p.Error("endCursor isn't that of the last change")
		}
		if after = c.PageInfo.EndCursor; !c.PageInfo.HasNextPage {
			return all
		}
	}
}

func objects(changes []*feed.Change) []string {
	ids := make([]string, len(changes))
	for i, c := range changes {
		ids[i] = c.Object
	}
	return ids
}

func TestAFeedHasEachChangeOnceAndInOrder(t *testing.T) {
	p := start(t)
	want := make([]string, 25)
	for i := range want {
		want[i] = "obj_" + strconv.Itoa(i)
		p.commit(testenv.One, change.Change{Action: "test.change", Object: want[i], Fields: []string{"a", "b"}})
		if i%3 == 0 { // what is no change, or none to be told of, and another tenant's
			if err := p.Recorder.Read(p.As(testenv.One), "test.read", want[i]); err != nil {
				t.Fatal(err)
			}
			p.commit(testenv.One, change.Change{Action: "test.keep", Object: want[i], Quiet: true})
			p.commit(testenv.Two, change.Change{Action: "test.change", Object: "of another"})
		}
	}
	if got := p.read(p.as(testenv.One), nil, 10); len(got) != 0 {
		t.Errorf("%d changes are told before they are sealed", len(got))
	}
	p.seal()
	for _, first := range []int{1, 4, 25, page.Max} {
		got := p.read(p.as(testenv.One), nil, first)
		if !slices.Equal(objects(got), want) {
			t.Errorf("by %d: %v", first, objects(got))
		}
		if len(got) > 0 && (got[0].Action != "test.change" || !slices.Equal(got[0].Fields, []string{"a", "b"}) || got[0].At.IsZero()) {
			t.Errorf("a change is %+v", got[0])
		}
	}
	// A cursor goes on, also from the end.
	got := p.read(p.as(testenv.One), nil, page.Max)
	last := got[len(got)-1].ID
	c, err := p.feed.List(p.as(testenv.One), page.Request{First: 5, After: &last})
	if err != nil || len(c.Edges) != 0 || c.PageInfo.EndCursor == nil || *c.PageInfo.EndCursor != last {
		t.Errorf("at the end: %+v, %v", c, err)
	}
	p.commit(testenv.One, change.Change{Action: "test.change", Object: "late"})
	p.seal()
	if got := objects(p.read(p.as(testenv.One), &last, 5)); !slices.Equal(got, []string{"late"}) {
		t.Errorf("after the end: %v", got)
	}
	if got := p.read(p.as(testenv.Two), nil, 100); len(got) != 9 || got[0].Object != "of another" {
		t.Errorf("the second tenant sees %v", objects(got))
	}
}

func TestCursors(t *testing.T) {
	p := start(t)
	p.commit(testenv.One, change.Change{Action: "test.change", Object: "o"})
	p.seal()
	own := p.read(p.as(testenv.One), nil, 1)[0].ID
	unknown, other := id.New(id.Audit, testenv.One), id.New(id.Record, testenv.One)
	for name, tt := range map[string]struct {
		of    tenant.ID
		after string
		first int
		want  error
	}{
		"its own":          {testenv.One, own, 1, nil},
		"another tenant's": {testenv.Two, own, 1, page.ErrCursor},
		"unknown":          {testenv.One, unknown, 1, page.ErrCursor},
		"of another kind":  {testenv.One, other, 1, page.ErrCursor},
		"nothing":          {testenv.One, "", 1, page.ErrCursor},
		"too many":         {testenv.One, own, page.Max + 1, page.ErrFirst},
		"none":             {testenv.One, own, 0, page.ErrFirst},
	} {
		if _, err := p.feed.List(p.as(tt.of), page.Request{First: tt.first, After: &tt.after}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Readers that follow while many write and several seal miss nothing.
func TestAReaderMissesNothing(t *testing.T) {
	p := start(t)
	const writers, each = 4, 25
	ctx, stop := context.WithCancel(t.Context())
	var sealing, writing sync.WaitGroup
	for range 2 {
		sealer := p.newSealer()
		sealing.Go(func() {
			if err := sealer.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				p.commit(testenv.One, change.Change{Action: "test.change", Object: fmt.Sprintf("%d/%d", w, n)})
			}
		})
	}
	written := make(chan struct{})
	go func() {
		writing.Wait()
		close(written)
	}()
	var got []string
	var after *string
	follow := func() {
		c, err := p.feed.List(p.as(testenv.One), page.Request{First: 9, After: after})
		if err != nil {
			t.Error(err)
			return
		}
		got, after = append(got, objects(c.Nodes())...), c.PageInfo.EndCursor
	}
	for more := true; more; {
		select {
		case <-written:
			more = false
		default:
		}
		follow()
	}
	stop()
	sealing.Wait()
	p.seal()
	for had := -1; had != len(got); {
		had = len(got)
		follow()
	}
	if len(got) != writers*each {
		t.Errorf("followed %d changes", len(got))
	}
	whole := objects(p.read(p.as(testenv.One), nil, page.Max))
	if !slices.Equal(got, whole) {
		t.Errorf("followed %d changes, the feed has %d", len(got), len(whole))
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(got))); len(distinct) != len(got) {
		t.Errorf("%d of %d changes are told twice", len(got)-len(distinct), len(got))
	}
}

// Nothing that AML law keeps secret is told to those without the clearance.
func TestSecrets(t *testing.T) {
	p := start(t)
	ctx := p.As(testenv.One)
	aml := func(f dataset.FieldInput) dataset.FieldInput {
		f.Secrecy = dataset.AML
		return f
	}
	person := p.Subject(ctx, "K-1")
	secret, err := p.Datasets.Create(ctx, dataset.CreateInput{
		Name: "Suspicion", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("note", dataset.TypeString)},
	})
	if err != nil {
		t.Fatal(err)
	}
	mixed := p.Dataset(ctx, "Case", world.Field("number", dataset.TypeString), aml(world.Field("hint", dataset.TypeString)))
	hidden := p.Record(ctx, person, secret, world.Value("note", `"x"`))
	shown := p.Record(ctx, person, mixed, world.Value("number", `"1"`), world.Value("hint", `"y"`))
	p.Upload(ctx, person, secret, "a.txt", "secret")
	for n, fields := range [][]record.FieldInput{
		{world.Value("hint", `"z"`)},                               // nothing that is open
		{world.Value("number", `"2"`)},                             // nothing secret
		{world.Value("number", `"3"`), world.Value("hint", `"w"`)}, // both
	} {
		if _, err := p.Records.Update(ctx, record.UpdateInput{ID: shown.ID, ExpectedVersion: int64(n + 1), Fields: fields}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Records.Delete(ctx, record.DeleteInput{ID: hidden.ID}); err != nil {
		t.Fatal(err)
	}
	p.seal()
	open, all := p.read(p.as(testenv.One), nil, 3), p.read(p.as(testenv.One, authz.ClearAML), nil, 3)
	var told []string
	for _, c := range open {
		told = append(told, fmt.Sprint(c.Action, c.Fields))
		if c.Object == hidden.ID || c.Object == secret.ID {
			t.Errorf("told of %s", c.Action)
		}
	}
	want := []string{"subject.create[]", "dataset.create[]", "record.write[]", "record.update[number]", "record.update[number]"}
	if !slices.Equal(told, want) {
		t.Errorf("told of %v", told)
	}
	var cleared []string
	for _, c := range all {
		cleared = append(cleared, fmt.Sprint(c.Action, c.Fields))
	}
	want = []string{
		"subject.create[]", "dataset.create[]", "dataset.create[]", "record.write[]", "record.write[]", "file.upload[]", "file.store[]",
		"record.update[hint]", "record.update[number]", "record.update[number hint]", "record.delete[]",
	}
	if !slices.Equal(cleared, want) {
		t.Errorf("those with the clearance are told of %v", cleared)
	}
	systems, err := p.feed.Open(ctx, feed.Start, 100)
	if err != nil || !slices.Equal(objects(systems), objects(open)) {
		t.Errorf("systems are told of %v, %v", objects(systems), err)
	}
}
