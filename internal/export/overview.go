package export

import (
	_ "embed"
	"fmt"
	"html/template"
	"iter"
	"strings"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/pack"
)

//go:embed overview.html
var overviewHTML string

const (
	danish  = "da"
	english = "en"
)

// text has all that a package says in one language.
type text struct {
	Title, Notice, AsOf, Controller, Processor, Reference string
	Identity, Records, None, Files, Role, Document        string
	Origin, Source, CollectedAt                           string
	JSON, CSV, IdentityJSON, IdentityCSV, Schema          string
	Overview, Check                                       string

	AccessTitle, AccessNotice, PortabilityTitle, PortabilityNotice string
}

// of returns the text of a package that answers something.
func (t text) of(c *Case) text {
	switch {
	case c == nil:
	case c.Type == pack.PortabilityType:
		t.Title, t.Notice = t.PortabilityTitle, t.PortabilityNotice
	default:
		t.Title, t.Notice = t.AccessTitle, t.AccessNotice
	}
	return t
}

func languages() map[string]text {
	return map[string]text{
		english: {
			Title:      "Copy of personal data",
			Notice:     "This is a copy for staff. It is not the answer to an access request under Article 15 of the GDPR.",
			AsOf:       "Data as of",
			Controller: "Controller", Processor: "Processor", Reference: "Reference",
			Identity: "Identity", Records: "Records", None: "Searched; nothing found.", Files: "Files", Role: "Role",
			Origin: "Origin", Source: "Source", CollectedAt: "Collected",
			Document: "Document from %s", JSON: "%s, machine-readable",
			CSV:          "%s, as a table; an apostrophe stands before what a spreadsheet would take for a formula",
			IdentityJSON: "Identity, machine-readable", IdentityCSV: "Identity, as a table", Schema: "Form of the data: %s",
			Overview: "Overview for reading",
			Check:    "manifest.json lists every file with its SHA-256 digest; the command “vogter verify” checks them.",

			AccessTitle:       "Your personal data",
			AccessNotice:      "This is the copy of your data under Article 15(3) of the GDPR. The statement (statement.html, statement.pdf) says how it is used.",
			PortabilityTitle:  "Your data to take with you",
			PortabilityNotice: "This is the data that Article 20 of the GDPR gives you a right to receive: what you provided, used by consent or contract.",
		},
		danish: {
			Title:      "Kopi af personoplysninger",
			Notice:     "Dette er en kopi til medarbejdere. Den er ikke svar på en indsigtsanmodning efter databeskyttelsesforordningens artikel 15.",
			AsOf:       "Oplysninger pr.",
			Controller: "Dataansvarlig", Processor: "Databehandler", Reference: "Reference",
			Identity: "Identitet", Records: "Poster", None: "Gennemsøgt; intet fundet.", Files: "Filer", Role: "Rolle",
			Origin: "Oprindelse", Source: "Kilde", CollectedAt: "Indsamlet",
			Document: "Dokument fra %s", JSON: "%s, maskinlæsbart",
			CSV:          "%s, som tabel; en apostrof står foran det, som et regneark ville opfatte som en formel",
			IdentityJSON: "Identitet, maskinlæsbart", IdentityCSV: "Identitet, som tabel", Schema: "Oplysningernes form: %s",
			Overview: "Oversigt til læsning",
			Check:    "manifest.json har hver fil med dens SHA-256-sum; kommandoen »vogter verify« kontrollerer dem.",

			AccessTitle:       "Dine personoplysninger",
			AccessNotice:      "Dette er kopien af dine oplysninger efter databeskyttelsesforordningens artikel 15, stk. 3. Redegørelsen (statement.html, statement.pdf) forklarer, hvordan de bruges.",
			PortabilityTitle:  "Dine oplysninger til at tage med",
			PortabilityNotice: "Dette er de oplysninger, som du har ret til at modtage efter databeskyttelsesforordningens artikel 20: dem, du selv har givet, og som behandles på grundlag af samtykke eller kontrakt.",
		},
	}
}

// The form of what overview.html shows.
type (
	overviewPage struct {
		Text     text
		Language string
		AsOf     string
		Parties  parties
		Subject  string
		Who      [][]string
		Sets     []overviewSet
	}
	overviewSet struct {
		Name, Description, Slug string
		Count                   int64
		Entries                 iter.Seq[overviewEntry]
	}
	overviewEntry struct {
		Head   entryJSON
		Roles  string
		Values []overviewValue
	}
	overviewValue struct {
		Key, Text, Link string
	}
)

// overview writes index.html, which needs nothing but itself.
func (b *builder) overview() error {
	t, err := template.New("overview").Parse(overviewHTML)
	if err != nil {
		return fmt.Errorf("parse overview: %w", err)
	}
	w, err := b.w.Create(pack.File{
		Path: "index.html", MediaType: "text/html; charset=utf-8", Category: pack.Overview, Description: b.text.Overview,
	}, true)
	if err != nil {
		return err
	}
	p := overviewPage{
		Text: b.text, Language: b.export.Language, AsOf: b.asOf.Format("2006-01-02 15:04 -07:00"), Parties: b.parties,
		Subject: b.export.SubjectID, Who: b.who,
	}
	var failed error
	for _, set := range b.sets {
		p.Sets = append(p.Sets, overviewSet{
			Name: set.Name, Description: set.Description, Slug: set.slug, Count: set.entries, Entries: b.shownEntries(set, &failed),
		})
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("write overview: %w", err)
	}
	return failed
}

// shownEntries reads the entries of a dataset while the page is written. Their
// error is put in failed.
func (b *builder) shownEntries(set *set, failed *error) iter.Seq[overviewEntry] {
	return func(yield func(overviewEntry) bool) {
		err := b.each(set, func(e *entry) error {
			shown := overviewEntry{Head: e.head(), Roles: strings.Join(e.roles, ", ")}
			for _, v := range e.values {
				plain, err := b.plain(set, v)
				if err != nil {
					return err
				}
				value := overviewValue{Key: v.field.Key, Text: plain}
				if v.field.Type == dataset.TypeFile {
					value.Link = plain
				}
				shown.Values = append(shown.Values, value)
			}
			yield(shown) // the template never stops early
			return nil
		})
		if *failed == nil {
			*failed = err
		}
	}
}
