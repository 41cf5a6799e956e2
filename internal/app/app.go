// Package app puts the platform together: stores, services, the API and the
// worker, out of one configuration. It is the only package that sees everything,
// and has no logic of its own.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/access"
	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/assessment"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/breakglass"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/centre"
	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/config"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/document"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/gcp"
	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/kms/transit"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mail"
	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/opendsr"
	"github.com/vogter/vogter/internal/ory"
	"github.com/vogter/vogter/internal/policy"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/rectify"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/session"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/webhook"
	"github.com/vogter/vogter/jobs"
)

// The names of the databases, where the connection strings name none.
const (
	dataName = "vogter"
	keysName = "vogter_keys"
)

const indexTimeout = 10 * time.Minute

// Platform is everything that serve, worker and admin share.
type Platform struct {
	Config   config.Config
	Tenants  *tenancy.Service
	APIKeys  *apikey.Service
	OAuth    *oauth.Service
	Datasets *dataset.Service
	Subjects *subject.Service
	Records  *record.Service
	Imports  *imports.Service
	Exports  *export.Service
	Jobs     *job.Service
	Identity *ory.Client
	// Agreements are the data processing agreements with the tenants.
	Agreements *agreement.Service
	Recorder   *audit.Recorder

	log          *slog.Logger
	now          func() time.Time
	db, keysDB   *mongo.DB
	redis        *redis.Client
	queue        *jobs.AsynqQueue
	bell         jobs.Bell
	bucket       *blob.Bucket
	files        *file.Service
	downloads    *download.Service
	evictions    *authn.Evictions
	sessions     *session.Service
	portal       *portal.Service
	access       *breakglass.Service
	notices      *notify.Service
	feed         *feed.Service
	webhooks     *webhook.Service
	hydra        *ory.Hydra // nil: OAuth is off
	authorizer   *authz.Engine
	policies     *policy.Service
	audit        auditLog
	limiter      *ratelimit.Limiter
	documents    *document.Service
	measures     *measure.Service
	assessments  *assessment.Service
	processing   *processing.Service
	disclosures  *disclosure.Service
	keys         lifeOfKeys
	watch        watch
	purposes     *purpose.Service
	consents     *consent.Service
	receipts     *receipt.Service
	letters      *letter.Service
	post         *post.Service
	requests     *request.Service
	recipients   *recipient.Service
	tasks        *task.Service
	rights       *rights.Service
	rectify      *rectify.Service
	calendars    *calendar.Service
	retention    *retention.Service
	erase        *erase.Service
	erasures     *erase.Work
	ends         *erase.Ends
	answers      *access.Answers
	certificates *certificate.Service
	gate         *agreement.Gate
	centre       *centre.Centre
	openDSR      *opendsr.Service
}

// Open connects to everything that the configuration names, and makes the
// indexes that aren't there yet. The adapters are of key management, beside the
// core's own. Close ends it.
func Open(ctx context.Context, c config.Config, log *slog.Logger, now func() time.Time, adapters kms.Adapters) (_ *Platform, err error) {
	p := &Platform{Config: c, log: log, now: now, bell: jobs.NewBell()}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
		}
	}()
	wrapper, err := openKMS(ctx, c, now, adapters)
	if err != nil {
		return nil, fmt.Errorf("open key management: %w", err)
	}
	if p.db, err = mongo.Open(ctx, c.MongoDB.Reveal(), dataName); err != nil {
		return nil, fmt.Errorf("open document store: %w", err)
	}
	if p.keysDB, err = mongo.Open(ctx, c.KeyStore.Reveal(), keysName); err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	if p.redis, err = jobs.OpenRedis(c.Redis.Reveal()); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	p.queue = jobs.NewAsynqQueue(p.redis)
	p.bucket, err = blob.New(blob.Config{
		Endpoint: c.S3.Endpoint, Region: c.S3.Region, Bucket: c.S3.Bucket,
		AccessKey: c.S3.AccessKey.Reveal(), SecretKey: c.S3.SecretKey.Reveal(), CAFile: c.S3.CAFile,
	})
	if err != nil {
		return nil, fmt.Errorf("open object storage: %w", err)
	}
	can, err := p.bucket.Probe(ctx)
	if err == nil && !can.ObjectLock {
		err = errors.New("the bucket can't lock objects: make it with object lock")
	}
	if err != nil {
		return nil, fmt.Errorf("probe object storage: %w", err)
	}
	if err := p.openSecond(ctx); err != nil {
		return nil, fmt.Errorf("open second object storage: %w", err)
	}
	indexing, cancel := context.WithTimeout(ctx, indexTimeout)
	defer cancel()
	if err := p.db.EnsureIndexes(indexing); err != nil {
		return nil, err
	}
	keys := mongo.NewKeyStore(p.keysDB)
	if err := keys.EnsureIndexes(indexing); err != nil {
		return nil, err
	}
	if err := p.build(keys, wrapper); err != nil {
		return nil, err
	}
	return p, p.checkLedger(ctx)
}

