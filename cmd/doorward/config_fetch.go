package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"

	"go.yaml.in/yaml/v3"

	"doorward/internal/fetch"
)

// rootsFile is a PEM file of certificates, together with the system's.
type rootsFile struct {
	path string
	pool *x509.CertPool // nil: the system's alone
}

func (f *rootsFile) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	text, ok := l.str(n, p)
	if !ok || text == "" {
		return
	}
	path := l.absolute(text)
	pem, err := os.ReadFile(path)
	if err != nil {
		l.fail(l.place(n), "%s: %v", p, err)
		return
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		l.fail(l.place(n), "%s: %s has no certificate in PEM form (-----BEGIN CERTIFICATE-----)", p, path)
		return
	}
	*f = rootsFile{path, pool}
}

// caFile is a PEM file of certificates, without the system's.
type caFile struct {
	path string
	pool *x509.CertPool // nil: none
}

func (f *caFile) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	text, ok := l.str(n, p)
	if !ok || text == "" {
		return
	}
	path, pool := l.absolute(text), x509.NewCertPool()
	pem, err := os.ReadFile(path)
	switch {
	case err != nil:
		l.fail(l.place(n), "%s: %v", p, err)
	case !pool.AppendCertsFromPEM(pem):
		l.fail(l.place(n), "%s: %s has no certificate in PEM form (-----BEGIN CERTIFICATE-----)", p, path)
	default:
		*f = caFile{path, pool}
	}
}

// readPrivate reads a range of private addresses. Other ranges are refused:
// public ones are open, and loopback, link-local and the like cannot be opened.
func readPrivate(v reflect.Value, text string) error {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return errors.New("is no range of addresses: write 10.1.0.0/16 or fd12:3456::/32")
	case prefix != prefix.Masked():
		return fmt.Errorf("has bits behind its length: write %s", prefix.Masked())
	}
	closed := fetch.Config{}.CheckAddr(prefix.Addr()) != nil
	opens := fetch.Config{AllowPrivate: true}.CheckAddr(prefix.Addr()) == nil
	if !closed || !opens {
		return errors.New("is no range of private addresses (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7)")
	}
	v.Set(reflect.ValueOf(prefix))
	return nil
}
