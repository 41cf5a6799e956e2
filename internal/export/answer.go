package export

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// Contents knows what goes into an answer beside the person's records.
type Contents interface {
	// Lists returns what is kept on persons outside datasets; all of it is searched.
	Lists() []List
	// Papers returns what the package says of itself and of the processing of the
	// data, in the language of the export.
	Papers(ctx context.Context, f Facts) ([]Paper, error)
	// Portable returns the ids of the datasets that are processed by consent or
	// contract, Art. 20(1)(a).
	Portable(ctx context.Context) (map[string]bool, error)
}

// List is a kind of things that are kept on persons outside datasets.
type List struct {
	Name     string // of its files: "consents"
	In       string // the folder of its files: "data", "log"
	Category string
	Columns  []string
	// Each calls visit with the columns of everything on a person from before an
	// instant, in a settled order.
	Each func(ctx context.Context, subjectID string, until time.Time, visit func(cells ...string) error) error
}

// Facts are what is known of a package by the time that its papers are written.
type Facts struct {
	Export *Export
	AsOf   time.Time // with the controller's zone
	Sets   []Set     // all that were searched
}

// Set is a dataset that was searched, as the person may see it.
type Set struct {
	ID      string
	Name    string
	File    string // in the package, without its ending
	Records int64
	Terms   []string // of its fields: "pd:Name"
	Classes []string // of its fields, and not more than once
	Sources []string // where records say that they come from, and not more than once
}

// Paper is a document of a package, as HTML and, if it is to be printed, as PDF.
type Paper struct {
	Name     string // "statement"
	Document paper.Document
	Printed  bool
}

// ErrGone reports that the person of a request isn't there.
var ErrGone = errs.New(errs.Precondition, "the person's data is gone: there is nothing to copy").Under("export.alive")

// reissues bounds how often a package is made anew because its time was over.
const reissues = 100

// answerID returns the id of the n-th package that answers something: the same
// each time.
func answerID(of tenant.ID, c Case, n int) string {
	sum := sha256.Sum256([]byte(c.Request + "/" + c.Item + "/" + string(c.Type) + "/" + strconv.Itoa(n)))
	return id.Prefix(id.Export, of) + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

// Answer returns the package that answers one right of a person's request, and
// queues the job that builds it if there is none, or only one that is destroyed:
// its time must not defeat the right. It may be called again at any time.
func (s *Service) Answer(ctx context.Context, c Case, subjectID, language string) (*Export, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	for n := range reissues {
		e, err := s.Get(ctx, answerID(of, c, n))
		if errors.Is(err, ErrNotFound) {
			return s.answer(ctx, of, &Export{
				ID: answerID(of, c, n), SubjectID: subjectID, Language: language, State: Building, Case: &c,
				CreatedAt: s.Now().UTC().Truncate(time.Millisecond),
			})
		}
		if err != nil || e.State != Expired {
			return e, err
		}
	}
	return nil, errs.New(errs.Limited, "the package was made %d times: hand it over in another way", reissues)
}

func (s *Service) answer(ctx context.Context, of tenant.ID, e *Export) (*Export, error) {
	if _, ok := languages()[e.Language]; !ok {
		e.Language = english
	}
	if _, err := s.alive(ctx, e.SubjectID); errors.Is(err, subject.ErrNotFound) || errors.Is(err, subject.ErrErased) {
		return nil, ErrGone
	} else if err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(ctx, audit.Evidence(of, e.SubjectID)); err != nil {
		return nil, fmt.Errorf("request export: %w", err)
	}
	e.JobID = id.New(id.Job, of)
	err := s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := s.Subjects.GuardRead(ctx, e.SubjectID); err != nil {
			return change.Change{}, err
		}
		c := changed("export.request", e)
		c.Then = []job.Spec{{ID: e.JobID, Type: JobBuild, Object: e.ID}}
		return c, s.Store.Insert(ctx, e, e.CreatedAt.Add(Life))
	})
	if err != nil {
		return nil, fmt.Errorf("request export: %w", err)
	}
	return s.Get(ctx, e.ID)
}

