package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/assessment"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

var _ assessment.Store = (*AssessmentStore)(nil)

// AssessmentStore keeps assessments, and their versions as they were decided.
type AssessmentStore struct{ coll, versions *mongo.Collection }

// NewAssessmentStore returns the store of assessments in d.
func NewAssessmentStore(d *DB) *AssessmentStore {
	return &AssessmentStore{d.db.Collection(assessmentsColl), d.db.Collection(assessmentVersionsColl)}
}

type (
	assessmentDoc struct {
		ID         string           `bson:"_id"`
		Tenant     tenant.ID        `bson:"tenant"`
		Kind       assessment.Kind  `bson:"kind"`
		Number     int              `bson:"number"`
		State      assessment.State `bson:"state"`
		Title      string           `bson:"title"`
		Owner      string           `bson:"owner"`
		Activities []string         `bson:"activities,omitempty"`
		ReviewOn   string           `bson:"reviewOn,omitempty"` // YYYY-MM-DD
		Screening  *screeningDoc    `bson:"screening,omitempty"`
		DPIA       *dpiaDoc         `bson:"dpia,omitempty"`
		LIA        *liaDoc          `bson:"lia,omitempty"`
		TIA        *tiaDoc          `bson:"tia,omitempty"`

		Authors      []string         `bson:"authors"`
		Advice       []adviceDoc      `bson:"advice,omitempty"`
		Consultation *consultationDoc `bson:"consultation,omitempty"`
		Decision     *decisionDoc     `bson:"decision,omitempty"`
		Review       *reviewDoc       `bson:"review,omitempty"`

		Version   int64     `bson:"version"`
		CreatedAt time.Time `bson:"createdAt"`
		UpdatedAt time.Time `bson:"updatedAt"`

		SubmittedAt *time.Time `bson:"submittedAt,omitempty"`
	}
	// assessmentVersionDoc is an assessment as it was decided; its _id is the
	// assessment's with the number.
	assessmentVersionDoc struct {
		ID         string        `bson:"_id"`
		Tenant     tenant.ID     `bson:"tenant"`
		Assessment string        `bson:"assessment"`
		Number     int           `bson:"number"`
		Was        assessmentDoc `bson:"was"`
	}
	screeningDoc struct {
		Criteria []assessment.Criterion `bson:"criteria,omitempty"`
		Note     string                 `bson:"note"`
	}
	dpiaDoc struct {
		Description        string           `bson:"description"`
		Purposes           string           `bson:"purposes"`
		LegitimateInterest string           `bson:"legitimateInterest"`
		Necessity          string           `bson:"necessity"`
		Risks              []riskDoc        `bson:"risks,omitempty"`
		Measures           []string         `bson:"measures,omitempty"`
		SubjectViews       string           `bson:"subjectViews"`
		ResidualRisk       *assessment.Band `bson:"residualRisk,omitempty"`
	}
	riskDoc struct {
		Threat           string           `bson:"threat"`
		LikelihoodBefore assessment.Level `bson:"likelihoodBefore"`
		SeverityBefore   assessment.Level `bson:"severityBefore"`
		LikelihoodAfter  assessment.Level `bson:"likelihoodAfter"`
		SeverityAfter    assessment.Level `bson:"severityAfter"`
		Measures         []string         `bson:"measures,omitempty"`
	}
	liaDoc struct {
		Holder        string              `bson:"holder"`
		Interest      string              `bson:"interest"`
		Lawful        bool                `bson:"lawful"`
		Specific      bool                `bson:"specific"`
		PublicTask    bool                `bson:"publicTask"`
		Necessity     string              `bson:"necessity"`
		LessIntrusive string              `bson:"lessIntrusive"`
		DataNature    string              `bson:"dataNature"`
		Expectations  string              `bson:"expectations"`
		Impact        string              `bson:"impact"`
		Safeguards    string              `bson:"safeguards"`
		Children      string              `bson:"children"`
		Outcome       *assessment.Outcome `bson:"outcome,omitempty"`
		Conclusion    string              `bson:"conclusion"`
		OptOut        string              `bson:"optOut"`
	}
	tiaDoc struct {
		Country        string                  `bson:"country"`
		Circumstances  string                  `bson:"circumstances"`
		ImporterType   string                  `bson:"importerType"`
		Data           string                  `bson:"data"`
		LawAndPractice string                  `bson:"lawAndPractice"`
		Problematic    string                  `bson:"problematic"`
		Technical      string                  `bson:"technical"`
		Contractual    string                  `bson:"contractual"`
		Organisational string                  `bson:"organisational"`
		Outcome        *assessment.Equivalence `bson:"outcome,omitempty"`
		Conclusion     string                  `bson:"conclusion"`
	}
	adviceDoc struct {
		By      string             `bson:"by"`
		At      time.Time          `bson:"at"`
		Opinion assessment.Opinion `bson:"opinion"`
		Text    string             `bson:"text"`
	}
	consultationDoc struct {
		Authority   string             `bson:"authority"`
		ReceivedOn  string             `bson:"receivedOn"`
		ExtendedOn  string             `bson:"extendedOn,omitempty"`
		Suspensions []suspensionDoc    `bson:"suspensions,omitempty"`
		AnsweredOn  string             `bson:"answeredOn,omitempty"`
		Outcome     *assessment.Answer `bson:"outcome,omitempty"`
		Text        string             `bson:"text"`
		DueOn       string             `bson:"dueOn,omitempty"`
	}
	suspensionDoc struct {
		From  string `bson:"from"`
		Until string `bson:"until,omitempty"`
	}
	decisionDoc struct {
		By     string    `bson:"by"`
		At     time.Time `bson:"at"`
		Reason string    `bson:"reason"`
	}
	reviewDoc struct {
		Reason   assessment.ReviewReason `bson:"reason"`
		Activity *string                 `bson:"activity,omitempty"`
		Note     *string                 `bson:"note,omitempty"`
		At       time.Time               `bson:"at"`
	}
)

