package authn

import "net/http"

// ByCookie reports whether a call proves itself by the session cookie, which a
// browser adds unasked, and not by a token.
func ByCookie(r *http.Request) bool {
	c, err := credential(r)
	return err == nil && c.Cookie != ""
}

// checkOrigin refuses a call by cookie that a page of another site makes, also
// one that only reads: some answers count, as the uses of a link do. A link that
// the person follows to a page of its own is none of that page's calls.
func (a *Authenticator) checkOrigin(r *http.Request) error {
	if r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" {
		return nil
	}
	strict := *r
	strict.Method = http.MethodPost // safe methods would pass
	if err := a.origins.Check(&strict); err != nil {
		return ErrCrossSite
	}
	return nil
}
