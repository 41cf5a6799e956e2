package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/personal"
)

// entryJSON is an entry in a data file.
type entryJSON struct {
	ID          string         `json:"id"`
	Roles       []string       `json:"roles,omitempty"`
	Key         string         `json:"key,omitempty"`
	Origin      string         `json:"origin"`
	Source      string         `json:"source,omitempty"`
	CollectedAt string         `json:"collectedAt,omitempty"`
	CreatedAt   string         `json:"createdAt"`
	Statements  []string       `json:"statements,omitempty"` // of the person, beside what the record says of them
	Values      map[string]any `json:"values"`
}

// head returns what an entry says beside its values. Key and source are the
// record's subject's, so a party gets neither. Version and time of the last
// change are left out: a secret value's change would show in them.
func (e *entry) head() entryJSON {
	r := e.record
	h := entryJSON{ID: r.ID, Roles: e.roles, Origin: string(r.Origin), CreatedAt: r.CreatedAt.UTC().Format(time.RFC3339Nano)}
	if e.own {
		h.Key, h.Source = r.Key.Reveal(), r.Source.Reveal()
	}
	for _, s := range r.Statements {
		if s.About == e.person && !s.Text.IsZero() {
			h.Statements = append(h.Statements, s.Text.Reveal())
		}
	}
	if r.CollectedAt != nil {
		h.CollectedAt = r.CollectedAt.UTC().Format(time.RFC3339Nano)
	}
	return h
}

// json writes data/<dataset>.json: an array, one entry per line.
func (b *builder) json(set *set) error {
	w, err := b.w.Create(pack.File{
		Path: "data/" + set.slug + ".json", MediaType: "application/json", Category: pack.Data,
		Description: fmt.Sprintf(b.text.JSON, set.Name),
	}, true)
	if err != nil {
		return err
	}
	before := "[\n"
	err = b.each(set, func(e *entry) error {
		out := e.head()
		out.Values = make(map[string]any, len(e.values))
		for _, v := range e.values {
			if out.Values[v.field.Key], err = b.shown(set, v); err != nil {
				return err
			}
		}
		line, err := encode(out)
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, before+line)
		before = ",\n"
		return err
	})
	if err != nil {
		return err
	}
	end := "\n]\n"
	if set.entries == 0 {
		end = "[]\n"
	}
	_, err = io.WriteString(w, end)
	return err
}

// encode returns v as JSON on one line, without HTML's escapes.
func encode(v any) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// csv writes data/<dataset>.csv: UTF-8, RFC 4180, one entry per row.
func (b *builder) csv(set *set) error {
	header := []string{
		"record.id", "record.roles", "record.key", "record.origin", "record.source", "record.collectedAt", "record.createdAt",
	}
	meta := len(header)
	column := make(map[string]int, len(set.fields))
	for i, f := range set.fields {
		column[f.ID] = meta + i
		header = append(header, f.Key)
	}
	return b.table(dataFolder+"/"+set.slug, pack.Data, fmt.Sprintf(b.text.CSV, set.Name), header, func(row func(...string) error) error {
		return b.each(set, func(e *entry) error {
			h := e.head()
			cells := make([]string, len(header))
			copy(cells, []string{h.ID, strings.Join(h.Roles, "; "), h.Key, h.Origin, h.Source, h.CollectedAt, h.CreatedAt})
			for _, v := range e.values {
				var err error
				if cells[column[v.field.ID]], err = b.plain(set, v); err != nil {
					return err
				}
			}
			return row(cells...)
		})
	})
}

// table writes a CSV file.
func (b *builder) table(name, category, description string, header []string, rows func(row func(...string) error) error) error {
	w, err := b.w.Create(pack.File{
		Path: name + ".csv", MediaType: "text/csv; charset=utf-8; header=present", Category: category, Description: description,
	}, true)
	if err != nil {
		return err
	}
	out := csv.NewWriter(w)
	out.UseCRLF = true
	row := func(cells ...string) error {
		for i := range cells {
			cells[i] = neutralise(cells[i])
		}
		return out.Write(cells)
	}
	if err := row(header...); err != nil {
		return err
	}
	if err := rows(row); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// neutralise puts an apostrophe before what a spreadsheet would take for a
// formula: a cell that begins with = + - @, a tab or a line break, as OWASP's
// "CSV Injection" has it, or with the wide forms of those signs. The JSON beside
// it has the value as it is.
func neutralise(cell string) string {
	if strings.IndexAny(cell, "=+-@\t\r\n＝＋－＠") == 0 {
		return "'" + cell
	}
	return cell
}

// identity writes who the person is, as JSON and CSV.
func (b *builder) identity() error {
	var id identityJSON
	var rows [][]string
	add := func(name string, into *string, t personal.Text) {
		if !t.IsZero() {
			*into = t.Reveal()
			rows = append(rows, []string{name, *into})
		}
	}
	p := b.person
	add("reference", &id.Reference, p.Reference)
	if p.Name != nil {
		id.Name = &nameJSON{}
		add("name.full", &id.Name.Full, p.Name.Full)
		add("name.given", &id.Name.Given, p.Name.Given)
		add("name.family", &id.Name.Family, p.Name.Family)
	}
	add("birthDate", &id.BirthDate, p.BirthDate)
	for _, t := range p.Emails {
		id.Emails = append(id.Emails, "")
		add("email", &id.Emails[len(id.Emails)-1], t)
	}
	for _, t := range p.Phones {
		id.Phones = append(id.Phones, "")
		add("phone", &id.Phones[len(id.Phones)-1], t)
	}
	for _, n := range p.NationalIDs {
		id.NationalIDs = append(id.NationalIDs, nationalIDJSON{Country: n.Country})
		add("nationalId."+n.Country, &id.NationalIDs[len(id.NationalIDs)-1].Number, n.Number)
	}
	for _, r := range p.Relations {
		rel := relationJSON{Kind: string(r.Kind), StartedOn: r.StartedOn.String()}
		if r.EndedOn != nil {
			rel.EndedOn = r.EndedOn.String()
		}
		id.Relations = append(id.Relations, rel)
		rows = append(rows, []string{"relation." + rel.Kind, rel.StartedOn + "/" + rel.EndedOn})
	}
	w, err := b.w.Create(pack.File{
		Path: "data/" + identityName + ".json", MediaType: "application/json", Category: pack.Identity, Description: b.text.IdentityJSON,
	}, true)
	if err != nil {
		return err
	}
	line, err := encode(id)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, line+"\n"); err != nil {
		return err
	}
	b.who = rows
	return b.table(dataFolder+"/"+identityName, pack.Identity, b.text.IdentityCSV, []string{"field", "value"}, func(row func(...string) error) error {
		for _, r := range rows {
			if err := row(r[0], r[1]); err != nil {
				return err
			}
		}
		return nil
	})
}

