package centre

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/vogter/vogter/internal/request"
)

// start is what the first page says of the tenant.
type start struct {
	Name      string
	Processor string
	Contact   string
	DPO       string
	Complaint string
	Rights    []request.Type
}

func home(ctx context.Context, v *visit) error {
	told, err := v.done()
	if err != nil {
		return err
	}
	s := start{Name: v.tenant.LegalName, Rights: slices.DeleteFunc(request.Types(), func(t request.Type) bool {
		return t == request.ConsentWithdrawal // there is a page for them
	})}
	if s.Processor, err = v.Processor(ctx); err != nil {
		return err
	}
	if c := v.tenant.DpoContact; c != nil {
		s.DPO = line(c.Name.Reveal(), c.Email.Reveal(), c.Phone.Reveal())
	}
	if l := v.tenant.Letterhead; l != nil {
		s.Contact = line(l.Phone, l.Email, l.Address)
		s.Complaint, err = v.say("start.complaint", "authority.name", l.Authority.Name, "authority.address", l.Authority.Address,
			"authority.phone", l.Authority.Phone, "authority.email", l.Authority.Email, "authority.website", l.Authority.Website)
		if err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, "home.html", "start.title", view{Told: told, V: s})
}

// line joins what isn't empty.
func line(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}
