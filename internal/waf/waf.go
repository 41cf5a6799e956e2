// Package waf is the web application firewall: the OWASP core rule set, run by
// Coraza within the process, in front of the handlers and behind sign-in.
//
// It looks at what anybody can send. How much of a call it inspects depends on
// who is calling (see Scope): machine clients are held to the typed schema and
// its limits instead, because the rules cost more than most answers do.
//
// A GraphQL request is taken apart before the rules see it: each text in the
// variables, and each text and comment in the document, is an argument of its
// own. What is left of a document are names and punctuation, which can't carry
// an attack, and which the rules would take for one. The rules and what is
// changed in them are in rules.conf and tuning.conf.
package waf

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/turns"
)

// Mode is what becomes of a call that the rules object to.
type Mode string

// The modes.
const (
	Off    Mode = "off"    // nothing is inspected
	Detect Mode = "detect" // it is logged and goes on
	Block  Mode = "block"  // it is logged and refused
)

// Scope says whose calls are inspected in full: address, headers and body. Calls
// of nobody, of data subjects and of all to browser-facing routes always are.
type Scope string

// The scopes, each with all of the one before.
const (
	// Public inspects address and headers of members' calls, nothing of machine clients'.
	Public Scope = "public"
	// Browser inspects members' calls in full.
	Browser Scope = "browser"
	// All inspects every call in full.
	All Scope = "all"
)

// The names that texts of a body go by in the rules, see tuning.conf.
const (
	anyone = "anyone" // of callers who haven't signed in
	caller = "caller" // of those who have
)

// Rule is that of the error which answers a refused call. Which of the rules it
// met is for the log: it would teach how to get past them.
const Rule = "waf"

const (
	// maxBody is how large a body may be that is inspected, in bytes.
	maxBody = 256 << 10
	// maxTexts is how many texts may be in it: each one meets every rule.
	maxTexts = 200
	// What all of its texts may come to, in bytes: some 20 milliseconds of a
	// processor for each KiB. Those who have signed in are trusted with more.
	maxAnyone = 16 << 10
	maxCaller = 64 << 10
	// patience is how long a call waits for its turn: in a flood of them those that
	// come later are told so, and don't pile up.
	patience = 10 * time.Second
)

// Sentinels of refused calls.
var (
	ErrBlocked  = errs.New(errs.Forbidden, "the call looks like an attack and was refused; if it is none, tell the operator of the platform its request id").Under(Rule)
	ErrTooLarge = errs.New(errs.Limited, "the body is larger than is taken here: at most %d KiB, with %d different texts of %d KiB together, or %d KiB when signed in",
		maxBody>>10, maxTexts, maxAnyone>>10, maxCaller>>10).Under(httperr.RuleSize)
)

// Config is what a Firewall is made of.
type Config struct {
	Mode  Mode
	Scope Scope
	Log   *slog.Logger
	// Blocked is told of each call that was refused, or would have been in mode
	// Detect: the numbers of the rules that it met. It must be quick; it may be nil.
	Blocked func(ctx context.Context, rules []int)
}

// Firewall inspects calls.
type Firewall struct {
	Config
	rules coraza.WAF
	// Calls wait for a turn, those of nobody apart from the others: together they
	// leave the processors time for everything else.
	anyone, caller chan struct{}
}

var (
	//go:embed rules.conf
	rulesConf string
	//go:embed tuning.conf
	tuningConf string
)

// New returns a Firewall, nil in mode Off.
func New(c Config) (*Firewall, error) {
	if c.Mode == Off {
		return nil, nil //nolint:nilnil // no firewall is an answer
	}
	rules, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).
		WithDirectives(rulesConf).WithDirectives("Include @owasp_crs/REQUEST-9*.conf").WithDirectives(tuningConf))
	if err != nil {
		return nil, fmt.Errorf("load firewall rules: %w", err)
	}
	half := max(1, runtime.GOMAXPROCS(0)/2)
	return &Firewall{Config: c, rules: rules, anyone: make(chan struct{}, half), caller: make(chan struct{}, half)}, nil
}

