package app

import (
	"net/http"

	"github.com/vogter/vogter/internal/checkpage"
	"github.com/vogter/vogter/internal/pages"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/server"
)

// pages returns the routes of the pages that anybody may read.
func (p *Platform) pages() ([]server.Route, error) {
	check, err := checkpage.New(p.audit.ring, p.certificates, p.log)
	if err != nil {
		return nil, err
	}
	notices, err := recipient.NewPage(p.recipients, p.log)
	if err != nil {
		return nil, err
	}
	return []server.Route{
		{
			Pattern: "GET " + recipient.Pattern, Public: true, Own: true, Uses: server.ByCaller(ratelimit.Downloads),
			Handler: http.HandlerFunc(notices.Show), Fail: notices.Fail,
		},
		{
			Pattern: "POST " + recipient.Pattern, Public: true, Own: true, Uses: server.ByCaller(ratelimit.Downloads),
			Handler: http.HandlerFunc(notices.Answer), Fail: notices.Fail,
		},
		{Pattern: "GET " + pages.StylePath, Public: true, Own: true, Handler: pages.Style()},
		{Pattern: "GET " + checkpage.Path, Public: true, Own: true, Handler: http.HandlerFunc(check.Show), Fail: check.Fail},
		{Pattern: "POST " + checkpage.Path, Public: true, Own: true, Stream: true, Handler: http.HandlerFunc(check.Check), Fail: check.Fail},
	}, nil
}
