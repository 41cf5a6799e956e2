package gcp

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
	defaultEndpoint = "https://cloudkms.googleapis.com"
	defaultMetadata = "http://metadata.google.internal"
	tokenPath       = "/computeMetadata/v1/instance/service-accounts/default/token"

	callTimeout = 10 * time.Second // of one request
	attempts    = 4
	firstPause  = 100 * time.Millisecond // doubled with each attempt
	maxPause    = 2 * time.Second
	maxAnswer   = 1 << 20
	tokenSlack  = time.Minute // a token that ends sooner isn't used any more
)

var (
	errNotFound = errors.New("no such key in Google Cloud KMS")
	errExists   = errors.New("key exists in Google Cloud KMS")
	errRefused  = errors.New("request refused by Google Cloud KMS")
	errDenied   = errors.New("permission denied by Google Cloud KMS")
	errBusy     = errors.New("busy: Google Cloud KMS")
)

// client speaks the REST API of Google Cloud KMS.
type client struct {
	http      *http.Client
	base      string // with the version and a slash
	metadata  string // URL of the token
	tokenFile string
	now       func() time.Time

	mu    sync.Mutex
	token string // of the metadata server
	until time.Time
}

func newClient(c *Config) (*client, error) {
	endpoint, metadata := c.Endpoint, c.Metadata
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	if metadata == "" {
		metadata = defaultMetadata
	}
	if u, err := url.Parse(endpoint); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, ErrConfig
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: callTimeout, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if c.CAFile != "" {
		content, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(content) {
			return nil, errors.New("read the CA: no certificate in the file")
		}
	}
	return &client{
		http: &http.Client{
			Transport: transport, Timeout: callTimeout,
			// A redirect would carry the token to whom nobody named.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: endpoint + "/v1/", metadata: metadata + tokenPath, tokenFile: c.TokenFile, now: c.Now,
	}, nil
}

// call sends in and reads the answer into out, either of which may be nil. A
// service that is busy, or away, is asked again. A change of one field is a PATCH.
// Errors are errNotFound, errExists, errRefused or kms.ErrUnavailable.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	if strings.Contains(path, "?updateMask=") {
		method = http.MethodPatch
	}
	pause := firstPause
	for attempt := 1; ; attempt++ {
		wait, err := c.authorised(ctx, method, path, in, out)
		switch {
		case err == nil, errors.Is(err, errNotFound), errors.Is(err, errExists), errors.Is(err, errRefused):
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

// authorised is one call with a token.
func (c *client) authorised(ctx context.Context, method, path string, in, out any) (wait time.Duration, err error) {
	token, err := c.signIn(ctx)
	if err != nil {
		return 0, err
	}
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
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	return c.send(req, out)
}

// signIn returns the token of the file, or one of the metadata server.
func (c *client) signIn(ctx context.Context) (string, error) {
	if c.tokenFile != "" {
		content, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		return strings.TrimSpace(string(content)), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && c.now().Before(c.until) {
		return c.token, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.metadata, http.NoBody)
	if err != nil {
		return "", fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Metadata-Flavor", "Google")
	var out struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if _, err := c.send(req, &out); err != nil {
		if errors.Is(err, errNotFound) || errors.Is(err, errRefused) {
			err = errDenied // the machine has no service account
		}
		return "", fmt.Errorf("sign in by the metadata server: %w", err)
	}
	if out.AccessToken == "" {
		return "", fmt.Errorf("sign in by the metadata server: %w", errDenied)
	}
	c.token, c.until = out.AccessToken, c.now().Add(time.Duration(out.ExpiresIn)*time.Second-tokenSlack)
	return c.token, nil
}

// forget has the next call ask for a new token.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = ""
}

func (c *client) send(req *http.Request, out any) (wait time.Duration, err error) {
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
	case http.StatusOK:
		if out == nil {
			return 0, nil
		}
		if err := json.Unmarshal(answer, out); err != nil {
			return 0, errors.New("the answer is no JSON of the expected form")
		}
		return 0, nil
	case http.StatusNotFound:
		return 0, errNotFound
	case http.StatusConflict:
		return 0, errExists
	case http.StatusBadRequest:
		return 0, errRefused
	case http.StatusUnauthorized: // the token has ended before its time
		c.forget()
		return 0, fmt.Errorf("status %d: %w", code, errBusy)
	case http.StatusForbidden:
		return 0, errDenied
	default: // 429, 5xx, redirects
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return time.Duration(max(seconds, 0)) * time.Second, fmt.Errorf("status %d: %w", code, errBusy)
	}
}
