// Package mongo keeps everything in MongoDB: it has every Store of the product
// and is the only importer of the driver.
//
// Each filter carries the tenant of the context; each query has an index
// (see collections). Personal data is sealed here, on its way in, and opened on
// its way out: the stored form of a domain type is a private struct in which
// sealed fields are []byte.
package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// ErrUnavailable reports that the database doesn't answer.
var ErrUnavailable = errs.New(errs.Unavailable, "the database doesn't answer just now; try again")

const (
	connectTimeout = 10 * time.Second
	poolSize       = 100
)

// DB is a connection to one database.
type DB struct {
	client *mongo.Client
	db     *mongo.Database
}

// Open connects to the database named in the URI, or to the default name when
// the URI has none. It waits until the server answers.
func Open(ctx context.Context, uri, defaultName string) (*DB, error) {
	opts := options.Client().ApplyURI(uri).
		SetAppName("vogter").
		SetReadConcern(readconcern.Majority()).
		SetWriteConcern(writeconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetMaxPoolSize(poolSize).
		SetServerSelectionTimeout(connectTimeout)
	if err := opts.Validate(); err != nil {
		// The driver's error may repeat the URI, and with it a password.
		return nil, errs.New(errs.Invalid, "not a MongoDB connection string")
	}
	client, err := mongo.Connect(opts)
	if err != nil {
		return nil, fmt.Errorf("connect to database: %w", err)
	}
	name, err := databaseName(uri, defaultName)
	if err != nil {
		return nil, err
	}
	d := &DB{client: client, db: client.Database(name)}
	if err := d.Ping(ctx); err != nil {
		return nil, errors.Join(err, d.Close(context.WithoutCancel(ctx)))
	}
	return d, nil
}

// Ping returns nil when the primary answers.
func (d *DB) Ping(ctx context.Context) error {
	if err := d.client.Ping(ctx, readpref.Primary()); err != nil {
		return ErrUnavailable.Because(err)
	}
	return nil
}

// Close ends the connection.
func (d *DB) Close(ctx context.Context) error { return d.client.Disconnect(ctx) }

// InTransaction implements change.Store.
func (d *DB) InTransaction(ctx context.Context, fn func(ctx context.Context) error) error {
	session, err := d.client.StartSession()
	if err != nil {
		return translate(err)
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		written := &notes{docs: map[noteKey]map[string]bool{}}
		err := fn(context.WithValue(ctx, notesKey{}, written))
		if err == nil && len(written.docs)+len(written.told) > 0 {
			err = errUntold
		}
		return nil, err
	},
		options.Transaction().SetReadConcern(readconcern.Snapshot()).SetWriteConcern(writeconcern.Majority()))
	return translate(err)
}

// outside returns ctx without the transaction it may carry, for reads of another
// database.
func outside(ctx context.Context) context.Context {
	if mongo.SessionFromContext(ctx) == nil {
		return ctx
	}
	return mongo.NewSessionContext(ctx, nil)
}

// translate gives the driver's errors of a missing server a kind; what the
// product's own code returned inside a transaction passes as it is.
func translate(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*errs.Error](err); ok {
		return err
	}
	if mongo.IsNetworkError(err) || mongo.IsTimeout(err) || errors.Is(err, mongo.ErrClientDisconnected) ||
		isServerSelection(err) || isTransient(err) {
		return ErrUnavailable.Because(err)
	}
	return err
}

// isTransient reports a write conflict that outlived the driver's retries.
func isTransient(err error) bool {
	var labelled mongo.LabeledError
	return errors.As(err, &labelled) && labelled.HasErrorLabel("TransientTransactionError")
}

// scoped returns the filter with the tenant of ctx in front.
func scoped(ctx context.Context, filter ...bson.E) (bson.D, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	return append(bson.D{{Key: "tenant", Value: of}}, filter...), nil
}

// all reads everything that a find returns into a slice.
func all[T any](ctx context.Context, c *mongo.Collection, filter bson.D, opts ...options.Lister[options.FindOptions]) ([]T, error) {
	cursor, err := c.Find(ctx, filter, opts...)
	if err != nil {
		return nil, translate(err)
	}
	docs := []T{}
	if err := cursor.All(ctx, &docs); err != nil {
		return nil, translate(err)
	}
	return docs, nil
}

// one returns the tenant's document that matches, or the error missing. What is
// looked for is named in other errors: "record".
func one[T any](ctx context.Context, c *mongo.Collection, what string, missing error, match ...bson.E) (doc T, err error) {
	filter, err := scoped(ctx, match...)
	if err != nil {
		return doc, err
	}
	err = c.FindOne(ctx, filter).Decode(&doc)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return doc, missing
	}
	if err != nil {
		return doc, fmt.Errorf("find %s: %w", what, translate(err))
	}
	return doc, nil
}
