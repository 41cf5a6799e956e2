package conformance

func arrayCases() []testCase {
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
	filtered := func(name, before, change, filters, after string, code ...int) testCase {
		return testCase{name, op + "positional-filtered", update{before: before, update: change, filters: filters, after: after, codes: code}.run}
	}
	matched := func(name, before, filter, change, after string) testCase {
		return testCase{name, op + "positional", update{before: before, filter: filter, update: change, after: after}.run}
	}
	const quizzes = `{quizzes: [{wk: 1, score: 10}, {wk: 2, score: 8}, {wk: 3, score: 5}, {wk: 4, score: 6}]}`
	return []testCase{
		becomes("push", "push", `{a: [1]}`, `{$push: {a: 2}}`, `{a: [1, 2]}`),
		becomes("push to a missing field", "push", `{}`, `{$push: {a: 2}}`, `{a: [2]}`),
		becomes("push to a missing nested field", "push", `{}`, `{$push: {'a.b': 2}}`, `{a: {b: [2]}}`),
		becomes("push an array as one element", "push", `{a: [1]}`, `{$push: {a: [2, 3]}}`, `{a: [1, [2, 3]]}`),
		becomes("push a document", "push", `{a: []}`, `{$push: {a: {x: 1}}}`, `{a: [{x: 1}]}`),
		becomes("push each", "each", `{a: [1]}`, `{$push: {a: {$each: [2, 3]}}}`, `{a: [1, 2, 3]}`),
		becomes("push each to a missing field", "each", `{}`, `{$push: {a: {$each: [2, 3]}}}`, `{a: [2, 3]}`),
		stays("push each of nothing", "each", `{a: [1]}`, `{$push: {a: {$each: []}}}`),
		becomes("push at a position", "position", `{a: [100]}`, `{$push: {a: {$each: [50, 60, 70], $position: 0}}}`, `{a: [50, 60, 70, 100]}`),
		becomes("push at a middle position", "position", `{a: [1, 4]}`, `{$push: {a: {$each: [2, 3], $position: 1}}}`, `{a: [1, 2, 3, 4]}`),
		becomes("push at a position from the end", "position", `{a: [1, 2, 3]}`, `{$push: {a: {$each: [9], $position: -1}}}`, `{a: [1, 2, 9, 3]}`),
		becomes("push past the end", "position", `{a: [1]}`, `{$push: {a: {$each: [2], $position: 9}}}`, `{a: [1, 2]}`),
		becomes("push and keep the last", "slice", `{a: [40, 50, 60]}`, `{$push: {a: {$each: [80, 78, 86], $slice: -5}}}`, `{a: [50, 60, 80, 78, 86]}`),
		becomes("push and keep the first", "slice", `{a: [89, 90]}`, `{$push: {a: {$each: [100, 20], $slice: 3}}}`, `{a: [89, 90, 100]}`),
		becomes("slice without pushing", "slice", `{a: [89, 70, 100, 20]}`, `{$push: {a: {$each: [], $slice: -3}}}`, `{a: [70, 100, 20]}`),
		becomes("slice to nothing", "slice", `{a: [1, 2]}`, `{$push: {a: {$each: [3], $slice: 0}}}`, `{a: []}`),
		becomes("push and sort", "sort", `{a: [3, 1]}`, `{$push: {a: {$each: [2], $sort: 1}}}`, `{a: [1, 2, 3]}`),
		becomes("push and sort descending", "sort", `{a: [3, 1]}`, `{$push: {a: {$each: [2], $sort: -1}}}`, `{a: [3, 2, 1]}`),
		becomes("sort documents by a field", "sort", `{a: [{id: 1, s: 6}, {id: 2, s: 9}]}`, `{$push: {a: {$each: [{id: 3, s: 8}, {id: 4, s: 7}], $sort: {s: 1}}}}`, `{a: [{id: 1, s: 6}, {id: 4, s: 7}, {id: 3, s: 8}, {id: 2, s: 9}]}`),
		becomes("sort without pushing", "sort", `{a: [89, 70, 100, 20]}`, `{$push: {a: {$each: [], $sort: -1}}}`, `{a: [100, 89, 70, 20]}`),
		becomes("push, sort, slice", "push", quizzes, `{$push: {quizzes: {$each: [{wk: 5, score: 8}, {wk: 6, score: 7}, {wk: 7, score: 6}], $sort: {score: -1}, $slice: 3}}}`,
			`{quizzes: [{wk: 1, score: 10}, {wk: 2, score: 8}, {wk: 5, score: 8}]}`),
		refuse("push to a value", "push", `{a: 1}`, `{$push: {a: 1}}`, 2),
		refuse("push to null", "push", `{a: null}`, `{$push: {a: 1}}`, 2),
		refuse("push each without an array", "each", `{a: []}`, `{$push: {a: {$each: 1}}}`, 2),
		refuse("push with an unknown modifier", "push", `{a: []}`, `{$push: {a: {$each: [1], $frob: 1}}}`, 2),
		refuse("slice with a fraction", "slice", `{a: []}`, `{$push: {a: {$each: [1], $slice: 1.5}}}`, 2),
		refuse("slice as a string", "slice", `{a: []}`, `{$push: {a: {$each: [1], $slice: 'x'}}}`, 2),
		refuse("sort by two", "sort", `{a: []}`, `{$push: {a: {$each: [1], $sort: 2}}}`, 2),
		refuse("position as a string", "position", `{a: []}`, `{$push: {a: {$each: [1], $position: 'x'}}}`, 2),
		becomes("addToSet adds", "addToSet", `{a: ['x']}`, `{$addToSet: {a: 'y'}}`, `{a: ['x', 'y']}`),
		stays("addToSet adds no element twice", "addToSet", `{a: ['x', 'y']}`, `{$addToSet: {a: 'x'}}`),
		stays("addToSet knows equal numbers", "addToSet", `{a: [1]}`, `{$addToSet: {a: 1.0}}`),
		becomes("addToSet to a missing field", "addToSet", `{}`, `{$addToSet: {a: 'x'}}`, `{a: ['x']}`),
		becomes("addToSet an array as one element", "addToSet", `{a: ['x']}`, `{$addToSet: {a: ['x', 'y']}}`, `{a: ['x', ['x', 'y']]}`),
		becomes("addToSet each", "addToSet", `{a: [1]}`, `{$addToSet: {a: {$each: [1, 2, 2, 3]}}}`, `{a: [1, 2, 3]}`),
		becomes("addToSet documents with other order", "addToSet", `{a: [{x: 1, y: 2}]}`, `{$addToSet: {a: {y: 2, x: 1}}}`, `{a: [{x: 1, y: 2}, {y: 2, x: 1}]}`),
		becomes("addToSet keeps duplicates that are there", "addToSet", `{a: [1, 1]}`, `{$addToSet: {a: 2}}`, `{a: [1, 1, 2]}`),
		refuse("addToSet to a value", "addToSet", `{a: 1}`, `{$addToSet: {a: 1}}`, 2),
		becomes("pop the last", "pop", `{a: [8, 9, 10]}`, `{$pop: {a: 1}}`, `{a: [8, 9]}`),
		becomes("pop the first", "pop", `{a: [8, 9, 10]}`, `{$pop: {a: -1}}`, `{a: [9, 10]}`),
		becomes("pop the only one", "pop", `{a: [8]}`, `{$pop: {a: 1}}`, `{a: []}`),
		stays("pop of an empty array", "pop", `{a: []}`, `{$pop: {a: 1}}`),
		stays("pop of a missing field", "pop", `{}`, `{$pop: {a: 1}}`),
		refuse("pop of a value", "pop", `{a: 1}`, `{$pop: {a: 1}}`, 14),
		refuse("pop of two", "pop", `{a: [1]}`, `{$pop: {a: 2}}`, 9),
		becomes("pull a value", "pull", `{a: [1, 2, 1]}`, `{$pull: {a: 1}}`, `{a: [2]}`),
		becomes("pull by $in", "pull", `{a: ['apples', 'pears', 'oranges'], b: ['celery', 'carrots']}`, `{$pull: {a: {$in: ['apples', 'oranges']}, b: 'carrots'}}`, `{a: ['pears'], b: ['celery']}`),
		becomes("pull by a range", "pull", `{a: [3, 5, 6, 7, 7, 8]}`, `{$pull: {a: {$gte: 6}}}`, `{a: [3, 5]}`),
		becomes("pull documents by fields", "pull", `{a: [{item: 'A', score: 5}, {item: 'B', score: 8, c: 'x'}]}`, `{$pull: {a: {score: 8, item: 'B'}}}`, `{a: [{item: 'A', score: 5}]}`),
		becomes("pull documents by a condition on a field", "pull", `{a: [{n: 1}, {n: 5}]}`, `{$pull: {a: {n: {$gt: 3}}}}`, `{a: [{n: 1}]}`),
		stays("pull documents by elemMatch finds none", "pull", `{a: [{item: 'B', score: 8}]}`, `{$pull: {a: {$elemMatch: {score: 8, item: 'B'}}}}`),
		becomes("pull documents by an array within", "pull", `{a: [{i: 'A', ans: [{q: 1, a: 4}, {q: 2, a: 6}]}, {i: 'B', ans: [{q: 2, a: 9}]}]}`,
			`{$pull: {a: {ans: {$elemMatch: {q: 2, a: {$gte: 8}}}}}}`, `{a: [{i: 'A', ans: [{q: 1, a: 4}, {q: 2, a: 6}]}]}`),
		becomes("pull an array exactly", "pull", `{a: [[1, 2], [2, 1], 1]}`, `{$pull: {a: [1, 2]}}`, `{a: [[2, 1], 1]}`),
		becomes("pull a document with its fields swapped", "pull", `{a: [{x: 1, y: 2}, {x: 1}]}`, `{$pull: {a: {y: 2, x: 1}}}`, `{a: [{x: 1}]}`),
		becomes("pull null", "pull", `{a: [1, null]}`, `{$pull: {a: null}}`, `{a: [1]}`),
		stays("pull what is not there", "pull", `{a: [1]}`, `{$pull: {a: 5}}`),
		stays("pull from a missing field", "pull", `{}`, `{$pull: {a: 5}}`),
		refuse("pull from a value", "pull", `{a: 1}`, `{$pull: {a: 1}}`, 2),
		becomes("pullAll", "pullAll", `{a: [0, 2, 5, 5, 1, 0]}`, `{$pullAll: {a: [0, 5]}}`, `{a: [2, 1]}`),
		becomes("pullAll of documents exactly", "pullAll", `{a: [{x: 1, y: 2}, {y: 2, x: 1}]}`, `{$pullAll: {a: [{x: 1, y: 2}]}}`, `{a: [{y: 2, x: 1}]}`),
		refuse("pullAll without an array", "pullAll", `{a: [1]}`, `{$pullAll: {a: 1}}`, 2),
		becomes("all elements", "positional-all", `{a: [85, 82, 80]}`, `{$set: {'a.$[]': 10}}`, `{a: [10, 10, 10]}`),
		becomes("inc all elements", "positional-all", `{a: [85, 82, 80]}`, `{$inc: {'a.$[]': 10}}`, `{a: [95, 92, 90]}`),
		becomes("a field of all elements", "positional-all", `{a: [{x: 1}, {x: 2, y: 3}]}`, `{$set: {'a.$[].x': 0}}`, `{a: [{x: 0}, {x: 0, y: 3}]}`),
		stays("all elements of none", "positional-all", `{a: []}`, `{$set: {'a.$[]': 10}}`),
		refuse("all elements of a value", "positional-all", `{a: 1}`, `{$set: {'a.$[]': 10}}`, 2),
		refuse("all elements of a missing field", "positional-all", `{}`, `{$set: {'a.$[]': 10}}`, 2),
		filtered("elements that match", `{a: [95, 102, 90, 150]}`, `{$set: {'a.$[e]': 100}}`, `[{e: {$gte: 100}}]`, `{a: [95, 100, 90, 100]}`),
		filtered("documents that match", `{a: [{g: 80, m: 75}, {g: 85, m: 90}, {g: 90, m: 85}]}`, `{$set: {'a.$[e].m': 100}}`, `[{'e.g': {$gte: 85}}]`, `{a: [{g: 80, m: 75}, {g: 85, m: 100}, {g: 90, m: 100}]}`),
		filtered("documents that match two conditions", `{a: [{g: 80, s: 5}, {g: 90, s: 6}]}`, `{$set: {'a.$[e].z': 1}}`, `[{'e.g': {$gte: 80}, 'e.s': {$gt: 5}}]`, `{a: [{g: 80, s: 5}, {g: 90, s: 6, z: 1}]}`),
		filtered("no element matches", `{a: [1]}`, `{$set: {'a.$[e]': 100}}`, `[{e: {$gte: 100}}]`, ``),
		filtered("inc elements that match", `{a: [{g: 80, s: 5}, {g: 90, s: 6}]}`, `{$inc: {'a.$[e].s': -1}}`, `[{'e.g': {$gt: 85}}]`, `{a: [{g: 80, s: 5}, {g: 90, s: 5}]}`),
		filtered("two filters", `{a: [{t: 'q', q: [1, 9]}, {t: 'e', q: [8]}]}`, `{$set: {'a.$[x].q.$[s]': 5}}`, `[{'x.t': 'q'}, {s: {$gte: 8}}]`, `{a: [{t: 'q', q: [1, 5]}, {t: 'e', q: [8]}]}`),
		filtered("the same filter for two paths", `{a: [{g: 1, s: 5}, {g: 2, s: 6}]}`, `{$set: {'a.$[e].x': 0}, $inc: {'a.$[e].s': 1}}`, `[{'e.g': 2}]`, `{a: [{g: 1, s: 5}, {g: 2, s: 7, x: 0}]}`),
		filtered("elements of elements that match", `{a: [[1, 5], [7], []]}`, `{$set: {'a.$[].$[e]': 0}}`, `[{e: {$gt: 4}}]`, `{a: [[1, 0], [0], []]}`),
		filtered("pull from elements that match", `{a: [{g: 1, s: [1, 2]}, {g: 2, s: [1, 2]}]}`, `{$pull: {'a.$[e].s': {$lt: 2}}}`, `[{'e.g': 2}]`, `{a: [{g: 1, s: [1, 2]}, {g: 2, s: [2]}]}`),
		filtered("two filters of one name", `{a: [1]}`, `{$set: {'a.$[x]': 1}}`, `[{x: 1}, {x: 2}]`, ``, 9),
		filtered("two filters that meet in one element", `{a: [1, 5]}`, `{$set: {'a.$[x]': 1, 'a.$[y]': 2}}`, `[{x: 1}, {y: {$lt: 4}}]`, ``, 40),
		filtered("a filter by $or", `{a: [1, 5, 9]}`, `{$set: {'a.$[x]': 0}}`, `[{$or: [{x: 1}, {x: 9}]}]`, ``, 2, 9),
		filtered("a filter that is not used", `{a: [1]}`, `{$set: {b: 1}}`, `[{x: 1}]`, ``, 9),
		filtered("a filter that is not given", `{a: [1]}`, `{$set: {'a.$[x]': 1}}`, ``, ``, 2),
		filtered("a filter of another name", `{a: [1]}`, `{$set: {'a.$[x]': 1}}`, `[{y: 1}]`, ``, 2, 9),
		filtered("a filter of two names", `{a: [1]}`, `{$set: {'a.$[x]': 1}}`, `[{x: 1, y: 1}]`, ``, 9),
		matched("the element that matched", `{g: [85, 80, 80]}`, `{_id: 1, g: 80}`, `{$set: {'g.$': 82}}`, `{g: [85, 82, 80]}`),
		matched("a field of the element that matched", `{g: [{x: 80, s: 8}, {x: 85, s: 5}]}`, `{_id: 1, 'g.x': 85}`, `{$set: {'g.$.s': 6}}`, `{g: [{x: 80, s: 8}, {x: 85, s: 6}]}`),
	}
}
