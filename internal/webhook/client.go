package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	callTimeout = 10 * time.Second
	maxAnswer   = 4 << 10  // of a body, in bytes
	maxHeaders  = 16 << 10 // of all headers
	idleTimeout = 30 * time.Second

	// A tenant's calls from this process: so that endpoints which are slow hold up
	// neither the worker nor another tenant.
	perTenant = 2                // at once
	rest      = 30 * time.Second // to a host that didn't answer
	noRoom    = 2 * time.Second  // until the next look whether there is room

	maxConns = 16 // to a host, of all tenants
)

// Headers of a call, as the Standard Webhooks specification names them.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// Client calls endpoints. It never follows a redirect, uses no proxy, and looks
// at the address of every connection before it is made.
type Client struct {
	http    *http.Client
	private bool
	now     func() time.Time

	most int // calls at once

	mu    sync.Mutex
	calls map[tenant.ID]int // under way
	all   int               // of them
	rests map[hostOf]time.Time
}

// hostOf is a host as one tenant knows it.
type hostOf struct {
	tenant tenant.ID
	host   string
}

// errAddress is why a connection isn't made.
var errAddress = errs.New(errs.Invalid, "the address is in a network that webhooks don't reach")

// NewClient returns a Client that reaches public addresses over https or, with
// private set, private ones and http too. roots are the authorities to be
// trusted, nil for the system's. most is how many calls there are at once, of all
// tenants. now is the clock of the resting hosts.
func NewClient(private bool, roots *x509.CertPool, most int, now func() time.Time) *Client {
	c := &Client{private: private, now: now, most: most, calls: map[tenant.ID]int{}, rests: map[hostOf]time.Time{}}
	dialer := &net.Dialer{Timeout: callTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !reachable(to.Addr(), private) {
			return errAddress
		}
		return nil
	}}
	c.http = &http.Client{
		Timeout:       callTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: callTimeout, ForceAttemptHTTP2: true,
			TLSClientConfig:    &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			DisableCompression: true, MaxResponseHeaderBytes: maxHeaders, MaxConnsPerHost: maxConns, IdleConnTimeout: idleTimeout,
		},
	}
	return c
}

// call is what is sent.
type call struct {
	url     string
	id      string
	body    string
	secrets []Secret
	at      time.Time
}

// answer is what came of a call. Problem is nil when it was taken.
type answer struct {
	status  *int
	problem *Problem
	body    []byte // its beginning, of an answer that is 2xx
}

// acquire asks for a tenant's call to the host of a URL. It is refused while the
// tenant lets the host rest, or there are calls enough, of the tenant or of all;
// then it returns when to ask again.
func (c *Client) acquire(of tenant.ID, to string) (done func(problem *Problem), wait time.Duration) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, rest
	}
	key := hostOf{of, u.Host}
	c.mu.Lock()
	defer c.mu.Unlock()
	if pause := c.rests[key].Sub(c.now()); pause > 0 {
		return nil, pause
	}
	if c.all >= c.most || c.calls[of] >= min(perTenant, max(1, c.most-1)) { // room for another tenant
		return nil, noRoom
	}
	c.all++
	c.calls[of]++
	return func(problem *Problem) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.calls[of]--; c.calls[of] == 0 {
			delete(c.calls, of)
		}
		now := c.now()
		maps.DeleteFunc(c.rests, func(_ hostOf, until time.Time) bool { return !until.After(now) })
		if problem != nil && (*problem == ProblemTimeout || *problem == ProblemConnect) {
			c.rests[key] = now.Add(rest)
		}
	}, 0
}

// send makes a call. It fails only when ctx ends, or for a fault of ours.
func (c *Client) send(ctx context.Context, m call) (answer, error) {
	signatures := make([]string, len(m.secrets))
	for i, s := range m.secrets {
		var err error
		if signatures[i], err = sign(s, m.id, m.at, m.body); err != nil {
			return answer{}, err
		}
	}
	h := http.Header{}
	h.Set(headerID, m.id)
	h.Set(headerTimestamp, strconv.FormatInt(m.at.Unix(), 10))
	h.Set(headerSignature, strings.Join(signatures, " "))
	return c.post(ctx, m.url, h, m.body)
}

// Call sends JSON under headers to an address that isn't a webhook's, by the same
// rules and within the same room. Its answer is a Problem, nil when it was taken, or
// how long to wait until there may be room. It fails like a webhook's call.
func (c *Client) Call(ctx context.Context, of tenant.ID, to string, h http.Header, body string) (problem *Problem, wait time.Duration, err error) {
	done, wait := c.acquire(of, to)
	if done == nil {
		return nil, wait, nil
	}
	a, err := c.post(ctx, to, h, body)
	done(a.problem)
	return a.problem, 0, err
}

// post sends JSON.
func (c *Client) post(ctx context.Context, to string, h http.Header, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return answer{}, errs.New(errs.Internal, "the webhook's URL is malformed")
	}
	req.Header = h
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Vogter-Webhooks/1")
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return answer{}, fmt.Errorf("call webhook: %w", ctx.Err())
		}
		p := problemOf(err)
		return answer{problem: &p}, nil
	}
	defer func() { _ = resp.Body.Close() }() // of what was read, nothing is lost
	a := answer{status: &resp.StatusCode}
	switch p := ProblemStatus; {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		// However it ends: an answer that breaks off was 2xx all the same.
		a.body, _ = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		p = ProblemRedirect
		a.problem = &p
	default:
		a.problem = &p
	}
	return a, nil
}

// sign returns the signature of a call under a secret.
func sign(s Secret, callID string, at time.Time, body string) (string, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.Value.Reveal(), secretPrefix))
	if err != nil {
		return "", errs.New(errs.Internal, "malformed webhook secret") // the cause may quote it
	}
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s.%d.%s", callID, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}

// problemOf names a failed call. What the error says stays here: it quotes the URL.
func problemOf(err error) Problem {
	if errors.Is(err, errAddress) {
		return ProblemAddress
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return ProblemTimeout
	}
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	if certificate || record || alert || errors.Is(err, http.ErrSchemeMismatch) {
		return ProblemTLS
	}
	return ProblemConnect
}
