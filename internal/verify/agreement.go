package verify

import (
	"fmt"

	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/sign"
)

// agreed checks a data processing agreement that both sides have signed.
func agreed(content string, keys *sign.KeySet) (*Report, error) {
	if keys == nil {
		return nil, errNoKeys
	}
	c, by, err := agreement.Open(keys, content)
	if err != nil {
		return nil, err
	}
	r := &Report{What: "PROCESSOR_AGREEMENT", SignedBy: by, Root: keys.Root(), Keys: keys, Agreement: c}
	r.Notes = []string{
		fmt.Sprintf("agreement %s (%s), version %d, of %s with the provider, in force since %s", c.Number, c.Agreement, c.Version, c.Tenant, c.Since.Format(minute)),
		"SHA-256 of the text that was signed: " + c.SHA256,
	}
	for _, s := range c.Signatures {
		r.Notes = append(r.Notes, fmt.Sprintf("signed for the %s by %s, %s (%s), %s, at %s", s.Side, s.Name, s.Title, s.Authority, s.Method, s.At.Format(minute)))
	}
	r.Notes = append(r.Notes, fmt.Sprintf("audit log of the controller: entry %d (%s), at checkpoint %d with root %s", c.Audit.Number, c.Audit.Entry, c.Audit.Checkpoint, c.Audit.Root))
	return r, nil
}
