package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

const (
	taskTemplatesColl = "taskTemplates"
	tasksColl         = "tasks"
)

var _ task.Store = (*TaskStore)(nil)

// TaskStore keeps the templates of tasks, and the tasks of requests.
type TaskStore struct {
	templates, tasks *mongo.Collection
	vault            *vault.Vault
}

// NewTaskStore returns the store of tasks in d.
func NewTaskStore(d *DB, v *vault.Vault) *TaskStore {
	return &TaskStore{d.db.Collection(taskTemplatesColl), d.db.Collection(tasksColl), v}
}

type taskTemplateDoc struct {
	ID        string             `bson:"_id"`
	Tenant    tenant.ID          `bson:"tenant"`
	Right     request.Type       `bson:"right"`
	Form      taskFormDoc        `bson:"form"`
	State     task.TemplateState `bson:"state"`
	Version   int64              `bson:"version"`
	CreatedAt time.Time          `bson:"createdAt"`
	UpdatedAt time.Time          `bson:"updatedAt"`
}

type taskFormDoc struct {
	Name         string         `bson:"name"`
	Instructions string         `bson:"instructions"`
	Stage        request.Stage  `bson:"stage"`
	Fields       []taskFieldDoc `bson:"fields"`
	Attachment   bool           `bson:"attachment"`
}

type taskFieldDoc struct {
	Key      string         `bson:"key"`
	Label    string         `bson:"label"`
	Type     task.FieldType `bson:"type"`
	Required bool           `bson:"required"`
	Options  []string       `bson:"options,omitempty"`
}

func newTaskTemplateDoc(of tenant.ID, t *task.Template) taskTemplateDoc {
	f := taskFormDoc{t.Name, t.Instructions, t.Stage, nil, t.Attachment}
	for _, field := range t.Fields {
		f.Fields = append(f.Fields, taskFieldDoc(field))
	}
	return taskTemplateDoc{t.ID, of, t.Right, f, t.State, t.Version, t.CreatedAt, t.UpdatedAt}
}

func (d *taskTemplateDoc) template() *task.Template {
	f := task.Form{Name: d.Form.Name, Instructions: d.Form.Instructions, Stage: d.Form.Stage, Attachment: d.Form.Attachment}
	for _, field := range d.Form.Fields {
		f.Fields = append(f.Fields, task.Field(field))
	}
	return &task.Template{
		ID: d.ID, Right: d.Right, Form: f, State: d.State, Version: d.Version, CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(),
	}
}

func templates(docs []taskTemplateDoc) []*task.Template {
	list := make([]*task.Template, len(docs))
	for i := range docs {
		list[i] = docs[i].template()
	}
	return list
}

// Template implements task.Store.
func (s *TaskStore) Template(ctx context.Context, templateID string) (*task.Template, error) {
	d, err := one[taskTemplateDoc](ctx, s.templates, "template", task.ErrNoTemplate, bson.E{Key: "_id", Value: templateID})
	if err != nil {
		return nil, err
	}
	return d.template(), nil
}

// Templates implements task.Store.
func (s *TaskStore) Templates(ctx context.Context, after *page.Position, limit int) ([]*task.Template, error) {
	docs, err := keyset[taskTemplateDoc](ctx, s.templates, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list templates of tasks: %w", err)
	}
	return templates(docs), nil
}

// For implements task.Store.
func (s *TaskStore) For(ctx context.Context, rights ...request.Type) ([]*task.Template, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: task.Active}, bson.E{Key: "right", Value: bson.D{{Key: "$in", Value: rights}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[taskTemplateDoc](ctx, s.templates, filter)
	if err != nil {
		return nil, fmt.Errorf("find templates of tasks: %w", err)
	}
	return templates(docs), nil
}

// CountTemplates implements task.Store.
func (s *TaskStore) CountTemplates(ctx context.Context) (int, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: task.Active})
	if err != nil {
		return 0, err
	}
	return count(ctx, s.templates, filter, task.MaxTemplates)
}

// InsertTemplate implements task.Store.
func (s *TaskStore) InsertTemplate(ctx context.Context, t *task.Template) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if _, err := s.templates.InsertOne(ctx, newTaskTemplateDoc(of, t)); err != nil {
		return fmt.Errorf("insert template of tasks: %w", translate(err))
	}
	return nil
}

