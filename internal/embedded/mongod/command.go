package mongod

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// command describes one command of the protocol.
type command struct {
	run    func(context.Context, *request) (document, error)
	fields []string // names of its options; flags end in "?"
	// sequence is the option that may come as a document sequence.
	sequence string
	coll     bool // its first field names a collection
	txn      bool // allowed within a transaction
	retry    bool // takes a transaction number as a retryable write
	reads    bool // can read at a snapshot outside a transaction
}

// request is a command while it is being answered.
type request struct {
	s       *Server
	conn    *conn
	message *message
	name    string
	db      string
	body    document
	ns      string // "database.collection", if the command names one

	lsid    string
	session *session // locked, if the command is numbered
	number  int64
	txn     *transaction // if within one
	level   string       // of the read concern
	at      uint64       // cluster time of a snapshot read, 0: now
}

func (s *Server) commandTable() map[string]command {
	words := strings.Fields
	greeting := words("helloOk client compression speculativeAuthenticate saslSupportedMechs topologyVersion maxAwaitTimeMS loadBalanced backpressure")
	return map[string]command{
		"hello":             {run: s.hello, fields: greeting},
		"ismaster":          {run: s.hello, fields: greeting},
		"isMaster":          {run: s.hello, fields: greeting},
		"ping":              {run: s.ping},
		"buildInfo":         {run: s.buildInfo},
		"buildinfo":         {run: s.buildInfo},
		"serverStatus":      {run: s.serverStatus},
		"endSessions":       {run: s.endSessions},
		"listDatabases":     {run: s.listDatabases, fields: words("filter nameOnly? authorizedDatabases?")},
		"listCollections":   {run: s.listCollections, fields: words("filter nameOnly? authorizedCollections? cursor")},
		"create":            {run: s.create, coll: true},
		"drop":              {run: s.drop, coll: true},
		"dropDatabase":      {run: s.dropDatabase},
		"createIndexes":     {run: s.createIndexesCommand, coll: true, fields: words("indexes commitQuorum")},
		"listIndexes":       {run: s.listIndexes, coll: true, fields: words("cursor")},
		"dropIndexes":       {run: s.dropIndexesCommand, coll: true, fields: words("index")},
		"insert":            {run: s.insert, coll: true, fields: words("documents ordered? bypassDocumentValidation?"), sequence: "documents", txn: true, retry: true},
		"update":            {run: s.update, coll: true, fields: words("updates ordered? bypassDocumentValidation?"), sequence: "updates", txn: true, retry: true},
		"delete":            {run: s.delete, coll: true, fields: words("deletes ordered?"), sequence: "deletes", txn: true, retry: true},
		"findAndModify":     {run: s.findAndModify, coll: true, fields: words("query sort remove? update new? fields upsert? arrayFilters bypassDocumentValidation?"), txn: true, retry: true},
		"find":              {run: s.find, coll: true, fields: words("filter sort projection skip limit batchSize singleBatch? allowDiskUse?"), txn: true, reads: true},
		"getMore":           {run: s.getMore, fields: words("collection batchSize"), txn: true, reads: true},
		"killCursors":       {run: s.killCursors, fields: words("cursors"), txn: true},
		"count":             {run: s.count, coll: true, fields: words("query limit skip")},
		"aggregate":         {run: s.aggregate, coll: true, fields: words("pipeline cursor allowDiskUse? bypassDocumentValidation?"), txn: true, reads: true},
		"distinct":          {run: s.distinct, coll: true, fields: words("key query"), txn: true, reads: true},
		"explain":           {run: s.explain, fields: words("verbosity")},
		"commitTransaction": {run: s.commitTransaction, fields: words("recoveryToken"), txn: true},
		"abortTransaction":  {run: s.abortTransaction, fields: words("recoveryToken"), txn: true},
	}
}

// handle answers one message. It returns the reply and the elements that every
// reply ends with.
func (s *Server) handle(ctx context.Context, c *conn, m *message) (reply document, tail []byte) {
	reply, err := s.dispatch(ctx, c, m)
	tail = bsoncore.AppendDoubleElement(nil, "ok", 1)
	if err != nil {
		ce := asCommandError(err)
		if ce.code == codeInternal {
			s.logger.ErrorContext(ctx, "command failed", "conn", c.id, "err", err)
		}
		reply, tail = errorReply(ce), nil
	}
	now := s.clusterTick()
	t, i := uint32(now>>32), uint32(now) //nolint:gosec // the two halves
	tail = bsoncore.AppendTimestampElement(tail, "operationTime", t, i)
	tail = bsoncore.AppendDocumentElement(tail, "$clusterTime", bsoncore.NewDocumentBuilder().
		AppendTimestamp("clusterTime", t, i).
		AppendDocument("signature", bsoncore.NewDocumentBuilder().
			AppendBinary("hash", 0, make([]byte, 20)).AppendInt64("keyId", 0).Build()).Build())
	return reply, tail
}