// Found is what a search came to of one place.
type Found struct {
	System string // id of a dataset, or the name of a list
	Name   string
	Count  int64
}

// Search looks for a person in every dataset that isn't secret, and in every list:
// it counts what an answer of the type has.
func (s *Service) Search(ctx context.Context, kind pack.Type, subjectID string) ([]Found, error) {
	now := s.Now().UTC().Truncate(time.Millisecond)
	b := &builder{
		ctx: ctx, s: s, run: nowhere{}, export: &Export{SubjectID: subjectID, Case: &Case{Type: kind}, CreatedAt: now}, asOf: now,
	}
	var err error
	if b.sets, err = b.visible(); err != nil {
		return nil, err
	}
	var counts map[string]int64
	if s.Count != nil && kind == pack.AccessType {
		if counts, err = s.Count(ctx, subjectID); err != nil {
			return nil, fmt.Errorf("count records: %w", err)
		}
	}
	var found []Found
	for _, set := range b.sets {
		if counts != nil && !set.secret {
			found = append(found, Found{set.id, set.Name, counts[set.id]})
			continue
		}
		// What has nothing to show but what is secret doesn't count, and by Art. 20 not
		// every record does: these are looked at.
		if err := b.each(set, func(*entry) error { return nil }); err != nil {
			return nil, err
		}
		found = append(found, Found{set.id, set.Name, set.entries})
	}
	for _, l := range b.contents() {
		var n int64
		if err := l.Each(ctx, subjectID, now, func(...string) error { n++; return nil }); err != nil {
			return nil, fmt.Errorf("search %s: %w", l.Name, err)
		}
		found = append(found, Found{l.Name, l.Name, n})
	}
	return found, nil
}

// nowhere is a Run of which nobody wants to know.
type nowhere struct{}

func (nowhere) Object() string                                       { return "" }
func (nowhere) Fence() int64                                         { return 0 }
func (nowhere) Guard(context.Context) error                          { return nil }
func (nowhere) Progress(context.Context, int64, int64, string) error { return nil }
func (nowhere) Step(context.Context, string) error                   { return nil }

// kind returns what a package is.
func (b *builder) kind() pack.Type {
	if b.export.Case == nil {
		return pack.StaffCopyType
	}
	return b.export.Case.Type
}

// covers reports whether a record goes into the package: all of them do, but by
// Art. 20 only what the person provided, or what was observed of them.
func (b *builder) covers(r *record.Record) bool {
	return b.kind() != pack.PortabilityType || r.Origin == record.Provided || r.Origin == record.Observed
}

// contents returns the lists that go into an answer by Art. 15.
func (b *builder) contents() []List {
	if b.kind() != pack.AccessType || b.s.Contents == nil {
		return nil
	}
	return b.s.Contents.Lists()
}

// lists writes what is kept outside datasets.
func (b *builder) lists() error {
	for _, l := range b.contents() {
		var n int64
		err := b.table(l.In+"/"+l.Name, l.Category, fmt.Sprintf(b.text.CSV, l.Name), l.Columns, func(row func(...string) error) error {
			return l.Each(b.ctx, b.export.SubjectID, b.asOf, func(cells ...string) error {
				n++
				return row(cells...)
			})
		})
		if err == nil && l.In == dataFolder {
			err = b.objects(l, n)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", l.Name, err)
		}
		b.listed = append(b.listed, pack.Searched{Name: l.Name, Records: n})
	}
	return nil
}

// objects writes a list as JSON, which must be as long as its table.
func (b *builder) objects(l List, want int64) error {
	w, err := b.w.Create(pack.File{
		Path: l.In + "/" + l.Name + ".json", MediaType: "application/json", Category: l.Category, Description: fmt.Sprintf(b.text.JSON, l.Name),
	}, true)
	if err != nil {
		return err
	}
	before, end := "[\n", "\n]\n"
	if want == 0 {
		end = "[]\n"
	}
	var n int64
	err = l.Each(b.ctx, b.export.SubjectID, b.asOf, func(cells ...string) error {
		n++
		o := make(map[string]string, len(cells))
		for i, c := range cells {
			o[l.Columns[i]] = c
		}
		line, err := encode(o)
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, before+line)
		before = ",\n"
		return err
	})
	if err == nil && n != want {
		err = ErrMoved
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, end)
	return err
}