// UpdateTemplate implements task.Store.
func (s *TaskStore) UpdateTemplate(ctx context.Context, t *task.Template) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	res, err := s.templates.ReplaceOne(ctx, previous(of, t.ID, t.Version), newTaskTemplateDoc(of, t))
	if err != nil {
		return fmt.Errorf("update template of tasks: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return task.ErrVersion
	}
	return nil
}

// previous matches a document as it was before the version that replaces it.
func previous(of tenant.ID, docID string, version int64) bson.D {
	return bson.D{{Key: "_id", Value: docID}, {Key: "tenant", Value: of}, {Key: "version", Value: version - 1}}
}

// taskDoc has in clear what lists and guards ask for, and names no person but by id.
type taskDoc struct {
	ID         string        `bson:"_id"`
	Tenant     tenant.ID     `bson:"tenant"`
	Request    string        `bson:"request"`
	Item       string        `bson:"item"`
	Subject    string        `bson:"subject"`
	Notice     string        `bson:"notice,omitempty"`
	Stage      request.Stage `bson:"stage"`
	State      task.State    `bson:"state"`
	AssignedTo string        `bson:"assignedTo"`
	CreatedAt  time.Time     `bson:"createdAt"`
	Version    int64         `bson:"version"`
	Body       sealed        `bson:"body"`
}

// taskJSON is what is sealed of a task: all of it.
type taskJSON struct {
	Task     *task.Task    `json:"task"`
	Form     task.Form     `json:"form"`
	Note     string        `json:"note,omitempty"`
	Answers  []saidJSON    `json:"answers,omitempty"`
	Comments []commentJSON `json:"comments,omitempty"`
}