// day returns the stored form of a date, which sorts as dates do.
func day(d *civil.Date) string {
	if d == nil {
		return ""
	}
	return d.String()
}

// days reads stored dates, and keeps the first error.
type days struct{ err error }

func (r *days) read(s string) *civil.Date {
	if s == "" {
		return nil
	}
	d, err := civil.Parse(s)
	if err != nil && r.err == nil {
		r.err = err
	}
	return &d
}

func newAssessmentDoc(of tenant.ID, a *assessment.Assessment) assessmentDoc {
	doc := assessmentDoc{
		ID: a.ID, Tenant: of, Kind: a.Kind, Number: a.Number, State: a.State, Title: a.Title, Owner: a.Owner, Activities: a.Activities,
		ReviewOn: day(a.ReviewOn), Screening: (*screeningDoc)(a.Screening), LIA: (*liaDoc)(a.LIA), TIA: (*tiaDoc)(a.TIA), Authors: a.Authors,
		Decision: (*decisionDoc)(a.Decision), Review: (*reviewDoc)(a.Review), Version: a.Version, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, SubmittedAt: a.SubmittedAt,
	}
	if d := a.DPIA; d != nil {
		doc.DPIA = &dpiaDoc{
			Description: d.Description, Purposes: d.Purposes, LegitimateInterest: d.LegitimateInterest, Necessity: d.Necessity,
			Measures: d.Measures, SubjectViews: d.SubjectViews, ResidualRisk: d.ResidualRisk,
		}
		for _, r := range d.Risks {
			doc.DPIA.Risks = append(doc.DPIA.Risks, riskDoc(r))
		}
	}
	for _, advice := range a.Advice {
		doc.Advice = append(doc.Advice, adviceDoc(advice))
	}
	if c := a.Consultation; c != nil {
		doc.Consultation = &consultationDoc{
			Authority: c.Authority, ReceivedOn: c.ReceivedOn.String(), ExtendedOn: day(c.ExtendedOn), AnsweredOn: day(c.AnsweredOn),
			Outcome: c.Outcome, Text: c.Text, DueOn: day(c.DueOn),
		}
		for _, p := range c.Suspensions {
			doc.Consultation.Suspensions = append(doc.Consultation.Suspensions, suspensionDoc{p.From.String(), day(p.Until)})
		}
	}
	return doc
}

func (d *assessmentDoc) assessment() (*assessment.Assessment, error) {
	var dates days
	a := &assessment.Assessment{
		ID: d.ID, Kind: d.Kind, Number: d.Number, State: d.State,
		Content: assessment.Content{
			Title: d.Title, Owner: d.Owner, Activities: d.Activities, ReviewOn: dates.read(d.ReviewOn),
			Screening: (*assessment.ScreeningAnswers)(d.Screening), LIA: (*assessment.LIA)(d.LIA), TIA: (*assessment.TIA)(d.TIA),
		},
		Authors: d.Authors, Decision: (*assessment.Decision)(d.Decision), Review: (*assessment.Review)(d.Review),
		Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt, SubmittedAt: d.SubmittedAt,
	}
	if p := d.DPIA; p != nil {
		a.DPIA = &assessment.DPIA{
			Description: p.Description, Purposes: p.Purposes, LegitimateInterest: p.LegitimateInterest, Necessity: p.Necessity,
			Measures: p.Measures, SubjectViews: p.SubjectViews, ResidualRisk: p.ResidualRisk,
		}
		for _, r := range p.Risks {
			a.DPIA.Risks = append(a.DPIA.Risks, assessment.Risk(r))
		}
	}
	for _, advice := range d.Advice {
		a.Advice = append(a.Advice, assessment.Advice(advice))
	}
	if c := d.Consultation; c != nil {
		a.Consultation = &assessment.Consultation{
			Authority: c.Authority, ExtendedOn: dates.read(c.ExtendedOn), AnsweredOn: dates.read(c.AnsweredOn), Outcome: c.Outcome, Text: c.Text,
			DueOn: dates.read(c.DueOn),
		}
		if on := dates.read(c.ReceivedOn); on != nil {
			a.Consultation.ReceivedOn = *on
		}
		for _, p := range c.Suspensions {
			suspension := assessment.Suspension{Until: dates.read(p.Until)}
			if on := dates.read(p.From); on != nil {
				suspension.From = *on
			}
			a.Consultation.Suspensions = append(a.Consultation.Suspensions, suspension)
		}
	}
	if dates.err != nil {
		return nil, fmt.Errorf("read dates of assessment %s: %w", d.ID, dates.err)
	}
	return a, nil
}

