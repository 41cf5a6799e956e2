package post

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/deadline"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/tenancy"
)

// The house's times for answers of the person, as package request keeps them.
const (
	answerIdentity = 14 // days from a question about who asks to the reminder
	lastIdentity   = 30 // and to giving up
	answerClarity  = 14 // days from a question of what is wanted to giving everything
)

// draft is a letter that is to be written.
type draft struct {
	key    string
	way    Way
	to     person
	tenant *tenancy.Tenant
	zone   *time.Location
	parts  []letter.Part
}

// begin returns a draft without parts.
func (s *Service) begin(ctx context.Context, r *request.Request, key string, way Way) (*draft, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("load the tenant's time zone: %w", err)
	}
	to, err := s.person(ctx, r)
	return &draft{key: key, way: way, to: to, tenant: t, zone: zone}, err
}

func (d *draft) date(at time.Time) letter.Value { return letter.Date(civil.Of(at.In(d.zone))) }

// days is the day so many days after an instant.
func (d *draft) days(at time.Time, n int) letter.Value {
	return letter.Date(civil.Of(at.In(d.zone)).AddDays(n))
}

// add adds a letter as a part: its own fields, and those of every letter. A form
// takes those that it declares.
func (s *Service) add(d *draft, r *request.Request, form string, fields letter.Fields) error {
	f, err := s.Library.Form(form, r.Language)
	if err != nil {
		return fmt.Errorf("find letter %s: %w", form, err)
	}
	all := letter.Fields{}
	maps.Copy(all, s.common(d, r))
	maps.Copy(all, fields)
	maps.DeleteFunc(all, func(name string, _ letter.Value) bool {
		return !slices.ContainsFunc(f.Fields, func(field letter.Field) bool { return field.Name == name })
	})
	d.parts = append(d.parts, letter.Part{Letter: form, Fields: all})
	return nil
}

// common are the fields that many letters have.
func (s *Service) common(d *draft, r *request.Request) letter.Fields {
	t := d.tenant
	fields := letter.Fields{
		"controller.name": letter.Text(t.LegalName), "case.number": letter.Text(r.Number), "case.receivedDate": d.date(r.ReceivedAt),
		"letter.date": d.date(s.now()), "recipient.salutation": letter.Text(salutation(r.Language, d.to.name)),
		"portal.caseUrl": letter.URL(s.page(t, "requests")), "portal.identityUrl": letter.URL(s.page(t, "prove")),
		"portal.consentUrl": letter.URL(s.page(t, "consents")), "portal.verifyUrl": letter.URL(s.BaseURL + "/check"),
		"portal.certificateUrl": letter.URL(s.BaseURL + "/check"), "case.itemList": letter.Items(s.items(r, r.Items...)...),
		"case.evidenceEraseDate": letter.Date(request.EvidenceEnds(s.now(), d.zone)),
	}
	if c := t.DpoContact; c != nil {
		fields["controller.dpoContact"] = letter.Text(contact(c.Name.Reveal(), c.Email.Reveal(), c.Phone.Reveal()))
	}
	if l := t.Letterhead; l != nil {
		fields["controller.address"] = letter.Text(l.Address)
		fields["controller.contact"] = letter.Text(contact(l.Email, l.Phone, l.Website))
		fields["authority.name"], fields["authority.address"] = letter.Text(l.Authority.Name), letter.Text(l.Authority.Address)
		fields["authority.phone"], fields["authority.email"] = letter.Text(l.Authority.Phone), letter.Text(l.Authority.Email)
		fields["authority.website"] = letter.URL(l.Authority.Website)
	}
	return fields
}

func contact(ways ...string) string {
	return strings.Join(slices.DeleteFunc(ways, func(s string) bool { return s == "" }), ", ")
}

// salutation is the greeting, with its comma.
func salutation(language string, name personal.Text) string {
	greet, nobody := "Dear ", "Hello,"
	if letter.Language(language) == "da" {
		greet, nobody = "Kære ", "Goddag,"
	}
	if name.IsZero() {
		return nobody
	}
	return greet + name.Reveal() + ","
}

// phrase returns a phrase of ours; that it is there is tested.
func (s *Service) phrase(r *request.Request, name string) string {
	text, err := s.Library.Phrase(r.Language, name)
	if err != nil {
		return ""
	}
	return text
}

// items names what items ask for.
func (s *Service) items(r *request.Request, items ...request.Item) []string {
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = s.phrase(r, "item."+string(item.Type))
	}
	return names
}

