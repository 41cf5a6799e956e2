package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// sent is a command that the sweep sends.
type sent struct {
	name    string
	command bson.D
	// reply has fields that the reply must have; nil: only a refusal will do.
	reply bson.D
	codes codes // of a refusal
}

const sweepDocs = `[{_id: 1, v: 1, a: [1, 2], s: 'x', o: {x: 1}, t: {$date: {$numberLong: '0'}}}]`

// TestSweep sends every name in MongoDB's manual. The engine answers as MongoDB
// does or refuses with MongoDB's code; a refusal changes nothing. On another
// server only the names that the engine answers are sent: there the others do
// what they are for, shutdown included.
func TestSweep(t *testing.T) {
	s := connect(t)
	number := 0
	for _, group := range []struct {
		name string
		sent []sent
	}{
		{"command", sweepCommands()},
		{"query", sweepQuery()},
		{"update", sweepUpdate()},
		{"stage", sweepStages()},
		{"accumulator", sweepAccumulators()},
		{"expression", sweepExpressions()},
		{"projection", sweepProjection()},
		{"index", sweepIndexes()},
		{"option", sweepOptions()},
		{"type", sweepTypes()},
	} {
		t.Run(group.name, func(t *testing.T) {
			ctx := t.Context()
			var shared *fixture // for all that must be refused
			for _, c := range group.sent {
				if c.reply == nil && !s.embedded {
					continue
				}
				f := shared
				if f == nil || c.reply != nil {
					number++
					f = s.fixture(fmt.Sprintf("s%d", number))
					if err := f.insert(ctx, sweepDocs); err != nil {
						t.Fatal(err)
					}
					if c.reply == nil {
						shared = f
					}
				}
				err := c.send(ctx, f)
				if err != nil {
					t.Errorf("%s %s: %v", group.name, c.name, err)
				}
				if err != nil || c.reply != nil {
					shared = nil // it may have been changed
				}
			}
			t.Logf("%d sent", len(group.sent))
		})
	}
}

func (c sent) send(ctx context.Context, f *fixture) error {
	cmd := named(c.command, f.coll.Name())
	raw, err := f.db.RunCommand(ctx, cmd).Raw()
	if err == nil {
		var failed struct {
			WriteErrors []mongo.WriteError `bson:"writeErrors"`
		}
		if bson.Unmarshal(raw, &failed) == nil && len(failed.WriteErrors) > 0 {
			err = mongo.WriteException{WriteErrors: failed.WriteErrors}
		}
	}
	if c.reply != nil {
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		return contains(raw, c.reply)
	}
	return errors.Join(c.codes.check("send", err), f.holds(ctx, sweepDocs))
}

// named puts the collection's name where 'C' stands, at any depth.
func named(cmd bson.D, coll string) bson.D {
	out := make(bson.D, len(cmd))
	for i, e := range cmd {
		if e.Value == "C" {
			e.Value = coll
		}
		if inner, ok := e.Value.(bson.D); ok {
			e.Value = named(inner, coll)
		}
		out[i] = e
	}
	return out
}

// operands are values that an operator of unknown syntax may take.
func operands() []any {
	return []any{1, "x", "$v", true, nil, bson.A{1, 1}, bson.A{"$v", "$v"}, d(), d("input", "$v"), d("v", 1), d("$gt", 0)}
}

