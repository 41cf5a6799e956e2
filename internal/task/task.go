// Package task has people do what a request asks for in systems outside the
// platform: by the tenant's own templates, or made for one request.
//
// A Template belongs to a right. When work on a request begins, each of its items
// gets a Task by every active template of its right. A task that comes before holds
// up the approval, one that comes after holds up the answer, and one beside holds
// up nothing (package request, Stage). Who does it fills in its form, attaches
// documents if it asks for them, and completes it.
//
// What staff write in a task is about a person: it is sealed under the request's
// own key, and goes with it.
package task

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
)

// Limits.
const (
	MaxTemplates = 200 // active ones of a tenant
	MaxTasks     = 200 // of a request
	maxName      = 200
	maxText      = 10_000
	maxFields    = 50
	maxOptions   = 100
	maxFiles     = 20
	maxComments  = 200
	maxKey       = 50
)

// FieldType is what a field of a form takes.
type FieldType string

// The types.
const (
	TextField   FieldType = "TEXT"
	NumberField FieldType = "NUMBER"
	DateField   FieldType = "DATE" // YYYY-MM-DD
	YesNoField  FieldType = "YES_NO"
	ChoiceField FieldType = "CHOICE"
)

// Field is a field of a form.
type Field struct {
	Key      string
	Label    string
	Type     FieldType
	Required bool
	Options  []string // of a choice
}

// Form is what a task says and asks for.
type Form struct {
	Name         string
	Instructions string
	Stage        request.Stage
	Fields       []Field
	// Attachment is whether a document must be attached.
	Attachment bool
}

// TemplateState is where a template stands.
type TemplateState string

// The states.
const (
	Active  TemplateState = "ACTIVE"
	Retired TemplateState = "RETIRED" // no more tasks are made by it
)

