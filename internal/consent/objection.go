package consent

import (
	"github.com/vogter/vogter/internal/purpose"
)

// Objection is what a person may object to, GDPR Art. 21.
type Objection string

// The objections.
const (
	ToMarketing Objection = "MARKETING" // Art. 21(2): every purpose of direct marketing
	ToInterests Objection = "INTERESTS" // Art. 21(1): every purpose that rests on Art. 6(1)(e) or (f)
)

// StoppedBy returns the objections that stop a purpose. None stops one that rests
// on consent: that is withdrawn instead, and may be given again.
func StoppedBy(p *purpose.Purpose) []Objection {
	if p.ConsentBased() {
		return nil
	}
	var stop []Objection
	if p.Marketing {
		stop = append(stop, ToMarketing)
	}
	if p.LegalBasis == "eu-gdpr:A6-1-e" || p.LegalBasis == "eu-gdpr:A6-1-f" {
		stop = append(stop, ToInterests)
	}
	return stop
}
