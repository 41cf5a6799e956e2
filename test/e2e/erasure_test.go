package e2e_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/vogter/vogter/internal/local"
)

// TestErasureOfMuch erases a person with many records, 100,000 in full scale: how
// soon after its start nothing can be read, how fast all is deleted compared with
// what the bare engine takes for the same documents, and that afterwards nothing of
// the person is in any store, neither in the clear nor sealed.
func TestErasureOfMuch(t *testing.T) {
	records, files := 300, 3
	if full() {
		records, files = 100_000, 20
	}
	p := running(t)
	c, handler, owner := p.machine(t, first), p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	h := p.someone()
	s := c.createPerson(t, h.input())
	set := c.documents(t)
	p.plantTold(h.name, h.given, h.family)

	began := time.Now()
	c.importTitles(t, h, set, records)
	for range files {
		c.write(t, s, set, vars{"title": h.name, "document": c.upload(t, s, set, "a.txt", strings.NewReader(strings.Repeat(h.name, 1000)))})
	}
	made := c.requestExport(t, s)
	if c.job(t, made.Job.ID).State != "SUCCEEDED" {
		c.finish(t, made.Job.ID, 10*time.Minute)
	}
	t.Logf("%d records, %d files and a package: %.1f s", records, files, time.Since(began).Seconds())

	sealed, objects := p.sealedOf(t, s.ID)
	if len(sealed) < 5 || len(objects) < files+1 {
		t.Fatalf("found %d sealed values and the objects %v", len(sealed), objects)
	}
	documents, bareDelete := p.copied(t, s.ID)

	r := begun(t, handler, s, "ERASURE")
	plan := handler.previewErasure(t, s)
	if len(plan.Parts) != 2 || plan.Parts[0].Records+plan.Parts[1].Records != records+files || plan.Packages != 1 || len(plan.Irreversible) == 0 {
		t.Errorf("previewed %+v", plan)
	}
	r.decided(t, handler, owner, vars{"outcome": "FULFILLED", "ground": "17(1)(b)", "plan": plan.Hash})
	eventually(t, time.Minute, "nobody can read the person", func() bool { return c.identityOf(t, s) == "ERASED" })
	seen := time.Now()
	eventually(t, 20*time.Minute, "the request is answered", func() bool {
		r.read(t, handler)
		return r.State == "RESPONDED"
	})
	started := r.movedAt(t, handler, "T14")
	unreadable, deleted := p.shredded(t, s.ID)
	t.Logf("unreadable %d ms after execution started, seen %d ms after", unreadable.Sub(started).Milliseconds(), seen.Sub(started).Milliseconds())
	took, bare := deleted.Sub(unreadable), bareDelete()
	t.Logf("%d documents gone in %.2f s, the bare engine took %.2f s: %.2f of its rate", documents, took.Seconds(), bare.Seconds(), bare.Seconds()/took.Seconds())

	certs := handler.certificates(t, r.Items[0].ID)
	if len(certs) != 1 || certs[0].Signed == nil || r.Items[0].Outcome != "FULFILLED" {
		t.Fatalf("the item came to %+v with %+v", r.Items[0], certs)
	}
	if out, err := p.verify(t, []byte(*certs[0].Signed)); err != nil || !strings.HasPrefix(out, "OK") {
		t.Errorf("verify: %v: %s", err, out)
	}
	if found, _, err := newScanner(p.secrets()).find(strings.NewReader(*certs[0].Signed)); err != nil || len(found) > 0 {
		t.Errorf("the certificate holds a planted value, %v, %v", found, err)
	}
	p.nothingLeft(t, s.ID, sealed, objects, h)
	r.closed(t, handler)
}

