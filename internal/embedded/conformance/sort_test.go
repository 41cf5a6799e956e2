package conformance

func sortCases() []testCase {
	const page = "reference/method/cursor.sort"
	const arrays = `[{_id: 0, v: [3, 9]}, {_id: 1, v: 5}, {_id: 2, v: []}, {_id: 3}, {_id: 4, v: [1, 20]}, {_id: 5, v: null}, {_id: 6, v: ['a', 4]}]`
	const pairs = `[{_id: 0, a: 1, b: 2}, {_id: 1, a: 2, b: 1}, {_id: 2, a: 1, b: 1}, {_id: 3, a: 2, b: 2}, {_id: 4, b: 3}]`
	const nested = `[{_id: 0, v: {x: 2}}, {_id: 1, v: [{x: 1}, {x: 9}]}, {_id: 2, v: 7}, {_id: 3, v: {x: 5}}, {_id: 4, v: []}]`
	sorted := func(name, docs, sort, ids, index string) testCase {
		return testCase{name, page, find{docs: docs, sort: sort, ids: ids, index: index}.run}
	}
	window := func(name, page string, skip, limit int64, ids string) testCase {
		return testCase{name, page, find{docs: pairs, sort: `{b: 1, _id: -1}`, skip: skip, limit: limit, ids: ids, index: `{b: 1, _id: -1}`}.run}
	}
	refuse := func(name, sort string, code ...int) testCase {
		return testCase{name, page, find{docs: pairs, sort: sort, codes: code}.run}
	}
	return []testCase{
		sorted("arrays ascending by their least element", arrays, `{v: 1, _id: 1}`, `[2, 3, 5, 4, 0, 6, 1]`, `{v: 1, _id: 1}`),
		sorted("arrays descending by their greatest element", arrays, `{v: -1, _id: 1}`, `[6, 4, 0, 1, 3, 5, 2]`, `{v: -1, _id: 1}`),
		sorted("arrays descending on an ascending index", arrays, `{v: -1, _id: -1}`, `[6, 4, 0, 1, 5, 3, 2]`, `{v: 1, _id: 1}`),
		sorted("two fields", pairs, `{a: 1, b: 1}`, `[4, 2, 0, 1, 3]`, `{a: 1, b: 1}`),
		sorted("two fields in opposite directions", pairs, `{a: -1, b: 1}`, `[1, 3, 2, 0, 4]`, `{a: 1, b: -1}`),
		sorted("missing comes first", pairs, `{a: 1, _id: -1}`, `[4, 2, 0, 3, 1]`, `{a: 1, _id: -1}`),
		sorted("missing comes last descending", pairs, `{a: -1, _id: 1}`, `[1, 3, 0, 2, 4]`, `{a: -1, _id: 1}`),
		sorted("by a nested field", nested, `{'v.x': 1, _id: 1}`, `[2, 4, 1, 0, 3]`, `{'v.x': 1, _id: 1}`),
		sorted("by a nested field descending", nested, `{'v.x': -1, _id: 1}`, `[1, 3, 0, 2, 4]`, `{'v.x': -1, _id: 1}`),
		sorted("by _id descending", pairs, `{_id: -1}`, `[4, 3, 2, 1, 0]`, ``),
		sorted("by a part of an index", pairs, `{b: 1, _id: 1}`, `[1, 2, 0, 3, 4]`, `{a: 1, b: 1}`),
		sorted("by a direction as a double", pairs, `{b: -1.0, _id: {$numberLong: '1'}}`, `[4, 0, 3, 1, 2]`, ``),
		{"within an equality", page, find{docs: pairs, filter: `{a: 1}`, sort: `{b: -1}`, ids: `[0, 2]`, index: `{a: 1, b: 1}`}.run},
		{"within an $in", page, find{docs: pairs, filter: `{a: {$in: [1, 2]}}`, sort: `{b: 1, _id: 1}`, ids: `[1, 2, 0, 3]`, index: `{a: 1, b: 1, _id: 1}`}.run},
		{"within a range", page, find{docs: pairs, filter: `{a: {$gte: 1}}`, sort: `{a: -1, _id: 1}`, ids: `[1, 3, 0, 2]`, index: `{a: -1, _id: 1}`}.run},
		{"an array with a bound still sorts by its greatest element", page, find{
			docs: `[{_id: 0, v: [1, 9]}, {_id: 1, v: [4]}, {_id: 2, v: [2, 3]}]`, filter: `{v: {$lt: 5}}`, sort: `{v: -1}`, ids: `[0, 1, 2]`, index: `{v: 1}`,
		}.run},
		{"an array with a bound still sorts by its least element", page, find{
			docs: `[{_id: 0, v: [1, 9]}, {_id: 1, v: [4, 6]}, {_id: 2, v: [2, 7]}]`, filter: `{v: {$gt: 3}}`, sort: `{v: 1}`, ids: `[0, 2, 1]`, index: `{v: 1}`,
		}.run},
		window("skip", "reference/method/cursor.skip", 3, 0, `[0, 4]`),
		window("limit", "reference/method/cursor.limit", 0, 2, `[2, 1]`),
		window("skip and limit", "reference/method/cursor.skip", 1, 3, `[1, 3, 0]`),
		window("skip past the end", "reference/method/cursor.skip", 9, 1, `[]`),
		window("no limit", "reference/method/cursor.limit", 0, 0, `[2, 1, 3, 0, 4]`),
		refuse("a direction of two", `{a: 2}`, 2, 15975),
		refuse("a direction of zero", `{a: 0}`, 2, 15975),
		refuse("a direction as a string", `{a: 'asc'}`, 2, 15974),
		refuse("an empty field name", `{'': 1}`, 2, 15998, 40352, 56),
		refuse("a path with an empty part", `{'a..b': 1}`, 2, 15998, 40353, 56),
		refuse("a field that begins with $", `{$a: 1}`, 2, 16410),
		{"limit below zero", "reference/command/find", command{docs: pairs, command: `{find: 'C', limit: -1}`, codes: codes{2, 51024}}.run},
		{"skip below zero", "reference/command/find", command{docs: pairs, command: `{find: 'C', skip: -1}`, codes: codes{2, 51024}}.run},
		{"a limit with a fraction", "reference/command/find", command{docs: pairs, command: `{find: 'C', limit: 1.5}`, codes: codes{2, 9, 14}}.run},
	}
}
