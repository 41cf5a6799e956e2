package graph

import (
	"context"
	"reflect"
	"strconv"

	"github.com/99designs/gqlgen/complexity"
	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/core"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/vogter/vogter/graph/generated"
	"github.com/vogter/vogter/internal/assessment"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/vocabulary"
	"github.com/vogter/vogter/internal/webhook"
)

// Limits of one call.
const (
	maxBody       = 2 << 20 // bytes
	maxTokens     = 5_000   // of the document
	maxFields     = 500     // as written: validation compares each with each
	maxDepth      = 15      // of fields within fields
	maxAliases    = 100     // with those of fragments, as often as they are used
	maxComplexity = 20_000  // fields, times the size of their pages
	countCost     = 50      // of totalCount, in fields
)

// Sentinels of documents that ask for too much.
var (
	ErrDepth         = errs.New(errs.Limited, "fields are nested more than %d deep", maxDepth)
	ErrFields        = errs.New(errs.Limited, "the document has more than %d fields", maxFields)
	ErrAliases       = errs.New(errs.Limited, "the document has more than %d aliases", maxAliases)
	ErrComplexity    = errs.New(errs.Limited, "the document asks for too much at once: at most %d fields, those of a page counted for each of its objects", maxComplexity)
	ErrDefer         = errs.New(errs.Invalid, "@defer is not supported")
	ErrIntrospection = errs.New(errs.Invalid, "introspection is off: GET /schema.graphql has the schema")
	ErrDocument      = errs.New(errs.Invalid, "the text isn't a document that the schema allows")
	ErrNumber        = errs.New(errs.Invalid, "a number in the document is out of range")
	ErrEnum          = errs.New(errs.Invalid, "this takes one of the values that the schema lists, in capitals")
)

// limits is the executor's extension that refuses an operation before anything
// of it is answered.
type limits struct {
	introspection bool
	known         documents
	es            graphql.ExecutableSchema
}

var _ interface {
	graphql.HandlerExtension
	graphql.OperationParameterMutator
	graphql.OperationContextMutator
} = (*limits)(nil)

// ExtensionName implements graphql.HandlerExtension.
func (*limits) ExtensionName() string { return "Limits" }

// Validate implements graphql.HandlerExtension.
func (l *limits) Validate(es graphql.ExecutableSchema) error {
	l.es = es
	return nil
}

// MutateOperationParameters implements graphql.OperationParameterMutator: it
// refuses a document that would take long to validate.
func (l *limits) MutateOperationParameters(ctx context.Context, p *graphql.RawParams) *gqlerror.Error {
	if _, ok := l.known.Get(ctx, p.Query); ok {
		return nil
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: p.Query}, maxTokens)
	if err != nil {
		return nil //nolint:nilerr // the executor finds the same fault, and says where it is
	}
	if tooMany(doc) {
		return refuse(ErrFields)
	}
	return nil
}

// tooMany reports whether a document has more fields than it may.
func tooMany(doc *ast.QueryDocument) bool {
	fields := 0
	for _, op := range doc.Operations {
		fields += written(op.SelectionSet)
	}
	for _, f := range doc.Fragments {
		fields += written(f.SelectionSet)
	}
	return fields > maxFields
}

// written counts the fields and fragments of a selection, as they are written.
func written(set ast.SelectionSet) int {
	n := len(set)
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			n += written(s.SelectionSet)
		case *ast.InlineFragment:
			n += written(s.SelectionSet)
		}
	}
	return n
}

// MutateOperationContext implements graphql.OperationContextMutator.
func (l *limits) MutateOperationContext(ctx context.Context, op *graphql.OperationContext) *gqlerror.Error {
	op.DisableIntrospection = !l.introspection
	w := walk{introspection: l.introspection}
	err := w.selections(op.Operation.SelectionSet, 1)
	if err == nil {
		err = l.exactEnums(op)
	}
	if err == nil {
		n := complexity.Calculate(ctx, l.es, op.Operation, op.Variables)
		op.Stats.SetExtension(l.ExtensionName(), n)
		if n > maxComplexity {
			err = ErrComplexity
		}
	}
	if err != nil {
		return refuse(err)
	}
	return nil
}

// points is what an operation that may be carried out costs, in fields.
func points(op *graphql.OperationContext) int {
	n, _ := op.Stats.GetExtension((*limits)(nil).ExtensionName()).(int)
	return n
}

// walk counts what an operation asks for. It ends: validation has refused
// fragments that hold themselves, and the count of aliases and fields bounds
// those that are used again and again.
type walk struct {
	introspection   bool
	aliases, fields int
}

