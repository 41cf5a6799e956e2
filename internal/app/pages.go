package app

import (
	"net/http"

	"github.com/vogter/vogter/internal/checkpage"
	"github.com/vogter/vogter/internal/pages"
	"github.com/vogter/vogter/internal/server"
)

// pages returns the routes of the pages that anybody may read.
func (p *Platform) pages() ([]server.Route, error) {
	check, err := checkpage.New(p.audit.ring, p.certificates, p.log)
	if err != nil {
		return nil, err
	}
	return []server.Route{
		{Pattern: "GET " + pages.StylePath, Public: true, Own: true, Handler: pages.Style()},
		{Pattern: "GET " + checkpage.Path, Public: true, Own: true, Handler: http.HandlerFunc(check.Show), Fail: check.Fail},
		{Pattern: "POST " + checkpage.Path, Public: true, Own: true, Stream: true, Handler: http.HandlerFunc(check.Check), Fail: check.Fail},
	}, nil
}