func sweepCommands() []sent {
	// What the engine implements, in its plainest form.
	answers := map[string][2]string{
		"aggregate":         {`{aggregate: 'C', pipeline: [], cursor: {}}`, `{'cursor.id': 0}`},
		"count":             {`{count: 'C'}`, `{n: 1}`},
		"distinct":          {`{distinct: 'C', key: 'v'}`, `{values: [1]}`},
		"delete":            {`{delete: 'C', deletes: [{q: {}, limit: 0}]}`, `{n: 1}`},
		"find":              {`{find: 'C', projection: {v: 1}}`, `{'cursor.firstBatch': [{_id: 1, v: 1}]}`},
		"findAndModify":     {`{findAndModify: 'C', query: {}, remove: true, fields: {v: 1}}`, `{value: {_id: 1, v: 1}}`},
		"insert":            {`{insert: 'C', documents: [{}]}`, `{n: 1}`},
		"update":            {`{update: 'C', updates: [{q: {}, u: {$inc: {v: 1}}}]}`, `{n: 1, nModified: 1}`},
		"hello":             {`{hello: 1}`, `{isWritablePrimary: true}`},
		"isMaster":          {`{isMaster: 1}`, `{ismaster: true}`},
		"endSessions":       {`{endSessions: []}`, `{ok: 1}`},
		"create":            {`{create: 'new'}`, `{ok: 1}`},
		"createIndexes":     {`{createIndexes: 'C', indexes: [{key: {v: 1}, name: 'v'}]}`, `{numIndexesAfter: 2}`},
		"drop":              {`{drop: 'C'}`, `{ok: 1}`},
		"dropDatabase":      {`{dropDatabase: 1}`, `{ok: 1}`},
		"dropIndexes":       {`{dropIndexes: 'C', index: '*'}`, `{nIndexesWas: 1}`},
		"killCursors":       {`{killCursors: 'C', cursors: [{$numberLong: '1'}]}`, `{cursorsNotFound: [1]}`},
		"listCollections":   {`{listCollections: 1, filter: {name: 'none'}}`, `{'cursor.firstBatch': []}`},
		"listDatabases":     {`{listDatabases: 1, filter: {name: 'none'}}`, `{databases: []}`},
		"listIndexes":       {`{listIndexes: 'C'}`, `{'cursor.firstBatch': [{v: 2, key: {_id: 1}, name: '_id_'}]}`},
		"buildInfo":         {`{buildInfo: 1}`, `{bits: 64}`},
		"explain":           {`{explain: {find: 'C'}}`, `{ok: 1}`},
		"ping":              {`{ping: 1}`, `{ok: 1}`},
		"serverStatus":      {`{serverStatus: 1}`, `{ok: 1}`},
		"getMore":           {},
		"commitTransaction": {},
		"abortTransaction":  {},
	}
	var out []sent
	for name := range strings.FieldsSeq(commandNames) {
		a, implemented := answers[name]
		switch {
		case !implemented:
			for _, arg := range []any{1, "C", true, d()} {
				out = append(out, sent{fmt.Sprintf("%s: %v", name, arg), d(name, arg), nil, codes{59}})
			}
		case a[0] == "":
			out = append(out, sent{name, d(name, int64(1)), nil, codes{2, 9, 14, 43, 72, 73, 125, 251}})
		default:
			out = append(out, sent{name, doc(a[0]), doc(a[1]), nil})
		}
	}
	return out
}

