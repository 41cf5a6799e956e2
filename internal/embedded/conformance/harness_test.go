package conformance

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/embedded/mongod"
)

// testCase is one promise of MongoDB's manual.
type testCase struct {
	name string
	page string // of the manual, below https://www.mongodb.com/docs/manual/
	run  func(ctx context.Context, f *fixture) error
}

// fixture is what a case works on.
type fixture struct {
	client *mongo.Client
	db     *mongo.Database
	coll   *mongo.Collection // fresh and empty
}

// server is the server under test.
type server struct {
	client   *mongo.Client
	db       *mongo.Database
	uri      string
	embedded bool // the embedded engine, not the one at MONGODB_URI
	mongos   bool
}

// connect returns the server at MONGODB_URI, or an embedded engine on a new
// folder. On a server the tests use a database of their own and drop it.
func connect(t *testing.T) *server {
	t.Helper()
	s := &server{uri: os.Getenv("MONGODB_URI")}
	if s.uri == "" {
		s.embedded = true
		s.uri = startEngine(t)
	}
	client, err := mongo.Connect(options.Client().ApplyURI(s.uri).SetMaxPoolSize(200))
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	s.db = client.Database("conformance_" + bson.NewObjectID().Hex())
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(s.db.Drop(ctx), client.Disconnect(ctx)); err != nil {
			t.Error(err)
		}
	})
	hello, err := s.db.RunCommand(t.Context(), doc(`{hello: 1}`)).Raw()
	if err != nil {
		t.Fatal(err)
	}
	msg, _ := hello.Lookup("msg").StringValueOK()
	s.mongos = msg == "isdbgrid"
	return s
}

