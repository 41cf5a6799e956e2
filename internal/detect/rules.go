package detect

import (
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/security"
)

// Entry is what the detectors look at of an entry of the audit log.
type Entry struct {
	Seq      int64
	ID       string
	At       time.Time
	Kind     authz.Kind // of the actor
	Actor    string
	Action   string
	Subjects []string
	Purpose  string
	Outcome  audit.Outcome
	Network  string
}

// hit is something that a detector counts.
type hit struct {
	detector security.Detector
	group    string
	things   []string
	at       time.Time
}

// hits returns what detectors count of an entry, but for new networks, which are
// new only beside others.
func (e *Entry) hits() []hit {
	if e.Kind == authz.KindSystem {
		return nil
	}
	h := func(d security.Detector, group string, things ...string) hit { return hit{d, group, things, e.At} }
	switch {
	case e.guess():
		return []hit{h(security.CodesGuessed, "", e.ID)}
	case e.Outcome == audit.Refused:
		return []hit{h(security.Refusals, e.Actor, e.ID)}
	case e.Outcome != audit.OK || len(e.Subjects) == 0 || e.Kind == authz.KindSubject: // who sees their own data only
		return nil
	case e.Action == "export.request":
		return []hit{h(security.MassExport, e.Actor, e.Subjects...)}
	case !e.reads():
		return nil
	case e.Purpose == "":
		return []hit{h(security.MassRead, e.Actor, e.Subjects...), h(security.NoPurpose, e.Actor, e.Subjects...)}
	default:
		return []hit{h(security.MassRead, e.Actor, e.Subjects...)}
	}
}

// guess reports a sign-in that failed: by convention its action is named for it.
func (e *Entry) guess() bool {
	return e.Outcome != audit.OK && strings.HasSuffix(strings.ToLower(e.Action), "signin")
}

// reads reports an action that shows somebody data.
func (e *Entry) reads() bool {
	_, verb, _ := strings.Cut(e.Action, ".")
	switch verb {
	case "read", "find", "list", "open":
		return true
	default:
		return false
	}
}

// person reports whether the actor is somebody who signs in with a session, and
// may be privileged.
func (e *Entry) person() bool {
	return (e.Kind == authz.KindMember || e.Kind == authz.KindOperator) && e.Network != "" && e.Actor != ""
}
