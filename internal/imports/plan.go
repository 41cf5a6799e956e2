package imports

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// maxRecords is how many records one line makes at most: they are written in
// one transaction.
const maxRecords = 1000

// maxColumns is how many columns a CSV has at most: each is compared with each.
const maxColumns = 5000

// plan is a mapping that is ready to run: its datasets are found. A plan
// without a mapping writes records of one dataset.
type plan struct {
	params      string // see Import.Params
	of          tenant.ID
	country     string // of the tenant
	phoneRegion string // where phones without country code belong
	foreign     bool   // phoneRegion is the mapping's, not the tenant's
	subject     *subjectRule
	records     []recordPlan

	dataset *dataset.Dataset // of a plan without a mapping
	origin  record.Origin
	refused map[string]error // of its fields, by id, those that the caller may not write

	consents bool // every line is an event of a consent
	importer *consent.Importer
}

type recordPlan struct {
	*recordRule
	dataset *dataset.Dataset
	fields  []fieldPlan // in the dataset's order
}

type fieldPlan struct {
	*dataset.Field
	source source
}

// row is what a line asks for.
type row struct {
	reference lookup.Key
	subject   subject.UpsertInput
	records   []recordRow
	consent   *consent.Entry // of an import of consents
}

type recordRow struct {
	at      string // where in the mapping it is described: "records.0", "" without one
	dataset *dataset.Dataset
	in      record.UpsertInput // without its subject
	key     *lookup.Key        // nil when it is always written anew
}

// plan finds what in is to be run with.
func (s *Service) plan(ctx context.Context, in Input) (*plan, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	p := &plan{of: of, origin: in.Origin}
	if p.country, err = s.regions.Country(ctx); err != nil {
		return nil, err
	}
	p.phoneRegion = p.country
	// Lines name persons by their reference, and are compared with what is there.
	if err := s.writable(ctx, authz.Data{Class: string(dataset.Ordinary), Secrecy: string(dataset.NoSecrecy)}); err != nil {
		return nil, err
	}
	if in.Kind == KindConsents {
		if in.Mapping != "" || in.Dataset != "" {
			return nil, errs.New(errs.Invalid, "an import of consents takes neither a mapping nor a dataset").At("kind")
		}
		p.consents, p.params = true, string(in.Format)+" "+string(in.Kind)
		return p, nil
	}
	switch {
	case (in.Mapping == "") == (in.Dataset == ""):
		return nil, errs.New(errs.Invalid, "give either a mapping or a dataset")
	case in.Dataset != "":
		if p.dataset, err = s.activeDataset(ctx, in.Dataset); err != nil {
			return nil, errs.At(err, "dataset")
		}
		if err := s.writable(ctx, p.dataset.Data()); err != nil {
			return nil, errs.At(err, "dataset")
		}
		p.refused = map[string]error{}
		for i := range p.dataset.Fields {
			f := &p.dataset.Fields[i]
			if err := s.writable(ctx, p.dataset.FieldData(f)); err != nil {
				p.refused[f.ID] = err
			}
		}
		p.params = string(in.Format) + " " + p.dataset.ID + " " + string(in.Origin)
		return p, nil
	}
	m, err := s.store.Mapping(ctx, mappingID(of, in.Mapping))
	if err != nil {
		return nil, err
	}
	p.params = string(in.Format) + " " + m.ID + " " + strconv.FormatInt(m.Version, 10)
	d, err := parseDocument(m.Document)
	if err != nil {
		return nil, errs.At(err, "mapping")
	}
	p.subject = &d.Subject
	if len(d.Subject.NationalIDs) > 0 {
		if err := s.writable(ctx, authz.Data{Class: string(dataset.NationalID), Secrecy: string(dataset.NoSecrecy)}); err != nil {
			return nil, errs.At(err, "mapping.subject.nationalIds")
		}
	}
	if r := d.Subject.PhoneRegion; r != "" {
		p.phoneRegion, p.foreign = r, true
	}
	for i := range d.Records {
		rule, at := &d.Records[i], "mapping.records."+strconv.Itoa(i)
		found, err := s.activeDataset(ctx, rule.Dataset)
		if err != nil {
			return nil, errs.At(err, at+".dataset")
		}
		if err := s.writable(ctx, found.Data()); err != nil {
			return nil, errs.At(err, at+".dataset")
		}
		rp := recordPlan{recordRule: rule, dataset: found}
		for _, key := range slices.Sorted(maps.Keys(rule.Fields)) {
			f := found.Field(key)
			if f == nil {
				return nil, errs.New(errs.Invalid, "the dataset has no field with this key").At(at + ".fields." + key)
			}
			if err := s.writable(ctx, found.FieldData(f)); err != nil {
				return nil, errs.At(err, at+".fields."+key)
			}
			rp.fields = append(rp.fields, fieldPlan{f, rule.Fields[key]})
		}
		slices.SortStableFunc(rp.fields, func(a, b fieldPlan) int { return found.Index(a.ID) - found.Index(b.ID) })
		p.records = append(p.records, rp)
	}
	return p, nil
}

