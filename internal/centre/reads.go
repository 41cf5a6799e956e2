package centre

import (
	"context"
	"net/http"
	"strings"

	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
)

const readsPerPage = 50

// read is one time that somebody saw or changed the person's data.
type read struct {
	*trail.Access

	Did string // the id of the text of what they did
	As  string // the role that they had, "" for none
	Why string // the purpose that they stated, "" for none
}

// seen is the page of who read the person's data.
type seen struct {
	listed[read]

	Given []*disclosure.Recipient // whom it was disclosed to
}

// reads lists who saw or changed the person's data, and whom it was given to.
func reads(ctx context.Context, v *visit) error {
	found, err := v.Accesses.Self(ctx, v.asked(readsPerPage))
	if err != nil {
		return err
	}
	all := list(found)
	s := seen{listed: listed[read]{Next: all.Next}}
	for _, a := range all.All {
		r := read{Access: a, Did: did(a.Action)}
		if a.Role != nil {
			r.As = string(*a.Role)
		}
		if a.Purpose != nil {
			if r.Why, err = v.why(ctx, *a.Purpose); err != nil {
				return err
			}
		}
		s.All = append(s.All, r)
	}
	for next := (page.Request{First: page.Max}); ; {
		to, err := v.Recipients.Mine(ctx, next)
		if err != nil {
			return err
		}
		s.Given = append(s.Given, to.Nodes()...)
		if next.After = to.PageInfo.EndCursor; !to.PageInfo.HasNextPage {
			break
		}
	}
	return v.show(http.StatusOK, "reads.html", "access.title", view{V: s})
}

// why returns what a purpose is called, or its key when it isn't registered.
func (v *visit) why(ctx context.Context, key string) (string, error) {
	p, err := v.Purposes.ByKey(ctx, key)
	switch errs.KindOf(err) {
	case "":
		return p.In(v.lang).Name, nil
	case errs.NotFound, errs.Precondition: // unknown, or retired
		return key, nil
	default:
		return "", err
	}
}

// did returns the id of the text for an action of the audit log.
func did(action string) string {
	of, verb, _ := strings.Cut(action, ".")
	switch verb {
	case "signIn":
		return "access.signedIn"
	case "signOut":
		return "access.signedOut"
	case "read", "list", "find", "states", "history", "preview", "prove":
		return "access.saw"
	}
	if of == "download" || of == "export" {
		return "access.fetched"
	}
	return "access.changed"
}
