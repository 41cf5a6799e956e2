package rights

import (
	"context"
)

// groundSignal is the ground of an objection that a person's browser expresses.
const groundSignal = "GPC"

// Signal stops direct marketing to a person whose own request carried Global Privacy
// Control: an objection by automated means, GDPR Art. 21(2), (3) and (5). It stands
// until the person takes it back, and changes nothing of consents (DOMAIN §5.3). One
// who has objected already isn't noted again; should a restored database not know
// it, the next request carries it again.
func (s *Service) Signal(ctx context.Context, subjectID string) error {
	st, err := s.Store.Get(ctx, subjectID, Marketing)
	if err != nil || len(st.Causes) > 0 {
		return err
	}
	return s.begin(ctx, subjectID, Marketing, Cause{Item: subjectID, Ground: groundSignal, At: s.now()}, nil)
}
