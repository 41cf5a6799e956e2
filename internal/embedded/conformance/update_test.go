package conformance

func updateCases() []testCase {
	const op = "reference/operator/update/"
	becomes := func(name, page, before, change, after string) testCase {
		return testCase{name, op + page, update{before: before, update: change, after: after}.run}
	}
	stays := func(name, page, before, change string) testCase {
		return testCase{name, op + page, update{before: before, update: change}.run}
	}
	refuse := func(name, page, before, change string, code ...int) testCase {
		return testCase{name, op + page, update{before: before, update: change, codes: code}.run}
	}
	return []testCase{
		becomes("set a new field", "set", `{a: 1}`, `{$set: {b: 2}}`, `{a: 1, b: 2}`),
		becomes("set changes the type", "set", `{a: 1}`, `{$set: {a: {$numberLong: '1'}}}`, `{a: {$numberLong: '1'}}`),
		becomes("set a nested field", "set", `{a: {x: 1}}`, `{$set: {'a.y': 2}}`, `{a: {x: 1, y: 2}}`),
		becomes("set makes documents on its way", "set", `{}`, `{$set: {'a.b.c': 1}}`, `{a: {b: {c: 1}}}`),
		becomes("set keeps the place of a field", "set", `{a: 1, b: 2}`, `{$set: {a: 'x'}}`, `{a: 'x', b: 2}`),
		becomes("set adds fields by name", "set", `{}`, `{$set: {c: 1, a: 2, b: 3}}`, `{a: 2, b: 3, c: 1}`),
		becomes("set adds numbered fields by number", "set", `{}`, `{$set: {'10': 1, '9': 2}}`, `{'9': 2, '10': 1}`),
		becomes("set an element", "set", `{a: [1, 2, 3]}`, `{$set: {'a.1': 9}}`, `{a: [1, 9, 3]}`),
		becomes("set past the end of an array", "set", `{a: [1]}`, `{$set: {'a.3': 4}}`, `{a: [1, null, null, 4]}`),
		becomes("set a field of an element", "set", `{a: [{x: 1}, {x: 2}]}`, `{$set: {'a.1.x': 9}}`, `{a: [{x: 1}, {x: 9}]}`),
		becomes("set a number within a document", "set", `{a: {}}`, `{$set: {'a.0': 1}}`, `{a: {'0': 1}}`),
		becomes("set null", "set", `{a: 1}`, `{$set: {a: null}}`, `{a: null}`),
		stays("set the same value", "set", `{a: {x: [1]}}`, `{$set: {a: {x: [1]}}}`),
		stays("set nothing", "set", `{a: 1}`, `{$set: {}}`),
		stays("set the same _id", "set", `{a: 1}`, `{$set: {_id: 1}}`),
		refuse("set through a value", "set", `{a: 1}`, `{$set: {'a.b': 1}}`, 28),
		refuse("set through null", "set", `{a: null}`, `{$set: {'a.b': 1}}`, 28),
		refuse("set a name within an array", "set", `{a: [1]}`, `{$set: {'a.b': 1}}`, 28),
		refuse("set another _id", "set", `{a: 1}`, `{$set: {_id: 2}}`, 66),
		refuse("set a part of _id", "set", `{a: 1}`, `{$set: {'_id.x': 2}}`, 66, 28),
		refuse("set a field that begins with $", "set", `{a: 1}`, `{$set: {$b: 1}}`, 52),
		refuse("set an empty path", "set", `{a: 1}`, `{$set: {'': 1}}`, 56),
		refuse("set a path that ends in a dot", "set", `{a: 1}`, `{$set: {'a.': 1}}`, 56),
		refuse("set without an object", "set", `{a: 1}`, `{$set: 5}`, 9),
		becomes("unset", "unset", `{a: 1, b: 2}`, `{$unset: {a: ''}}`, `{b: 2}`),
		becomes("unset whatever the value", "unset", `{a: 1, b: 2}`, `{$unset: {a: 0}}`, `{b: 2}`),
		becomes("unset a nested field", "unset", `{a: {x: 1, y: 2}}`, `{$unset: {'a.x': ''}}`, `{a: {y: 2}}`),
		becomes("unset an element leaves null", "unset", `{a: [1, 2, 3]}`, `{$unset: {'a.1': ''}}`, `{a: [1, null, 3]}`),
		becomes("unset a field of an element", "unset", `{a: [{x: 1, y: 2}]}`, `{$unset: {'a.0.x': ''}}`, `{a: [{y: 2}]}`),
		stays("unset a missing field", "unset", `{a: 1}`, `{$unset: {b: ''}}`),
		stays("unset through a value", "unset", `{a: 1}`, `{$unset: {'a.b': ''}}`),
		stays("unset through an array", "unset", `{a: [{x: 1}]}`, `{$unset: {'a.x': ''}}`),
		stays("unset past the end of an array", "unset", `{a: [1]}`, `{$unset: {'a.5': ''}}`),
		refuse("unset _id", "unset", `{a: 1}`, `{$unset: {_id: ''}}`, 66),
		becomes("inc", "inc", `{a: 1}`, `{$inc: {a: 2}}`, `{a: 3}`),
		becomes("inc down", "inc", `{a: 1}`, `{$inc: {a: -5}}`, `{a: -4}`),
		becomes("inc a missing field", "inc", `{}`, `{$inc: {a: 2}}`, `{a: 2}`),
		becomes("inc a missing nested field", "inc", `{}`, `{$inc: {'a.b': {$numberLong: '2'}}}`, `{a: {b: {$numberLong: '2'}}}`),
		becomes("inc an int by a long", "inc", `{a: 1}`, `{$inc: {a: {$numberLong: '2'}}}`, `{a: {$numberLong: '3'}}`),
		becomes("inc an int by a double", "inc", `{a: 1}`, `{$inc: {a: 0.5}}`, `{a: 1.5}`),
		becomes("inc a double by an int", "inc", `{a: 1.5}`, `{$inc: {a: 1}}`, `{a: 2.5}`),
		becomes("inc an int beyond its range", "inc", `{a: 2147483647}`, `{$inc: {a: 1}}`, `{a: {$numberLong: '2147483648'}}`),
		becomes("inc an element", "inc", `{a: [1, 2]}`, `{$inc: {'a.1': 5}}`, `{a: [1, 7]}`),
		becomes("inc two fields", "inc", `{a: 1, b: {c: 2}}`, `{$inc: {a: 1, 'b.c': -1}}`, `{a: 2, b: {c: 1}}`),
		stays("inc by zero", "inc", `{a: 1}`, `{$inc: {a: 0}}`),
		refuse("inc beyond a long", "inc", `{a: {$numberLong: '9223372036854775807'}}`, `{$inc: {a: 1}}`, 2),
		refuse("inc a string", "inc", `{a: 'x'}`, `{$inc: {a: 1}}`, 14),
		refuse("inc null", "inc", `{a: null}`, `{$inc: {a: 1}}`, 14),
		refuse("inc an array", "inc", `{a: [1]}`, `{$inc: {a: 1}}`, 14),
		refuse("inc by a string", "inc", `{a: 1}`, `{$inc: {a: 'x'}}`, 14),
		becomes("mul", "mul", `{a: 3}`, `{$mul: {a: 2}}`, `{a: 6}`),
		becomes("mul a missing field", "mul", `{}`, `{$mul: {a: 2}}`, `{a: 0}`),
		becomes("mul a missing field by a long", "mul", `{}`, `{$mul: {a: {$numberLong: '2'}}}`, `{a: {$numberLong: '0'}}`),
		becomes("mul a missing field by a double", "mul", `{}`, `{$mul: {a: 2.5}}`, `{a: 0.0}`),
		becomes("mul an int by a double", "mul", `{a: 3}`, `{$mul: {a: 0.5}}`, `{a: 1.5}`),
		becomes("mul an int beyond its range", "mul", `{a: 2000000000}`, `{$mul: {a: 2}}`, `{a: {$numberLong: '4000000000'}}`),
		refuse("mul beyond a long", "mul", `{a: {$numberLong: '4611686018427387904'}}`, `{$mul: {a: 4}}`, 2),
		refuse("mul a string", "mul", `{a: 'x'}`, `{$mul: {a: 2}}`, 14),
		becomes("min sets the lesser", "min", `{a: 5}`, `{$min: {a: 3}}`, `{a: 3}`),
		stays("min keeps the lesser", "min", `{a: 5}`, `{$min: {a: 7}}`),
		becomes("min sets a missing field", "min", `{}`, `{$min: {a: 7}}`, `{a: 7}`),
		becomes("min compares types", "min", `{a: 'x'}`, `{$min: {a: 7}}`, `{a: 7}`),
		stays("min of null", "min", `{a: null}`, `{$min: {a: 7}}`),
		stays("min of an equal number", "min", `{a: 5}`, `{$min: {a: 5.0}}`),
		becomes("max sets the greater", "max", `{a: 5}`, `{$max: {a: 7}}`, `{a: 7}`),
		stays("max keeps the greater", "max", `{a: 5}`, `{$max: {a: 3}}`),
		becomes("max of dates", "max", `{a: {$date: {$numberLong: '5'}}}`, `{$max: {a: {$date: {$numberLong: '6'}}}}`, `{a: {$date: {$numberLong: '6'}}}`),
		becomes("max compares types", "max", `{a: 7}`, `{$max: {a: 'x'}}`, `{a: 'x'}`),
		becomes("rename", "rename", `{a: 1, b: 2}`, `{$rename: {a: 'c'}}`, `{b: 2, c: 1}`),
		becomes("rename over a field", "rename", `{a: 1, b: 2, c: 3}`, `{$rename: {a: 'b'}}`, `{b: 1, c: 3}`),
		becomes("rename into a document", "rename", `{a: 1, b: {x: 2}}`, `{$rename: {a: 'b.y'}}`, `{b: {x: 2, y: 1}}`),
		becomes("rename out of a document", "rename", `{a: {x: 1, y: 2}}`, `{$rename: {'a.x': 'x'}}`, `{a: {y: 2}, x: 1}`),
		becomes("rename within a document", "rename", `{name: {first: 'g', last: 'w'}}`, `{$rename: {'name.first': 'name.fname'}}`, `{name: {last: 'w', fname: 'g'}}`),
		stays("rename a missing field", "rename", `{a: 1}`, `{$rename: {b: 'c'}}`),
		refuse("rename to the same", "rename", `{a: 1}`, `{$rename: {a: 'a'}}`, 2, 40),
		refuse("rename to a number", "rename", `{a: 1}`, `{$rename: {a: 1}}`, 2),
		refuse("rename an element", "rename", `{a: [1]}`, `{$rename: {'a.0': 'b'}}`, 2),
		refuse("rename into an array", "rename", `{a: [1], b: 2}`, `{$rename: {b: 'a.0'}}`, 2),
		refuse("rename _id", "rename", `{a: 1}`, `{$rename: {_id: 'b'}}`, 66),
		stays("setOnInsert on a match", "setOnInsert", `{a: 1}`, `{$setOnInsert: {a: 2, b: 3}}`),
		becomes("several operators", "", `{a: 1, b: 2, c: 3}`, `{$set: {a: 9}, $inc: {b: 1}, $unset: {c: ''}, $push: {d: 1}}`, `{a: 9, b: 3, d: [1]}`),
		refuse("the same field twice", "", `{a: 1}`, `{$set: {a: 2}, $inc: {a: 1}}`, 40),
		refuse("a field and a part of it", "", `{a: {}}`, `{$set: {a: {}, 'a.b': 1}}`, 40),
		refuse("a part of a field and the field", "", `{a: {b: 1}}`, `{$unset: {'a.b': ''}, $set: {a: 1}}`, 40),
		refuse("rename and set of the new name", "", `{a: 1}`, `{$rename: {a: 'b'}, $set: {b: 1}}`, 40),
		refuse("an unknown operator", "", `{a: 1}`, `{$frob: {a: 1}}`, 9),
		becomes("the current date as a date", "currentDate", `{a: 1}`, `{$currentDate: {}, $set: {a: 2}}`, `{a: 2}`),
		becomes("bits", "bit", `{a: 13}`, `{$bit: {a: {and: 10}}}`, `{a: 8}`),
		{"an update without operators", "reference/method/db.collection.updateOne", command{
			docs: `[{_id: 1, a: 1}]`, command: `{update: 'C', updates: [{q: {_id: 1}, u: {$set: {a: 2}, b: 1}}]}`, codes: codes{9, 52}, want: `[{_id: 1, a: 1}]`,
		}.run},
		{"an update of many", "reference/method/db.collection.updateMany", updates{
			docs: `[{_id: 1, a: 1}, {_id: 2, a: 2}, {_id: 3, a: 1}]`, filter: `{a: {$gte: 1}}`, update: `{$set: {a: 2}}`, many: true,
			matched: 3, modified: 2, want: `[{_id: 1, a: 2}, {_id: 2, a: 2}, {_id: 3, a: 2}]`,
		}.run},
		{"an update of many moves no document twice", "reference/method/db.collection.updateMany", updates{
			docs: `[{_id: 1, a: 1}, {_id: 2, a: 2}, {_id: 3, a: 3}]`, filter: `{a: {$lt: 100}}`, update: `{$inc: {a: 10}}`, many: true,
			matched: 3, modified: 3, want: `[{_id: 1, a: 11}, {_id: 2, a: 12}, {_id: 3, a: 13}]`,
		}.run},
		{"an update of one of many", "reference/method/db.collection.updateOne", updates{
			docs: `[{_id: 1, a: 1}, {_id: 2, a: 1}]`, filter: `{a: 1, _id: {$gt: 1}}`, update: `{$set: {b: 1}}`, matched: 1, modified: 1, want: `[{_id: 1, a: 1}, {_id: 2, a: 1, b: 1}]`,
		}.run},
		{"an update of none", "reference/method/db.collection.updateOne", updates{
			docs: `[{_id: 1}]`, filter: `{a: 1}`, update: `{$set: {b: 1}}`, want: `[{_id: 1}]`,
		}.run},
		{"a replacement keeps _id", "reference/method/db.collection.replaceOne", updates{
			docs: `[{_id: 1, a: 1, b: 2}]`, filter: `{a: 1}`, update: `{c: 3}`, replace: true, matched: 1, modified: 1, want: `[{_id: 1, c: 3}]`,
		}.run},
		{"a replacement with the same _id", "reference/method/db.collection.replaceOne", updates{
			docs: `[{_id: 1, a: 1}]`, filter: `{a: 1}`, update: `{c: 3, _id: 1}`, replace: true, matched: 1, modified: 1, want: `[{_id: 1, c: 3}]`,
		}.run},
		{"a replacement with another _id", "reference/method/db.collection.replaceOne", updates{
			docs: `[{_id: 1, a: 1}]`, filter: `{a: 1}`, update: `{_id: 2}`, replace: true, codes: codes{66}, want: `[{_id: 1, a: 1}]`,
		}.run},
		{"a replacement by the same", "reference/method/db.collection.replaceOne", updates{
			docs: `[{_id: 1, a: 1}]`, filter: `{a: 1}`, update: `{a: 1}`, replace: true, matched: 1, want: `[{_id: 1, a: 1}]`,
		}.run},
		{"a replacement by nothing", "reference/method/db.collection.replaceOne", updates{
			docs: `[{_id: 1, a: 1}]`, filter: `{a: 1}`, update: `{}`, replace: true, matched: 1, modified: 1, want: `[{_id: 1}]`,
		}.run},
		{"a replacement of many", "reference/command/update", command{
			docs: `[{_id: 1, a: 1}]`, command: `{update: 'C', updates: [{q: {}, u: {b: 1}, multi: true}]}`, codes: codes{9}, want: `[{_id: 1, a: 1}]`,
		}.run},
		{"an aggregation pipeline", "tutorial/update-documents-with-aggregation-pipeline", command{
			docs: `[{_id: 1, a: 1}]`, command: `{update: 'C', updates: [{q: {}, u: [{$set: {b: '$a'}}]}]}`, reply: `{nModified: 1}`, want: `[{_id: 1, a: 1, b: 1}]`,
		}.run},
	}
}
