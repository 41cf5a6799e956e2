// Package config reads the settings of Vogter from the environment, once, into
// one typed value. Nothing else in the program looks at an environment variable.
//
// A setting that is misspelt, malformed or half given stops the start with a
// message that names the variable and never its value.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/mail"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/kms/gcp"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/ratelimit"
)

// Mode says how much the start demands of the settings.
type Mode string

// The modes.
const (
	// Production refuses development keys and unencrypted connections that leave the machine.
	Production Mode = "production"
	// Development is for one machine with local parts.
	Development Mode = "development"
)

// LocalPrefix begins the names of the settings of `vogter local` itself: its
// ports and folders. That command reads and checks them; the rest skip them.
const LocalPrefix = "VOGTER_LOCAL_"

// ClientKey names the API key of `vogter import`: a setting of who calls the
// platform, which may stand in the environment of one that is started beside.
const ClientKey = "VOGTER_API_KEY"

// secretFile ends the name of a variable that holds the path of a file with the secret.
const secretFile = "_FILE"

// Config is every setting of `vogter serve` and `vogter worker`. Secrets may be
// given by value or, under NAME_FILE, as the path of a file that holds the value.
type Config struct {
	// Mode is production unless told otherwise, so that a forgotten setting is the strict one.
	Mode Mode `env:"VOGTER_MODE" envDefault:"production"`
	// Listen is the address of the API, host:port.
	Listen string `env:"VOGTER_LISTEN" envDefault:"127.0.0.1:8080"`
	// PublicURL is how browsers and mail reach the API; empty derives it from Listen.
	PublicURL string `env:"VOGTER_PUBLIC_URL"`
	// MaxConnections is how many connections the API takes at once, 1 to 1000000.
	MaxConnections int `env:"VOGTER_MAX_CONNECTIONS" envDefault:"4096"`

	TLS      TLS
	Firewall Firewall

	// Limits are how often callers may do things, where not as ratelimit.Defaults has
	// it: class=quota/window, with commas between.
	Limits string `env:"VOGTER_LIMITS"`

	// TrustedProxies are the networks of the proxies in front of the API, in CIDR
	// notation with commas between: whose X-Forwarded-For is believed. None by default.
	TrustedProxies string `env:"VOGTER_TRUSTED_PROXIES"`
	// WebhookAllowPrivate lets webhooks reach private networks and this machine, and
	// by plain HTTP too.
	WebhookAllowPrivate bool `env:"VOGTER_WEBHOOK_ALLOW_PRIVATE"`
	// LogLevel is debug, info, warn or error.
	LogLevel slog.Level `env:"VOGTER_LOG_LEVEL" envDefault:"info"`
	// WorkerConcurrency is how many jobs a worker runs at once, 1 to 1000.
	WorkerConcurrency int `env:"VOGTER_WORKER_CONCURRENCY" envDefault:"4"`
	// ShutdownGrace is how long requests and jobs may finish after a stop signal.
	ShutdownGrace time.Duration `env:"VOGTER_SHUTDOWN_GRACE" envDefault:"20s"`

	// StepUp is what sensitive actions ask people for: aal2, a second factor, or
	// aal1 where nobody has one. It is a sign-in of the last 15 minutes in any case.
	StepUp authz.AAL `env:"VOGTER_STEP_UP" envDefault:"aal2"`

	// MongoDB is the URI of the document store.
	MongoDB SecretString `env:"MONGODB_URI"`
	// KeyStore is the URI of the key store: another database with its own credentials.
	KeyStore SecretString `env:"VOGTER_KEYSTORE_URI"`
	// Redis is the URL of the queue's Redis: redis, rediss or unix.
	Redis SecretString `env:"REDIS_URL"`
	// KMS says where the epoch master keys are: file:PATH for the local file,
	// transit:https://host[:port]/mount for OpenBao or HashiCorp Vault,
	// gcp:projects/PROJECT/locations/LOCATION/keyRings/RING for Google Cloud KMS, or
	// aws:REGION[/NAMESPACE], which needs the program of deploy/aws.
	KMS string `env:"VOGTER_KMS"`

	Transit Transit
	// AuditRetention is how long checkpoints of the audit log can't be removed,
	// by anybody: five years, as long as the AML Act has a KYC file kept.
	AuditRetention time.Duration `env:"VOGTER_AUDIT_RETENTION" envDefault:"43848h"`
	// LedgerRetention is how long entries of the ledger of erasures can't be
	// removed, by anybody. A backup that is older than they are would bring back
	// what was erased: so it is longer than any backup of the database is kept, a
	// year and a month when nothing is said. It is not for ever, for entries have
	// the opaque ids of persons.
	LedgerRetention time.Duration `env:"VOGTER_LEDGER_RETENTION" envDefault:"9600h"`

	Agreement Agreement

	S3       S3
	S3Second S3Second
	Kratos   Kratos
	Hydra    Hydra
	EID      EID
	Mail     Mail
}

