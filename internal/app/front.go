package app

import (
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/waf"
)

// listening says how the API takes calls.
func (p *Platform) listening() (server.Listening, error) {
	c := server.Listening{Connections: p.Config.MaxConnections, Grace: p.Config.ShutdownGrace}
	if p.Config.TLS.CertFile == "" {
		return c, nil
	}
	cert, err := server.LoadCertificate(p.Config.TLS.CertFile, p.Config.TLS.KeyFile, p.now, p.log)
	if err != nil {
		return c, err
	}
	c.TLS = cert.Config()
	return c, nil
}

// firewall returns the web application firewall, nil when it is off.
func (p *Platform) firewall() (*waf.Firewall, error) {
	return waf.New(waf.Config{
		Mode: waf.Mode(p.Config.FirewallMode()), Scope: waf.Scope(p.Config.Firewall.Scope), Log: p.log,
		Blocked: p.blocked,
	})
}
