package mongo

import (
	"errors"

	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/vogter/vogter/internal/errs"
)

// databaseName returns the database that a connection string names, or def.
func databaseName(uri, def string) (string, error) {
	cs, err := connstring.Parse(uri)
	if err != nil {
		return "", errs.New(errs.Invalid, "not a MongoDB connection string")
	}
	if cs.Database == "" {
		return def, nil
	}
	return cs.Database, nil
}

func isServerSelection(err error) bool {
	_, ok := errors.AsType[topology.ServerSelectionError](err)
	return ok
}