// writable fails for data that the caller may not see, and so not write: whether
// a line changed something would tell what was there.
func (s *Service) writable(ctx context.Context, data authz.Data) error {
	if sight := s.looker.Look(ctx, data); !sight.Clear() {
		return sight.Err()
	}
	return nil
}

func (s *Service) activeDataset(ctx context.Context, idOrName string) (*dataset.Dataset, error) {
	d, err := s.datasets.Find(ctx, idOrName)
	if err != nil {
		return nil, err
	}
	if d.State != dataset.Active {
		return nil, dataset.ErrRetired
	}
	return d, nil
}

// checkHeader refuses a CSV that can't be what the plan is for.
func (p *plan) checkHeader(header []string) error {
	if len(header) > maxColumns {
		return errs.New(errs.Limited, "a CSV has at most %d columns", maxColumns).At("header")
	}
	for i, name := range header {
		at := "header." + strconv.Itoa(i+1)
		switch {
		case name == "":
			return errs.New(errs.Invalid, "the column has no name").At(at)
		case slices.Contains(header[:i], name):
			return errs.New(errs.Invalid, "another column has this name").At(at)
		case p.dataset != nil && name != "reference" && name != "key" && p.dataset.Field(name) == nil:
			return errs.New(errs.Invalid, "the dataset has no field with this key").At(at)
		case p.consents && !slices.Contains(consentColumns(), name):
			return errs.New(errs.Invalid, "an event of a consent has no such column").At(at)
		}
	}
	want := "reference"
	if p.subject != nil {
		if p.subject.Reference.isConst {
			return nil
		}
		want = p.subject.Reference.path.text
	}
	if !slices.Contains(header, want) {
		return errs.New(errs.Invalid, "no column has the subject's reference").At("header")
	}
	return nil
}

