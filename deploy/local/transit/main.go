// Command transit serves the transit engine of HashiCorp Vault 1.14.1, the last
// line under the MPL, in memory and over TLS, behind one token: what the tests
// of internal/kms/transit run against on request. It prints what they read from
// their environment and ends with its standard input.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/helper/logging"
	"github.com/hashicorp/vault/sdk/logical"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "transit:", err)
		os.Exit(1)
	}
}

func run() error {
	storage := &logical.InmemStorage{}
	engine, err := transit.Factory(context.Background(), &logical.BackendConfig{
		StorageView: storage, System: &logical.StaticSystemView{}, Logger: logging.NewVaultLoggerWithWriter(os.Stderr, 5),
	})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "transit")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cert, key, err := certificate(dir)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	token := rand.Text()
	server := &http.Server{Handler: serve(engine, storage, token), ReadHeaderTimeout: time.Minute}
	go server.ServeTLS(l, cert, key)
	fmt.Printf("VOGTER_TEST_TRANSIT=https://%s/transit\nVOGTER_TEST_TRANSIT_TOKEN=%s\nVOGTER_TEST_TRANSIT_CA_FILE=%s\n",
		l.Addr(), token, cert)
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, server.Close())
}

// serve is the part of Vault's HTTP layer that the engine needs: a request
// becomes an operation, the engine's answer a status, by Vault's own rules.
func serve(engine logical.Backend, storage logical.Storage, token string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != token {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
			return
		}
		req := &logical.Request{
			Operation: logical.ReadOperation, Path: strings.TrimPrefix(r.URL.Path, "/v1/transit/"), Storage: storage,
		}
		if r.Method != http.MethodGet {
			req.Operation = logical.UpdateOperation
			if err := json.NewDecoder(r.Body).Decode(&req.Data); err != nil && !errors.Is(err, io.EOF) {
				http.Error(w, `{"errors":["not JSON"]}`, http.StatusBadRequest)
				return
			}
			checked, exists, err := engine.HandleExistenceCheck(r.Context(), req)
			if err == nil && checked && !exists {
				req.Operation = logical.CreateOperation
			}
		}
		res, err := engine.HandleRequest(r.Context(), req)
		if status, err := logical.RespondErrorCommon(req, res, err); status != 0 {
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{fmt.Sprint(err)}})
			return
		}
		if res == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": res.Data})
	})
}

// certificate makes a certificate for this machine in dir.
func certificate(dir string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "transit"}, NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	return cert, key, errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}
