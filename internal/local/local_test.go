package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/smtp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/config"
	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/local/mailsink"
)

var children = []string{
	local.PartData, local.PartKeys, local.PartRedis, local.PartS3, local.PartKratos, local.PartHydra, local.PartAPI, local.PartWorker,
}

// seed is one tenant, so that ready.json has something to say.
func seed(context.Context, local.Env) (local.Ready, error) {
	return local.Ready{Tenants: []local.Tenant{{
		ID: "ten_a", Name: "A", APIKey: "vgt_a",
		Members: []local.Member{{Email: "owner@a.example", Password: "a long password", Role: "OWNER"}},
	}}}, nil
}

func in(dir string) local.Options {
	return local.Options{Dir: dir, Seed: seed, Now: time.Now}
}

func start(t *testing.T, opts local.Options) *local.Stack {
	t.Helper()
	var out bytes.Buffer
	opts.Out = &out
	s, err := local.Start(t.Context(), opts)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStack(t *testing.T) {
	dir := t.TempDir() // its path is longer than a socket's may be on some machines
	s := start(t, in(dir))
	pids := make(map[string]int)
	for _, part := range children {
		if pids[part] = s.PID(part); !alive(pids[part]) {
			t.Errorf("%s does not run", part)
		}
	}

	t.Run("ready.json", func(t *testing.T) { checkReadyFile(t, s) })
	t.Run("document engines", func(t *testing.T) { checkEngines(t, s) })
	t.Run("redis", func(t *testing.T) { checkRedis(t, s) })
	t.Run("object storage", func(t *testing.T) { checkS3(t, s) })
	t.Run("kratos", func(t *testing.T) { checkKratos(t, s) })
	t.Run("hydra", func(t *testing.T) { checkHydra(t, s) })
	t.Run("mail", func(t *testing.T) { checkMail(t, s) })
	t.Run("files are the owner's", func(t *testing.T) { checkModes(t, dir) })

	t.Run("a second supervisor in the folder", func(t *testing.T) {
		_, err := local.Start(t.Context(), in(dir))
		if err == nil || !strings.Contains(err.Error(), "another `vogter local` runs in") {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "ready.json")); err != nil {
			t.Errorf("it disturbed the first: %v", err)
		}
	})

	t.Run("a killed part comes back", func(t *testing.T) {
		for _, part := range []string{local.PartWorker, local.PartWorker, local.PartData} {
			old := s.PID(part)
			if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { pids[part] = s.PID(part); return pids[part] != old && alive(pids[part]) })
		}
		checkEngines(t, s)
	})

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for part, pid := range pids {
		if alive(pid) {
			t.Errorf("%s still runs", part)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ready.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ready.json after the stop: %v", err)
	}

	began := time.Now()
	second := start(t, in(dir))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the second start took %s", took)
	}
	if second.Env().Config.S3.SecretKey != s.Env().Config.S3.SecretKey {
		t.Error("the second start made new secrets")
	}
	client := s3Client(t, second.Env().Config.S3)
	if _, err := client.StatObject(t.Context(), "vogter", "a", minio.StatObjectOptions{}); err != nil {
		t.Errorf("the object of the first start: %v", err)
	}
	checkEngines(t, second)
}

