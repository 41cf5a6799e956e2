package centre

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/request"
)

// What somebody may write, in characters.
const (
	maxWords   = 2000
	maxContact = 200
)

// step is a page of the way to a request.
type step string

// The steps. Each but the last asks one thing.
const (
	what  step = "what"  // which rights
	words step = "words" // what it is about, in their own
	reach step = "reach" // where the answer goes, of who hasn't signed in
	check step = "check" // all of it, before it is sent
)

// wish is what somebody asks for so far. It passes from page to page in the forms.
type wish struct {
	Step    step
	Rights  []request.Type
	Words   string
	Contact string
	Key     string // by which it is sent once
}

// All returns the rights that can be asked for.
func (*wish) All() []request.Type { return request.Types() }

// Has reports whether a right is asked for.
func (w *wish) Has(t request.Type) bool { return slices.Contains(w.Rights, t) }

// ask begins a request.
func ask(_ context.Context, v *visit) error {
	w := &wish{Step: what}
	if t := request.Type(v.r.URL.Query().Get("type")); slices.Contains(request.Types(), t) {
		w.Rights = []request.Type{t}
	}
	return v.asks(http.StatusOK, w)
}

func (v *visit) asks(status int, w *wish, faults ...fault) error {
	return v.show(status, "ask.html", "start.open", view{Faults: faults, V: w})
}

// answer takes what a step asked for, and goes on to the next, or to the one that is
// to be changed; after the last, it sends.
func answer(ctx context.Context, v *visit) error {
	f := v.r.PostForm
	w := &wish{Step: step(f.Get("step")), Words: strings.TrimSpace(f.Get("words")), Contact: strings.TrimSpace(f.Get("contact")), Key: f.Get("key")}
	for _, t := range request.Types() {
		if slices.Contains(f["type"], string(t)) {
			w.Rights = append(w.Rights, t)
		}
	}
	steps := []step{what, words, reach, check}
	if v.In() {
		steps = []step{what, words, check}
	}
	at := slices.Index(steps, w.Step)
	if to := slices.Index(steps, step(f.Get("to"))); to >= 0 && to < at {
		w.Step = steps[to]
		return v.asks(http.StatusOK, w)
	}
	for _, s := range steps[:max(at, 0)+1] {
		faults, err := v.wrong(w, s)
		if err != nil {
			return err
		}
		if len(faults) > 0 {
			w.Step = s
			return v.asks(http.StatusUnprocessableEntity, w, faults...)
		}
	}
	if w.Step == check && w.Key != "" {
		return v.send(ctx, w)
	}
	if w.Step = check; at+1 < len(steps) {
		w.Step = steps[at+1]
	}
	w.Key = rand.Text()
	return v.asks(http.StatusOK, w)
}

// wrong returns what is wrong with the answer to a step.
func (v *visit) wrong(w *wish, s step) ([]fault, error) {
	field, id := "", ""
	switch n := utf8.RuneCountInString(w.Contact); s {
	case what:
		if len(w.Rights) == 0 {
			field, id = "type-"+string(request.Access), "ask.whatMissing"
		}
	case words:
		if utf8.RuneCountInString(w.Words) > maxWords {
			field, id = "words", "ask.wordsLong"
		}
	case reach:
		if n == 0 || n > maxContact {
			field, id = "contact", "ask.contactMissing"
		}
	case check:
	}
	if id == "" {
		return nil, nil
	}
	text, err := v.say(id)
	return []fault{{field, text}}, err
}

// send makes the request: of the person who has signed in, or of somebody unknown.
func (v *visit) send(ctx context.Context, w *wish) error {
	input, err := json.Marshal([]any{w.Rights, w.Words, w.Contact})
	if err != nil {
		return err
	}
	ctx = change.WithIdempotency(ctx, change.Idempotency{Key: "centre " + w.Key, Input: input})
	items := make([]request.ItemInput, len(w.Rights))
	for i, t := range w.Rights {
		items[i] = request.ItemInput{Type: t}
	}
	if v.In() {
		return signedIn(authz.SelfWrite, func(ctx context.Context, v *visit) error {
			r, err := v.Requests.OpenMine(ctx, request.MyInput{Language: &v.lang, Items: items, Message: &w.Words})
			if err != nil {
				return err
			}
			v.goTo("requests/" + r.ID + "?done=sent")
			return nil
		})(ctx, v)
	}
	to := sha256.Sum256([]byte(strings.ToLower(w.Contact)))
	uses := append(ratelimit.RequestNetwork.From(network.AddrFrom(ctx)), ratelimit.RequestContact.By(string(v.of), hex.EncodeToString(to[:])))
	if err := v.Limits.Take(ctx, uses...); err != nil {
		if errs.KindOf(err) != errs.Limited {
			return err
		}
		text, serr := v.say("code.tooMany")
		if serr != nil {
			return serr
		}
		return v.asks(http.StatusTooManyRequests, w, fault{"send", text}) // what was written isn't lost
	}
	filed, err := v.Requests.OpenUnknown(ctx, request.UnknownInput{Language: &v.lang, Items: items, Message: &w.Words, Contact: w.Contact})
	if err != nil {
		return err
	}
	value := filed.ID + "." + filed.Number
	if due := filed.Deadline.Due; due != nil {
		value += "." + due.String()
	}
	v.keep(sentCookie, value+"."+v.mac("sent", value), sentLife)
	v.goTo("ask/sent")
	return nil
}

// filed is what is known of a request that was sent from this browser.
type filed struct {
	ID     string
	Number string
	Due    *civil.Date
}

// filed returns what was sent from this browser without signing in, nil for nothing.
func (v *visit) filed() *filed {
	value := v.cookie(sentCookie)
	at := strings.LastIndex(value, ".")
	if at < 0 || !hmac.Equal([]byte(value[at+1:]), []byte(v.mac("sent", value[:at]))) {
		return nil
	}
	parts := strings.Split(value[:at], ".")
	f := &filed{ID: parts[0], Number: parts[1]}
	if len(parts) > 2 {
		if due, err := civil.Parse(parts[2]); err == nil {
			f.Due = &due
		}
	}
	return f
}

// sent tells that a request of somebody unknown has come in, and what happens next.
func sent(_ context.Context, v *visit) error {
	f := v.filed()
	if f == nil {
		v.goTo("ask")
		return nil
	}
	return v.show(http.StatusOK, "sent.html", "ask.sentTitle", view{V: f})
}
