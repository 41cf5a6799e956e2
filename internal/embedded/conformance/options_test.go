package conformance

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// sweepOptions sends every option of the commands that the engine implements.
func sweepOptions() []sent {
	refusal := codes{40415, 2, 9, 14, 20, 67, 72, 115, 197}
	locale := d("locale", "da")
	var out []sent
	// refused sends base with each option that is not implemented.
	refused := func(name string, base bson.D, pairs ...any) {
		for _, option := range d(pairs...) {
			out = append(out, sent{name + " " + option.Key, append(append(bson.D{}, base...), option), nil, refusal})
		}
	}
	// answered sends base with each option that is.
	answered := func(name string, base, reply bson.D, pairs ...any) {
		for _, option := range d(pairs...) {
			out = append(out, sent{name + " " + option.Key, append(append(bson.D{}, base...), option), reply, nil})
		}
	}
	// inStatement puts each option into the one statement of a writing command.
	inStatement := func(name, list string, statement bson.D, pairs ...any) {
		for _, option := range d(pairs...) {
			changed := append(append(bson.D{}, statement...), option)
			out = append(out, sent{name + " statement " + option.Key, d(name, "C", list, bson.A{changed}), nil, refusal})
		}
	}
	common := []any{"comment", "x", "maxTimeMS", 10_000}
	stable := []any{"apiVersion", "1", "apiStrict", true, "apiDeprecationErrors", true}

	find := d("find", "C", "projection", d("v", 1))
	found := d("cursor.firstBatch", bson.A{d("_id", 1, "v", 1)}, "cursor.id", 0)
	answered("find", find, found, "filter", d("v", 1), "sort", d("v", 1), "skip", 0, "limit", 5, "batchSize", 5, "singleBatch", true, "allowDiskUse", true, "readConcern", d("level", "local"))
	answered("find", find, found, common...)
	refused("find", find, "hint", d("v", 1), "max", d("v", 1), "min", d("v", 1), "returnKey", true, "showRecordId", true, "tailable", true, "oplogReplay", true,
		"noCursorTimeout", true, "awaitData", true, "allowPartialResults", true, "collation", locale, "let", d("x", 1), "snapshot", true, "maxScan", 1, "ntoreturn", 1,
		"options", d(), "querySettings", d(), "rawData", true, "writeConcern", d("w", 1))
	refused("find", find, stable...)

	aggregate := d("aggregate", "C", "pipeline", bson.A{d("$project", d("v", 1))}, "cursor", d())
	answered("aggregate", aggregate, found, "allowDiskUse", true, "bypassDocumentValidation", true, "readConcern", d("level", "majority"), "writeConcern", d("w", 1))
	answered("aggregate", aggregate, found, common...)
	refused("aggregate", aggregate, "explain", true, "hint", d("v", 1), "collation", locale, "let", d("x", 1), "fromMongos", true, "needsMerge", true, "exchange", d(), "isMapReduceCommand", true, "rawData", true)
	refused("aggregate", aggregate, stable...)
	out = append(out, sent{"aggregate cursor with an unknown option", d("aggregate", "C", "pipeline", bson.A{}, "cursor", d("frob", 1)), nil, refusal})
	out = append(out, sent{"aggregate of a database", d("aggregate", 1, "pipeline", bson.A{}, "cursor", d()), nil, append(refusal, 73)})

	count := d("count", "C")
	answered("count", count, d("n", 1), "query", d("v", 1), "limit", 3, "skip", 0, "readConcern", d("level", "local"))
	answered("count", count, d("n", 1), common...)
	refused("count", count, "hint", d("v", 1), "collation", locale, "fields", d(), "rawData", true)
	refused("count", count, stable...)

	distinct := d("distinct", "C", "key", "v")
	answered("distinct", distinct, d("values", bson.A{1}), "query", d("v", 1), "readConcern", d("level", "local"))
	answered("distinct", distinct, d("values", bson.A{1}), common...)
	refused("distinct", distinct, "collation", locale, "hint", d("v", 1), "rawData", true)

	insert := d("insert", "C", "documents", bson.A{d("_id", 5)})
	answered("insert", insert, d("n", 1), "ordered", false, "writeConcern", d("w", "majority"), "bypassDocumentValidation", true)
	answered("insert", insert, d("n", 1), common...)
	refused("insert", insert, "collation", locale, "let", d(), "rawData", true, "encryptionInformation", d())

	update := d("update", "C", "updates", bson.A{d("q", d(), "u", d("$inc", d("v", 1)))})
	answered("update", update, d("n", 1, "nModified", 1), "ordered", false, "writeConcern", d("w", 1), "bypassDocumentValidation", true)
	answered("update", update, d("n", 1, "nModified", 1), common...)
	refused("update", update, "let", d("x", 1), "collation", locale, "hint", d("v", 1), "rawData", true)
	inStatement("update", "updates", d("q", d(), "u", d("$inc", d("v", 1))), "c", d("x", 1), "collation", locale, "hint", d("v", 1), "sort", d("v", 1), "sampleId", 1, "upsertSupplied", true)

	remove := d("delete", "C", "deletes", bson.A{d("q", d(), "limit", 1)})
	answered("delete", remove, d("n", 1), "ordered", false, "writeConcern", d("w", 1))
	answered("delete", remove, d("n", 1), common...)
	refused("delete", remove, "let", d("x", 1), "collation", locale, "hint", d("v", 1), "rawData", true)
	inStatement("delete", "deletes", d("q", d(), "limit", 1), "collation", locale, "hint", d("v", 1), "sort", d("v", 1), "sampleId", 1)

	modify := d("findAndModify", "C", "query", d("_id", 1), "update", d("$inc", d("v", 1)))
	modified := d("lastErrorObject.n", 1)
	answered("findAndModify", modify, modified, "sort", d("v", 1), "new", true, "fields", d("v", 1), "upsert", true, "bypassDocumentValidation", true, "writeConcern", d("w", 1), "remove", false)
	answered("findAndModify", modify, modified, common...)
	refused("findAndModify", modify, "collation", locale, "hint", d("v", 1), "let", d("x", 1), "arrayFilters", bson.A{d("x", 1)}, "rawData", true, "full_response", true)

	create := d("create", "none")
	refused("create", create, "capped", true, "timeseries", d("timeField", "t"), "expireAfterSeconds", 5, "clusteredIndex", d("key", d("_id", 1), "unique", true),
		"changeStreamPreAndPostImages", d("enabled", true), "autoIndexId", false, "size", 4096, "max", 5, "storageEngine", d("x", d()), "validator", d("v", 1),
		"validationLevel", "strict", "validationAction", "warn", "indexOptionDefaults", d("x", d()), "viewOn", "C", "pipeline", bson.A{}, "collation", locale,
		"encryptedFields", d(), "idIndex", d("key", d("_id", 1), "name", "_id_"), "flags", 1, "temp", true)

	indexes := d("createIndexes", "C", "indexes", bson.A{d("key", d("v", 1), "name", "x")})
	answered("createIndexes", indexes, d("numIndexesAfter", 2), "commitQuorum", "majority", "writeConcern", d("w", 1))
	answered("createIndexes", indexes, d("numIndexesAfter", 2), common...)
	refused("createIndexes", indexes, "ignoreUnknownIndexOptions", true, "rawData", true)
	refused("dropIndexes", d("dropIndexes", "C", "index", "x"), "isTimeseriesNamespace", true, "rawData", true)
	refused("listIndexes", d("listIndexes", "C"), "includeBuildUUIDs", true, "includeIndexBuildInfo", true, "rawData", true)
	refused("drop", d("drop", "C"), "collectionUUID", 1, "dropPendingName", "x")
	answered("listCollections", d("listCollections", 1, "filter", d("name", "none")), d("cursor.firstBatch", bson.A{}), "nameOnly", true, "authorizedCollections", true, "cursor", d("batchSize", 5), "comment", "x")
	refused("listCollections", d("listCollections", 1), "includePendingDrops", true, "rawData", true)
	answered("listDatabases", d("listDatabases", 1, "filter", d("name", "none")), d("databases", bson.A{}), "nameOnly", true, "authorizedDatabases", true, "comment", "x")
	answered("explain", d("explain", d("find", "C")), d("ok", 1), "verbosity", "queryPlanner", "comment", "x")
	refused("explain", d("explain", d("find", "C")), "frob", 1)
	for _, inner := range []bson.D{update, remove, insert, modify, d("mapReduce", "C"), d("ping", 1)} {
		out = append(out, sent{"explain of " + inner[0].Key, d("explain", inner), nil, append(refusal, 59)})
	}
	for _, level := range []string{"linearizable", "frob", ""} {
		out = append(out, sent{"readConcern " + level, d("find", "C", "readConcern", d("level", level)), nil, refusal})
	}
	out = append(out,
		sent{"readConcern with an unknown option", d("find", "C", "readConcern", d("frob", 1)), nil, refusal},
		sent{"readConcern provenance", d("find", "C", "readConcern", d("level", "local", "provenance", "clientSupplied")), nil, refusal},
		sent{"writeConcern of two", d("insert", "C", "documents", bson.A{d("_id", 9)}, "writeConcern", d("w", 2)), nil, append(refusal, 100)},
		sent{"writeConcern of a tag", d("insert", "C", "documents", bson.A{d("_id", 9)}, "writeConcern", d("w", "frob")), nil, append(refusal, 79, 100)},
	)
	return out
}

