package seal_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/s3"
	"github.com/vogter/vogter/internal/vault"
)

// provider is the tenant that runs the platform.
const provider tenant.ID = "ten_pppppppppppppppp"

type fixed tenant.ID

func (f fixed) ProviderID(context.Context) (tenant.ID, error) { return tenant.ID(f), nil }

// world is an audit log on real parts.
type world struct {
	testing.TB

	uri      string
	keysURI  string
	masters  string // file
	db       *mongo.DB
	vault    *vault.Vault
	keys     *mongo.KeyStore
	changes  *change.Runner
	recorder *audit.Recorder
	store    *mongo.AuditStore
	ring     *sign.Ring
	raw      *driver.Database
	places   []*place
	buckets  []blob.Config // of the places
}

// place is a bucket whose ruler may answer what he likes.
type place struct {
	*blob.Bucket

	lie func(key string, object []byte) []byte // nil for no object
}

func (p *place) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	b, err := p.Bucket.Get(ctx, key, limit)
	if err == nil && p.lie != nil {
		if b = p.lie(key, b); b == nil {
			return nil, blob.ErrNotFound
		}
	}
	return b, err
}

// publisher returns a publisher to two buckets.
func (w *world) publisher() *seal.Publisher {
	w.Helper()
	if w.places == nil {
		server := s3.Start(w)
		for _, name := range []string{"first", "second"} {
			c := server.Config
			c.Bucket = name
			b, err := blob.New(c)
			w.ok(err)
			w.ok(b.Ensure(w.Context()))
			w.places, w.buckets = append(w.places, &place{Bucket: b}), append(w.buckets, c)
		}
	}
	return seal.NewPublisher(seal.PublisherConfig{
		Checkpoints: w.store, Logs: w.store, Rows: w.db, Recorder: w.recorder, Sealer: w.sealer(w.store), Ring: w.ring,
		Provider: fixed(provider), Places: []seal.Objects{w.places[0], w.places[1]}, Keep: time.Hour, Now: testenv.Now, Log: testenv.Logger(w),
	})
}

func start(tb testing.TB) *world {
	tb.Helper()
	w := &world{TB: tb, uri: testenv.MongoURI(tb), keysURI: testenv.MongoURI(tb), masters: filepath.Join(tb.TempDir(), "masters.json")}
	w.db, w.keys = testenv.Data(tb, w.uri), mongo.NewKeyStore(testenv.Connect(tb, w.keysURI))
	masters, err := localfile.Open(w.masters, testenv.Now)
	w.ok(err)
	w.vault, err = vault.New(vault.Config{Store: w.keys, KMS: masters, Now: testenv.Now})
	w.ok(err)
	changes, recorder := testenv.Changes(tb, w.db, w.vault, vault.Hasher{Vault: w.vault}, nil)
	w.changes, w.recorder, w.store = changes, recorder, mongo.NewAuditStore(w.db)
	w.ring = sign.NewRing(sign.Config{
		Store: mongo.NewSignStore(w.db), Vault: w.vault, Provider: fixed(provider), Changes: changes, Now: testenv.Now,
	})
	client, err := driver.Connect(options.Client().ApplyURI(w.uri))
	w.ok(err)
	tb.Cleanup(func() { _ = client.Disconnect(context.WithoutCancel(tb.Context())) })
	w.raw = client.Database("vogter")
	return w
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// as returns a context of a machine client of a tenant.
func (w *world) as(of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(w.Context(), of), authz.Principal{
		Kind: authz.KindMachine, ID: id.New(id.APIKey, of), Tenant: of,
	})
}

// write writes n entries to a tenant's log, every third about a person.
func (w *world) write(of tenant.ID, n int) []audit.Row {
	w.Helper()
	ctx := w.as(of)
	rows := make([]audit.Row, n)
	for i := range rows {
		ev := audit.Event{Action: "record.read", Object: id.New(id.Record, of)}
		if i%3 == 0 {
			ev.Touches = []audit.Touch{{Subject: "sub_" + string(of[4:]) + strconv.Itoa(i%7), Object: ev.Object, Version: int64(i)}}
		}
		row, err := w.recorder.Row(ctx, testenv.Now(), ev)
		w.ok(err)
		rows[i] = row
	}
	for part := range slices.Chunk(rows, 500) {
		w.ok(w.db.InsertAudit(ctx, part...))
	}
	return rows
}

