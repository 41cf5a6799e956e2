package mongod

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Error codes of MongoDB that this server uses, by their official names.
const (
	codeBadValue                  = 2
	codeFailedToParse             = 9
	codeTypeMismatch              = 14
	codeInvalidLength             = 16
	codeIllegalOperation          = 20
	codeNamespaceNotFound         = 26
	codeIndexNotFound             = 27
	codePathNotViable             = 28
	codeConflictingUpdate         = 40
	codeCursorNotFound            = 43
	codeNamespaceExists           = 48
	codeMaxTimeMSExpired          = 50
	codeDollarPrefixedFieldName   = 52
	codeNotSingleValueField       = 54
	codeEmptyFieldName            = 56
	codeCommandNotFound           = 59
	codeImmutableField            = 66
	codeCannotCreateIndex         = 67
	codeInvalidOptions            = 72
	codeInvalidNamespace          = 73
	codeIndexOptionsConflict      = 85
	codeIndexKeySpecsConflict     = 86
	codeUnsatisfiableWriteConcern = 100
	codeWriteConflict             = 112
	codeCommandNotSupported       = 115
	codeCommandFailed             = 125
	codeCannotBackfillArray       = 165
	codeParallelArrays            = 171
	codeTransactionTooOld         = 225
	codeSnapshotTooOld            = 239
	codeSnapshotUnavailable       = 246
	codeNoSuchTransaction         = 251
	codeTransactionCommitted      = 256
	codeNotInTransaction          = 263
	codeExceededMemoryLimit       = 292
	codeObjectTooLarge            = 10334
	codeOutOfDiskSpace            = 14031
	codeDuplicateKey              = 11000
	codePathCollision             = 31249
	codeMixedProjection           = 31254
	codeUnknownStage              = 40324
	codeUnknownField              = 40415
	codeInternal                  = 1
)

// commandError is an error in MongoDB's terms, as it is sent to the client.
type commandError struct {
	code   int32
	msg    string
	labels []string
	// keyPattern and keyValue are set on a duplicate key only.
	keyPattern, keyValue bsoncore.Document
}

func (e *commandError) Error() string { return e.msg }

// errorf makes a command error. The message names fields and options, never
// values: it may reach the product's logs.
func errorf(code int32, format string, args ...any) *commandError {
	return &commandError{code: code, msg: fmt.Sprintf(format, args...)}
}

// transient adds the label that makes a driver run the whole transaction again.
func transient(e *commandError) *commandError {
	e.labels = append(e.labels, "TransientTransactionError")
	return e
}

// writeConflict reports that another writer changed, or is changing, a key of
// this transaction.
func writeConflict() *commandError {
	return transient(errorf(codeWriteConflict, "write conflict: another operation changed the document; retry the transaction"))
}

// asCommandError turns any error into one that can be sent. Errors that are not
// MongoDB's own keep their text: it comes from the storage layer and holds no
// document values.
func asCommandError(err error) *commandError {
	if ce, ok := errors.AsType[*commandError](err); ok {
		return ce
	}
	return errorf(codeInternal, "%v", err)
}

func codeName(code int32) string {
	names := map[int32]string{
		codeBadValue:                  "BadValue",
		codeFailedToParse:             "FailedToParse",
		codeTypeMismatch:              "TypeMismatch",
		codeInvalidLength:             "InvalidLength",
		codeIllegalOperation:          "IllegalOperation",
		codeNamespaceNotFound:         "NamespaceNotFound",
		codeIndexNotFound:             "IndexNotFound",
		codePathNotViable:             "PathNotViable",
		codeConflictingUpdate:         "ConflictingUpdateOperators",
		codeCursorNotFound:            "CursorNotFound",
		codeNamespaceExists:           "NamespaceExists",
		codeMaxTimeMSExpired:          "MaxTimeMSExpired",
		codeDollarPrefixedFieldName:   "DollarPrefixedFieldName",
		codeNotSingleValueField:       "NotSingleValueField",
		codeEmptyFieldName:            "EmptyFieldName",
		codeCommandNotFound:           "CommandNotFound",
		codeImmutableField:            "ImmutableField",
		codeCannotCreateIndex:         "CannotCreateIndex",
		codeInvalidOptions:            "InvalidOptions",
		codeInvalidNamespace:          "InvalidNamespace",
		codeIndexOptionsConflict:      "IndexOptionsConflict",
		codeIndexKeySpecsConflict:     "IndexKeySpecsConflict",
		codeUnsatisfiableWriteConcern: "UnsatisfiableWriteConcern",
		codeWriteConflict:             "WriteConflict",
		codeCommandNotSupported:       "CommandNotSupported",
		codeCommandFailed:             "CommandFailed",
		codeCannotBackfillArray:       "CannotBackfillArray",
		codeParallelArrays:            "CannotIndexParallelArrays",
		codeTransactionTooOld:         "TransactionTooOld",
		codeSnapshotUnavailable:       "SnapshotUnavailable",
		codeNoSuchTransaction:         "NoSuchTransaction",
		codeTransactionCommitted:      "TransactionCommitted",
		codeNotInTransaction:          "OperationNotSupportedInTransaction",
		codeExceededMemoryLimit:       "QueryExceededMemoryLimitNoDiskUseAllowed",
		codeObjectTooLarge:            "BSONObjectTooLarge",
		codeDuplicateKey:              "DuplicateKey",
		codeOutOfDiskSpace:            "OutOfDiskSpace",
		codeInternal:                  "InternalError",
	}
	if name, ok := names[code]; ok {
		return name
	}
	return fmt.Sprintf("Location%d", code)
}