// openKMS returns the key management service that the settings name.
func openKMS(ctx context.Context, c config.Config, now func() time.Time, adapters kms.Adapters) (kms.Wrapper, error) {
	if path := c.KMSFile(); path != "" {
		return localfile.Open(path, now)
	}
	if address := c.KMSTransit(); address != "" {
		return transit.Open(transit.Config{
			Address: address, Namespace: c.Transit.Namespace, CAFile: c.Transit.CAFile, TokenFile: c.Transit.TokenFile,
			RoleID: c.Transit.RoleID, SecretID: c.Transit.SecretID.Reveal(), Recovery: c.Transit.Recovery,
		})
	}
	if ring := c.KMSRing(); ring != "" {
		return gcp.Open(gcp.Config{
			KeyRing: ring, TokenFile: c.Transit.TokenFile, CAFile: c.Transit.CAFile, Recovery: c.Transit.Recovery, Now: now,
		})
	}
	name, address, _ := strings.Cut(c.KMS, ":")
	open, ok := adapters[name]
	if !ok {
		return nil, fmt.Errorf("this program has no adapter for VOGTER_KMS=%s:…: run the one that `make build-%s` builds, bin/vogter-%s", name, name, name)
	}
	return open(ctx, address)
}

// build makes the services.
func (p *Platform) build(keys *mongo.KeyStore, wrapper kms.Wrapper) error {
	v, err := vault.New(vault.Config{Store: keys, KMS: wrapper, Now: p.now})
	if err != nil {
		return err
	}
	hasher := vault.Hasher{Vault: v}
	policies := mongo.NewPolicyStore(p.db)
	loader := policy.NewLoader(policies, p.now)
	if p.authorizer, err = authz.New(authz.Config{Now: p.now, StepUp: p.Config.StepUp, Tenants: loader}); err != nil {
		return fmt.Errorf("read policies: %w", err)
	}
	p.Recorder = audit.NewRecorder(p.db, v, p.now)
	changes := change.NewRunner(p.db, p.Recorder, hasher, p.now, p.bell.Ring)
	p.Identity = ory.New(p.Config.Kratos.PublicURL, p.Config.Kratos.AdminURL)

	sender, err := mail.New(p.Config.Mail.SMTP.Reveal(), p.Config.Mail.From, nil)
	if err != nil {
		return err
	}
	p.notices, err = notify.NewService(notify.Config{
		Store: mongo.NewNotifyStore(p.db, v), Sender: sender, Changes: changes, Log: p.log, Now: p.now,
	})
	if err != nil {
		return err
	}
	tenants := mongo.NewTenantStore(p.db, v)
	if err := p.openLimits(hasher, tenants); err != nil {
		return err
	}
	p.openInbox(tenants)
	subjects := mongo.NewSubjectStore(p.db, v, p.log)
	p.evictions = authn.NewEvictions(p.redis, p.log)
	p.Tenants = tenancy.NewService(tenancy.Config{
		Store: tenants, Changes: changes, Recorder: p.Recorder, Vault: v, Hasher: hasher, Identities: p.Identity,
		Mail: p.notices, Sessions: p.evictions, BaseURL: p.Config.URL(), Now: p.now,
	})
	p.openGate(v, changes)
	p.openPortal(v, changes, subjects)
	p.sessions = session.NewService(p.Identity, p.Recorder, p.evictions)
	p.access = breakglass.NewService(breakglass.Config{
		Store: mongo.NewBreakGlassStore(p.db, v), Changes: changes, Tenants: p.Tenants, Mail: p.notices, Vault: v, Now: p.now,
	})
	p.APIKeys = apikey.NewService(apikey.Config{
		Store: mongo.NewAPIKeyStore(p.db), Changes: changes, Authorizer: p.authorizer, Hasher: hasher, Denied: p.denied, Log: p.log, Now: p.now,
	})
	p.documents = document.NewService(document.Config{
		Store: mongo.NewDocumentStore(p.db), Changes: changes, Check: graph.CheckDocument, Now: p.now,
	})
	if err := p.openLetters(changes); err != nil {
		return err
	}
	p.openOAuth(changes)
	p.Datasets = dataset.NewService(mongo.NewDatasetStore(p.db), changes, p.authorizer, p.now)
	p.purposes = purpose.NewService(purpose.Config{
		Purposes: mongo.NewPurposeStore(p.db), Notices: mongo.NewNoticeStore(p.db), Tenants: p.Tenants, Datasets: p.Datasets,
		Changes: changes, Now: p.now,
	})
	answers := mongo.NewConsentStore(p.db, v, p.log)
	gate := consent.NewGate(p.purposes, answers, p.now)
	p.Jobs = job.NewService(mongo.NewJobStore(p.db), changes, p.now, p.log, job.Timing{})
	p.openAudit(v, keys, changes, tenants)
	p.Subjects = subject.NewService(subjects, changes, p.Recorder, v, p.authorizer, p.Tenants, p.now)
	p.Subjects.Ask(gate)
	p.Subjects.Guard(p.gate)
	p.files = file.NewService(file.Config{
		Store: mongo.NewFileStore(p.db, v), Objects: p.bucket, Subjects: subjects, Datasets: p.Datasets, Looker: p.authorizer, Consents: gate, Gate: p.gate,
		Vault: v, Changes: changes, Recorder: p.Recorder, Log: p.log, Now: p.now,
	})
	p.Records = record.NewService(record.Parts{
		Store: mongo.NewRecordStore(p.db, v, p.log), Changes: changes, Recorder: p.Recorder, Vault: v,
		Looker: p.authorizer, Datasets: p.Datasets, Subjects: subjects, Files: p.files, Consents: gate, Gate: p.gate, Kept: p.keeper(v), Regions: p.Tenants, Now: p.now,
	})
	p.openKeys(v, keys, wrapper, changes, tenants, subjects)
	p.openRetention(v, changes)
	if err := p.openConsents(v, changes, subjects, answers); err != nil {
		return err
	}
	p.Imports = imports.NewService(imports.Parts{
		Store: mongo.NewImportStore(p.db), Changes: changes, Recorder: p.Recorder, Vault: v, Hasher: hasher,
		Looker: p.authorizer, Datasets: p.Datasets, Subjects: p.Subjects, Guards: subjects, Records: p.Records, Consents: p.consents, Gate: p.gate, Regions: p.Tenants, Now: p.now,
	})
	p.Exports = export.NewService(export.Config{
		Store: mongo.NewExportStore(p.db), Objects: p.bucket, Subjects: subjects, Datasets: p.Datasets,
		Looker: p.authorizer, Records: p.Records, Files: p.files, Tenants: tenants, Jobs: p.Jobs, Vault: v, Keys: keys, Signer: p.audit.ring,
		Consents: gate, Changes: changes, Log: p.log, Now: p.now,
	})
	p.openAssessments(v, changes, tenants, subjects)
	p.openProcessing(v, changes, tenants)
	if err := p.openAgreements(v, changes, tenants); err != nil {
		return err
	}
	p.openSecurity(v, changes, tenants)
	p.openErasures(v, changes, tenants, mongo.NewDisclosureStore(p.db, v, p.log))
	p.openRequests(v, changes, subjects, p.letters.Library)
	p.feed = feed.NewService(mongo.NewFeedStore(p.db))
	// Half of a worker's slots are left to other jobs.
	calls := webhook.NewClient(p.Config.WebhookAllowPrivate, nil, max(1, p.Config.WorkerConcurrency/2), p.now)
	p.webhooks = webhook.NewService(webhook.Config{
		Store: mongo.NewWebhookStore(p.db, v), Feed: p.feed,
		Client:  calls,
		Changes: changes, Vault: v, Owners: p.Tenants, Mailer: p.notices, Log: p.log, Now: p.now,
	})
	p.openOutside(v, changes)
	p.policies = policy.NewService(policy.Config{
		Engine: p.authorizer, Subjects: p.Subjects, Records: p.Records, Files: p.files, Datasets: p.Datasets, Members: p.Tenants,
		Recorder: p.Recorder, Store: policies, Loader: loader, Changes: changes, Now: p.now,
	})
	p.downloads = download.NewService(download.Config{
		Store: mongo.NewDownloadStore(p.db), Files: p.files, Exports: p.Exports, Audits: p.audit.trail, Registers: p.processing, Letters: p.post, Certificates: p.certificates, Agreements: p.Agreements,
		Authorizer: p.authorizer,
		Recorder:   p.Recorder, Changes: changes, Log: p.log, Now: p.now, BaseURL: p.Config.URL(),
	})
	p.openOpenDSR(hasher, subjects, changes, calls)
	return p.openCentre(tenants)
}

