// Package rectify carries out what persons ask to have corrected, GDPR Art. 16.
//
// A handler prepares the correction: values of the person's identifying data and of
// records, each at the version that was seen, and, where the truth is opinion, what
// the person states beside it. It is kept sealed with the request. Another approves
// the hash that stands for it, and nothing else is carried out: one change for each
// record, so that its history is that of every update. What is left with the request
// are the names of what was corrected, no value.
package rectify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// Limits of a correction.
const (
	MaxRecords = 50
	maxText    = 10_000
	maxBody    = 1 << 20 // bytes
)

// Input is a correction that a handler prepares for an item of a request.
type Input struct {
	ID              string // of the request
	ExpectedVersion int64
	Item            string
	Subject         *subject.UpdateInput // identifying data, at the version that was seen; its ID is left out
	Records         []record.UpdateInput // values, at the versions that were seen
	Statements      []StatementInput
	NotChanged      *string // what isn't changed and why, as the person is told it
}

// StatementInput is what the person states beside an assessment.
type StatementInput struct {
	Record          string
	ExpectedVersion int64
	Field           *string // by its key or id; the record as a whole when absent
	Text            string
}

// Subjects corrects identifying data: see subject.Service.
type Subjects interface {
	Check(ctx context.Context, in subject.UpdateInput) ([]string, error)
	Compare(ctx context.Context, in subject.UpdateInput) (*subject.Compared, error)
	Stands(ctx context.Context, in subject.UpdateInput) (moved, done bool, err error)
	Rectify(ctx context.Context, in subject.UpdateInput) error
}

// Records corrects records: see record.Service.
type Records interface {
	Check(ctx context.Context, c *record.Correction) (*dataset.Dataset, error)
	Compare(ctx context.Context, c *record.Correction) (*record.Compared, error)
	Stands(ctx context.Context, c *record.Correction) (record.Stand, error)
	Rectify(ctx context.Context, c *record.Correction) error
}

// Requests keeps what is prepared for requests.
type Requests interface {
	Get(ctx context.Context, requestID string) (*request.Request, error)
	Prepare(ctx context.Context, in request.PrepareInput, t request.Type, body personal.Text, allows ...request.Outcome) (*request.Request, error)
}

// Service corrects data.
type Service struct {
	Subjects Subjects
	Records  Records
	Requests Requests // needs what this package does itself, and is set before the Service is used
}

// draft is a correction as the request keeps it, sealed.
type draft struct {
	Person     string        `json:"person"`
	Changed    []string      `json:"changed"` // names of what is corrected
	Stated     []string      `json:"stated"`  // names of what has a statement beside it
	NotChanged string        `json:"notChanged,omitempty"`
	Subject    *subjectDraft `json:"subject,omitempty"`
	Records    []recordDraft `json:"records,omitempty"`
}

type subjectDraft struct {
	Version     int64           `json:"version"`
	Reference   *string         `json:"reference,omitempty"`
	Name        *nameDraft      `json:"name,omitempty"`
	BirthDate   *string         `json:"birthDate,omitempty"`
	Emails      []string        `json:"emails"` // null when they stay
	Phones      []string        `json:"phones"`
	NationalIDs []numberDraft   `json:"nationalIds"`
	PhoneRegion *string         `json:"phoneRegion,omitempty"`
	Clear       []subject.Field `json:"clear,omitempty"`
}

type nameDraft struct{ Full, Given, Family *string }

type numberDraft struct{ Country, Number string }

type recordDraft struct {
	ID         string       `json:"id"`
	Version    int64        `json:"version"`
	Fields     []fieldDraft `json:"fields,omitempty"`
	Statements []stateDraft `json:"statements,omitempty"`
}

type fieldDraft struct {
	Field string  `json:"field"` // id
	Value any     `json:"value"`
	About *string `json:"about,omitempty"`
}

type stateDraft struct {
	Field string `json:"field,omitempty"` // id
	Text  string `json:"text"`
}

// Correction is a correction as it is shown to those who work on it.
type Correction struct {
	Hash       string // stands for it in a proposal
	By         string
	At         time.Time
	Changed    []string
	Stated     []string
	NotChanged personal.Text
	Subject    *subject.Compared
	Records    []*record.Compared
}

// ErrEmpty reports a correction of nothing.
var ErrEmpty = errs.New(errs.Invalid, "say what is to be corrected, or stated beside it")