// importTitles imports records with a title each about a person, many to a line.
func (c client) importTitles(t *testing.T, h human, set dataset, records int) {
	t.Helper()
	const perLine = 500
	name := "titles-" + strings.ToLower(rand.Text())
	ask[any](t, c, `mutation($input: SaveImportMappingInput!) { saveImportMapping(input: $input) { mapping { id } } }`, vars{"input": vars{
		"name": name, "document": string(jsonOf(t, vars{"subject": vars{"reference": "reference"}, "records": []vars{{
			"dataset": set.ID, "each": "titles[*]", "origin": "PROVIDED", "fields": vars{"title": "@"},
		}}})),
	}})
	var lines bytes.Buffer
	for n := 0; n < records; n += perLine {
		var titles []string
		for i := n; i < min(n+perLine, records); i++ {
			titles = append(titles, fmt.Sprintf("%s no. %d", h.name, i))
		}
		lines.Write(append(jsonOf(t, vars{"reference": h.reference, "titles": titles}), '\n'))
	}
	if sum := c.importLines(t, "mapping="+name, rand.Text(), &lines); sum.Records != int64(records) || sum.Rejected != 0 {
		t.Fatalf("imported %+v", sum)
	}
}

// movedAt returns when a request made a move.
func (r *wish) movedAt(t *testing.T, c client, rule string) time.Time {
	t.Helper()
	events := ask[struct {
		Request struct {
			Events struct {
				Nodes []struct {
					Rule string
					At   time.Time
				}
			}
		}
	}](t, c, `query($id: ID!) { request(id: $id) { events(first: 100) { nodes { rule at } } } }`, vars{"id": r.ID}).Request.Events.Nodes
	for _, e := range events {
		if e.Rule == rule {
			return e.At
		}
	}
	t.Fatalf("the request has no event %s: %+v", rule, events)
	return time.Time{}
}

// ofPerson has the collections that hold what is stored of a person, and how to
// find it there.
func ofPerson(of, subject string) map[string]bson.D {
	match := func(field string) bson.D { return bson.D{{Key: "tenant", Value: of}, {Key: field, Value: subject}} }
	return map[string]bson.D{
		"subjects": match("_id"), "records": match("subjects"), "lookups": match("subject"), "files": match("subject"), "exports": match("subject"),
	}
}

// sealedOf returns sealed values, keys and lookups of a person as they are stored,
// 2,000 of each collection at the most, and the keys of the person's objects.
func (p *platform) sealedOf(t *testing.T, subject string) (sealed [][]byte, objects []string) {
	t.Helper()
	data := p.engine(t, local.PartData).Database("vogter")
	for name, filter := range ofPerson(p.tenant(t, first).ID, subject) {
		cursor, err := data.Collection(name).Find(t.Context(), filter, options.Find().SetLimit(2000))
		if err != nil {
			t.Fatal(err)
		}
		for cursor.Next(t.Context()) {
			sealed = binaries(t, sealed, cursor.Current)
			if key := cursor.Current.Lookup("_id").StringValue(); name == "files" || name == "exports" {
				objects = append(objects, key)
			} else if name == "lookups" {
				sealed = append(sealed, []byte(key))
			}
		}
		if err := cursor.Err(); err != nil {
			t.Fatal(err)
		}
	}
	before := len(sealed)
	p.documents(t, local.PartKeys, func(_ string, raw []byte) {
		key, ok := bson.Raw(raw).Lookup("_id").StringValueOK()
		if ok && strings.Contains(key, "/"+subject+"/") && !strings.HasSuffix(key, "/evidence") {
			sealed = binaries(t, sealed, raw)
		}
	})
	if len(sealed) == before {
		t.Error("the person has no key")
	}
	return sealed, objects
}

// binaries appends the binary values of a document that are long enough to be no
// other's.
func binaries(t *testing.T, to [][]byte, raw bson.Raw) [][]byte {
	t.Helper()
	const unique = 24
	values, err := raw.Values()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		switch v.Type {
		case bson.TypeBinary:
			if _, b := v.Binary(); len(b) >= unique {
				to = append(to, slices.Clone(b))
			}
		case bson.TypeEmbeddedDocument:
			to = binaries(t, to, v.Document())
		case bson.TypeArray:
			to = binaries(t, to, bson.Raw(v.Array()))
		default:
		}
	}
	return to
}

