package conformance

func upsertCases() []testCase {
	const page = "reference/method/db.collection.update"
	insert := func(name, filter, change, want string) testCase {
		return testCase{name, page, updates{filter: filter, update: change, upsert: true, inserted: 1, want: want}.run}
	}
	insertAny := func(name, filter, change, want string) testCase {
		return testCase{name, page, updates{filter: filter, update: change, upsert: true, inserted: 1, want: want, anyNewID: true}.run}
	}
	replace := func(name, filter, change, want string, anyID bool) testCase {
		return testCase{name, "reference/method/db.collection.replaceOne", updates{filter: filter, update: change, replace: true, upsert: true, inserted: 1, want: want, anyNewID: anyID}.run}
	}
	refuse := func(name, filter, change string, code ...int) testCase {
		return testCase{name, page, updates{filter: filter, update: change, upsert: true, codes: code, want: `[]`}.run}
	}
	return []testCase{
		insert("takes _id from the filter", `{_id: 5}`, `{$set: {a: 1}}`, `[{_id: 5, a: 1}]`),
		insert("takes _id from $eq", `{_id: {$eq: 5}}`, `{$set: {a: 1}}`, `[{_id: 5, a: 1}]`),
		insert("takes _id from the update", `{a: 1}`, `{$set: {_id: 7}}`, `[{_id: 7, a: 1}]`),
		insert("takes _id from $setOnInsert", `{a: 1}`, `{$setOnInsert: {_id: 7}}`, `[{_id: 7, a: 1}]`),
		insert("takes the same _id from both", `{_id: 7}`, `{$setOnInsert: {_id: 7, a: 1}}`, `[{_id: 7, a: 1}]`),
		insertAny("makes an _id", `{a: 1}`, `{$set: {b: 2}}`, `[{a: 1, b: 2}]`),
		insert("takes equalities", `{_id: 1, a: 1, b: {$eq: 2}}`, `{$set: {c: 3}}`, `[{_id: 1, a: 1, b: 2, c: 3}]`),
		insert("takes equalities within $and", `{_id: 1, $and: [{a: 1}, {b: {$eq: 2}}]}`, `{$set: {c: 3}}`, `[{_id: 1, a: 1, b: 2, c: 3}]`),
		insert("takes the one branch of an $or", `{_id: 1, $or: [{a: 1}]}`, `{$set: {c: 3}}`, `[{_id: 1, a: 1, c: 3}]`),
		insert("takes no branch of two", `{_id: 1, $or: [{a: 1}, {a: 2}]}`, `{$set: {c: 3}}`, `[{_id: 1, c: 3}]`),
		insert("takes the one value of $in", `{_id: 1, a: {$in: [4]}}`, `{$set: {c: 3}}`, `[{_id: 1, a: 4, c: 3}]`),
		insert("takes no value of an $in of two", `{_id: 1, a: {$in: [4, 5]}}`, `{$set: {c: 3}}`, `[{_id: 1, c: 3}]`),
		insert("takes the one value of $all", `{_id: 1, a: {$all: [4]}}`, `{$set: {c: 3}}`, `[{_id: 1, a: 4, c: 3}]`),
		insert("takes nothing from other operators", `{_id: 1, a: {$gt: 1}, b: {$ne: 2}, c: {$exists: false}, d: {$nin: [1]}}`, `{$set: {z: 3}}`, `[{_id: 1, z: 3}]`),
		insert("takes nothing from $nor", `{_id: 1, $nor: [{a: 1}]}`, `{$set: {z: 3}}`, `[{_id: 1, z: 3}]`),
		insert("takes dotted equalities", `{_id: 1, 'a.b': 1, 'a.c': 2}`, `{$set: {z: 3}}`, `[{_id: 1, a: {b: 1, c: 2}, z: 3}]`),
		insert("takes a document", `{_id: 1, a: {b: 1}}`, `{$set: {z: 3}}`, `[{_id: 1, a: {b: 1}, z: 3}]`),
		insert("takes an array", `{_id: 1, a: [1, 2]}`, `{$set: {z: 3}}`, `[{_id: 1, a: [1, 2], z: 3}]`),
		insert("takes null", `{_id: 1, a: null}`, `{$set: {z: 3}}`, `[{_id: 1, a: null, z: 3}]`),
		insert("applies operators to what it took", `{_id: 1, a: 5}`, `{$inc: {a: 2}, $push: {b: 1}}`, `[{_id: 1, a: 7, b: [1]}]`),
		insert("set and setOnInsert", `{_id: 1}`, `{$set: {a: 'apple'}, $setOnInsert: {b: 100}}`, `[{_id: 1, a: 'apple', b: 100}]`),
		insert("unset of nothing", `{_id: 1, a: 1}`, `{$unset: {a: ''}, $set: {b: 1}}`, `[{_id: 1, b: 1}]`),
		replace("a replacement takes _id", `{_id: 5, a: 1}`, `{b: 2}`, `[{_id: 5, b: 2}]`, false),
		replace("a replacement takes no other field", `{a: 1}`, `{b: 2}`, `[{b: 2}]`, true),
		replace("a replacement with the same _id", `{_id: 5}`, `{_id: 5, b: 2}`, `[{_id: 5, b: 2}]`, false),
		replace("a replacement gives _id", `{a: 5}`, `{_id: 6, b: 2}`, `[{_id: 6, b: 2}]`, false),
		{"a match is updated", page, updates{
			docs: `[{_id: 1, a: 1}]`, filter: `{a: 1}`, update: `{$set: {b: 1}, $setOnInsert: {c: 1}}`, upsert: true, matched: 1, modified: 1, want: `[{_id: 1, a: 1, b: 1}]`,
		}.run},
		{"many of none inserts one", page, updates{
			filter: `{_id: 1, a: 1}`, update: `{$set: {b: 1}}`, upsert: true, many: true, inserted: 1, want: `[{_id: 1, a: 1, b: 1}]`,
		}.run},
		{"a filter that no document can match, by an _id that is there", page, updates{
			docs: `[{_id: 1, a: 1}]`, filter: `{_id: 1, a: 2}`, update: `{$set: {b: 1}}`, upsert: true, codes: codes{11000}, want: `[{_id: 1, a: 1}]`,
		}.run},
		refuse("a field matched twice", `{a: 1, $and: [{a: 2}]}`, `{$set: {z: 1}}`, 54),
		refuse("a field and a part of it", `{a: {b: 1}, 'a.c': 2}`, `{$set: {z: 1}}`, 54, 40),
		refuse("another _id than in the filter", `{_id: 1}`, `{$set: {_id: 2}}`, 66),
		{"another _id in the replacement", page, updates{filter: `{_id: 1}`, update: `{_id: 2}`, replace: true, upsert: true, codes: codes{66}, want: `[]`}.run},
		refuse("an array as _id", `{_id: [1]}`, `{$set: {a: 1}}`, 53, 2),
		refuse("through a value of the filter", `{a: 1}`, `{$set: {'a.b': 1}}`, 28),
		{"the reply names the upserted", "reference/command/update", command{
			docs:    `[{_id: 1}]`,
			command: `{update: 'C', updates: [{q: {_id: 1}, u: {$set: {a: 1}}, upsert: true}, {q: {_id: 2}, u: {$set: {a: 1}}, upsert: true}, {q: {_id: 3}, u: {$set: {a: 1}}, upsert: true}]}`,
			reply:   `{n: 3, nModified: 1, upserted: [{index: 1, _id: 2}, {index: 2, _id: 3}]}`,
		}.run},
	}
}
