// Peers is a program around github.com/ory/fosite, measured beside Doorward:
// tokens that are ES256 JWTs, everything in memory, nothing else in the way.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"

	"doorward/bench/control"
	"github.com/go-jose/go-jose/v3"
)

func main() {
	issuer := flag.String("issuer", "", "issuer of ID-JAGs")
	trusted := flag.String("trusted", "", "public key of that issuer (PKIX, base64)")
	kid := flag.String("kid", "", "kid of that key")
	flag.Parse()
	if err := run(*issuer, *trusted, *kid); err != nil {
		fmt.Fprintln(os.Stderr, "fosite:", err)
		os.Exit(1)
	}
}

func run(issuer, trusted, kid string) error {
	der, err := base64.StdEncoding.DecodeString(trusted)
	if err != nil {
		return err
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	l, base, err := control.Listen()
	if err != nil {
		return err
	}
	s := newServer(base, key, store(base, issuer, &jose.JSONWebKey{Key: pub, KeyID: kid, Algorithm: string(jose.ES256), Use: "sig"}))
	return serve(l, s)
}

func serve(l net.Listener, s *server) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /introspect", s.introspect)
	return control.Serve(l, mux, map[string]http.HandlerFunc{"/version": version})
}

// version is that of fosite in this binary.
func version(w http.ResponseWriter, _ *http.Request) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/ory/fosite" {
			fmt.Fprintf(w, "%s, %s", m.Version, info.GoVersion)
		}
	}
}