func startEngine(t *testing.T) (uri string) {
	t.Helper()
	srv, err := mongod.Open(mongod.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "engine") //nolint:usetesting // a test's own folder can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	l, err := mongod.Listen("unix:" + filepath.Join(dir, "m.sock"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.WithoutCancel(t.Context()), l) }()
	t.Cleanup(func() {
		if err := errors.Join(srv.Close(), <-served, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return mongod.URI(l)
}

// fixture returns what one case works on.
func (s *server) fixture(name string) *fixture {
	return &fixture{client: s.client, db: s.db, coll: s.db.Collection(name)}
}

// The cases are written as the manual writes its examples: JSON whose keys need
// no quotes unless they hold a dot.
var bareKey = regexp.MustCompile(`([{,]\s*)([$\pL_][\pL\pN_$]*)\s*:`)

func decodeJSON(text string, into any) {
	quoted := bareKey.ReplaceAllString(strings.ReplaceAll(text, "'", `"`), `$1"$2":`)
	if err := bson.UnmarshalExtJSON([]byte(quoted), false, into); err != nil {
		panic(fmt.Sprintf("%v in %s", err, quoted))
	}
}

// doc reads a document; an empty text is an empty document.
func doc(text string) bson.D {
	out := bson.D{}
	if text != "" {
		decodeJSON(text, &out)
	}
	return out
}

// list reads an array.
func list(text string) bson.A {
	var out struct{ V bson.A }
	decodeJSON("{v: "+text+"}", &out)
	return out.V
}

// d makes a document of alternating keys and values.
func d(pairs ...any) bson.D {
	out := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, bson.E{Key: fmt.Sprint(pairs[i]), Value: pairs[i+1]})
	}
	return out
}

// show writes values as extended JSON that tells types apart.
func show(v any) string {
	out, err := bson.MarshalExtJSON(d("v", v), true, false)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(out[len(`{"v":`) : len(out)-1])
}

// same compares values byte by byte: types and the order of fields count.
func same(what string, got, want any) error {
	g, err := bson.Marshal(d("v", got))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	w, err := bson.Marshal(d("v", want))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !bytes.Equal(g, w) {
		return fmt.Errorf("%s: got %s, want %s", what, show(got), show(want))
	}
	return nil
}

// codes are the error codes that a case accepts; none means success.
type codes []int

// check returns nil if err is what the codes ask for.
func (c codes) check(what string, err error) error {
	switch {
	case len(c) == 0 && err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case len(c) > 0 && err == nil:
		return fmt.Errorf("%s: succeeded, want error %v", what, []int(c))
	case len(c) > 0 && !slices.ContainsFunc(c, func(code int) bool { return hasCode(err, code) }):
		return fmt.Errorf("%s: want error %v, got: %w", what, []int(c), err)
	default:
		return nil
	}
}

func hasCode(err error, code int) bool {
	var se mongo.ServerError
	return errors.As(err, &se) && se.HasErrorCode(code)
}

// insert puts the documents of a JSON array into the collection.
func (f *fixture) insert(ctx context.Context, docs string) error {
	if docs == "" {
		return nil
	}
	if items := list(docs); len(items) > 0 {
		if _, err := f.coll.InsertMany(ctx, items); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
	}
	return nil
}

// all returns the whole collection in the order of _id.
func (f *fixture) all(ctx context.Context) (bson.A, error) {
	return drain(ctx)(f.coll.Find(ctx, bson.D{}, options.Find().SetSort(d("_id", 1))))
}

// holds compares the whole collection with the documents of a JSON array.
func (f *fixture) holds(ctx context.Context, want string) error {
	got, err := f.all(ctx)
	if err != nil {
		return err
	}
	return same("collection", got, list(want))
}

func drain(ctx context.Context) func(*mongo.Cursor, error) (bson.A, error) {
	return func(cur *mongo.Cursor, err error) (bson.A, error) {
		if err != nil {
			return nil, fmt.Errorf("open cursor: %w", err)
		}
		docs := []bson.D{}
		if err := cur.All(ctx, &docs); err != nil {
			return nil, fmt.Errorf("read cursor: %w", err)
		}
		out := make(bson.A, len(docs))
		for i := range docs {
			out[i] = docs[i]
		}
		return out, nil
	}
}

// ids returns the _id of each document.
func ids(docs bson.A) bson.A {
	out := make(bson.A, len(docs))
	for i := range docs {
		if item, ok := docs[i].(bson.D); ok && len(item) > 0 {
			out[i] = item[0].Value
		}
	}
	return out
}

// find is a query and its answer: ids in the order of _id, or documents as they
// come. It is asked by find, count and aggregate, and again on an index.
type find struct {
	docs    string
	filter  string
	value   any    // sought at v, where JSON cannot write it
	sort    string // default: by _id
	project string
	skip    int64
	limit   int64
	ids     string
	want    string
	codes   codes
	index   string // key of an index to ask again with
}

func (q find) run(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, q.docs); err != nil {
		return err
	}
	if err := q.ask(ctx, f); err != nil || q.index == "" {
		return err
	}
	if _, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: doc(q.index)}); err != nil {
		return fmt.Errorf("create index: %w", err)
	}
	if err := q.ask(ctx, f); err != nil {
		return fmt.Errorf("on an index: %w", err)
	}
	return nil
}

func (q find) ask(ctx context.Context, f *fixture) error {
	filter, sort := doc(q.filter), doc(cmp.Or(q.sort, "{_id: 1}"))
	if q.value != nil {
		filter = d("v", q.value)
	}
	o := options.Find().SetSort(sort).SetSkip(q.skip).SetLimit(q.limit)
	if q.project != "" {
		o.SetProjection(doc(q.project))
	}
	got, err := drain(ctx)(f.coll.Find(ctx, filter, o))
	if err := q.codes.check("find", err); err != nil || len(q.codes) > 0 {
		return err
	}
	if q.want != "" {
		return same("find", got, list(q.want))
	}
	want := list(q.ids)
	if err := same("find", ids(got), want); err != nil {
		return err
	}
	count := options.Count().SetSkip(q.skip)
	if q.limit > 0 {
		count.SetLimit(q.limit)
	}
	n, err := f.coll.CountDocuments(ctx, filter, count)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	if err := same("count", n, int64(len(want))); err != nil {
		return err
	}
	pipeline := bson.A{d("$match", filter), d("$sort", sort), d("$skip", q.skip)}
	if q.limit > 0 {
		pipeline = append(pipeline, d("$limit", q.limit))
	}
	got, err = drain(ctx)(f.coll.Aggregate(ctx, pipeline))
	if err != nil {
		return fmt.Errorf("aggregate: %w", err)
	}
	return same("aggregate", ids(got), want)
}