// sweepTypes sends values of the wrong type to options that are implemented.
func sweepTypes() []sent {
	refusal := codes{14, 2, 9, 10065, 40324, 15959, 15973, 15958, 72, 73, 40415}
	var out []sent
	send := func(name string, command bson.D) { out = append(out, sent{name, command, nil, refusal}) }
	with := func(base bson.D, key string, value any) bson.D {
		changed := bson.D{}
		for _, e := range base {
			if e.Key != key {
				changed = append(changed, e)
			}
		}
		return append(changed, bson.E{Key: key, Value: value})
	}
	each := func(base bson.D, values []any, keys ...string) {
		for _, key := range keys {
			for _, v := range values {
				send(base[0].Key+" "+key+": "+show(v), with(base, key, v))
			}
		}
	}
	noObject, noFlag := []any{1, "x", true, bson.A{}}, []any{"x", d(), bson.A{}}
	noNumber, noArray := []any{"x", d(), true, bson.A{1}}, []any{1, "x", d(), true}
	find := d("find", "C")
	each(find, noObject, "filter", "sort", "projection", "readConcern")
	each(find, noFlag, "singleBatch", "allowDiskUse")
	each(find, noNumber, "skip", "limit", "batchSize", "maxTimeMS")
	each(d("aggregate", "C", "pipeline", bson.A{}, "cursor", d()), noObject, "cursor", "readConcern")
	each(d("aggregate", "C", "pipeline", bson.A{}, "cursor", d()), noArray, "pipeline")
	each(d("aggregate", "C", "pipeline", bson.A{}, "cursor", d()), noFlag, "allowDiskUse", "bypassDocumentValidation")
	each(d("count", "C"), noObject, "query")
	each(d("count", "C"), noNumber, "limit", "skip")
	each(d("distinct", "C", "key", "v"), noObject, "query")
	each(d("distinct", "C", "key", "v"), []any{1, d(), nil, bson.A{}}, "key")
	each(d("insert", "C", "documents", bson.A{d("_id", 7)}), noFlag, "ordered", "bypassDocumentValidation")
	each(d("insert", "C", "documents", bson.A{d("_id", 7)}), noArray, "documents")
	each(d("insert", "C", "documents", bson.A{d("_id", 7)}), []any{1, "x", true}, "writeConcern")
	each(d("update", "C", "updates", bson.A{}), noArray, "updates")
	each(d("delete", "C", "deletes", bson.A{}), noArray, "deletes")
	for _, v := range noFlag {
		send("update upsert: "+show(v), d("update", "C", "updates", bson.A{d("q", d("_id", 9), "u", d("$set", d("v", 2)), "upsert", v)}))
		send("update multi: "+show(v), d("update", "C", "updates", bson.A{d("q", d("_id", 9), "u", d("$set", d("v", 2)), "multi", v)}))
	}
	for _, v := range noObject {
		send("update q: "+show(v), d("update", "C", "updates", bson.A{d("q", v, "u", d("$set", d("v", 2)))}))
		send("delete q: "+show(v), d("delete", "C", "deletes", bson.A{d("q", v, "limit", 1)}))
	}
	for _, v := range []any{1, "x", true} {
		send("update u: "+show(v), d("update", "C", "updates", bson.A{d("q", d(), "u", v)}))
	}
	for _, v := range noArray {
		send("update arrayFilters: "+show(v), d("update", "C", "updates", bson.A{d("q", d(), "u", d("$set", d("a.$[]", 2)), "arrayFilters", v)}))
	}
	modify := d("findAndModify", "C", "query", d("_id", 9), "update", d("$set", d("v", 2)))
	each(modify, noObject, "query", "sort", "fields")
	each(modify, noFlag, "new", "upsert", "bypassDocumentValidation", "remove")
	each(modify, []any{1, "x", true}, "update")
	each(d("createIndexes", "C"), noArray, "indexes")
	for _, v := range noFlag {
		send("createIndexes unique: "+show(v), d("createIndexes", "C", "indexes", bson.A{d("key", d("v", 1), "name", "x", "unique", v)}))
	}
	for _, v := range []any{1, d(), bson.A{}} {
		for _, name := range []string{"find", "insert", "update", "delete", "count", "distinct", "findAndModify", "createIndexes", "drop", "create", "listIndexes"} {
			send(name+" of "+show(v), d(name, v))
		}
	}
	for _, name := range []string{"", ".", "$x", "x$", "a\x00b"} {
		send("find in "+show(name), d("find", name))
	}
	return out
}
