package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/config"
)

// local is a complete development environment.
func local() map[string]string {
	return map[string]string{
		"VOGTER_MODE":              "development",
		"MONGODB_URI":              "mongodb://%2Fdata%2Frun%2Fdb.sock/?replicaSet=rs",
		"VOGTER_KEYSTORE_URI":      "mongodb://%2Fdata%2Frun%2Fkeys.sock/?replicaSet=rs",
		"REDIS_URL":                "unix:///data/run/redis.sock",
		"VOGTER_S3_ENDPOINT":       "https://127.0.0.1:7070",
		"VOGTER_S3_BUCKET":         "vogter",
		"VOGTER_S3_ACCESS_KEY":     "access-key-value",
		"VOGTER_S3_SECRET_KEY":     "secret-key-value",
		"VOGTER_KRATOS_PUBLIC_URL": "http://127.0.0.1:4433",
		"VOGTER_KRATOS_ADMIN_URL":  "http://127.0.0.1:4434",
		"VOGTER_SMTP_URL":          "smtp://127.0.0.1:1025?disable_starttls=true",
		"VOGTER_MAIL_FROM":         "no-reply@vogter.example",
		"VOGTER_KMS":               "file:/data/kms",
	}
}

// cloud is what production may look like.
func cloud() map[string]string {
	return map[string]string{
		"MONGODB_URI":                 "mongodb://app:pw@a.db.example:27017,b.db.example:27017/vogter?tls=true",
		"VOGTER_KEYSTORE_URI":         "mongodb+srv://keys:pw@keys.db.example/keys",
		"REDIS_URL":                   "rediss://:pw@redis.example:6379/0",
		"VOGTER_S3_ENDPOINT":          "https://s3.example",
		"VOGTER_S3_BUCKET":            "vogter",
		"VOGTER_S3_ACCESS_KEY":        "access-key-value",
		"VOGTER_S3_SECRET_KEY":        "secret-key-value",
		"VOGTER_S3_SECOND_ENDPOINT":   "https://other.example",
		"VOGTER_S3_SECOND_BUCKET":     "vogter",
		"VOGTER_S3_SECOND_ACCESS_KEY": "second-access-key",
		"VOGTER_S3_SECOND_SECRET_KEY": "second-secret-key",
		"VOGTER_KRATOS_PUBLIC_URL":    "https://id.example",
		"VOGTER_KRATOS_ADMIN_URL":     "https://id-admin.example",
		"VOGTER_SMTP_URL":             "smtps://user:pw@mail.example:465",
		"VOGTER_MAIL_FROM":            "Vogter <no-reply@vogter.example>",
		"VOGTER_PUBLIC_URL":           "https://vogter.example",
		"VOGTER_KMS":                  "transit:https://bao.example:8200/transit",
		"VOGTER_KMS_ROLE_ID":          "role",
		"VOGTER_KMS_SECRET_ID":        "secret-id-value",
	}
}

const devKMS = "VOGTER_KMS: the local key file is for development and is refused in production"

func environ(values map[string]string) []string {
	var list []string
	for k, v := range values {
		list = append(list, k+"="+v)
	}
	return list
}

// with is base with changes; an empty value removes a setting.
func with(base map[string]string, changes ...string) map[string]string {
	m := maps.Clone(base)
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			delete(m, changes[i])
		} else {
			m[changes[i]] = changes[i+1]
		}
	}
	return m
}

