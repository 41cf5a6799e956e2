// Package testenv starts the real parts that tests run on: the embedded
// document engine behind the genuine driver, a Redis, a vault with its key
// store and key management. Each call starts a part of its own that ends with
// the test, so tests share nothing and may run side by side.
package testenv

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/embedded/mongod"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Two tenants: nothing of the one is ever seen by the other.
const (
	One tenant.ID = "ten_aaaaaaaaaaaaaaaa"
	Two tenant.ID = "ten_bbbbbbbbbbbbbbbb"
)

// Mongo returns an empty data database with its indexes.
func Mongo(tb testing.TB) *mongo.DB {
	tb.Helper()
	return Data(tb, MongoURI(tb))
}

// Data opens the data database at uri and makes its indexes.
func Data(tb testing.TB, uri string) *mongo.DB {
	tb.Helper()
	db := Connect(tb, uri)
	if err := db.EnsureIndexes(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return db
}

// MongoURI starts a document engine and returns its connection string, for
// tests that connect several times or from several processes.
func MongoURI(tb testing.TB) string {
	tb.Helper()
	uri, _ := Engine(tb)
	return uri
}

// Engine is MongoURI for tests that look at the engine's counters.
func Engine(tb testing.TB) (uri string, engine *mongod.Server) {
	tb.Helper()
	engine, err := mongod.Open(mongod.Options{Dir: filepath.Join(tb.TempDir(), "engine"), Logger: Logger(tb), Now: Now})
	if err != nil {
		tb.Fatal(err)
	}
	l, err := mongod.Listen("unix:" + filepath.Join(socketDir(tb), "mongod.sock"))
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	served := make(chan error, 1)
	go func() { served <- engine.Serve(ctx, l) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			tb.Errorf("serve documents: %v", err)
		}
		if err := engine.Close(); err != nil {
			tb.Errorf("close document engine: %v", err)
		}
	})
	return mongod.URI(l), engine
}

// Connect opens the database at uri.
func Connect(tb testing.TB, uri string) *mongo.DB {
	tb.Helper()
	db, err := mongo.Open(tb.Context(), uri, "vogter")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("close database: %v", err)
		}
	})
	return db
}

// KeyStore returns an empty key store, on a document engine of its own.
func KeyStore(tb testing.TB) *mongo.KeyStore {
	tb.Helper()
	return mongo.NewKeyStore(Connect(tb, MongoURI(tb)))
}

// KMS returns a key management service without keys.
func KMS(tb testing.TB) kms.Wrapper {
	tb.Helper()
	k, err := localfile.Open(filepath.Join(tb.TempDir(), "masters.json"), Now)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// Vault returns a vault over an empty key store.
func Vault(tb testing.TB) *vault.Vault {
	tb.Helper()
	v, err := vault.New(vault.Config{Store: KeyStore(tb), KMS: KMS(tb), Now: Now})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// Changes returns what runs changes in db, with a recorder that writes reads
// until the test ends. The hasher is needed only by creates with an
// Idempotency-Key, and wake only by who must learn of new jobs: both may be nil.
func Changes(tb testing.TB, db *mongo.DB, v audit.Vault, h change.Hasher, wake func()) (*change.Runner, *audit.Recorder) {
	tb.Helper()
	recorder := audit.NewRecorder(db, v, Now)
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan error, 1)
	go func() { ended <- recorder.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("write reads: %v", err)
		}
	})
	if wake == nil {
		wake = func() {}
	}
	return change.NewRunner(db, recorder, h, Now, wake), recorder
}

// Authorizer returns the one by the platform's policies, which asks people for
// a second factor.
func Authorizer(tb testing.TB) *authz.Engine {
	tb.Helper()
	e, err := authz.New(authz.Config{Now: Now, StepUp: authz.AAL2})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// Logger returns a logger to the test's output.
func Logger(tb testing.TB) *slog.Logger {
	tb.Helper()
	return slog.New(slog.NewTextHandler(tb.Output(), nil))
}

// Now is the machine's clock.
func Now() time.Time {
	return time.Now() //nolint:forbidigo // the real parts run on the machine's clock, and the tests with them
}

// socketDir returns a folder whose path leaves room for a socket's name, of
// which the system takes some 100 bytes.
func socketDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "vgt") //nolint:usetesting // TempDir's path is too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("remove sockets: %v", err)
		}
	})
	return dir
}
