//go:build unix

package connect_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authorization "doorward"
	"doorward/internal/browse"
	"doorward/interop/rig"
)

// guarded is the small server behind our Guard, whose tokens another maker's
// authorization server makes. issuer is asked for when the resource is known.
func guarded(t *testing.T, stateless bool, issuer func(resource string) string) (resource string) {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	resource = srv.URL + "/mcp"
	guard, err := authorization.NewGuard(authorization.GuardConfig{Resource: resource, Issuers: []string{issuer(resource)}, Scopes: []string{"mcp"}})
	if err != nil {
		t.Fatal(err)
	}
	guard.Mount(mux, small(t, stateless))
	return resource
}

// npm's oidc-provider: connect registers itself there, and the person signs in
// in a browser.
func TestOIDCProvider(t *testing.T) {
	needNode(t)
	for wire, stateless := range map[string]bool{"stateful": false, "stateless": true} {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			resource := guarded(t, stateless, func(resource string) string {
				at := rig.Free(t)
				run(t, nil, "node", "idp.mjs", rig.Port(at), resource).Wait(t, patience, "ready at", 1)
				return "http://" + at
			})
			if said := client(t, seated(t, "ada"), "small", wire, []string{resource, "--flow", "browser"}, nil); !strings.HasSuffix(said, "all is well") {
				t.Errorf("%s", said)
			}
		})
	}
}

// seated is the environment in which a program that opens the system's browser
// finds somebody there. The SDK's client starts a second process to find out
// which wire its server speaks, so they may be asked more than once.
func seated(t *testing.T, name string) []string {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$1\" >> " + filepath.Join(dir, "opened") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	t.Cleanup(func() { cancel(); <-over })
	go func() {
		defer close(over)
		for done := 0; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			text, err := os.ReadFile(filepath.Join(dir, "opened"))
			if err != nil {
				continue // nobody has opened anything yet
			}
			lines := strings.SplitAfter(string(text), "\n")
			for ; done < len(lines)-1; done++ {
				person, err := browse.New(name, "", http.DefaultTransport)
				if err == nil {
					err = person.Open(ctx, strings.TrimSpace(lines[done]))
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}
	}()
	return []string{"PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")}
}

// Glewlwyd, whose metadata stands below its issuer only.
func TestGlewlwyd(t *testing.T) {
	needNode(t)
	for wire, stateless := range map[string]bool{"stateful": false, "stateless": true} {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			resource := guarded(t, stateless, func(resource string) string { return glewlwyd(t, resource) })
			said := client(t, deskSecret, "small", wire, []string{resource, "--flow", "client", "--client-id", "desk", "--client-secret", "env:DESK_SECRET"}, nil)
			if said != "all is well" {
				t.Errorf("%s", said)
			}
		})
	}
}

// glewlwyd starts one with a client and a scope for resource, and returns the
// issuer.
func glewlwyd(t *testing.T, resource string) string {
	t.Helper()
	return rig.StartGlewlwyd(t, rig.GlewlwydSettings{Scopes: []string{"mcp"}, Resources: map[string][]string{"mcp": {resource}},
		Clients: []map[string]any{{"client_id": "desk", "name": "desk", "confidential": true, "enabled": true, "password": "secret-of-the-desk-client",
			"authorization_type": []string{"client_credentials"}, "redirect_uri": []string{"http://127.0.0.1/cb"}, "scope": []string{"mcp"},
			"token_endpoint_auth_method": []string{"client_secret_basic"}}}}).Issuer
}
