package post

import (
	"context"
	"fmt"

	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/request"
)

// Notice writes a letter about a request that follows from none of its steps, as
// that a restriction will be lifted, within a change's transaction. There is one
// letter for a key.
func (s *Service) Notice(ctx context.Context, r *request.Request, form, key string, fields letter.Fields) (request.Told, error) {
	d, err := s.begin(ctx, r, key, ByMail)
	if err != nil {
		return request.Told{}, err
	}
	if err := s.add(d, r, form, fields); err != nil {
		return request.Told{}, err
	}
	l, then, err := s.write(ctx, r, d)
	if err != nil {
		return request.Told{}, fmt.Errorf("write letter %s: %w", form, letterhead(d.tenant, err))
	}
	return request.Told{Letter: l.ID, Then: then}, nil
}
