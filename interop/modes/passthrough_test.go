//go:build unix

package modes_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	authorization "doorward"
	"doorward/internal/sample"
	"doorward/interop/rig"
)

const passthroughConfig = `
version: 1
url: %[1]s
listen: %[2]s
ops: ""
mode: passthrough
separate: {issuer: %[3]s}
servers: {sample: {path: /mcp, run: sample, scopes: {mcp: Everything}, allow: [{who: everyone}]}}
`

// told is what the client of the TypeScript SDK found out.
type told struct {
	Tools []string `json:"tools"`
	Who   struct {
		Subject, Client string
		Scopes          []string
	} `json:"who"`
}

// sdk lets that client sign in by a browser and call a tool.
func sdk(t *testing.T, server string) told {
	t.Helper()
	who := person(t, "ada", nil)
	seat := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, err := io.ReadAll(r.Body)
		if err == nil {
			err = who.Open(r.Context(), strings.TrimSpace(string(target)))
		}
		if err != nil {
			http.Error(w, fmt.Sprintf("the person at %s: %v", target, err), http.StatusBadGateway)
		}
	}))
	defer seat.Close()
	cmd := exec.CommandContext(t.Context(), "node", "../clients/sdk.mjs", "browser", server)
	cmd.Env = append(os.Environ(), "DOORWARD_TEST_BROWSER="+seat.URL)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var got told
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs.String())
	}
	return got
}

// The client of the TypeScript SDK, which compares iss, goes to npm's
// oidc-provider, which sends it, directly and through the relay, and notices no
// difference.
//
// covers: I12
func TestPassthroughUnnoticed(t *testing.T) {
	t.Parallel()
	needs(t, "connect/node_modules/oidc-provider", "clients/node_modules/@modelcontextprotocol/client")
	idp := func(resource string) string {
		at := rig.Free(t)
		rig.Start(t, nil, "node", "../connect/idp.mjs", rig.Port(at), resource).Wait(t, patience, "ready at", 1)
		return "http://" + at
	}

	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	guard, err := authorization.NewGuard(authorization.GuardConfig{Resource: srv.URL + "/mcp", Issuers: []string{idp(srv.URL + "/mcp")}, Scopes: []string{"mcp"}})
	if err != nil {
		t.Fatal(err)
	}
	mcp := sample.New()
	guard.Mount(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // as the gateway says who calls
		who, _ := authorization.CallerFrom(r.Context())
		r.Header.Set("Doorward-Subject", who.Subject)
		r.Header.Set("Doorward-Client", who.ClientID)
		r.Header.Set("Doorward-Scope", strings.Join(who.Scopes, " "))
		mcp.ServeHTTP(w, r)
	}))
	direct := sdk(t, srv.URL+"/mcp")

	host := rig.Free(t)
	at := "http://" + host
	separate := idp(at + "/mcp")
	serve(t, passthroughConfig, at, host, separate)
	through := sdk(t, at+"/mcp")

	if direct.Who.Subject != "ada" || direct.Who.Client == "" || through.Who.Client == "" {
		t.Errorf("directly %+v, through the relay %+v", direct, through)
	}
	// The gateway says whose person it is, and each client registered anew.
	through.Who.Subject, through.Who.Client = strings.TrimPrefix(through.Who.Subject, separate+"#"), direct.Who.Client
	if !reflect.DeepEqual(direct, through) {
		t.Errorf("directly %+v, through the relay %+v", direct, through)
	}
}