func errorReply(ce *commandError) document {
	b := bsoncore.NewDocumentBuilder().AppendDouble("ok", 0).AppendString("errmsg", ce.msg).
		AppendInt32("code", ce.code).AppendString("codeName", codeName(ce.code))
	if ce.keyPattern != nil {
		b.AppendDocument("keyPattern", ce.keyPattern).AppendDocument("keyValue", ce.keyValue)
	}
	if len(ce.labels) > 0 {
		labels := bsoncore.NewArrayBuilder()
		for _, l := range ce.labels {
			labels.AppendString(l)
		}
		b.AppendArray("errorLabels", labels.Build())
	}
	return b.Build()
}

func (s *Server) dispatch(ctx context.Context, c *conn, m *message) (document, error) {
	if err := validate(m.body, maxCommandNesting); err != nil {
		return nil, err
	}
	it := begin(m.body)
	name, _, ok := it.next()
	if !ok {
		return nil, errorf(codeFailedToParse, "empty command")
	}
	r := &request{s: s, conn: c, message: m, name: string(name), body: m.body, db: "admin"}
	cmd, ok := s.commands[r.name]
	if !ok {
		return nil, errorf(codeCommandNotFound, "no such command: '%s'", r.name)
	}
	if err := r.parseCommon(cmd); err != nil {
		return nil, err
	}
	if v, ok := lookup(m.body, "maxTimeMS"); ok {
		ms, ok := wholeNumber(v)
		if !ok || ms < 0 {
			return nil, errorf(codeBadValue, "maxTimeMS must be a whole number that is not negative")
		}
		if ms > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
			defer cancel()
		}
	}
	if r.session == nil {
		return cmd.run(ctx, r)
	}
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	return r.runNumbered(ctx, cmd)
}

// ctxError says why ctx ended, as MongoDB does.
func ctxError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errorf(codeMaxTimeMSExpired, "operation exceeded time limit")
	}
	return errorf(codeInternal, "connection or server closed")
}

// parseCommon checks that every option is known and reads the common ones.
func (r *request) parseCommon(cmd command) error {
	var autocommit, start, numbered bool
	it := begin(r.body)
	it.next() // the name of the command
	for {
		k, v, ok := it.next()
		if !ok {
			break
		}
		key := string(k)
		var err error
		switch key {
		case "$db":
			if v.Type != bsoncore.TypeString {
				return errorf(codeTypeMismatch, "$db must be a string")
			}
			r.db = v.StringValue()
		case "lsid":
			if r.lsid, err = parseSessionID(v); err != nil {
				return err
			}
		case "txnNumber":
			if r.number, numbered = v.Int64OK(); !numbered {
				return errorf(codeTypeMismatch, "txnNumber must be a long")
			}
		case "autocommit":
			if b, ok := v.BooleanOK(); !ok || b {
				return errorf(codeInvalidOptions, "autocommit can only be false")
			}
			autocommit = true
		case "startTransaction":
			if b, ok := v.BooleanOK(); !ok || !b {
				return errorf(codeInvalidOptions, "startTransaction can only be true")
			}
			start = true
		case "readConcern":
			err = r.parseReadConcern(v)
		case "writeConcern":
			err = r.parseWriteConcern(v)
		case "$clusterTime", "$readPreference", "maxTimeMS", "comment":
			// The clock only has to go forward, there is one member to read from,
			// maxTimeMS is read elsewhere, and a comment has no effect.
		default:
			if r.message.legacy && strings.HasPrefix(key, "$") {
				continue
			}
			err = checkOption(r.name, cmd.fields, key, v)
		}
		if err != nil {
			return err
		}
	}
	if cmd.coll {
		v, _ := lookup(r.body, r.name)
		coll, ok := v.StringValueOK()
		if !ok {
			return errorf(codeBadValue, "collection name has invalid type")
		}
		r.ns = r.db + "." + coll
		if err := checkNamespace(r.ns); err != nil {
			return err
		}
	}
	if seq := r.message.sequence; seq != "" && seq != cmd.sequence {
		return errorf(codeUnknownField, "BSON field '%s.%s' is an unknown field.", r.name, seq)
	}
	return r.resolveSession(cmd, numbered, autocommit, start)
}

