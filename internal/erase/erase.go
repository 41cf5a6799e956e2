// Package erase decides what a person's wish to be erased comes to, shows it before
// it is approved, and carries out exactly that: GDPR Art. 17, DOMAIN §3.3 and §3.4.
//
// A Plan has one Part for each retention unit, a dataset or what identifies the
// person. The rules and holds of package retention decide on each. Its hash stands
// for these decisions: what is carried out is decided on anew, and is refused when
// the hash isn't the approved one.
//
// What is kept secret by AML law (DOMAIN §2.7) is in no plan that the caller may
// not know of, in no hash, and in no certificate. A wish to be erased doesn't reach
// it: its own rules do.
package erase

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/retention"
)

// PlanKind begins what a plan's hash is computed of.
const PlanKind = "vogter/erasure-plan/1"

// Plan is what erasing a person's data would come to.
type Plan struct {
	Subject string
	AsOf    time.Time
	// Hash is what an approval is of: see Digest.
	Hash  string
	Parts []Part
	// Packages is how many exports of the person's data there are, which go with any
	// part of it.
	Packages   int
	Recipients []Recipient
	// Irreversible are the steps that are done at once and can't be taken back; none
	// when nothing is erased now.
	Irreversible []erasure.Step
	// BackupsUntil is when the last backup that holds the data is to be gone, if it is
	// erased now. A restored one is erased again before it is used.
	BackupsUntil time.Time
}

// Part is what happens to what the person has in a unit, and why.
type Part struct {
	Unit    retention.Unit
	Dataset string // its name; "" of what identifies the person
	retention.Decision
	Fields []Field
	Counts

	secret bool
}

// Field is a kind of data that a part may hold.
type Field struct {
	Key   string
	Class dataset.Class
	Term  string
}

// Counts is how much there is.
type Counts struct {
	Records  int // of the person, which are deleted
	Passages int // records of others that tell of the person: these passages are taken out
	Files    int
}

// Recipient is a party that the data was disclosed to, and that is told.
type Recipient struct {
	ID      string
	Name    string
	Country string
}

// Now reports whether a part is erased at once.
func (p *Part) Now() bool { return p.Outcome == retention.EraseNow }

// HoldID returns the id of the hold that keeps the part.
func (p *Part) HoldID() *string {
	if p.Hold == nil {
		return nil
	}
	return &p.Hold.ID
}

// StepNames returns the names of the steps that can't be taken back.
func (p *Plan) StepNames() []string {
	names := make([]string, len(p.Irreversible))
	for i, step := range p.Irreversible {
		names[i] = string(step)
	}
	return names
}

// DatasetID returns the dataset, nil for what identifies the person.
func (p *Part) DatasetID() *string {
	if p.Unit == retention.Person {
		return nil
	}
	return &p.Unit
}

// planned is a part in the form that is hashed.
type planned struct {
	Unit    string            `json:"unit"`
	Outcome retention.Outcome `json:"outcome"`
	Reason  retention.Reason  `json:"reason"`
	Date    *civil.Date       `json:"date,omitempty"`
	Rule    string            `json:"rule,omitempty"`
	Version int64             `json:"version,omitempty"`
	Hold    string            `json:"hold,omitempty"`
}

// Digest returns the hash of a plan: SHA-256, in hexadecimal letters, of JSON
// without spaces with "vogter" (PlanKind), "subject" and "parts" in the order of
// their units, each with "unit", "outcome", "reason" and, where there are, "date",
// "rule" and its "version", and "hold". How much there is isn't a part of it: what
// is erased is units as a whole. Nor is what is kept secret by law.
func Digest(subject string, parts []Part) (string, error) {
	plan := struct {
		Vogter  string    `json:"vogter"`
		Subject string    `json:"subject"`
		Parts   []planned `json:"parts"`
	}{PlanKind, subject, []planned{}}
	for _, p := range parts {
		if p.secret {
			continue
		}
		one := planned{Unit: p.Unit, Outcome: p.Outcome, Reason: p.Reason, Date: p.Date}
		if p.Rule != nil {
			one.Rule, one.Version = p.Rule.ID, p.Rule.Version
		}
		if p.Hold != nil {
			one.Hold = p.Hold.ID
		}
		plan.Parts = append(plan.Parts, one)
	}
	slices.SortFunc(plan.Parts, func(a, b planned) int { return strings.Compare(a.Unit, b.Unit) })
	b, err := json.Marshal(plan)
	if err != nil {
		return "", fmt.Errorf("write plan: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// Store counts what is kept, for the tenant in ctx.
type Store interface {
	// Count returns how much a person has in each dataset that isn't empty.
	Count(ctx context.Context, subject string) (map[retention.Unit]Counts, error)
	// Units returns those datasets, in their order, without counting.
	Units(ctx context.Context, subject string) ([]retention.Unit, error)
	// Remains returns what a dataset keeps of who an erased person was, or
	// subject.ErrNotFound.
	Remains(ctx context.Context, person, dataset string) (*Remains, error)
	// Packages counts the exports of a person's data.
	Packages(ctx context.Context, subject string) (int, error)
}
