package centre

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/tenant"
)

// proof is the page where a person shows who they are.
type proof struct {
	To      string // where it leads on to, within the centre
	Who     string // as it was typed
	Birth   string
	Again   bool   // who has signed in does so anew, for an answer
	Filed   *filed // what was sent before
	Minutes string // for which a code holds
}

// claiming is where who proves themselves comes from, to claim what they have just
// sent: nobody else who signs in at the same browser claims it.
const claiming = "ask/sent"

func (v *visit) proof() *proof {
	p := &proof{To: within(v.r.FormValue("to")), Again: v.In(), Minutes: strconv.Itoa(int(portal.CodeLife / time.Minute))}
	if p.To == claiming {
		p.Filed = v.filed()
	}
	return p
}

// prove asks for what a person is known by.
func prove(_ context.Context, v *visit) error { return v.proves(http.StatusOK, v.proof()) }

func (v *visit) proves(status int, p *proof, faults ...fault) error {
	return v.show(status, "prove.html", "code.title", view{Faults: faults, V: p})
}

// sendCode has a code sent to the person who is meant, if there is one. What it
// answers is the same in any case.
func sendCode(ctx context.Context, v *visit) error {
	p := v.proof()
	p.Who, p.Birth = strings.TrimSpace(v.r.PostForm.Get("who")), strings.TrimSpace(v.r.PostForm.Get("birth"))
	in := portal.CodeInput{TenantSlug: v.slug, Language: &v.lang}
	who := personal.NewText(p.Who)
	if in.Phone = &who; strings.Contains(p.Who, "@") {
		in.Phone, in.Email = nil, &who
	}
	if p.Birth != "" {
		birth := personal.NewText(p.Birth)
		in.BirthDate = &birth
	}
	sent, err := v.Portal.RequestCode(ctx, in)
	var field, text string
	switch errs.KindOf(err) {
	case "":
		v.keep(codeCookie, sent.Challenge, portal.CodeLife)
		v.goTo("prove/code" + query(p.To))
		return nil
	case errs.Invalid:
		field, text = "who", "prove.whoWrong"
		if e, ok := errors.AsType[*errs.Error](err); ok && e.Field == "birthDate" {
			field, text = "birth", "prove.birthWrong"
		}
	case errs.Limited:
		field, text = "who", "code.tooMany"
	default:
		return err
	}
	said, err := v.say(text)
	if err != nil {
		return err
	}
	status := http.StatusUnprocessableEntity
	if text == "code.tooMany" {
		status = http.StatusTooManyRequests
	}
	return v.proves(status, p, fault{field, said})
}

func query(to string) string {
	if to == "" {
		return ""
	}
	return "?to=" + url.QueryEscape(to)
}

// enterCode asks for the code.
func enterCode(_ context.Context, v *visit) error {
	if v.cookie(codeCookie) == "" {
		v.goTo("prove" + query(within(v.r.FormValue("to"))))
		return nil
	}
	return v.code(http.StatusOK)
}

func (v *visit) code(status int, faults ...fault) error {
	return v.show(status, "code.html", "code.title", view{Faults: faults, V: v.proof()})
}

// signIn signs the person in whose code it is. What they have just sent is theirs.
func signIn(ctx context.Context, v *visit) error {
	challenge := v.cookie(codeCookie)
	var grant *portal.Grant
	err := error(portal.ErrCode)
	if of, ok := id.TenantOf(challenge); ok && of == v.of {
		grant, err = v.Portal.SignIn(ctx, portal.SignInInput{Challenge: challenge, Code: v.r.PostForm.Get("code")})
	}
	text, status := "", http.StatusUnauthorized
	switch errs.KindOf(err) {
	case errs.Unauthenticated:
		text = "code.wrong"
	case errs.Limited:
		text, status = "code.tooMany", http.StatusTooManyRequests
	default:
		if err != nil {
			return err
		}
	}
	if text != "" {
		said, err := v.say(text)
		if err != nil {
			return err
		}
		return v.code(status, fault{"code", said})
	}
	v.keep(personCookie, grant.Token, portal.SessionLife)
	v.keep(codeCookie, "", -time.Second)
	to := within(v.r.PostForm.Get("to"))
	if to == claiming {
		if to, err = v.claim(ctx, grant.Token); err != nil {
			return err
		}
	}
	if to == "" {
		to = "requests"
	}
	v.goTo(to)
	return nil
}

// claim takes what was sent from this browser for the request of who has just
// signed in, and returns where it is; "" when there is none, or it can't be any more.
func (v *visit) claim(ctx context.Context, token string) (string, error) {
	f := v.filed()
	if f == nil {
		return "", nil
	}
	p, err := v.Portal.Authenticate(tenant.System(ctx, "authenticate token"), token)
	if err != nil {
		return "", err
	}
	ctx, err = v.Permits.Permit(authz.NewContext(ctx, p), v.Authorizer, authz.SelfWrite, "request.claim", f.ID)
	if err != nil {
		return "", err
	}
	r, err := v.Requests.Claim(ctx, f.ID)
	switch errs.KindOf(err) {
	case "":
		v.keep(sentCookie, "", -time.Second)
		return "requests/" + r.ID, nil
	case errs.NotFound, errs.Precondition:
		return "", nil // somebody's already, or ended: handlers see to it
	default:
		return "", err
	}
}