func sweepQuery() []sent {
	// Conditions on v that hold for the document, for what is implemented.
	answers := map[string]any{
		"$eq": 1, "$gt": 0, "$gte": 1, "$in": bson.A{1}, "$lt": 2, "$lte": 1, "$ne": 2, "$nin": bson.A{2}, "$exists": true,
		"$not": d("$gt", 5), "$all": bson.A{1},
	}
	onArray := map[string]any{"$elemMatch": d("$gt", 1), "$size": 2}
	logical := map[string]any{"$and": bson.A{d("v", 1)}, "$or": bson.A{d("v", 1)}, "$nor": bson.A{d("v", 2)}}
	refusal := codes{2, 9}
	asked := func(name string, filter bson.D) sent {
		return sent{name, d("count", "C", "query", filter), d("n", 1), nil}
	}
	refused := func(name string, filter bson.D) []sent {
		return []sent{
			{name, d("find", "C", "filter", filter), nil, refusal},
			{name + " within $match", d("aggregate", "C", "pipeline", bson.A{d("$limit", 1), d("$match", filter)}, "cursor", d()), nil, refusal},
			{name + " within a delete", d("delete", "C", "deletes", bson.A{d("q", filter, "limit", 0)}), nil, refusal},
		}
	}
	var out []sent
	for name := range strings.FieldsSeq(queryNames) {
		value, onField := answers[name]
		element, onElements := onArray[name]
		branches, isLogical := logical[name]
		if onField {
			out = append(out, asked(name, d("v", d(name, value))))
		}
		if onElements {
			out = append(out, asked(name, d("a", d(name, element))))
		}
		if isLogical {
			out = append(out, asked(name, d(name, branches)))
		}
		for i, arg := range operands() {
			at := fmt.Sprintf("%s: %s", name, show(arg))
			if !onField && !onElements {
				out = append(out, refused("v."+at, d("v", d(name, arg)))...)
			}
			if !isLogical {
				out = append(out, refused(at, d(name, arg))...)
			}
			if i >= 5 {
				continue
			}
			if !onField && !onElements {
				out = append(out, refused("$not."+at, d("v", d("$not", d(name, arg))))...)
				out = append(out, refused("$elemMatch."+at, d("a", d("$elemMatch", d(name, arg))))...)
				out = append(out, refused("$elemMatch.x."+at, d("a", d("$elemMatch", d("x", d(name, arg)))))...)
				out = append(out, refused("$in."+at, d("v", d("$in", bson.A{d(name, arg)})))...)
				out = append(out, refused("$all."+at, d("v", d("$all", bson.A{d(name, arg)})))...)
			}
			if !isLogical {
				out = append(out, refused("$and."+at, d("$and", bson.A{d(name, arg)}))...)
				out = append(out, refused("v."+at+" beside", d("v", 1, name, arg))...)
			}
		}
	}
	return out
}

func sweepUpdate() []sent {
	answers := map[string][2]any{
		"$inc": {d("v", 1), d("v", 2)}, "$min": {d("v", 0), d("v", 0)}, "$max": {d("v", 5), d("v", 5)}, "$mul": {d("v", 3), d("v", 3)},
		"$rename": {d("v", "w"), d("w", 1)}, "$set": {d("v", 9), d("v", 9)}, "$setOnInsert": {d("v", 9), d("v", 1)}, "$unset": {d("v", ""), d()},
		"$addToSet": {d("a", 5), d("a", bson.A{1, 2, 5})}, "$pop": {d("a", 1), d("a", bson.A{1})}, "$pull": {d("a", 1), d("a", bson.A{2})},
		"$push": {d("a", 3), d("a", bson.A{1, 2, 3})}, "$pullAll": {d("a", bson.A{1}), d("a", bson.A{2})},
	}
	refusal := codes{2, 9, 52}
	var out []sent
	for name := range strings.FieldsSeq(updateNames) {
		if a, ok := answers[name]; ok {
			fields := d("_id", 0, "s", 0, "o", 0, "t", 0)
			switch name {
			case "$addToSet", "$pop", "$pull", "$push", "$pullAll":
				fields = append(fields, bson.E{Key: "v", Value: 0})
			default:
				fields = append(fields, bson.E{Key: "a", Value: 0})
			}
			out = append(out, sent{name, d("findAndModify", "C", "query", d(), "update", d(name, a[0]), "new", true, "fields", fields), d("value", a[1]), nil})
			continue
		}
		for _, arg := range operands() {
			for _, update := range []bson.D{d(name, d("v", arg)), d(name, arg), d("$set", d("z", 1), name, d("v", arg))} {
				at := show(update)
				out = append(out,
					sent{at, d("update", "C", "updates", bson.A{d("q", d(), "u", update)}), nil, refusal},
					sent{at + " as findAndModify", d("findAndModify", "C", "query", d(), "update", update), nil, refusal})
			}
		}
	}
	return out
}