// openOAuth makes the service of OAuth clients, and a client of Hydra if there is one.
func (p *Platform) openOAuth(changes *change.Runner) {
	c := oauth.Config{
		Store: mongo.NewOAuthStore(p.db), Changes: changes, Authorizer: p.authorizer, Denied: p.denied, Log: p.log, Now: p.now, Audience: p.Config.URL(),
	}
	if p.Config.Hydra.PublicURL == "" {
		p.log.Info("OAuth is off: VOGTER_HYDRA_PUBLIC_URL is not set")
	} else {
		p.hydra = ory.NewHydra(p.Config.Hydra.PublicURL, p.Config.Hydra.AdminURL)
		c.Server, c.TokenURL = p.hydra, p.hydra.TokenURL()
	}
	p.OAuth = oauth.NewService(c)
}

// authorization is the check of Hydra, if there is one: without it signed tokens
// and API keys are taken as before.
func (p *Platform) authorization() []server.Check {
	if p.hydra == nil {
		return nil
	}
	return []server.Check{{Name: "authorization", Ready: p.hydra.Ready, Optional: true}}
}

// tokens checks access tokens; nil when OAuth is off.
func (p *Platform) tokens() (*authn.Tokens, error) {
	if p.hydra == nil {
		return nil, nil //nolint:nilnil // without is one way to run
	}
	return authn.NewTokens(authn.TokensConfig{
		Server: p.hydra, Clients: p.OAuth, Issuer: p.hydra.Issuer(), Audience: p.Config.URL(), Now: p.now,
	})
}

