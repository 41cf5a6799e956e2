package conformance

// everyType has a value of each type that sorts, in the order of the manual.
const everyType = `[
	{_id: 0, v: []}, {_id: 1, v: null}, {_id: 2, v: {$numberDouble: '-Infinity'}}, {_id: 3, v: -7}, {_id: 4, v: -0.5}, {_id: 5, v: 0},
	{_id: 6, v: {$numberLong: '9007199254740993'}}, {_id: 7, v: {$numberDouble: 'Infinity'}},
	{_id: 8, v: ''}, {_id: 9, v: 'B'}, {_id: 10, v: 'a'}, {_id: 11, v: 'aa'}, {_id: 12, v: 'ø'},
	{_id: 13, v: {}}, {_id: 14, v: {a: 1}}, {_id: 15, v: {a: 2}}, {_id: 16, v: {b: 1}}, {_id: 17, v: {a: 'x'}},
	{_id: 18, v: {$binary: {base64: 'CQ==', subType: '00'}}}, {_id: 19, v: {$binary: {base64: 'AQE=', subType: '00'}}},
	{_id: 20, v: {$binary: {base64: 'AAA=', subType: '80'}}},
	{_id: 21, v: {$oid: '010000000000000000000000'}}, {_id: 22, v: {$oid: '020000000000000000000000'}},
	{_id: 23, v: false}, {_id: 24, v: true},
	{_id: 25, v: {$date: {$numberLong: '-5'}}}, {_id: 26, v: {$date: {$numberLong: '5'}}},
	{_id: 27, v: {$timestamp: {t: 1, i: 2}}}, {_id: 28, v: {$timestamp: {t: 2, i: 1}}},
	{_id: 29, v: {$regularExpression: {pattern: 'a', options: ''}}}]`

const numbers = `[{_id: 0, v: 1}, {_id: 1, v: {$numberLong: '1'}}, {_id: 2, v: 1.0}, {_id: 3, v: 1.5}, {_id: 4, v: '1'}, {_id: 5, v: true},
	{_id: 6, v: {$date: {$numberLong: '1'}}}, {_id: 7}, {_id: 8, v: null}]`

