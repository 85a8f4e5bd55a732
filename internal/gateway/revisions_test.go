package gateway_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"doorward/internal/gateway"
	"doorward/internal/ledger"
	"doorward/store/sqlite"
)

// A client of any revision, and one that says nothing or nonsense, is told the
// same about how to get a token.
// covers: REV-01, REV-10, RS-PRM-01, RS-CHAL-02
func TestEveryRevisionIsToldTheSame(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	const prm = "/.well-known/oauth-protected-resource/files/mcp"
	wantPRM := `{"resource":"` + r.url + `/files/mcp","authorization_servers":["` + corpIssuer + `"],"scopes_supported":["files:read"],` +
		`"bearer_methods_supported":["header"],"resource_name":"Files","dpop_signing_alg_values_supported":["ES256","EdDSA","PS256","RS256"]}`
	wantAsk := `Bearer resource_metadata="` + r.url + prm + `", scope="files:read"`
	for _, version := range []string{"", "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28", "2099-01-01", "x"} {
		var header []string
		if version != "" {
			header = []string{"Mcp-Protocol-Version", version}
		}
		if resp, body := r.do(http.MethodGet, prm, "", "", header...); resp.StatusCode != 200 || body != wantPRM {
			t.Errorf("%q: metadata: %d %s", version, resp.StatusCode, body)
		}
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
			resp, _ := r.do(method, "/files/mcp", "", toolCall("read_file"), append(header, "Mcp-Session-Id", "x.y")...)
			if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || got != wantAsk {
				t.Errorf("%q: %s: %d %s", version, method, resp.StatusCode, got)
			}
		}
	}
}

// A client of a revision that does not add up scopes is told to ask for those
// that it has, too; the others are told what the operation needs.
// covers: REV-09
func TestOldClientsKeepTheirScopes(t *testing.T) {
	u := newUpstream(t)
	s := files(u.URL)
	s.Scopes["files:list"] = "List"
	r := newRig(t, map[string]gateway.Server{"files": s})
	_, token := r.grant("alice", "/files/mcp", "files:list", "files:read", "offline_access", "gone")
	for version, want := range map[string]string{
		"2025-03-26": "files:read files:write files:list", "2025-06-18": "files:read files:write files:list", "2025-11-25": "files:read files:write files:list",
		"2026-07-28": "files:read files:write", "2099-01-01": "files:read files:write", "": "files:read files:write", "x": "files:read files:write",
	} {
		var header []string
		if version != "" {
			header = []string{"Mcp-Protocol-Version", version}
		}
		resp, _ := r.do(http.MethodPost, "/files/mcp", token, toolCall("write_file"), header...)
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 403 || !strings.Contains(got, `scope="`+want+`"`) {
			t.Errorf("%q: %d %s", version, resp.StatusCode, got)
		}
	}
}

// A scope that comes to cover more is a new scope: whoever had the old one is
// asked again, also for a tool that they could call until then.
// covers: RS-TOK-14, RS-CHAL-06
func TestNewToolsNeedNewAuthorization(t *testing.T) {
	u := newUpstream(t)
	s := files(u.URL)
	r := newRig(t, map[string]gateway.Server{"files": s})
	_, token := r.grant("alice", "/files/mcp", "files:all")
	call := func() (int, string) {
		resp, _ := r.do(http.MethodPost, "/files/mcp", token, toolCall("wipe_disk"))
		return resp.StatusCode, resp.Header.Get("WWW-Authenticate")
	}
	if status, _ := call(); status != 200 {
		t.Fatal(status)
	}
	s.Scopes = map[string]string{"files:read": "Read", "files:write": "Change", "files:all": "All", "files:all.v2": "All, and wipe disks"}
	s.Implies = map[string][]string{"files:all.v2": {"files:all"}, "files:all": {"files:write"}, "files:write": {"files:read"}}
	s.Tools = map[string][]string{"wipe_disk": {"files:all.v2"}, "write_file": {"files:write"}}
	if err := r.gw.Reload(map[string]gateway.Server{"files": s}); err != nil {
		t.Fatal(err)
	}
	if status, challenge := call(); status != 403 || !strings.Contains(challenge, `scope="files:read files:all.v2"`) {
		t.Errorf("%d %s", status, challenge)
	}
	_, token = r.grant("alice", "/files/mcp", "files:all.v2")
	if status, challenge := call(); status != 200 {
		t.Errorf("with the new scope: %d %s", status, challenge)
	}
}

// A grant that ends in another process on the same file: its stream here is
// closed and its token refused, within a second.
// covers: RS-TR-05, RS-CHAL-04
func TestLeavingElsewhereEndsWithinASecond(t *testing.T) {
	k := newTicker(t)
	r := newRig(t, map[string]gateway.Server{"files": files(k.URL)})
	path := filepath.Join(t.TempDir(), "x.db")
	here, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = here.Close() })
	r.ledger = &ledger.Ledger{Store: here}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if r.config.Ended, err = r.ledger.WatchEnded(ctx); err != nil {
		t.Fatal(err)
	}
	r.config.Grant = r.ledger.Grant
	r.gw = r.with(nil)
	there, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()

	id, token := r.grant("alice", "/files/mcp", "files:read")
	_, other := r.grant("bob", "/files/mcp", "files:read")
	stream := r.stream("/files/mcp", token)
	r.stream("/files/mcp", other)
	waitFor(t, "the streams", func() bool { return k.streams() == 2 })
	if receipt, err := (&ledger.Ledger{Store: there}).End(t.Context(), ledger.Which{Grant: id}, "revoked"); err != nil || len(receipt.Grants) != 1 {
		t.Fatal(receipt, err)
	}
	closesWithin(t, stream, time.Second)
	if resp, _ := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file")); resp.StatusCode != 401 {
		t.Errorf("its token: %d", resp.StatusCode)
	}
	if resp, _ := r.do(http.MethodDelete, "/files/mcp", token, ""); resp.StatusCode != 401 {
		t.Errorf("its token, for DELETE: %d", resp.StatusCode)
	}
	if k.streams() != 1 {
		t.Error("the other's stream ended, too")
	}
}