// Close ends all connections.
func (p *Platform) Close(ctx context.Context) error {
	var errs []error
	if p.redis != nil {
		errs = append(errs, p.redis.Close())
	}
	for _, db := range []*mongo.DB{p.keysDB, p.db} {
		if db != nil {
			errs = append(errs, db.Close(ctx))
		}
	}
	return errors.Join(errs...)
}

// Serve answers the API on l until ctx ends, and then finishes what is under way.
func (p *Platform) Serve(ctx context.Context, l net.Listener) error {
	tokens, err := p.tokens()
	if err != nil {
		return err
	}
	auth, err := authn.New(authn.Config{
		Keys: p.APIKeys, Tokens: tokens, Subjects: p.portal, Sessions: p.Identity, Members: p.Tenants, Grants: p.access, Evictions: p.evictions,
		Entered: p.signIns().Entered, Origin: p.Config.URL(), Now: p.now,
	})
	if err != nil {
		return fmt.Errorf("prepare sign-in: %w", err)
	}
	listening, err := p.listening() //nolint:contextcheck // a certificate outlives the calls that it is looked at for
	if err != nil {
		return err
	}
	return p.run(ctx, func(ctx context.Context) error {
		h, err := p.handler(auth, ctx.Done())
		if err != nil {
			return err
		}
		return server.Serve(ctx, l, h, listening)
	}, p.audit.anonymous.Run, p.evictions.Run, p.keys.evictions.Run, p.APIKeys.Run, p.OAuth.Run, p.watch.inbox.Run, p.watchClocks)
}