// Agreement is about the data processing agreements with the tenants.
type Agreement struct {
	// Gate is what becomes of personal data of a tenant that no agreement covers, where
	// the tenant has no setting of its own: off, warn (taken in, and said in the answer)
	// or enforce (refused).
	Gate string `env:"VOGTER_AGREEMENT_GATE" envDefault:"warn"`
	// Countries are where the platform processes personal data: ISO 3166-1 alpha-2
	// codes with commas between.
	Countries string `env:"VOGTER_COUNTRIES" envDefault:"DK"`
	// BreachContact is who customers reach about breaches; empty is the sender of mail.
	BreachContact string `env:"VOGTER_BREACH_CONTACT"`
}

// Places returns the countries, in order.
func (a Agreement) Places() []string {
	list := strings.FieldsFunc(a.Countries, func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(list)
	return slices.Compact(list)
}

// Transit is how to sign in at the transit engine that KMS names: by a token in
// a file, which may be renewed there, or by AppRole. Of Google Cloud KMS it is the
// token's file, if the machine's metadata server is to give none, and Recovery.
type Transit struct {
	TokenFile string       `env:"VOGTER_KMS_TOKEN_FILE"`
	RoleID    string       `env:"VOGTER_KMS_ROLE_ID"`
	SecretID  SecretString `env:"VOGTER_KMS_SECRET_ID"`
	Namespace string       `env:"VOGTER_KMS_NAMESPACE"`
	CAFile    string       `env:"VOGTER_KMS_CA_FILE"` // PEM of a private CA; empty: the system's
	// Recovery is how long snapshots of the server's storage are kept: what was
	// destroyed could be brought back from them, so it counts as irrecoverable later. Of
	// Google Cloud KMS it is how long a destroyed key waits: 24h to 2880h.
	Recovery time.Duration `env:"VOGTER_KMS_RECOVERY" envDefault:"720h"`
}

// TLS is how the API is encrypted on its way.
type TLS struct {
	// Mode is proxy when a proxy in front of the API does it; else empty.
	Mode string `env:"VOGTER_TLS"`
	// CertFile and KeyFile are PEM files, read again when they change.
	CertFile string `env:"VOGTER_TLS_CERT_FILE"`
	KeyFile  string `env:"VOGTER_TLS_KEY_FILE"`
}

// tlsProxy is the one value of TLS.Mode.
const tlsProxy = "proxy"

// Firewall is the web application firewall.
type Firewall struct {
	// Mode is off, detect or block; empty is block in production and detect in development.
	Mode string `env:"VOGTER_WAF"`
	// Scope is whose calls are inspected in full besides those of nobody: public,
	// browser (members too) or all (machine clients too).
	Scope string `env:"VOGTER_WAF_SCOPE" envDefault:"public"`
}

// S3Second is where the checkpoints of the audit log lie a second time: of
// another provider or account than S3, so that nobody rules both.
type S3Second struct {
	Endpoint  string       `env:"VOGTER_S3_SECOND_ENDPOINT"` // https://host[:port]; empty in development: a second bucket of S3
	Region    string       `env:"VOGTER_S3_SECOND_REGION" envDefault:"us-east-1"`
	Bucket    string       `env:"VOGTER_S3_SECOND_BUCKET"`
	AccessKey SecretString `env:"VOGTER_S3_SECOND_ACCESS_KEY"`
	SecretKey SecretString `env:"VOGTER_S3_SECOND_SECRET_KEY"`
	CAFile    string       `env:"VOGTER_S3_SECOND_CA_FILE"` // PEM of a private CA; empty: the system's
}

// S3 is the object storage.
type S3 struct {
	Endpoint  string       `env:"VOGTER_S3_ENDPOINT"` // https://host[:port]
	Region    string       `env:"VOGTER_S3_REGION" envDefault:"us-east-1"`
	Bucket    string       `env:"VOGTER_S3_BUCKET"`
	AccessKey SecretString `env:"VOGTER_S3_ACCESS_KEY"`
	SecretKey SecretString `env:"VOGTER_S3_SECRET_KEY"`
	CAFile    string       `env:"VOGTER_S3_CA_FILE"` // PEM of a private CA; empty: the system's
}

// Kratos is the identity server.
type Kratos struct {
	PublicURL string `env:"VOGTER_KRATOS_PUBLIC_URL"`
	AdminURL  string `env:"VOGTER_KRATOS_ADMIN_URL"` // without authentication: a private network only
}

// EID is the national eID by which data subjects may sign in.
type EID struct {
	// Claim is where an identity at Kratos carries the person's national
	// identification number: metadata_admin.NAME or metadata_public.NAME, which only
	// the provider's mapper and the admin API write. Empty: off.
	Claim string `env:"VOGTER_EID_CLAIM"`
	// Country is whose number it is, ISO 3166-1 alpha-2.
	Country string `env:"VOGTER_EID_COUNTRY" envDefault:"DK"`
}

// Hydra is the authorization server of machine clients. Without it OAuth is off.
type Hydra struct {
	// PublicURL is the issuer of its tokens: where clients get them, and we the keys.
	PublicURL string `env:"VOGTER_HYDRA_PUBLIC_URL"`
	AdminURL  string `env:"VOGTER_HYDRA_ADMIN_URL"` // without authentication: a private network only
}

// Mail is how mail leaves.
type Mail struct {
	SMTP SecretString `env:"VOGTER_SMTP_URL"` // smtp://[user:password@]host:port or smtps://…
	From string       `env:"VOGTER_MAIL_FROM"`
}

// Parse reads the settings from environ, a list of NAME=value as os.Environ
// gives it. A whole group may be missing (`vogter local` fills it in; Validate
// demands it), half a group may not. All faults are reported at once.
func Parse(environ []string) (Config, error) {
	values := env.ToMap(environ)
	known := make(map[string]bool) // name of a setting: is it a secret
	collect(reflect.TypeFor[Config](), known)

	var faults []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		secret := known[strings.TrimSuffix(name, secretFile)] && strings.HasSuffix(name, secretFile)
		_, setting := known[name]
		switch {
		case secret:
			faults = append(faults, load(values, name))
		case strings.HasPrefix(name, "VOGTER_") && !setting && !strings.HasPrefix(name, LocalPrefix) && name != ClientKey:
			faults = append(faults, fmt.Errorf("%s is not a setting of Vogter", name))
		}
	}
	c, err := env.ParseAsWithOptions[Config](env.Options{Environment: values})
	if err != nil {
		// The library's message quotes the value: say which settings only.
		return Config{}, errors.Join(append(faults, malformed(err))...)
	}
	return c, errors.Join(append(faults, c.check()...)...)
}