// Route is what matters of the route that a call takes.
type Route struct {
	// Public says that browsers come here from anywhere: by a link in a mail, say.
	Public bool
	// Stream says that the body is a file, which may be anything and has no bounds:
	// it isn't inspected.
	Stream bool
}

// Inspect returns the error to answer a call with instead of carrying it out. A
// body that was inspected is replaced by one with the same content. The caller
// must be in the request's context. It fails with turns.ErrBusy when no turn comes
// up in time.
func (f *Firewall) Inspect(r *http.Request, to Route) error {
	whole, ok := f.depth(authz.FromContext(r.Context()), to)
	if !ok {
		return nil
	}
	ctx, turn, most := r.Context(), f.anyone, maxAnyone
	if authz.FromContext(ctx).SignedIn() {
		turn, most = f.caller, maxCaller
	}
	var body []string
	if whole && !to.Stream {
		var err error
		if body, err = read(r, most); err != nil {
			return err
		}
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-late.C:
		return turns.ErrBusy
	case <-ctx.Done():
		return fmt.Errorf("wait for inspection: %w", ctx.Err())
	}
	met, err := f.judge(r, body)
	if err != nil || met == nil {
		return err
	}
	f.Log.WarnContext(ctx, "call looks like an attack", "request_id", audit.RequestFrom(ctx).ID,
		"mode", string(f.Mode), "rules", met, "principal", authz.FromContext(ctx).ID)
	if f.Blocked != nil {
		f.Blocked(ctx, met)
	}
	if f.Mode == Detect {
		return nil
	}
	return ErrBlocked
}

// depth says whether a call is inspected, and whether with its body.
func (f *Firewall) depth(by authz.Principal, to Route) (whole, inspected bool) {
	if !by.SignedIn() || to.Public || by.Kind == authz.KindSubject || f.Scope == All {
		return true, true
	}
	if by.Kind == authz.KindMachine {
		return false, false
	}
	return f.Scope == Browser, true
}

// read reads the body and returns its texts, which come to so many bytes at most.
func read(r *http.Request, most int) ([]string, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		if _, ok := errors.AsType[*errs.Error](err); ok {
			return nil, err
		}
		return nil, httperr.ErrCut
	}
	if len(body) > maxBody {
		return nil, ErrTooLarge
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	list := texts(r.Header.Get("Content-Type"), body)
	slices.Sort(list)
	list = slices.Compact(list)
	size := 0
	for _, text := range list {
		size += len(text)
	}
	if len(list) > maxTexts || size > most {
		return nil, ErrTooLarge
	}
	return list, nil
}

// judge returns the numbers of the rules that a call met if they suffice to
// refuse it.
func (f *Firewall) judge(r *http.Request, body []string) (met []int, err error) {
	tx := f.rules.NewTransaction()
	defer func() { err = errors.Join(err, tx.Close()) }()
	tx.ProcessURI(r.RequestURI, r.Method, r.Proto)
	for name, values := range r.Header {
		for _, v := range values {
			tx.AddRequestHeader(name, v)
		}
	}
	tx.AddRequestHeader("Host", r.Host) // net/http takes these three out of the headers
	tx.SetServerName(r.Host)
	for _, v := range r.TransferEncoding {
		tx.AddRequestHeader("Transfer-Encoding", v)
	}
	if in := tx.ProcessRequestHeaders(); in != nil {
		return ids(tx), nil
	}
	name := anyone
	if authz.FromContext(r.Context()).SignedIn() {
		name = caller
	}
	for _, text := range body {
		tx.AddPostRequestArgument(name, text)
	}
	in, err := tx.ProcessRequestBody()
	if err != nil {
		return nil, fmt.Errorf("inspect call: %w", err)
	}
	if in == nil {
		return nil, nil
	}
	return ids(tx), nil
}

// The numbers of the rules that detect something. Those outside prepare, count
// and decide, as do the first ones of each thousand and those without a message.
const (
	firstRule = 911000
	lastRule  = 948999
	control   = 100
)

func ids(tx types.Transaction) []int {
	list := []int{}
	for _, m := range tx.MatchedRules() {
		if n := m.Rule().ID(); firstRule <= n && n <= lastRule && n%1000 >= control && m.Message() != "" {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