// Prepare keeps a correction, checked as if it were carried out by the caller, with an
// item of a request.
func (s *Service) Prepare(ctx context.Context, in Input) (*request.Request, error) {
	r, err := s.Requests.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if r.Subject == "" {
		return nil, errs.New(errs.Precondition, "nobody knows yet whom this is about")
	}
	d := draft{Person: r.Subject, Changed: []string{}, Stated: []string{}}
	if in.NotChanged != nil {
		if d.NotChanged = strings.TrimSpace(*in.NotChanged); utf8.RuneCountInString(d.NotChanged) > maxText {
			return nil, errs.New(errs.Invalid, "a text has at most %d characters", maxText).At("notChanged")
		}
	}
	if in.Subject != nil {
		u := *in.Subject
		u.ID = r.Subject
		if d.Changed, err = s.Subjects.Check(ctx, u); err != nil {
			return nil, errs.At(err, "subject")
		}
		d.Subject = draftOf(&u)
	}
	all, err := in.corrections(r.Subject)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		set, err := s.Records.Check(ctx, c)
		if err != nil {
			return nil, errs.At(err, "records."+c.Update.ID)
		}
		d.add(set, c)
	}
	if d.Subject == nil && len(d.Records) == 0 {
		return nil, ErrEmpty
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode correction: %w", err)
	}
	if len(b) > maxBody {
		return nil, errs.New(errs.Limited, "a correction has at most %d bytes: correct the rest by another", maxBody)
	}
	return s.Requests.Prepare(ctx, request.PrepareInput{ID: in.ID, ExpectedVersion: in.ExpectedVersion, Item: in.Item},
		request.Rectification, personal.NewText(string(b)), request.Fulfilled, request.PartiallyFulfilled)
}

// corrections are those of records, one for each.
func (in *Input) corrections(person string) ([]*record.Correction, error) {
	var all []*record.Correction
	of := func(recordID string, version int64) (*record.Correction, bool) {
		i := slices.IndexFunc(all, func(c *record.Correction) bool { return c.Update.ID == recordID })
		if i < 0 {
			all = append(all, &record.Correction{About: person, Update: record.UpdateInput{ID: recordID, ExpectedVersion: version}})
			i = len(all) - 1
		}
		return all[i], all[i].Update.ExpectedVersion == version
	}
	for i, u := range in.Records {
		c, _ := of(u.ID, u.ExpectedVersion)
		if len(c.Update.Fields) > 0 {
			return nil, errs.New(errs.Invalid, "name each record once").At("records." + strconv.Itoa(i))
		}
		c.Update.Fields = slices.Clone(u.Fields)
	}
	for i, st := range in.Statements {
		at := "statements." + strconv.Itoa(i)
		c, same := of(st.Record, st.ExpectedVersion)
		text := strings.TrimSpace(st.Text)
		switch {
		case !same:
			return nil, errs.At(change.ErrVersion, at)
		case text == "" || utf8.RuneCountInString(text) > maxText:
			return nil, errs.New(errs.Invalid, "a statement is a text of 1 to %d characters", maxText).At(at)
		}
		said := record.Statement{Item: in.Item, Text: personal.NewText(text)}
		if st.Field != nil {
			said.FieldID = *st.Field
		}
		c.Statements = append(c.Statements, said)
	}
	if len(all) > MaxRecords {
		return nil, errs.New(errs.Limited, "a correction is of at most %d records", MaxRecords).At("records")
	}
	return all, nil
}

// add adds the correction of a record of a dataset.
func (d *draft) add(set *dataset.Dataset, c *record.Correction) {
	made := recordDraft{ID: c.Update.ID, Version: c.Update.ExpectedVersion}
	for _, f := range c.Update.Fields {
		made.Fields = append(made.Fields, fieldDraft{f.Key, f.Value.Reveal(), f.About})
		d.Changed = append(d.Changed, set.Name+": "+set.Field(f.Key).Key)
	}
	for _, st := range c.Statements {
		made.Statements = append(made.Statements, stateDraft{st.FieldID, st.Text.Reveal()})
		name := set.Name
		if f := set.Field(st.FieldID); f != nil {
			name += ": " + f.Key
		}
		d.Stated = append(d.Stated, name)
	}
	d.Records = append(d.Records, made)
}

func draftOf(u *subject.UpdateInput) *subjectDraft {
	d := &subjectDraft{
		Version: u.ExpectedVersion, Reference: plain(u.Reference), BirthDate: plain(u.BirthDate), Emails: plains(u.Emails), Phones: plains(u.Phones),
		PhoneRegion: u.PhoneRegion, Clear: u.Clear,
	}
	if n := u.Name; n != nil {
		d.Name = &nameDraft{plain(n.Full), plain(n.Given), plain(n.Family)}
	}
	if u.NationalIDs != nil {
		d.NationalIDs = []numberDraft{}
	}
	for _, n := range u.NationalIDs {
		d.NationalIDs = append(d.NationalIDs, numberDraft{n.Country, n.Number.Reveal()})
	}
	return d
}