// Validate says whether c is complete for `vogter serve` and `vogter worker`,
// and in production mode whether it is safe.
func (c *Config) Validate() error {
	var faults []error
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"MONGODB_URI", c.MongoDB.IsSet()},
		{"VOGTER_KEYSTORE_URI", c.KeyStore.IsSet()},
		{"REDIS_URL", c.Redis.IsSet()},
		{"VOGTER_KMS", c.KMS != ""},
		{"VOGTER_S3_ENDPOINT", c.S3.Endpoint != ""},
		{"VOGTER_KRATOS_PUBLIC_URL", c.Kratos.PublicURL != ""},
		{"VOGTER_SMTP_URL", c.Mail.SMTP.IsSet()},
	} {
		if !s.set {
			faults = append(faults, fmt.Errorf("%s is not set", s.name))
		}
	}
	if c.Mode == Production {
		faults = append(faults, c.production()...)
	}
	return errors.Join(faults...)
}

// Environ is c as a list of NAME=value with secrets by value: what a child
// process is started with. Parse reads it back to the same Config.
func (c *Config) Environ() []string {
	var list []string
	walk(reflect.ValueOf(*c), func(name string, v reflect.Value) {
		var text string
		switch x := v.Interface().(type) {
		case SecretString:
			text = x.Reveal()
		default:
			text = fmt.Sprint(x)
		}
		if text != "" {
			list = append(list, name+"="+text)
		}
	})
	return list
}