func hasWord(words, word string) bool {
	for w := range strings.FieldsSeq(words) {
		if w == word {
			return true
		}
	}
	return false
}

func parseSessionID(v value) (string, error) {
	if v.Type == bsoncore.TypeEmbeddedDocument {
		if id, ok := lookup(v.Data, "id"); ok {
			if _, data, ok := id.BinaryOK(); ok && len(data) == 16 {
				return string(data), nil
			}
		}
	}
	return "", errorf(codeTypeMismatch, "lsid must be a document with a UUID")
}

func (r *request) parseReadConcern(v value) error {
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return errorf(codeTypeMismatch, "readConcern must be a document")
	}
	for k, v := range elementsOf(v.Data) {
		switch string(k) {
		case "level":
			r.level, _ = v.StringValueOK()
			switch r.level {
			case "local", "available", "majority", "snapshot":
			default:
				return errorf(codeInvalidOptions, "this read concern level is not supported")
			}
		case "afterClusterTime":
			// Reads see the newest state: every time handed out is in the past.
		case "atClusterTime":
			t, i, ok := v.TimestampOK()
			if !ok {
				return errorf(codeTypeMismatch, "atClusterTime must be a timestamp")
			}
			r.at = uint64(t)<<32 | uint64(i)
		default:
			return errorf(codeUnknownField, "BSON field 'readConcern.%s' is an unknown field.", k)
		}
	}
	return nil
}

// parseWriteConcern accepts what is always given: on disk, on the one member.
func (r *request) parseWriteConcern(v value) error {
	if hasWord("find count distinct getMore killCursors explain listCollections listIndexes listDatabases", r.name) {
		return errorf(codeInvalidOptions, "command %s does not support writeConcern", r.name)
	}
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return errorf(codeTypeMismatch, "writeConcern must be a document")
	}
	for k, v := range elementsOf(v.Data) {
		switch string(k) {
		case "w":
			n, isNumber := wholeNumber(v)
			mode, _ := v.StringValueOK()
			if (!isNumber || n < 0 || n > 1) && mode != "majority" {
				return errorf(codeUnsatisfiableWriteConcern, "not enough data-bearing nodes")
			}
		case "j", "wtimeout", "fsync":
		default:
			return errorf(codeUnknownField, "BSON field 'writeConcern.%s' is an unknown field.", k)
		}
	}
	return nil
}

// resolveSession checks how the command is numbered and finds its session.
func (r *request) resolveSession(cmd command, numbered, autocommit, start bool) error {
	if !numbered {
		if autocommit || start {
			return errorf(codeInvalidOptions, "a transaction needs a txnNumber")
		}
		if r.name == "commitTransaction" || r.name == "abortTransaction" {
			return errorf(codeCommandFailed, "%s must be run within a transaction", r.name)
		}
		if r.at != 0 && r.level != "snapshot" {
			return errorf(codeInvalidOptions, "atClusterTime needs read concern snapshot")
		}
		if r.level == "snapshot" && !cmd.reads {
			return errorf(codeInvalidOptions, "read concern snapshot is not supported for %s outside a transaction", r.name)
		}
		return nil
	}
	switch {
	case r.lsid == "":
		return errorf(codeInvalidOptions, "a txnNumber needs an lsid")
	case !autocommit && start:
		return errorf(codeInvalidOptions, "startTransaction needs autocommit: false")
	case autocommit && !cmd.txn:
		return errorf(codeNotInTransaction, "cannot run '%s' in a multi-document transaction", r.name)
	case !autocommit && !cmd.retry:
		return errorf(codeCommandNotSupported, "%s is not a retryable write", r.name)
	}
	var err error
	r.session, err = r.s.session(r.lsid)
	return err
}

// runNumbered runs a command of a transaction or a retryable write. The session
// is locked.
func (r *request) runNumbered(ctx context.Context, cmd command) (document, error) {
	ss := r.session
	if r.number < ss.number {
		return nil, errorf(codeTransactionTooOld, "txnNumber %d is older than the session's %d", r.number, ss.number)
	}
	_, inTxn := lookup(r.body, "autocommit")
	_, start := lookup(r.body, "startTransaction")
	if r.number > ss.number {
		if err := ss.end(aborted); err != nil { // a newer number gives up the old transaction
			return nil, err
		}
		ss.txn = nil
	}
	if !inTxn {
		if ss.txn != nil {
			return nil, errorf(codeInvalidOptions, "the txnNumber belongs to a transaction")
		}
		ss.number = r.number
		return cmd.run(ctx, r)
	}
	if r.name == "commitTransaction" || r.name == "abortTransaction" {
		return cmd.run(ctx, r)
	}
	if start {
		if r.number == ss.number {
			return nil, errorf(50911, "transaction %d was started before", r.number)
		}
		r.s.begin(ss, r.number, r.conn)
	}
	if ss.txn == nil || ss.number != r.number || ss.txn.state == aborted {
		return nil, noSuchTransaction(r.number)
	}
	if ss.txn.state == committed {
		return nil, errorf(codeTransactionCommitted, "transaction %d has been committed", r.number)
	}
	r.txn = ss.txn
	r.txn.conn = r.conn
	reply, err := cmd.run(ctx, r)
	if err == nil && !hasWriteErrors(reply) {
		return reply, nil
	}
	// Any error ends the whole transaction.
	return reply, errors.Join(err, ss.end(aborted))
}

