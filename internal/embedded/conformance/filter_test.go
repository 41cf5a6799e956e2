package conformance

// shapes has a value of every shape that a filter treats in its own way.
const shapes = `[{_id: 0, v: null}, {_id: 1}, {_id: 2, v: 1}, {_id: 3, v: [1, 2]}, {_id: 4, v: []}, {_id: 5, v: [null]}, {_id: 6, v: {x: 1}},
	{_id: 7, v: [{x: 1}, {x: 5}]}, {_id: 8, v: '1'}, {_id: 9, v: [[1]]}, {_id: 10, v: 2.5}, {_id: 11, v: true}]`

const objects = `[{_id: 0, v: {a: 1, b: 2}}, {_id: 1, v: {b: 2, a: 1}}, {_id: 2, v: {a: 1}}, {_id: 3, v: {}}, {_id: 4, v: [{a: 1, b: 2}]}, {_id: 5, v: {a: {c: 1}}}]`

// Examples of the manual's tutorials.
const inventory = `[
	{_id: 1, item: 'journal', qty: 25, tags: ['blank', 'red'], dim_cm: [14, 21]},
	{_id: 2, item: 'notebook', qty: 50, tags: ['red', 'blank'], dim_cm: [14, 21]},
	{_id: 3, item: 'paper', qty: 100, tags: ['red', 'blank', 'plain'], dim_cm: [14, 21]},
	{_id: 4, item: 'planner', qty: 75, tags: ['blank', 'red'], dim_cm: [22.85, 30]},
	{_id: 5, item: 'postcard', qty: 45, tags: ['blue'], dim_cm: [10, 15.25]}]`

const instock = `[
	{_id: 1, item: 'journal', instock: [{warehouse: 'A', qty: 5}, {warehouse: 'C', qty: 15}]},
	{_id: 2, item: 'notebook', instock: [{warehouse: 'C', qty: 5}]},
	{_id: 3, item: 'paper', instock: [{warehouse: 'A', qty: 60}, {warehouse: 'B', qty: 15}]},
	{_id: 4, item: 'planner', instock: [{warehouse: 'A', qty: 40}, {warehouse: 'B', qty: 5}]},
	{_id: 5, item: 'postcard', instock: [{warehouse: 'B', qty: 15}, {warehouse: 'C', qty: 35}]}]`

