package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/template"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/go-jose/go-jose/v4"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/config"
	"github.com/vogter/vogter/internal/embedded/mongod"
	"github.com/vogter/vogter/internal/local/mailsink"
)

const (
	bucket       = "vogter"
	mailFrom     = "no-reply@vogter.example"
	stopGrace    = 10 * time.Second
	redisTick    = 250 * time.Millisecond
	probeTimeout = 5 * time.Second
)

// planStore plans the two document engines: keys never share a folder, a
// process or a transaction with data.
func (b *setup) planStore(context.Context) error {
	for _, engine := range []struct {
		name, title string
		uri         *config.SecretString
	}{
		{PartData, "document engine, data", &b.cfg.MongoDB},
		{PartKeys, "document engine, keys", &b.cfg.KeyStore},
	} {
		if engine.uri.IsSet() {
			continue
		}
		socket := filepath.Join(b.sockets, engine.name+".sock")
		child, err := b.child(engine.name, &process{
			argv:  []string{b.opts.Binary, "engine", "--dir", b.path(engine.name), "--listen", "unix:" + socket},
			env:   b.ownEnviron(),
			grace: stopGrace,
			// It listens once its data is open; the API's readiness asks it more.
			ready: func(ctx context.Context) error { return dial(ctx, "unix", socket) },
		})
		if err != nil {
			return err
		}
		*engine.uri = config.NewSecret(mongod.URI(addressed{address: &net.UnixAddr{Name: socket, Net: "unix"}}))
		b.dependencies = append(b.dependencies, single(engine.title, child))
	}
	return nil
}

// addressed is the address of a listener in another process.
type addressed struct {
	net.Listener
	address net.Addr
}

func (a addressed) Addr() net.Addr { return a.address }

// planRedis plans Debian's Redis, or a stand-in in this process where it is absent.
func (b *setup) planRedis(ctx context.Context) error {
	if b.cfg.Redis.IsSet() {
		return nil
	}
	if err := install(ctx, b.stack.console, "redis-server", "redis-server"); err != nil {
		b.stack.console.say("%v; an in-process stand-in takes its place, slower and forgetting at a stop, which loses no job", err)
		return b.miniredis()
	}
	socket, dir := filepath.Join(b.sockets, "redis.sock"), b.path("redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of Redis: %w", err)
	}
	b.cfg.Redis = config.NewSecret((&url.URL{Scheme: "unix", Path: socket}).String())
	options, err := redis.ParseURL(b.cfg.Redis.Reveal())
	if err != nil {
		return fmt.Errorf("make the address of Redis: %w", err)
	}
	child, err := b.child(PartRedis, &process{
		argv: []string{
			"redis-server", "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", dir,
			"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
		},
		env:   foreignEnviron(),
		grace: stopGrace,
		ready: func(ctx context.Context) (err error) {
			client := redis.NewClient(options)
			defer func() { err = errors.Join(err, client.Close()) }()
			return client.Ping(ctx).Err() // fails while the file is loading
		},
	})
	if err != nil {
		return err
	}
	b.dependencies = append(b.dependencies, single("Redis", child))
	return nil
}

// miniredis starts the stand-in, whose clock must be moved from outside.
func (b *setup) miniredis() error {
	server := miniredis.NewMiniRedis()
	server.RequireAuth(b.secrets.Redis)
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return fmt.Errorf("start the stand-in for Redis: %w", err)
	}
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(redisTick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				server.FastForward(redisTick)
			case <-stop:
				return
			}
		}
	}()
	b.onStop(func() error {
		close(stop)
		server.Close()
		return nil
	})
	b.cfg.Redis = config.NewSecret((&url.URL{Scheme: "redis", User: url.UserPassword("", b.secrets.Redis), Host: server.Addr()}).String())
	return nil
}

