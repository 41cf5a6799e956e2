// Package s3 starts versitygw, the object storage of one machine, for tests:
// the real server, over TLS, in a process of its own.
package s3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/testenv"
)

const (
	region       = "us-east-1"
	readyTimeout = 30 * time.Second
)

// Server is a running server.
type Server struct {
	Config blob.Config // without a bucket
	Dir    string      // the folder in which every object lies as a file
}

// Start starts a server, which is built first where it isn't yet, and stops it
// when the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		tb.Fatal("find the repository")
	}
	source := filepath.Join(filepath.Dir(self), "..", "..", "..")
	binary, err := local.ObjectServer(tb.Context(), source, tb.Output(), testenv.Now)
	if err != nil {
		tb.Fatalf("build versitygw: %v", err)
	}
	dir := tb.TempDir()
	cert, key := certificate(tb, dir)
	data, versions := filepath.Join(dir, "data"), filepath.Join(dir, "versions")
	for _, d := range []string{data, versions} {
		if err := os.Mkdir(d, 0o700); err != nil {
			tb.Fatalf("make folder: %v", err)
		}
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(tb)))
	access, secret := rand.Text(), rand.Text()
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), binary, //nolint:gosec // our own binary and paths
		"--port", address, "--cert", cert, "--key", key, "--region", region, "--quiet", "--keep-alive",
		"posix", "--dir-perms", "0700", "--file-perms", "0600", "--versioning-dir", versions, data)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+access, "ROOT_SECRET_KEY="+secret)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start versitygw: %v", err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var dialer net.Dialer
	for deadline := testenv.Now().Add(readyTimeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := dialer.DialContext(tb.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			break
		}
		if testenv.Now().After(deadline) {
			tb.Fatalf("versitygw isn't ready: %v", err)
		}
	}
	return &Server{
		Config: blob.Config{Endpoint: "https://" + address, Region: region, AccessKey: access, SecretKey: secret, CAFile: cert},
		Dir:    dir,
	}
}

// Bucket returns a new bucket of the server.
func (s *Server) Bucket(tb testing.TB) *blob.Bucket {
	tb.Helper()
	c := s.Config
	c.Bucket = "test-" + strings.ToLower(rand.Text())
	b, err := blob.New(c)
	if err != nil {
		tb.Fatalf("open bucket: %v", err)
	}
	if err := b.Ensure(tb.Context()); err != nil {
		tb.Fatalf("make bucket: %v", err)
	}
	return b
}

// Contains returns the paths of the server's files that hold needle.
func (s *Server) Contains(tb testing.TB, needle string) []string {
	tb.Helper()
	var found []string
	err := filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // below the test's own folder
		if strings.Contains(string(content), needle) || strings.Contains(d.Name(), needle) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		tb.Fatalf("scan objects: %v", err)
	}
	return found
}

func freePort(tb testing.TB) int {
	tb.Helper()
	var config net.ListenConfig
	l, err := config.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		tb.Fatalf("find a free port: %v", l.Addr())
	}
	return a.Port
}

// certificate writes a self-signed certificate for loopback and returns its paths.
func certificate(tb testing.TB, dir string) (cert, key string) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("make key: %v", err)
	}
	now := testenv.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		tb.Fatalf("make certificate: %v", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatalf("encode key: %v", err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			tb.Fatalf("write %s: %v", path, err)
		}
	}
	return cert, key
}