// copied copies the documents that an erasure deletes into another database of the
// same engine, with the same indexes. The function that it returns deletes them there,
// and tells how long that took.
func (p *platform) copied(t *testing.T, subject string) (documents int, bareDelete func() time.Duration) {
	t.Helper()
	const batch = 1000
	client, err := mongo.Connect(options.Client().ApplyURI(p.stack.Env().Config.MongoDB.Reveal()).SetWriteConcern(writeconcern.Majority()))
	if err != nil {
		t.Fatal(err)
	}
	ctx := uncancelled(t)
	bare, person := client.Database("bare"), ofPerson(p.tenant(t, first).ID, subject)
	t.Cleanup(func() {
		if err := bare.Drop(ctx); err != nil {
			t.Error(err)
		}
		_ = client.Disconnect(ctx)
	})
	collections := []string{"records", "lookups"}
	for _, name := range collections {
		from, to := client.Database("vogter").Collection(name), bare.Collection(name)
		indexes, err := from.Indexes().ListSpecifications(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, index := range indexes {
			if index.Name == "_id_" {
				continue
			}
			if _, err := to.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: index.KeysDocument}); err != nil {
				t.Fatal(err)
			}
		}
		cursor, err := from.Find(ctx, person[name], options.Find().SetBatchSize(batch))
		if err != nil {
			t.Fatal(err)
		}
		for docs := []bson.Raw(nil); ; docs = docs[:0] {
			for len(docs) < batch && cursor.Next(ctx) {
				docs = append(docs, slices.Clone(cursor.Current))
			}
			if err := cursor.Err(); err != nil {
				t.Fatal(err)
			}
			if len(docs) == 0 {
				break
			}
			if _, err := to.InsertMany(ctx, docs); err != nil {
				t.Fatal(err)
			}
			documents += len(docs)
		}
	}
	return documents, func() (took time.Duration) {
		for _, name := range collections {
			began := time.Now()
			res, err := bare.Collection(name).DeleteMany(ctx, person[name])
			if err != nil || res.DeletedCount == 0 {
				t.Fatalf("deleted %+v: %v", res, err)
			}
			took += time.Since(began)
		}
		return took
	}
}

// shredded returns when the person's erasure was committed, from when on nobody
// can read them, and when all of their data was gone.
func (p *platform) shredded(t *testing.T, subject string) (unreadable, gone time.Time) {
	t.Helper()
	var sh struct {
		CreatedAt time.Time `bson:"createdAt"`
		Steps     []struct {
			Step string    `bson:"step"`
			At   time.Time `bson:"at"`
		} `bson:"steps"`
	}
	of := p.tenant(t, first).ID
	if err := p.engine(t, local.PartData).Database("vogter").Collection("shreddings").
		FindOne(t.Context(), bson.D{{Key: "tenant", Value: of}, {Key: "subject", Value: subject}}).Decode(&sh); err != nil {
		t.Fatal(err)
	}
	at := sh.CreatedAt
	var times []string
	for _, s := range sh.Steps {
		times = append(times, fmt.Sprintf("%s %d ms", s.Step, s.At.Sub(at).Milliseconds()))
		if at = s.At; s.Step == "DATA" {
			gone = s.At
		}
	}
	t.Logf("erased in the steps %s", strings.Join(times, ", "))
	return sh.CreatedAt, gone
}

// nothingLeft looks for what there was of a person in all documents of both
// stores, in the object storage and in Redis.
func (p *platform) nothingLeft(t *testing.T, subject string, sealed [][]byte, objects []string, h human) {
	t.Helper()
	values := []string{h.name, h.given, h.family, h.phone, h.email, h.reference}
	for _, b := range sealed {
		values = append(values, string(b))
	}
	s := newScanner(values)
	for _, part := range []string{local.PartData, local.PartKeys} {
		p.documents(t, part, func(place string, raw []byte) {
			s.scan(t, part+" "+place, bytes.NewReader(raw))
			for _, of := range []string{"records", "lookups", "files", "exports", "selfSessions", "challenges"} {
				if place == "vogter."+of && bytes.Contains(raw, []byte(subject)) {
					t.Errorf("%s has a document of the person", place)
				}
			}
		})
	}
	for _, key := range objects {
		if left := p.objects(t, key); len(left) > 0 {
			t.Errorf("of the object %s there are %d versions", key, len(left))
		}
	}
	for _, o := range p.objects(t, "") {
		if o.IsDeleteMarker {
			continue
		}
		r := p.object(t, o)
		s.scan(t, "object "+o.Key, r)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	scanRedis(t, p, s)
	scanFiles(t, filepath.Join(p.stack.Env().Dir, "logs"), s)
}
