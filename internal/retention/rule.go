// Package retention decides how long data is kept, GDPR Art. 5(1)(e), and erases
// what nothing keeps any more.
//
// A rule is of a dataset within a processing activity, never of a whole person: it
// keeps until a day, or demands erasure after it, counted from a date that is
// stored. A hold keeps whatever the rules say. Decide resolves them; it is pure.
// The dates that rules read lie beside the sealed data, under opaque ids, so that
// what falls due is found by an index: see Dates.
package retention

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
)

// Trigger is the event from which a period counts. Each reads a date that is
// stored, see Dates.
type Trigger string

// The triggers, DOMAIN §3.1, with the date that each reads.
const (
	BusinessRelationEnd   Trigger = "BUSINESS_RELATION_END"   // the end of the last business relation
	SingleTransactionDone Trigger = "SINGLE_TRANSACTION_DONE" // the end of the last single transaction
	EmploymentEnd         Trigger = "EMPLOYMENT_END"          // the end of the last employment
	FinancialYearEnd      Trigger = "FINANCIAL_YEAR_END"      // the end of the financial year in which the newest record was collected
	ConsentWithdrawn      Trigger = "CONSENT_WITHDRAWN"       // the last withdrawal
	CaseClosed            Trigger = "CASE_CLOSED"             // the last closing of a case
	LastActivity          Trigger = "LAST_ACTIVITY"           // the last change of a record
	CollectedAt           Trigger = "COLLECTED_AT"            // when the newest record was collected

	personErased Trigger = "PERSON_ERASED" // of Proof: no rule of a tenant has it
)

// Kind is what a rule does.
type Kind string

// The kinds.
const (
	Min       Kind = "MIN"         // must be kept until
	Max       Kind = "MAX"         // must be erased after
	MinAndMax Kind = "MIN_AND_MAX" // both
)

func (k Kind) keeps() bool  { return k == Min || k == MinAndMax }
func (k Kind) erases() bool { return k == Max || k == MinAndMax }

// Exception is why data is kept against a wish to have it erased: a part of GDPR
// Art. 17(3).
type Exception string

// The exceptions.
const (
	Expression      Exception = "E17_3_A"
	LegalObligation Exception = "E17_3_B"
	PublicHealth    Exception = "E17_3_C"
	Archiving       Exception = "E17_3_D"
	LegalClaims     Exception = "E17_3_E"
)

// Article returns the exception as lawyers write it.
func (e Exception) Article() string {
	return "GDPR Art. 17(3)(" + strings.ToLower(strings.TrimPrefix(string(e), "E17_3_")) + ")"
}

// State is where a rule stands.
type State string

// The states.
const (
	Active  State = "ACTIVE"
	Retired State = "RETIRED"
)

