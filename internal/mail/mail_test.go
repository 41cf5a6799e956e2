package mail_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/mail"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/testenv"
)

// server is an SMTP server that keeps what it takes.
type server struct {
	address string
	roots   *x509.CertPool
	tls     *tls.Config
	answer  error // to RCPT

	mu       sync.Mutex
	messages []string
	signedIn string
}

// how a server speaks TLS.
type how int

const (
	plain how = iota
	starttls
	implicit
)

func start(t *testing.T, speaks how, answer error) *server {
	t.Helper()
	s := &server{roots: x509.NewCertPool(), answer: answer}
	s.certificate(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	backend := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{server: s}, nil }))
	backend.Domain, backend.AllowInsecureAuth = "localhost", false
	if speaks == starttls {
		backend.TLSConfig = s.tls
	}
	if speaks == implicit {
		l = tls.NewListener(l, s.tls)
	}
	served := make(chan error, 1)
	go func() { served <- backend.Serve(l) }()
	t.Cleanup(func() {
		if err := backend.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *server) certificate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: testenv.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s.roots.AddCert(c)
	s.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

type session struct{ server *server }

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != "geheim" {
			return &smtp.SMTPError{Code: 535, Message: "no such user " + user}
		}
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.signedIn = user
		return nil
	}), nil
}

func (s *session) Mail(string, *smtp.MailOptions) error { return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if refusal, ok := s.server.answer.(*smtp.SMTPError); ok { //nolint:errorlint // as the table has it
		refusal.Message = "<" + to + "> is not known here"
	}
	return s.server.answer
}

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.messages = append(s.server.messages, string(b))
	return err
}

func (*session) Reset() {}

func (*session) Logout() error { return nil }

const address = "aase@kunde.example"

func letter() notify.Mail {
	return notify.Mail{
		MessageID: "msg_abc", Date: time.Date(2026, 3, 2, 11, 0, 0, 0, time.UTC), To: personal.NewText(address),
		Subject: "Blåbær\r\nBcc: b@b.example", Text: personal.NewText("Rød grød\r\n.\r\nQUIT\n"), HTML: personal.NewText("<p>Rød grød</p>"),
	}
}

func TestTLS(t *testing.T) {
	for name, tt := range map[string]struct {
		speaks how
		scheme string
		query  string
		known  bool // is the server's authority
		want   error
	}{
		"STARTTLS":                     {starttls, "smtp", "", true, nil},
		"STARTTLS of somebody":         {starttls, "smtp", "", false, mail.ErrUnreachable},
		"STARTTLS of anybody":          {starttls, "smtp", "?skip_ssl_verify=true", false, nil},
		"no STARTTLS where it must be": {plain, "smtp", "", true, mail.ErrUnreachable},
		"no STARTTLS, as told":         {plain, "smtp", "?disable_starttls=true", true, nil},
		"TLS":                          {implicit, "smtps", "", true, nil},
		"TLS of somebody":              {implicit, "smtps", "", false, mail.ErrUnreachable},
		"no TLS where it must be":      {plain, "smtps", "", true, mail.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, tt.speaks, nil)
			roots := x509.NewCertPool()
			if tt.known {
				roots = s.roots
			}
			sender, err := mail.New(tt.scheme+"://"+s.address+"/"+tt.query, "Vogter <vogter@vogter.example>", roots)
			if err != nil {
				t.Fatal(err)
			}
			err = sender.Send(t.Context(), letter())
			if !errors.Is(err, tt.want) || (err == nil) != (len(s.messages) == 1) {
				t.Errorf("%d mails, %v", len(s.messages), err)
			}
			if err != nil && strings.Contains(err.Error(), address) {
				t.Errorf("the error quotes: %v", err)
			}
		})
	}
}

func TestAMailCantBeBent(t *testing.T) {
	s := start(t, starttls, nil)
	sender, err := mail.New("smtp://"+s.address, "Vogter <vogter@vogter.example>", s.roots)
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.Send(t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(s.messages[0], "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if strings.HasPrefix(line, "Bcc") {
			t.Errorf("a header was added: %s", line)
		}
	}
	for _, want := range []string{"Message-ID: <msg_abc@vogter.example>", "Date: Mon, 02 Mar 2026 11:00:00 +0000", "Auto-Submitted: auto-generated", "From: \"Vogter\" <vogter@vogter.example>"} {
		if !strings.Contains(head, want) {
			t.Errorf("no %q in\n%s", want, head)
		}
	}
	if !strings.Contains(body, "R=C3=B8d gr=C3=B8d") || !strings.Contains(body, "QUIT") || !strings.Contains(body, "text/html") {
		t.Errorf("the body is\n%s", body)
	}
	for name, to := range map[string]string{"a line more": "a@a.example\r\nRCPT TO:<b@b.example>", "two": "a@a.example, b@b.example", "none": ""} {
		m := letter()
		m.To = personal.NewText(to)
		if err := sender.Send(t.Context(), m); !errors.Is(err, mail.ErrUndeliverable) || strings.Contains(err.Error(), "a.example") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s.messages) != 1 {
		t.Errorf("%d mails", len(s.messages))
	}
}

func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		answer error
		want   *errs.Error
		says   string
	}{
		"for now":  {&smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 1}}, mail.ErrRefused, "code 450 4.2.1"},
		"for good": {&smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}}, mail.ErrUndeliverable, "code 550 5.1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, starttls, tt.answer)
			sender, err := mail.New("smtp://"+s.address, "vogter@vogter.example", s.roots)
			if err != nil {
				t.Fatal(err)
			}
			err = sender.Send(t.Context(), letter())
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "kunde") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSignIn(t *testing.T) {
	s := start(t, starttls, nil)
	for password, want := range map[string]error{"geheim": nil, "wrong": mail.ErrUnreachable} {
		sender, err := mail.New("smtp://vogter:"+password+"@"+s.address, "vogter@vogter.example", s.roots)
		if err != nil {
			t.Fatal(err)
		}
		err = sender.Send(t.Context(), letter())
		if !errors.Is(err, want) || err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("with %s: %v", password, err)
		}
	}
	if s.signedIn != "vogter" || len(s.messages) != 1 {
		t.Errorf("%q signed in, %d mails", s.signedIn, len(s.messages))
	}
}

func TestSettings(t *testing.T) {
	for _, tt := range [][2]string{{"smtp://", "a@a.example"}, {"://x", "a@a.example"}, {"smtp://h:x", "a@a.example"}, {"smtp://h:99999", "a@a.example"}, {"smtp://h", "a"}} {
		if _, err := mail.New(tt[0], tt[1], nil); err == nil {
			t.Errorf("%s from %s is taken", tt[0], tt[1])
		}
	}
	_, err := mail.New("smtp://u:geheim@h:x", "a@a.example", nil)
	if err == nil || bytes.Contains([]byte(err.Error()), []byte("geheim")) {
		t.Errorf("the error quotes: %v", err)
	}
}