func orderCases() []testCase {
	const page = "reference/bson-type-comparison-order"
	asc := `[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]`
	desc := `[29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]`
	return []testCase{
		{"types ascending", page, find{docs: everyType, sort: `{v: 1}`, ids: asc, index: `{v: 1}`}.run},
		{"types descending", page, find{docs: everyType, sort: `{v: -1}`, ids: desc, index: `{v: 1}`}.run},
		{"types ascending on a descending index", page, find{docs: everyType, sort: `{v: 1}`, ids: asc, index: `{v: -1}`}.run},
		{"types within a compound index", page, find{docs: everyType, sort: `{k: 1, v: -1}`, ids: desc, index: `{k: 1, v: -1, _id: 1}`}.run},
		{"MinKey is below and MaxKey above all", page, find{
			docs: `[{_id: 0, v: {$maxKey: 1}}, {_id: 1, v: null}, {_id: 2, v: {$minKey: 1}}]`, sort: `{v: 1}`, ids: `[2, 1, 0]`,
		}.run},
		{"decimals compare with the other numbers", page, find{
			docs: `[{_id: 0, v: {$numberDecimal: '1.5'}}, {_id: 1, v: 1}, {_id: 2, v: 2}]`, sort: `{v: 1}`, ids: `[1, 0, 2]`,
		}.run},
		{"symbols sort with strings", page, find{
			docs: `[{_id: 0, v: {$symbol: 'b'}}, {_id: 1, v: 'a'}, {_id: 2, v: 'c'}]`, sort: `{v: 1}`, ids: `[1, 0, 2]`,
		}.run},
		{"code sorts after regular expressions", page, find{
			docs: `[{_id: 0, v: {$code: 'x'}}, {_id: 1, v: {$regularExpression: {pattern: 'a', options: ''}}}]`, sort: `{v: 1}`, ids: `[1, 0]`,
		}.run},
		{"numbers of all types are equal", page, find{docs: numbers, filter: `{v: 1}`, ids: `[0, 1, 2]`, index: `{v: 1}`}.run},
		{"a long finds doubles and ints", page, find{docs: numbers, filter: `{v: {$numberLong: '1'}}`, ids: `[0, 1, 2]`, index: `{v: 1}`}.run},
		{"a double finds longs and ints", page, find{docs: numbers, filter: `{v: 1.0}`, ids: `[0, 1, 2]`, index: `{v: 1}`}.run},
		{"a range over numbers of all types", page, find{docs: numbers, filter: `{v: {$gt: 0, $lt: 1.5}}`, ids: `[0, 1, 2]`, index: `{v: 1}`}.run},
		{"longs beyond the doubles are told apart", page, find{
			docs:   `[{_id: 0, v: {$numberLong: '9007199254740993'}}, {_id: 1, v: {$numberLong: '9007199254740992'}}, {_id: 2, v: 9007199254740992.0}]`,
			filter: `{v: {$gt: 9007199254740992.0}}`, ids: `[0]`, index: `{v: 1}`,
		}.run},
		{"the ends of the longs", page, find{
			docs: `[{_id: 0, v: {$numberLong: '9223372036854775807'}}, {_id: 1, v: 9223372036854775808.0}, {_id: 2, v: {$numberLong: '-9223372036854775808'}}, {_id: 3, v: -9223372036854775808.0}]`,
			sort: `{v: -1, _id: 1}`, ids: `[1, 0, 2, 3]`, index: `{v: -1, _id: 1}`,
		}.run},
		{"both zeros are equal", page, find{docs: `[{_id: 0, v: 0}, {_id: 1, v: -0.0}]`, filter: `{v: 0}`, ids: `[0, 1]`, index: `{v: 1}`}.run},
		{"NaN sorts below all numbers", page, find{
			docs: `[{_id: 0, v: -1}, {_id: 1, v: {$numberDouble: 'NaN'}}, {_id: 2, v: {$numberDouble: '-Infinity'}}, {_id: 3, v: null}]`, sort: `{v: 1}`, ids: `[3, 1, 2, 0]`, index: `{v: 1}`,
		}.run},
		{"NaN equals NaN", page, find{
			docs: `[{_id: 0, v: 1}, {_id: 1, v: {$numberDouble: 'NaN'}}]`, filter: `{v: {$numberDouble: 'NaN'}}`, ids: `[1]`, index: `{v: 1}`,
		}.run},
		{"no number is below NaN", page, find{
			docs: `[{_id: 0, v: 1}, {_id: 1, v: {$numberDouble: 'NaN'}}, {_id: 2, v: -1}]`, filter: `{v: {$lt: 5}}`, ids: `[0, 2]`, index: `{v: 1}`,
		}.run},
		{"strings compare by their bytes", page, find{
			docs: `[{_id: 0, v: 'b'}, {_id: 1, v: 'B'}, {_id: 2, v: 'aa'}, {_id: 3, v: 'a'}]`, filter: `{v: {$gte: 'a'}}`, sort: `{v: 1}`, ids: `[3, 2, 0]`, index: `{v: 1}`,
		}.run},
		{"a range of strings holds no numbers", page, find{docs: numbers, filter: `{v: {$gte: ''}}`, ids: `[4]`, index: `{v: 1}`}.run},
		{"a range of numbers holds nothing else", page, find{docs: numbers, filter: `{v: {$gt: -1000}}`, ids: `[0, 1, 2, 3]`, index: `{v: 1}`}.run},
		{"a range of booleans", page, find{docs: everyType, filter: `{v: {$lt: true}}`, ids: `[23]`, index: `{v: 1}`}.run},
		{"a range of dates holds no timestamps", page, find{docs: everyType, filter: `{v: {$gt: {$date: {$numberLong: '-5'}}}}`, ids: `[26]`, index: `{v: 1}`}.run},
		{"a range of timestamps holds no dates", page, find{docs: everyType, filter: `{v: {$lt: {$timestamp: {t: 2, i: 1}}}}`, ids: `[27]`, index: `{v: 1}`}.run},
		{"a range of ObjectIds", page, find{docs: everyType, filter: `{v: {$gt: {$oid: '010000000000000000000000'}}}`, ids: `[22]`, index: `{v: 1}`}.run},
		{"binary data compares by length, subtype, bytes", page, find{
			docs: everyType, filter: `{v: {$gt: {$binary: {base64: 'CQ==', subType: '00'}}}}`, ids: `[19, 20]`, index: `{v: 1}`,
		}.run},
		{"binary data of another subtype is another value", page, find{
			docs: everyType, filter: `{v: {$binary: {base64: 'AAA=', subType: '00'}}}`, ids: `[]`, index: `{v: 1}`,
		}.run},
		{"null and missing are one in a range", page, find{docs: numbers, filter: `{v: {$gte: null}}`, ids: `[7, 8]`, index: `{v: 1}`}.run},
		{"nothing is below null", page, find{docs: numbers, filter: `{v: {$lt: null}}`, ids: `[]`, index: `{v: 1}`}.run},
		{"null and missing sort as one", page, find{
			docs: `[{_id: 0, v: null}, {_id: 1}, {_id: 2, v: null}, {_id: 3, v: 0}]`, sort: `{v: 1, _id: -1}`, ids: `[2, 1, 0, 3]`, index: `{v: 1, _id: -1}`,
		}.run},
		{"objects in a range", page, find{docs: everyType, filter: `{v: {$gt: {a: 1}}}`, ids: `[15, 16, 17]`, index: `{v: 1}`}.run},
		{"objects compare by type before name", page, find{
			docs: `[{_id: 0, v: {b: 1}}, {_id: 1, v: {a: 'x'}}, {_id: 2, v: {b: 1, c: 1}}]`, sort: `{v: 1}`, ids: `[0, 2, 1]`, index: `{v: 1}`,
		}.run},
		{"arrays in a range", page, find{
			docs: `[{_id: 0, v: [1, 2]}, {_id: 1, v: [1]}, {_id: 2, v: [2]}, {_id: 3, v: 5}]`, filter: `{v: {$gt: [1]}}`, ids: `[0, 2]`, index: `{v: 1}`,
		}.run},
		{"the type of a number survives", page, find{
			docs: `[{_id: 0, v: 1}, {_id: 1, v: {$numberLong: '1'}}, {_id: 2, v: 1.0}]`, filter: `{v: 1}`,
			want: `[{_id: 0, v: 1}, {_id: 1, v: {$numberLong: '1'}}, {_id: 2, v: 1.0}]`, index: `{v: 1}`,
		}.run},
	}
}