// Tell implements request.Post. A letter that the person must get before a step
// takes effect stops the step when it can't be written; one that only confirms,
// as the receipt of a request does, stops nothing.
func (s *Service) Tell(ctx context.Context, r *request.Request, e *request.Event) (request.Told, error) {
	if e.Rule == request.NoteEscalated {
		then, err := s.escalate(ctx, r)
		return request.Told{Then: then}, err
	}
	form, ok := forms()[e.Rule]
	if !ok || e.ByHand || (e.Rule == request.GiveUpIdentity && r.Reply != nil) {
		return request.Told{}, nil
	}
	d, err := s.begin(ctx, r, e.ID, ByMail)
	if err != nil {
		return request.Told{}, err
	}
	if err := s.add(d, r, form.name, s.step(d, r, e)); err != nil {
		return request.Told{}, err
	}
	l, then, err := s.write(ctx, r, d)
	if form.confirms && errors.Is(err, letter.ErrMissing) {
		return request.Told{Unsent: err.Error()}, nil
	}
	if err != nil {
		return request.Told{}, fmt.Errorf("write letter %s: %w", form.name, letterhead(d.tenant, err))
	}
	if e.Rule == request.GiveUpIdentity {
		r.Reply = l.reply()
	}
	return request.Told{Letter: l.ID, Then: then}, nil
}

// letterhead says what to do about a letter that can't be written for want of one.
func letterhead(t *tenancy.Tenant, err error) error {
	if t.Letterhead == nil && errors.Is(err, letter.ErrMissing) {
		return errs.New(errs.Precondition, "letters need the tenant's letterhead: set it by updateTenant").Under("tenant.letterhead").Because(err)
	}
	return err
}

// reply returns the letter as the answer to a request.
func (l *Letter) reply() *request.Reply {
	channel := request.ByEmail
	switch l.Way {
	case InPortal:
		channel = request.ByPortal
	case OnPaper:
		channel = request.ByLetter
	case ByMail:
	}
	return &request.Reply{Channel: channel, Letter: l.ID, Hash: l.Hash, At: l.At}
}

type form struct {
	name     string
	confirms bool // something that stands without it
}

// forms has the letter for each step that the person is told of.
func forms() map[request.Rule]form {
	return map[request.Rule]form{
		request.Open:           {"acknowledgement", true},
		request.Forward:        {"forwarded-to-controller", false},
		request.AskIdentity:    {"identity-request", false},
		request.AskAgain:       {"identity-request", false},
		request.NoteReminded:   {"identity-reminder", false},
		request.GiveUpIdentity: {"refusal-not-identified", false},
		request.AskToClarify:   {"clarification-request", false},
		request.Extend:         {"extension-notice", false},
		request.Withdraw:       {"request-withdrawal-confirmed", true},
	}
}