func hasWriteErrors(reply document) bool {
	_, ok := lookup(reply, "writeErrors")
	return ok
}

func noSuchTransaction(number int64) *commandError {
	return transient(errorf(codeNoSuchTransaction, "transaction %d has been aborted or was never started", number))
}

func (s *Server) commitTransaction(_ context.Context, r *request) (document, error) {
	ss := r.session
	if ss.txn == nil || ss.number != r.number {
		if ss.last != nil && ss.last.Number == r.number && ss.last.Committed {
			return emptyReply(), nil // committed by an earlier process
		}
		return nil, noSuchTransaction(r.number)
	}
	switch ss.txn.state {
	case committed:
		return emptyReply(), nil
	case aborted:
		return nil, noSuchTransaction(r.number)
	default:
		return emptyReply(), ss.commit()
	}
}

func (s *Server) abortTransaction(_ context.Context, r *request) (document, error) {
	ss := r.session
	if ss.txn == nil || ss.number != r.number || ss.txn.state == aborted {
		return nil, noSuchTransaction(r.number)
	}
	if ss.txn.state == committed {
		return nil, errorf(codeTransactionCommitted, "transaction %d has been committed", r.number)
	}
	return emptyReply(), ss.end(aborted)
}

func emptyReply() document { return bsoncore.NewDocumentBuilder().Build() }

// document returns the document option name, or nil.
func (r *request) document(name string) (document, error) {
	return documentIn(r.body, name)
}

func documentIn(doc document, name string) (document, error) {
	v, ok := lookup(doc, name)
	if !ok || v.Type == bsoncore.TypeNull {
		return nil, nil
	}
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return nil, errorf(codeTypeMismatch, "BSON field '%s' is the wrong type, expected an object", name)
	}
	return v.Data, nil
}

// number64 returns the option name, a whole number that is not negative.
func (r *request) number64(name string, absent int64) (int64, error) {
	return numberIn(r.body, name, absent)
}

func numberIn(doc document, name string, absent int64) (int64, error) {
	v, ok := lookup(doc, name)
	if !ok {
		return absent, nil
	}
	n, ok := wholeNumber(v)
	if !ok || n < 0 {
		return 0, errorf(codeBadValue, "BSON field '%s' must be a whole number that is not negative", name)
	}
	return n, nil
}

func (r *request) flag(name string, absent bool) bool { return flagIn(r.body, name, absent) }

// flagIn returns the flag name, which checkOption has seen.
func flagIn(doc document, name string, absent bool) bool {
	v, ok := lookup(doc, name)
	if !ok {
		return absent
	}
	return isTrue(v)
}

// checkOption refuses an option that is not among the fields, and a flag that is
// neither a boolean nor a number.
func checkOption(of string, fields []string, name string, v value) error {
	if slices.Contains(fields, name) {
		return nil
	}
	if !slices.Contains(fields, name+"?") {
		return errorf(codeUnknownField, "BSON field '%s.%s' is an unknown field.", of, name)
	}
	if v.Type != bsoncore.TypeBoolean && classOf(v.Type) != classNumber {
		return errorf(codeTypeMismatch, "BSON field '%s.%s' is the wrong type, expected a bool", of, name)
	}
	return nil
}

// view returns what the command sees and, for a snapshot read, at which time. It
// must be closed.
func (r *request) view() (v *view, at uint64, err error) {
	if r.txn != nil {
		// A copy, so that a cursor does not see later writes of the transaction.
		v := &view{base: r.txn.view.base, cat: r.txn.view.cat}
		if r.txn.writer.over.Len() > 0 {
			v.over = r.txn.writer.over.Copy()
		}
		return v, 0, nil
	}
	if r.level == "snapshot" {
		return r.s.snapshotView(r.at)
	}
	return r.s.newView(), 0, nil
}
