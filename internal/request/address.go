package request

import (
	"context"
	"fmt"
)

// keepAddress notes with a request for erasure where the person can be written to:
// what is on file of them may be gone before the answer is.
func (s *Service) keepAddress(ctx context.Context, r *Request) error {
	if !r.Asks(Erasure) || !r.Contact.IsZero() || r.Subject == "" || r.Representative != nil && r.Representative.Deliver {
		return nil
	}
	found, err := s.Subjects.GetMany(ctx, []string{r.Subject})
	if err != nil {
		return fmt.Errorf("find the person of request %s: %w", r.ID, err)
	}
	if len(found) > 0 && len(found[0].Emails) > 0 {
		r.Contact = found[0].Emails[0]
	}
	return nil
}