// step returns the fields of the letter for a step that the request knows.
func (s *Service) step(d *draft, r *request.Request, e *request.Event) letter.Fields {
	fields := letter.Fields{}
	language := deadline.Language(letter.Language(r.Language))
	if asked := r.Identity.AskedAt; asked != nil {
		fields["identity.askedDate"], fields["identity.answerByDate"] = d.date(*asked), d.days(*asked, answerIdentity)
		fields["identity.askedFor"] = letter.Prose(r.Identity.Asked.Reveal())
		fields["identity.reasonForDoubt"] = letter.Prose(r.Identity.ReasonForDoubt.Reveal())
		fields["identity.proportionality"] = letter.Text(r.Identity.Proportionality.Reveal())
	}
	if n := len(r.Pauses); n > 0 && r.Pauses[n-1].Until == nil && r.Pauses[n-1].Counts {
		fields["clock.pausedFromDate"] = d.date(r.Pauses[n-1].From)
	}
	switch e.Rule {
	case request.Open:
		fields["case.channel"] = letter.Text(s.phrase(r, "channel."+string(r.Channel)))
		if slices.ContainsFunc(r.Items, func(i request.Item) bool { return i.Type.AtOnce() }) {
			fields["case.immediateEffect"] = letter.Text(s.phrase(r, "immediate.EFFECT"))
		}
		if r.Deadline.Due != nil {
			fields["clock.dueDate"] = letter.Date(*r.Deadline.Due)
		}
		fields["clock.traceText"] = letter.Text(r.Deadline.Trace.Text(language))
	case request.Forward:
		fields["forward.forwardedDate"] = d.date(e.At)
		fields["forward.targetName"] = letter.Text(r.ForwardedTo.Reveal())
		fields["forward.targetContact"] = letter.Text(r.ForwardedContact.Reveal())
	case request.NoteReminded:
		if asked := r.Identity.AskedAt; asked != nil {
			fields["identity.answerByDate"] = d.days(*asked, lastIdentity)
		}
	case request.GiveUpIdentity:
		if at := r.Identity.RemindedAt; at != nil {
			fields["identity.remindedDate"] = d.date(*at)
		}
		fields["item.requestType"] = letter.Text(strings.Join(s.items(r, r.Items...), ", "))
		fields["refusal.reasons"] = letter.Prose(s.phrase(r, "refusal.NOT_IDENTIFIED"), e.Reason.Reveal())
		fields["refusal.wayForward"] = letter.Text(s.phrase(r, "wayForward.NOT_IDENTIFIED"))
	case request.AskToClarify:
		fields["clarification.question"] = letter.Text(e.Reason.Reveal())
		fields["clarification.answerByDate"] = d.days(e.At, answerClarity)
		fields["clarification.optionList"] = letter.Items(s.phrase(r, "clarify.PERIOD"), s.phrase(r, "clarify.KIND"), s.phrase(r, "clarify.MATTER"))
	case request.Extend:
		if day := r.Deadline.Notice; day != nil {
			fields["clock.dueDate"] = letter.Date(*day)
		}
		if r.Deadline.Due != nil {
			fields["clock.extendedDueDate"] = letter.Date(*r.Deadline.Due)
		}
		fields["clock.extendedTraceText"] = letter.Text(r.Deadline.Trace.Text(language))
		fields["extension.reason"] = letter.Prose(e.Reason.Reveal())
	case request.Withdraw:
		fields["case.withdrawnDate"] = d.date(e.At)
		done := slices.DeleteFunc(slices.Clone(r.Items), func(i request.Item) bool { return i.Outcome == request.WasWithdrawn })
		fields["case.alreadyDone"] = letter.Text(strings.Join(s.items(r, done...), ", "))
	default:
	}
	return fields
}

// escalate mails those who have to see to a request that falls due: first who
// works on it or has a task of it, then the data protection officer too, at last those who decide.
// The mail names nothing but the request's number.
func (s *Service) escalate(ctx context.Context, r *request.Request) ([]job.Spec, error) {
	roles := []authz.Role{}
	people, err := s.working(ctx, r.AssignedTo)
	if err != nil {
		return nil, err
	}
	if len(people) == 0 {
		roles = append(roles, authz.RoleCaseHandler)
	}
	if s.Tasks != nil {
		with, err := s.Tasks.Assignees(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		more, err := s.working(ctx, with...)
		if err != nil {
			return nil, err
		}
		people = append(people, more...)
	}
	switch r.Escalated {
	case deadline.Overdue:
		roles = append(roles, authz.RoleApprover, authz.RoleDPO)
	case deadline.Red:
		roles = append(roles, authz.RoleDPO)
	default:
	}
	for _, role := range roles {
		found, err := s.Tenants.Working(ctx, role)
		if err != nil {
			return nil, err
		}
		people = append(people, found...)
	}
	if len(people) == 0 {
		var err error
		if people, err = s.Tenants.Owners(ctx); err != nil {
			return nil, err
		}
	}
	var then []job.Spec
	seen := map[string]bool{}
	for _, m := range people {
		if seen[m.ID] {
			continue
		}
		seen[m.ID] = true
		spec, err := s.Mail.Queue(ctx, notify.Message{
			Template: notify.TemplateRequestDue, Language: m.Language, To: m.Email, Owner: tenancy.MemberIdentity(m.Tenant, m.ID),
			Vars: map[string]personal.Text{"number": personal.NewText(r.Number), "urgency": personal.NewText(string(r.Escalated))},
		})
		if err != nil {
			return nil, err
		}
		then = append(then, spec)
	}
	return then, nil
}

// working returns those of members who still work for the tenant.
func (s *Service) working(ctx context.Context, ids ...string) ([]*tenancy.Member, error) {
	var people []*tenancy.Member
	for _, memberID := range ids {
		if memberID == "" {
			continue
		}
		m, err := s.Tenants.Member(ctx, memberID)
		if err != nil && errs.KindOf(err) != errs.NotFound {
			return nil, err
		}
		if err == nil && m.State == tenancy.Joined {
			people = append(people, m)
		}
	}
	return people, nil
}
