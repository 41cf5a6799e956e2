package processing

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/sign"
)

// Format is the form in which a register is given out.
type Format string

// The formats.
const (
	PDF  Format = "PDF"
	CSV  Format = "CSV"
	JSON Format = "JSON" // all of it, in both languages, with what was signed: `vogter verify` checks it
)

// Form is what of a register is given out, and how.
type Form struct {
	Format   Format
	Language *string // "da" or "en"; of PDF and CSV
	Hat      *Hat    // of PDF and CSV: the activities of one hat only, for Art. 30(4) asks for either
}

// ErrForm reports a form that there isn't.
var ErrForm = errs.New(errs.Invalid, "a register is given out as PDF or CSV, in the language da or en and of one hat or both, or whole as JSON").At("register")

// File is a register given out: the same bytes each time.
type File struct {
	Name    string
	Media   string
	Content []byte
}

// Open returns a register in a form. One that is only prepared says so.
func (s *Service) Open(ctx context.Context, registerID string, f Form) (*File, error) {
	tag := value(f.Language)
	switch {
	case f.Format == JSON && f.Language == nil && f.Hat == nil:
	case f.Format != PDF && f.Format != CSV, tag != paper.Danish && tag != paper.English, f.Hat != nil && *f.Hat != Controller && *f.Hat != Processor:
		return nil, ErrForm
	}
	r, err := s.Register(ctx, registerID)
	if err != nil {
		return nil, err
	}
	b, err := s.Store.Content(ctx, registerID)
	if err != nil {
		return nil, err
	}
	if digest(b) != r.Hash {
		return nil, errs.New(errs.Internal, "the content of a register isn't what its hash is of")
	}
	var c content
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, errors.New("decode register: malformed") // the cause may quote a contact
	}
	if f.Hat != nil {
		c.Activities = slices.DeleteFunc(c.Activities, func(e entry) bool { return e.Hat != *f.Hat })
	}
	name := "register-draft"
	if r.Number != nil {
		name = "register-" + strconv.FormatInt(*r.Number, 10)
	}
	if tag != "" {
		name += "-" + tag
	}
	if f.Hat != nil {
		name += "-" + strings.ToLower(string(*f.Hat))
	}
	var out bytes.Buffer
	switch f.Format {
	case CSV:
		if err := c.csv(&out, tag); err != nil {
			return nil, err
		}
		return &File{name + ".csv", "text/csv; charset=utf-8", out.Bytes()}, nil
	case JSON:
		if err := encode(&out, r, b); err != nil {
			return nil, err
		}
		return &File{name + ".json", "application/json", out.Bytes()}, nil
	case PDF:
		fallthrough
	default:
		zone, err := time.LoadLocation(c.TimeZone)
		if err != nil {
			return nil, fmt.Errorf("time zone of register %s: %w", r.ID, err)
		}
		if err := paper.Render(&out, c.document(r, tag, zone)); err != nil {
			return nil, err
		}
		return &File{name + ".pdf", "application/pdf", out.Bytes()}, nil
	}
}

// exported is a register as JSON. The hash in the statement is that of Register
// without insignificant white space.
type exported struct {
	Vogter    string          `json:"vogter"`
	Statement string          `json:"statement,omitempty"` // signed; none of a register that is only prepared
	Register  json.RawMessage `json:"register"`
}

func encode(out *bytes.Buffer, r *Register, content []byte) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if err := e.Encode(exported{FileKind, value(r.Statement), content}); err != nil {
		return errors.New("encode register: malformed") // likewise
	}
	return nil
}