// Owns reports whether a variable of that name is Vogter's to interpret: one
// that Parse reads, or refuses as unknown.
func Owns(name string) bool {
	known := make(map[string]bool)
	collect(reflect.TypeFor[Config](), known)
	_, ok := known[name]
	return ok || known[strings.TrimSuffix(name, secretFile)] || strings.HasPrefix(name, "VOGTER_")
}

// FirewallMode is off, detect or block.
func (c *Config) FirewallMode() string {
	switch {
	case c.Firewall.Mode != "":
		return c.Firewall.Mode
	case c.Mode == Production:
		return "block"
	default:
		return "detect"
	}
}

// URL is the address of the API for links: PublicURL, or Listen.
func (c *Config) URL() string {
	if c.PublicURL != "" {
		return strings.TrimSuffix(c.PublicURL, "/")
	}
	if c.TLS.CertFile != "" {
		return "https://" + c.Listen
	}
	return "http://" + c.Listen
}

// Proxies are the TrustedProxies; Parse has seen that they can be read.
func (c *Config) Proxies() network.List {
	list, err := proxies(c.TrustedProxies)
	if err != nil {
		return nil
	}
	return list
}

func proxies(s string) (network.List, error) {
	if s == "" {
		return nil, nil
	}
	return network.ParseList(strings.Split(s, ","))
}

// KMSFile is the path of the local key-management file, or "" for another kind.
func (c *Config) KMSFile() string {
	path, ok := strings.CutPrefix(c.KMS, "file:")
	if !ok {
		return ""
	}
	return path
}

// KMSTransit is the address of the transit engine, or "" for another kind.
func (c *Config) KMSTransit() string {
	address, ok := strings.CutPrefix(c.KMS, "transit:")
	if !ok {
		return ""
	}
	return address
}

// KMSRing is the key ring of Google Cloud KMS, or "" for another kind.
func (c *Config) KMSRing() string {
	ring, ok := strings.CutPrefix(c.KMS, "gcp:")
	if !ok {
		return ""
	}
	return ring
}

// checkKMS finds what is wrong with the key management.
func (c *Config) checkKMS() []error {
	var faults []error
	address := c.KMSTransit()
	if u, err := url.Parse(address); c.KMS != "" && c.KMSFile() == "" && !isAWS(c.KMS) && !gcp.ValidRing(c.KMSRing()) &&
		(err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") == "") {
		faults = append(faults, errors.New("VOGTER_KMS must be file:PATH, transit:https://host/mount, gcp:projects/PROJECT/locations/LOCATION/keyRings/RING or aws:REGION[/NAMESPACE]"))
	}
	token, role, secret := c.Transit.TokenFile != "", c.Transit.RoleID != "", c.Transit.SecretID.IsSet()
	switch {
	case c.KMSRing() != "" && (role || secret || c.Transit.Namespace != ""):
		faults = append(faults, errors.New("VOGTER_KMS_ROLE_ID, _SECRET_ID and _NAMESPACE are of a transit engine, and VOGTER_KMS names none"))
	case c.KMSRing() != "":
	case address == "" && (token || role || secret || c.Transit.Namespace != "" || c.Transit.CAFile != ""):
		faults = append(faults, errors.New("VOGTER_KMS_… are of a transit engine, and VOGTER_KMS names none"))
	case address != "" && token == role:
		faults = append(faults, errors.New("give either VOGTER_KMS_TOKEN_FILE or VOGTER_KMS_ROLE_ID to sign in at VOGTER_KMS"))
	case role != secret:
		faults = append(faults, errors.New("VOGTER_KMS_ROLE_ID and VOGTER_KMS_SECRET_ID must be set together"))
	}
	if c.Transit.Recovery < 0 {
		faults = append(faults, errors.New("VOGTER_KMS_RECOVERY must not be negative"))
	}
	return faults
}