func TestParse(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		name string
		env  map[string]string
		want []string // what the message names; none: no error
	}{
		{"complete", local(), nil},
		{"nothing at all", nil, nil},
		{"foreign variables", map[string]string{"PATH": "/bin", "VOGTERISH": "1"}, nil},
		{"setting of a client", map[string]string{"VOGTER_API_KEY": "vgt_x"}, nil},
		{"settings of the local supervisor", map[string]string{"VOGTER_LOCAL_PORT_API": "9"}, nil},
		{"unknown", with(local(), "VOGTER_S3_ENDPIONT", "x"), []string{"VOGTER_S3_ENDPIONT is not a setting of Vogter"}},
		{"a file for what is no secret", with(local(), "VOGTER_MODE_FILE", "x"), []string{"VOGTER_MODE_FILE is not a setting"}},
		{"two faults", with(local(), "VOGTER_A", "x", "VOGTER_B", "x"), []string{"VOGTER_A", "VOGTER_B"}},
		{"mode", with(local(), "VOGTER_MODE", "prod"), []string{"VOGTER_MODE must be production or development"}},
		{"step-up", with(local(), "VOGTER_STEP_UP", "aal3"), []string{"VOGTER_STEP_UP must be aal2 or aal1"}},
		{"level", with(local(), "VOGTER_LOG_LEVEL", "loud"), []string{"VOGTER_LOG_LEVEL is malformed"}},
		{
			"duration and number", with(local(), "VOGTER_SHUTDOWN_GRACE", "soon", "VOGTER_WORKER_CONCURRENCY", "many"),
			[]string{"VOGTER_SHUTDOWN_GRACE is malformed", "VOGTER_WORKER_CONCURRENCY is malformed"},
		},
		{"no worker", with(local(), "VOGTER_WORKER_CONCURRENCY", "0"), []string{"VOGTER_WORKER_CONCURRENCY must be"}},
		{"no grace", with(local(), "VOGTER_SHUTDOWN_GRACE", "0s"), []string{"VOGTER_SHUTDOWN_GRACE must be"}},
		{"TLS", with(local(), "VOGTER_TLS_CERT_FILE", "/c.pem", "VOGTER_TLS_KEY_FILE", "/k.pem"), nil},
		{"half of TLS", with(local(), "VOGTER_TLS_CERT_FILE", "/c.pem"), []string{"VOGTER_TLS_CERT_FILE is set but VOGTER_TLS_KEY_FILE is not"}},
		{"TLS of its own behind a proxy", with(local(), "VOGTER_TLS", "proxy", "VOGTER_TLS_CERT_FILE", "/c.pem", "VOGTER_TLS_KEY_FILE", "/k.pem"), []string{"give one"}},
		{"TLS mode", with(local(), "VOGTER_TLS", "on"), []string{"VOGTER_TLS must be proxy"}},
		{"firewall", with(local(), "VOGTER_WAF", "off", "VOGTER_WAF_SCOPE", "all"), nil},
		{"firewall mode", with(local(), "VOGTER_WAF", "on"), []string{"VOGTER_WAF must be off, detect or block"}},
		{"firewall scope", with(local(), "VOGTER_WAF_SCOPE", "everything"), []string{"VOGTER_WAF_SCOPE must be"}},
		{"no connection", with(local(), "VOGTER_MAX_CONNECTIONS", "0"), []string{"VOGTER_MAX_CONNECTIONS must be"}},
		{"listen", with(local(), "VOGTER_LISTEN", "8080"), []string{"VOGTER_LISTEN must be host:port"}},
		{
			"S3 without keys",
			map[string]string{"VOGTER_S3_ENDPOINT": "https://s3.example"},
			[]string{
				"VOGTER_S3_ENDPOINT is set but VOGTER_S3_BUCKET is not",
				"VOGTER_S3_ENDPOINT is set but VOGTER_S3_ACCESS_KEY is not",
				"VOGTER_S3_ENDPOINT is set but VOGTER_S3_SECRET_KEY is not",
			},
		},
		{"CA without S3", map[string]string{"VOGTER_S3_CA_FILE": "/ca.pem"}, []string{"VOGTER_S3_CA_FILE is set but VOGTER_S3_ENDPOINT is not"}},
		{"half of Kratos", with(local(), "VOGTER_KRATOS_ADMIN_URL", ""), []string{"VOGTER_KRATOS_ADMIN_URL is not"}},
		{"half of Hydra", with(local(), "VOGTER_HYDRA_PUBLIC_URL", "http://127.0.0.1:4444"), []string{"VOGTER_HYDRA_ADMIN_URL is not"}},
		{"Hydra without scheme", with(local(), "VOGTER_HYDRA_PUBLIC_URL", "a", "VOGTER_HYDRA_ADMIN_URL", "b"), []string{
			"VOGTER_HYDRA_PUBLIC_URL must be", "VOGTER_HYDRA_ADMIN_URL must be",
		}},
		{"proxies", with(local(), "VOGTER_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1"), nil},
		{"everybody a proxy", with(local(), "VOGTER_TRUSTED_PROXIES", "0.0.0.0/0"), []string{"VOGTER_TRUSTED_PROXIES must be"}},
		{"proxies by name", with(local(), "VOGTER_TRUSTED_PROXIES", "10.0.0.0/8,proxy"), []string{"VOGTER_TRUSTED_PROXIES must be"}},
		{"mail without sender", with(local(), "VOGTER_MAIL_FROM", ""), []string{"VOGTER_SMTP_URL is set but VOGTER_MAIL_FROM is not"}},
		{"mail sender", with(local(), "VOGTER_MAIL_FROM", "nobody"), []string{"VOGTER_MAIL_FROM must be"}},
		{"MongoDB URI", with(local(), "MONGODB_URI", "http://db"), []string{"MONGODB_URI must be"}},
		{"Redis URL", with(local(), "REDIS_URL", "localhost:6379"), []string{"REDIS_URL must be"}},
		{"S3 without scheme", with(local(), "VOGTER_S3_ENDPOINT", "127.0.0.1:7070"), []string{"VOGTER_S3_ENDPOINT must be"}},
		{"KMS", with(local(), "VOGTER_KMS", "aws:key"), []string{"VOGTER_KMS must be file:PATH, transit:https://host/mount, gcp:projects/PROJECT/locations/LOCATION/keyRings/RING or aws:REGION[/NAMESPACE]"}},
		{"namespace that is none", with(local(), "VOGTER_KMS", "aws:eu-central-1/../x"), []string{"VOGTER_KMS must be file:PATH"}},
		{"plain transit", with(cloud(), "VOGTER_KMS", "transit:http://bao.example/transit"), []string{"VOGTER_KMS must be file:PATH, transit:https://host/mount, gcp:projects/PROJECT/locations/LOCATION/keyRings/RING or aws:REGION[/NAMESPACE]"}},
		{"no mount", with(cloud(), "VOGTER_KMS", "transit:https://bao.example/"), []string{"VOGTER_KMS must be file:PATH, transit:https://host/mount, gcp:projects/PROJECT/locations/LOCATION/keyRings/RING or aws:REGION[/NAMESPACE]"}},
		{"keys at Google, as of transit", with(cloud(), "VOGTER_KMS", "gcp:projects/vogter-prod/locations/europe-north1/keyRings/masters"), []string{"are of a transit engine"}},
		{"two ways to sign in", with(cloud(), "VOGTER_KMS_TOKEN_FILE", "/run/token"), []string{"give either VOGTER_KMS_TOKEN_FILE or VOGTER_KMS_ROLE_ID to sign in at VOGTER_KMS"}},
		{"half an AppRole", with(cloud(), "VOGTER_KMS_SECRET_ID", ""), []string{"VOGTER_KMS_ROLE_ID and VOGTER_KMS_SECRET_ID must be set together"}},
		{"transit's settings of a file", with(local(), "VOGTER_KMS_NAMESPACE", "a"), []string{"VOGTER_KMS_… are of a transit engine, and VOGTER_KMS names none"}},
		{"secret twice", with(local(), "MONGODB_URI_FILE", missing), []string{"MONGODB_URI and MONGODB_URI_FILE are both set"}},
		{"secret's file missing", with(local(), "MONGODB_URI", "", "MONGODB_URI_FILE", missing), []string{"MONGODB_URI_FILE: read the file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Parse(environ(tt.env))
			check(t, err, tt.want)
			if err != nil && strings.Contains(err.Error(), missing) {
				t.Errorf("the message quotes a value: %v", err)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want []string
	}{
		{"development", local(), nil},
		{"nothing", map[string]string{"VOGTER_MODE": "development"}, []string{
			"MONGODB_URI is not set", "VOGTER_KEYSTORE_URI is not set", "REDIS_URL is not set", "VOGTER_KMS is not set",
			"VOGTER_S3_ENDPOINT is not set", "VOGTER_KRATOS_PUBLIC_URL is not set", "VOGTER_SMTP_URL is not set",
		}},
		{"checkpoints in one place", with(cloud(), "VOGTER_S3_SECOND_ENDPOINT", "https://s3.example"), []string{"VOGTER_S3_SECOND_ENDPOINT: a second"}},
		{"development keys", with(cloud(), "VOGTER_KMS", "file:/data/kms", "VOGTER_KMS_ROLE_ID", "", "VOGTER_KMS_SECRET_ID", ""), []string{devKMS}},
		{"local parts in production", with(local(), "VOGTER_MODE", ""), []string{
			"VOGTER_S3_SECOND_ENDPOINT: a second object storage", devKMS, "VOGTER_KRATOS_PUBLIC_URL: plain HTTP", "VOGTER_KRATOS_ADMIN_URL: plain HTTP", "VOGTER_PUBLIC_URL: an https URL is needed",
		}},
		{"keys at AWS", with(cloud(), "VOGTER_KMS", "aws:eu-central-1/prod", "VOGTER_KMS_ROLE_ID", "", "VOGTER_KMS_SECRET_ID", ""), nil},
		{"keys at Google", with(cloud(), "VOGTER_KMS", "gcp:projects/vogter-prod/locations/europe-north1/keyRings/masters", "VOGTER_KMS_ROLE_ID", "", "VOGTER_KMS_SECRET_ID", ""), nil},
		{"one factor", with(cloud(), "VOGTER_STEP_UP", "aal1"), []string{"VOGTER_STEP_UP: one factor"}},
		{"MongoDB without TLS", with(cloud(), "MONGODB_URI", "mongodb://db.example:27017/"), []string{"MONGODB_URI: a connection"}},
		{"one host outside", with(cloud(), "MONGODB_URI", "mongodb://127.0.0.1:1,db.example:2/"), []string{"MONGODB_URI: a connection"}},
		{"MongoDB on loopback", with(cloud(), "MONGODB_URI", "mongodb://u:p@127.0.0.1:27017,localhost,[::1]:5/"), nil},
		{"srv with TLS off", with(cloud(), "VOGTER_KEYSTORE_URI", "mongodb+srv://keys.example/?tls=false"), []string{"VOGTER_KEYSTORE_URI: a connection"}},
		{"unverified TLS", with(cloud(), "MONGODB_URI", "mongodb://db.example/?tls=true&tlsInsecure=true"), []string{"MONGODB_URI: a connection"}},
		{"one database for data and keys", with(cloud(), "VOGTER_KEYSTORE_URI", cloud()["MONGODB_URI"]), []string{"VOGTER_KEYSTORE_URI: the key store must be another"}},
		{
			"one database under two addresses",
			with(cloud(), "VOGTER_KEYSTORE_URI", "mongodb://keys:pw@B.db.example:27017/vogter?tls=true"),
			[]string{"VOGTER_KEYSTORE_URI: the key store must be another"},
		},
		{
			"one user for data and keys", with(cloud(), "VOGTER_KEYSTORE_URI", "mongodb://app:pw@b.db.example:27017/keys?tls=true"),
			[]string{"VOGTER_KEYSTORE_URI: the key store must be another"},
		},
		{"two databases of one server", with(cloud(), "VOGTER_KEYSTORE_URI", "mongodb://keys:pw@b.db.example:27017/keys?tls=true"), nil},
		{"Redis without TLS", with(cloud(), "REDIS_URL", "redis://redis.example:6379"), []string{"REDIS_URL: a connection"}},
		{"Redis with unverified TLS", with(cloud(), "REDIS_URL", "rediss://redis.example:6379?skip_verify=true"), []string{"REDIS_URL: a connection"}},
		{"Redis on loopback", with(cloud(), "REDIS_URL", "redis://127.0.0.1:6379"), nil},
		{"plain S3", with(cloud(), "VOGTER_S3_ENDPOINT", "http://s3.example"), []string{"VOGTER_S3_ENDPOINT: plain HTTP is refused in production"}},
		{"plain mail", with(cloud(), "VOGTER_SMTP_URL", "smtp://mail.example?disable_starttls=true"), []string{"VOGTER_SMTP_URL: mail"}},
		{"unverified mail", with(cloud(), "VOGTER_SMTP_URL", "smtps://mail.example?skip_ssl_verify=true"), []string{"VOGTER_SMTP_URL: mail"}},
		{"plain HTTP to the world", with(cloud(), "VOGTER_LISTEN", ":8080"), []string{"VOGTER_LISTEN: plain HTTP"}},
		{"plain HTTP to all of a machine's addresses", with(cloud(), "VOGTER_LISTEN", "0.0.0.0:8080"), []string{"VOGTER_LISTEN: plain HTTP"}},
		{"plain HTTP behind a proxy", with(cloud(), "VOGTER_LISTEN", ":8080", "VOGTER_TLS", "proxy", "VOGTER_TRUSTED_PROXIES", "10.0.0.0/8"), nil},
		{"a proxy that nobody names", with(cloud(), "VOGTER_TLS", "proxy"), []string{"VOGTER_TRUSTED_PROXIES"}},
		{"TLS to the world", with(cloud(), "VOGTER_LISTEN", ":8443", "VOGTER_TLS_CERT_FILE", "/c.pem", "VOGTER_TLS_KEY_FILE", "/k.pem"), nil},
		{"plain public address", with(cloud(), "VOGTER_PUBLIC_URL", "http://vogter.example"), []string{"VOGTER_PUBLIC_URL: an https"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Parse(environ(tt.env))
			if err != nil {
				t.Fatal(err)
			}
			check(t, c.Validate(), tt.want)
		})
	}
}

// check wants one line of err for each of want and no other.
func check(t *testing.T, err error, want []string) {
	t.Helper()
	var lines []string
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	if len(lines) != len(want) {
		t.Fatalf("got %d faults %q, want %d %q", len(lines), lines, len(want), want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestParseReadsSecretsFromFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(environ(with(local(), "VOGTER_S3_SECRET_KEY", "", "VOGTER_S3_SECRET_KEY_FILE", path)))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.S3.SecretKey.Reveal(); got != "from-a-file" {
		t.Errorf("got %q", got)
	}
}

func TestDefaults(t *testing.T) {
	c, err := config.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Mode: config.Production, Listen: "127.0.0.1:8080", LogLevel: slog.LevelInfo,
		WorkerConcurrency: 4, ShutdownGrace: 20 * time.Second, StepUp: authz.AAL2, S3: config.S3{Region: "us-east-1"},
		S3Second: config.S3Second{Region: "us-east-1"}, AuditRetention: 43848 * time.Hour, LedgerRetention: 9600 * time.Hour,
		Transit: config.Transit{Recovery: 720 * time.Hour}, MaxConnections: 4096, Firewall: config.Firewall{Scope: "public"}, EID: config.EID{Country: "DK"},
		Agreement: config.Agreement{Gate: "warn", Countries: "DK"},
	}
	if c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if c.URL() != "http://127.0.0.1:8080" {
		t.Errorf("URL is %s", c.URL())
	}
}

func TestEnvironRoundTrip(t *testing.T) {
	for _, env := range []map[string]string{local(), cloud(), nil} {
		c, err := config.Parse(environ(env))
		if err != nil {
			t.Fatal(err)
		}
		again, err := config.Parse(c.Environ())
		if err != nil {
			t.Fatal(err)
		}
		if again != c {
			t.Errorf("got %+v, want %+v", again, c)
		}
	}
}

func TestOwns(t *testing.T) {
	for name, want := range map[string]bool{
		"MONGODB_URI": true, "MONGODB_URI_FILE": true, "REDIS_URL": true, "VOGTER_ANYTHING": true,
		"PATH": false, "SSL_CERT_FILE": false, "": false,
	} {
		if config.Owns(name) != want {
			t.Errorf("Owns(%q) is not %v", name, want)
		}
	}
}

func TestSecretsStayHidden(t *testing.T) {
	c, err := config.Parse(environ(cloud()))
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	log.Info("configuration", "config", c, "secret", c.S3.SecretKey)
	for _, shown := range []string{
		string(asJSON), logged.String(), fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c.S3.SecretKey, c.S3.SecretKey, c.S3.SecretKey),
	} {
		for _, secret := range []string{"secret-key-value", fmt.Sprintf("%x", "secret-key-value"), "app:pw"} {
			if strings.Contains(shown, secret) {
				t.Errorf("%q is shown in %s", secret, shown)
			}
		}
		if !strings.Contains(shown, "[redacted]") {
			t.Errorf("nothing redacted in %s", shown)
		}
	}
}

func TestFirewallMode(t *testing.T) {
	for _, tt := range []struct{ mode, firewall, want string }{
		{"production", "", "block"}, {"development", "", "detect"}, {"production", "detect", "detect"}, {"development", "off", "off"},
	} {
		c, err := config.Parse(environ(map[string]string{"VOGTER_MODE": tt.mode, "VOGTER_WAF": tt.firewall}))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.FirewallMode(); got != tt.want {
			t.Errorf("%s, %q: got %s, want %s", tt.mode, tt.firewall, got, tt.want)
		}
	}
}
