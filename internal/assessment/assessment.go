// Package assessment keeps what a tenant has weighed before and while it
// processes personal data: data protection impact assessments (DPIA, GDPR Art. 35
// and 36), legitimate interest assessments (LIA, Art. 6(1)(f)) and transfer impact
// assessments (TIA, CJEU C-311/18). DOMAIN §9 and §6.5.
//
// An assessment has versions. One is written, submitted, advised on by the data
// protection officer, and decided by another person than those who wrote it. What
// was decided never changes: revising it makes the next version. A decided one
// becomes due for review when its time is over, or when a processing activity that
// it is about becomes valid anew after the decision.
//
// Assessments speak of processing, and hold no personal data.
package assessment

import (
	"slices"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
)

// Kind is what an assessment weighs.
type Kind string

// The kinds.
const (
	KindDPIA Kind = "DPIA" // risks to persons, Art. 35
	KindLIA  Kind = "LIA"  // legitimate interests against the persons', Art. 6(1)(f)
	KindTIA  Kind = "TIA"  // the law and practice of a third country
)

// State is where an assessment stands.
type State string

// The states, DOMAIN §9. A LIA or TIA begins IN_PROGRESS: only a DPIA is screened,
// or brought before the authority.
const (
	Screening         State = "SCREENING"
	NotRequired       State = "NOT_REQUIRED"
	InProgress        State = "IN_PROGRESS"
	DPOReview         State = "DPO_REVIEW"
	Approved          State = "APPROVED"
	Rejected          State = "REJECTED"
	PriorConsultation State = "PRIOR_CONSULTATION" // Art. 36
	ReviewDue         State = "REVIEW_DUE"
)

// Limits.
const (
	MaxVersions   = 200 // of an assessment
	MaxActivities = 50  // of an assessment
	maxRisks      = 200
	maxMeasures   = 100
	maxAdvice     = 20
	maxPauses     = 50
	maxTitle      = 200
	maxText       = 20_000
)