// isAWS reports whether kms is a region of AWS, such as aws:eu-central-1, with
// an optional namespace of lower-case letters, digits and hyphens.
func isAWS(kms string) bool {
	return regexp.MustCompile(`^aws:[a-z]+(-[a-z]+)+-[0-9]+(/[a-z0-9-]+)?$`).MatchString(kms)
}

// check finds what is wrong in every mode.
func (c *Config) check() []error {
	var faults []error
	bad := func(name, want string) {
		faults = append(faults, fmt.Errorf("%s must be %s", name, want))
	}
	if c.Mode != Production && c.Mode != Development {
		bad("VOGTER_MODE", "production or development")
	}
	if host, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" || strings.ContainsAny(host, "/@") {
		bad("VOGTER_LISTEN", "host:port")
	}
	if c.PublicURL != "" && !isHTTP(c.PublicURL) {
		bad("VOGTER_PUBLIC_URL", "an http or https URL")
	}
	if _, err := ratelimit.Parse(c.Limits); err != nil {
		bad("VOGTER_LIMITS", "classes with a quota and a window, such as requests=6000/1m,code.attempt=3/1h")
	}
	if list, err := proxies(c.TrustedProxies); err != nil || list.Everybody() {
		bad("VOGTER_TRUSTED_PROXIES", "networks such as 10.0.0.0/8,192.0.2.1")
	}
	if c.WorkerConcurrency < 1 || c.WorkerConcurrency > 1000 {
		bad("VOGTER_WORKER_CONCURRENCY", "between 1 and 1000")
	}
	if c.StepUp != authz.AAL2 && c.StepUp != authz.AAL1 {
		bad("VOGTER_STEP_UP", "aal2 or aal1")
	}
	if c.EID.Claim != "" && !regexp.MustCompile(`^metadata_(admin|public)\.[A-Za-z0-9_]+$`).MatchString(c.EID.Claim) {
		bad("VOGTER_EID_CLAIM", "metadata_admin.NAME or metadata_public.NAME")
	}
	if !regexp.MustCompile(`^[A-Z]{2}$`).MatchString(c.EID.Country) {
		bad("VOGTER_EID_COUNTRY", "a country's two capitals, such as DK")
	}
	if c.ShutdownGrace <= 0 || c.ShutdownGrace > time.Hour {
		bad("VOGTER_SHUTDOWN_GRACE", "a duration of at most an hour, such as 20s")
	}
	if c.MaxConnections < 1 || c.MaxConnections > 1_000_000 {
		bad("VOGTER_MAX_CONNECTIONS", "between 1 and 1000000")
	}
	if c.TLS.Mode != "" && c.TLS.Mode != tlsProxy {
		bad("VOGTER_TLS", "proxy, or not set")
	}
	if c.TLS.Mode == tlsProxy && c.TLS.CertFile != "" {
		faults = append(faults, errors.New("VOGTER_TLS is proxy and VOGTER_TLS_CERT_FILE is set: give one"))
	}
	if !slices.Contains([]string{"", "off", "detect", "block"}, c.Firewall.Mode) {
		bad("VOGTER_WAF", "off, detect or block")
	}
	if !slices.Contains([]string{"off", "warn", "enforce"}, c.Agreement.Gate) {
		bad("VOGTER_AGREEMENT_GATE", "off, warn or enforce")
	}
	if places := c.Agreement.Places(); len(places) == 0 || slices.ContainsFunc(places, func(p string) bool { return !regexp.MustCompile(`^[A-Z]{2}$`).MatchString(p) }) {
		bad("VOGTER_COUNTRIES", "ISO 3166-1 alpha-2 codes with commas between")
	}
	if !slices.Contains([]string{"public", "browser", "all"}, c.Firewall.Scope) {
		bad("VOGTER_WAF_SCOPE", "public, browser or all")
	}
	for _, uri := range []struct {
		name  string
		value SecretString
	}{{"MONGODB_URI", c.MongoDB}, {"VOGTER_KEYSTORE_URI", c.KeyStore}} {
		if uri.value.IsSet() {
			if _, err := parseMongo(uri.value.Reveal()); err != nil {
				bad(uri.name, "a mongodb:// or mongodb+srv:// URI")
			}
		}
	}
	if c.Redis.IsSet() && !hasScheme(c.Redis.Reveal(), "redis", "rediss", "unix") {
		bad("REDIS_URL", "a redis://, rediss:// or unix:// URL")
	}
	faults = append(faults, c.checkKMS()...)
	if c.S3.Endpoint != "" && !isHTTP(c.S3.Endpoint) {
		bad("VOGTER_S3_ENDPOINT", "an http or https URL")
	}
	if c.S3Second.Endpoint != "" && !isHTTP(c.S3Second.Endpoint) {
		bad("VOGTER_S3_SECOND_ENDPOINT", "an http or https URL")
	}
	if c.AuditRetention < 24*time.Hour {
		bad("VOGTER_AUDIT_RETENTION", "a duration of at least a day, such as 43848h")
	}
	if c.LedgerRetention < 30*24*time.Hour || c.LedgerRetention > 10*366*24*time.Hour {
		bad("VOGTER_LEDGER_RETENTION", "a duration of 30 days to 10 years, such as 9600h: longer than any backup is kept")
	}
	if c.Kratos.PublicURL != "" && !isHTTP(c.Kratos.PublicURL) {
		bad("VOGTER_KRATOS_PUBLIC_URL", "an http or https URL")
	}
	if c.Kratos.AdminURL != "" && !isHTTP(c.Kratos.AdminURL) {
		bad("VOGTER_KRATOS_ADMIN_URL", "an http or https URL")
	}
	if c.Hydra.PublicURL != "" && !isHTTP(c.Hydra.PublicURL) {
		bad("VOGTER_HYDRA_PUBLIC_URL", "an http or https URL")
	}
	if c.Hydra.AdminURL != "" && !isHTTP(c.Hydra.AdminURL) {
		bad("VOGTER_HYDRA_ADMIN_URL", "an http or https URL")
	}
	if c.Mail.SMTP.IsSet() && !hasScheme(c.Mail.SMTP.Reveal(), "smtp", "smtps") {
		bad("VOGTER_SMTP_URL", "an smtp:// or smtps:// URL")
	}
	if c.Mail.From != "" {
		if _, err := mail.ParseAddress(c.Mail.From); err != nil {
			bad("VOGTER_MAIL_FROM", "an e-mail address")
		}
	}
	return append(faults, c.halfSet()...)
}