// pipelines sends a pipeline that must be refused, as aggregate and explain.
func pipelines(name string, refusal codes, stages ...any) []sent {
	aggregate := d("aggregate", "C", "pipeline", bson.A(stages), "cursor", d())
	return []sent{{name, aggregate, nil, refusal}, {name + " explained", d("explain", aggregate), nil, refusal}}
}

func sweepStages() []sent {
	answers := map[string]any{
		"$count": "n", "$group": d("_id", nil), "$limit": 1, "$match": d(), "$project": d("v", 1), "$skip": 0, "$sort": d("v", 1), "$unwind": "$v",
	}
	var out []sent
	for name := range strings.FieldsSeq(stageNames) {
		if arg, ok := answers[name]; ok {
			out = append(out, sent{name, d("aggregate", "C", "pipeline", bson.A{d(name, arg), d("$count", "n")}, "cursor", d()), d("cursor.firstBatch", bson.A{d("n", 1)}), nil})
			if name == "$count" {
				out[len(out)-1].command = d("aggregate", "C", "pipeline", bson.A{d(name, arg)}, "cursor", d())
			}
			continue
		}
		for _, arg := range operands() {
			at := fmt.Sprintf("%s: %s", name, show(arg))
			out = append(out, pipelines(at, codes{40324}, d(name, arg))...)
			out = append(out, pipelines(at+" after another", codes{40324}, d("$match", d()), d(name, arg))...)
			out = append(out, sent{at + " as an update", d("update", "C", "updates", bson.A{d("q", d(), "u", bson.A{d(name, arg)})}), nil, codes{2, 9, 40324}})
		}
	}
	return out
}

func sweepAccumulators() []sent {
	answers := map[string]any{"$sum": 1, "$min": 1, "$max": 1, "$first": 1, "$last": 1}
	var out []sent
	for name := range strings.FieldsSeq(accumulatorNames) {
		if want, ok := answers[name]; ok {
			out = append(out, sent{name, d("aggregate", "C", "pipeline", bson.A{d("$group", d("_id", nil, "x", d(name, "$v")))}, "cursor", d()), d("cursor.firstBatch", bson.A{d("_id", nil, "x", want)}), nil})
			for _, arg := range []any{bson.A{"$v"}, d("$add", bson.A{1, 1}), d("x", "$v"), "$$ROOT"} {
				out = append(out, pipelines(fmt.Sprintf("%s: %s", name, show(arg)), codes{2, 9, 168, 31325, 40237}, d("$group", d("_id", nil, "x", d(name, arg))))...)
			}
			continue
		}
		for _, arg := range operands() {
			out = append(out, pipelines(fmt.Sprintf("%s: %s", name, show(arg)), codes{15952}, d("$group", d("_id", nil, "x", d(name, arg))))...)
		}
	}
	return out
}

func sweepExpressions() []sent {
	refusal := codes{2, 9, 168, 31325, 15952, 40415}
	var values []any
	for name := range strings.FieldsSeq(expressionNames) {
		for _, arg := range []any{"$v", bson.A{"$v", 1}, d("input", "$v")} {
			values = append(values, d(name, arg))
		}
	}
	for name := range strings.FieldsSeq(variableNames) {
		values = append(values, name, name+".v")
	}
	var out []sent
	for _, v := range values {
		at := show(v)
		out = append(out, pipelines("$project "+at, refusal, d("$project", d("x", v)))...)
		out = append(out, pipelines("$project within an object "+at, refusal, d("$project", d("x", d("y", v))))...)
		out = append(out, pipelines("$group by "+at, refusal, d("$group", d("_id", v)))...)
		out = append(out, pipelines("$group by a field "+at, refusal, d("$group", d("_id", d("x", v))))...)
		out = append(out, pipelines("$sum "+at, refusal, d("$group", d("_id", nil, "x", d("$sum", v))))...)
		out = append(out, pipelines("$first "+at, refusal, d("$group", d("_id", nil, "x", d("$first", v))))...)
		out = append(out, pipelines("$match "+at, refusal, d("$match", d("$expr", v)))...)
		out = append(out, pipelines("$unwind "+at, refusal, d("$unwind", v))...)
		out = append(out, pipelines("$sort "+at, refusal, d("$sort", d("x", v)))...)
		out = append(out,
			sent{"projection " + at, d("find", "C", "projection", d("x", v)), nil, refusal},
			sent{"filter " + at, d("find", "C", "filter", d("$expr", v)), nil, refusal},
			sent{"update " + at, d("update", "C", "updates", bson.A{d("q", d(), "u", bson.A{d("$set", d("x", v))})}), nil, refusal},
			sent{"fields " + at, d("findAndModify", "C", "query", d(), "remove", true, "fields", d("x", v)), nil, refusal})
	}
	return out
}

