package graph_test

import (
	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/access"
	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/assessment"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/breakglass"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/policy"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/rectify"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/session"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/webhook"
)

// The services are what the edge takes them for.
var (
	_ graph.Recorder     = (*audit.Recorder)(nil)
	_ graph.Measures     = (*measure.Service)(nil)
	_ graph.Assessments  = (*assessment.Service)(nil)
	_ graph.Disclosures  = (*disclosure.Service)(nil)
	_ graph.Tenants      = (*tenancy.Service)(nil)
	_ graph.Portal       = (*portal.Service)(nil)
	_ graph.Sessions     = (*session.Service)(nil)
	_ graph.Access       = (*breakglass.Service)(nil)
	_ graph.APIKeys      = (*apikey.Service)(nil)
	_ graph.Datasets     = (*dataset.Service)(nil)
	_ graph.Subjects     = (*subject.Service)(nil)
	_ graph.Records      = (*record.Service)(nil)
	_ graph.Files        = (*file.Service)(nil)
	_ graph.Downloads    = (*download.Service)(nil)
	_ graph.Imports      = (*imports.Service)(nil)
	_ graph.Exports      = (*export.Service)(nil)
	_ graph.Jobs         = (*job.Service)(nil)
	_ graph.Feed         = (*feed.Service)(nil)
	_ graph.Webhooks     = (*webhook.Service)(nil)
	_ graph.Security     = (*security.Service)(nil)
	_ graph.Purposes     = (*purpose.Service)(nil)
	_ graph.Consents     = (*consent.Service)(nil)
	_ graph.Receipts     = (*receipt.Service)(nil)
	_ graph.Letters      = (*letter.Service)(nil)
	_ graph.Requests     = (*request.Service)(nil)
	_ graph.Recipients   = (*recipient.Service)(nil)
	_ graph.Tasks        = (*task.Service)(nil)
	_ graph.Policies     = (*policy.Service)(nil)
	_ graph.Retention    = (*retention.Service)(nil)
	_ graph.Erase        = (*erase.Service)(nil)
	_ graph.Answers      = (*access.Answers)(nil)
	_ graph.Rights       = (*rights.Service)(nil)
	_ graph.Rectify      = (*rectify.Service)(nil)
	_ graph.Agreements   = (*agreement.Service)(nil)
	_ graph.Certificates = (*certificate.Service)(nil)
	_ graph.Calendars    = (*calendar.Service)(nil)
	_ graph.Processing   = (*processing.Service)(nil)
	_ authn.Grants       = (*breakglass.Service)(nil)
	_ authn.Keys         = (*apikey.Service)(nil)
	_ authn.Members      = (*tenancy.Service)(nil)
)