// halfSet names what is missing from a group of which something is set.
func (c *Config) halfSet() []error {
	type member struct {
		name string
		set  bool
	}
	var faults []error
	for _, group := range [][]member{
		{
			{"VOGTER_TLS_CERT_FILE", c.TLS.CertFile != ""},
			{"VOGTER_TLS_KEY_FILE", c.TLS.KeyFile != ""},
		},
		{
			{"VOGTER_S3_ENDPOINT", c.S3.Endpoint != ""},
			{"VOGTER_S3_BUCKET", c.S3.Bucket != ""},
			{"VOGTER_S3_ACCESS_KEY", c.S3.AccessKey.IsSet()},
			{"VOGTER_S3_SECRET_KEY", c.S3.SecretKey.IsSet()},
		},
		{
			{"VOGTER_S3_SECOND_ENDPOINT", c.S3Second.Endpoint != ""},
			{"VOGTER_S3_SECOND_BUCKET", c.S3Second.Bucket != ""},
			{"VOGTER_S3_SECOND_ACCESS_KEY", c.S3Second.AccessKey.IsSet()},
			{"VOGTER_S3_SECOND_SECRET_KEY", c.S3Second.SecretKey.IsSet()},
		},
		{
			{"VOGTER_KRATOS_PUBLIC_URL", c.Kratos.PublicURL != ""},
			{"VOGTER_KRATOS_ADMIN_URL", c.Kratos.AdminURL != ""},
		},
		{
			{"VOGTER_HYDRA_PUBLIC_URL", c.Hydra.PublicURL != ""},
			{"VOGTER_HYDRA_ADMIN_URL", c.Hydra.AdminURL != ""},
		},
		{
			{"VOGTER_SMTP_URL", c.Mail.SMTP.IsSet()},
			{"VOGTER_MAIL_FROM", c.Mail.From != ""},
		},
	} {
		first := slices.IndexFunc(group, func(m member) bool { return m.set })
		if first < 0 {
			continue
		}
		for _, m := range group {
			if !m.set {
				faults = append(faults, fmt.Errorf("%s is set but %s is not", group[first].name, m.name))
			}
		}
	}
	if c.S3.CAFile != "" && c.S3.Endpoint == "" {
		faults = append(faults, errors.New("VOGTER_S3_CA_FILE is set but VOGTER_S3_ENDPOINT is not"))
	}
	return faults
}

