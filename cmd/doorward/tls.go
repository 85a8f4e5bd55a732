package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"sync"
	"time"

	"doorward/internal/oauth"
)

// TLSConfig ends TLS here instead of at an ingress in front.
type TLSConfig struct {
	// Cert and Key are PEM files: the chain, its own certificate first, and its
	// key. They are read again when they change. Default: plain HTTP.
	Cert filePath `yaml:"cert"`
	Key  filePath `yaml:"key"`
	// ClientCA is a PEM file of the authorities whose certificates clients with
	// tls_subject show (RFC 8705). With it, certificates are asked for, by which
	// a browser that has one may ask its person. Default: none.
	ClientCA caFile `yaml:"client_ca"`
	// ClientCertHeader is the header in which trusted_proxies, where they end TLS,
	// say which certificate a client showed: base64, or PEM with its characters
	// escaped. They must set or remove it on every request. Default: none, and
	// certificates are those of the connection.
	ClientCertHeader string `yaml:"client_cert_header"`
}

func (c TLSConfig) isSet() bool { return c.Cert != "" }

// checkTLS finds what would fail at the first connection.
func (k *checker) checkTLS() {
	t := k.TLS
	cert, key := t.Cert != "" || k.broken(pathOf("tls", "cert")), t.Key != "" || k.broken(pathOf("tls", "key"))
	switch {
	case cert && !key:
		k.fail(pathOf("tls", "cert"), "goes with tls.key, the private key of that certificate")
	case key && !cert:
		k.fail(pathOf("tls", "key"), "goes with tls.cert, the certificate of that key")
	}
	if t.Cert == "" || t.Key == "" {
		return
	}
	u, err := url.Parse(k.URL)
	if err != nil {
		return
	}
	k.must(u.Scheme == "https", pathOf("tls"), "url is %s: with tls it must be https", k.URL)
	pair, err := readPair(t)
	if err != nil {
		k.fail(pathOf("tls", "cert"), "%v", err)
		return
	}
	if err := pair.Leaf.VerifyHostname(u.Hostname()); err != nil {
		k.warn(pathOf("tls", "cert"), "the certificate is not for %s: %v", u.Hostname(), err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) || now.Before(pair.Leaf.NotBefore) {
		k.warn(pathOf("tls", "cert"), "the certificate is valid from %s to %s", pair.Leaf.NotBefore.Format(time.RFC3339), pair.Leaf.NotAfter.Format(time.RFC3339))
	}
}

// readPair reads certificate and key. The group of the key's file may read it:
// that is how systems give keys to services.
func readPair(c TLSConfig) (*tls.Certificate, error) {
	info, err := os.Stat(string(c.Key))
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("the key %s can be read by everybody: chmod o= %s", c.Key, c.Key)
	}
	pair, err := tls.LoadX509KeyPair(string(c.Cert), string(c.Key))
	if err != nil {
		return nil, fmt.Errorf("certificate and key cannot be read: %w", err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, err
		}
	}
	return &pair, nil
}

// certificate is the pair that is shown, read again when its files change.
type certificate struct {
	log *slog.Logger

	mu     sync.Mutex
	from   TLSConfig
	pair   *tls.Certificate
	looked time.Time // when the files were looked at
	state  [2]fileState
}

type fileState struct {
	size int64
	time time.Time
}

// lookEach is how often the files are looked at, at most.
const lookEach = time.Second

// use takes the files of a configuration.
func (c *certificate) use(from TLSConfig) error {
	state := stateOf(from)
	pair, err := readPair(from)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from, c.pair, c.state, c.looked = from, pair, state, time.Now()
	return nil
}

func stateOf(from TLSConfig) (s [2]fileState) {
	for i, name := range []filePath{from.Cert, from.Key} {
		if info, err := os.Stat(string(name)); err == nil {
			s[i] = fileState{info.Size(), info.ModTime()}
		}
	}
	return s
}

// get is tls.Config.GetCertificate. New files that do not fit together keep the
// old pair: one of them may not be written yet.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair == nil {
		return nil, errors.New("no certificate")
	}
	now := time.Now()
	if now.Sub(c.looked) < lookEach {
		return c.pair, nil
	}
	c.looked = now
	state := stateOf(c.from)
	if state == c.state {
		return c.pair, nil
	}
	pair, err := readPair(c.from)
	if err != nil {
		c.log.Error("the new certificate is not taken; the old one stays", "file", string(c.from.Cert), "error", err)
		return c.pair, nil
	}
	c.pair, c.state = pair, state
	c.log.Info("certificate read again", "file", string(c.from.Cert), "until", pair.Leaf.NotAfter)
	return c.pair, nil
}

// serverTLS is the configuration of the main listener. TLS 1.2 at least; the
// suites are those that Go thinks safe.
func (i *instance) serverTLS() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: i.cert.get}
	if i.cfg.mtls() && i.cfg.TLS.ClientCertHeader == "" {
		c.ClientAuth = tls.RequestClientCert // checked by the engine, where it counts
		c.ClientCAs = i.cfg.authoritiesAsked()
	}
	return c
}

// strictTransport tells browsers to come by https only (RFC 6797), if that is
// how the public URL is reached, whoever ends TLS.
func strictTransport(issuer string, h http.Handler) http.Handler {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "https" || oauth.IsLoopbackHost(u.Host) {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		h.ServeHTTP(w, r)
	})
}
