// Beside stands beside the authorization server in the variants of the MCP
// conformance suite that need something more than the server:
//
//	beside document HOST:PORT ROOTS CALLBACK   serves a client metadata document at
//	                                           https://HOST:PORT/client.json and writes the
//	                                           certificate that its own is signed with
//	beside basic HOST:PORT SERVER              hands everything on to SERVER, but names
//	                                           client_secret_basic as the only method: the suite
//	                                           takes none or client_secret_post wherever it may
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 4 && args[0] == "document":
		err = document(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "basic":
		err = basic(args[1], args[2])
	default:
		err = fmt.Errorf("usage: beside document HOST:PORT ROOTS CALLBACK | beside basic HOST:PORT SERVER")
	}
	log.Fatal("beside: ", err)
}

// document serves the metadata document of a public client.
func document(address, roots, callback string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	cert, ca, err := certificate(net.ParseIP(host))
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"client_id": "https://" + address + "/client.json", "client_name": "MCP conformance suite", "redirect_uris": []string{callback},
		"grant_types": []string{"authorization_code"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /client.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	})
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}), 0o600); err != nil {
		return err
	}
	return http.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}}), mux)
}

// certificate is one for an address, and that of the authority that signed it.
func certificate(ip net.IP) (tls.Certificate, []byte, error) {
	var none tls.Certificate
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, nil, err
	}
	now := time.Now()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "conformance"}, NotBefore: now.Add(-time.Minute),
		NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: root.NotBefore, NotAfter: root.NotAfter, IPAddresses: []net.IP{ip},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	ca, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return none, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), rootKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, ca, err
}

// basic hands requests on, with the host that they are for.
func basic(address, server string) error {
	to, err := url.Parse(server)
	if err != nil {
		return err
	}
	relay := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: onlyBasic,
	}
	return http.ListenAndServe(address, relay)
}

func onlyBasic(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Request.URL.Path, "/.well-known/") {
		return nil
	}
	raw, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return err
	}
	var document map[string]any
	if err := json.Unmarshal(raw, &document); err != nil {
		return err
	}
	document["token_endpoint_auth_methods_supported"] = []string{"client_secret_basic"}
	if raw, err = json.Marshal(document); err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	resp.ContentLength = int64(len(raw))
	resp.Header.Set("Content-Length", strconv.Itoa(len(raw)))
	return nil
}