func (w *walk) selections(set ast.SelectionSet, depth int) error {
	for _, s := range set {
		var err error
		switch s := s.(type) {
		case *ast.Field:
			err = w.field(s, depth)
		case *ast.InlineFragment:
			err = w.fragment(s.Directives, s.SelectionSet, depth)
		case *ast.FragmentSpread:
			err = w.fragment(s.Directives, s.Definition.SelectionSet, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) fragment(directives ast.DirectiveList, set ast.SelectionSet, depth int) error {
	if directives.ForName("defer") != nil {
		return ErrDefer
	}
	if w.fields++; w.fields > maxComplexity {
		return ErrAliases
	}
	return w.selections(set, depth)
}

func (w *walk) field(f *ast.Field, depth int) error {
	if f.Alias != f.Name {
		w.aliases++
	}
	w.fields++
	switch {
	case depth > maxDepth:
		return ErrDepth
	case w.aliases > maxAliases || w.fields > maxComplexity:
		return ErrAliases
	case f.Name == "__schema" || f.Name == "__type":
		if !w.introspection {
			return ErrIntrospection
		}
		return nil // a rule of validation bounds its depth
	}
	for _, a := range f.Arguments {
		if err := numbers(a.Value); err != nil {
			return err
		}
	}
	return w.selections(f.SelectionSet, depth+1)
}

// numbers refuses what the executor would choke on.
func numbers(v *ast.Value) error {
	var err error
	switch v.Kind {
	case ast.IntValue:
		_, err = strconv.ParseInt(v.Raw, 10, 64)
	case ast.FloatValue:
		_, err = strconv.ParseFloat(v.Raw, 64)
	default:
	}
	if err != nil {
		return ErrNumber
	}
	for _, c := range v.Children {
		if err := numbers(c.Value); err != nil {
			return err
		}
	}
	return nil
}

// exactEnums refuses values of enums in another case, which validation of
// variables lets pass, and nobody behind it would know.
func (l *limits) exactEnums(op *graphql.OperationContext) error {
	for _, v := range op.Operation.VariableDefinitions {
		if err := l.exact(v.Type, op.Variables[v.Variable]); err != nil {
			if v.Variable == "input" { // it goes without saying, as everywhere
				return err
			}
			return errs.At(err, v.Variable)
		}
	}
	return nil
}

func (l *limits) exact(t *ast.Type, v any) error {
	if v == nil {
		return nil
	}
	if t.Elem != nil {
		list := reflect.ValueOf(v)
		if list.Kind() != reflect.Slice {
			return l.exact(t.Elem, v) // one value stands for a list of one
		}
		for i := range list.Len() {
			if err := l.exact(t.Elem, list.Index(i).Interface()); err != nil {
				return errs.At(err, strconv.Itoa(i))
			}
		}
		return nil
	}
	switch def := l.es.Schema().Types[t.NamedType]; def.Kind {
	case ast.Enum:
		if s, ok := v.(string); !ok || def.EnumValues.ForName(s) == nil {
			return ErrEnum
		}
	case ast.InputObject:
		fields, ok := v.(map[string]any)
		if !ok {
			return nil // validation has seen to it
		}
		for _, f := range def.Fields {
			if err := l.exact(f.Type, fields[f.Name]); err != nil {
				return errs.At(err, f.Name)
			}
		}
	default:
	}
	return nil
}

// historyCost is what an entry of an event's history costs, of which few have many.
const historyCost = 10

// costs returns what the fields cost that are more than one field: a page
// costs as much as all of its objects.
func costs() generated.ComplexityRoot {
	var c generated.ComplexityRoot
	paged := func(child, first int) int { return 1 + child*min(max(first, 1), page.Max) }
	c.Query.Subjects = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.Members = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.OperatorAccess = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.Documents = func(child int) int { return 1 + child*page.Max }
	c.Query.FindSubjects = func(child int, _ subject.By, first int, _ *string) int { return paged(child, first) }
	c.Query.FindRecords = func(child int, _ record.By, first int, _ *string) int { return paged(child, first) }
	c.Query.TenantPolicies = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.KeyRotations = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.VaultErasures = func(child, first int, _ *string) int { return paged(child, first) }
	c.Subject.Records = func(child, first int, _, _ *string) int { return paged(child, first) }
	c.Dataset.Records = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.Changes = func(child int, _ *string, first int) int { return paged(child, first) }
	c.Query.Deliveries = func(child int, _ string, _ *webhook.DeliveryState, first int, _ *string) int {
		return paged(child, first)
	}
	c.Query.AuditLog = func(child int, _ *trail.Filter, first int, _ *string) int { return paged(child, first) }
	c.Query.SecurityEvents = func(child int, _ *security.Filter, first int, _ *string) int { return paged(child, first) }
	c.SecurityEvent.Activities = func(child int) int { return historyCost * (1 + child) } // a list of its own, of up to 200
	c.Query.Vocabulary = func(child int, _ *vocabulary.Kind) int { return 1 + child*page.Max }
	c.Query.StandardLetters = func(child int) int { return 1 + child*page.Max }
	c.Query.LetterTemplates = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.ConsentHistory = func(child int, _ string, _ *string, first int, _ *string) int { return paged(child, first) }
	c.Query.Consents = func(child int, _, _ *string, _ *consent.State, first int, _ *string) int { return paged(child, first) }
	c.Query.ErasureChecks = func(child int, _ consent.CheckState, first int, _ *string) int { return paged(child, first) }
	c.Query.MyConsentHistory = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.Purposes = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.Notices = func(child int, _ *string, first int, _ *string) int { return paged(child, first) }
	c.Query.Requests = func(child int, _ *request.Filter, first int, _ *string) int { return paged(child, first) }
	c.Query.RecipientNotices = func(child int, _ string, first int, _ *string) int { return paged(child, first) }
	c.Query.MyRecipientNotices = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.RecipientEndpoints = func(child int) int { return historyCost * (1 + child) }
	c.Query.TaskTemplates = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.Tasks = func(child int, _ string, _ *task.State, first int, _ *string) int { return paged(child, first) }
	c.Query.MyTasks = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.MyRequests = func(child, first int, _ *string) int { return paged(child, first) }
	c.Request.Events = func(child, first int, _ *string) int { return paged(child, first) }
	c.Request.Letters = func(child int) int { return historyCost * (1 + child) } // a list of its own, of few mostly
	c.MyRequest.Letters = func(child int) int { return historyCost * (1 + child) }
	c.MyRequest.Events = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.RetentionRules = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.RetentionTemplates = func(child int) int { return 1 + child*page.Max }
	c.Query.Holds = func(child int, _ *retention.HoldState, first int, _ *string) int { return paged(child, first) }
	c.Query.RetentionDue = func(child int, _ *civil.Date, first int, _ *string) int { return paged(child, first) }
	c.Query.RetentionOf = func(child int, _ string, _ bool) int { return 1 + child*page.Max }
	c.Query.RetentionRuns = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.HolidayCalendar = func(child, _ int) int { return 1 + child*page.Max }
	c.Query.SelfAccessLog = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.Parties = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.DataSystems = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.ProcessingActivities = func(child int, _ *processing.State, _ *processing.Hat, first int, _ *string) int {
		return paged(child, first)
	}
	c.ProcessingActivity.Revisions = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.Registers = func(child, first int, _ *string) int { return paged(child, first) }
	c.Query.ProcessingDrift = func(child int, _ *string) int { return paged(child, page.Max) }
	c.Query.DataMap = func(child int, _ *string, _ bool) int { return paged(child, page.Max) }
	c.Query.Agreements = func(child int, first int, _ *string) int { return paged(child, first) }
	c.Query.Instructions = func(child int, _ *string, first int, _ *string) int { return paged(child, first) }
	c.Query.AgreementVersions = func(child int, _ string) int { return paged(child, page.Max) }
	c.Query.AgreementEvents = func(child int, _ string) int { return paged(child, page.Max) }
	c.Query.SecurityMeasures = func(child int, _ *measure.Status, first int, _ *string) int { return paged(child, first) }
	c.Query.Assessments = func(child int, _ *assessment.Kind, _ *assessment.State, _ *string, first int, _ *string) int {
		return paged(child, first)
	}
	c.Assessment.Versions = func(child int) int { return historyCost * (1 + child) } // a list of its own, of few mostly
	c.Query.Disclosures = func(child int, _ string, first int, _ *string) int { return paged(child, first) }
	c.Query.MyRecipients = func(child, first int, _ *string) int { return paged(child, first) }
	counted := func(int) int { return countCost }
	c.SubjectConnection.TotalCount, c.RecordConnection.TotalCount = counted, counted
	c.ConsentReceipt.Chain = counted // a signature for each
	return c
}

// CheckDocument fails unless a text could be carried out, given its variables:
// what it costs is known only with them.
func CheckDocument(text string) error {
	es := generated.NewExecutableSchema(generated.Config{})
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, maxTokens)
	if err != nil {
		return ErrDocument
	}
	if tooMany(doc) {
		return ErrFields
	}
	if len(validator.ValidateWithRules(es.Schema(), doc, validationRules())) > 0 || len(doc.Operations) == 0 {
		return ErrDocument
	}
	for _, op := range doc.Operations {
		var w walk
		if err := w.selections(op.SelectionSet, 1); err != nil {
			return err
		}
	}
	return nil
}

// validationRules returns the rules of the specification, in the forms that
// don't tell what the schema has instead of what was asked for.
func validationRules() *rules.Rules {
	r := rules.NewDefaultRules()
	for _, quiet := range []struct {
		name string
		rule core.Rule
	}{
		{"FieldsOnCorrectType", rules.FieldsOnCorrectTypeRuleWithoutSuggestions},
		{"KnownArgumentNames", rules.KnownArgumentNamesRuleWithoutSuggestions},
		{"KnownTypeNames", rules.KnownTypeNamesRuleWithoutSuggestions},
		{"ScalarLeafs", rules.ScalarLeafsRuleWithoutSuggestions},
		{"ValuesOfCorrectType", rules.ValuesOfCorrectTypeRuleWithoutSuggestions},
	} {
		r.RemoveRule(quiet.name)
		r.AddRule(quiet.rule.Name, quiet.rule.RuleFunc)
	}
	return r
}
