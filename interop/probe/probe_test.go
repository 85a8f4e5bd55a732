// Package probe_test lets the probe find the faults of other makers'
// authorization servers: the TypeScript SDK's mcpAuthRouter, and oidc-provider
// with PKCE left to the client.
package probe_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/probe"
	"doorward/interop/rig"
)

// start starts a server of another maker and returns its issuer.
func start(t *testing.T, script, module string) string {
	t.Helper()
	rig.Node(t, module)
	port := rig.Port(rig.Free(t))
	cmd := exec.CommandContext(t.Context(), "node", script, port)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	var said bytes.Buffer
	var mu sync.Mutex
	go func() {
		once := sync.OnceFunc(func() { close(ready) })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			mu.Lock()
			fmt.Fprintln(&said, lines.Text())
			mu.Unlock()
			if strings.Contains(lines.Text(), "ready at") {
				once()
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		in.Close()
	})
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("%s is not ready:\n%s", script, said.String())
	}
	return "http://127.0.0.1:" + port
}

// at probes a server with the binary; it must exit with 1, since something is
// broken.
func at(t *testing.T, issuer string, flags ...string) probe.Report {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), rig.Doorward(t), append([]string{"probe", issuer, "--json", "--user", "demo", "--password", "env:PASSWORD"}, flags...)...)
	cmd.Env = append(os.Environ(), "PASSWORD=a-password-for-the-demo")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var r probe.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// compare looks for known faults among the broken rules, and for known virtues
// among those that are held.
func compare(t *testing.T, r probe.Report, broken, held []string) {
	t.Helper()
	var found []string
	for _, res := range r.Rules {
		if res.Result == probe.Broken {
			found = append(found, res.ID)
		}
		if slices.Contains(broken, res.ID) && res.Result != probe.Broken {
			t.Errorf("%s is a known fault, and the probe says %s (%s)", res.ID, res.Result, res.Saw)
		}
		if slices.Contains(held, res.ID) && res.Result != probe.Held {
			t.Errorf("%s is known to be right, and the probe says %s (%s)", res.ID, res.Result, res.Saw)
		}
	}
	t.Logf("%d held, %d not testable, %d broken:\n%s", r.Held, r.NotTestable, r.Broken, strings.Join(found, "\n"))
}

func TestMain(m *testing.M) { rig.Main(m) }

func TestRouterOfTheTypeScriptSDK(t *testing.T) {
	t.Parallel()
	r := at(t, start(t, "sdk.mjs", "@modelcontextprotocol/sdk"))
	compare(t, r, []string{
		"AS-META-02.issuer",                                       // URL.href adds a slash
		"AS-META-06.flag", "AS-AUTHZ-08.iss", "AS-AUTHZ-08.error", // no iss
		"AS-AUTHZ-04.code", "AS-AUTHZ-03.state", "AS-AUTHZ-12.scope", // what it says of a bad request
		"AS-AUTHZ-05.stranger", "AS-UI-07.again", // sends whoever comes to whoever registered
		"AS-PKCE-03.challenge", "AS-PKCE-03.verifier",
		"AS-RES-01.fragment",
		"AS-CAUTH-03.challenge", "AS-DCR-10.unknown", // 400, no challenge
		"AS-DCR-02.json", "AS-DCR-05.fragment", "AS-DCR-05.http", "AS-DCR-06.jwks", "AS-REDIR-04.private",
	}, []string{
		"AS-AUTHZ-02.client", "AS-AUTHZ-02.redirect", "AS-REDIR-01.prefix", "AS-REDIR-01.host",
		"AS-PKCE-01.missing", "AS-PKCE-02.plain", "AS-PKCE-04.wrong", "AS-PKCE-04.missing",
		"AS-TOKEN-01.get", "AS-TOKEN-01.json", "AS-DCR-05.relative", "X-HTTP-04.token",
	})
}

func TestOIDCProviderWithPKCEOff(t *testing.T) {
	t.Parallel()
	issuer := start(t, "oidc.mjs", "oidc-provider")
	r := at(t, issuer, "--resource", issuer+"/mcp")
	compare(t, r, []string{
		"AS-PKCE-01.missing",   // as it was told
		"AS-META-13.host",      // its endpoints follow the request
		"AS-AUTHZ-05.stranger", // login_required goes to whoever registered
		"AS-DCR-05.http",
		"AS-UI-03.login", "AS-UI-03.consent", "AS-UI-04.referrer", // its pages for development
	}, []string{
		"AS-META-02.issuer", "AS-PKCE-02.plain", "AS-PKCE-02.unknown", "AS-PKCE-04.wrong", "AS-PKCE-04.missing", "AS-AUTHZ-08.iss", "AS-AUTHZ-08.error",
		"AS-AUTHZ-02.client", "AS-AUTHZ-02.redirect", "AS-REDIR-01.prefix", "AS-REDIR-01.host", "AS-REDIR-01.slash",
		"AS-CODE-01.client", "AS-CODE-02.replay", "AS-CODE-02.parallel", "AS-CODE-03.revoke", "AS-RT-01.client", "AS-RT-02.rotate", "AS-RT-03.replay", "AS-RT-03.family",
		"AS-RES-01.unknown", "AS-REV-02.unknown", "AS-INT-01.auth", "AS-DCR-08.grants", "AS-DCR-08.credentials", "AS-UI-02.login", "AS-UI-02.consent",
	})
}
