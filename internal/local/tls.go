package local

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	backdate = time.Hour // clocks of the same machine can step back
)

// certificates are the absolute paths of what TLS on loopback needs.
type certificates struct {
	CA, Cert, Key string
}

// loadCertificates returns a server certificate for loopback, made anew at each
// start by a CA that lives as long as the folder.
func loadCertificates(dir string, now time.Time) (certificates, error) {
	c := certificates{
		CA:   filepath.Join(dir, "ca.pem"),
		Cert: filepath.Join(dir, "server.pem"),
		Key:  filepath.Join(dir, "server.key"),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return c, fmt.Errorf("make the folder of certificates: %w", err)
	}
	caKey := filepath.Join(dir, "ca.key")
	ca, err := tls.LoadX509KeyPair(c.CA, caKey)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = issue(c.CA, caKey, &x509.Certificate{
			Subject:  pkix.Name{CommonName: "Vogter on this machine"},
			NotAfter: now.Add(caLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}, nil, nil, now)
		if err == nil {
			ca, err = tls.LoadX509KeyPair(c.CA, caKey)
		}
	case err == nil && now.Add(leafLife).After(ca.Leaf.NotAfter):
		err = fmt.Errorf("the local CA expires on %s: remove %s and start again", ca.Leaf.NotAfter.Format(time.DateOnly), dir)
	}
	if err != nil {
		return c, fmt.Errorf("load the local CA: %w", err)
	}
	return c, issue(c.Cert, c.Key, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "localhost"},
		NotAfter:    now.Add(leafLife),
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca.Leaf, ca.PrivateKey, now)
}

// issue writes a new key and its certificate, signed by parent or, without one, by itself.
func issue(certPath, keyPath string, c, parent *x509.Certificate, signer crypto.PrivateKey, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	if parent == nil {
		parent, signer = c, key
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return fmt.Errorf("make a serial number: %w", err)
	}
	c.NotBefore = now.Add(-backdate)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		return fmt.Errorf("sign a certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	// The key first: a certificate on disk always has its key.
	return errors.Join(
		writeFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		writeFile(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	)
}

// certPool is the CA of a PEM file.
func certPool(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("read the CA: no certificate in %s", path)
	}
	return pool, nil
}
