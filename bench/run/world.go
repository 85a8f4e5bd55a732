package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/bench/control"
	"doorward/internal/browse"
	"doorward/internal/jose"
)

const (
	secret    = "a-secret-of-the-bench-0123456789"
	password  = "alice-password-12"
	callback  = "http://127.0.0.1/callback"
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// world is what surrounds the measured programs: the issuer that they trust
// and the MCP server behind the gateway, both in this process.
type world struct {
	url     string
	key     *jose.Key
	trusted string // its public half for the floor
}

func newWorld() (*world, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	w := &world{trusted: base64.StdEncoding.EncodeToString(der)}
	if w.key, err = jose.NewKey(key, ""); err != nil {
		return nil, err
	}
	jwks, err := json.Marshal(jose.NewSet(w.key))
	if err != nil {
		return nil, err
	}
	l, url, err := control.Listen()
	if err != nil {
		return nil, err
	}
	w.url = url
	mux := http.NewServeMux()
	mux.HandleFunc("/jwks", func(rw http.ResponseWriter, _ *http.Request) { rw.Write(jwks) })
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":%q}`, url, url+"/jwks")
	})
	mux.HandleFunc("POST /mcp", answerCall)
	mux.HandleFunc("GET /mcp", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	go http.Serve(l, mux)
	return w, nil
}

const toolCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","arguments":{"path":"/tmp/a.txt","lines":[1,2,3]},"_meta":{"progressToken":7}}}`

// answerCall is an MCP server whose tools all say the same.
func answerCall(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"`+strings.Repeat("x", 200)+`"}]}}`)
}

// jag is an ID-JAG for an authorization server, used by nobody before.
func (w *world) jag(as string) (string, error) {
	now := time.Now().Unix()
	return w.key.Sign("oauth-id-jag+jwt", map[string]any{"iss": w.url, "sub": "alice", "aud": as, "client_id": "desktop", "jti": rand.Text(),
		"exp": now + 300, "iat": now, "resource": as + "/mcp", "scope": "use", "auth_time": now, "amr": []string{"pwd"}, "email": "alice@example.com"})
}

// access is an access token for a resource, different from every other.
func (w *world) access(resource string) (string, error) {
	now := time.Now().Unix()
	return w.key.Sign("at+jwt", map[string]any{"iss": w.url, "sub": "corp/alice", "aud": resource, "client_id": "desktop", "jti": rand.Text(),
		"exp": now + 3600, "iat": now, "scope": "use", "gid": "AAAAAAAAAAAAAAAAAAAAAA"})
}

// browser signs alice in at an issuer, lets her consent to a scope, and returns the
// headers of her browser.
func browser(base, scope string) (string, error) {
	wire := &cookies{held: map[string]string{}}
	p, err := browse.New("alice", password, wire)
	if err != nil {
		return "", err
	}
	if err := p.Open(context.Background(), base+authorization(scope)); err != nil {
		return "", err
	}
	return wire.header(), nil
}

// authorization is the path and query of an authorization request.
func authorization(scope string) string {
	q := url.Values{"response_type": {"code"}, "client_id": {"desktop"}, "redirect_uri": {callback}, "code_challenge": {challenge},
		"code_challenge_method": {"S256"}, "state": {"af0ifjsldkj"}}
	if scope != "" {
		q.Set("scope", scope)
	}
	return "/authorize?" + q.Encode()
}

// cookies carries a browser's requests and remembers its cookies. The client's
// callback is nowhere: it answers for it.
type cookies struct{ held map[string]string }

// RoundTrip is http.RoundTripper.
func (c *cookies) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.String(), callback) {
		return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		for _, set := range resp.Cookies() {
			c.held[set.Name] = set.Value
		}
	}
	return resp, err
}

// header is the line that the browser sends.
func (c *cookies) header() string {
	var pairs []string
	for name, value := range c.held {
		pairs = append(pairs, name+"="+value)
	}
	return "Cookie: " + strings.Join(pairs, "; ") + "\r\n"
}