// Template is what tasks are made by. It names no person.
type Template struct {
	ID    string
	Right request.Type
	Form
	State     TemplateState
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// State is where a task stands.
type State string

// The states.
const (
	Open      State = "OPEN"
	Completed State = "DONE"
	Cancelled State = "CANCELLED" // its request went no further, or what it was for was done otherwise
)

// Task is one thing that people do for one item of a request.
type Task struct {
	ID          string
	Request     string
	Number      string // of the request
	Item        string
	Subject     string
	Template    string     // "" of one that was made for the request
	Notice      string     // id of what a recipient is to be told: that is completed by sending it
	Form        `json:"-"` // as it was when the task was made
	State       State
	AssignedTo  string
	CreatedBy   string
	CompletedBy string
	CompletedAt *time.Time
	Answers     []Answer      `json:"-"`
	Note        personal.Text `json:"-"`
	Files       []string      // ids
	Comments    []Comment     `json:"-"`
	CreatedAt   time.Time
	Version     int64
	Gone        bool // the request's time is over: no more is left than that it was
}

// Answer is what was filled in for a field.
type Answer struct {
	Key   string
	Value personal.Text
}

// Comment is what somebody had to say.
type Comment struct {
	By   string
	At   time.Time
	Text personal.Text
}

// The optional parts, as the API shows them.

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Assignee returns who does it.
func (t *Task) Assignee() *string { return optional(t.AssignedTo) }

// TemplateID returns the template.
func (t *Task) TemplateID() *string { return optional(t.Template) }

// NoticeID returns the notice that it is about.
func (t *Task) NoticeID() *string { return optional(t.Notice) }

// Completer returns who completed it.
func (t *Task) Completer() *string { return optional(t.CompletedBy) }

// Connection is a page of tasks, the newest first.
type Connection = page.Connection[*Task]

// Edge is a task on a page.
type Edge = page.Edge[*Task]

// TemplateConnection is a page of templates, the newest first.
type TemplateConnection = page.Connection[*Template]

// TemplateEdge is a template on a page.
type TemplateEdge = page.Edge[*Template]

// Filter chooses tasks to which all of it applies.
type Filter struct {
	Request    string
	AssignedTo string
	State      *State
}

// Inputs.
type (
	// FieldInput is a field of a form.
	FieldInput struct {
		Key      string
		Label    string
		Type     FieldType
		Required bool
		Options  []string
	}
	// FormInput is what a task says and asks for.
	FormInput struct {
		Name         string
		Instructions string
		Stage        request.Stage
		Fields       []FieldInput
		Attachment   bool
	}
	// CreateTemplateInput makes a template.
	CreateTemplateInput struct {
		Right request.Type
		Form  FormInput
	}
	// UpdateTemplateInput changes a template: tasks that there are stay as they are.
	UpdateTemplateInput struct {
		ID              string
		ExpectedVersion int64
		Form            FormInput
	}
	// RetireTemplateInput ends a template.
	RetireTemplateInput struct {
		ID              string
		ExpectedVersion int64
	}
	// CreateInput makes a task for one item of a request.
	CreateInput struct {
		Request    string
		Item       string
		Form       FormInput
		AssignedTo *string
	}
	// AssignInput gives a task to somebody, or to nobody.
	AssignInput struct {
		ID              string
		ExpectedVersion int64
		Member          *string
	}
	// CommentInput is what somebody has to say.
	CommentInput struct {
		ID   string
		Text string
	}
	// AnswerInput fills in a field.
	AnswerInput struct {
		Key   string
		Value string
	}
	// CompleteInput completes a task.
	CompleteInput struct {
		ID              string
		ExpectedVersion int64
		Answers         []AnswerInput
		Note            *string
		Files           []string
	}
	// CancelInput ends a task that isn't needed.
	CancelInput struct {
		ID              string
		ExpectedVersion int64
		Reason          string
	}
)

// Sentinels.
var (
	ErrNotFound   = errs.New(errs.NotFound, "no such task")
	ErrNoTemplate = errs.New(errs.NotFound, "no such template")
	ErrVersion    = errs.New(errs.Conflict, "it was changed meanwhile: read it again").At("expectedVersion")
	ErrState      = errs.New(errs.Precondition, "the task isn't open any more").Under("task.state")
	ErrLate       = errs.New(errs.Precondition, "the request is past what such a task holds up").Under("task.stage")
	ErrNotice     = errs.New(errs.Precondition, "this is done by sending, or excusing, the notice that it is about").Under("task.notice")
	ErrMany       = errs.New(errs.Limited, "there are as many as there can be")
)

// Store keeps templates and tasks, for the tenant in ctx. What writes works in a
// change's transaction.
type Store interface {
	// Template fails with ErrNoTemplate.
	Template(ctx context.Context, templateID string) (*Template, error)
	// Templates returns up to limit templates after a position, the newest first.
	Templates(ctx context.Context, after *page.Position, limit int) ([]*Template, error)
	// For returns the active templates of rights.
	For(ctx context.Context, rights ...request.Type) ([]*Template, error)
	// CountTemplates counts the active ones.
	CountTemplates(ctx context.Context) (int, error)
	InsertTemplate(ctx context.Context, t *Template) error
	// UpdateTemplate fails with ErrVersion unless the stored version is the one before.
	UpdateTemplate(ctx context.Context, t *Template) error

	// Get fails with ErrNotFound.
	Get(ctx context.Context, taskID string) (*Task, error)
	// Insert seals what is personal under the request's key.
	Insert(ctx context.Context, ts ...*Task) error
	// Update fails with ErrVersion unless the stored version is the one before.
	Update(ctx context.Context, t *Task) error
	// Count counts the tasks of a request: those of a stage that are open, or all when
	// it is "".
	Count(ctx context.Context, requestID string, stage request.Stage) (int, error)
	// OpenOf returns all open tasks of a request.
	OpenOf(ctx context.Context, requestID string) ([]*Task, error)
	// About returns the open task about a notice, or ErrNotFound.
	About(ctx context.Context, noticeID string) (*Task, error)
	// List returns up to limit tasks after a position, the newest first.
	List(ctx context.Context, f Filter, after *page.Position, limit int) ([]*Task, error)
}

// form checks what a task says and asks for.
func (in *FormInput) form() (Form, error) {
	f := Form{
		Name: strings.TrimSpace(in.Name), Instructions: strings.TrimSpace(in.Instructions), Stage: in.Stage, Attachment: in.Attachment,
	}
	switch {
	case f.Name == "" || utf8.RuneCountInString(f.Name) > maxName:
		return f, errs.New(errs.Invalid, "a name has 1 to %d characters", maxName).At("form.name")
	case utf8.RuneCountInString(f.Instructions) > maxText:
		return f, errs.New(errs.Invalid, "instructions have up to %d characters", maxText).At("form.instructions")
	case !slices.Contains([]request.Stage{request.Before, request.Beside, request.After}, f.Stage):
		return f, errs.New(errs.Invalid, "a task comes before, beside or after").At("form.stage")
	case len(in.Fields) > maxFields:
		return f, errs.New(errs.Invalid, "a form has up to %d fields", maxFields).At("form.fields")
	}
	for i, field := range in.Fields {
		one := Field{strings.TrimSpace(field.Key), strings.TrimSpace(field.Label), field.Type, field.Required, field.Options}
		if err := one.check(); err != nil {
			return f, errs.At(err, "form.fields."+strconv.Itoa(i))
		}
		if f.field(one.Key) != nil {
			return f, errs.New(errs.Invalid, "name each field once").At("form.fields." + strconv.Itoa(i) + ".key")
		}
		f.Fields = append(f.Fields, one)
	}
	return f, nil
}

func (f *Form) field(key string) *Field {
	for i := range f.Fields {
		if f.Fields[i].Key == key {
			return &f.Fields[i]
		}
	}
	return nil
}

func (f *Field) check() error {
	choice := f.Type == ChoiceField
	switch {
	case f.Key == "" || len(f.Key) > maxKey || strings.Trim(f.Key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "":
		return errs.New(errs.Invalid, "a key has 1 to %d letters, digits and _", maxKey).At("key")
	case f.Label == "" || utf8.RuneCountInString(f.Label) > maxName:
		return errs.New(errs.Invalid, "a label has 1 to %d characters", maxName).At("label")
	case !slices.Contains([]FieldType{TextField, NumberField, DateField, YesNoField, ChoiceField}, f.Type):
		return errs.New(errs.Invalid, "no such type").At("type")
	case choice == (len(f.Options) == 0) || len(f.Options) > maxOptions:
		return errs.New(errs.Invalid, "a choice, and nothing else, has 1 to %d options", maxOptions).At("options")
	}
	for _, o := range f.Options {
		if strings.TrimSpace(o) == "" || utf8.RuneCountInString(o) > maxName {
			return errs.New(errs.Invalid, "an option has 1 to %d characters", maxName).At("options")
		}
	}
	return nil
}

// takes reports why a field doesn't take a value.
func (f *Field) takes(value string) error {
	ok := utf8.RuneCountInString(value) <= maxText
	switch f.Type {
	case NumberField:
		_, err := strconv.ParseFloat(value, 64)
		ok = err == nil && !strings.ContainsAny(value, "xXpP_nN")
	case DateField:
		_, err := civil.Parse(value)
		ok = err == nil
	case YesNoField:
		ok = value == "true" || value == "false"
	case ChoiceField:
		ok = slices.Contains(f.Options, value)
	case TextField:
	}
	if !ok {
		return errs.New(errs.Invalid, "%s doesn't take this: it is a field of type %s", f.Key, f.Type)
	}
	return nil
}

// fill returns what was filled in, in the order of the form.
func (f *Form) fill(in []AnswerInput) ([]Answer, error) {
	given := map[string]string{}
	for i, a := range in {
		value, at := strings.TrimSpace(a.Value), "answers."+strconv.Itoa(i)
		field := f.field(a.Key)
		if _, twice := given[a.Key]; field == nil || twice {
			return nil, errs.New(errs.Invalid, "fill in each field of the form once").At(at + ".key")
		}
		if value == "" {
			continue
		}
		if err := field.takes(value); err != nil {
			return nil, errs.At(err, at+".value")
		}
		given[a.Key] = value
	}
	var answers []Answer
	for _, field := range f.Fields {
		value, ok := given[field.Key]
		if !ok && field.Required {
			return nil, errs.New(errs.Invalid, "%s has to be filled in", field.Key).At("answers")
		}
		if ok {
			answers = append(answers, Answer{field.Key, personal.NewText(value)})
		}
	}
	return answers, nil
}