type (
	identityJSON struct {
		Reference   string           `json:"reference,omitempty"`
		Name        *nameJSON        `json:"name,omitempty"`
		BirthDate   string           `json:"birthDate,omitempty"`
		Emails      []string         `json:"emails,omitempty"`
		Phones      []string         `json:"phones,omitempty"`
		NationalIDs []nationalIDJSON `json:"nationalIds,omitempty"`
		Relations   []relationJSON   `json:"relations,omitempty"`
	}
	nameJSON struct {
		Full   string `json:"full"`
		Given  string `json:"given,omitempty"`
		Family string `json:"family,omitempty"`
	}
	nationalIDJSON struct {
		Country string `json:"country"`
		Number  string `json:"number"`
	}
	relationJSON struct {
		Kind      string `json:"kind"`
		StartedOn string `json:"startedOn"`
		EndedOn   string `json:"endedOn,omitempty"`
	}
)

// object is a JSON Schema, of which the keys are sorted when it is encoded.
type object = map[string]any

// schemas writes the JSON Schema of each JSON file.
func (b *builder) schemas() error {
	texts := func(names ...string) object {
		properties := object{}
		for _, n := range names {
			properties[n] = object{"type": "string"}
		}
		return properties
	}
	closed := func(properties object, required ...string) object {
		o := object{"type": "object", "properties": properties, "additionalProperties": false}
		if len(required) > 0 {
			o["required"] = required
		}
		return o
	}
	list := func(items object) object { return object{"type": "array", "items": items} }

	identity := texts("reference", "birthDate")
	identity["name"] = closed(texts("full", "given", "family"), "full")
	identity["emails"], identity["phones"] = list(object{"type": "string"}), list(object{"type": "string"})
	identity["nationalIds"] = list(closed(texts("country", "number"), "country", "number"))
	identity["relations"] = list(closed(texts("kind", "startedOn", "endedOn"), "kind", "startedOn"))
	if err := b.schema(identityName, b.text.Identity, closed(identity)); err != nil {
		return err
	}
	for _, set := range b.sets {
		fields := object{}
		for _, f := range set.fields {
			s := schemaOf(&f)
			s["x-dataClass"] = f.DataClass
			if f.Term != "" {
				s["x-term"] = f.Term
			}
			fields[f.Key] = s
		}
		entry := texts("id", "key", "origin", "source")
		entry["roles"], entry["statements"] = list(object{"type": "string"}), list(object{"type": "string"})
		for _, at := range []string{"collectedAt", "createdAt"} {
			entry[at] = object{"type": "string", "format": "date-time"}
		}
		entry["values"] = closed(fields)
		if err := b.schema(set.slug, set.Name, list(closed(entry, "id", "origin", "createdAt", "values"))); err != nil {
			return err
		}
	}
	for _, l := range b.contents() {
		if l.In != dataFolder {
			continue // a table only
		}
		if err := b.schema(l.Name, l.Name, list(closed(texts(l.Columns...), l.Columns...))); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) schema(name, title string, s object) error {
	w, err := b.w.Create(pack.File{
		Path: "schema/" + name + ".schema.json", MediaType: "application/schema+json", Category: pack.Schemas,
		Description: fmt.Sprintf(b.text.Schema, title),
	}, true)
	if err != nil {
		return err
	}
	s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", title
	line, err := encode(s)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, line+"\n")
	return err
}

func schemaOf(f *dataset.Field) object {
	switch f.Type {
	case dataset.TypeDate:
		return object{"type": "string", "format": "date"}
	case dataset.TypeDateTime:
		return object{"type": "string", "format": "date-time"}
	case dataset.TypeInt:
		return object{"type": "integer"}
	case dataset.TypeDecimal:
		return object{"type": "string", "pattern": `^-?[0-9]+(\.[0-9]+)?$`}
	case dataset.TypeBool:
		return object{"type": "boolean"}
	case dataset.TypeEnum:
		return object{"type": "string", "enum": f.Values}
	case dataset.TypeJSON:
		return object{}
	case dataset.TypeFile:
		text := object{"type": "string"}
		return object{
			"type": "object", "additionalProperties": false, "required": []string{"path", "name", "mediaType", "bytes"},
			"properties": object{"path": text, "name": text, "mediaType": text, "bytes": object{"type": "integer", "minimum": 0}},
		}
	case dataset.TypeString, dataset.TypeText:
	}
	return object{"type": "string"}
}
