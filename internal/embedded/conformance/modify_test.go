package conformance

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func modifyCases() []testCase {
	const page = "reference/command/findAndModify"
	const docs = `[{_id: 1, a: 1, b: 5}, {_id: 2, a: 1, b: 3}, {_id: 3, a: 2, b: 1}]`
	answer := func(name, cmd, reply, want string) testCase {
		return testCase{name, page, command{docs: docs, command: cmd, reply: reply, want: want}.run}
	}
	refuse := func(name, cmd string, code ...int) testCase {
		return testCase{name, page, command{docs: docs, command: cmd, codes: code, want: docs}.run}
	}
	return []testCase{
		answer("before", `{findAndModify: 'C', query: {_id: 1}, update: {$inc: {a: 1}}}`,
			`{value: {_id: 1, a: 1, b: 5}, 'lastErrorObject.n': 1, 'lastErrorObject.updatedExisting': true}`,
			`[{_id: 1, a: 2, b: 5}, {_id: 2, a: 1, b: 3}, {_id: 3, a: 2, b: 1}]`),
		answer("after", `{findAndModify: 'C', query: {_id: 1}, update: {$inc: {a: 1}}, new: true}`, `{value: {_id: 1, a: 2, b: 5}}`, ``),
		answer("the first by a sort", `{findAndModify: 'C', query: {a: 1}, sort: {b: 1}, update: {$set: {c: 1}}, new: true}`, `{value: {_id: 2, a: 1, b: 3, c: 1}}`, ``),
		answer("the last by a sort", `{findAndModify: 'C', query: {}, sort: {a: -1, b: 1}, update: {$set: {c: 1}}}`, `{value: {_id: 3, a: 2, b: 1}}`, ``),
		answer("some fields of before", `{findAndModify: 'C', query: {_id: 1}, update: {$inc: {a: 1}}, fields: {a: 1, _id: 0}}`, `{value: {a: 1}}`, ``),
		answer("all fields but one of after", `{findAndModify: 'C', query: {_id: 1}, update: {$inc: {a: 1}}, new: true, fields: {b: 0}}`, `{value: {_id: 1, a: 2}}`, ``),
		answer("no match", `{findAndModify: 'C', query: {_id: 9}, update: {$inc: {a: 1}}}`,
			`{value: null, 'lastErrorObject.n': 0, 'lastErrorObject.updatedExisting': false}`, docs),
		answer("no match, after", `{findAndModify: 'C', query: {_id: 9}, update: {$inc: {a: 1}}, new: true}`, `{value: null}`, docs),
		answer("upsert, before", `{findAndModify: 'C', query: {_id: 9, x: 1}, update: {$inc: {a: 1}}, upsert: true}`,
			`{value: null, 'lastErrorObject.n': 1, 'lastErrorObject.updatedExisting': false, 'lastErrorObject.upserted': 9}`,
			`[{_id: 1, a: 1, b: 5}, {_id: 2, a: 1, b: 3}, {_id: 3, a: 2, b: 1}, {_id: 9, x: 1, a: 1}]`),
		answer("upsert, after", `{findAndModify: 'C', query: {_id: 9, x: 1}, update: {$inc: {a: 1}}, upsert: true, new: true}`, `{value: {_id: 9, x: 1, a: 1}}`, ``),
		answer("upsert of a match", `{findAndModify: 'C', query: {_id: 1}, update: {$setOnInsert: {z: 1}, $set: {y: 1}}, upsert: true, new: true}`, `{value: {_id: 1, a: 1, b: 5, y: 1}}`, ``),
		answer("remove", `{findAndModify: 'C', query: {a: 1}, sort: {b: 1}, remove: true}`,
			`{value: {_id: 2, a: 1, b: 3}, 'lastErrorObject.n': 1}`, `[{_id: 1, a: 1, b: 5}, {_id: 3, a: 2, b: 1}]`),
		answer("remove of none", `{findAndModify: 'C', query: {a: 9}, remove: true}`, `{value: null, 'lastErrorObject.n': 0}`, docs),
		answer("remove with fields", `{findAndModify: 'C', query: {_id: 1}, remove: true, fields: {b: 1, _id: 0}}`, `{value: {b: 5}}`, ``),
		answer("replace", `{findAndModify: 'C', query: {_id: 1}, update: {z: 1}, new: true}`, `{value: {_id: 1, z: 1}}`, ``),
		answer("a change that changes nothing", `{findAndModify: 'C', query: {_id: 1}, update: {$set: {a: 1}}, new: true}`,
			`{value: {_id: 1, a: 1, b: 5}, 'lastErrorObject.n': 1, 'lastErrorObject.updatedExisting': true}`, docs),
		answer("on a collection that is not there", `{findAndModify: 'none', query: {}, update: {$set: {a: 1}}}`, `{value: null}`, ``),
		refuse("neither update nor remove", `{findAndModify: 'C', query: {_id: 1}}`, 9),
		refuse("update and remove", `{findAndModify: 'C', query: {_id: 1}, update: {$set: {a: 9}}, remove: true}`, 9),
		refuse("remove and new", `{findAndModify: 'C', query: {_id: 1}, remove: true, new: true}`, 9),
		refuse("remove and upsert", `{findAndModify: 'C', query: {_id: 1}, remove: true, upsert: true}`, 9),
		refuse("another _id", `{findAndModify: 'C', query: {_id: 1}, update: {$set: {_id: 5}}}`, 66),
		refuse("a replacement with another _id", `{findAndModify: 'C', query: {_id: 1}, update: {_id: 5}}`, 66),
		refuse("an unknown operator", `{findAndModify: 'C', query: {_id: 1}, update: {$frob: {a: 5}}}`, 9),
		refuse("an unknown option", `{findAndModify: 'C', query: {_id: 1}, update: {$set: {a: 5}}, frob: 1}`, 40415),
		{"the driver's three", "reference/method/db.collection.findOneAndUpdate", driverModifies},
	}
}

// driverModifies goes through the driver's own helpers.
func driverModifies(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, `[{_id: 1, a: 1}, {_id: 2, a: 2}]`); err != nil {
		return err
	}
	byA := options.FindOneAndUpdate().SetSort(d("a", -1)).SetReturnDocument(options.After)
	var updated, replaced, deleted bson.D
	if err := f.coll.FindOneAndUpdate(ctx, d(), d("$inc", d("a", 5)), byA).Decode(&updated); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	if err := f.coll.FindOneAndReplace(ctx, d("_id", 1), d("b", 1)).Decode(&replaced); err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	if err := f.coll.FindOneAndDelete(ctx, d("a", 7)).Decode(&deleted); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if err := f.coll.FindOneAndDelete(ctx, d("a", 7)).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		return fmt.Errorf("a second delete: %w", err)
	}
	got, want := bson.A{updated, replaced, deleted}, list(`[{_id: 2, a: 7}, {_id: 1, a: 1}, {_id: 2, a: 7}]`)
	return errors.Join(same("answers", got, want), f.holds(ctx, `[{_id: 1, b: 1}]`))
}