// planS3 plans versitygw over TLS and its bucket.
func (b *setup) planS3(ctx context.Context) error {
	if b.cfg.S3.Endpoint != "" {
		return nil
	}
	binary, err := b.build(ctx, versitygwProgram())
	if err != nil {
		return err
	}
	certs, err := loadCertificates(b.path("tls"), b.opts.Now())
	if err != nil {
		return err
	}
	data, versions := b.path("s3", "data"), b.path("s3", "versions")
	for _, dir := range []string{data, versions} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the folder of objects: %w", err)
		}
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(b.s3Port))
	b.cfg.S3 = config.S3{
		Endpoint: "https://" + address, Region: b.cfg.S3.Region, Bucket: bucket, CAFile: certs.CA,
		AccessKey: config.NewSecret(b.secrets.S3AccessKey), SecretKey: config.NewSecret(b.secrets.S3SecretKey),
	}
	child, err := b.child(PartS3, &process{
		// Every path is absolute: the server changes into its data folder before it reads the others.
		argv: []string{
			binary, "--port", address, "--cert", certs.Cert, "--key", certs.Key, "--region", b.cfg.S3.Region, "--quiet", "--keep-alive",
			"posix", "--dir-perms", "0700", "--file-perms", "0600", "--versioning-dir", versions, data,
		},
		env: append(foreignEnviron(),
			"ROOT_ACCESS_KEY="+b.secrets.S3AccessKey, "ROOT_SECRET_KEY="+b.secrets.S3SecretKey),
		grace: stopGrace,
		ready: func(ctx context.Context) error { return makeBucket(ctx, b.cfg.S3) },
	})
	if err != nil {
		return err
	}
	b.dependencies = append(b.dependencies, single("object storage", child))
	return nil
}

// makeBucket makes the bucket with versions and object lock unless it exists.
func makeBucket(ctx context.Context, s3 config.S3) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	endpoint, err := url.Parse(s3.Endpoint)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	transport, err := minio.DefaultTransport(true)
	if err != nil {
		return fmt.Errorf("prepare TLS: %w", err)
	}
	defer transport.CloseIdleConnections()
	if transport.TLSClientConfig.RootCAs, err = certPool(s3.CAFile); err != nil {
		return err
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(s3.AccessKey.Reveal(), s3.SecretKey.Reveal(), ""),
		Secure: true, Region: s3.Region, Transport: transport, MaxRetries: 1,
	})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	exists, err := client.BucketExists(ctx, s3.Bucket)
	if err != nil {
		return fmt.Errorf("look for the bucket: %w", err)
	}
	if exists {
		return nil
	}
	if err := client.MakeBucket(ctx, s3.Bucket, minio.MakeBucketOptions{Region: s3.Region, ObjectLocking: true}); err != nil {
		return fmt.Errorf("make the bucket: %w", err)
	}
	return nil
}

// planMail plans the mail sink, which runs in this process.
func (b *setup) planMail(context.Context) error {
	if b.cfg.Mail.SMTP.IsSet() {
		return nil
	}
	b.cfg.Mail = config.Mail{
		SMTP: config.NewSecret("smtp://" + b.smtp.Addr().String() + "/?disable_starttls=true"),
		From: mailFrom,
	}
	b.stack.env.Mail = "http://" + b.mailPage.Addr().String()
	b.dependencies = append(b.dependencies, part{title: "mail sink", start: func(ctx context.Context) (func() error, error) {
		sink := mailsink.New(b.opts.Logger, b.opts.Now)
		page := &http.Server{Handler: sink.Handler(), ReadHeaderTimeout: probeTimeout}
		life, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 2)
		go func() { ended <- sink.ServeSMTP(life, b.smtp) }()
		go func() {
			err := page.Serve(b.mailPage)
			if errors.Is(err, http.ErrServerClosed) {
				err = nil
			}
			ended <- err
		}()
		return func() error {
			cancel()
			return errors.Join(page.Close(), <-ended, <-ended)
		}, nil
	}})
	return nil
}

