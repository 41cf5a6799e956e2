package task

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Requests are the requests that tasks are of.
type Requests interface {
	Find(ctx context.Context, requestID string) (*request.Request, error)
	Note(ctx context.Context, requestID string, rule request.Rule, evidence ...string) (*request.Request, error)
}

// Members knows who works for the tenant.
type Members interface {
	Member(ctx context.Context, memberID string) (*tenancy.Member, error)
}

// Files keeps the documents that are attached.
type Files interface {
	// AttachTo gives uploaded documents of a request to a task, in a change's transaction.
	AttachTo(ctx context.Context, requestID, taskID string, fileIDs []string) error
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store    Store
	Requests Requests
	Members  Members
	Files    Files
	Changes  *change.Runner
	Recorder *audit.Recorder
	Now      func() time.Time
}

// Service keeps templates and tasks.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

var (
	_ request.Tasks   = (*Service)(nil)
	_ recipient.Tasks = (*Service)(nil)
)

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// CreateTemplate makes a template, once per Idempotency-Key.
func (s *Service) CreateTemplate(ctx context.Context, in CreateTemplateInput) (*Template, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(request.Types(), in.Right) {
		return nil, errs.New(errs.Invalid, "no such right").At("right")
	}
	f, err := in.Form.form()
	if err != nil {
		return nil, err
	}
	t := &Template{
		ID: id.New(id.TaskTemplate, of), Right: in.Right, Form: f, State: Active, Version: 1, CreatedAt: s.now(), UpdatedAt: s.now(),
	}
	made, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		n, err := s.Store.CountTemplates(ctx)
		if err == nil && n >= MaxTemplates {
			err = ErrMany
		}
		if err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "taskTemplate.create", Object: t.ID}, s.Store.InsertTemplate(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return s.Store.Template(ctx, made)
}

// UpdateTemplate changes a template.
func (s *Service) UpdateTemplate(ctx context.Context, in UpdateTemplateInput) (*Template, error) {
	f, err := in.Form.form()
	if err != nil {
		return nil, err
	}
	return s.change(ctx, in.ID, "taskTemplate.update", in.ExpectedVersion, func(t *Template) { t.Form = f })
}

// RetireTemplate ends a template.
func (s *Service) RetireTemplate(ctx context.Context, in RetireTemplateInput) (*Template, error) {
	return s.change(ctx, in.ID, "taskTemplate.retire", in.ExpectedVersion, func(t *Template) { t.State = Retired })
}

func (s *Service) change(ctx context.Context, templateID, do string, expected int64, edit func(*Template)) (t *Template, err error) {
	if _, err := s.Template(ctx, templateID); err != nil {
		return nil, err
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if t, err = s.Store.Template(ctx, templateID); err != nil {
			return c, err
		}
		switch {
		case t.Version != expected:
			return c, ErrVersion
		case t.State != Active:
			return c, errs.New(errs.Precondition, "the template was retired").Under("taskTemplate.state")
		}
		edit(t)
		t.Version++
		t.UpdatedAt = s.now()
		return change.Change{Action: do, Object: t.ID}, s.Store.UpdateTemplate(ctx, t)
	})
	return t, err
}

// Template returns a template, or ErrNoTemplate.
func (s *Service) Template(ctx context.Context, templateID string) (*Template, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.TaskTemplate, of, templateID) != nil {
		return nil, ErrNoTemplate
	}
	return s.Store.Template(ctx, templateID)
}

// Templates returns a page of the templates, the newest first.
func (s *Service) Templates(ctx context.Context, r page.Request) (*TemplateConnection, error) {
	at := func(t *Template) page.Position { return page.Position{CreatedAt: t.CreatedAt, ID: t.ID} }
	return page.Read(ctx, page.List{Of: id.TaskTemplate}, r, at, s.Store.Templates)
}

// Begin implements request.Tasks.
func (s *Service) Begin(ctx context.Context, r *request.Request, items []request.Item) error {
	of, err := tenant.FromContext(ctx)
	if err != nil || len(items) == 0 {
		return err
	}
	rights := make([]request.Type, len(items))
	for i, item := range items {
		rights[i] = item.Type
	}
	templates, err := s.Store.For(ctx, rights...)
	if err != nil {
		return err
	}
	var made []*Task
	for _, item := range items {
		for _, t := range templates {
			if t.Right == item.Type {
				made = append(made, s.task(ctx, of, r, item.ID, t.Form))
				made[len(made)-1].Template = t.ID
			}
		}
	}
	return s.Store.Insert(ctx, made...)
}

