package agreement

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/vogter/vogter/internal/paper"
)

const instant = "2006-01-02 15:04:05 MST"

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// words are what the signature page says.
type words struct {
	page, version, parties, name, title, authority, method, reference, at, audit, entry, number, checkpoint, root, sum, since, check string

	sides   map[Side]string
	methods map[Method]string
}

func wordsIn(language string) words {
	if language == paper.Danish {
		return words{
			page: "Underskriftsside", version: "Aftale nr. %s, version %d", parties: "Underskrifter", name: "Navn", title: "Titel", authority: "Beføjelse",
			method: "Metode", reference: "Reference", at: "Tid", audit: "Bevis i revisionsloggen", entry: "Post", number: "Postens nummer i loggen",
			checkpoint: "Kontrolpunkt", root: "Loggens rod", sum: "Dokumentets kontrolsum (SHA-256)", since: "Gælder fra",
			check: "Den underskrevne tekst ligger i denne fil. Programmet vogter viser, hvem der har underskrevet hvad: vogter verify. Siderne selv er ikke underskrevet.",
			sides: map[Side]string{Controller: "For den dataansvarlige", Processor: "For databehandleren"},
			methods: map[Method]string{
				Simple: "På platformen, ved ny indlogning", Advanced: "Avanceret elektronisk signatur", Qualified: "Kvalificeret elektronisk signatur", EID: "Nationalt eID",
			},
		}
	}
	return words{
		page: "Signature page", version: "Agreement no. %s, version %d", parties: "Signatures", name: "Name", title: "Title", authority: "Authority",
		method: "Method", reference: "Reference", at: "Time", audit: "Proof in the audit log", entry: "Entry", number: "The entry's number in the log",
		checkpoint: "Checkpoint", root: "Root of the log", sum: "The document's checksum (SHA-256)", since: "In force since",
		check: "The signed text lies in this file. The program vogter shows who signed what: vogter verify. The pages themselves aren't signed.",
		sides: map[Side]string{Controller: "For the controller", Processor: "For the processor"},
		methods: map[Method]string{
			Simple: "On the platform, by a fresh sign-in", Advanced: "Advanced electronic signature", Qualified: "Qualified electronic signature", EID: "National eID",
		},
	}
}

// paper returns a signed agreement for people to read: the text that was signed, and
// the signature page.
func (c *Content) paper() (paper.Document, error) {
	d, err := paper.FromMarkdown(c.Text)
	if err != nil {
		return d, fmt.Errorf("read the text of agreement %s: %w", c.Agreement, err)
	}
	say := wordsIn(c.Language)
	line := fmt.Sprintf(say.version, c.Number, c.Version)
	d.Language, d.Date, d.Footer = c.Language, c.Since, line
	d.Body = append(d.Body, paper.PageBreak{}, heading(1, say.page), pairs(
		say.sum, c.SHA256, say.since, c.Since.UTC().Format(instant),
	))
	for _, s := range c.Signatures {
		d.Body = append(d.Body, heading(2, say.sides[s.Side]), pairs(
			say.name, s.Name, say.title, s.Title, say.authority, s.Authority, say.method, say.methods[s.Method], say.reference, s.Reference,
			say.at, s.At.UTC().Format(instant),
		))
	}
	d.Body = append(d.Body, heading(2, say.audit), pairs(
		say.entry, c.Audit.Entry, say.number, strconv.FormatInt(c.Audit.Number, 10), say.checkpoint, strconv.FormatInt(c.Audit.Checkpoint, 10), say.root, c.Audit.Root,
	), paper.Paragraph{Text: paper.Plain(say.check)})
	return d, nil
}

func heading(level int, text string) paper.Block {
	return paper.Heading{Level: level, Text: paper.Plain(text)}
}

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
