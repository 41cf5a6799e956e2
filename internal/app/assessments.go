package app

import (
	"time"

	"github.com/vogter/vogter/internal/assessment"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// openAssessments makes what keeps measures, assessments and disclosures. Tenants,
// datasets and mail must be there.
func (p *Platform) openAssessments(v *vault.Vault, changes *change.Runner, tenants *mongo.TenantStore, subjects *mongo.SubjectStore) {
	named := mongo.NewProcessingStore(p.db, v)
	p.measures = measure.NewService(measure.Config{
		Store: mongo.NewMeasureStore(p.db), Tenants: tenants, Systems: named, Changes: changes, Now: p.now,
	})
	p.assessments = assessment.NewService(assessment.Config{
		Store: mongo.NewAssessmentStore(p.db), Tenants: tenants, Owners: p.Tenants, Mailer: p.notices, Measures: p.measures,
		Activities: named, Changes: changes, Now: p.now,
	})
	p.disclosures = disclosure.NewService(disclosure.Config{
		Store: mongo.NewDisclosureStore(p.db, v, p.log), Subjects: subjects, Datasets: p.Datasets, Parties: named, Vault: v,
		Authorizer: p.authorizer, Changes: changes, Recorder: p.Recorder, Now: p.now,
	})
}

// workAssessments has the worker make reviews due.
func (p *Platform) workAssessments(sweeper *jobs.Sweeper) {
	sweeper.Sweep("assessment reviews", time.Hour, p.assessments.Sweep)
}
