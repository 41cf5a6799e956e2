package mongod

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// explain tells how a find, count or distinct, or the first stages of an
// aggregation, reads its collection; unless only the plan is asked for, it runs
// the query to count what it examines.
func (s *Server) explain(ctx context.Context, r *request) (document, error) {
	inner, err := r.document("explain")
	if err != nil {
		return nil, err
	}
	verbosity, _ := lookup(r.body, "verbosity")
	level, _ := verbosity.StringValueOK()
	switch level {
	case "", "queryPlanner", "executionStats", "allPlansExecution":
	default:
		return nil, errorf(codeBadValue, "unknown verbosity of explain")
	}
	it := begin(inner)
	name, _, ok := it.next()
	cmd, known := s.commands[string(name)]
	if !ok || !known {
		return nil, errorf(codeCommandNotFound, "explain failed due to unknown command")
	}
	in := &request{s: s, conn: r.conn, message: &message{body: inner}, name: string(name), db: r.db, body: inner}
	if err := in.parseCommon(cmd); err != nil {
		return nil, err
	}
	q, err := explained(in)
	if err != nil {
		return nil, err
	}
	v := s.newView()
	c := v.cat.collections[in.ns]
	if c == nil {
		c = newCollection(in.ns, 0, nil) // empty: its plan is a collection scan of nothing
	}
	p := makePlan(c, q.filter, q.sort)
	b := bsoncore.NewDocumentBuilder().AppendDocument("queryPlanner", bsoncore.NewDocumentBuilder().
		AppendString("namespace", in.ns).AppendDocument("winningPlan", p.describe()).Build())
	if level == "queryPlanner" {
		return b.Build(), v.close()
	}
	sc := newScan(v, p, q.filter)
	n, err := runExplained(ctx, sc, q)
	if err = errors.Join(err, v.close()); err != nil {
		return nil, err
	}
	keys := sc.keysExamined
	if p.collectionScan() {
		keys = 0
	}
	return b.AppendDocument("executionStats", bsoncore.NewDocumentBuilder().
		AppendBoolean("executionSuccess", true).AppendInt64("nReturned", n).
		AppendInt64("totalKeysExamined", keys).AppendInt64("totalDocsExamined", sc.docsExamined).Build()).Build(), nil
}

// explained parses the query of the explained command.
func explained(r *request) (*query, error) {
	switch r.name {
	case "find":
		q, _, err := parseFind(r)
		return q, err
	case "count", "distinct":
		return parseQuery(r, "query")
	case "aggregate":
		p, err := parsePipeline(r)
		if err != nil {
			return nil, err
		}
		return &p.query, nil
	default:
		return nil, errorf(codeCommandNotSupported, "explain of %s is not supported", r.name)
	}
}

func runExplained(ctx context.Context, sc *scan, q *query) (int64, error) {
	src, err := q.beyond(sc.plan).over(ctx, &found{scan: sc, view: &view{}})
	if err != nil {
		return 0, err
	}
	return drain(ctx, src)
}

// collectionScan reports whether the plan reads documents without an index.
func (p *plan) collectionScan() bool { return p.full() && p.index.isRecords(p.coll) }

// describe returns the plan as explain shows it.
func (p *plan) describe() document {
	direction := "forward"
	if p.reverse {
		direction = "backward"
	}
	var b *bsoncore.DocumentBuilder
	if p.collectionScan() {
		b = bsoncore.NewDocumentBuilder().AppendString("stage", "COLLSCAN").AppendString("direction", direction)
	} else {
		b = bsoncore.NewDocumentBuilder().AppendString("stage", "FETCH").AppendDocument("inputStage",
			bsoncore.NewDocumentBuilder().AppendString("stage", "IXSCAN").AppendDocument("keyPattern", p.index.spec).
				AppendString("indexName", p.index.name).AppendBoolean("isMultiKey", p.index.multikey.Load() != 0).
				AppendBoolean("isUnique", p.index.unique).AppendString("direction", direction).
				AppendInt64("ranges", int64(len(p.ranges))).Build())
	}
	if p.sorted {
		return b.Build()
	}
	return bsoncore.NewDocumentBuilder().AppendString("stage", "SORT").AppendDocument("inputStage", b.Build()).Build()
}
