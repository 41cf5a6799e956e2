package verify

import (
	"fmt"

	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/sign"
)

const minute = "2006-01-02 15:04 MST"

// erased checks a certificate of erasure, or the second statement on one.
func erased(content string, keys *sign.KeySet) (*Report, error) {
	if keys == nil {
		return nil, errNoKeys
	}
	o, err := certificate.Open(keys, content)
	if err != nil {
		return nil, err
	}
	r := &Report{What: "ERASURE_CERTIFICATE", SignedBy: o.SignedBy, Root: keys.Root(), Keys: keys, Erasure: o}
	if s := o.Statement; s != nil {
		r.What = "IRRECOVERABILITY_STATEMENT"
		r.Notes = []string{
			fmt.Sprintf("statement %s on certificate %s", s.Number, s.Certificate),
			"nobody can bring the data back since " + s.Since.Format(minute),
			"SHA-256 of what the certificate says: " + s.SHA256,
		}
		return r, nil
	}
	c := o.Certificate
	r.Notes = []string{
		fmt.Sprintf("certificate %s of %s (%s), processor %s", c.Number, c.Controller.Name, c.Controller.ID, c.Processor.Name),
		fmt.Sprintf("person %s, %s", c.Subject, c.Ground),
		fmt.Sprintf("erased from %s to %s, unreadable since %s, counted: nothing left", c.StartedAt.Format(minute), c.EndedAt.Format(minute), c.UnreadableAt.Format(minute)),
	}
	for _, s := range c.Scope {
		r.Notes = append(r.Notes, fmt.Sprintf("erased: %s %s", s.Unit, s.Name))
	}
	for _, k := range c.Exceptions {
		until := ""
		if k.Date != nil {
			until = ", to be erased on " + k.Date.String()
		}
		r.Notes = append(r.Notes, fmt.Sprintf("kept: %s %s, %s%s", k.Unit, k.Name, k.Article, until))
	}
	r.Notes = append(r.Notes, fmt.Sprintf("in backups irrecoverable by plan from %s, which statement %s will say",
		c.Backups.IrrecoverableOn.Format(minute), c.Backups.Statement))
	return r, nil
}