// update is an update of the one document before and what becomes of it. With an
// error it stays as it is.
type update struct {
	before  string // without _id
	filter  string // default: by _id
	update  string
	filters string // array filters
	after   string // "": as before
	codes   codes
}

func (u update) run(ctx context.Context, f *fixture) error {
	before := append(d("_id", 1), doc(u.before)...)
	after := before
	if u.after != "" {
		after = append(d("_id", 1), doc(u.after)...)
	}
	filter := doc(cmp.Or(u.filter, "{_id: 1}"))
	for _, byModify := range []bool{false, true} {
		if _, err := f.coll.DeleteMany(ctx, bson.D{}); err != nil {
			return fmt.Errorf("clear: %w", err)
		}
		if _, err := f.coll.InsertOne(ctx, before); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
		if err := u.apply(ctx, f, byModify, filter); err != nil {
			return err
		}
		got, err := f.all(ctx)
		if err != nil {
			return err
		}
		if err := same("document", got, bson.A{after}); err != nil {
			return err
		}
	}
	return nil
}

// apply runs the update command, or findAndModify, which obeys the same rules.
func (u update) apply(ctx context.Context, f *fixture, byModify bool, filter bson.D) error {
	change := doc(u.update)
	if byModify {
		o := options.FindOneAndUpdate()
		if u.filters != "" {
			o.SetArrayFilters(list(u.filters))
		}
		return u.codes.check("findAndModify", f.coll.FindOneAndUpdate(ctx, filter, change, o).Err())
	}
	o := options.UpdateOne()
	if u.filters != "" {
		o.SetArrayFilters(list(u.filters))
	}
	res, err := f.coll.UpdateOne(ctx, filter, change, o)
	if err := u.codes.check("update", err); err != nil || len(u.codes) > 0 {
		return err
	}
	modified := int64(0)
	if u.after != "" {
		modified = 1
	}
	return same("matched and modified", bson.A{res.MatchedCount, res.ModifiedCount}, bson.A{int64(1), modified})
}

// updates is an update of a collection, its counts, and what the collection
// holds afterwards.
type updates struct {
	docs     string
	filter   string
	update   string
	many     bool
	upsert   bool
	replace  bool
	matched  int64
	modified int64
	inserted int64
	codes    codes
	want     string
	anyNewID bool // the _id of the last document is made by the server
}

func (u updates) run(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, u.docs); err != nil {
		return err
	}
	var res *mongo.UpdateResult
	var err error
	filter, change := doc(u.filter), doc(u.update)
	switch {
	case u.replace:
		res, err = f.coll.ReplaceOne(ctx, filter, change, options.Replace().SetUpsert(u.upsert))
	case u.many:
		res, err = f.coll.UpdateMany(ctx, filter, change, options.UpdateMany().SetUpsert(u.upsert))
	default:
		res, err = f.coll.UpdateOne(ctx, filter, change, options.UpdateOne().SetUpsert(u.upsert))
	}
	if err := u.codes.check("update", err); err != nil {
		return err
	}
	if len(u.codes) == 0 {
		got := bson.A{res.MatchedCount, res.ModifiedCount, res.UpsertedCount}
		if err := same("matched, modified, upserted", got, bson.A{u.matched, u.modified, u.inserted}); err != nil {
			return err
		}
	}
	got, err := f.all(ctx)
	if err != nil {
		return err
	}
	if u.anyNewID {
		last, ok := got[len(got)-1].(bson.D)
		if _, isID := res.UpsertedID.(bson.ObjectID); !ok || !isID || last[0].Value != res.UpsertedID {
			return fmt.Errorf("upserted _id is %v in the reply, document %s", res.UpsertedID, show(last))
		}
		got[len(got)-1] = last[1:]
	}
	return same("collection", got, list(u.want))
}

