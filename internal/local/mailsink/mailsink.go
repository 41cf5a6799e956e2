// Package mailsink is an SMTP server that delivers nothing. It keeps the last
// messages in memory and shows them on a page and as JSON, so that a developer
// or a test can read the mail that the platform sends.
//
// It writes nothing to disk: mail is personal data.
package mailsink

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // decodes what is not UTF-8
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-smtp"
)

const (
	maxMessages     = 500
	maxMessageBytes = 10 << 20
	maxTextBytes    = 1 << 20 // of one body, as shown
	timeout         = time.Minute
)

// Message is one captured mail.
type Message struct {
	ID string `json:"id"`

	MessageID string    `json:"messageId,omitempty"` // what its sender calls it: a repeat has the same
	Time      time.Time `json:"time"`                // when it arrived
	From      string    `json:"from"`                // envelope
	To        []string  `json:"to"`                  // envelope
	Subject   string    `json:"subject"`
	Text      string    `json:"text"`
	HTML      string    `json:"html,omitempty"`
	Files     []string  `json:"files,omitempty"` // names of attachments
}

// Sink holds the captured mail, newest last.
type Sink struct {
	log  *slog.Logger
	now  func() time.Time
	view *template.Template

	mu       sync.Mutex
	messages []Message
}

// New returns an empty sink.
func New(log *slog.Logger, now func() time.Time) *Sink {
	return &Sink{log: log, now: now, view: template.Must(template.New("page").Parse(pageTemplate))}
}

// Messages are the captured mails, oldest first.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// ServeSMTP takes mail on l until ctx ends.
func (s *Sink) ServeSMTP(ctx context.Context, l net.Listener) error {
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{sink: s}, nil
	}))
	server.Domain = "localhost"
	server.MaxMessageBytes, server.MaxRecipients = maxMessageBytes, 100
	server.ReadTimeout, server.WriteTimeout = timeout, timeout
	server.EnableSMTPUTF8 = true
	server.ErrorLog = errorLog{s.log}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); err != nil && !errors.Is(err, smtp.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("take mail: %w", err)
	}
	return nil
}

// Handler shows the mail: GET / as a page, GET /messages as JSON, oldest
// first; DELETE /messages forgets it.
func (s *Sink) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /messages", s.list)
	mux.HandleFunc("DELETE /messages", s.forget)
	return onlyLoopback(mux)
}

func (s *Sink) page(w http.ResponseWriter, r *http.Request) {
	newest := s.Messages()
	slices.Reverse(newest)
	var page bytes.Buffer
	if err := s.view.Execute(&page, newest); err != nil {
		s.log.ErrorContext(r.Context(), "mail page failed", "err", err)
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	_, _ = page.WriteTo(w)
}

func (s *Sink) list(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	messages := s.Messages()
	if messages == nil {
		messages = []Message{}
	}
	if err := json.NewEncoder(w).Encode(messages); err != nil {
		s.log.DebugContext(r.Context(), "mail list not read to its end", "err", err)
	}
}

func (s *Sink) forget(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	s.messages = nil
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// onlyLoopback refuses requests under another host name, so that no page in
// the developer's browser reads the mail by rebinding a name to 127.0.0.1.
func onlyLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this page is served to this machine only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Sink) keep(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.messages) == maxMessages {
		s.messages = slices.Delete(s.messages, 0, 1)
	}
	s.messages = append(s.messages, m)
}

// session is one SMTP conversation.
type session struct {
	sink *Sink
	from string
	to   []string
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	m := Message{ID: rand.Text(), Time: s.sink.now().UTC(), From: s.from, To: slices.Clone(s.to)}
	if err := m.read(r); err != nil {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "the message is malformed"}
	}
	s.sink.keep(m)
	return nil
}

func (s *session) Reset() { s.from, s.to = "", nil }

func (s *session) Logout() error { return nil }

// read fills in what the message itself says.
func (m *Message) read(r io.Reader) error {
	reader, err := mail.CreateReader(r)
	if err != nil && !message.IsUnknownCharset(err) {
		return fmt.Errorf("read the header: %w", err)
	}
	defer reader.Close()
	if m.Subject, err = reader.Header.Subject(); err != nil && !message.IsUnknownCharset(err) {
		return fmt.Errorf("read the subject: %w", err)
	}
	if m.MessageID, err = reader.Header.MessageID(); err != nil {
		return fmt.Errorf("read the message's id: %w", err)
	}
	for {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !message.IsUnknownCharset(err) {
			return fmt.Errorf("read a part: %w", err)
		}
		switch h := part.Header.(type) {
		case *mail.AttachmentHeader:
			name, err := h.Filename()
			if err != nil {
				return fmt.Errorf("read a file name: %w", err)
			}
			m.Files = append(m.Files, name)
		case *mail.InlineHeader:
			body, err := io.ReadAll(io.LimitReader(part.Body, maxTextBytes))
			if err != nil {
				return fmt.Errorf("read a body: %w", err)
			}
			if kind, _, _ := h.ContentType(); kind == "text/html" {
				m.HTML += string(body)
			} else {
				m.Text += string(body)
			}
		}
	}
}

// errorLog gives the SMTP library's messages to slog. They may quote what a
// peer sent, so only the fact is kept.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(string, ...any) { l.log.Warn("smtp connection failed") }
func (l errorLog) Println(...any)        { l.log.Warn("smtp connection failed") }

const pageTemplate = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Captured mail</title><meta name="viewport" content="width=device-width">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; background: #fff }
article { border-top: 1px solid #767676; padding: 1rem 0 }
h2 { font-size: 1.1rem; margin: 0 }
p { margin: 0; color: #4a4a4a }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f4f4f4; padding: .75rem; margin: .75rem 0 0 }
</style></head><body>
<h1>Captured mail</h1>
<p>Nothing is delivered. The last mails are kept in memory until the platform stops. <a href="/messages">As JSON</a></p>
{{range .}}<article>
<h2>{{or .Subject "(no subject)"}}</h2>
<p>{{.Time.Format "2006-01-02 15:04:05 MST"}}, from {{.From}} to {{range $i, $to := .To}}{{if $i}}, {{end}}{{$to}}{{end}}</p>
{{if .Text}}<pre>{{.Text}}</pre>{{else if .HTML}}<pre>{{.HTML}}</pre>{{end}}
{{range .Files}}<p>Attached: {{.}}</p>{{end}}
</article>{{else}}<p>No mail yet.</p>{{end}}
</body></html>
`