func (p *Platform) handler(auth *authn.Authenticator, stop <-chan struct{}) (http.Handler, error) {
	firewall, err := p.firewall()
	if err != nil {
		return nil, err
	}
	api := graph.New(graph.Config{
		Services: graph.Services{
			Authorizer: p.authorizer, Policies: p.policies, Tenants: p.Tenants, Portal: p.portal, Sessions: p.sessions, Access: p.access, APIKeys: p.APIKeys, Documents: p.documents, OAuth: p.OAuth, Datasets: p.Datasets,
			Subjects: p.Subjects, Records: p.Records, Files: p.files, Downloads: p.downloads, Imports: p.Imports,
			Exports: p.Exports, Audits: p.audit.trail, Epochs: p.keys.epochs, Rotations: p.keys.rotations, Erasures: p.keys.erasures, Jobs: p.Jobs, Feed: p.feed, Webhooks: p.webhooks, Security: p.watch.register,
			Purposes: p.purposes, Consents: p.consents, Receipts: p.receipts, Letters: p.letters, Measures: p.measures, Assessments: p.assessments, Disclosures: p.disclosures, Processing: p.processing,
			Requests: p.requests, Recipients: p.recipients, Tasks: p.tasks, Post: p.post, Retention: p.retention, Erase: p.erase, Answers: p.answers, Rights: p.rights, Rectify: p.rectify, Certificates: p.certificates, Agreements: p.Agreements, Calendars: p.calendars,
		},
		Recorder: p.Recorder, Log: p.log, Limiter: p.limiter, Introspection: p.Config.Mode == config.Development, Stop: stop,
	})
	signIn, err := p.signIn()
	if err != nil {
		return nil, err
	}
	open, err := p.pages()
	if err != nil {
		return nil, err
	}
	return server.New(server.Config{
		Log: p.log, Now: p.now, Auth: auth, Proxies: p.Config.Proxies(), Stop: stop,
		Limiter: p.limiter, Firewall: firewall, Refused: p.audit.anonymous.Refused, Origins: p.Tenants,
		Fail: func(w http.ResponseWriter, r *http.Request, err error) { httperr.Write(w, r, err, p.log) },
		Routes: append(slices.Concat(warned(api.Routes()), signIn, open, p.centre.Routes(), p.systems()),
			server.Route{Pattern: "PUT /v1/uploads", Stream: true, Uses: server.ByTenant(ratelimit.Uploads), Handler: agreement.Warned(file.Handler(p.files, p.authorizer))},
			server.Route{Pattern: "GET " + download.Path + "{token}", Public: true, Uses: server.ByCaller(ratelimit.Downloads), Handler: download.Handler(p.downloads)},
			server.Route{Pattern: "GET /.well-known/gpc.json", Public: true, Handler: http.HandlerFunc(consent.Support)},
			server.Route{Pattern: "GET /.well-known/jwks.json", Public: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := p.keySet(w, r); err != nil {
					httperr.Write(w, r, err, p.log)
				}
			})},
			server.Route{Pattern: "POST /v1/imports", Stream: true, Uses: server.ByTenant(ratelimit.Imports), Handler: agreement.Warned(imports.Handler(p.Imports, p.authorizer, p.log))},
			server.Route{Pattern: "GET /v1/imports/{id}", Handler: imports.Progress(p.Imports, p.authorizer, p.log)},
		),
		Checks: append([]server.Check{
			{Name: "documents", Ready: p.db.Ping},
			{Name: "keys", Ready: p.keysDB.Ping},
			{Name: "queue", Ready: p.queue.Ping},
			{Name: "objects", Ready: p.bucket.Ping},
			{Name: "identity", Ready: p.Identity.Ready, Optional: true}, // cached sessions and machine clients go on
		}, p.authorization()...),
	})
}

