package app

import (
	"context"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// openOutside makes what has others do their part of requests: recipients, and people
// in systems outside. Requests and webhooks must be there.
func (p *Platform) openOutside(v *vault.Vault, changes *change.Runner) {
	p.tasks = task.NewService(task.Config{
		Store: mongo.NewTaskStore(p.db, v), Requests: p.requests, Members: p.Tenants, Files: p.files, Changes: changes,
		Recorder: p.Recorder, Now: p.now,
	})
	p.recipients = recipient.NewService(recipient.Config{
		Store: mongo.NewRecipientStore(p.db, v, p.log), Subjects: mongo.NewSubjectStore(p.db, v, p.log), Holdings: p.erase.Store,
		Datasets: p.Datasets, Processing: p.processing, Shreddings: p.keys.erasures, Requests: p.requests, Tasks: p.tasks,
		Tenants: p.Tenants, Library: p.letters.Library, Letters: p.letters, Mail: p.notices, Webhooks: p.webhooks, Changes: changes,
		Recorder: p.Recorder, BaseURL: p.Config.URL(), Now: p.now,
	})
	p.requests.Recipients, p.requests.Tasks = p.recipients, p.tasks
	p.post.Tasks = p.tasks
	p.files.Cases = task.Cases{Requests: p.requests, Authorizer: p.authorizer}
}

// workOutside has the worker tell recipients.
func (p *Platform) workOutside(mux jobs.Mux) {
	mux.Handle(recipient.JobTell, func(ctx context.Context, r *job.Run) error { return p.recipients.Run(ctx, r) })
	mux.Handle(recipient.JobErased, func(ctx context.Context, r *job.Run) error { return p.recipients.Erased(ctx, r) })
}