// update is the correction of the person's identifying data.
func (d *draft) update() subject.UpdateInput {
	s := d.Subject
	u := subject.UpdateInput{
		ID: d.Person, ExpectedVersion: s.Version, Reference: sealed(s.Reference), BirthDate: sealed(s.BirthDate), Emails: sealeds(s.Emails),
		Phones: sealeds(s.Phones), PhoneRegion: s.PhoneRegion, Clear: s.Clear,
	}
	if n := s.Name; n != nil {
		u.Name = &subject.NameInput{Full: sealed(n.Full), Given: sealed(n.Given), Family: sealed(n.Family)}
	}
	if s.NationalIDs != nil {
		u.NationalIDs = []subject.NationalID{}
	}
	for _, n := range s.NationalIDs {
		u.NationalIDs = append(u.NationalIDs, subject.NationalID{Country: n.Country, Number: personal.NewText(n.Number)})
	}
	return u
}

// corrections are those of records.
func (d *draft) corrections(item string) []*record.Correction {
	all := make([]*record.Correction, len(d.Records))
	for i, r := range d.Records {
		c := &record.Correction{About: d.Person, Update: record.UpdateInput{ID: r.ID, ExpectedVersion: r.Version}}
		for _, f := range r.Fields {
			c.Update.Fields = append(c.Update.Fields, record.FieldInput{Key: f.Field, Value: dataset.RawJSON(f.Value), About: f.About})
		}
		for _, st := range r.Statements {
			c.Statements = append(c.Statements, record.Statement{Item: item, FieldID: st.Field, Text: personal.NewText(st.Text)})
		}
		all[i] = c
	}
	return all
}

func plain(t *personal.Text) *string {
	if t == nil {
		return nil
	}
	return new(t.Reveal())
}

// plains keeps nil apart from an empty list.
func plains(texts []personal.Text) []string {
	if texts == nil {
		return nil
	}
	all := make([]string, len(texts))
	for i, t := range texts {
		all[i] = t.Reveal()
	}
	return all
}

func sealed(s *string) *personal.Text {
	if s == nil {
		return nil
	}
	return new(personal.NewText(*s))
}

func sealeds(s []string) []personal.Text {
	if s == nil {
		return nil
	}
	all := make([]personal.Text, len(s))
	for i := range s {
		all[i] = personal.NewText(s[i])
	}
	return all
}

// read returns what was prepared for an item, nil if nothing was.
func read(item *request.Item) (*draft, error) {
	if item.Type != request.Rectification || item.Prepared == nil || item.Prepared.Body.IsZero() {
		return nil, nil //nolint:nilnil // documented
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(item.Prepared.Body.Reveal())))
	dec.UseNumber()
	var d draft
	if err := dec.Decode(&d); err != nil {
		return nil, errs.New(errs.Internal, "the correction of item %s is malformed", item.ID) // the cause may quote it
	}
	return &d, nil
}

// Of returns the correction that was prepared for an item, nil if none was: what it
// makes of the data as the caller may see it, while it isn't carried out.
func (s *Service) Of(ctx context.Context, item *request.Item) (*Correction, error) {
	d, err := read(item)
	if err != nil || d == nil {
		return nil, err
	}
	c := &Correction{
		Hash: item.Prepared.Hash, By: item.Prepared.By, At: item.Prepared.At, Changed: d.Changed, Stated: d.Stated, NotChanged: personal.NewText(d.NotChanged),
		Records: []*record.Compared{},
	}
	if d.Subject != nil {
		if c.Subject, err = s.Subjects.Compare(ctx, d.update()); err != nil && !gone(err) {
			return nil, err
		}
	}
	for _, one := range d.corrections(item.ID) {
		compared, err := s.Records.Compare(ctx, one)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.Records = append(c.Records, compared)
	}
	return c, nil
}

// gone reports whether what was to be corrected isn't there any more.
func gone(err error) bool {
	return errors.Is(err, record.ErrNotFound) || errors.Is(err, subject.ErrErased) || errors.Is(err, subject.ErrNotFound)
}

// platform is ctx of the platform itself, which sees what the handler saw who
// prepared a correction.
func platform(ctx context.Context) (context.Context, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	return authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: "rectify", Tenant: of}), nil
}
