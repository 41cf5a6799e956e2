package certificate

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/retention"
)

// Media is the type of the signed text.
const Media = "application/jose"

const instant = "2006-01-02 15:04:05 MST"

// PDF returns, in Danish or else in English, what a certificate says, or with
// statement what the second statement on it says, on paper. The signed text lies in
// the file: what counts is that, for pages can be altered. It is the same bytes
// each time, and fails with ErrNotFound for what isn't signed yet.
func (c *Certificate) PDF(language string, statement bool) ([]byte, error) {
	o := Opened{Signed: c.Signed}
	var err error
	switch {
	case statement && c.Statement != "":
		o.Signed, o.Statement = c.Statement, &Irrecoverable{}
		err = payload(o.Signed, o.Statement)
	case !statement && c.Signed != "":
		o.Certificate = &Content{}
		err = payload(o.Signed, o.Certificate)
	default:
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	d, err := o.Document(language)
	if err != nil {
		return nil, err
	}
	d.Sender = c.Content.Controller.Name
	d.Attached = &paper.Attachment{Name: o.Number() + ".jws", MediaType: Media, Content: []byte(o.Signed)}
	var b bytes.Buffer
	if err := paper.Render(&b, d); err != nil {
		return nil, fmt.Errorf("print certificate %s: %w", o.Number(), err)
	}
	return b.Bytes(), nil
}

// Number returns the number of the certificate or statement.
func (o *Opened) Number() string {
	if o.Statement != nil {
		return o.Statement.Number
	}
	return o.Certificate.Number
}

// Document returns what is signed for people to read, in Danish or else in English.
func (o *Opened) Document(language string) (paper.Document, error) {
	sum, err := digest(o.Signed)
	if err != nil {
		return paper.Document{}, err
	}
	say, language := wordsIn(language)
	d := paper.Document{Language: language, Footer: o.Number()}
	if o.Statement != nil {
		o.Statement.write(&d, say)
	} else {
		o.Certificate.write(&d, say)
	}
	d.Body = append(d.Body, heading(say.check), pairs(say.digest, sum), paragraph(say.howToCheck), paragraph(say.reach))
	return d, nil
}

// write writes what a certificate says.
func (c *Content) write(d *paper.Document, say words) {
	d.Title, d.Date, d.Sender = say.certificate, c.IssuedAt, c.Controller.Name
	d.Body = append(d.Body, paragraph(say.intro), pairs(
		say.number, c.Number, say.controller, c.Controller.said(), say.processor, c.Processor.said(), say.request, c.Request, say.item, c.Item,
		say.person, c.Subject, say.ground, c.Ground, say.plan, c.Plan, say.preparedBy, c.PreparedBy, say.approvedBy, c.ApprovedBy,
		say.erasure, c.Erasure, say.rules, c.Rules, say.software, c.Software, say.issued, c.IssuedAt.UTC().Format(instant),
	))
	scope := table(say.scope, say.unit, say.classes, say.systems, say.methods)
	for _, s := range c.Scope {
		scope.Rows = append(scope.Rows, cells(
			say.named(s.Unit, s.Name), say.all(say.class, s.Categories), say.all(say.system, s.Systems), say.all(say.method, s.Methods),
		))
	}
	steps := table(say.steps, say.step, say.at)
	for _, s := range c.Steps {
		steps.Rows = append(steps.Rows, cells(say.translate(say.stepNames, s.Step), s.At.UTC().Format(instant)))
	}
	d.Body = append(d.Body, heading(say.scope), scope, paragraph(fmt.Sprintf(say.unreadable, c.UnreadableAt.UTC().Format(instant))), heading(say.steps), steps,
		paragraph(say.counted))
	if len(c.Exceptions) > 0 {
		kept := table(say.kept, say.unit, say.why, say.law, say.until)
		for _, k := range c.Exceptions {
			until := say.open
			if k.Date != nil {
				until = k.Date.String()
			}
			kept.Rows = append(kept.Rows, cells(
				say.named(k.Unit, k.Name), say.translate(say.reasons, string(k.Reason)), strings.Trim(k.Article+"; "+k.Law, "; "), until,
			))
		}
		d.Body = append(d.Body, heading(say.kept), kept)
	}
	if len(c.Recipients) > 0 {
		told := table(say.recipients, say.recipient, say.result)
		for _, n := range c.Recipients {
			told.Rows = append(told.Rows, cells(n.Name, say.translate(say.results, n.Result)))
		}
		d.Body = append(d.Body, heading(say.recipients), told)
	}
	d.Body = append(
		d.Body, heading(say.backups),
		paragraph(fmt.Sprintf(say.irrecoverable, c.Backups.IrrecoverableOn.UTC().Format(instant), c.Backups.Statement)),
		paragraph(fmt.Sprintf(say.horizon, strings.Trim(c.Backups.Horizon, "PD"))),
		pairs(say.ledger, strconv.FormatInt(c.Ledger.Number, 10), say.ledgerSum, c.Ledger.SHA256),
	)
}

// write writes what the second statement says.
func (s *Irrecoverable) write(d *paper.Document, say words) {
	d.Title, d.Date = say.statement, s.IssuedAt
	d.Body = append(d.Body, paragraph(fmt.Sprintf(say.gone, s.Certificate, s.Since.UTC().Format(instant))), pairs(
		say.number, s.Number, say.certificateNumber, s.Certificate, say.certificateSum, s.SHA256, say.person, s.Subject, say.erasure, s.Erasure,
		say.epochs, strings.Join(s.Epochs, ", "), say.issued, s.IssuedAt.UTC().Format(instant),
	))
}

// said names a party.
func (p Party) said() string {
	if p.Registration == "" {
		return p.Name
	}
	return p.Name + " (" + p.Registration + ")"
}

func heading(text string) paper.Block   { return paper.Heading{Level: 1, Text: paper.Plain(text)} }
func paragraph(text string) paper.Block { return paper.Paragraph{Text: paper.Plain(text)} }

// pairs is a table of names and values without those that are empty.
func pairs(all ...string) paper.Block {
	var b paper.KeyValue
	for i := 0; i+1 < len(all); i += 2 {
		if all[i+1] != "" {
			b.Pairs = append(b.Pairs, paper.Pair{Key: all[i], Value: paper.Plain(all[i+1])})
		}
	}
	return b
}

func table(caption string, columns ...string) paper.Table {
	t := paper.Table{Caption: caption, RowHeader: true}
	for _, c := range columns {
		t.Columns = append(t.Columns, paper.Column{Header: c})
	}
	return t
}

func cells(texts ...string) []paper.Cell {
	row := make([]paper.Cell, len(texts))
	for i, t := range texts {
		row[i] = paper.Plain(t)
	}
	return row
}

// named is what a unit is called.
func (w *words) named(unit, name string) string {
	switch {
	case unit == retention.Person:
		return w.identity
	case name == "":
		return w.translate(w.units, unit)
	default:
		return name
	}
}

func (w *words) translate(in map[string]string, name string) string {
	if said, ok := in[name]; ok {
		return said
	}
	return name
}

func (w *words) all(in map[string]string, names []string) string {
	said := make([]string, len(names))
	for i, n := range names {
		said[i] = w.translate(in, n)
	}
	return strings.Join(said, ", ")
}
