package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/local"
)

// engine connects to the server of a part: local.PartData or local.PartKeys.
func (p *platform) engine(t *testing.T, part string) *mongo.Client {
	t.Helper()
	uri := p.stack.Env().Config.MongoDB
	if part == local.PartKeys {
		uri = p.stack.Env().Config.KeyStore
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	ctx := uncancelled(t)
	t.Cleanup(func() { _ = client.Disconnect(ctx) })
	return client
}

// documents hands the raw bytes of every document of a part to see, and returns
// how many there are.
func (p *platform) documents(t *testing.T, part string, see func(place string, raw []byte)) int {
	t.Helper()
	client, n := p.engine(t, part), 0
	names, err := client.ListDatabaseNames(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		db := client.Database(name)
		collections, err := db.ListCollectionNames(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for _, collection := range collections {
			p.mu.Lock()
			p.scans[part]++
			p.mu.Unlock()
			cursor, err := db.Collection(collection).Find(t.Context(), bson.D{})
			if err != nil {
				t.Fatal(err)
			}
			for cursor.Next(t.Context()) {
				see(name+"."+collection, cursor.Current)
				n++
			}
			if err := cursor.Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

// census is how many documents each collection of both stores holds, but for what
// the platform writes by itself.
func (p *platform) census(t *testing.T) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, part := range []string{local.PartData, local.PartKeys} {
		p.documents(t, part, func(place string, doc []byte) {
			if !background(t, place, doc) {
				n[place]++
			}
		})
	}
	return n
}

// background reports whether no call wrote a document, or one that was refused or
// only read: its entry in the audit log, what seals and checks that log, what
// the detectors make of it meanwhile, and the day on which the agreement's gate warned.
func background(t *testing.T, place string, doc []byte) bool {
	t.Helper()
	switch place {
	case "vogter.agreementStandings", "vogter.auditTiles", "vogter.auditCheckpoints", "vogter.auditHeadsAt", "vogter.auditVerifications", "vogter.leases",
		"vogter.securitySignals", "vogter.securityCursors", "vogter.securityNetworks":
		return true
	case "vogter.securityEvents":
		_, err := bson.Raw(doc).LookupErr("detector")
		return err == nil // of persons that report there is none
	case "vogter.audit":
		var entry struct {
			Actor    struct{ Kind string }
			Action   string
			Outcome  string
			Change   string
			Contents []any
		}
		if err := bson.Unmarshal(doc, &entry); err != nil {
			t.Fatal(err)
		}
		// Once a day the gate notes that it warned, whatever becomes of the call.
		return entry.Actor.Kind == "SYSTEM" || entry.Action == "agreement.uncovered" || entry.Outcome != "OK" || entry.Change == "" && len(entry.Contents) == 0
	default:
		return false
	}
}

// indexed fails the test if, while it ran, any query of the product read a whole
// collection or index.
func (p *platform) indexed(t *testing.T) {
	t.Helper()
	before := map[string]int64{}
	for _, part := range []string{local.PartData, local.PartKeys} {
		before[part] = p.fullScans(t, part)
	}
	t.Cleanup(func() {
		for part, n := range before {
			if n = p.fullScans(t, part) - n; n != 0 {
				t.Errorf("%d queries of the part %s had no index", n, part)
			}
		}
	})
}

// fullScans is how many queries of the product had no index since the start.
func (p *platform) fullScans(t *testing.T, part string) int64 {
	t.Helper()
	uri := p.stack.Env().Config.MongoDB
	if part == local.PartKeys {
		uri = p.stack.Env().Config.KeyStore
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	ctx := uncancelled(t)
	defer client.Disconnect(ctx) //nolint:errcheck // nothing is under way
	var status struct {
		Metrics struct {
			QueryExecutor struct {
				CollectionScans struct {
					Total int64 `bson:"total"`
				} `bson:"collectionScans"`
			} `bson:"queryExecutor"`
		} `bson:"metrics"`
	}
	if err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "serverStatus", Value: 1}}).Decode(&status); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return status.Metrics.QueryExecutor.CollectionScans.Total - p.scans[part]
}

// redis connects to the queue's server.
func (p *platform) redis(t *testing.T) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(p.stack.Env().Config.Redis.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// bucket connects to the object storage.
func (p *platform) bucket(t *testing.T) (client *minio.Client, bucket string) {
	t.Helper()
	c := p.stack.Env().Config.S3
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no CA")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	client, err = minio.New(strings.TrimPrefix(c.Endpoint, "https://"), &minio.Options{
		Creds:  credentials.NewStaticV4(c.AccessKey.Reveal(), c.SecretKey.Reveal(), ""),
		Secure: true, Region: c.Region, Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client, c.Bucket
}

// objects lists all versions of the objects whose key begins so.
func (p *platform) objects(t *testing.T, prefix string) []minio.ObjectInfo {
	t.Helper()
	client, bucket := p.bucket(t)
	var all []minio.ObjectInfo
	for o := range client.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		all = append(all, o)
	}
	return all
}

// object opens one version of an object.
func (p *platform) object(t *testing.T, o minio.ObjectInfo) io.ReadCloser {
	t.Helper()
	client, bucket := p.bucket(t)
	r, err := client.GetObject(t.Context(), bucket, o.Key, minio.GetObjectOptions{VersionID: o.VersionID})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// memory is the resident memory of a part, in MiB.
func (p *platform) memory(t *testing.T, part string) int {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.stack.PID(part)) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatal("the kernel doesn't tell the memory")
	return 0
}
