package centre

import (
	"context"
	"net/http"

	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/purpose"
)

// yes is a consent as the person sees it.
type yes struct {
	*consent.Status

	Text   purpose.Text
	Notice *purpose.NoticeText // as it was shown; nil when none is known
	To     []string            // who receives the data
}

// consents lists what the person has said yes and no to.
func consents(ctx context.Context, v *visit) error {
	told, err := v.done()
	if err != nil {
		return err
	}
	mine, err := v.Consents.Own(ctx)
	if err != nil {
		return err
	}
	languages, err := v.shownIn(ctx)
	if err != nil {
		return err
	}
	all, notices := make([]yes, len(mine)), map[string]*purpose.Notice{}
	for i, s := range mine {
		all[i].Status = s
		p, err := v.Purposes.ByID(ctx, s.Purpose.ID)
		if err != nil {
			return err
		}
		all[i].Text = p.In(v.lang)
		n, ok := notices[s.NoticeID]
		if !ok && s.NoticeID != "" {
			if n, err = v.Purposes.Notice(ctx, s.NoticeID); err != nil {
				return err
			}
			notices[s.NoticeID] = n
		}
		if n == nil {
			continue
		}
		text := n.In(languages[s.ConsentID])
		all[i].Notice = &text
		for _, to := range n.Recipients {
			all[i].To = append(all[i].To, to.Name)
		}
	}
	return v.show(http.StatusOK, "consents.html", "consent.title", view{Told: told, V: all})
}

// shownIn returns the language in which the person was asked, by consent.
func (v *visit) shownIn(ctx context.Context) (map[string]string, error) {
	languages := map[string]string{}
	r := page.Request{First: page.Max}
	for {
		c, err := v.Consents.List(ctx, consent.Query{Subject: v.person.Subject}, r)
		if err != nil {
			return nil, err
		}
		for _, x := range c.Nodes() {
			languages[x.ID] = x.Language
		}
		if r.After = c.PageInfo.EndCursor; !c.PageInfo.HasNextPage {
			return languages, nil
		}
	}
}

// answerConsent takes a consent back, or keeps one that the browser's signal is
// against.
func answerConsent(ctx context.Context, v *visit) error {
	web := consent.Web
	in := consent.OwnAnswersInput{
		Answers: []consent.Answer{{Purpose: v.r.PostForm.Get("purpose"), Answer: consent.Withdraw}},
		Context: &consent.Context{Channel: &web, Language: &v.lang},
	}
	done := "consent"
	if v.r.PostForm.Get("answer") == "keep" {
		in.Answers[0].Answer, in.Context.GPCConfirmed, done = consent.Renew, true, "kept"
	}
	if _, err := v.Consents.AnswerOwn(ctx, in); err != nil {
		return err
	}
	v.goTo("consents?done=" + done)
	return nil
}

// consentReceipt gives out what the person can show of a consent.
func consentReceipt(ctx context.Context, v *visit) error {
	consentID := v.r.PathValue("id")
	if id.Check(id.Consent, v.of, consentID) != nil {
		return errGone
	}
	issued, err := v.Receipts.Issue(ctx, consentID, nil)
	if errs.KindOf(err) == errs.NotFound {
		return errGone
	}
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", issued.MediaType())
	h.Set("Content-Disposition", `attachment; filename="consent-`+consentID[len(consentID)-8:]+`.jws"`)
	_, err = v.w.Write([]byte(issued.Document))
	return err
}
