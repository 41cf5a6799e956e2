package access

import (
	"context"
	"fmt"

	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/paper"
)

// readme is what the package says of itself, in one language.
type readme struct {
	title, intro, asOf, inside, check, how, rights, yours, complain, contact string

	parts, without [][2]string // paths, and what is there; without is of portability
}

func readmeIn(language string) readme {
	if language == paper.Danish {
		return readme{
			title: "Læs mig først", intro: "Pakken er svaret fra %s på din anmodning %s.", asOf: "Oplysningerne er, som de var %s.", inside: "Hvad der er i pakken",
			check: "Sådan kontrolleres pakken", how: "manifest.json har hver fil med dens SHA-256-sum og er underskrevet i manifest.sig. Programmet vogter kontrollerer det hele uden netværk: vogter verify. Siden til kontrol kan det også.",
			rights: "Dine rettigheder", yours: "Du kan bede om at få oplysninger rettet, slettet eller begrænset, gøre indsigelse og trække et samtykke tilbage.",
			complain: "Du kan klage til %s (%s, telefon %s, %s, %s).", contact: "Skriv til %s: %s.",
			parts: [][2]string{
				{"index.html", "overblik, der kan læses i en browser uden netværk"},
				{"statement.pdf, statement.html", "hvad artikel 15, stk. 1 og 2, kræver oplyst: formål, modtagere, opbevaring og mere"},
				{"data/", "oplysningerne, som JSON og som CSV til regneark, med dine samtykker, kvitteringer, anmodninger og videregivelser"},
				{"documents/", "dokumenter"},
				{"log/access.csv", "hvem der har set oplysningerne, hvornår og til hvad"},
				{"schema/", "formen af hver JSON-fil, som JSON Schema"},
				{"manifest.json, manifest.sig", "fortegnelse over alle filer, og underskrift"},
			},
			without: [][2]string{
				{"index.html", "overblik, der kan læses i en browser uden netværk"},
				{"data/", "oplysningerne, som JSON og som CSV til regneark"},
				{"documents/", "dokumenter"},
				{"schema/", "formen af hver JSON-fil, som JSON Schema"},
				{"manifest.json, manifest.sig", "fortegnelse over alle filer, og underskrift"},
			},
		}
	}
	return readme{
		title: "Read me first", intro: "This package is the answer of %s to your request %s.", asOf: "The data is as it was on %s.", inside: "What is in here",
		check: "How to check the package", how: "manifest.json has every file with its SHA-256 digest, and is signed in manifest.sig. The program vogter checks all of it without a network: vogter verify. So does the page for checking.",
		rights: "Your rights", yours: "You can ask for data to be corrected, erased or restricted, object, and withdraw a consent.",
		complain: "You can complain to %s (%s, telephone %s, %s, %s).", contact: "Write to %s: %s.",
		parts: [][2]string{
			{"index.html", "an overview to be read in a browser, without a network"},
			{"statement.pdf, statement.html", "what Article 15(1) and (2) demand to be told: purposes, recipients, storage and more"},
			{"data/", "the data, as JSON and as CSV for spreadsheets, with your consents, receipts, requests and disclosures"},
			{"documents/", "documents"},
			{"log/access.csv", "who has seen the data, when and what for"},
			{"schema/", "the form of each JSON file, as JSON Schema"},
			{"manifest.json, manifest.sig", "a list of all files, and the signature"},
		},
		without: [][2]string{
			{"index.html", "an overview to be read in a browser, without a network"},
			{"data/", "the data, as JSON and as CSV for spreadsheets"},
			{"documents/", "documents"},
			{"schema/", "the form of each JSON file, as JSON Schema"},
			{"manifest.json, manifest.sig", "a list of all files, and the signature"},
		},
	}
}

// readme returns README.html: what is in the package, and how to check it.
func (s *Statement) readme(ctx context.Context, f export.Facts) (export.Paper, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return export.Paper{}, fmt.Errorf("find tenant: %w", err)
	}
	say := readmeIn(f.Export.Language)
	parts := say.parts
	if f.Export.Case.Type == pack.PortabilityType {
		parts = say.without
	}
	inside := paper.KeyValue{}
	for _, p := range parts {
		inside.Pairs = append(inside.Pairs, paper.Pair{Key: p[0], Value: paper.Plain(p[1])})
	}
	d := paper.Document{Title: say.title, Sender: t.LegalName}
	add := func(text string, args ...any) {
		d.Body = append(d.Body, paper.Paragraph{Text: paper.Plain(fmt.Sprintf(text, args...))})
	}
	head := func(text string) { d.Body = append(d.Body, paper.Heading{Level: 1, Text: paper.Plain(text)}) }
	add(say.intro, t.LegalName, f.Export.Case.Number)
	add(say.asOf, f.AsOf.Format("2006-01-02 15:04 MST"))
	head(say.inside)
	d.Body = append(d.Body, inside)
	head(say.check)
	add("%s", say.how)
	head(say.rights)
	add("%s", say.yours)
	if l := t.Letterhead; l != nil {
		add(say.complain, l.Authority.Name, l.Authority.Address, l.Authority.Phone, l.Authority.Email, l.Authority.Website)
		add(say.contact, t.LegalName, listed([]string{l.Address, l.Email, l.Phone, l.Website}))
	}
	return export.Paper{Name: "README", Document: d}, nil
}
