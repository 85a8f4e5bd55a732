package oauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"doorward/interop/rig"
)

// logoutIdP is an identity provider with one client, which is told of logouts.
const logoutIdP = `
version: 1
url: http://%[1]s
ops: ""
state: state
people: {alice: {password: %[2]s}}
clients: {registered: {wiki: {secret: %[3]s, redirect_uris: ["http://127.0.0.1/callback"], backchannel_logout_uri: "http://%[4]s/out"}}}
`

// logoutFound is what logout.mjs found out about the token that it was sent.
type logoutFound struct {
	Method    string         `json:"method"`
	Kind      string         `json:"kind"`
	Members   []string       `json:"members"`
	Announced bool           `json:"announced"`
	Typ       string         `json:"typ"`
	KeyID     bool           `json:"kid"`
	Claims    []string       `json:"claims"` // nonce is not among them
	Events    map[string]any `json:"events"`
	Same      bool           `json:"same"` // iss, sub and sid, as the ID token's
	Short     bool           `json:"short"`
	// What jose refuses, and as what.
	Changed    string `json:"changed"`
	AsIDToken  string `json:"as_id_token"`
	ForAnother string `json:"for_another"`
	IDToken    string `json:"id_token"` // in place of a logout token
}

// A logout token is what another maker's library takes for one, by the keys and
// the metadata that we publish, and it is no ID token to it.
func TestLogoutToken(t *testing.T) {
	rig.Node(t, "openid-client", "jose")
	const secret = "a-secret-of-the-wiki-0123"
	at, door := rig.Free(t), rig.Free(t)
	file := filepath.Join(t.TempDir(), "idp.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, logoutIdP, at, password, secret, door), 0o600); err != nil {
		t.Fatal(err)
	}
	rig.Start(t, nil, rig.Doorward(t), "idp", "--config", file).Wait(t, patience, "is ready", 1)
	around := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := signInOrLeave(t, r, file); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	}))
	t.Cleanup(around.Close)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "logout.mjs")
	_, port, _ := net.SplitHostPort(door)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "ISSUER=http://" + at, "CLIENT_ID=wiki", "CLIENT_SECRET=" + secret, "DOOR=" + port, "DOORWARD_TEST_BROWSER=" + around.URL}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var got logoutFound
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs.String())
	}
	want := logoutFound{Method: "POST", Kind: "application/x-www-form-urlencoded", Members: []string{"logout_token"}, Announced: true, Typ: "logout+jwt", KeyID: true,
		Claims: strings.Fields("aud events exp iat iss jti sid sub"), Events: map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		Same: true, Short: true, Changed: "ERR_JWS_SIGNATURE_VERIFICATION_FAILED", AsIDToken: "ERR_JWT_CLAIM_VALIDATION_FAILED",
		ForAnother: "ERR_JWT_CLAIM_VALIDATION_FAILED", IDToken: "ERR_JWT_CLAIM_VALIDATION_FAILED"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// signInOrLeave has Alice leave by /leave, and do what visit does by all else.
func signInOrLeave(t *testing.T, r *http.Request, file string) error {
	if r.URL.Path == "/leave" {
		out, err := exec.CommandContext(r.Context(), rig.Doorward(t), "leave", "alice", "--config", file).CombinedOutput()
		if err != nil {
			return fmt.Errorf("leave: %w: %s", err, out)
		}
		return nil
	}
	return visit(r)
}
