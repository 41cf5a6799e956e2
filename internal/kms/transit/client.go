package transit

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/kms"
)

const (
	callTimeout = 10 * time.Second // of one request
	attempts    = 4
	firstPause  = 100 * time.Millisecond // doubled with each attempt
	maxPause    = 2 * time.Second
	maxAnswer   = 1 << 20
)

var (
	errNotFound = errors.New("the server knows no such path or key")
	errRefused  = errors.New("the server refuses the request")
	errDenied   = errors.New("the server denies permission")
	errBusy     = errors.New("the server is busy or sealed")
)

// client speaks the HTTP API of OpenBao and Vault.
type client struct {
	http      *http.Client
	base      string
	namespace string
	tokenFile string
	roleID    string
	secretID  string

	mu    sync.Mutex
	token string // of AppRole, until it is denied
}

func newClient(c Config) (_ *client, mount string, err error) {
	u, err := url.Parse(c.Address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") == "" ||
		(c.TokenFile == "") == (c.RoleID == "") || (c.RoleID == "") != (c.SecretID == "") {
		return nil, "", ErrConfig
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: callTimeout, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if c.CAFile != "" {
		content, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, "", fmt.Errorf("read the CA: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(content) {
			return nil, "", errors.New("read the CA: no certificate in the file")
		}
	}
	return &client{
		http: &http.Client{
			Transport: transport, Timeout: callTimeout,
			// A redirect would carry the token to whom nobody named.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: "https://" + u.Host + "/v1/", namespace: c.Namespace,
		tokenFile: c.TokenFile, roleID: c.RoleID, secretID: c.SecretID,
	}, strings.Trim(u.Path, "/"), nil
}

// call sends in and reads the data of the answer into out, either of which may
// be nil. A server that is busy, or away, is asked again. Errors are
// errNotFound, errRefused or kms.ErrUnavailable.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		wait, err := c.authorised(ctx, method, path, in, out)
		switch {
		case err == nil, errors.Is(err, errNotFound), errors.Is(err, errRefused):
			return err
		case errors.Is(err, errDenied), attempt == attempts, ctx.Err() != nil:
			return kms.ErrUnavailable.Because(err)
		}
		timer := time.NewTimer(min(max(pause, wait), maxPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return kms.ErrUnavailable.Because(context.Cause(ctx))
		}
		pause *= 2
	}
}

// authorised is one call with a token; one of AppRole that is denied is renewed
// once, for it may have ended.
func (c *client) authorised(ctx context.Context, method, path string, in, out any) (wait time.Duration, err error) {
	token, fresh, wait, err := c.signIn(ctx, "")
	if err != nil {
		return wait, err
	}
	wait, err = c.send(ctx, method, path, token, in, out)
	if errors.Is(err, errDenied) && c.roleID != "" && !fresh {
		if token, _, wait, err = c.signIn(ctx, token); err != nil {
			return wait, err
		}
		return c.send(ctx, method, path, token, in, out)
	}
	return wait, err
}

// signIn returns a token other than the denied one.
func (c *client) signIn(ctx context.Context, denied string) (token string, fresh bool, wait time.Duration, err error) {
	if c.tokenFile != "" {
		content, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return "", false, 0, fmt.Errorf("read the token: %w", err)
		}
		return strings.TrimSpace(string(content)), true, 0, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && c.token != denied {
		return c.token, false, 0, nil
	}
	var out struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	wait, err = c.exchange(ctx, http.MethodPost, "auth/approle/login", "",
		map[string]any{"role_id": c.roleID, "secret_id": c.secretID}, &out)
	if errors.Is(err, errRefused) || errors.Is(err, errNotFound) {
		err = errDenied // the role or its secret is wrong
	}
	if err == nil && out.Auth.ClientToken == "" {
		err = errDenied
	}
	if err != nil {
		return "", false, wait, fmt.Errorf("sign in by AppRole: %w", err)
	}
	c.token = out.Auth.ClientToken
	return c.token, true, 0, nil
}

// send is one request, whose answer's data is read into out.
func (c *client) send(ctx context.Context, method, path, token string, in, out any) (wait time.Duration, err error) {
	if out == nil {
		return c.exchange(ctx, method, path, token, in, nil)
	}
	return c.exchange(ctx, method, path, token, in, &struct {
		Data any `json:"data"`
	}{out})
}

func (c *client) exchange(ctx context.Context, method, path, token string, in, out any) (wait time.Duration, err error) {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return 0, fmt.Errorf("encode request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, &body)
	if err != nil {
		return 0, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("X-Vault-Request", "true")
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if c.namespace != "" {
		req.Header.Set("X-Vault-Namespace", c.namespace)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("send request: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, fmt.Errorf("read answer: %w", err)
	}
	// The answer's own words are left out: they may repeat what was sent.
	switch code := res.StatusCode; code {
	case http.StatusOK, http.StatusNoContent:
		if out == nil {
			return 0, nil
		}
		if err := json.Unmarshal(answer, out); err != nil {
			return 0, errors.New("the answer is no JSON of the expected form")
		}
		return 0, nil
	case http.StatusNotFound:
		return 0, errNotFound
	case http.StatusBadRequest:
		return 0, errRefused
	case http.StatusForbidden, http.StatusUnauthorized:
		return 0, errDenied
	default: // 412, 429, 472, 473, 5xx, redirects
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return time.Duration(max(seconds, 0)) * time.Second, fmt.Errorf("status %d: %w", code, errBusy)
	}
}
