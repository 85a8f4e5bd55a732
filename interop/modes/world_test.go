//go:build unix

// Package modes_test puts serve in front of other makers' authorization
// servers: as proxy, whose tokens are its own, and as a relay.
package modes_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/browse"
	"doorward/interop/rig"
)

const (
	patience  = 60 * time.Second
	appSecret = "a-secret-of-the-app-0123"
	life      = 6 * time.Second // of the separate servers' access tokens; the last quarter is for renewing them
)

func TestMain(m *testing.M) { rig.Main(m) }

// needs is rig.Node for what lies beside the other tests.
func needs(t *testing.T, packages ...string) {
	t.Helper()
	for i, name := range packages {
		packages[i] = filepath.Join("..", "..", filepath.FromSlash(name))
	}
	rig.Node(t, packages...)
}

// serve starts the binary with a configuration file.
func serve(t *testing.T, config string, args ...any) *rig.Output {
	t.Helper()
	file := filepath.Join(t.TempDir(), "serve.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	said := rig.Start(t, nil, rig.Doorward(t), "serve", "--config", file)
	said.Wait(t, patience, "is ready", 1)
	return said
}

// upstream is an MCP server that takes the separate server's tokens: it asks
// there whose each one is, and says so.
type upstream struct {
	url    string
	mu     sync.Mutex
	tokens []string // that it was sent
}

func newUpstream(t *testing.T, userinfo string) *upstream {
	t.Helper()
	u := &upstream{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		u.mu.Lock()
		u.tokens = append(u.tokens, token)
		u.mu.Unlock()
		sub, err := whose(r.Context(), userinfo, token)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":%q,"version":"1"}}}`, sub)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	u.url = srv.URL
	return u
}

// whose asks a userinfo endpoint.
func whose(ctx context.Context, userinfo, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, userinfo, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var who struct{ Sub string }
	if err := json.NewDecoder(res.Body).Decode(&who); err != nil || res.StatusCode != http.StatusOK || who.Sub == "" {
		return "", fmt.Errorf("%s: %v", res.Status, err)
	}
	return who.Sub, nil
}

// seen are the different tokens that it was sent, in their order.
func (u *upstream) seen() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var different []string
	for _, token := range u.tokens { // two of them may come in turn while one takes the other's place
		if !slices.Contains(different, token) {
			different = append(different, token)
		}
	}
	return different
}

// app is a program of the configuration with a callback of its own, made with
// golang.org/x/oauth2.
type app struct {
	t    *testing.T
	conf oauth2.Config
	code chan string
}

func newApp(t *testing.T, issuer, id, secret string) *app {
	t.Helper()
	a := &app{t: t, code: make(chan string, 1)}
	back := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { a.code <- r.FormValue("code") }))
	t.Cleanup(back.Close)
	a.conf = oauth2.Config{ClientID: id, ClientSecret: secret, RedirectURL: back.URL + "/callback",
		Endpoint: oauth2.Endpoint{AuthURL: issuer + "/authorize", TokenURL: issuer + "/token", AuthStyle: oauth2.AuthStyleInHeader}}
	return a
}

// signIn brings somebody to the program's token.
func (a *app) signIn(p *browse.Person) *oauth2.Token {
	a.t.Helper()
	verifier := oauth2.GenerateVerifier()
	if err := p.Open(a.t.Context(), a.conf.AuthCodeURL("a-state", oauth2.S256ChallengeOption(verifier))); err != nil {
		a.t.Fatal(err)
	}
	tok, err := a.conf.Exchange(a.t.Context(), <-a.code, oauth2.VerifierOption(verifier))
	if err != nil {
		a.t.Fatal(err)
	}
	return tok
}

// refresh spends a refresh token.
func (a *app) refresh(tok *oauth2.Token) (*oauth2.Token, error) {
	return a.conf.TokenSource(a.t.Context(), &oauth2.Token{RefreshToken: tok.RefreshToken}).Token()
}

// subject is the claim sub of a JWT, unchecked.
func subject(t *testing.T, token string) string {
	t.Helper()
	var c struct{ Sub string }
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.Sub
}

// person is somebody at a browser; wire nil: the network.
func person(t *testing.T, name string, wire http.RoundTripper) *browse.Person {
	t.Helper()
	if wire == nil {
		wire = http.DefaultTransport
	}
	p, err := browse.New(name, "a password", wire)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// call is a first request of MCP; the name of the server that answers it.
func call(t *testing.T, server, token string) (status int, name string) {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	var said struct {
		Result struct{ ServerInfo struct{ Name string } }
	}
	_ = json.Unmarshal(text, &said)
	return res.StatusCode, said.Result.ServerInfo.Name
}