func filterCases() []testCase {
	const query = "reference/operator/query/"
	const nulls = "tutorial/query-for-null-fields"
	// on asks for shapes, with and without an index.
	on := func(filter, ids string) func(find) find {
		return func(q find) find {
			q.docs, q.filter, q.ids = shapes, filter, ids
			return q
		}
	}
	shape := func(name, page, filter, ids string) testCase {
		return testCase{name, page, on(filter, ids)(find{index: `{v: 1}`}).run}
	}
	dotted := func(name, page, filter, ids string) testCase {
		return testCase{name, page, on(filter, ids)(find{index: `{'v.x': 1}`}).run}
	}
	refuse := func(name, page, filter string, code ...int) testCase {
		return testCase{name, page, find{docs: shapes, filter: filter, codes: code}.run}
	}
	with := func(name, page, docs, filter, ids, index string) testCase {
		return testCase{name, page, find{docs: docs, filter: filter, ids: ids, index: index}.run}
	}
	return []testCase{
		shape("every document", "reference/command/find", `{}`, `[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]`),
		shape("null finds null and missing", nulls, `{v: null}`, `[0, 1, 5]`),
		shape("not null", nulls, `{v: {$ne: null}}`, `[2, 3, 4, 6, 7, 8, 9, 10, 11]`),
		shape("in with null", nulls, `{v: {$in: [null]}}`, `[0, 1, 5]`),
		shape("in with null and a value", nulls, `{v: {$in: [null, '1']}}`, `[0, 1, 5, 8]`),
		shape("nin with null", nulls, `{v: {$nin: [null]}}`, `[2, 3, 4, 6, 7, 8, 9, 10, 11]`),
		shape("not equal to null by $not", nulls, `{v: {$not: {$eq: null}}}`, `[2, 3, 4, 6, 7, 8, 9, 10, 11]`),
		shape("exists", query+"exists", `{v: {$exists: true}}`, `[0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]`),
		shape("exists not", query+"exists", `{v: {$exists: false}}`, `[1]`),
		shape("exists by a number", query+"exists", `{v: {$exists: 0}}`, `[1]`),
		shape("exists and not null", query+"exists", `{v: {$exists: true, $ne: null}}`, `[2, 3, 4, 6, 7, 8, 9, 10, 11]`),
		shape("not exists by $not", query+"not", `{v: {$not: {$exists: true}}}`, `[1]`),
		shape("equal to a value or an element", query+"eq", `{v: 1}`, `[2, 3]`),
		shape("$eq", query+"eq", `{v: {$eq: 1}}`, `[2, 3]`),
		shape("equal to a whole array", query+"eq", `{v: [1, 2]}`, `[3]`),
		shape("equal to an array in an array", query+"eq", `{v: [1]}`, `[9]`),
		shape("equal to an empty array", query+"eq", `{v: []}`, `[4]`),
		shape("not equal to a whole array", query+"ne", `{v: {$ne: [1, 2]}}`, `[0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]`),
		shape("equal to a document", query+"eq", `{v: {x: 1}}`, `[6, 7]`),
		shape("not equal", query+"ne", `{v: {$ne: 1}}`, `[0, 1, 4, 5, 6, 7, 8, 9, 10, 11]`),
		shape("greater", query+"gt", `{v: {$gt: 1}}`, `[3, 10]`),
		shape("greater or equal", query+"gte", `{v: {$gte: 1}}`, `[2, 3, 10]`),
		shape("less", query+"lt", `{v: {$lt: 2}}`, `[2, 3]`),
		shape("less or equal", query+"lte", `{v: {$lte: 2.5}}`, `[2, 3, 10]`),
		shape("two bounds met by two elements", "tutorial/query-arrays", `{v: {$gt: 1, $lt: 2}}`, `[3]`),
		shape("two bounds met by one element", "tutorial/query-arrays", `{v: {$elemMatch: {$gte: 1, $lt: 2}}}`, `[3]`),
		shape("two bounds met by no one element", "tutorial/query-arrays", `{v: {$elemMatch: {$gt: 1, $lt: 2}}}`, `[]`),
		shape("in", query+"in", `{v: {$in: [1, '1']}}`, `[2, 3, 8]`),
		shape("in nothing", query+"in", `{v: {$in: []}}`, `[]`),
		shape("in with an array", query+"in", `{v: {$in: [[1], []]}}`, `[4, 9]`),
		shape("in with a document", query+"in", `{v: {$in: [{x: 1}]}}`, `[6, 7]`),
		shape("in with the same value twice", query+"in", `{v: {$in: [1, 1.0, {$numberLong: '1'}]}}`, `[2, 3]`),
		shape("nin", query+"nin", `{v: {$nin: [1, '1']}}`, `[0, 1, 4, 5, 6, 7, 9, 10, 11]`),
		shape("nin nothing", query+"nin", `{v: {$nin: []}}`, `[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]`),
		shape("not greater", query+"not", `{v: {$not: {$gt: 1}}}`, `[0, 1, 2, 4, 5, 6, 7, 8, 9, 11]`),
		shape("not in", query+"not", `{v: {$not: {$in: [1, null]}}}`, `[4, 6, 7, 8, 9, 10, 11]`),
		shape("not of two conditions", query+"not", `{v: {$not: {$gte: 1, $lt: 2}}}`, `[0, 1, 4, 5, 6, 7, 8, 9, 10, 11]`),
		shape("not elemMatch", query+"not", `{v: {$not: {$elemMatch: {$gte: 1}}}}`, `[0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]`),
		shape("size", query+"size", `{v: {$size: 2}}`, `[3, 7]`),
		shape("size of an empty array", query+"size", `{v: {$size: 0}}`, `[4]`),
		shape("size as a double", query+"size", `{v: {$size: 1.0}}`, `[5, 9]`),
		shape("not size", query+"size", `{v: {$not: {$size: 2}}}`, `[0, 1, 2, 4, 5, 6, 8, 9, 10, 11]`),
		shape("all", query+"all", `{v: {$all: [1, 2]}}`, `[3]`),
		shape("all of one value", query+"all", `{v: {$all: [1]}}`, `[2, 3]`),
		shape("all of nothing", query+"all", `{v: {$all: []}}`, `[]`),
		shape("all of an array", query+"all", `{v: {$all: [[1, 2]]}}`, `[3]`),
		shape("all of a nested array", query+"all", `{v: {$all: [[1]]}}`, `[9]`),
		shape("all of null", query+"all", `{v: {$all: [null]}}`, `[0, 1, 5]`),
		shape("all of elemMatch", query+"all", `{v: {$all: [{$elemMatch: {x: 1}}, {$elemMatch: {x: 5}}]}}`, `[7]`),
		shape("elemMatch is for arrays only", query+"elemMatch", `{v: {$elemMatch: {x: 1}}}`, `[7]`),
		shape("elemMatch in an elemMatch", query+"elemMatch", `{v: {$elemMatch: {$elemMatch: {$eq: 1}}}}`, `[9]`),
		shape("elemMatch by $in", query+"elemMatch", `{v: {$elemMatch: {$in: [2, 3]}}}`, `[3]`),
		shape("elemMatch of null", query+"elemMatch", `{v: {$elemMatch: {$eq: null}}}`, `[5]`),
		shape("elemMatch with $or", query+"elemMatch", `{v: {$elemMatch: {$or: [{x: 5}, {x: 9}]}}}`, `[7]`),
		shape("and", query+"and", `{$and: [{v: {$gt: 0}}, {v: {$lt: 2}}]}`, `[2, 3]`),
		shape("and with a field", query+"and", `{v: 1, $and: [{v: 2}]}`, `[3]`),
		shape("or", query+"or", `{$or: [{v: '1'}, {v: {$gt: 2}}]}`, `[8, 10]`),
		shape("or of the same", query+"or", `{$or: [{v: 1}, {v: {$lte: 1}}]}`, `[2, 3]`),
		shape("or with an empty branch", query+"or", `{$or: [{v: '1'}, {}]}`, `[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]`),
		shape("or within and", query+"or", `{$and: [{$or: [{v: 1}, {v: '1'}]}, {$or: [{v: 2}, {v: '1'}]}]}`, `[3, 8]`),
		shape("nor", query+"nor", `{$nor: [{v: 1}, {v: null}]}`, `[4, 6, 7, 8, 9, 10, 11]`),
		shape("nor within or", query+"nor", `{$or: [{v: 2.5}, {$nor: [{v: {$exists: true}}]}]}`, `[1, 10]`),
		shape("an operator after a field is part of a value", query+"eq", `{v: {x: 1, $gt: 1}}`, `[]`),
		dotted("through an array of documents", "tutorial/query-array-of-documents", `{'v.x': {$gt: 3}}`, `[7]`),
		dotted("equal through a document or an array", "tutorial/query-array-of-documents", `{'v.x': 1}`, `[6, 7]`),
		dotted("bounds met by two documents of an array", "tutorial/query-array-of-documents", `{'v.x': {$gt: 1, $lt: 5}}`, `[7]`),
		dotted("bounds met by one document of an array", "tutorial/query-array-of-documents", `{v: {$elemMatch: {x: {$gt: 1, $lt: 5}}}}`, `[]`),
		dotted("null through documents and arrays", nulls, `{'v.x': null}`, `[0, 1, 2, 8, 10, 11]`),
		dotted("missing through documents and arrays", query+"exists", `{'v.x': {$exists: false}}`, `[0, 1, 2, 3, 4, 5, 8, 9, 10, 11]`),
		dotted("existing through documents and arrays", query+"exists", `{'v.x': {$exists: true}}`, `[6, 7]`),
		dotted("not equal through arrays", query+"ne", `{'v.x': {$ne: 5}}`, `[0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]`),
		dotted("not in through arrays", query+"nin", `{'v.x': {$nin: [1]}}`, `[0, 1, 2, 3, 4, 5, 8, 9, 10, 11]`),
		dotted("all through arrays", query+"all", `{'v.x': {$all: [1, 5]}}`, `[7]`),
		dotted("elemMatch of values through an array", query+"elemMatch", `{'v.x': {$elemMatch: {$gte: 1}}}`, `[]`),
		dotted("size of values through an array", query+"size", `{'v.x': {$size: 2}}`, `[]`),
		dotted("equal to the array of values through an array", query+"eq", `{'v.x': [1, 5]}`, `[]`),
		shape("an element by its position", "tutorial/query-arrays", `{'v.1': 2}`, `[3]`),
		shape("an element by its position is not searched", "tutorial/query-arrays", `{'v.0': 1}`, `[3]`),
		shape("an array element by its position", "tutorial/query-arrays", `{'v.0': [1]}`, `[9]`),
		shape("an element of an array element by its position", "tutorial/query-arrays", `{'v.0.0': 1}`, `[9]`),
		shape("all takes values or elemMatch", query+"all", `{v: {$all: [{$elemMatch: {x: 1}}]}}`, `[7]`),
		shape("elemMatch of a value that is none of them", query+"elemMatch", `{v: {$elemMatch: {$ne: 1}}}`, `[3, 5, 7, 9]`),
		shape("elemMatch by $not", query+"elemMatch", `{v: {$elemMatch: {$not: {$gte: 0}}}}`, `[5, 7, 9]`),
		shape("elemMatch on nothing finds documents and arrays", query+"elemMatch", `{v: {$elemMatch: {}}}`, `[7, 9]`),
		shape("null or above it", nulls, `{v: {$gte: null}}`, `[0, 1, 5]`),
		shape("above null", nulls, `{v: {$gt: null}}`, `[]`),
		shape("a field of an element by its position", "tutorial/query-array-of-documents", `{'v.1.x': 5}`, `[7]`),
		with("null in some documents of an array", nulls, `[{_id: 1, v: [{x: 3}, {}]}, {_id: 2, v: [{x: 3}]}, {_id: 3, v: [{x: null}, {x: 1}]}]`, `{'v.x': null}`, `[1, 3]`, `{'v.x': 1}`),
		with("null finds no empty array and no array of values", nulls, `[{_id: 1, v: []}, {_id: 2, v: [1, null]}, {_id: 3, v: [[]]}, {_id: 4, v: [{}]}, {_id: 5, v: {}}, {_id: 6}, {_id: 7, v: [1, {y: 1}]}]`, `{'v.x': null}`, `[4, 5, 6, 7]`, `{'v.x': 1}`),
		with("in with null through arrays", nulls, `[{_id: 1, v: [{x: 3}, {}]}, {_id: 2, v: [{x: 3}]}, {_id: 3, v: [{x: null}, {x: 1}]}, {_id: 4, v: []}]`, `{'v.x': {$in: [null, 9]}}`, `[1, 3]`, `{'v.x': 1}`),
		with("equal to documents through an array", "tutorial/query-array-of-documents", `[{_id: 1, v: [{x: {a: 1}}]}, {_id: 2, v: {x: {a: 1}}}, {_id: 3, v: [{x: [{a: 1}]}]}, {_id: 4, v: [{x: {a: 2}}]}]`, `{'v.x': {a: 1}}`, `[1, 2, 3]`, `{'v.x': 1}`),
		with("not null in all documents of an array", nulls, `[{_id: 1, v: [{x: 3}, {}]}, {_id: 2, v: [{x: 3}]}, {_id: 3, v: [{x: null}, {x: 1}]}]`, `{'v.x': {$ne: null}}`, `[2]`, `{'v.x': 1}`),
		with("documents are equal with the same fields in order", "tutorial/query-embedded-documents", objects, `{v: {a: 1, b: 2}}`, `[0, 4]`, `{v: 1}`),
		with("an empty document", "tutorial/query-embedded-documents", objects, `{v: {}}`, `[3]`, `{v: 1}`),
		with("a nested field", "tutorial/query-embedded-documents", objects, `{'v.a.c': 1}`, `[5]`, `{'v.a.c': 1}`),
		with("two nested fields", "tutorial/query-embedded-documents", objects, `{'v.a': 1, 'v.b': 2}`, `[0, 1, 4]`, `{'v.a': 1, 'v.b': 1}`),
		with("an array exactly", "tutorial/query-arrays", inventory, `{tags: ['red', 'blank']}`, `[2]`, `{tags: 1}`),
		with("all tags in any order", "tutorial/query-arrays", inventory, `{tags: {$all: ['red', 'blank']}}`, `[1, 2, 3, 4]`, `{tags: 1}`),
		with("an element above", "tutorial/query-arrays", inventory, `{dim_cm: {$gt: 25}}`, `[4]`, `{dim_cm: 1}`),
		with("elements together within bounds", "tutorial/query-arrays", inventory, `{dim_cm: {$gt: 15, $lt: 20}}`, `[1, 2, 3, 5]`, `{dim_cm: 1}`),
		with("one element within bounds", "tutorial/query-arrays", inventory, `{dim_cm: {$elemMatch: {$gt: 22, $lt: 30}}}`, `[4]`, `{dim_cm: 1}`),
		with("an element by position within bounds", "tutorial/query-arrays", inventory, `{'dim_cm.1': {$gt: 25}}`, `[4]`, ``),
		with("three tags", "tutorial/query-arrays", inventory, `{tags: {$size: 3}}`, `[3]`, `{tags: 1}`),
		with("a whole document in an array", "tutorial/query-array-of-documents", instock, `{instock: {warehouse: 'A', qty: 5}}`, `[1]`, `{instock: 1}`),
		with("a whole document with its fields swapped", "tutorial/query-array-of-documents", instock, `{instock: {qty: 5, warehouse: 'A'}}`, `[]`, `{instock: 1}`),
		with("a field of any document in an array", "tutorial/query-array-of-documents", instock, `{'instock.qty': {$lte: 20}}`, `[1, 2, 3, 4, 5]`, `{'instock.qty': 1}`),
		with("a field of the first document", "tutorial/query-array-of-documents", instock, `{'instock.0.qty': {$lte: 20}}`, `[1, 2, 5]`, ``),
		with("one document meets both conditions", "tutorial/query-array-of-documents", instock, `{instock: {$elemMatch: {qty: 5, warehouse: 'A'}}}`, `[1]`, `{'instock.qty': 1, 'instock.warehouse': 1}`),
		with("any documents meet the conditions", "tutorial/query-array-of-documents", instock, `{'instock.qty': 5, 'instock.warehouse': 'A'}`, `[1, 4]`, `{'instock.qty': 1, 'instock.warehouse': 1}`),
		with("one document within bounds", "tutorial/query-array-of-documents", instock, `{instock: {$elemMatch: {qty: {$gt: 10, $lte: 20}}}}`, `[1, 3, 5]`, `{'instock.qty': 1}`),
		with("documents within bounds together", "tutorial/query-array-of-documents", instock, `{'instock.qty': {$gt: 10, $lte: 20}}`, `[1, 3, 4, 5]`, `{'instock.qty': 1}`),
		with("equality, range and sort on one index", "reference/command/find", inventory, `{qty: {$gte: 45, $lt: 100}, tags: 'red'}`, `[2, 4]`, `{tags: 1, qty: 1}`),
		with("a condition on _id and a field", "reference/command/find", inventory, `{_id: {$in: [1, 2, 9]}, qty: {$gt: 30}}`, `[2]`, `{qty: 1}`),
		with("a regular expression", query+"regex", inventory, `{item: {$regex: '^p', $options: 'i'}}`, `[3, 4, 5]`, `{item: 1}`),
		with("a regular expression value", query+"regex", inventory, `{item: {$regularExpression: {pattern: '^no', options: ''}}}`, `[2]`, `{item: 1}`),
		with("modulo", query+"mod", inventory, `{qty: {$mod: [50, 0]}}`, `[2, 3]`, `{qty: 1}`),
		with("type", query+"type", shapes, `{v: {$type: 'string'}}`, `[8]`, `{v: 1}`),
		with("expression", query+"expr", inventory, `{$expr: {$gt: ['$qty', 60]}}`, `[3, 4]`, ``),
		with("comment", query+"comment", inventory, `{qty: 25, $comment: 'x'}`, `[1]`, `{qty: 1}`),
		refuse("unknown operator", query, `{v: {$frob: 1}}`, 2),
		refuse("unknown operator at the top", query, `{$frob: 1}`, 2),
		refuse("a field among operators", query, `{v: {$gt: 1, x: 2}}`, 2),
		refuse("in without an array", query+"in", `{v: {$in: 1}}`, 2),
		refuse("in with an operator", query+"in", `{v: {$in: [{$gt: 1}]}}`, 2),
		refuse("nin without an array", query+"nin", `{v: {$nin: 1}}`, 2),
		refuse("all without an array", query+"all", `{v: {$all: 1}}`, 2),
		refuse("all of a value and an elemMatch", query+"all", `{v: {$all: [1, {$elemMatch: {x: 1}}]}}`, 2),
		refuse("elemMatch without an object", query+"elemMatch", `{v: {$elemMatch: 1}}`, 2),
		refuse("not with a value", query+"not", `{v: {$not: 1}}`, 2),
		refuse("not with nothing", query+"not", `{v: {$not: {}}}`, 2),
		refuse("size below zero", query+"size", `{v: {$size: -1}}`, 2, 9),
		refuse("size with a fraction", query+"size", `{v: {$size: 1.5}}`, 2, 9),
		refuse("size as a string", query+"size", `{v: {$size: 'a'}}`, 2, 9),
		refuse("or of nothing", query+"or", `{$or: []}`, 2),
		refuse("or without an array", query+"or", `{$or: {v: 1}}`, 2),
		refuse("and with a value", query+"and", `{$and: [1]}`, 2),
		refuse("nor of nothing", query+"nor", `{$nor: []}`, 2),
	}
}