func (w *world) sealer(store seal.Store) *seal.Sealer {
	return seal.NewSealer(seal.Config{Store: store, Now: testenv.Now, Log: testenv.Logger(w), Batch: 50})
}

// entries returns a tenant's sealed entries in their order.
func (w *world) entries(of tenant.ID) (seqs []int64, ids []string) {
	w.Helper()
	cursor, err := w.raw.Collection("audit").Find(w.Context(),
		bson.D{{Key: "tenant", Value: of}, {Key: "seq", Value: bson.D{{Key: "$gte", Value: 0}}}}, options.Find().SetSort(bson.D{{Key: "seq", Value: 1}}))
	w.ok(err)
	var docs []struct {
		ID  string `bson:"_id"`
		Seq int64  `bson:"seq"`
	}
	w.ok(cursor.All(w.Context(), &docs))
	for _, d := range docs {
		seqs, ids = append(seqs, d.Seq), append(ids, d.ID)
	}
	return seqs, ids
}

// whole fails unless exactly these rows are sealed, each once, without a gap.
func (w *world) whole(of tenant.ID, rows []audit.Row) {
	w.Helper()
	seqs, ids := w.entries(of)
	for i, seq := range seqs {
		if seq != int64(i) {
			w.Fatalf("entry %d has the number %d", i, seq)
		}
	}
	var want []string
	for _, r := range rows {
		want = append(want, r.ID)
	}
	slices.Sort(want)
	slices.Sort(ids)
	if !slices.Equal(ids, want) {
		w.Fatalf("%d entries are sealed, want %d", len(ids), len(want))
	}
	heads, err := w.store.Heads(tenant.System(w.Context(), "test"))
	w.ok(err)
	for _, h := range heads {
		if h.Tenant == of && h.Size != int64(len(rows)) {
			w.Fatalf("the log has the size %d, want %d", h.Size, len(rows))
		}
	}
}

// steps is a store that calls step before and after each thing that it does.
type steps struct {
	seal.Store

	step func()
}

func (s *steps) around() func() { s.step(); return s.step }

func (s *steps) Lease(ctx context.Context, holder string, now, until time.Time) (*seal.State, bool, error) {
	defer s.around()()
	return s.Store.Lease(ctx, holder, now, until)
}

func (s *steps) Unsealed(ctx context.Context, limit int) ([]audit.Entry, error) {
	defer s.around()()
	return s.Store.Unsealed(ctx, limit)
}

func (s *steps) Tiles(ctx context.Context, log int64, ids []proof.TileID) ([]proof.Tile, error) {
	defer s.around()()
	return s.Store.Tiles(ctx, log, ids)
}

func (s *steps) InTransaction(ctx context.Context, fn func(ctx context.Context) error) error {
	defer s.around()()
	return s.Store.InTransaction(ctx, fn)
}

func (s *steps) Order(ctx context.Context, first int64, ids []string) error {
	defer s.around()()
	return s.Store.Order(ctx, first, ids)
}

func (s *steps) PutTiles(ctx context.Context, log int64, tiles []proof.Tile) error {
	defer s.around()()
	return s.Store.PutTiles(ctx, log, tiles)
}

func (s *steps) Move(ctx context.Context, from int64, next *seal.State, until time.Time) error {
	defer s.around()()
	return s.Store.Move(ctx, from, next, until)
}

func (s *steps) Release(ctx context.Context, fence int64) error {
	defer s.around()()
	return s.Store.Release(ctx, fence)
}

// killAt returns a step that ends the process the n-th time.
func killAt(n int64) func() {
	var count atomic.Int64
	return func() {
		if count.Add(1) == n {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
}
