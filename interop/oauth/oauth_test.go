// Package oauth_test runs other people's OAuth clients (npm's oauth4webapi and
// openid-client), unmodified, against the binary, through everything that they
// have: authorization code with PKCE by PAR, DPoP, private_key_jwt, refresh,
// introspection, revocation and the device grant.
package oauth_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"doorward/interop/rig"
)

const (
	signer               = "signer"
	server, serverSecret = "resource-server", "a-secret-of-the-resource-server"
	password             = "orchard-tango-27-violet"
	patience             = 60 * time.Second // for one client, on a busy machine
)

// got is what a driver prints.
type got struct {
	TokenType string `json:"token_type"`
	Scope     string `json:"scope"`
	Opened    int    `json:"opened"` // status of the protected resource, with a proof
	Bearer    int    `json:"bearer"` // without one
	Refreshed bool   `json:"refreshed"`
	Active    bool   `json:"active"` // of the new token
	Subject   string `json:"subject"`
	Client    string `json:"client"`
	Bound     bool   `json:"bound"`
	Own       bool   `json:"own"`      // the client about its own token
	After     bool   `json:"after"`    // the same token after revocation
	Revoked   string `json:"revoked"`  // a refresh token that was revoked
	Pending   string `json:"pending"`  // a device before anybody answered
	Device    string `json:"device"`   // token_type of a device
	Stranger  string `json:"stranger"` // an assertion by somebody else's key
}

// covers: AS-CAUTH-04, AS-CAUTH-05, AS-META-05, E04
func TestClients(t *testing.T) {
	w := newWorld(t)
	for _, driver := range []string{"oauth4webapi.mjs", "openid-client.mjs"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			g := w.drive(t, driver)
			want := got{TokenType: "dpop", Scope: "sample:read", Opened: http.StatusOK, Bearer: http.StatusUnauthorized, Refreshed: true,
				Active: true, Subject: "alice", Client: signer, Bound: true, Own: true, After: false,
				Revoked: "invalid_grant", Pending: "authorization_pending", Device: "dpop", Stranger: "invalid_client"}
			if g != want {
				t.Errorf("got  %+v\nwant %+v", g, want)
			}
		})
	}
}

// world is the process, the key of its client, and somebody at a browser.
type world struct {
	as, browser string
	key         []byte // JWK, private
}

func newWorld(t *testing.T) *world {
	t.Helper()
	rig.Node(t, "openid-client")
	dir := t.TempDir()
	w := &world{as: "http://" + rig.Free(t)}
	var public []byte
	public, w.key = newKey(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("keys.json", fmt.Sprintf(`{"keys":[%s]}`, public))
	w.start(t, rig.Doorward(t), write("serve.yaml", fmt.Sprintf(`
url: %s
ops: ""
state: state
people: {alice: {password: %s}}
clients:
  registered:
    %s: {jwks: "file:keys.json", redirect_uris: ["http://127.0.0.1/callback"], grant_types: [authorization_code, refresh_token, device_code]}
    %s: {secret: %s, introspects: [sample]}
servers:
  sample: {path: /mcp, run: sample, scopes: {"sample:read": Ask, "sample:write": Write}, allow: [{who: everyone}]}
`, w.as, password, signer, server, serverSecret)))
	w.sit(t)
	return w
}

// newKey is a P-256 key as JWK, without and with its private part.
func newKey(t *testing.T) (public, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err1 := key.PublicKey.Bytes()
	d, err2 := key.Bytes()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	enc := base64.RawURLEncoding.EncodeToString
	jwk := map[string]string{"kty": "EC", "crv": "P-256", "kid": "one", "x": enc(point[1:33]), "y": enc(point[33:])}
	if public, err = json.Marshal(jwk); err != nil {
		t.Fatal(err)
	}
	jwk["d"] = enc(d)
	if private, err = json.Marshal(jwk); err != nil {
		t.Fatal(err)
	}
	return public, private
}

// start runs the server until the test ends, and waits for its metadata.
func (w *world) start(t *testing.T, binary, config string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(binary, "serve", "--config", config)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("doorward said:\n%s", log.String())
		}
	})
	for range 400 {
		if res, err := http.Get(w.as + "/.well-known/oauth-authorization-server"); err == nil {
			res.Body.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("doorward ended: %v\n%s", err, log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatal("doorward does not answer")
}

// sit seats Alice at a browser, for each request anew: it opens the address that
// is posted to /, and answers the pages of a device that is posted to /device.
func (w *world) sit(t *testing.T) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		err := visit(r)
		if err != nil {
			http.Error(rw, "alice: "+err.Error(), http.StatusBadGateway)
		}
	}))
	t.Cleanup(s.Close)
	w.browser = s.URL
}

// drive runs a driver and reads what it prints.
func (w *world) drive(t *testing.T, driver string) got {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", driver)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "ISSUER=" + w.as, "MCP=" + w.as + "/mcp", "CLIENT_ID=" + signer, "KEY=" + string(w.key),
		"SERVER_ID=" + server, "SERVER_SECRET=" + serverSecret, "DOORWARD_TEST_BROWSER=" + w.browser}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var g got
	if err == nil {
		err = json.Unmarshal(out, &g)
	}
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs.String())
	}
	return g
}

func TestMain(m *testing.M) { rig.Main(m) }