// planKratos plans the identity server.
func (b *setup) planKratos(ctx context.Context) error {
	if b.cfg.Kratos.PublicURL != "" {
		return nil
	}
	source, err := b.root()
	if err != nil {
		return err
	}
	public, admin := loopback(b.kratosPorts[0]), loopback(b.kratosPorts[1])
	b.cfg.Kratos = config.Kratos{PublicURL: public, AdminURL: admin}
	ready := func(ctx context.Context) error { return get(ctx, admin+"/health/ready") }
	return b.planOry(ctx, kratosProgram(), ready, []string{"serve", "--watch-courier"}, map[string]any{
		"PublicURL":    public + "/",
		"PublicPort":   b.kratosPorts[0],
		"AdminURL":     admin + "/",
		"AdminPort":    b.kratosPorts[1],
		"AppURL":       b.cfg.URL() + "/",
		"CookieSecret": b.secrets.KratosCookie,
		"CipherSecret": b.secrets.KratosCipher,
		"SchemaURL":    "file://" + filepath.Join(source, "deploy", "local", "kratos", "identity.schema.json"),
		"SMTP":         b.cfg.Mail.SMTP.Reveal(),
		"MailFrom":     b.cfg.Mail.From,
	})
}

// planHydra plans the authorization server.
func (b *setup) planHydra(ctx context.Context) error {
	if b.cfg.Hydra.PublicURL != "" {
		return nil
	}
	public, admin := loopback(b.hydraPorts[0]), loopback(b.hydraPorts[1])
	b.cfg.Hydra = config.Hydra{PublicURL: public, AdminURL: admin}
	ready := func(ctx context.Context) error {
		if err := get(ctx, admin+"/health/ready"); err != nil {
			return err
		}
		return SigningKeys(ctx, admin)
	}
	return b.planOry(ctx, hydraProgram(), ready, []string{"serve", "all"}, map[string]any{
		"PublicURL":    public,
		"PublicPort":   b.hydraPorts[0],
		"AdminURL":     admin,
		"AdminPort":    b.hydraPorts[1],
		"SystemSecret": b.secrets.HydraSystem,
		"CookieSecret": b.secrets.HydraCookie,
	})
}

// SigningKeys gives a fresh Hydra the keys that it signs tokens with. Left to
// itself it makes longer ones while the first client waits for a token, which on
// a busy machine takes so long that it hangs up.
func SigningKeys(ctx context.Context, admin string) error {
	const bits = 2048
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	for _, set := range []string{"hydra.jwt.access-token", "hydra.openid.id-token"} {
		status, err := signingKeys(ctx, http.MethodGet, admin+"/admin/keys/"+set, nil)
		if err != nil {
			return err
		}
		if status == http.StatusOK {
			continue
		}
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return fmt.Errorf("make a signing key: %w", err)
		}
		body, err := json.Marshal(jose.JSONWebKeySet{
			Keys: []jose.JSONWebKey{{Key: key, KeyID: rand.Text(), Algorithm: string(jose.RS256), Use: "sig"}},
		})
		if err != nil {
			return fmt.Errorf("encode a signing key: %w", err)
		}
		if _, err := signingKeys(ctx, http.MethodPut, admin+"/admin/keys/"+set, body); err != nil {
			return err
		}
	}
	return nil
}

// signingKeys answers 200, or 404 to who looks for what isn't there; any other
// status is an error.
func signingKeys(ctx context.Context, method, address string, body []byte) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("ask Hydra for signing keys: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask Hydra for signing keys: %w", err)
	}
	if err := response.Body.Close(); err != nil {
		return 0, fmt.Errorf("ask Hydra for signing keys: %w", err)
	}
	if response.StatusCode != http.StatusOK && (method != http.MethodGet || response.StatusCode != http.StatusNotFound) {
		return 0, fmt.Errorf("ask Hydra for signing keys: %s", response.Status)
	}
	return response.StatusCode, nil
}