func assessmentsOf(docs []assessmentDoc) ([]*assessment.Assessment, error) {
	list := make([]*assessment.Assessment, len(docs))
	for i := range docs {
		var err error
		if list[i], err = docs[i].assessment(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Get implements assessment.Store.
func (s *AssessmentStore) Get(ctx context.Context, assessmentID string) (*assessment.Assessment, error) {
	d, err := one[assessmentDoc](ctx, s.coll, "assessment", assessment.ErrNotFound, bson.E{Key: "_id", Value: assessmentID})
	if err != nil {
		return nil, err
	}
	return d.assessment()
}

// List implements assessment.Store.
func (s *AssessmentStore) List(ctx context.Context, f assessment.Filter, after *page.Position, limit int) ([]*assessment.Assessment, error) {
	var equal bson.D
	if f.Kind != nil {
		equal = append(equal, bson.E{Key: "kind", Value: *f.Kind})
	}
	if f.State != nil {
		equal = append(equal, bson.E{Key: "state", Value: *f.State})
	}
	if f.Activity != nil {
		equal = append(equal, bson.E{Key: "activities", Value: *f.Activity})
	}
	docs, err := keyset[assessmentDoc](ctx, s.coll, equal, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list assessments: %w", err)
	}
	return assessmentsOf(docs)
}

// Insert implements assessment.Store.
func (s *AssessmentStore) Insert(ctx context.Context, a *assessment.Assessment) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if _, err := s.coll.InsertOne(ctx, newAssessmentDoc(of, a)); err != nil {
		return fmt.Errorf("insert assessment: %w", translate(err))
	}
	return nil
}

// Update implements assessment.Store.
func (s *AssessmentStore) Update(ctx context.Context, a *assessment.Assessment) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	return replaceVersion(ctx, s.coll, a.ID, a.Version, newAssessmentDoc(of, a))
}

// Freeze implements assessment.Store.
func (s *AssessmentStore) Freeze(ctx context.Context, a *assessment.Assessment) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.versions.InsertOne(ctx, assessmentVersionDoc{
		ID: fmt.Sprintf("%s/%d", a.ID, a.Number), Tenant: of, Assessment: a.ID, Number: a.Number, Was: newAssessmentDoc(of, a),
	})
	if err != nil {
		return fmt.Errorf("keep version of assessment %s: %w", a.ID, translate(err))
	}
	return nil
}

// Editions implements assessment.Store.
func (s *AssessmentStore) Editions(ctx context.Context, assessmentID string) ([]*assessment.Edition, error) {
	filter, err := scoped(ctx, bson.E{Key: "assessment", Value: assessmentID})
	if err != nil {
		return nil, err
	}
	docs, err := all[assessmentVersionDoc](ctx, s.versions, filter,
		options.Find().SetSort(bson.D{{Key: "number", Value: -1}}).SetLimit(assessment.MaxVersions))
	if err != nil {
		return nil, fmt.Errorf("list versions of assessment %s: %w", assessmentID, err)
	}
	editions := make([]*assessment.Edition, len(docs))
	for i := range docs {
		a, err := docs[i].Was.assessment()
		if err != nil {
			return nil, err
		}
		editions[i] = (*assessment.Edition)(a)
	}
	return editions, nil
}

// Due implements assessment.Store. It spans tenants.
func (s *AssessmentStore) Due(ctx context.Context, on civil.Date, limit int) ([]assessment.Ref, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	var refs []assessment.Ref
	for _, state := range []assessment.State{assessment.Approved, assessment.NotRequired, assessment.Rejected} {
		docs, err := all[assessmentDoc](ctx, s.coll, bson.D{
			{Key: "state", Value: state}, {Key: "reviewOn", Value: bson.D{{Key: "$gt", Value: ""}, {Key: "$lte", Value: on.String()}}},
		}, options.Find().SetSort(bson.D{{Key: "reviewOn", Value: 1}}).SetLimit(int64(limit)).
			SetProjection(bson.D{{Key: "tenant", Value: 1}}))
		if err != nil {
			return nil, fmt.Errorf("find due assessments: %w", err)
		}
		for _, d := range docs {
			refs = append(refs, assessment.Ref{Tenant: d.Tenant, ID: d.ID})
		}
	}
	return refs, nil
}
