package graph_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gql "github.com/vektah/gqlparser/v2"
	gqlast "github.com/vektah/gqlparser/v2/ast"
	"go.yaml.in/yaml/v3"

	"github.com/vogter/vogter/schema"
)

func load(t *testing.T) *gqlast.Schema {
	t.Helper()
	sdl, err := schema.SDL()
	if err != nil {
		t.Fatal(err)
	}
	s, err := gql.LoadSchema(&gqlast.Source{Input: sdl})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEveryRootFieldIsGuarded walks the schema: a field that nobody thought
// about is a hole.
func TestEveryRootFieldIsGuarded(t *testing.T) {
	s := load(t)
	for _, root := range []*gqlast.Definition{s.Query, s.Mutation, s.Subscription} {
		for _, f := range root.Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			can, public := f.Directives.ForName("can") != nil, f.Directives.ForName("public") != nil
			if can == public {
				t.Errorf("%s.%s has to have one of @can and @public", root.Name, f.Name)
			}
			if public && !slices.Contains([]string{"viewer", "acceptInvitation", "permissions", "can", "explainDecision", "requestSubjectCode", "signInSubject", "signInSubjectWithIdentity", "vocabulary", "currentNotice"}, f.Name) {
				t.Errorf("%s.%s is public: is it meant to be?", root.Name, f.Name)
			}
			idempotent := f.Directives.ForName("idempotent") != nil
			if idempotent && !can {
				t.Errorf("%s.%s is idempotent for nobody", root.Name, f.Name)
			}
			creates := slices.ContainsFunc([]string{"create", "write", "start", "request", "invite", "enter", "propose", "export", "record", "open", "prepare", "addSecurityEventActivity", "giveConsent", "refuse", "defer", "renew", "answerConsents", "answerMyConsents", "invalidate", "revisePurpose", "reviseNotice", "place", "rotateDataKeys"}, func(verb string) bool {
				return strings.HasPrefix(f.Name, verb)
			})
			if root == s.Mutation && (creates && can) != idempotent {
				t.Errorf("Mutation.%s: creates %t, is idempotent %t", f.Name, creates, idempotent)
			}
		}
	}
}

// TestPathsToPersonalDataAreGuarded: an object that is reached from another one
// asks for the permission of its own kind.
func TestPathsToPersonalDataAreGuarded(t *testing.T) {
	s := load(t)
	guarded := map[string]string{"Subject": "SUBJECT_READ", "SubjectConnection": "SUBJECT_READ", "Record": "RECORD_READ", "RecordConnection": "RECORD_READ"}
	for _, def := range s.Types {
		wrapper := strings.HasSuffix(def.Name, "Payload") || strings.HasSuffix(def.Name, "Connection") || strings.HasSuffix(def.Name, "Edge")
		if def.Kind != gqlast.Object || wrapper || def == s.Query || def == s.Mutation || def == s.Subscription {
			continue
		}
		for _, f := range def.Fields {
			want, ok := guarded[f.Type.Name()]
			if !ok {
				continue
			}
			can := f.Directives.ForName("can")
			if can == nil || can.Arguments.ForName("do").Value.Raw != want {
				t.Errorf("%s.%s has no @can(do: %s)", def.Name, f.Name, want)
			}
		}
	}
}

// TestInputsAndPayloads: each mutation has one input, and a payload of its own.
func TestInputsAndPayloads(t *testing.T) {
	for _, f := range load(t).Mutation.Fields {
		name := strings.ToUpper(f.Name[:1]) + f.Name[1:]
		if len(f.Arguments) != 1 || f.Arguments[0].Name != "input" || f.Arguments[0].Type.String() != name+"Input!" ||
			f.Type.String() != name+"Payload!" {
			t.Errorf("%s is not %s(input: %sInput!): %sPayload!", f.Name, f.Name, name, name)
		}
	}
}

// TestPersonalFieldsAreMarked: names that hold personal data wherever they occur.
func TestPersonalFieldsAreMarked(t *testing.T) {
	for _, def := range load(t).Types {
		for _, f := range def.Fields {
			if slices.Contains([]string{"emails", "phones", "birthDate", "email", "phone", "nationalIds"}, f.Name) &&
				!slices.Contains([]string{"DpoContact", "NoticeParty", "Letterhead", "LetterheadAuthority"}, def.Name) && def.Kind == gqlast.Object && f.Directives.ForName("personal") == nil {
				t.Errorf("%s.%s is not marked @personal", def.Name, f.Name)
			}
		}
	}
}

// TestGeneratedModels: a generated type that is neither input nor payload
// shadows one of the domain.
func TestGeneratedModels(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "model/models.generated.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, s := range g.Specs {
			spec, ok := s.(*ast.TypeSpec)
			if ok && !strings.HasSuffix(spec.Name.Name, "Payload") {
				t.Errorf("%s is generated: bind it in gqlgen.yml", spec.Name.Name)
			}
		}
	}
}

// TestEnums compares the values of each enum with the constants of its Go type.
func TestEnums(t *testing.T) {
	b, err := os.ReadFile("../gqlgen.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Autobind []string
		Models   map[string]struct{ Model []string }
	}
	if err := yaml.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	internal := map[string][]string{ // what nobody sees
		"file.State": {"REMOVING"}, "retention.Trigger": {"PERSON_ERASED"},
	}
	for _, def := range load(t).Types {
		if def.Kind != gqlast.Enum || def.BuiltIn {
			continue
		}
		var goType string
		var constants []string
		if m := config.Models[def.Name].Model; len(m) == 1 {
			goType = m[0]
			constants = constantsOf(t, goType)
		} else {
			for _, pkg := range config.Autobind {
				if c := constantsOf(t, pkg+"."+def.Name); c != nil {
					goType, constants = pkg+"."+def.Name, c
				}
			}
		}
		if constants == nil {
			t.Errorf("enum %s is bound to no Go type with constants", def.Name)
			continue
		}
		values := slices.Clone(internal[path.Base(goType)])
		for _, v := range def.EnumValues {
			values = append(values, v.Name)
		}
		slices.Sort(values)
		slices.Sort(constants)
		if !slices.Equal(values, constants) {
			t.Errorf("enum %s has %v, %s has %v", def.Name, values, path.Base(goType), constants)
		}
	}
}

// constantsOf returns the values of a named string type's constants.
func constantsOf(t *testing.T, goType string) []string {
	t.Helper()
	dir, name := filepath.Split(strings.TrimPrefix(goType, "github.com/vogter/vogter/"))
	pkg, name, _ := strings.Cut(name, ".")
	files, err := filepath.Glob(filepath.Join("..", dir, pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				spec, ok := s.(*ast.ValueSpec)
				if !ok {
					continue
				}
				typed, ok := spec.Type.(*ast.Ident)
				if !ok || typed.Name != name {
					continue
				}
				for _, v := range spec.Values {
					lit, ok := v.(*ast.BasicLit)
					if !ok {
						continue
					}
					s, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, s)
				}
			}
		}
	}
	return values
}
