// Package clients_test runs other people's MCP clients, unmodified, against the
// binary: an identity provider and an authorization server with its gateway.
//
// package.json holds mcpc's dependency viem (for payments, not used here) at a
// version whose own dependencies npm has; newer ones name a release of ox that
// it has not.
package clients_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/browse"
	"doorward/interop/rig"
)

const (
	idpClient, idpSecret = "desktop-idp", "a-secret-that-only-the-idp-knows"
	client, clientSecret = "desktop", "a-secret-that-only-the-server-knows"
	password             = "orchard-tango-27-violet"
	patience             = 60 * time.Second // for one client, on a busy machine
)

// world is the two processes and where they are.
type world struct {
	t              *testing.T
	dir            string
	idp, as, mcp   string
	roots, browser string // a CA file; what the stand-in for a browser posts to
	ca             *authority
}

// newWorld starts both with alice and bob; person is who sits at the browser,
// others what becomes of clients that nobody knows.
func newWorld(t *testing.T, person, others string) *world {
	t.Helper()
	rig.Node(t, "mcp-remote")
	w := &world{t: t, dir: t.TempDir(), idp: "http://" + rig.Free(t), as: "http://" + rig.Free(t)}
	w.mcp = w.as + "/mcp"
	w.ca = newAuthority(t)
	w.roots = w.write("ca.pem", w.ca.pem())
	people := fmt.Sprintf("people:\n  alice: {email: alice@example.com, groups: [eng], password: %[1]s}\n  bob: {password: %[1]s}\n", password)
	w.start("idp", w.idp, people+fmt.Sprintf(`
clients: {registered: {%s: {secret: %s, redirect_uris: ["http://127.0.0.1/callback"]}}}
audiences:
  %q: {resources: [%q], client_ids: {%s: %s}, allow: [{who: everyone}], deny: [{who: "person:bob"}]}
`, idpClient, idpSecret, w.as, w.mcp, idpClient, client))
	w.start("serve", w.as, people+fmt.Sprintf(`
providers: {corp: {issuer: %q, id_jag: {}}}
clients: {others: %s, registered: {%s: {secret: %s, redirect_uris: ["http://127.0.0.1/callback"]}}}
fetch: {roots: ca.pem}
servers:
  sample: {path: /mcp, run: sample, scopes: {"sample:read": Ask, "sample:write": Write}, tools: {note: ["sample:write"]}, allow: [{who: everyone}]}
`, w.idp, others, client, clientSecret))
	w.browser = w.sit(person)
	return w
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// start runs one role until the test ends, and waits for its metadata.
func (w *world) start(role, issuer, config string) {
	w.t.Helper()
	file := w.write(role+".yaml", "url: "+issuer+"\nops: \"\"\nstate: "+role+"-state\n"+config)
	var log bytes.Buffer
	cmd := exec.Command(rig.Doorward(w.t), role, "--config", file)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	w.t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if w.t.Failed() {
			w.t.Logf("doorward %s said:\n%s", role, log.String())
		}
	})
	for range 400 {
		if res, err := http.Get(issuer + "/.well-known/openid-configuration"); err == nil {
			res.Body.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			w.t.Fatalf("doorward %s ended: %v\n%s", role, err, log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	w.t.Fatalf("doorward %s does not answer", role)
}

// sit seats a person at a browser that opens what is posted to the URL.
func (w *world) sit(person string) string {
	w.t.Helper()
	p, err := browse.New(person, password, http.DefaultTransport)
	if err != nil {
		w.t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		target, err := io.ReadAll(r.Body)
		if err == nil {
			err = p.Open(r.Context(), strings.TrimSpace(string(target)))
		}
		if err != nil {
			http.Error(rw, fmt.Sprintf("the person at %s: %v", target, err), http.StatusBadGateway)
		}
	}))
	w.t.Cleanup(s.Close)
	return s.URL
}

// idToken is what a person gets for signing in at the identity provider.
func (w *world) idToken(ctx context.Context, person string) *oauth2.Token {
	w.t.Helper()
	var code string
	back := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { code = r.FormValue("code") }))
	defer back.Close()
	conf := oauth2.Config{ClientID: idpClient, ClientSecret: idpSecret, Scopes: []string{"openid"}, RedirectURL: back.URL + "/callback",
		Endpoint: oauth2.Endpoint{AuthURL: w.idp + "/authorize", TokenURL: w.idp + "/token", AuthStyle: oauth2.AuthStyleInHeader}}
	p, err := browse.New(person, password, http.DefaultTransport)
	if err != nil {
		w.t.Fatal(err)
	}
	verifier := oauth2.GenerateVerifier()
	if err := p.Open(ctx, conf.AuthCodeURL(rand.Text(), oauth2.S256ChallengeOption(verifier))); err != nil {
		w.t.Fatal(err)
	}
	tok, err := conf.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		w.t.Fatal(err)
	}
	return tok
}

// node runs a program with the stand-in for a browser and nothing of our own
// environment but what it names.
func (w *world) node(ctx context.Context, env []string, args ...string) *exec.Cmd {
	w.t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		w.t.Fatal(err)
	}
	driver, err := filepath.Abs("browser.mjs")
	if err != nil {
		w.t.Fatal(err)
	}
	bin := filepath.Join(w.dir, "bin")
	opener := filepath.Join(bin, "xdg-open")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(opener, fmt.Appendf(nil, "#!/bin/sh\nexec %q %q \"$1\"\n", node, driver), 0o755); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, node, args...)
	cmd.WaitDelay = time.Second
	cmd.Env = append([]string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + w.dir, "BROWSER=" + opener,
		"DOORWARD_TEST_BROWSER=" + w.browser, "DBUS_SESSION_BUS_ADDRESS=disabled:"}, env...)
	return cmd
}

// told is what a client found.
type told struct {
	Tools []string `json:"tools"`
	Who   struct {
		Subject string   `json:"subject"`
		Client  string   `json:"client"`
		Scopes  []string `json:"scopes"`
	} `json:"who"`
}

// driver runs the TypeScript SDK's client.
func (w *world) driver(flow string, env ...string) (told, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	cmd := w.node(ctx, env, "sdk.mjs", flow, w.mcp)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var got told
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s%s", err, out, errs.String())
	}
	return got, err
}

func (got told) check(t *testing.T, subject, clientID string) {
	t.Helper()
	if !slices.Contains(got.Tools, "whoami") || got.Who.Subject != subject || !strings.HasPrefix(got.Who.Client, clientID) || !slices.Contains(got.Who.Scopes, "sample:read") {
		t.Errorf("%+v, want %s by %s", got, subject, clientID)
	}
}

// authority is a certificate authority of the test's own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{cert: &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// publish serves a client metadata document by TLS on loopback and returns its
// URL, and a function that says how often it was fetched.
func (w *world) publish(redirectURIs ...string) (string, func() int) {
	w.t.Helper()
	key := newKey(w.t)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, w.ca.cert, key.Public(), w.ca.key)
	if err != nil {
		w.t.Fatal(err)
	}
	fetched := make(chan struct{}, 100)
	var doc map[string]any
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fetched <- struct{}{}
		json.NewEncoder(rw).Encode(doc)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	w.t.Cleanup(s.Close)
	url := s.URL + "/client.json"
	doc = map[string]any{"client_id": url, "client_name": "By document", "redirect_uris": redirectURIs,
		"grant_types": []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method": "none"}
	return url, func() int { return len(fetched) }
}

func TestMain(m *testing.M) { rig.Main(m) }
