package mongod_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/embedded/mongod"
)

// canned starts a server that stores nothing: it gives each command the reply
// that was made beforehand. What a driver does through it in a second is the
// most that it could do through any server. work, unless nil, is given each insert
// before the reply.
func canned(b *testing.B, replies map[string]bson.D, work func(payload []byte) error) *mongo.Client {
	b.Helper()
	path := filepath.Join(b.TempDir(), "canned.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	hello := bson.D{
		{Key: "helloOk", Value: true},
		{Key: "isWritablePrimary", Value: true},
		{Key: "setName", Value: "canned"},
		{Key: "hosts", Value: bson.A{path}},
		{Key: "primary", Value: path},
		{Key: "me", Value: path},
		{Key: "maxBsonObjectSize", Value: 16 << 20},
		{Key: "maxMessageSizeBytes", Value: 48_000_000},
		{Key: "maxWriteBatchSize", Value: 100_000},
		{Key: "logicalSessionTimeoutMinutes", Value: 30},
		{Key: "minWireVersion", Value: 0},
		{Key: "maxWireVersion", Value: 21},
		{Key: "ok", Value: 1.0},
	}
	made := map[string][]byte{}
	for _, name := range []string{"hello", "isMaster", "ismaster"} {
		made[name] = mustMarshal(b, hello)
	}
	for name, reply := range replies {
		made[name] = mustMarshal(b, reply)
	}
	ok := mustMarshal(b, bson.D{{Key: "ok", Value: 1.0}})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveCanned(c, made, ok, work)
		}
	}()
	client, err := mongo.Connect(options.Client().ApplyURI(mongod.URI(l)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = client.Disconnect(b.Context())
		_ = l.Close()
	})
	return client
}

func mustMarshal(b *testing.B, d bson.D) []byte {
	b.Helper()
	raw, err := bson.Marshal(d)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

func serveCanned(c net.Conn, replies map[string][]byte, ok []byte, work func([]byte) error) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReaderSize(c, 64<<10)
	var header [16]byte
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return
		}
		payload := make([]byte, binary.LittleEndian.Uint32(header[:])-16)
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		const opQuery, opReply, opMsg = 2004, 1, 2013
		legacy := binary.LittleEndian.Uint32(header[12:]) == opQuery
		name := "isMaster"
		out := make([]byte, 16, 512)
		copy(out[4:12], header[4:8])
		copy(out[8:12], header[4:8])
		if legacy {
			binary.LittleEndian.PutUint32(out[12:], opReply)
			out = append(out, make([]byte, 16)...)
			out = binary.LittleEndian.AppendUint32(out, 1)
		} else {
			name = firstKey(payload[5:])
			binary.LittleEndian.PutUint32(out[12:], opMsg)
			out = append(out, 0, 0, 0, 0, 0)
		}
		reply, found := replies[name]
		if !found {
			reply = ok
		}
		if work != nil && name == "insert" {
			if err := work(payload); err != nil {
				return
			}
		}
		out = append(out, reply...)
		binary.LittleEndian.PutUint32(out, uint32(len(out)))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// firstKey returns the name of the first element of a document.
func firstKey(doc []byte) string {
	name := doc[5:]
	for i, b := range name {
		if b == 0 {
			return string(name[:i])
		}
	}
	return ""
}