// aggregate is a pipeline and its answer.
type aggregate struct {
	docs     string
	pipeline string
	want     string
	anyOrder bool
	codes    codes
}

func (a aggregate) run(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, a.docs); err != nil {
		return err
	}
	got, err := drain(ctx)(f.coll.Aggregate(ctx, list(a.pipeline)))
	if err := a.codes.check("aggregate", err); err != nil || len(a.codes) > 0 {
		return err
	}
	want := list(a.want)
	if a.anyOrder {
		byText := func(x, y any) int { return strings.Compare(show(x), show(y)) }
		slices.SortFunc(got, byText)
		slices.SortFunc(want, byText)
	}
	return same("aggregate", got, want)
}

// command is a command and fields of its reply. 'C' stands for the collection.
type command struct {
	docs    string
	command string
	reply   string // these fields must be in the reply, with these values
	codes   codes
	want    string // the collection afterwards, if given
}

func (c command) run(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, c.docs); err != nil {
		return err
	}
	reply, err := f.command(ctx, c.command)
	if err := c.codes.check("command", err); err != nil {
		return err
	}
	if len(c.codes) == 0 {
		if err := contains(reply, doc(c.reply)); err != nil {
			return err
		}
	}
	if c.want == "" {
		return nil
	}
	return f.holds(ctx, c.want)
}

// replaceColl puts the collection's name for 'C'.
func replaceColl(f *fixture, text string) string {
	return strings.ReplaceAll(text, "'C'", "'"+f.coll.Name()+"'")
}

// command runs a command; write errors in its reply are an error.
func (f *fixture) command(ctx context.Context, text string) (bson.Raw, error) {
	raw, err := f.db.RunCommand(ctx, doc(replaceColl(f, text))).Raw()
	if err != nil {
		return nil, fmt.Errorf("run command: %w", err)
	}
	var failed struct {
		WriteErrors []mongo.WriteError `bson:"writeErrors"`
	}
	if err := bson.Unmarshal(raw, &failed); err == nil && len(failed.WriteErrors) > 0 {
		return raw, mongo.WriteException{WriteErrors: failed.WriteErrors}
	}
	return raw, nil
}

// contains checks that the reply has the wanted fields.
func contains(reply bson.Raw, want bson.D) error {
	for _, e := range want {
		v, err := reply.LookupErr(strings.Split(e.Key, ".")...)
		if err != nil {
			return fmt.Errorf("reply has no %s: %s", e.Key, reply)
		}
		var got any
		if err := v.Unmarshal(&got); err != nil {
			return fmt.Errorf("reply field %s: %w", e.Key, err)
		}
		if err := same("reply field "+e.Key, plain(got), plain(e.Value)); err != nil {
			return err
		}
	}
	return nil
}

// plain makes whole numbers of every type equal: servers differ in the types of
// counters.
func plain(v any) any {
	switch x := v.(type) {
	case int:
		return int64(x)
	case int32:
		return int64(x)
	case float64:
		if x == float64(int64(x)) {
			return int64(x)
		}
	case bson.D:
		out := slices.Clone(x)
		for i := range out {
			out[i].Value = plain(out[i].Value)
		}
		return out
	case bson.A:
		out := slices.Clone(x)
		for i := range out {
			out[i] = plain(out[i])
		}
		return out
	}
	return v
}