// row reads what a line asks for. Its errors name places in the mapping.
func (p *plan) row(ctx context.Context, line any, csv bool) (*row, error) {
	if _, ok := line.(map[string]any); !ok {
		return nil, errs.New(errs.Invalid, "a line is a JSON object")
	}
	if p.consents {
		return p.consentRow(ctx, line)
	}
	if p.dataset != nil {
		return p.plainRow(line, csv)
	}
	s := &scope{line: line, element: line, csv: csv}
	r := &row{}
	var err error
	if r.subject, err = p.subject.input(s); err != nil {
		return nil, errs.At(err, "subject")
	}
	if err := r.refer(); err != nil {
		return nil, errs.At(err, "subject")
	}
	for i := range p.records {
		if err := p.records[i].rows(s, p, "records."+strconv.Itoa(i), r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// plainRow reads a line without a mapping: reference and key, and the fields
// either in an object of their own or beside them.
func (p *plan) plainRow(line any, csv bool) (*row, error) {
	object, ok := line.(map[string]any)
	if !ok {
		return nil, errs.New(errs.Invalid, "a line is a JSON object")
	}
	values, own := object, []string{"reference", "key"}
	if nested, ok := object["fields"].(map[string]any); ok {
		values, own = nested, nil
		for key := range object {
			if key != "reference" && key != "key" && key != "fields" {
				return nil, errs.New(errs.Invalid, "a line has reference, key and fields, or the fields beside reference and key")
			}
		}
	}
	r := &row{}
	var err error
	if r.subject.Reference, _, err = text(object["reference"]); err != nil {
		return nil, errs.At(err, "reference")
	}
	if err := r.refer(); err != nil {
		return nil, err
	}
	rec := recordRow{dataset: p.dataset, in: record.UpsertInput{Dataset: p.dataset.ID, Origin: p.origin}}
	if rec.in.Key, _, err = text(object["key"]); err != nil {
		return nil, errs.At(err, "key")
	}
	rest := len(values)
	for _, name := range own {
		if _, has := values[name]; has {
			rest--
		}
	}
	for i := range p.dataset.Fields {
		f := &p.dataset.Fields[i]
		v, has := values[f.Key]
		if !has || slices.Contains(own, f.Key) {
			continue
		}
		rest--
		if err := p.refused[f.ID]; err != nil {
			return nil, errs.At(err, "fields."+f.Key)
		}
		raw := dataset.RawJSON(v)
		if cell, ok := v.(string); ok && csv {
			raw = dataset.RawText(cell)
		}
		rec.in.Fields = append(rec.in.Fields, record.FieldInput{Key: f.Key, Value: raw})
	}
	if rest > 0 {
		// Which one isn't told: a name that nobody expected may be anything.
		return nil, errs.New(errs.Invalid, "the dataset has no field for one of the line's names").At("fields")
	}
	if !slices.ContainsFunc(rec.in.Fields, func(f record.FieldInput) bool { return !f.Value.IsNull() }) {
		return r, nil
	}
	return r, r.add(rec)
}

// refer settles by what the subject is found.
func (r *row) refer() (err error) {
	if r.subject.Reference.IsZero() {
		return errs.New(errs.Invalid, "the line has no reference of its subject").At("reference")
	}
	r.reference, err = subject.ReferenceKey(r.subject.Reference)
	return err
}

// add adds a record.
func (r *row) add(rec recordRow) error {
	if len(r.records) >= maxRecords {
		return errs.New(errs.Limited, "a line makes at most %d records", maxRecords).At(rec.at)
	}
	if !rec.in.Key.IsZero() {
		k, err := record.KeyOf(rec.in.Key, rec.dataset.ID)
		if err != nil {
			return rec.fault(err)
		}
		rec.key = &k
		for _, have := range r.records {
			if have.key != nil && have.key.Name == k.Name && have.key.Value.Equal(k.Value) {
				return rec.fault(errs.New(errs.Conflict, "another record of the line has the same key").At("key"))
			}
		}
	}
	r.records = append(r.records, rec)
	return nil
}

// fault makes an error of a record name its place in the mapping.
func (r *recordRow) fault(err error) error {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return err
	}
	field := e.Field
	if m := regexp.MustCompile(`^fields\.(\d+)(?:\.|$)`).FindStringSubmatch(field); m != nil {
		if i, err := strconv.Atoi(m[1]); err == nil && i < len(r.in.Fields) {
			field = "fields." + r.in.Fields[i].Key
		}
	}
	if r.at != "" {
		field = strings.TrimSuffix(r.at+"."+field, ".")
	}
	return errs.New(e.Kind, "%s", e.Message).Under(e.Rule).At(field).Because(err)
}

// fault makes an error of a subject name its place in the mapping.
func (p *plan) fault(err error) error {
	if e, ok := errors.AsType[*errs.Error](err); ok && p.subject != nil && e.Field != "" {
		return e.At("subject")
	}
	return err
}

func (r *subjectRule) input(s *scope) (in subject.UpsertInput, err error) {
	single := func(name string, from *source) *personal.Text {
		if from == nil || err != nil {
			return nil
		}
		t, ok, terr := from.text(s)
		if terr != nil {
			err = errs.At(terr, name)
		}
		if !ok {
			return nil
		}
		return &t
	}
	if t := single("reference", r.Reference); t != nil {
		in.Reference = *t
	}
	if n := r.Name; n != nil {
		name := &subject.NameInput{
			Full: single("name.full", n.Full), Given: single("name.given", n.Given), Family: single("name.family", n.Family),
		}
		if name.Full != nil || name.Given != nil || name.Family != nil {
			in.Name = name
		}
	}
	in.BirthDate = single("birthDate", r.BirthDate)
	if err != nil {
		return in, err
	}
	if in.Emails, err = texts(s, r.Emails, "emails"); err != nil {
		return in, err
	}
	if in.Phones, err = texts(s, r.Phones, "phones"); err != nil {
		return in, err
	}
	for i := range r.NationalIDs {
		numbers, err := texts(s, []source{r.NationalIDs[i].Number}, "nationalIds."+strconv.Itoa(i))
		if err != nil {
			return in, err
		}
		if numbers != nil && in.NationalIDs == nil {
			in.NationalIDs = []subject.NationalID{}
		}
		for _, n := range numbers {
			in.NationalIDs = append(in.NationalIDs, subject.NationalID{Country: r.NationalIDs[i].Country, Number: n})
		}
	}
	return in, nil
}

// texts returns the texts at several places; nil when none of the places is
// there, which leaves a list as it is, unlike an empty one.
func texts(s *scope, from []source, name string) (list []personal.Text, err error) {
	for i := range from {
		values, ok := from[i].path.all(s)
		if from[i].isConst {
			values, ok = []any{from[i].constant}, true
		}
		if !ok {
			continue
		}
		if len(values) == 1 && !from[i].path.many {
			if array, isArray := values[0].([]any); isArray {
				values = array
			} else if values[0] == nil || values[0] == "" {
				continue
			}
		}
		if list == nil {
			list = []personal.Text{}
		}
		for _, v := range values {
			t, has, err := text(v)
			if err != nil {
				return nil, errs.At(err, name+"."+strconv.Itoa(i))
			}
			if has {
				list = append(list, t)
			}
		}
	}
	return list, nil
}

// rows adds the records of one rule to r.
func (p *recordPlan) rows(line *scope, of *plan, at string, r *row) error {
	elements := []any{line.line}
	if p.Each != nil {
		var ok bool
		if elements, ok = p.Each.path.all(line); !ok {
			return nil
		}
		if len(elements) == 1 && !p.Each.path.many {
			if array, isArray := elements[0].([]any); isArray {
				elements = array
			}
		}
	}
	for i, e := range elements {
		s := &scope{line: line.line, element: e, index: i, csv: line.csv}
		rec := recordRow{at: at, dataset: p.dataset, in: record.UpsertInput{Dataset: p.dataset.ID, Origin: p.Origin}}
		told := false // by the line, and not only by the mapping
		for j := range p.fields {
			f := &p.fields[j]
			raw, ok, err := f.source.raw(s, f.Field, of)
			if err != nil {
				return errs.At(err, at+".fields."+f.Key)
			}
			if ok {
				rec.in.Fields = append(rec.in.Fields, record.FieldInput{Key: f.Key, Value: raw})
				told = told || !f.source.isConst && !raw.IsNull()
			}
		}
		if !told {
			continue
		}
		if p.Source != nil {
			t, ok, err := p.Source.text(s)
			if err != nil {
				return errs.At(err, at+".source")
			}
			if ok {
				rec.in.Source = &t
			}
		}
		if p.CollectedAt != nil {
			t, ok, err := p.CollectedAt.instant(s)
			if err != nil {
				return errs.At(err, at+".collectedAt")
			}
			if ok {
				rec.in.CollectedAt = &t
			}
		}
		if p.Key != nil {
			var err error
			if rec.in.Key, err = p.Key.text(s, r.reference.Value); err != nil {
				return errs.At(err, at+".key")
			}
		}
		if err := r.add(rec); err != nil {
			return err
		}
	}
	return nil
}

// value returns what s leads to.
func (s *source) value(in *scope) (v any, ok bool) {
	if s.isConst {
		return s.constant, true
	}
	return s.path.one(in)
}

// text returns the text that s leads to; ok is false where there is none, or an
// empty one.
func (s *source) text(in *scope) (t personal.Text, ok bool, err error) {
	v, ok := s.value(in)
	if !ok {
		return personal.Text{}, false, nil
	}
	return text(v)
}

// instant returns the instant that s leads to: RFC 3339, or a date, which means
// its beginning in UTC.
func (s *source) instant(in *scope) (time.Time, bool, error) {
	t, ok, err := s.text(in)
	if err != nil || !ok {
		return time.Time{}, false, err
	}
	if d, err := civil.Parse(t.Reveal()); err == nil {
		return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC), true, nil
	}
	at, err := time.Parse(time.RFC3339, t.Reveal())
	if err != nil {
		return time.Time{}, false, errs.New(errs.Invalid, "takes a date, or an instant with its zone, as RFC 3339 has it")
	}
	return at, true, nil
}

// raw returns the value of a dataset's field that s leads to.
func (s *source) raw(in *scope, f *dataset.Field, of *plan) (dataset.Raw, bool, error) {
	v, ok := s.value(in)
	if !ok || v == nil {
		return dataset.Raw{}, ok, nil
	}
	cell, isCell := v.(string)
	isCell = isCell && in.csv && !s.isConst
	switch {
	case isCell && (cell == "" || s.as != asJSON || f.Type == dataset.TypeJSON):
		return s.phone(dataset.RawText(cell), cell, f, of)
	case s.as == asText:
		switch v := v.(type) {
		case string:
			return s.phone(dataset.RawText(v), v, f, of)
		case json.Number:
			return dataset.RawText(v.String()), true, nil
		case bool:
			return dataset.RawText(strconv.FormatBool(v)), true, nil
		default:
			return dataset.Raw{}, false, errs.New(errs.Invalid, "takes a text, a number, true or false")
		}
	case s.as == asJSON && f.Type != dataset.TypeJSON:
		b, err := json.Marshal(v)
		return dataset.RawJSON(string(b)), true, err
	default:
		plain, _ := v.(string)
		return s.phone(dataset.RawJSON(v), plain, f, of)
	}
}

// phone brings a number that is looked up to its full form when the mapping
// says of which country it is: later updates of the record know nothing of that.
func (*source) phone(raw dataset.Raw, number string, f *dataset.Field, of *plan) (dataset.Raw, bool, error) {
	if number == "" || !of.foreign || f.Normaliser == nil || *f.Normaliser != dataset.NormalisePhone {
		return raw, true, nil
	}
	n, err := identifier.Phone(personal.NewText(number), of.phoneRegion)
	return dataset.RawJSON(n.Value.Reveal()), true, err
}

// text returns a text or number as text; ok is false for null and an empty text.
func text(v any) (t personal.Text, ok bool, err error) {
	switch v := v.(type) {
	case nil:
		return personal.Text{}, false, nil
	case string:
		return personal.NewText(v), v != "", nil
	case json.Number:
		return personal.NewText(v.String()), true, nil
	default:
		return personal.Text{}, false, errs.New(errs.Invalid, "takes a text or a number")
	}
}

// text fills in the template.
func (t *template) text(s *scope, reference personal.Text) (personal.Text, error) {
	var b strings.Builder
	b.WriteString(t.literals[0])
	for i := range t.parts {
		p := &t.parts[i]
		switch p.kind {
		case partReference:
			b.WriteString(reference.Reveal())
		case partIndex:
			b.WriteString(strconv.Itoa(s.index + 1))
		case partPath:
			v, _ := p.path.one(s)
			filled, ok, err := text(v)
			if err != nil {
				return personal.Text{}, err
			}
			if !ok {
				return personal.Text{}, errs.New(errs.Invalid, "a part of the key is missing")
			}
			b.WriteString(filled.Reveal())
		}
		b.WriteString(t.literals[i+1])
	}
	return personal.NewText(b.String()), nil
}