// Work does jobs until ctx ends, and then finishes those under way.
func (p *Platform) Work(ctx context.Context) error {
	mux := jobs.NewMux()
	mux.Handle(tenancy.JobInvite, func(ctx context.Context, r *job.Run) error { return p.Tenants.Prepare(ctx, r.Object()) })
	mux.Handle(file.JobRemove, func(ctx context.Context, r *job.Run) error { return p.files.Remove(ctx, r.Object()) })
	mux.Handle(oauth.JobRemove, func(ctx context.Context, r *job.Run) error { return p.OAuth.Remove(ctx, r.Object()) })
	mux.Handle(notify.JobSend, p.notices.Send)
	mux.Handle(webhook.JobVerify, p.webhooks.VerifyEndpoint)
	mux.Handle(webhook.JobDeliver, p.webhooks.Deliver)
	mux.Handle(trail.JobBuild, func(ctx context.Context, r *job.Run) error { return p.audit.trail.Build(ctx, r) })
	mux.Handle(export.JobBuild, func(ctx context.Context, r *job.Run) error { return p.Exports.Build(ctx, r) })

	sweeper := jobs.NewSweeper(mongo.NewLeaseStore(p.db), p.now, p.log, jobs.Timing{})
	p.workKeys(mux, sweeper)
	p.workConsents(mux, sweeper)
	p.workSecurity(sweeper)
	p.workPortal(mux, sweeper)
	p.workAssessments(sweeper)
	p.workRetention(mux, sweeper)
	p.workErasures(mux, sweeper)
	p.workRequests(mux, sweeper)
	mux.Handle(opendsr.JobCallback, p.openDSR.Callback)
	p.workAgreements(mux, sweeper)
	p.workOutside(mux)
	sweeper.Sweep("receipts", time.Hour, jobs.ExpireReceipts(p.db, p.now))
	sweeper.Sweep("uploads", time.Hour, p.files.Sweep)
	sweeper.Sweep("exports", time.Hour, p.Exports.Sweep)
	sweeper.Sweep("downloads", time.Hour, p.downloads.Sweep)
	sweeper.Sweep("audit exports", time.Hour, p.audit.trail.Sweep)
	sweeper.Sweep("audit checkpoints", seal.Every, p.audit.publisher.Sweep)
	sweeper.Sweep("audit verification", time.Hour, p.audit.patrol.Sweep)
	sweeper.Sweep("messages", time.Hour, p.notices.Sweep)
	sweeper.Sweep("webhooks", time.Second, p.webhooks.Dispatch)
	sweeper.Sweep("deliveries", time.Hour, p.webhooks.Sweep)

	reconciler := jobs.NewReconciler(p.Jobs, p.queue, p.bell, p.log, jobs.Timing{})
	worker := jobs.NewServer(jobs.ServerConfig{
		Jobs: p.Jobs, Redis: p.redis, Mux: mux, Log: p.log, Concurrency: p.Config.WorkerConcurrency,
		Grace: p.Config.ShutdownGrace,
	})
	return p.run(ctx, sweeper.Run, reconciler.Run, worker.Run, p.audit.sealer.Run, p.keys.evictions.Run, p.watch.inbox.Run, p.watchClocks)
}

// run runs the parts until ctx ends or one of them fails. The relay runs
// everywhere, so that a job is delivered at once by whoever asked for it.
func (p *Platform) run(ctx context.Context, parts ...func(context.Context) error) error {
	return p.Record(ctx, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		relay := jobs.NewRelay(p.Jobs, p.queue, p.bell, p.log, jobs.Timing{})
		for _, part := range append(parts, relay.Run) {
			group.Go(func() error { return part(ctx) })
		}
		return group.Wait()
	})
}

// Record runs fn with the recorder at work, which ends after it: what fn does
// last is recorded too.
func (p *Platform) Record(ctx context.Context, fn func(ctx context.Context) error) error {
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	recorded := make(chan error, 1)
	go func() { recorded <- p.Recorder.Run(recording) }()
	err := fn(ctx)
	stop()
	return errors.Join(err, <-recorded)
}