type saidJSON struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type commentJSON struct {
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

func (s *TaskStore) seal(ctx context.Context, t *task.Task) (taskDoc, error) {
	d := taskDoc{
		ID: t.ID, Request: t.Request, Item: t.Item, Subject: t.Subject, Notice: t.Notice, Stage: t.Stage, State: t.State,
		AssignedTo: t.AssignedTo, CreatedAt: t.CreatedAt, Version: t.Version,
	}
	seal, err := caseSealer(ctx, s.vault, tasksColl, t.Request, t.ID)
	if err != nil {
		return d, err
	}
	d.Tenant = seal.owner.Tenant
	plain := *t
	plain.Note, plain.Answers, plain.Comments = personal.Text{}, nil, nil
	body := taskJSON{Task: &plain, Form: t.Form, Note: t.Note.Reveal()}
	for _, a := range t.Answers {
		body.Answers = append(body.Answers, saidJSON{a.Key, a.Value.Reveal()})
	}
	for _, c := range t.Comments {
		body.Comments = append(body.Comments, commentJSON{c.By, c.At, c.Text.Reveal()})
	}
	d.Body = seal.json("body", body, false)
	if seal.err != nil {
		return d, fmt.Errorf("seal task %s: %w", t.ID, seal.err)
	}
	return d, nil
}

func (s *TaskStore) unseal(ctx context.Context, docs ...taskDoc) ([]*task.Task, error) {
	owners := make([]vault.Owner, len(docs))
	for i := range docs {
		owners[i] = request.Unit(docs[i].Tenant, docs[i].Request)
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	list := make([]*task.Task, len(docs))
	for i := range docs {
		d := &docs[i]
		open := &sealer{keys: keys, owner: owners[i], place: vault.Place{Collection: tasksColl, Record: d.ID}}
		body := taskJSON{Task: &task.Task{}}
		open.openJSON("body", d.Body, &body)
		if _, gone := unreadable(open.err); gone || d.Body == nil {
			list[i] = &task.Task{
				ID: d.ID, Request: d.Request, Item: d.Item, Subject: d.Subject, Notice: d.Notice, Form: task.Form{Stage: d.Stage}, State: d.State,
				AssignedTo: d.AssignedTo, CreatedAt: d.CreatedAt.UTC(), Version: d.Version, Gone: true,
			}
			continue
		}
		if open.err != nil {
			return nil, fmt.Errorf("open task %s: %w", d.ID, open.err)
		}
		t := body.Task
		t.Form, t.Note = body.Form, personal.NewText(body.Note)
		for _, a := range body.Answers {
			t.Answers = append(t.Answers, task.Answer{Key: a.Key, Value: personal.NewText(a.Value)})
		}
		for _, c := range body.Comments {
			t.Comments = append(t.Comments, task.Comment{By: c.By, At: c.At, Text: personal.NewText(c.Text)})
		}
		list[i] = t
	}
	return list, nil
}

// Get implements task.Store.
func (s *TaskStore) Get(ctx context.Context, taskID string) (*task.Task, error) {
	return s.one(ctx, bson.E{Key: "_id", Value: taskID})
}

// About implements task.Store.
func (s *TaskStore) About(ctx context.Context, noticeID string) (*task.Task, error) {
	return s.one(ctx, bson.E{Key: "notice", Value: noticeID}, bson.E{Key: "state", Value: task.Open})
}

func (s *TaskStore) one(ctx context.Context, match ...bson.E) (*task.Task, error) {
	d, err := one[taskDoc](ctx, s.tasks, "task", task.ErrNotFound, match...)
	if err != nil {
		return nil, err
	}
	ts, err := s.unseal(ctx, d)
	if err != nil {
		return nil, err
	}
	return ts[0], nil
}

// Insert implements task.Store.
func (s *TaskStore) Insert(ctx context.Context, ts ...*task.Task) error {
	if len(ts) == 0 {
		return nil
	}
	docs := make([]taskDoc, len(ts))
	for i, t := range ts {
		var err error
		if docs[i], err = s.seal(ctx, t); err != nil {
			return err
		}
	}
	if _, err := s.tasks.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert tasks: %w", translate(err))
	}
	ids := make([]string, len(ts))
	for i, t := range ts {
		ids[i] = t.ID
	}
	return note(ctx, s.tasks, ids...)
}

// Update implements task.Store.
func (s *TaskStore) Update(ctx context.Context, t *task.Task) error {
	d, err := s.seal(ctx, t)
	if err != nil {
		return err
	}
	res, err := s.tasks.UpdateOne(ctx, previous(d.Tenant, t.ID, t.Version), bson.D{{Key: "$set", Value: d}})
	if err != nil {
		return fmt.Errorf("update task %s: %w", t.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return task.ErrVersion
	}
	return note(ctx, s.tasks, t.ID)
}

// Count implements task.Store.
func (s *TaskStore) Count(ctx context.Context, requestID string, stage request.Stage) (int, error) {
	filter, err := scoped(ctx, bson.E{Key: "request", Value: requestID})
	if err != nil {
		return 0, err
	}
	if stage != "" {
		filter = append(filter, bson.E{Key: "state", Value: task.Open}, bson.E{Key: "stage", Value: stage})
	}
	return count(ctx, s.tasks, filter, task.MaxTasks)
}

// OpenOf implements task.Store.
func (s *TaskStore) OpenOf(ctx context.Context, requestID string) ([]*task.Task, error) {
	filter, err := scoped(ctx, bson.E{Key: "request", Value: requestID}, bson.E{Key: "state", Value: task.Open})
	if err != nil {
		return nil, err
	}
	docs, err := all[taskDoc](ctx, s.tasks, filter)
	if err != nil {
		return nil, fmt.Errorf("find open tasks: %w", err)
	}
	return s.unseal(ctx, docs...)
}

// List implements task.Store.
func (s *TaskStore) List(ctx context.Context, f task.Filter, after *page.Position, limit int) ([]*task.Task, error) {
	filter := bson.D{}
	if f.Request != "" {
		filter = append(filter, bson.E{Key: "request", Value: f.Request})
	}
	if f.AssignedTo != "" {
		filter = append(filter, bson.E{Key: "assignedTo", Value: f.AssignedTo})
	}
	if len(filter) == 0 {
		return nil, errors.New("list tasks: of a request or a member only")
	}
	if f.State != nil {
		filter = append(filter, bson.E{Key: "state", Value: *f.State})
	}
	docs, err := keyset[taskDoc](ctx, s.tasks, filter, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	return s.unseal(ctx, docs...)
}
