package conformance

func projectionCases() []testCase {
	const page = "tutorial/project-fields-from-query-results"
	const one = `[{_id: 1, a: 1, b: {x: 1, y: {z: 2, w: 3}}, c: [{x: 1, y: 2}, 5, [{x: 3, y: 4}], {y: 6}], e: null}]`
	show := func(name, project, want string) testCase {
		return testCase{name, page, find{docs: one, project: project, want: want}.run}
	}
	refuse := func(name, page, project string, code ...int) testCase {
		return testCase{name, page, find{docs: one, project: project, codes: code}.run}
	}
	return []testCase{
		show("fields and _id", `{a: 1}`, `[{_id: 1, a: 1}]`),
		show("fields without _id", `{a: 1, _id: 0}`, `[{a: 1}]`),
		show("by true", `{a: true, _id: false}`, `[{a: 1}]`),
		show("by another number", `{a: 5}`, `[{_id: 1, a: 1}]`),
		show("only _id", `{_id: 1}`, `[{_id: 1}]`),
		show("all but _id", `{_id: 0}`, `[{a: 1, b: {x: 1, y: {z: 2, w: 3}}, c: [{x: 1, y: 2}, 5, [{x: 3, y: 4}], {y: 6}], e: null}]`),
		show("nothing named", `{}`, `[{_id: 1, a: 1, b: {x: 1, y: {z: 2, w: 3}}, c: [{x: 1, y: 2}, 5, [{x: 3, y: 4}], {y: 6}], e: null}]`),
		show("a missing field", `{none: 1}`, `[{_id: 1}]`),
		show("a field that is null", `{e: 1}`, `[{_id: 1, e: null}]`),
		show("all but one field", `{c: 0}`, `[{_id: 1, a: 1, b: {x: 1, y: {z: 2, w: 3}}, e: null}]`),
		show("all but fields, with _id", `{c: 0, b: 0, _id: 1}`, `[{_id: 1, a: 1, e: null}]`),
		show("fields in the order of the document", `{e: 1, a: 1}`, `[{_id: 1, a: 1, e: null}]`),
		show("a nested field", `{'b.x': 1}`, `[{_id: 1, b: {x: 1}}]`),
		show("deep fields", `{'b.y.z': 1, 'b.x': 1}`, `[{_id: 1, b: {x: 1, y: {z: 2}}}]`),
		show("all but a nested field", `{'b.y.z': 0, c: 0}`, `[{_id: 1, a: 1, b: {x: 1, y: {w: 3}}, e: null}]`),
		show("a field within a value that has none", `{'a.x': 1}`, `[{_id: 1}]`),
		show("a field of documents in an array", `{'c.x': 1}`, `[{_id: 1, c: [{x: 1}, [{x: 3}], {}]}]`),
		show("all but a field of documents in an array", `{'c.y': 0, b: 0}`, `[{_id: 1, a: 1, c: [{x: 1}, 5, [{x: 3}], {}], e: null}]`),
		show("a nested field as an object", `{b: {x: 1}}`, `[{_id: 1, b: {x: 1}}]`),
		{"a part of _id", page, find{docs: `[{_id: {a: 1, b: 2}, c: 3}]`, project: `{'_id.a': 1}`, sort: `{c: 1}`, want: `[{_id: {a: 1}}]`}.run},
		show("a computed field", `{n: {$add: ['$a', 1]}, _id: 0}`, `[{n: 2}]`),
		show("another field's value", `{n: '$a', _id: 0}`, `[{n: 1}]`),
		{"slice", "reference/operator/projection/slice", find{docs: `[{_id: 1, v: [1, 2, 3]}]`, project: `{v: {$slice: 2}}`, want: `[{_id: 1, v: [1, 2]}]`}.run},
		{"elemMatch", "reference/operator/projection/elemMatch", find{
			docs: `[{_id: 1, v: [{x: 1}, {x: 2}, {x: 2, y: 1}]}]`, project: `{v: {$elemMatch: {x: 2}}}`, want: `[{_id: 1, v: [{x: 2}]}]`,
		}.run},
		{"the element that matched", "reference/operator/projection/positional", find{
			docs: `[{_id: 1, v: [1, 5, 9]}]`, filter: `{v: {$gt: 3}}`, project: `{'v.$': 1}`, want: `[{_id: 1, v: [5]}]`,
		}.run},
		refuse("fields in and out", page, `{a: 1, b: 0}`, 31254, 31253),
		refuse("fields out and in", page, `{a: 0, b: 1}`, 31253, 31254),
		refuse("a field and a part of it", "reference/limits", `{b: 1, 'b.x': 1}`, 31249),
		refuse("a part of a field and the field", "reference/limits", `{'b.x': 1, b: 1}`, 31250, 31249),
		refuse("a path with an empty part", page, `{'b..x': 1}`, 2, 15998, 40353, 56, 40352),
		refuse("a field that begins with $", page, `{$a: 1}`, 2, 16410, 168),
		refuse("an unknown operator", page, `{a: {$frob: 1}}`, 2, 31325, 168),
	}
}