// papers writes what the package says of itself and of the processing.
func (b *builder) papers() error {
	if b.export.Case == nil || b.s.Contents == nil {
		return nil
	}
	f := Facts{Export: b.export, AsOf: b.asOf}
	for _, set := range b.sets {
		f.Sets = append(f.Sets, set.told())
	}
	papers, err := b.s.Contents.Papers(b.ctx, f)
	if err != nil {
		return fmt.Errorf("write statement: %w", err)
	}
	for _, p := range papers {
		p.Document.Language, p.Document.Date = b.export.Language, b.asOf
		w, err := b.w.Create(pack.File{
			Path: p.Name + ".html", MediaType: "text/html; charset=utf-8", Category: pack.Letters, Description: p.Document.Title,
		}, true)
		if err != nil {
			return err
		}
		if err := paper.HTML(w, p.Document); err != nil {
			return fmt.Errorf("write %s: %w", p.Name, err)
		}
		if !p.Printed {
			continue
		}
		w, err = b.w.Create(pack.File{Path: p.Name + ".pdf", MediaType: "application/pdf", Category: pack.Letters, Description: p.Document.Title}, false)
		if err != nil {
			return err
		}
		if err := paper.Render(w, p.Document); err != nil {
			return fmt.Errorf("print %s: %w", p.Name, err)
		}
	}
	return nil
}

// told returns what papers may tell of a dataset.
func (s *set) told() Set {
	t := Set{ID: s.id, Name: s.Name, File: dataFolder + "/" + s.slug, Records: s.entries, Sources: s.sources}
	for _, f := range s.fields {
		if f.Term != "" {
			t.Terms = once(t.Terms, f.Term)
		}
		t.Classes = once(t.Classes, string(f.DataClass))
	}
	return t
}

// maxSources is how many sources of a dataset are told one by one.
const maxSources = 50

// notice notes, while a dataset is read first, where an entry comes from, and what
// of its record is about others.
func (s *set) notice(e *entry, person string) {
	if s.seen != nil {
		return
	}
	if h := e.head(); len(s.sources) < maxSources {
		s.sources = once(s.sources, strings.TrimSuffix(h.Origin+": "+h.Source, ": "))
	}
	r := e.record
	if !e.own && r.SubjectID == person {
		return // counted with the record's own entry
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		other := f.About == nil && !e.own || f.About != nil && *f.About != person
		if other && f.State == personal.Clear && s.has(f.FieldID) {
			s.others++
		}
	}
}

func (s *set) has(fieldID string) bool {
	for i := range s.fields {
		if s.fields[i].ID == fieldID {
			return true
		}
	}
	return false
}

func once(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// answered is the manifest of an answer.
func (b *builder) answered(m *pack.StaffCopy) *pack.Answer {
	article := "GDPR Art. 15(4)"
	if b.kind() == pack.PortabilityType {
		article = "GDPR Art. 20(4)"
	}
	m.Type = b.kind()
	a := &pack.Answer{
		Header: m.Header, CaseID: b.export.Case.Request, CaseNumber: b.export.Case.Number, ExportID: m.ExportID, Controller: m.Controller,
		Processor: m.Processor, CreatedAt: m.CreatedAt, DataAsOf: m.DataAsOf, Language: m.Language, SubjectRef: m.SubjectRef,
		Datasets: m.Datasets, Lists: append([]pack.Searched{}, b.listed...), Redactions: []pack.Redaction{},
		SchemaVersions: m.SchemaVersions, Totals: m.Totals,
	}
	for _, s := range b.sets {
		if s.others > 0 {
			a.Redactions = append(a.Redactions, pack.Redaction{Dataset: s.Name, Values: s.others, Article: article})
		}
	}
	return a
}