// Check checks a register that was given out as JSON under trusted keys. It
// returns what it is, and the note that was signed.
func Check(keys *sign.KeySet, file []byte) (notes []string, note []byte, err error) {
	var x exported
	if json.Unmarshal(file, &x) != nil || x.Vogter != FileKind {
		return nil, nil, errors.New("malformed register")
	}
	if x.Statement == "" {
		return nil, nil, errors.New("a register that was only prepared: nobody has published and signed it")
	}
	text, _, err := keys.Open(sign.Evidence, []byte(x.Statement))
	if err != nil {
		return nil, nil, err
	}
	lines := strings.Split(text, "\n")
	const kind, of, register, number, at, hash = 0, 1, 2, 3, 4, 5
	if len(lines) != 8 || lines[kind] != StatementKind {
		return nil, nil, errors.New("what was signed is not about a register")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, x.Register); err != nil {
		return nil, nil, errors.New("malformed register")
	}
	if digest(compact.Bytes()) != lines[hash] {
		return nil, nil, errors.New("altered: the register is not the one that was signed")
	}
	return []string{
		fmt.Sprintf("register %s of %s (%s), published %s", lines[number], lines[of], lines[register], lines[at]), lines[hash+1],
		"SHA-256 of its statement, which the next names: " + digest([]byte(x.Statement)),
	}, []byte(x.Statement), nil
}

// neutral puts an apostrophe before what a spreadsheet would take for a formula
// (OWASP, "CSV Injection").
func neutral(cell string) string {
	if strings.IndexAny(cell, "=+-@\t\r\n＝＋－＠") == 0 {
		return "'" + cell
	}
	return cell
}