// Rule is one retention rule.
type Rule struct {
	ID string
	Content

	State     State
	Version   int64
	CreatedBy string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Content is what a rule says.
type Content struct {
	// Dataset is whose records the rule is about; none stands for what identifies
	// the person, and goes last.
	Dataset  *string
	Activity *string // the processing activity; one purpose's rules share it
	Template *string // the default that it was made from

	Trigger Trigger
	Period  Period
	Kind    Kind
	// YearEnd is the last day of the financial year, MM-DD; 31 December when absent.
	YearEnd     *string
	LegalSource string
	Exception   Exception
	// Restricted rules keep data for proof only: it is used for nothing else.
	Restricted bool
	TextDa     string // for the person: why this is kept
	TextEn     string
	// Assessment says why a rule that the law doesn't demand is needed.
	Assessment *string
	ValidFrom  *civil.Date
	ValidTo    *civil.Date
}

// Period is a length of time in calendar units, ISO 8601: P5Y, P18M, P30D, P2W.
type Period struct {
	Years, Months, Days int
}

// ErrPeriod reports what is no period.
var ErrPeriod = errs.New(errs.Invalid, "a period is written as in P5Y, P18M, P30D or P1Y6M, and at most 100 years long").At("period")

const (
	yearMonths  = 12
	weekDays    = 7
	maxPeriod   = 100 // years
	maxDays     = 36525
	maxText     = 1000
	maxSource   = 300
	defaultYear = "12-31"
)

// ParsePeriod reads an ISO 8601 duration of years, months, weeks and days.
func ParsePeriod(s string) (Period, error) {
	m := regexp.MustCompile(`^P(?:(\d{1,3})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,5})D)?$`).FindStringSubmatch(s)
	if m == nil || s == "P" {
		return Period{}, ErrPeriod
	}
	n := [4]int{}
	for i, digits := range m[1:] {
		n[i], _ = strconv.Atoi(digits) // none is 0
	}
	p := Period{n[0], n[1], n[2]*weekDays + n[3]}
	if p.Years*yearMonths+p.Months > maxPeriod*yearMonths || p.Days > maxDays {
		return Period{}, ErrPeriod
	}
	return p, nil
}

// String writes the period as ParsePeriod reads it.
func (p Period) String() string {
	parts := []string{"P"}
	for _, part := range []struct {
		n    int
		unit string
	}{{p.Years, "Y"}, {p.Months, "M"}, {p.Days, "D"}} {
		if part.n > 0 {
			parts = append(parts, strconv.Itoa(part.n), part.unit)
		}
	}
	if len(parts) == 1 {
		return "P0D"
	}
	return strings.Join(parts, "")
}

// MarshalJSON writes the period as text.
func (p Period) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

// UnmarshalJSON reads the period from text.
func (p *Period) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return ErrPeriod
	}
	var err error
	*p, err = ParsePeriod(s)
	return err
}

// after returns the last day of the period that begins on the day after d:
// national periods end with the month's last day and don't roll.
func (p Period) after(d civil.Date) civil.Date {
	return d.AddMonths(p.Years*yearMonths + p.Months).AddDays(p.Days)
}

// Template is a default that a tenant may make rules from.
type Template struct {
	ID               string      `json:"id"`
	Trigger          Trigger     `json:"trigger"`
	Period           Period      `json:"period"`
	Kind             Kind        `json:"kind"`
	LegalSource      string      `json:"legalSource"`
	TextDa           string      `json:"text_da"`
	TextEn           string      `json:"text_en"`
	Certainty        string      `json:"certainty"` // C, H or M: how sure DOMAIN is of it
	DataCategories   []string    `json:"dataCategories"`
	SecretCategories []string    `json:"secretCategories"`
	EnabledByDefault bool        `json:"enabledByDefault"`
	Adjustable       bool        `json:"adjustable"` // else its period is the law's
	Restricted       bool        `json:"restricted"`
	NeedsAssessment  bool        `json:"requiresAssessment"`
	ValidFrom        *civil.Date `json:"validFrom"`
	ValidTo          *civil.Date `json:"validTo"`
}

//go:embed defaults/*.json
var defaults embed.FS