// production finds what must not be in production.
func (c *Config) production() []error {
	var faults []error
	refuse := func(name, why string) {
		faults = append(faults, fmt.Errorf("%s: %s in production", name, why))
	}
	if c.StepUp != authz.AAL2 {
		refuse("VOGTER_STEP_UP", "one factor for sensitive actions is refused")
	}
	if c.S3Second.Endpoint == "" || (c.S3Second.Endpoint == c.S3.Endpoint && c.S3Second.Bucket == c.S3.Bucket) {
		refuse("VOGTER_S3_SECOND_ENDPOINT", "a second object storage, for the checkpoints of the audit log, is needed")
	}
	if c.KMSFile() != "" {
		refuse("VOGTER_KMS", "the local key file is for development and is refused")
	}
	for _, uri := range []struct {
		name  string
		value SecretString
	}{{"MONGODB_URI", c.MongoDB}, {"VOGTER_KEYSTORE_URI", c.KeyStore}} {
		if m, err := parseMongo(uri.value.Reveal()); err == nil && !m.safe() {
			refuse(uri.name, "a connection that leaves the machine must use verified TLS (tls=true)")
		}
	}
	data, derr := parseMongo(c.MongoDB.Reveal())
	if keys, err := parseMongo(c.KeyStore.Reveal()); err == nil && derr == nil && data.shares(keys) {
		refuse("VOGTER_KEYSTORE_URI", "the key store must be another database than MONGODB_URI, with its own credentials,")
	}
	if u, err := url.Parse(c.Redis.Reveal()); err == nil && u.Scheme != "unix" && !isLoopback(u.Hostname()) &&
		(u.Scheme != "rediss" || u.Query().Has("skip_verify")) {
		refuse("REDIS_URL", "a connection that leaves the machine must use verified TLS (rediss://)")
	}
	for _, s := range []struct{ name, value string }{
		{"VOGTER_S3_ENDPOINT", c.S3.Endpoint},
		{"VOGTER_S3_SECOND_ENDPOINT", c.S3Second.Endpoint},
		{"VOGTER_KRATOS_PUBLIC_URL", c.Kratos.PublicURL},
		{"VOGTER_KRATOS_ADMIN_URL", c.Kratos.AdminURL},
		{"VOGTER_HYDRA_PUBLIC_URL", c.Hydra.PublicURL},
		{"VOGTER_HYDRA_ADMIN_URL", c.Hydra.AdminURL},
	} {
		if s.value != "" && !strings.HasPrefix(s.value, "https://") {
			refuse(s.name, "plain HTTP is refused")
		}
	}
	if u, err := url.Parse(c.Mail.SMTP.Reveal()); err == nil && !isLoopback(u.Hostname()) &&
		(u.Query().Get("disable_starttls") == "true" || u.Query().Get("skip_ssl_verify") == "true") {
		refuse("VOGTER_SMTP_URL", "mail that leaves the machine must use verified TLS")
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && !isLoopback(host) && c.TLS.CertFile == "" && c.TLS.Mode != tlsProxy {
		refuse("VOGTER_LISTEN", "plain HTTP that leaves the machine needs VOGTER_TLS_CERT_FILE, or VOGTER_TLS=proxy behind a proxy that encrypts,")
	}
	if c.TLS.Mode == tlsProxy && c.TrustedProxies == "" {
		refuse("VOGTER_TLS", "proxy without VOGTER_TRUSTED_PROXIES, by which all callers share one address and its limits,")
	}
	if !strings.HasPrefix(c.PublicURL, "https://") {
		refuse("VOGTER_PUBLIC_URL", "an https URL is needed")
	}
	return faults
}

// mongoURI is what the checks need of a MongoDB connection string, which may
// name several hosts and so is no URL that net/url accepts.
type mongoURI struct {
	srv      bool
	user     string
	hosts    []string
	database string
	options  url.Values
}

func parseMongo(uri string) (mongoURI, error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || (scheme != "mongodb" && scheme != "mongodb+srv") {
		return mongoURI{}, errors.New("not a MongoDB URI")
	}
	rest, query, _ := strings.Cut(rest, "?")
	options, err := url.ParseQuery(query)
	if err != nil {
		return mongoURI{}, errors.New("malformed options")
	}
	authority, database, _ := strings.Cut(rest, "/")
	at := strings.LastIndex(authority, "@")
	user, _, _ := strings.Cut(authority[:max(at, 0)], ":")
	hosts := strings.ToLower(authority[at+1:])
	if hosts == "" {
		return mongoURI{}, errors.New("no host")
	}
	return mongoURI{
		srv: scheme == "mongodb+srv", user: user, hosts: strings.Split(hosts, ","), database: database, options: options,
	}, nil
}

// shares reports whether m and o are the same database, or are reached with the
// same user, of one server.
func (m mongoURI) shares(o mongoURI) bool {
	server := slices.ContainsFunc(m.hosts, func(host string) bool { return slices.Contains(o.hosts, host) })
	return server && (m.database != "" && m.database == o.database || m.user != "" && m.user == o.user)
}

// safe reports whether no byte leaves the machine outside verified TLS.
func (m mongoURI) safe() bool {
	tls, verified := m.srv, true
	for name, values := range m.options {
		last := values[len(values)-1]
		switch strings.ToLower(name) {
		case "tls", "ssl":
			tls = last == "true"
		case "tlsinsecure", "sslinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames":
			verified = verified && last != "true"
		}
	}
	outside := slices.ContainsFunc(m.hosts, func(host string) bool {
		if strings.Contains(strings.ToLower(host), "%2f") { // a Unix socket's path
			return false
		}
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		return !isLoopback(strings.Trim(host, "[]"))
	})
	return !outside || (tls && verified)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func isHTTP(s string) bool { return hasScheme(s, "http", "https") }

func hasScheme(s string, schemes ...string) bool {
	u, err := url.Parse(s)
	return err == nil && slices.Contains(schemes, u.Scheme) && (u.Host != "" || u.Scheme == "unix" && u.Path != "")
}

// load puts the content of the file that values[name] points at under the
// name without its ending. Trailing line ends are not part of a secret.
func load(values map[string]string, name string) error {
	plain := strings.TrimSuffix(name, secretFile)
	if values[plain] != "" {
		return fmt.Errorf("%s and %s are both set: give one", plain, name)
	}
	content, err := os.ReadFile(values[name])
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil { // without the path, which may be a misplaced secret
			err = cause
		}
		return fmt.Errorf("%s: read the file: %w", name, err)
	}
	values[plain] = strings.TrimRight(string(content), "\r\n")
	return nil
}

// malformed names the settings that could not be parsed, without their values.
func malformed(err error) error {
	all, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return errors.New("the settings could not be read")
	}
	var faults []error
	for _, e := range all.Errors {
		if p, ok := errors.AsType[env.ParseError](e); ok {
			field := p.Name
			if f, found := reflect.TypeFor[Config]().FieldByName(p.Name); found {
				field = f.Tag.Get("env")
			}
			faults = append(faults, fmt.Errorf("%s is malformed", field))
		}
	}
	return errors.Join(faults...)
}

// collect notes the name of every setting of t and whether it is a secret.
func collect(t reflect.Type, known map[string]bool) {
	walk(reflect.New(t).Elem(), func(name string, v reflect.Value) {
		known[name] = v.Type() == reflect.TypeFor[SecretString]()
	})
}

// walk visits the settings of a Config and of its groups.
func walk(v reflect.Value, visit func(name string, v reflect.Value)) {
	for field, value := range v.Fields() {
		if name := field.Tag.Get("env"); name != "" {
			visit(name, value)
		} else {
			walk(value, visit)
		}
	}
}