func loopback(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

// planOry plans a server of Ory's with its own SQLite file.
func (b *setup) planOry(ctx context.Context, p program, ready func(context.Context) error, serve []string, settings map[string]any) error {
	binary, err := b.build(ctx, p)
	if err != nil {
		return err
	}
	dsn := "sqlite://" + b.path(p.name, p.name+".sqlite") + "?_fk=true&mode=rwc&_journal_mode=WAL&_busy_timeout=5000"
	settings["DSN"] = dsn
	path := b.path(p.name, p.name+".yml")
	if err := b.fill(filepath.Join("deploy", "local", p.name, p.name+".yml.tmpl"), path, settings); err != nil {
		return err
	}
	env := append(foreignEnviron(), "GOGC=20") // Kratos' memory grows sixfold otherwise
	child, err := b.child(p.name, &process{
		argv:  append(append([]string{binary}, serve...), "-c", path, "--dev", "--sqa-opt-out"),
		env:   env,
		grace: stopGrace,
		ready: ready,
	})
	if err != nil {
		return err
	}
	b.dependencies = append(b.dependencies, part{title: p.title, start: func(ctx context.Context) (func() error, error) {
		migrate := []string{binary, "migrate", "sql", "-e", "--yes", "-c", path}
		if err := child.once(ctx, migrate, append(slices.Clone(env), "DSN="+dsn)); err != nil {
			return nil, fmt.Errorf("migrate the database of %s: %w", p.title, err)
		}
		if err := child.start(ctx); err != nil {
			return nil, err
		}
		return child.stop, nil
	}})
	return nil
}

// fill fills in a template of the repository.
func (b *setup) fill(source, path string, values map[string]any) error {
	t, err := template.New(filepath.Base(source)).
		Funcs(template.FuncMap{"json": func(v any) (string, error) {
			text, err := json.Marshal(v)
			return string(text), err
		}}).
		Option("missingkey=error").
		ParseFiles(filepath.Join(b.source, source))
	if err != nil {
		return fmt.Errorf("read %s: %w", source, err)
	}
	var text bytes.Buffer
	if err := t.Execute(&text, values); err != nil {
		return fmt.Errorf("fill in %s: %w", source, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the folder of %s: %w", path, err)
	}
	return writeFile(path, text.Bytes())
}

// product is the API and the worker, with the settings that all other parts led to.
func (b *setup) product() ([]part, error) {
	env := append(b.ownEnviron(), b.cfg.Environ()...)
	grace := b.cfg.ShutdownGrace + stopGrace
	api, err := b.child(PartAPI, &process{
		argv: []string{b.opts.Binary, "serve"}, env: env, grace: grace,
		ready: func(ctx context.Context) error { return get(ctx, b.stack.env.API+"/readyz") },
	})
	if err != nil {
		return nil, err
	}
	worker, err := b.child(PartWorker, &process{argv: []string{b.opts.Binary, "worker"}, env: env, grace: grace})
	if err != nil {
		return nil, err
	}
	return []part{single("API", api), single("worker", worker)}, nil
}

// build returns the path of a program of deploy/local.
func (b *setup) build(ctx context.Context, p program) (string, error) {
	source, err := b.root()
	if err != nil {
		return "", err
	}
	return p.build(ctx, b.stack.console, source)
}

// single is the part that is one child.
func single(title string, p *process) part {
	return part{title: title, start: func(ctx context.Context) (func() error, error) {
		if err := p.start(ctx); err != nil {
			return nil, err
		}
		return p.stop, nil
	}}
}

// dial succeeds when something listens.
func dial(ctx context.Context, network, address string) error {
	conn, err := (&net.Dialer{Timeout: probeTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// get succeeds on the status 200.
func get(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask %s: %w", address, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", address, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 512))
		return fmt.Errorf("ask %s: %s %s", address, response.Status, bytes.TrimSpace(body))
	}
	return nil
}