// csv writes the activities as a table with the columns of both hats, as RFC 4180 has
// it. It begins with a byte order mark, without which spreadsheets garble Danish
// letters. Cells of the Danish table are divided by semicolons: where the comma is
// decimal, spreadsheets take nothing else, and would show each row in one cell. A
// first line "sep=," would tell them, but makes them overlook the mark, and other
// readers take it for a row.
func (c *content) csv(out *bytes.Buffer, tag string) error {
	out.WriteString("\ufeff")
	w := csv.NewWriter(out)
	w.UseCRLF = true
	if tag == paper.Danish {
		w.Comma = ';'
	}
	var row []string
	all := columns()
	for _, col := range all {
		row = append(row, col.label.In(tag))
	}
	if err := w.Write(row); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	for i := range c.Activities {
		row = row[:0]
		for _, col := range all {
			row = append(row, neutral(col.text(&c.Activities[i], tag)))
		}
		if err := w.Write(row); err != nil {
			return fmt.Errorf("write CSV: %w", err)
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// column is something that a register says of an activity.
type column struct {
	label   Words
	text    func(e *entry, tag string) string
	heading bool // it heads the activity on paper
	tabled  bool // it has a table of its own on paper
}

func say(da, en string) Words { return Words{Da: da, En: en} }

// columns are all of both hats, in the order of Art. 30 and DOMAIN §4.3.
func columns() []column {
	controller := func(of func(p *controllerEntry, tag string) string) func(*entry, string) string {
		return func(e *entry, tag string) string {
			if e.Controller == nil {
				return ""
			}
			return of(e.Controller, tag)
		}
	}
	processor := func(of func(p *processorEntry, tag string) string) func(*entry, string) string {
		return func(e *entry, tag string) string {
			if e.Processor == nil {
				return ""
			}
			return of(e.Processor, tag)
		}
	}
	return []column{
		{label: say("Id", "Id"), heading: true, text: func(e *entry, _ string) string { return e.ID }},
		{label: say("Rolle", "Role"), heading: true, text: func(e *entry, tag string) string { return e.Hat.in(tag) }},
		{label: say("Behandlingsaktivitet", "Processing activity"), heading: true, text: func(e *entry, tag string) string { return e.Name.In(tag) }},
		{label: say("Version", "Version"), text: func(e *entry, _ string) string { return strconv.FormatInt(e.Revision, 10) }},
		{label: say("Beskrivelse", "Description"), heading: true, text: func(e *entry, tag string) string { return e.Description.In(tag) }},
		{label: say("Fælles dataansvarlige (art. 30, stk. 1, litra a)", "Joint controllers (Art. 30(1)(a))"), text: controller(func(p *controllerEntry, tag string) string {
			return organisations(p.JointControllers, tag)
		})},
		{label: say("Ordning med fælles dataansvarlige (art. 26)", "Arrangement with joint controllers (Art. 26)"), text: controller(func(p *controllerEntry, tag string) string {
			return p.JointArrangement.In(tag)
		})},
		{label: say("Dataansvarlige, der behandles for (art. 30, stk. 2, litra a)", "Controllers on whose behalf it is (Art. 30(2)(a))"), text: processor(func(p *processorEntry, tag string) string {
			return lines(p.ControllerGroup.In(tag), organisations(p.Controllers, tag))
		})},
		{label: say("Andre databehandlere (art. 30, stk. 2, litra a)", "Other processors (Art. 30(2)(a))"), text: processor(func(p *processorEntry, tag string) string {
			return organisations(p.Processors, tag)
		})},
		{label: say("Repræsentanter (art. 27)", "Representatives (Art. 27)"), text: func(e *entry, tag string) string { return organisations(e.Representatives, tag) }},
		{label: say("Formål (art. 30, stk. 1, litra b)", "Purposes (Art. 30(1)(b))"), text: controller(func(p *controllerEntry, tag string) string {
			return join(p.Purposes, func(a aim) string { return a.Name.In(tag) + " (" + a.Key + ")" })
		})},
		{label: say("Kategorier af behandling (art. 30, stk. 2, litra b)", "Categories of processing (Art. 30(2)(b))"), text: processor(func(p *processorEntry, tag string) string {
			return join(p.Operations, func(t term) string { return t.in(tag) })
		})},
		{label: say("Retsgrundlag", "Legal bases"), text: controller(func(p *controllerEntry, tag string) string {
			return join(p.LegalBases, func(b LegalBasis) string { return b.in(tag) })
		})},
		{label: say("Kategorier af registrerede (art. 30, stk. 1, litra c)", "Categories of data subjects (Art. 30(1)(c))"), text: controller(func(p *controllerEntry, tag string) string {
			return join(p.SubjectCategories, func(t term) string { return t.in(tag) })
		})},
		{label: say("Kategorier af personoplysninger (art. 30, stk. 1, litra c) og slettefrister (litra f)", "Categories of personal data (Art. 30(1)(c)) and time limits for erasure ((f))"), tabled: true, text: controller(func(p *controllerEntry, tag string) string {
			return join(p.DataCategories, func(d dataTerm) string {
				s := d.in(tag) + " [" + className(d.Class).In(tag) + "]"
				if !d.TimeLimit.Empty() {
					s += ": " + d.TimeLimit.In(tag)
				}
				return s
			})
		})},
		{label: say("Modtagere (art. 30, stk. 1, litra d)", "Recipients (Art. 30(1)(d))"), text: controller(func(p *controllerEntry, tag string) string {
			return lines(p.RecipientCategories.In(tag), organisations(p.Recipients, tag))
		})},
		{label: say("Overførsler til tredjelande (art. 30, stk. 1, litra e, og stk. 2, litra c)", "Transfers to third countries (Art. 30(1)(e), 30(2)(c))"), text: func(e *entry, tag string) string {
			return join(e.Transfers, func(t transfer) string { return t.in(tag) })
		}},
		{label: say("Sikkerhedsforanstaltninger (art. 30, stk. 1, litra g, og stk. 2, litra d)", "Security measures (Art. 30(1)(g), 30(2)(d))"), text: func(e *entry, tag string) string {
			return lines(e.MeasuresDescription.In(tag), join(e.Measures, func(w Words) string { return w.In(tag) }))
		}},
		{label: say("Systemer", "Systems"), text: func(e *entry, tag string) string {
			return join(e.Systems, func(p place) string { return p.Name.In(tag) + " (" + countryName(p.Location).In(tag) + ")" })
		}},
		{label: say("Kilder til oplysningerne", "Sources of the data"), text: controller(func(p *controllerEntry, tag string) string { return p.Sources.In(tag) })},
		{label: say("Automatiske afgørelser (art. 22)", "Automated decisions (Art. 22)"), text: controller(func(p *controllerEntry, tag string) string {
			return p.AutomatedDecisions.In(tag)
		})},
		{label: say("Interesseafvejning (art. 6, stk. 1, litra f)", "Balancing of interests (Art. 6(1)(f))"), text: controller(func(p *controllerEntry, _ string) string {
			return p.LegitimateInterest
		})},
		{label: say("Konsekvensanalyse (art. 35)", "Impact assessment (Art. 35)"), text: controller(func(p *controllerEntry, tag string) string {
			return lines(p.ImpactNeed.in(tag), p.ImpactReason.In(tag), p.ImpactAssessment)
		})},
		{label: say("Gældende fra", "Valid from"), text: func(e *entry, tag string) string { return civil.Of(e.ValidFrom).In(tag) }},
		{label: say("Sidst gennemgået", "Last reviewed"), text: func(e *entry, tag string) string { return maybeDay(e.LastReviewedOn, tag) }},
		{label: say("Næste gennemgang", "Next review"), text: func(e *entry, tag string) string { return maybeDay(e.NextReviewOn, tag) }},
		{label: say("Ansvarlig (id)", "Owner (id)"), text: func(e *entry, _ string) string { return e.Owner }},
	}
}

// lines joins what isn't empty.
func lines(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), "\n")
}

func join[T any](all []T, of func(T) string) string {
	texts := make([]string, len(all))
	for i, x := range all {
		texts[i] = of(x)
	}
	return lines(texts...)
}

func organisations(all []organisation, tag string) string {
	return join(all, func(o organisation) string { return o.in(tag) })
}

func (o *organisation) in(tag string) string {
	s := o.Name
	if o.Number != "" {
		s += ", " + o.Scheme + " " + o.Number
	}
	s += ", " + countryName(o.Country).In(tag)
	if c := o.Contact; c != nil {
		if rest := c.line(); rest != "" {
			s += " (" + rest + ")"
		}
	}
	return s
}

func (c *contact) line() string {
	return strings.ReplaceAll(lines(c.Name, c.Email, c.Phone, c.Address), "\n", ", ")
}

func (h Hat) in(tag string) string {
	if h == Processor {
		return say("Databehandler", "Processor").In(tag)
	}
	return say("Dataansvarlig", "Controller").In(tag)
}

func (t *term) in(tag string) string {
	switch label, note := t.Label.In(tag), t.Note.In(tag); {
	case label == "":
		return note
	case note == "":
		return label
	default:
		return label + ": " + note
	}
}

func (b *LegalBasis) in(tag string) string {
	s := b.Basis.In(tag)
	if !b.Law.Empty() {
		s += " – " + b.Law.In(tag)
	}
	return s
}

func (n ImpactNeed) in(tag string) string {
	switch n {
	case ImpactNeeded:
		return say("Nødvendig", "Needed").In(tag)
	case ImpactNotNeeded:
		return say("Ikke nødvendig", "Not needed").In(tag)
	case ImpactUnknown:
		fallthrough
	default:
		return say("Ikke vurderet", "Not screened").In(tag)
	}
}

func className(c dataset.Class) Words {
	switch c {
	case dataset.Art9:
		return say("følsomme (art. 9)", "special categories (Art. 9)")
	case dataset.Art10:
		return say("strafbare forhold (art. 10)", "criminal offences (Art. 10)")
	case dataset.NationalID:
		return say("personnummer", "national identification number")
	case dataset.Confidential:
		return say("fortrolige", "confidential")
	case dataset.Ordinary:
		fallthrough
	default:
		return say("almindelige", "ordinary")
	}
}

func (t TransferTool) in(tag string) string {
	switch t {
	case Adequacy:
		return say("afgørelse om tilstrækkeligt beskyttelsesniveau (art. 45)", "adequacy decision (Art. 45)").In(tag)
	case SCC:
		return say("standardkontraktbestemmelser (art. 46, stk. 2, litra c)", "standard contractual clauses (Art. 46(2)(c))").In(tag)
	case BCR:
		return say("bindende virksomhedsregler (art. 47)", "binding corporate rules (Art. 47)").In(tag)
	case DPF:
		return say("EU-US Data Privacy Framework (art. 45)", "EU-US Data Privacy Framework (Art. 45)").In(tag)
	case Art49:
		return say("undtagelse i særlige situationer (art. 49)", "derogation for a specific situation (Art. 49)").In(tag)
	case Other46:
		return say("andre garantier (art. 46)", "other safeguards (Art. 46)").In(tag)
	default:
		return string(t)
	}
}

func (t *transfer) in(tag string) string {
	s := countryName(t.Country).In(tag)
	if t.Party != nil {
		s += ": " + t.Party.Name
	}
	if t.Tool == nil {
		s += " – " + say("uden overførselsgrundlag", "without a tool").In(tag)
	} else {
		s += " – " + t.Tool.in(tag)
	}
	if !t.Safeguards.Empty() {
		s += ". " + t.Safeguards.In(tag)
	}
	return s
}

func maybeDay(d *civil.Date, tag string) string {
	if d == nil {
		return ""
	}
	return d.In(tag)
}

// document puts a register on paper.
func (c *content) document(r *Register, tag string, zone *time.Location) paper.Document {
	at := r.PreparedAt
	title := say("Fortegnelse over behandlingsaktiviteter – udkast", "Record of processing activities – draft")
	footer := say("Udkast", "Draft")
	if r.PublishedAt != nil {
		at = *r.PublishedAt
		title = say("Fortegnelse over behandlingsaktiviteter", "Record of processing activities")
		footer = say(fmt.Sprintf("Fortegnelse nr. %d", *r.Number), fmt.Sprintf("Record no. %d", *r.Number))
	}
	d := paper.Document{
		Title: title.In(tag), Language: tag, Sender: c.Organisation.Name, Date: at,
		Footer: footer.In(tag) + " · " + civil.Of(at.In(zone)).In(tag),
	}
	add := func(b ...paper.Block) { d.Body = append(d.Body, b...) }
	add(paper.KeyValue{Pairs: c.front(r, tag, zone)})
	if !c.Remark.Empty() {
		add(heading(1, say("Hvad er nyt", "What is new").In(tag)), paper.Paragraph{Text: paper.Plain(c.Remark.In(tag))})
	}
	for _, part := range []struct {
		hat  Hat
		name Words
	}{
		{Controller, say("Behandling som dataansvarlig (art. 30, stk. 1)", "Processing as controller (Art. 30(1))")},
		{Processor, say("Behandling som databehandler (art. 30, stk. 2)", "Processing as processor (Art. 30(2))")},
	} {
		of := slices.DeleteFunc(slices.Clone(c.Activities), func(e entry) bool { return e.Hat != part.hat })
		if len(of) == 0 {
			continue
		}
		add(heading(1, part.name.In(tag)), overview(of, tag))
		for i := range of {
			add(of[i].blocks(i+1, tag, zone)...)
		}
	}
	if r.Statement != nil {
		add(heading(1, say("Underskrift", "Signature").In(tag)), paper.Paragraph{Text: paper.Plain(say(
			"Fortegnelsen er underskrevet elektronisk. Udgaven i JSON kan efterprøves med »vogter verify«.",
			"The record is signed electronically. Its JSON form can be checked with ‘vogter verify’.").In(tag))}, paper.Code{Text: strings.TrimRight(*r.Statement, "\n")})
	}
	return d
}

func heading(level int, text string) paper.Heading {
	return paper.Heading{Level: level, Text: paper.Plain(text)}
}

func pair(key Words, tag, text string) paper.Pair {
	return paper.Pair{Key: key.In(tag), Value: paper.Plain(text)}
}

// front is who keeps the record, Art. 30(1)(a) and 30(2)(a), and which one it is.
func (c *content) front(r *Register, tag string, zone *time.Location) []paper.Pair {
	o := c.Organisation
	own := o
	own.Contact = nil
	pairs := []paper.Pair{pair(say("Virksomhed", "Organisation"), tag, own.in(tag))}
	put := func(key Words, text string) {
		if text != "" {
			pairs = append(pairs, pair(key, tag, text))
		}
	}
	if o.Contact != nil {
		put(say("Kontakt", "Contact"), o.Contact.line())
	}
	if c.DPO != nil {
		put(say("Databeskyttelsesrådgiver", "Data protection officer"), c.DPO.line())
	}
	put(say("Tilsynsmyndighed", "Supervisory authority"), c.Authority)
	if r.Number != nil {
		put(say("Nummer", "Number"), strconv.FormatInt(*r.Number, 10))
	}
	put(say("Forberedt", "Prepared"), moment(r.PreparedAt, tag, zone)+" · "+r.PreparedBy)
	if r.PublishedAt != nil {
		put(say("Godkendt og offentliggjort", "Approved and published"), moment(*r.PublishedAt, tag, zone)+" · "+*r.PublishedBy)
	}
	put(say("Aktiviteter", "Activities"), strconv.Itoa(len(c.Activities)))
	put(say("Ordforråd", "Vocabulary"), "Data Privacy Vocabulary "+c.Vocabulary)
	pairs = append(pairs, paper.Pair{Key: "SHA-256", Value: []paper.Span{{Text: r.Hash, Code: true}}})
	return pairs
}

func moment(t time.Time, tag string, zone *time.Location) string {
	t = t.In(zone)
	if danish(tag) {
		return civil.Of(t).In(tag) + " kl. " + t.Format("15.04")
	}
	return civil.Of(t).In(tag) + ", " + t.Format("15:04")
}

func overview(all []entry, tag string) paper.Table {
	t := paper.Table{
		Caption: say("Oversigt", "Overview").In(tag), RowHeader: true,
		Columns: []paper.Column{
			{Header: say("Nr.", "No.").In(tag)},
			{Header: say("Behandlingsaktivitet", "Processing activity").In(tag)},
			{Header: say("Version", "Version").In(tag), Right: true},
			{Header: say("Næste gennemgang", "Next review").In(tag)},
		},
	}
	for i := range all {
		e := &all[i]
		t.Rows = append(t.Rows, []paper.Cell{
			paper.Plain(strconv.Itoa(i + 1)), paper.Plain(e.Name.In(tag)), paper.Plain(strconv.FormatInt(e.Revision, 10)), paper.Plain(maybeDay(e.NextReviewOn, tag)),
		})
	}
	return t
}

// blocks puts an activity on paper: what it is, what the law asks for, and its
// categories of data with their time limits.
func (e *entry) blocks(number int, tag string, zone *time.Location) []paper.Block {
	local := *e
	local.ValidFrom = e.ValidFrom.In(zone)
	blocks := []paper.Block{heading(2, strconv.Itoa(number)+". "+e.Name.In(tag))}
	if !e.Description.Empty() {
		blocks = append(blocks, paper.Paragraph{Text: paper.Plain(e.Description.In(tag))})
	}
	var pairs []paper.Pair
	for _, c := range columns() {
		if text := c.text(&local, tag); text != "" && !c.heading && !c.tabled {
			pairs = append(pairs, pair(c.label, tag, text))
		}
	}
	blocks = append(blocks, paper.KeyValue{Pairs: pairs})
	if e.Controller == nil || len(e.Controller.DataCategories) == 0 {
		return blocks
	}
	t := paper.Table{
		Caption:   say("Personoplysninger (art. 30, stk. 1, litra c og f)", "Personal data (Art. 30(1)(c) and (f))").In(tag),
		RowHeader: true,
		Columns: []paper.Column{
			{Header: say("Kategori", "Category").In(tag)},
			{Header: say("Art", "Class").In(tag)},
			{Header: say("Slettefrist", "Time limit for erasure").In(tag)},
		},
	}
	for _, d := range e.Controller.DataCategories {
		t.Rows = append(t.Rows, []paper.Cell{
			paper.Plain(d.in(tag)), paper.Plain(className(d.Class).In(tag)), paper.Plain(d.TimeLimit.In(tag)),
		})
	}
	return append(blocks, t)
}
