package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/reqlog"
	"github.com/vogter/vogter/internal/server"
)

// presenter returns the only place where an error becomes a GraphQL error. What
// it shows is written by us: the messages of the parser and of the executor
// repeat what a caller sent.
func presenter(log *slog.Logger) graphql.ErrorPresenterFunc {
	return func(ctx context.Context, err error) *gqlerror.Error {
		if g, ok := errors.AsType[*gqlerror.Error](err); ok {
			if g.Err == nil {
				if e := protocolError(g); e != nil {
					return present(ctx, e, nil, g.Locations)
				}
			}
			path, field := split(ctx, g.Path)
			return present(ctx, atInput(domainError(ctx, log, err), field), path, g.Locations)
		}
		path, field := split(ctx, graphql.GetPath(ctx))
		return present(ctx, atInput(domainError(ctx, log, err), field), path, nil)
	}
}

// domainError returns what of err may be shown: an *errs.Error, unless it is a
// fault of ours, which is logged and stays opaque.
func domainError(ctx context.Context, log *slog.Logger, err error) *errs.Error {
	e, ok := errors.AsType[*errs.Error](err)
	request := audit.RequestFrom(ctx).ID
	switch {
	case ok && e.Kind == errs.Unavailable:
		log.WarnContext(ctx, "graphql field is unavailable", "request_id", request, "err", err)
		return e
	case ok && e.Kind != errs.Internal:
		return e
	case ctx.Err() == nil: // else the caller has hung up
		log.ErrorContext(ctx, "graphql field failed", "request_id", request, "field", fieldOf(ctx), "err", err)
	}
	return errs.New(errs.Internal, "internal error")
}

// fieldOf names the field that is being answered by its type and name; its
// alias is the caller's to choose.
func fieldOf(ctx context.Context) string {
	fc := graphql.GetFieldContext(ctx)
	if fc == nil || fc.Field.Field == nil {
		return ""
	}
	return fc.Object + "." + fc.Field.Name
}

// atInput puts the place in the input, if there is one, in front of e's own.
func atInput(e *errs.Error, field string) *errs.Error {
	if field == "" || e.Kind == errs.Internal {
		return e
	}
	return e.At(field)
}

// failure returns the answer to a call that was not carried out, or may not be
// answered.
func failure(ctx context.Context, e *errs.Error) *graphql.Response {
	return &graphql.Response{Errors: gqlerror.List{present(ctx, e, nil, nil)}}
}

// refuse hands err to the executor, which gives it to the presenter.
func refuse(err error) *gqlerror.Error { return gqlerror.Wrap(err) }

// present makes the GraphQL error.
func present(ctx context.Context, e *errs.Error, path ast.Path, at []gqlerror.Location) *gqlerror.Error {
	reqlog.Code(ctx, e.Kind)
	out := &gqlerror.Error{Message: e.Message, Path: path, Locations: at, Extensions: map[string]any{"code": string(e.Kind)}}
	if e.Field != "" {
		out.Extensions["field"] = e.Field
	}
	if e.Rule != "" {
		out.Extensions["rule"] = e.Rule
	}
	if id := audit.RequestFrom(ctx).ID; id != "" {
		out.Extensions["requestId"] = id
	}
	return out
}

// split cuts a path into that of the field in the answer and that within its
// input: ["createSubject"] and "name.given". The one argument of a mutation goes
// without saying.
func split(ctx context.Context, path ast.Path) (answer ast.Path, input string) {
	fc := graphql.GetFieldContext(ctx)
	if fc == nil {
		return path, ""
	}
	answer = fc.Path()
	if len(path) <= len(answer) {
		return path, ""
	}
	return answer, inputField(path[len(answer):])
}

// inputField writes a path within the input as the services do: "fields.3.value".
// What is no name isn't repeated: it is a key that the caller made up.
func inputField(path ast.Path) string {
	if len(path) > 0 && path[0] == ast.PathName("input") {
		path = path[1:]
	}
	name := regexp.MustCompile(`^[_A-Za-z][_0-9A-Za-z]{0,63}$`)
	parts := make([]string, 0, len(path))
	for _, p := range path {
		switch p := p.(type) {
		case ast.PathName:
			if !name.MatchString(string(p)) {
				return strings.Join(parts, ".")
			}
			parts = append(parts, string(p))
		case ast.PathIndex:
			parts = append(parts, strconv.Itoa(int(p)))
		}
	}
	return strings.Join(parts, ".")
}

