package mongod

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// maxMessageSize is MongoDB's limit of a message.
const maxMessageSize = 48_000_000

// maxCommandNesting allows for the levels that a command puts around documents.
const maxCommandNesting = 2 * maxNesting

const headerLen = 16

// errProtocol ends a connection whose bytes are no MongoDB message.
var errProtocol = errors.New("malformed message")

// message is one command as received.
type message struct {
	requestID  int32
	body       document
	sequence   string     // name of the document sequence, if there is one
	docs       []document // its documents
	moreToCome bool       // the client wants no answer
	legacy     bool       // OP_QUERY: answered by OP_REPLY
}

// readMessage reads and checks the next message. Memory grows with the bytes
// that arrive, not with the length that the sender claims.
func readMessage(r *bufio.Reader) (*message, error) {
	var header [headerLen]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	length, id, _, opcode, _, _ := wiremessage.ReadHeader(header[:])
	if length < headerLen || length > maxMessageSize {
		return nil, fmt.Errorf("%w: length %d", errProtocol, length)
	}
	payload, err := readPayload(r, int(length)-headerLen)
	if err != nil {
		return nil, err
	}
	m := &message{requestID: id}
	switch opcode {
	case wiremessage.OpMsg:
		err = m.parseMsg(payload)
	case wiremessage.OpQuery: //nolint:staticcheck // drivers still open a connection with it
		err = m.parseQuery(payload)
	default:
		err = fmt.Errorf("%w: opcode %d", errProtocol, opcode)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

func readPayload(r io.Reader, n int) ([]byte, error) {
	const trusted = 1 << 20
	if n <= trusted {
		payload := make([]byte, n)
		if _, err := io.ReadFull(r, payload); err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		return payload, nil
	}
	var buf bytes.Buffer
	buf.Grow(trusted)
	if _, err := io.CopyN(&buf, r, int64(n)); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return buf.Bytes(), nil
}

// parseMsg follows https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg
// Checksums, which no driver sends by default, are refused.
func (m *message) parseMsg(payload []byte) error {
	flags, rem, ok := wiremessage.ReadMsgFlags(payload)
	if !ok || flags&0xFFFF&^wiremessage.MoreToCome != 0 {
		return fmt.Errorf("%w: flags", errProtocol)
	}
	m.moreToCome = flags&wiremessage.MoreToCome != 0
	for len(rem) > 0 {
		kind := rem[0]
		rem = rem[1:]
		switch kind {
		case 0:
			doc, rest, ok := bsoncore.ReadDocument(rem)
			if !ok || m.body != nil {
				return fmt.Errorf("%w: body", errProtocol)
			}
			m.body, rem = doc, rest
		case 1:
			size, _, ok := bsoncore.ReadLength(rem)
			if !ok || size < 4 || int(size) > len(rem) || m.sequence != "" {
				return fmt.Errorf("%w: document sequence", errProtocol)
			}
			if err := m.parseSequence(rem[4:size]); err != nil {
				return err
			}
			rem = rem[size:]
		default:
			return fmt.Errorf("%w: section kind %d", errProtocol, kind)
		}
	}
	if m.body == nil {
		return fmt.Errorf("%w: no body", errProtocol)
	}
	return nil
}

func (m *message) parseSequence(src []byte) error {
	name, rem, ok := bytes.Cut(src, []byte{0})
	if !ok || len(name) == 0 {
		return fmt.Errorf("%w: document sequence", errProtocol)
	}
	m.sequence = string(name)
	for len(rem) > 0 {
		doc, rest, ok := bsoncore.ReadDocument(rem)
		if !ok {
			return fmt.Errorf("%w: document sequence", errProtocol)
		}
		m.docs, rem = append(m.docs, doc), rest
	}
	return nil
}

// parseQuery reads the legacy message in which drivers say hello first.
func (m *message) parseQuery(payload []byte) error {
	m.legacy = true
	if len(payload) < 4 {
		return fmt.Errorf("%w: query", errProtocol)
	}
	ns, rem, ok := bytes.Cut(payload[4:], []byte{0})
	if !ok || string(ns) != "admin.$cmd" || len(rem) < 8 {
		return fmt.Errorf("%w: only commands are accepted as legacy queries", errProtocol)
	}
	doc, rest, ok := bsoncore.ReadDocument(rem[8:])
	if !ok || len(rest) != 0 {
		return fmt.Errorf("%w: query", errProtocol)
	}
	if inner, ok := lookup(doc, "$query"); ok && inner.Type == bsoncore.TypeEmbeddedDocument {
		doc = inner.Data
	}
	m.body = doc
	return nil
}

// writeReply sends reply, with the elements of tail appended to it.
func writeReply(w *bufio.Writer, m *message, reply document, tail []byte) error {
	size := len(reply) + len(tail)
	head := make([]byte, 0, 64)
	if m.legacy {
		head = wiremessage.AppendHeader(head, int32(headerLen+20+size), m.requestID, m.requestID, wiremessage.OpReply) //nolint:gosec // bounded by maxMessageSize
		head = wiremessage.AppendReplyFlags(head, 0)
		head = wiremessage.AppendReplyCursorID(head, 0)
		head = wiremessage.AppendReplyStartingFrom(head, 0)
		head = wiremessage.AppendReplyNumberReturned(head, 1)
	} else {
		head = wiremessage.AppendHeader(head, int32(headerLen+5+size), m.requestID, m.requestID, wiremessage.OpMsg) //nolint:gosec // bounded by maxMessageSize
		head = wiremessage.AppendMsgFlags(head, 0)
		head = wiremessage.AppendMsgSectionType(head, wiremessage.SingleDocument)
	}
	head = binary.LittleEndian.AppendUint32(head, uint32(size)) //nolint:gosec // bounded by maxMessageSize
	for _, part := range [][]byte{head, reply[4 : len(reply)-1], tail, {0}} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write reply: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write reply: %w", err)
	}
	return nil
}