// Templates returns the Danish defaults.
func Templates() ([]*Template, error) {
	b, err := defaults.ReadFile("defaults/dk-defaults.json")
	if err != nil {
		return nil, fmt.Errorf("read retention defaults: %w", err)
	}
	var f struct {
		Rules []*Template `json:"rules"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("read retention defaults: %w", err)
	}
	return f.Rules, nil
}

// Exception returns the part of Art. 17(3) that the template's source names, the
// legal obligation when it names none.
func (t *Template) Exception() Exception {
	m := regexp.MustCompile(`17\(3\)\(([a-e])\)`).FindStringSubmatch(t.LegalSource + " " + t.TextEn)
	if m == nil {
		return LegalObligation
	}
	return Exception("E17_3_" + strings.ToUpper(m[1]))
}

// content returns what a rule of the template says.
func (t *Template) content() Content {
	return Content{
		Template: &t.ID, Trigger: t.Trigger, Period: t.Period, Kind: t.Kind, LegalSource: t.LegalSource, Exception: t.Exception(),
		Restricted: t.Restricted, TextDa: t.TextDa, TextEn: t.TextEn, ValidFrom: t.ValidFrom, ValidTo: t.ValidTo,
	}
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such retention rule")
	ErrTemplate = errs.New(errs.Invalid, "there is no such default rule: see retentionTemplates").At("template")
	ErrRetired  = errs.New(errs.Precondition, "the rule is retired: make a new one").Under("retention.retired")
	ErrTooMany  = errs.New(errs.Limited, "a tenant has at most %d retention rules in force", MaxRules)
	// ErrFixed refuses another period than the law's.
	ErrFixed      = errs.New(errs.Precondition, "trigger, period and kind of this rule are the law's: make a rule of your own beside it").Under("retention.fixed")
	ErrAssessment = errs.New(errs.Precondition, "this rule needs an assessment of why the data may be needed").At("assessment").Under("retention.assessment")
)

// MaxRules is how many rules of a tenant are active at once.
const MaxRules = 500

// check reports the first thing that is wrong with a rule's content.
func (c *Content) check() error {
	switch c.Trigger {
	case BusinessRelationEnd, SingleTransactionDone, EmploymentEnd, FinancialYearEnd, ConsentWithdrawn, CaseClosed, LastActivity, CollectedAt:
	default:
		return errs.New(errs.Invalid, "not a trigger").At("trigger")
	}
	if !c.Kind.keeps() && !c.Kind.erases() {
		return errs.New(errs.Invalid, "a kind is MIN, MAX or MIN_AND_MAX").At("kind")
	}
	switch c.Exception {
	case Expression, LegalObligation, PublicHealth, Archiving, LegalClaims:
	default:
		return errs.New(errs.Invalid, "an exception is E17_3_A to E17_3_E").At("exception")
	}
	for _, t := range []struct {
		field, text string
		most        int
	}{{"legalSource", c.LegalSource, maxSource}, {"textDa", c.TextDa, maxText}, {"textEn", c.TextEn, maxText}} {
		if err := checkText(t.field, t.text, t.most); err != nil {
			return err
		}
	}
	if c.Assessment != nil {
		if err := checkText("assessment", *c.Assessment, maxText); err != nil {
			return err
		}
	}
	if c.YearEnd != nil {
		if _, err := time.Parse("01-02", *c.YearEnd); err != nil || c.Trigger != FinancialYearEnd {
			return errs.New(errs.Invalid, "the last day of a financial year is written MM-DD, and goes with FINANCIAL_YEAR_END").At("yearEnd")
		}
	}
	if c.ValidFrom != nil && c.ValidTo != nil && c.ValidTo.Before(*c.ValidFrom) {
		return errs.New(errs.Invalid, "a rule isn't valid to a day before it is valid from").At("validTo")
	}
	return nil
}

func checkText(field, text string, most int) error {
	if strings.TrimSpace(text) == "" || !utf8.ValidString(text) || utf8.RuneCountInString(text) > most ||
		strings.ContainsFunc(text, unicode.IsControl) {
		return errs.New(errs.Invalid, "this is a text of 1 to %d characters on one line", most).At(field)
	}
	return nil
}

// PeriodText returns the period as the API shows it.
func (c *Content) PeriodText() string { return c.Period.String() }

// PeriodText returns the period as the API shows it.
func (t *Template) PeriodText() string { return t.Period.String() }

// valid reports whether the rule is in force on a day.
func (r *Rule) valid(on civil.Date) bool {
	return r.State == Active && (r.ValidFrom == nil || !on.Before(*r.ValidFrom)) && (r.ValidTo == nil || !on.After(*r.ValidTo))
}

// Pages of rules.
type (
	// Connection is a page of them.
	Connection = page.Connection[*Rule]
	// Edge is one of them, on a page.
	Edge = page.Edge[*Rule]
)

// RuleStore keeps rules. Insert and Update work in the transaction of a change.
type RuleStore interface {
	// GetRule fails with ErrNotFound.
	GetRule(ctx context.Context, ruleID string) (*Rule, error)
	// Rules returns up to limit rules after a position, the newest first, without
	// those of hidden datasets.
	Rules(ctx context.Context, hidden []string, after *page.Position, limit int) ([]*Rule, error)
	// ActiveRules returns all that are active.
	ActiveRules(ctx context.Context) ([]*Rule, error)
	InsertRule(ctx context.Context, r *Rule) error
	// UpdateRule stores r at the version before, or fails with change.ErrVersion.
	UpdateRule(ctx context.Context, r *Rule) error
}
