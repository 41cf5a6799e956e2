package app

import (
	"context"
	"maps"
	"time"

	"github.com/vogter/vogter/internal/access"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/opendsr"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/rectify"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// requestSweep is how often it is looked for requests that fall due.
const requestSweep = time.Minute

// openRequests makes the service of requests, and the post that tells of them.
// Everything that carries requests out must be there.
func (p *Platform) openRequests(v *vault.Vault, changes *change.Runner, subjects *mongo.SubjectStore, library *letter.Library) {
	p.rights = rights.NewService(rights.Config{
		Store: mongo.NewRightsStore(p.db), Subjects: subjects, Standings: mongo.NewConsentStore(p.db, v, p.log), Consents: p.consents,
		Purposes: p.purposes, Ledger: p.keys.ledger, Members: p.Tenants, Recorder: p.Recorder, Changes: changes, Now: p.now,
	})
	p.consents.Signals = p.rights
	works := p.works(v)
	erasures := &erase.Work{
		Service: p.erase, Certificates: p.certificates, Rules: mongo.NewRetentionStore(p.db, v), Requests: mongo.NewRequestStore(p.db, v),
	}
	works[request.Erasure], p.erasures = erasures, erasures
	p.post = post.NewService(post.Config{
		Store: mongo.NewPostStore(p.db, v), Library: library, Letters: p.letters, Tenants: p.Tenants, Subjects: subjects, Works: works,
		Mail: p.notices, Changes: changes, BaseURL: p.Config.URL(), Now: p.now,
	})
	erasures.Post = p.post
	p.ends = &erase.Ends{
		Cases: mongo.NewRequestStore(p.db, v), Holds: mongo.NewRetentionStore(p.db, v), Erasures: p.keys.erasures, Changes: changes, Now: p.now,
	}
	p.requests = request.NewService(request.Config{
		Store: mongo.NewRequestStore(p.db, v), Changes: changes, Recorder: p.Recorder, Calendars: p.calendars, Subjects: subjects,
		Members: p.Tenants, Works: works, Post: opendsr.Post{Post: p.post}, Vault: v, Log: p.log, Now: p.now,
		Closed: p.retention.CaseClosed,
	})
	p.answers = &access.Answers{Requests: p.requests, Works: works}
	p.rights.Requests, p.rights.Post, p.rectify.Requests = p.requests, p.post, p.requests
}

// works has who carries out each right.
func (p *Platform) works(v *vault.Vault) map[request.Type]request.Work {
	works := map[request.Type]request.Work{}
	maps.Copy(works, p.rights.Works())
	p.rectify = &rectify.Service{Subjects: p.Subjects, Records: p.Records}
	works[request.Rectification] = &rectify.Work{Service: p.rectify}
	maps.Copy(works, p.openAccess(v))
	return works
}

// workRequests has the worker search for what requests ask for, carry out what was
// approved, and escalate what falls due.
func (p *Platform) workRequests(mux jobs.Mux, sweeper *jobs.Sweeper) {
	mux.Handle(request.JobSearch, func(ctx context.Context, r *job.Run) error { return p.requests.Search(ctx, r) })
	mux.Handle(request.JobFollow, func(ctx context.Context, r *job.Run) error { return p.requests.Follow(ctx, r) })
	mux.Handle(request.JobCarry, func(ctx context.Context, r *job.Run) error { return p.requests.Carry(ctx, r) })
	sweeper.Sweep("requests", requestSweep, p.requests.Sweep)
	sweeper.Sweep("ended requests", time.Hour, p.ends.Sweep)
}