// protocolError returns what is shown of an error in the document or in its
// variables, nil if g is no such error.
func protocolError(g *gqlerror.Error) *errs.Error {
	code, _ := g.Extensions["code"].(string)
	switch {
	case code == errcode.ParseFailed && strings.HasPrefix(g.Message, "exceeded token limit"):
		return errs.New(errs.Limited, "the document is too long: at most %d words and signs; send values as variables", maxTokens)
	case code == errcode.ParseFailed && strings.HasPrefix(g.Message, "exceeded maximum nesting depth"):
		return ErrDepth
	case code == errcode.ParseFailed:
		return errs.New(errs.Invalid, "the document is not GraphQL: see locations")
	case code != errcode.ValidationFailed:
		return nil
	case g.Rule != "":
		return ruleError(g)
	case len(g.Path) > 0 && g.Path[0] == ast.PathName("variable"):
		return variableError(g)
	case strings.HasPrefix(g.Message, "no operation"):
		return errs.New(errs.Invalid, "the document has no operation")
	default:
		return errs.New(errs.Invalid, "the document has no operation of the name in operationName, or has several and none was named")
	}
}

// ruleError is of a document that breaks a rule of the specification. The
// messages of most rules repeat names of the document only; names are no values.
func ruleError(g *gqlerror.Error) *errs.Error {
	if slices.Contains([]string{
		"FieldsOnCorrectTypeWithoutSuggestions", "FieldsOnCorrectType", "FragmentsOnCompositeTypes",
		"KnownArgumentNamesWithoutSuggestions", "KnownArgumentNames", "KnownDirectives", "KnownFragmentNames", "KnownRootType",
		"KnownTypeNamesWithoutSuggestions", "KnownTypeNames", "LoneAnonymousOperation", "NoFragmentCycles", "NoUndefinedVariables",
		"NoUnusedFragments", "NoUnusedVariables", "PossibleFragmentSpreads", "ProvidedRequiredArguments", "ScalarLeafs",
		"ScalarLeafsWithoutSuggestions", "SingleFieldSubscriptions", "UniqueArgumentNames", "UniqueDirectivesPerLocation",
		"UniqueFragmentNames", "UniqueInputFieldNames", "UniqueOperationNames", "UniqueVariableNames", "VariablesAreInputTypes",
		"VariablesInAllowedPosition",
	}, g.Rule) {
		return errs.New(errs.Invalid, "%s", g.Message)
	}
	if strings.HasPrefix(g.Rule, "ValuesOfCorrectType") {
		// Its message quotes the value, which a document should not hold.
		return errs.New(errs.Invalid, "a value in the document doesn't fit its type, or has an unknown or lacks a required field: see locations and the schema")
	}
	return errs.New(errs.Invalid, "the document breaks the rule %s of the GraphQL specification", g.Rule)
}

// variableError is of a variable that doesn't fit its type.
func variableError(g *gqlerror.Error) *errs.Error {
	// The path begins with "variable" and the variable's name; that of a mutation
	// is by custom its argument's.
	e := errs.New(errs.Invalid, "this value doesn't fit its type")
	switch m := g.Message; {
	case m == "must be defined", m == "cannot be null":
		e.Message = "this is required"
	case m == "unknown field":
		e.Message = "the input has no such field"
	case strings.Contains(m, " is not a valid "):
		e.Message = "this takes one of the values of " + m[strings.LastIndex(m, " ")+1:]
	}
	if field := inputField(g.Path[1:]); field != "" {
		return e.At(field)
	}
	return e
}

// recoverer returns what a panic in a resolver becomes. The panic's value may be
// anything and is not logged.
func recoverer(log *slog.Logger) graphql.RecoverFunc {
	return func(ctx context.Context, p any) error {
		log.ErrorContext(ctx, "graphql field panicked", "request_id", audit.RequestFrom(ctx).ID, "field", fieldOf(ctx),
			"type", fmt.Sprintf("%T", p), "stack", server.Stack())
		return errPanic
	}
}

var errPanic = errs.New(errs.Internal, "a field panicked")