func (s *Service) task(ctx context.Context, of tenant.ID, r *request.Request, itemID string, f Form) *Task {
	return &Task{
		ID: id.New(id.Task, of), Request: r.ID, Number: r.Number, Item: itemID, Subject: r.Subject, Form: f, State: Open,
		CreatedBy: authz.FromContext(ctx).ID, CreatedAt: s.now(), Version: 1,
	}
}

// Waiting implements request.Tasks.
func (s *Service) Waiting(ctx context.Context, requestID string, stage request.Stage) (int, error) {
	return s.Store.Count(ctx, requestID, stage)
}

// Cancel implements request.Tasks.
func (s *Service) Cancel(ctx context.Context, requestID string) error {
	open, err := s.Store.OpenOf(ctx, requestID)
	if err != nil {
		return err
	}
	for _, t := range open {
		if t.Notice != "" {
			continue // what was done is done, and recipients are told of it
		}
		t.State = Cancelled
		t.Version++
		if err := s.Store.Update(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// Ask implements recipient.Tasks.
func (s *Service) Ask(ctx context.Context, r *request.Request, n *recipient.Notice) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	name, what := "Tell ", "Tell the recipient in another way than by mail or webhook (Art. 19), and note it by sendNotice; or say by excuseNotice why that is impossible."
	if r.Language == "da" {
		name, what = "Giv besked til ", "Giv modtageren besked på anden måde end med mail eller webhook (art. 19), og notér det med sendNotice; eller angiv med excuseNotice, hvorfor det er umuligt."
	}
	t := s.task(ctx, of, r, n.Item, Form{Name: name + n.Name, Instructions: what, Stage: request.Beside})
	t.Notice, t.AssignedTo = n.ID, r.AssignedTo
	return s.Store.Insert(ctx, t)
}

// Settle implements recipient.Tasks.
func (s *Service) Settle(ctx context.Context, noticeID string) error {
	t, err := s.Store.About(ctx, noticeID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	at := s.now()
	t.State, t.CompletedBy, t.CompletedAt = Completed, authz.FromContext(ctx).ID, &at
	t.Version++
	return s.Store.Update(ctx, t)
}

// Assignees returns who has open tasks of a request: they are told when it falls due.
func (s *Service) Assignees(ctx context.Context, requestID string) ([]string, error) {
	open, err := s.Store.OpenOf(ctx, requestID)
	var ids []string
	for _, t := range open {
		if t.AssignedTo != "" {
			ids = append(ids, t.AssignedTo)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// Get returns a task, or ErrNotFound.
func (s *Service) Get(ctx context.Context, taskID string) (*Task, error) {
	t, err := s.find(ctx, taskID)
	if err != nil {
		return nil, err
	}
	return t, s.read(ctx, t.ID, t)
}

func (s *Service) find(ctx context.Context, taskID string) (*Task, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Task, of, taskID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Get(ctx, taskID)
}

func (s *Service) read(ctx context.Context, object string, ts ...*Task) error {
	var touches []audit.Touch
	for _, t := range ts {
		touches = append(touches, t.touches()...)
	}
	return s.Recorder.Read(ctx, "task.read", object, touches...)
}

// touches is whose data a task is.
func (t *Task) touches() []audit.Touch {
	if t.Subject == "" {
		return nil
	}
	return []audit.Touch{{Subject: t.Subject, Object: t.ID, Version: t.Version}}
}

// Of returns a page of the tasks of a request, the newest first.
func (s *Service) Of(ctx context.Context, requestID string, state *State, r page.Request) (*Connection, error) {
	found, err := s.Requests.Find(ctx, requestID)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, Filter{Request: found.ID, State: state}, found.ID, r)
}

// Mine returns a page of the open tasks of the member who is calling, the newest first.
func (s *Service) Mine(ctx context.Context, r page.Request) (*Connection, error) {
	who, open := authz.FromContext(ctx).ID, Open
	return s.list(ctx, Filter{AssignedTo: who, State: &open}, "", r)
}

func (s *Service) list(ctx context.Context, f Filter, object string, r page.Request) (*Connection, error) {
	l := page.List{Of: id.Task, Scope: f.Request + "/" + f.AssignedTo}
	if f.State != nil {
		l.Scope += "/" + string(*f.State)
	}
	at := func(t *Task) page.Position { return page.Position{CreatedAt: t.CreatedAt, ID: t.ID} }
	c, err := page.Read(ctx, l, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Task, error) {
		return s.Store.List(ctx, f, after, limit)
	})
	if err != nil {
		return nil, err
	}
	return c, s.read(ctx, object, c.Nodes()...)
}

// Create makes a task for one item of a request, once per Idempotency-Key.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Task, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	f, err := in.Form.form()
	if err != nil {
		return nil, err
	}
	if in.AssignedTo != nil {
		if err := s.working(ctx, *in.AssignedTo); err != nil {
			return nil, errs.At(err, "assignedTo")
		}
	}
	if _, err := s.Requests.Find(ctx, in.Request); err != nil {
		return nil, errs.At(err, "request")
	}
	taskID := id.New(id.Task, of)
	made, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		r, err := s.Requests.Note(ctx, in.Request, request.NoteTask, taskID, in.Item)
		if err != nil {
			return change.Change{}, err
		}
		item := r.Item(in.Item)
		if item == nil {
			return change.Change{}, errs.New(errs.NotFound, "no such item").At("item")
		}
		if !timely(r.State, f.Stage) {
			return change.Change{}, ErrLate
		}
		n, err := s.Store.Count(ctx, r.ID, "")
		if err == nil && n >= MaxTasks {
			err = ErrMany
		}
		if err != nil {
			return change.Change{}, err
		}
		t := s.task(ctx, of, r, in.Item, f)
		t.ID = taskID
		if in.AssignedTo != nil {
			t.AssignedTo = *in.AssignedTo
		}
		return change.Change{Action: "task.create", Object: t.ID, Touches: t.touches()}, s.Store.Insert(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return s.find(ctx, made)
}

// timely reports whether a task of a stage still holds up what it is to hold up.
func timely(state request.State, stage request.Stage) bool {
	decided := []request.State{request.Approved, request.Executing}
	switch stage {
	case request.Before:
		return state.Open() && !slices.Contains(decided, state)
	case request.After:
		return state.Open()
	default:
		return state.Open() || state == request.Responded
	}
}

func (s *Service) working(ctx context.Context, memberID string) error {
	m, err := s.Members.Member(ctx, memberID)
	if err == nil && m.State != tenancy.Joined {
		err = errs.New(errs.Precondition, "this member doesn't work for the tenant now")
	}
	return err
}

// step changes an open task; when it ends, with an event of its request.
func (s *Service) step(
	ctx context.Context, taskID, do string, expected *int64, edit func(ctx context.Context, t *Task) error,
) (t *Task, err error) {
	if _, err := s.find(ctx, taskID); err != nil {
		return nil, err
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if t, err = s.Store.Get(ctx, taskID); err != nil {
			return c, err
		}
		switch {
		case expected != nil && *expected != t.Version:
			return c, ErrVersion
		case t.State != Open:
			return c, ErrState
		}
		if err := edit(ctx, t); err != nil {
			return c, err
		}
		t.Version++
		c = change.Change{Action: do, Object: t.ID, Touches: t.touches()}
		if t.State != Open {
			if c.Then, err = s.ended(ctx, t); err != nil {
				return c, err
			}
		}
		return c, s.Store.Update(ctx, t)
	})
	return t, err
}

// ended notes that a task is over. A request that has waited for it alone is answered.
func (s *Service) ended(ctx context.Context, t *Task) ([]job.Spec, error) {
	r, err := s.Requests.Note(ctx, t.Request, request.NoteTask, t.ID, t.Item)
	if err != nil {
		return nil, err
	}
	if t.Stage != request.After || r.State != request.Executing || !r.Done() {
		return nil, nil
	}
	return []job.Spec{{Type: request.JobCarry, Object: r.ID}}, nil
}

// Assign gives a task to a member, or to nobody.
func (s *Service) Assign(ctx context.Context, in AssignInput) (*Task, error) {
	if in.Member != nil {
		if err := s.working(ctx, *in.Member); err != nil {
			return nil, errs.At(err, "member")
		}
	}
	return s.step(ctx, in.ID, "task.assign", &in.ExpectedVersion, func(_ context.Context, t *Task) error {
		t.AssignedTo = ""
		if in.Member != nil {
			t.AssignedTo = *in.Member
		}
		return nil
	})
}

// words checks what somebody wrote.
func words(s *string, field string) (personal.Text, error) {
	if s == nil || strings.TrimSpace(*s) == "" {
		return personal.Text{}, nil
	}
	if utf8.RuneCountInString(*s) > maxText {
		return personal.Text{}, errs.New(errs.Invalid, "a text has at most %d characters", maxText).At(field)
	}
	return personal.NewText(strings.TrimSpace(*s)), nil
}

// Comment adds what somebody has to say.
func (s *Service) Comment(ctx context.Context, in CommentInput) (*Task, error) {
	said, err := words(&in.Text, "text")
	if err == nil && said.IsZero() {
		err = errs.New(errs.Invalid, "say something").At("text")
	}
	if err != nil {
		return nil, err
	}
	return s.step(ctx, in.ID, "task.comment", nil, func(ctx context.Context, t *Task) error {
		if len(t.Comments) >= maxComments {
			return ErrMany
		}
		t.Comments = append(t.Comments, Comment{authz.FromContext(ctx).ID, s.now(), said})
		return nil
	})
}

// Complete completes a task with what its form asks for.
func (s *Service) Complete(ctx context.Context, in CompleteInput) (*Task, error) {
	note, err := words(in.Note, "note")
	if err != nil {
		return nil, err
	}
	return s.step(ctx, in.ID, "task.complete", &in.ExpectedVersion, func(ctx context.Context, t *Task) error {
		if t.Notice != "" {
			return ErrNotice
		}
		answers, err := t.fill(in.Answers)
		switch {
		case err != nil:
			return err
		case len(in.Files) > maxFiles:
			return errs.New(errs.Invalid, "attach up to %d documents", maxFiles).At("files")
		case t.Attachment && len(in.Files) == 0:
			return errs.New(errs.Invalid, "attach a document").At("files")
		}
		files := slices.Compact(slices.Sorted(slices.Values(in.Files)))
		if err := s.Files.AttachTo(ctx, t.Request, t.ID, files); err != nil {
			return errs.At(err, "files")
		}
		at := s.now()
		t.State, t.CompletedBy, t.CompletedAt, t.Answers, t.Note, t.Files = Completed, authz.FromContext(ctx).ID, &at, answers, note, files
		return nil
	})
}

// CancelOne ends a task that isn't needed, for a reason.
func (s *Service) CancelOne(ctx context.Context, in CancelInput) (*Task, error) {
	why, err := words(&in.Reason, "reason")
	if err == nil && why.IsZero() {
		err = errs.New(errs.Invalid, "say why it isn't needed").At("reason")
	}
	if err != nil {
		return nil, err
	}
	return s.step(ctx, in.ID, "task.cancel", &in.ExpectedVersion, func(ctx context.Context, t *Task) error {
		if t.Notice != "" {
			return ErrNotice
		}
		at := s.now()
		t.State, t.CompletedBy, t.CompletedAt, t.Note = Cancelled, authz.FromContext(ctx).ID, &at, why
		return nil
	})
}

// Cases guards the documents of requests (package file).
type Cases struct {
	Requests   Requests
	Authorizer authz.Authorizer
}

// Guard fails unless the request is one of the tenant's that is worked on.
func (c Cases) Guard(ctx context.Context, requestID string) error {
	r, err := c.Requests.Find(ctx, requestID)
	if err != nil {
		return errs.At(err, "request")
	}
	if !timely(r.State, request.Beside) {
		return ErrLate.At("request")
	}
	return nil
}

// Read fails unless the caller may read the request.
func (c Cases) Read(ctx context.Context, requestID string) error {
	if !c.Authorizer.Can(ctx, authz.RequestRead).Allowed {
		return request.ErrNotFound
	}
	_, err := c.Requests.Find(ctx, requestID)
	return err
}