func sweepProjection() []sent {
	refusal := codes{2, 9, 16410, 31325}
	var out []sent
	for name := range strings.FieldsSeq(projectionNames) {
		for _, arg := range operands() {
			at := fmt.Sprintf("%s: %s", name, show(arg))
			out = append(out, sent{at, d("find", "C", "projection", d("a", d(name, arg))), nil, refusal})
		}
	}
	for _, path := range []string{"a.$", "$a", "a.$b", "$", "$**", "a.", ".a", "a..b", ""} {
		out = append(out, sent{"path " + path, d("find", "C", "projection", d(path, 1)), nil, append(refusal, 15998, 40352, 40353, 56)})
	}
	for _, v := range []any{"x", "$v", nil, bson.A{1}, d("x", 1), bson.DateTime(0), bson.NewObjectID(), bson.Regex{Pattern: "a"}} {
		out = append(out, sent{"value " + strings.SplitN(fmt.Sprintf("%T %v", v, v), "ObjectID(", 2)[0], d("find", "C", "projection", d("x", v)), nil, refusal})
	}
	return out
}

func sweepIndexes() []sent {
	refusal := codes{67, 197, 2, 9, 14, 72}
	index := func(key bson.D, pairs ...any) bson.D {
		return d("createIndexes", "C", "indexes", bson.A{append(d("key", key, "name", "x"), d(pairs...)...)})
	}
	var out []sent
	for name := range strings.FieldsSeq(indexTypes) {
		out = append(out, sent{"type " + name, index(d("v", name)), nil, refusal}, sent{"type " + name + " beside another", index(d("s", 1, "v", name)), nil, refusal})
	}
	for _, path := range []string{"$**", "a.$**", "$a", "a.$b", "", "a.", ".a", "a..b"} {
		out = append(out, sent{"path " + path, index(d(path, 1)), nil, refusal})
	}
	for _, direction := range []any{0, 0.0, true, nil, bson.A{}, d(), bson.DateTime(1)} {
		out = append(out, sent{"direction " + show(direction), index(d("v", direction)), nil, refusal})
	}
	for option, value := range map[string]any{
		"sparse": true, "hidden": true, "expireAfterSeconds": 5, "partialFilterExpression": d("v", 1), "storageEngine": d("x", d()), "weights": d("v", 1),
		"default_language": "danish", "language_override": "l", "textIndexVersion": 3, "2dsphereIndexVersion": 3, "bits": 26, "min": 1, "max": 2, "bucketSize": 1,
		"collation": d("locale", "da"), "wildcardProjection": d("v", 1), "prepareUnique": true, "clustered": true, "dropDups": true, "columnstoreProjection": d("v", 1),
	} {
		out = append(out, sent{"option " + option, index(d("v", 1), option, value), nil, refusal})
	}
	created := d("numIndexesAfter", 2)
	out = append(out,
		sent{"option unique", index(d("v", 1), "unique", true), created, nil},
		sent{"option background", index(d("v", 1), "background", true), created, nil},
		sent{"option v", index(d("v", 1), "v", 2), created, nil},
		sent{"option v of zero", index(d("v", 1), "v", 0), nil, refusal},
		sent{"option v of nine", index(d("v", 1), "v", 9), nil, refusal},
	)
	return out
}
