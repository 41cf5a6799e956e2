// Package mail hands mail to an SMTP server, over TLS unless the settings say
// otherwise.
package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
)

var _ notify.Sender = (*Sender)(nil)

// timeout bounds each step of a conversation with the server.
const timeout = 15 * time.Second

// Sentinels. None quotes an address, nor what the server said, which may.
var (
	// ErrUnreachable reports a server that doesn't answer, offers no TLS or refuses
	// the credentials: another attempt may succeed.
	ErrUnreachable = errs.New(errs.Unavailable, "the mail server can't be reached, or not as the settings ask")
	// ErrRefused reports a mail that the server doesn't take for now.
	ErrRefused = errs.New(errs.Unavailable, "the mail server doesn't take the mail just now")
	// ErrUndeliverable reports a mail that the server will never take.
	ErrUndeliverable = errs.New(errs.Precondition, "the mail server refuses the mail for good")
)

// Sender sends through one server, over a new connection for each mail.
type Sender struct {
	host    string
	from    string
	domain  string // of from
	options []gomail.Option
}

// New returns a Sender through the server at an address, smtp:// (with STARTTLS,
// which the server must offer) or smtps:// (TLS from the first byte), with user
// and password where it wants them. disable_starttls=true sends in the clear and
// skip_ssl_verify=true to anybody: for one machine. roots are the authorities
// to be trusted, nil for the system's.
func New(address, from string, roots *x509.CertPool) (*Sender, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("new mail sender: malformed address of the server") // it may hold a password
	}
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return nil, errors.New("new mail sender: malformed sender")
	}
	_, domain, _ := strings.Cut(sender.Address, "@")
	s := &Sender{host: u.Hostname(), from: sender.String(), domain: domain, options: []gomail.Option{
		gomail.WithTimeout(timeout), gomail.WithoutNoop(), gomail.WithoutRset(), // one mail per connection
		gomail.WithTLSConfig(&tls.Config{
			ServerName: u.Hostname(), MinVersion: tls.VersionTLS12, RootCAs: roots,
			InsecureSkipVerify: u.Query().Get("skip_ssl_verify") == "true", //nolint:gosec // G402: refused in production, see package config
		}),
	}}
	port := "587"
	switch {
	case u.Scheme == "smtps":
		port = "465"
		s.options = append(s.options, gomail.WithSSL())
	case u.Query().Get("disable_starttls") == "true":
		port = "25"
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if u.Port() != "" {
		port = u.Port()
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, errors.New("new mail sender: malformed port")
	}
	s.options = append(s.options, gomail.WithPort(number))
	if u.User != nil {
		password, _ := u.User.Password()
		s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	if _, err := gomail.NewClient(s.host, s.options...); err != nil {
		return nil, fmt.Errorf("new mail sender: %w", err)
	}
	return s, nil
}

// Send implements notify.Sender.
func (s *Sender) Send(ctx context.Context, m notify.Mail) error {
	msg := gomail.NewMsg()
	if err := errors.Join(msg.From(s.from), msg.To(m.To.Reveal())); err != nil {
		return job.Permanent(ErrUndeliverable) // the cause quotes the address
	}
	msg.SetMessageIDWithValue(m.MessageID + "@" + s.domain)
	msg.SetDateWithValue(m.Date)
	msg.Subject(m.Subject)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(gomail.TypeTextPlain, m.Text.Reveal())
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML.Reveal())

	client, err := gomail.NewClient(s.host, s.options...)
	if err != nil {
		return fmt.Errorf("prepare mail: %w", err)
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return ErrUnreachable.Because(err)
	}
	// The server has the mail, or not: how the conversation ends changes nothing.
	defer func() { _ = client.CloseWithSMTPClient(conn) }()
	if err := client.SendWithSMTPClient(conn, msg); err != nil {
		return refusal(err)
	}
	return nil
}

// refusal keeps of a failure no more than its step and code.
func refusal(err error) error {
	failed, ok := errors.AsType[*gomail.SendError](err)
	if !ok {
		return ErrRefused
	}
	why := fmt.Errorf("%s: code %d %s", failed.Reason, failed.ErrorCode(), failed.EnhancedStatusCode())
	if failed.ErrorCode() >= 500 {
		return job.Permanent(ErrUndeliverable.Because(why))
	}
	return ErrRefused.Because(why)
}