func checkReadyFile(t *testing.T, s *local.Stack) {
	t.Helper()
	path := filepath.Join(s.Env().Dir, "ready.json")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	var got any
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	env := s.Env()
	want := map[string]any{
		"graphql": env.API + "/graphql", "api": env.API, "mail": env.Mail, "s3": env.Config.S3.Endpoint,
		"oauth": env.Config.Hydra.PublicURL,
		"tenants": []any{map[string]any{
			"id": "ten_a", "name": "A", "apiKey": "vgt_a",
			"members": []any{map[string]any{"email": "owner@a.example", "password": "a long password", "role": "OWNER"}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func checkEngines(t *testing.T, s *local.Stack) {
	t.Helper()
	cfg := s.Env().Config
	for name, uri := range map[string]config.SecretString{"data": cfg.MongoDB, "keys": cfg.KeyStore} {
		client, err := mongo.Connect(options.Client().ApplyURI(uri.Reveal()))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Disconnect(t.Context()) //nolint:errcheck // the end of the test
		_, err = client.Database("test").Collection("starts").InsertOne(t.Context(), bson.D{{Key: "engine", Value: name}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n, err := client.Database("test").Collection("starts").CountDocuments(t.Context(), bson.D{{Key: "engine", Value: bson.D{{Key: "$ne", Value: name}}}})
		if err != nil || n != 0 {
			t.Errorf("%s: %d documents of the other engine, %v", name, n, err)
		}
	}
}

func checkRedis(t *testing.T, s *local.Stack) {
	t.Helper()
	opts, err := redis.ParseURL(s.Env().Config.Redis.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	defer client.Close()
	for setting, want := range map[string]string{"appendonly": "yes", "maxmemory-policy": "noeviction", "save": "", "port": "0"} {
		got, err := client.ConfigGet(t.Context(), setting).Result()
		if err != nil || got[setting] != want {
			t.Errorf("%s is %q, want %q (%v)", setting, got[setting], want, err)
		}
	}
}

func s3Client(t *testing.T, s3 config.S3) *minio.Client {
	t.Helper()
	transport, err := minio.DefaultTransport(true)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(s3.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(ca) {
		t.Fatal("no CA")
	}
	client, err := minio.New(strings.TrimPrefix(s3.Endpoint, "https://"), &minio.Options{
		Creds: credentials.NewStaticV4(s3.AccessKey.Reveal(), s3.SecretKey.Reveal(), ""), Secure: true, Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func checkS3(t *testing.T, s *local.Stack) {
	t.Helper()
	client := s3Client(t, s.Env().Config.S3)
	info, err := client.PutObject(t.Context(), "vogter", "a", strings.NewReader("sealed"), 6, minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if info.VersionID == "" {
		t.Error("the bucket keeps no versions")
	}
	if _, _, _, _, err := client.GetObjectLockConfig(t.Context(), "vogter"); err != nil {
		t.Errorf("the bucket has no object lock: %v", err)
	}
}

func checkKratos(t *testing.T, s *local.Stack) {
	t.Helper()
	kratos := s.Env().Config.Kratos
	body := `{"schema_id":"person","traits":{"email":"member@a.example"},"credentials":{"password":{"config":{"password":"a long password"}}}}`
	post(t, kratos.AdminURL+"/admin/identities", body, http.StatusCreated)
	flow := get(t, kratos.PublicURL+"/self-service/login/api")
	var login struct {
		UI struct{ Action string }
	}
	if err := json.Unmarshal(flow, &login); err != nil {
		t.Fatal(err)
	}
	session := post(t, login.UI.Action, `{"method":"password","identifier":"member@a.example","password":"a long password"}`, http.StatusOK)
	var token struct {
		SessionToken string `json:"session_token"`
	}
	if err := json.Unmarshal(session, &token); err != nil || token.SessionToken == "" {
		t.Errorf("no session token: %v", err)
	}
	// A recovery code leaves by mail.
	flow = get(t, kratos.PublicURL+"/self-service/recovery/api")
	if err := json.Unmarshal(flow, &login); err != nil {
		t.Fatal(err)
	}
	post(t, login.UI.Action, `{"method":"code","email":"member@a.example"}`, http.StatusOK)
	eventually(t, func() bool {
		return slices.ContainsFunc(mails(t, s), func(m mailsink.Message) bool { return slices.Equal(m.To, []string{"member@a.example"}) })
	})
}

// checkHydra gets a token and has it looked up.
func checkHydra(t *testing.T, s *local.Stack) {
	t.Helper()
	hydra := s.Env().Config.Hydra
	post(t, hydra.AdminURL+"/admin/clients",
		`{"client_id":"a","client_secret":"a-long-secret","grant_types":["client_credentials"],"scope":"a"}`, http.StatusCreated)
	form := func(address string, values url.Values) (answer map[string]any) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(values.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.SetBasicAuth("a", "a-long-secret")
		if err := json.Unmarshal(do(t, request, http.StatusOK), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	token, _ := form(hydra.PublicURL+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}})["access_token"].(string)
	if said := form(hydra.AdminURL+"/admin/oauth2/introspect", url.Values{"token": {token}}); said["active"] != true || said["client_id"] != "a" {
		t.Errorf("the token says %v", said)
	}
}

func mails(t *testing.T, s *local.Stack) []mailsink.Message {
	t.Helper()
	var list []mailsink.Message
	if err := json.Unmarshal(get(t, s.Env().Mail+"/messages"), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func checkMail(t *testing.T, s *local.Stack) {
	t.Helper()
	u, err := url.Parse(s.Env().Config.Mail.SMTP.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	err = smtp.SendMail(u.Host, nil, "no-reply@vogter.example", []string{"reader@a.example"},
		[]byte("From: no-reply@vogter.example\r\nTo: reader@a.example\r\nSubject: Hello\r\n\r\nGood day\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(mails(t, s), func(m mailsink.Message) bool { return m.Subject == "Hello" }) {
		t.Error("the mail was not captured")
	}
	if page := string(get(t, s.Env().Mail+"/")); !strings.Contains(page, "Good day") {
		t.Error("the mail is not on the page")
	}
}

// checkModes finds what others could read in the folder.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"secrets.json", "tls/ca.key", "tls/server.key", "kratos/kratos.yml", "logs/kratos.log", "hydra/hydra.yml"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestNoOrphans(t *testing.T) {
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		clean  bool
	}{
		{"killed with -9", syscall.SIGKILL, false},
		{"told to stop", syscall.SIGTERM, true},
		{"Ctrl-C", syscall.SIGINT, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			supervisor := exec.CommandContext(t.Context(), os.Args[0], "supervise", dir)
			var stderr bytes.Buffer
			supervisor.Stderr = &stderr
			if err := supervisor.Start(); err != nil {
				t.Fatal(err)
			}
			ready := filepath.Join(dir, "ready.json")
			eventually(t, func() bool {
				if !alive(supervisor.Process.Pid) {
					t.Fatalf("the supervisor ended: %v: %s", supervisor.Wait(), stderr.String())
				}
				_, err := os.Stat(ready)
				return err == nil
			})
			pids := descendants(t, supervisor.Process.Pid)
			if len(pids) != len(children) {
				t.Errorf("%d children, want %d", len(pids), len(children))
			}
			if err := supervisor.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			err := supervisor.Wait()
			if tt.clean && err != nil {
				t.Errorf("%v: %s", err, stderr.String())
			}
			eventually(t, func() bool { return !slices.ContainsFunc(pids, alive) })
			if _, err := os.Stat(ready); tt.clean && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("ready.json after the stop: %v", err)
			}
		})
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("no TCP address")
	}
	for _, tt := range []struct {
		ports     local.Ports
		env, flag string
	}{
		{local.Ports{API: address.Port}, "VOGTER_LOCAL_PORT_API", "--port-api"},
		{local.Ports{Mail: address.Port}, "VOGTER_LOCAL_PORT_MAIL", "--port-mail"},
		{local.Ports{SMTP: address.Port}, "VOGTER_LOCAL_PORT_SMTP", "--port-smtp"},
		{local.Ports{S3: address.Port}, "VOGTER_LOCAL_PORT_S3", "--port-s3"},
		{local.Ports{KratosPublic: address.Port}, "VOGTER_LOCAL_PORT_KRATOS_PUBLIC", "--port-kratos-public"},
		{local.Ports{KratosAdmin: address.Port}, "VOGTER_LOCAL_PORT_KRATOS_ADMIN", "--port-kratos-admin"},
		{local.Ports{HydraPublic: address.Port}, "VOGTER_LOCAL_PORT_HYDRA_PUBLIC", "--port-hydra-public"},
		{local.Ports{HydraAdmin: address.Port}, "VOGTER_LOCAL_PORT_HYDRA_ADMIN", "--port-hydra-admin"},
	} {
		t.Run(tt.flag, func(t *testing.T) {
			opts := in(t.TempDir())
			opts.Ports = tt.ports
			_, err := local.Start(t.Context(), opts)
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range []string{strconv.Itoa(address.Port) + " is taken", tt.env, tt.flag} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not name %s", err, want)
				}
			}
		})
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, environ, want string }{
		{"half of S3", "VOGTER_S3_ENDPOINT=https://s3.example", "VOGTER_S3_BUCKET is not"},
		{"unknown", "VOGTER_TYPO=1", "VOGTER_TYPO is not a setting"},
		{"production", "VOGTER_MODE=production", "VOGTER_MODE is production"},
		{"address", "VOGTER_LISTEN=0.0.0.0:80", "VOGTER_LISTEN is for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := in(t.TempDir())
			opts.Environ = []string{tt.environ}
			if _, err := local.Start(t.Context(), opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestReplacedParts(t *testing.T) {
	whole := start(t, in(t.TempDir()))
	opts := in(t.TempDir())
	cfg := whole.Env().Config
	opts.Environ = slices.DeleteFunc(cfg.Environ(), func(s string) bool { return strings.HasPrefix(s, "VOGTER_LISTEN=") })
	s := start(t, opts)
	for _, part := range children {
		own := part == local.PartAPI || part == local.PartWorker
		if (s.PID(part) != 0) != own {
			t.Errorf("%s has process id %d", part, s.PID(part))
		}
	}
	if s.Env().Mail != "" {
		t.Errorf("mail is shown at %s though it goes elsewhere", s.Env().Mail)
	}
	want := cfg
	want.Listen = s.Env().Config.Listen
	if got := s.Env().Config; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestFailedSeedStopsEverything(t *testing.T) {
	var pids []int
	opts := in(t.TempDir())
	opts.Seed = func(context.Context, local.Env) (local.Ready, error) {
		pids = descendants(t, os.Getpid())
		return local.Ready{}, errors.New("no data")
	}
	_, err := local.Start(t.Context(), opts)
	if err == nil || !strings.Contains(err.Error(), "fill in the demo data: no data") {
		t.Errorf("got %v", err)
	}
	if len(pids) < len(children) || slices.ContainsFunc(pids, alive) {
		t.Errorf("of %d children some still run", len(pids))
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	if pid == 0 {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := status[bytes.LastIndexByte(status, ')')+2]
	return state != 'Z' && state != 'X'
}

// descendants are the processes below pid that run.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(content)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, child)
			pids = append(pids, descendants(t, child)...)
		}
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return !alive(pid) })
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

func get(t *testing.T, address string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, request, http.StatusOK)
}

func post(t *testing.T, address, body string, want int) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return do(t, request, want)
}

func do(t *testing.T, request *http.Request, want int) []byte {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != want {
		t.Fatalf("%s: %s\n%s", request.URL, response.Status, body)
	}
	return body
}
