package mailsink_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vogter/vogter/internal/local/mailsink"
)

// sink is a running one, with the addresses of its SMTP server and its page.
func sink(t *testing.T) (s *mailsink.Sink, address, page string) {
	t.Helper()
	noon := func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	s = mailsink.New(slog.New(slog.DiscardHandler), noon)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.ServeSMTP(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	return s, l.Addr().String(), web.URL
}

func send(address, message string) error {
	return smtp.SendMail(address, nil, "a@sender.example", []string{"b@reader.example", "c@reader.example"},
		[]byte(strings.ReplaceAll(message, "\n", "\r\n")))
}

func TestMessages(t *testing.T) {
	tests := []struct {
		name, message string
		want          mailsink.Message
	}{
		{"plain", "Subject: Hello\n\nGood day\n", mailsink.Message{Subject: "Hello", Text: "Good day\r\n"}},
		{
			"encoded", "Subject: =?utf-8?q?Bl=C3=A5b=C3=A6r?=\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nR=F8d gr=F8d\n",
			mailsink.Message{Subject: "Blåbær", Text: "Rød grød\r\n"},
		},
		{
			"both forms and a file",
			"Subject: Two\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n" +
				"--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\nContent-Type: text/plain\n\ntext\n--i\nContent-Type: text/html\n\n<b>html</b>\n--i--\n" +
				"--o\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=a.pdf\nContent-Transfer-Encoding: base64\n\nAAAA\n--o--\n",
			mailsink.Message{Subject: "Two", Text: "text", HTML: "<b>html</b>", Files: []string{"a.pdf"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, address, page := sink(t)
			if err := send(address, tt.message); err != nil {
				t.Fatal(err)
			}
			var got []mailsink.Message
			if err := json.Unmarshal([]byte(get(t, page+"/messages")), &got); err != nil {
				t.Fatal(err)
			}
			tt.want.From, tt.want.To = "a@sender.example", []string{"b@reader.example", "c@reader.example"}
			tt.want.Time = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			if diff := cmp.Diff([]mailsink.Message{tt.want}, got, cmpopts.IgnoreFields(mailsink.Message{}, "ID")); diff != "" {
				t.Error(diff)
			}
			if len(got) == 1 && got[0].ID == "" {
				t.Error("no id")
			}
		})
	}
}

func TestMalformedMailIsRefused(t *testing.T) {
	s, address, _ := sink(t)
	err := send(address, "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: text/plain\n\nnever ends\n")
	if err == nil || !strings.HasPrefix(err.Error(), "554") {
		t.Errorf("got %v", err)
	}
	if n := len(s.Messages()); n != 0 {
		t.Errorf("%d messages kept", n)
	}
}

func TestPageEscapes(t *testing.T) {
	_, address, page := sink(t)
	if err := send(address, "Subject: <script>a()</script>\n\n<img src=x onerror=b()>\n"); err != nil {
		t.Fatal(err)
	}
	if err := send(address, "Subject: html\nContent-Type: text/html\n\n<script>c()</script>\n"); err != nil {
		t.Fatal(err)
	}
	got := get(t, page+"/")
	for _, tag := range []string{"<script", "<img"} {
		if strings.Contains(got, tag) {
			t.Errorf("the page holds %s", tag)
		}
	}
	if first, second := strings.Index(got, "html"), strings.Index(got, "a()"); !strings.Contains(got, "c()") || first > second {
		t.Error("the newest mail is not first, or its body is missing")
	}
}

func TestForget(t *testing.T) {
	_, address, page := sink(t)
	if got := get(t, page+"/messages"); strings.TrimSpace(got) != "[]" {
		t.Errorf("an empty sink lists %s", got)
	}
	if err := send(address, "Subject: a\n\nb\n"); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, page+"/messages", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := get(t, page+"/messages"); strings.TrimSpace(got) != "[]" {
		t.Errorf("after the deletion it lists %s", got)
	}
}

func TestTheOldestGoFirst(t *testing.T) {
	s, address, _ := sink(t)
	client, err := smtp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 510 {
		w, err := openMail(client)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "Subject: %d\r\n\r\n", i)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got := s.Messages()
	if len(got) != 500 || got[0].Subject != "10" || got[499].Subject != "509" {
		t.Errorf("%d messages", len(got))
	}
}

func openMail(client *smtp.Client) (io.WriteCloser, error) {
	if err := client.Mail("a@sender.example"); err != nil {
		return nil, err
	}
	if err := client.Rcpt("b@reader.example"); err != nil {
		return nil, err
	}
	return client.Data()
}

func TestOnlyThisMachine(t *testing.T) {
	s, _, _ := sink(t)
	for host, want := range map[string]int{
		"127.0.0.1:8025": 200, "localhost:8025": 200, "localhost": 200, "[::1]:8025": 200,
		"mail.example:8025": 421, "10.0.0.1:8025": 421, "": 421,
	} {
		r := httptest.NewRequest(http.MethodGet, "/messages", http.NoBody)
		r.Host = host
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", host, w.Code, want)
		}
	}
}

func get(t *testing.T, address string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", address, response.Status)
	}
	if !slices.Contains([]string{"application/json", "text/html; charset=utf-8"}, response.Header.Get("Content-Type")) {
		t.Errorf("%s has type %s", address, response.Header.Get("Content-Type"))
	}
	return string(body)
}