// Assessment is an assessment in its present version.
type Assessment struct {
	ID     string
	Kind   Kind
	Number int // of the version, from 1
	State  State
	Content

	Authors      []string // who wrote this version: members and machine clients
	Advice       []Advice // of the data protection officer, Art. 35(2), the oldest first
	Consultation *Consultation
	Decision     *Decision
	Review       *Review // why it is REVIEW_DUE
	// SubmittedAt is since when this version stands as it is, nil while it is written.
	SubmittedAt *time.Time

	Version   int64 // counts changes, for expectedVersion
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Content is what authors write.
type Content struct {
	Title      string
	Owner      string   // id of the member who answers for it, and is told when a review is due
	Activities []string // ids of the processing activities that it is about
	ReviewOn   *civil.Date
	Screening  *ScreeningAnswers // of a DPIA
	DPIA       *DPIA
	LIA        *LIA
	TIA        *TIA
}

// Edition is a version that was decided, as it was then.
type Edition Assessment

// Criterion is a reason why a DPIA is required.
type Criterion string

// The criteria of Art. 35.
const (
	SystematicEvaluation Criterion = "SYSTEMATIC_EVALUATION"  // (3)(a)
	LargeScaleSpecial    Criterion = "LARGE_SCALE_SPECIAL"    // (3)(b): data of Art. 9 or 10
	LargeScaleMonitoring Criterion = "LARGE_SCALE_MONITORING" // (3)(c): of places open to the public
	NationalList         Criterion = "NATIONAL_LIST"          // (4)
	OtherHighRisk        Criterion = "OTHER_HIGH_RISK"        // (1)
)

// ScreeningAnswers tell whether a DPIA is required.
type ScreeningAnswers struct {
	Criteria []Criterion // that are met; none: it isn't required
	Note     string
}

// Level is how likely or how severe something is.
type Level string

// The levels, in rising order.
const (
	Negligible  Level = "NEGLIGIBLE"
	Limited     Level = "LIMITED"
	Significant Level = "SIGNIFICANT"
	Maximum     Level = "MAXIMUM"
)

func levels() []Level { return []Level{Negligible, Limited, Significant, Maximum} }

// Band is how high a risk is.
type Band string

// The bands, in rising order.
const (
	Low    Band = "LOW"
	Medium Band = "MEDIUM"
	High   Band = "HIGH"
)

func bands() []Band { return []Band{Low, Medium, High} }

// band is the product of likelihood and severity, counted from 1 to 4 each: HIGH
// from 9, MEDIUM from 4; so what is of maximum severity and not negligibly likely
// is never low.
func band(likelihood, severity Level) Band {
	switch p := (slices.Index(levels(), likelihood) + 1) * (slices.Index(levels(), severity) + 1); {
	case p >= 9:
		return High
	case p >= 4:
		return Medium
	default:
		return Low
	}
}

// Risk is a risk to persons, before and after measures.
type Risk struct {
	Threat           string
	LikelihoodBefore Level
	SeverityBefore   Level
	LikelihoodAfter  Level
	SeverityAfter    Level
	Measures         []string // ids of the security measures against it
}

// Before is how high the risk is without the measures.
func (r Risk) Before() Band { return band(r.LikelihoodBefore, r.SeverityBefore) }

// After is how high it is with them.
func (r Risk) After() Band { return band(r.LikelihoodAfter, r.SeverityAfter) }

// DPIA is the content of a data protection impact assessment, Art. 35(7).
type DPIA struct {
	Description        string // of the processing envisaged
	Purposes           string
	LegitimateInterest string // where there is one
	Necessity          string // and proportionality
	Risks              []Risk
	Measures           []string // ids of the security measures envisaged
	SubjectViews       string   // Art. 35(9), or why they weren't sought
	ResidualRisk       *Band
}

// Outcome is what a LIA came to.
type Outcome string

// The outcomes of a LIA.
const (
	InterestPrevails   Outcome = "INTEREST_PREVAILS"
	InterestOverridden Outcome = "INTEREST_OVERRIDDEN" // by those of the persons
)

// LIA is the content of a legitimate interest assessment.
type LIA struct {
	Holder        string // whose interest it is
	Interest      string
	Lawful        bool
	Specific      bool
	PublicTask    bool // the purposes are tasks of a public authority: Art. 6(1), second subparagraph
	Necessity     string
	LessIntrusive string // the less intrusive means there are, and why they won't do
	DataNature    string
	Expectations  string // reasonable ones of the persons
	Impact        string
	Safeguards    string
	Children      string
	Outcome       *Outcome
	Conclusion    string
	OptOut        string // how persons object, Art. 21
}

// Equivalence is what a TIA came to: whether persons are protected in the third
// country essentially as in the Union.
type Equivalence string

// The outcomes of a TIA.
const (
	Equivalent             Equivalence = "EQUIVALENT"
	EquivalentWithMeasures Equivalence = "EQUIVALENT_WITH_MEASURES"
	NotEquivalent          Equivalence = "NOT_EQUIVALENT"
)

// TIA is the content of a transfer impact assessment.
type TIA struct {
	Country        string // ISO 3166-1 alpha-2
	Circumstances  string
	ImporterType   string
	Data           string // and their format
	LawAndPractice string
	Problematic    string // findings of problematic legislation; none when empty
	Technical      string // supplementary measures; none when empty
	Contractual    string
	Organisational string
	Outcome        *Equivalence
	Conclusion     string
}

// supplementary reports whether there is a supplementary measure.
func (t *TIA) supplementary() bool { return t.Technical+t.Contractual+t.Organisational != "" }

// Opinion is what a data protection officer thinks of an assessment.
type Opinion string

// The opinions.
const (
	Favourable   Opinion = "FAVOURABLE"
	Conditional  Opinion = "CONDITIONAL"
	Unfavourable Opinion = "UNFAVOURABLE"
)

// Advice is that of a data protection officer.
type Advice struct {
	By      string
	At      time.Time
	Opinion Opinion
	Text    string
}

// Decision is what was decided on a version, and why.
type Decision struct {
	By     string
	At     time.Time
	Reason string
}

// ReviewReason is why a review is due.
type ReviewReason string

// The reasons, Art. 35(11).
const (
	ActivityChanged ReviewReason = "ACTIVITY_CHANGED"
	TimeOver        ReviewReason = "TIME_OVER"
	Demanded        ReviewReason = "DEMANDED" // by a person, for a reason of theirs
)

// Review is why a review is due.
type Review struct {
	Reason   ReviewReason
	Activity *string // that changed
	Note     *string // of who demanded it
	At       time.Time
}

// Connection is a page of assessments, the newest first.
type Connection = page.Connection[*Assessment]

// Edge is an assessment on a page.
type Edge = page.Edge[*Assessment]

// Filter selects assessments; what is nil doesn't.
type Filter struct {
	Kind     *Kind
	State    *State
	Activity *string
}

// Inputs.
type (
	// CreateInput asks for an assessment.
	CreateInput struct {
		Kind Kind
		Content
	}
	// UpdateInput asks for changes of what isn't submitted yet; what is nil stays.
	UpdateInput struct {
		ID              string
		ExpectedVersion int64
		Title           *string
		Owner           *string
		Activities      []string
		ReviewOn        *civil.Date
		Screening       *ScreeningAnswers
		DPIA            *DPIA
		LIA             *LIA
		TIA             *TIA
	}
	// Input names an assessment, at a version.
	Input struct {
		ID              string
		ExpectedVersion int64
	}
	// ReasonInput names an assessment, and gives a reason for what is done to it.
	ReasonInput struct {
		ID              string
		ExpectedVersion int64
		Reason          string
	}
	// AdviseInput is advice on an assessment.
	AdviseInput struct {
		ID              string
		ExpectedVersion int64
		Opinion         Opinion
		Text            string
	}
	// ApproveInput approves an assessment, and may set another date of review.
	ApproveInput struct {
		ID              string
		ExpectedVersion int64
		Reason          string
		ReviewOn        *civil.Date
	}
	// ConsultInput notes that the authority was consulted.
	ConsultInput struct {
		ID              string
		ExpectedVersion int64
		Authority       string
		ReceivedOn      civil.Date // by the authority
	}
	// NoteInput notes what the authority said.
	NoteInput struct {
		ID              string
		ExpectedVersion int64
		Note            Note
		On              civil.Date
		Outcome         *Answer // of ANSWERED
		Text            string
	}
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such assessment")
	ErrNoOwner  = errs.New(errs.NotFound, "no such member").At("owner")
	// ErrState refuses a step that the assessment's state doesn't allow.
	ErrState = errs.New(errs.Precondition, "the assessment's state doesn't allow this").Under("assessment.state")
	// ErrImmutable refuses to change what was submitted or decided.
	ErrImmutable = errs.New(errs.Precondition, "what is submitted or decided doesn't change: once it is decided, revise it, which makes the next version").Under("assessment.immutable")
	ErrFourEyes  = errs.New(errs.Forbidden, "an assessment is decided by another person than those who wrote it").Under("assessment.fourEyes")
	// ErrNoPerson keeps one person from writing with a key of theirs and deciding by hand.
	ErrNoPerson    = errs.New(errs.Forbidden, "an assessment is submitted, or screened out, by a person: a program may only write it").Under("assessment.fourEyes")
	ErrNotDPO      = errs.New(errs.Forbidden, "advice is the data protection officer's to give (GDPR Art. 35(2))").Under("art35.2.advice")
	ErrNoAdvice    = errs.New(errs.Precondition, "the data protection officer's advice on this version is missing (GDPR Art. 35(2))").Under("art35.2.advice")
	ErrConsult     = errs.New(errs.Precondition, "the residual risk is high: consult the authority first (GDPR Art. 36(1))").Under("art36.1.consultation")
	errEarlier     = errs.New(errs.Invalid, "the authority can't have received this version before it was submitted").At("receivedOn")
	ErrNoConsult   = errs.New(errs.Precondition, "the authority is consulted when the residual risk is high only (GDPR Art. 36(1))").Under("art36.1.residualRisk")
	ErrWaiting     = errs.New(errs.Precondition, "the authority has neither answered nor let its time pass (GDPR Art. 36(2))").Under("art36.2.answer")
	ErrProhibited  = errs.New(errs.Precondition, "the authority has prohibited the processing (GDPR Art. 58(2)(f)): reject the assessment").Under("art36.2.prohibited")
	ErrRequired    = errs.New(errs.Precondition, "a criterion of GDPR Art. 35 is met: the assessment is required").Under("art35.3.criteria")
	ErrPublicTask  = errs.New(errs.Precondition, "a public authority can't base its tasks on legitimate interests (GDPR Art. 6(1), second subparagraph)").Under("art6.1.publicTask")
	ErrOverridden  = errs.New(errs.Precondition, "the persons' interests override, or the interest is not lawful and specific: reject the assessment").Under("art6.1.f.balance")
	ErrInequality  = errs.New(errs.Precondition, "persons wouldn't be protected as in the Union: reject the assessment").Under("art46.equivalence")
	ErrReviewDate  = errs.New(errs.Precondition, "an approved assessment has a date of review that lies ahead").Under("art35.11.reviewDate").At("reviewOn")
	ErrIncomplete  = errs.New(errs.Precondition, "it can't be submitted yet: this is missing").Under("assessment.complete")
	ErrSupplement  = errs.New(errs.Precondition, "problematic legislation, or a conclusion that rests on measures, needs a supplementary measure").Under("art46.supplementaryMeasures")
	ErrTooLow      = errs.New(errs.Precondition, "the residual risk is at least that of the highest risk after measures").Under("art35.7.residualRisk").At("dpia.residualRisk")
	ErrTooMany     = errs.New(errs.Limited, "an assessment has at most %d versions", MaxVersions)
	errPart        = errs.New(errs.Invalid, "give the part that belongs to the kind of assessment, and no other")
	errDateOfPast  = errs.New(errs.Invalid, "the date lies before the consultation, or ahead").At("on")
	errNote        = errs.New(errs.Precondition, "this doesn't follow from what was noted before").Under("art36.2.clock")
	errWithOutcome = errs.New(errs.Invalid, "an answer has an outcome, and nothing else has").At("outcome")
)
