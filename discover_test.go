package doorward_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"doorward"
)

// site is one HTTP server that answers some paths with JSON and writes down
// what was asked for. {} in a document stands for its own origin.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	heads []http.Header
}

func newSite(t *testing.T, documents map[string]string) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.Path)
		s.heads = append(s.heads, r.Header)
		s.mu.Unlock()
		body, ok := documents[r.URL.Path]
		switch {
		case strings.HasPrefix(r.URL.Path, "/mcp") && r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", strings.ReplaceAll(documents["challenge"], "{}", s.URL))
			w.WriteHeader(401)
		case strings.HasPrefix(r.URL.Path, "/mcp"):
		case strings.HasPrefix(body, "<"):
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(body))
		case body == "503":
			w.WriteHeader(503)
		case ok:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(strings.ReplaceAll(body, "{}", s.URL)))
		default:
			w.WriteHeader(404)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// metadata are the paths that were asked for, without the MCP endpoint.
func (s *site) metadata() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.asked), func(p string) bool { return p == "/mcp" || p == "/token" })
}

const (
	prm   = "/.well-known/oauth-protected-resource"
	asDoc = "/.well-known/oauth-authorization-server"
	oidc  = "/.well-known/openid-configuration"
)

// covers: C-DISC-01, C-DISC-02, C-DISC-03, C-DISC-05, C-DISC-06, M01, M02, M04, M05, M06, M07
func TestDiscovery(t *testing.T) {
	const (
		own    = `{"resource":"{}/mcp","authorization_servers":["{}"]}`
		tenant = `{"resource":"{}/mcp","authorization_servers":["{}/t"]}`
		md     = `{"issuer":"{}","token_endpoint":"{}/token"}`
		mdT    = `{"issuer":"{}/t","token_endpoint":"{}/token"}`
	)
	for name, c := range map[string]struct {
		documents map[string]string
		asked     []string
		fails     string // a word of the error
	}{
		"named in the header": {map[string]string{"challenge": `Basic realm="x", Bearer scope="a", resource_metadata="{}/here"`, "/here": own, asDoc: md},
			[]string{"/here", asDoc}, ""},
		"named by a DPoP challenge": {map[string]string{"challenge": `DPoP resource_metadata="{}/here"`, "/here": own, asDoc: md, "/token": `{"access_token":"t","token_type":"DPoP"}`},
			[]string{"/here", asDoc}, ""},
		"path": {map[string]string{prm + "/mcp": own, asDoc: md}, []string{prm + "/mcp", asDoc}, ""},
		"root": {map[string]string{prm: `{"resource":"{}","authorization_servers":["{}"]}`, oidc: md},
			[]string{prm + "/mcp", prm, asDoc, oidc}, ""},
		"a page instead of a document": {map[string]string{prm + "/mcp": "<html>", prm: own, asDoc: "<html>", oidc: md},
			[]string{prm + "/mcp", prm, asDoc, oidc}, ""},
		"issuer with path": {map[string]string{prm + "/mcp": tenant, "/t" + oidc: mdT},
			[]string{prm + "/mcp", asDoc + "/t", oidc + "/t", "/t" + oidc}, ""},
		"the first has the say": {map[string]string{prm + "/mcp": `{"resource":"https://evil.example/mcp","authorization_servers":["{}"]}`, prm: own, asDoc: md},
			[]string{prm + "/mcp"}, "not the server that was called"},
		"resource of a sibling": {map[string]string{prm + "/mcp": `{"resource":"{}/mc","authorization_servers":["{}"]}`},
			[]string{prm + "/mcp"}, "not the server that was called"},
		"named, but not there": {map[string]string{"challenge": `Bearer resource_metadata="{}/gone"`, prm: own},
			[]string{"/gone"}, "/gone"},
		"none": {map[string]string{}, []string{prm + "/mcp", prm}, "publishes no resource metadata"},
		"no issuer": {map[string]string{prm + "/mcp": `{"resource":"{}/mcp"}`},
			[]string{prm + "/mcp"}, "authorization_servers"},
		"issuer over http": {map[string]string{prm + "/mcp": `{"resource":"{}/mcp","authorization_servers":["http://as.example"]}`},
			[]string{prm + "/mcp"}, "https"},
		"other issuer in the metadata": {map[string]string{prm + "/mcp": own, asDoc: `{"issuer":"{}/","token_endpoint":"{}/token"}`, oidc: md},
			[]string{prm + "/mcp", asDoc}, "is that of the issuer"},
		"no metadata": {map[string]string{prm + "/mcp": own}, []string{prm + "/mcp", asDoc, oidc}, "no authorization server metadata"},
		"broken document": {map[string]string{prm + "/mcp": `{"resource":`},
			[]string{prm + "/mcp"}, "JSON"},
		"token endpoint over http": {map[string]string{prm + "/mcp": own, asDoc: `{"issuer":"{}","token_endpoint":"http://as.example/token"}`},
			[]string{prm + "/mcp", asDoc}, "https"},
	} {
		t.Run(name, func(t *testing.T) {
			documents := map[string]string{"challenge": "Bearer", "/token": `{"access_token":"t","token_type":"bearer"}`}
			for k, v := range c.documents {
				documents[k] = v
			}
			s := newSite(t, documents)
			tr := &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "c", Secret: "s"}}}
			_, err := post(context.Background(), tr, s.URL+"/mcp")
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error %v", err)
			}
			if got := s.metadata(); !slices.Equal(got, c.asked) {
				t.Errorf("asked for %q, want %q", got, c.asked)
			}
		})
	}
}

// covers: P24
func TestBusyMetadataIsAskedForAgain(t *testing.T) {
	s := newSite(t, map[string]string{"challenge": "Bearer", prm + "/mcp": "503"})
	_, err := post(context.Background(), &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "c", Secret: "s"}}}, s.URL+"/mcp")
	var e *doorward.Error
	if !errors.As(err, &e) || !e.Retry || e.Status != 503 {
		t.Errorf("error %v", err)
	}
	want := []string{prm + "/mcp", prm + "/mcp", prm + "/mcp", prm} // then whether there is another document
	if got := s.metadata(); !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
}

// covers: REV-11, REV-12, REV-13, M21, M23, O17
func TestLegacyServers(t *testing.T) {
	register := `{"client_id":"old"}`
	token := `{"access_token":"t","token_type":"Bearer"}`
	for name, c := range map[string]struct {
		documents map[string]string
		legacy    bool
		fails     string
	}{
		"off":      {map[string]string{asDoc: `{"issuer":"{}"}`}, false, "publishes no resource metadata"},
		"metadata": {map[string]string{asDoc: `{"issuer":"{}","authorization_endpoint":"{}/a","token_endpoint":"{}/token","registration_endpoint":"{}/register","code_challenge_methods_supported":["S256"]}`}, true, ""},
		"defaults": {map[string]string{}, true, ""},
		"metadata without PKCE": {map[string]string{asDoc: `{"issuer":"{}","authorization_endpoint":"{}/a","token_endpoint":"{}/token","registration_endpoint":"{}/register"}`},
			true, "S256"},
		"metadata of another issuer": {map[string]string{asDoc: `{"issuer":"https://evil.example"}`}, true, "is that of the issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			documents := map[string]string{"challenge": "Bearer", "/register": register, "/token": token}
			for k, v := range c.documents {
				documents[k] = v
			}
			s := newSite(t, documents)
			var opened string
			flow := &doorward.AuthorizationCode{Open: func(ctx context.Context, address string) error {
				opened = address
				u := strings.SplitAfter(address, "redirect_uri=")[1]
				back, state := unescape(strings.Split(u, "&")[0]), strings.Split(strings.SplitAfter(address, "state=")[1], "&")[0]
				return visit(ctx, back+"?code=c&state="+state)
			}}
			status, err := post(context.Background(), &doorward.Transport{Flow: flow, Legacy: c.legacy}, s.URL+"/mcp")
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || opened != "" {
					t.Errorf("error %v, opened %q", err, opened)
				}
				return
			}
			if err != nil || status != 200 {
				t.Fatalf("status %d, error %v", status, err)
			}
			want := s.URL + "/authorize?"
			if name == "metadata" {
				want = s.URL + "/a?"
			}
			if !strings.HasPrefix(opened, want) || !strings.Contains(opened, "code_challenge_method=S256") || strings.Contains(opened, "resource=") {
				t.Errorf("opened %s", opened)
			}
			for i, path := range s.asked {
				if path == asDoc && s.heads[i].Get("MCP-Protocol-Version") != "2025-03-26" {
					t.Error("no MCP-Protocol-Version on the metadata request")
				}
			}
		})
	}
}

func unescape(s string) string {
	return strings.NewReplacer("%3A", ":", "%2F", "/").Replace(s)
}

// covers: M16, X-HTTP-06
func TestLongDocumentIsRefused(t *testing.T) {
	big, _ := json.Marshal(strings.Repeat("x", 2<<20))
	s := newSite(t, map[string]string{"challenge": "Bearer", prm + "/mcp": `{"resource":"{}/mcp","resource_name":` + string(big) + `}`})
	_, err := post(context.Background(), &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "c", Secret: "s"}}}, s.URL+"/mcp")
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("error %v", err)
	}
	// And no more of it is read than that takes.
	var long *counted
	base := roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil && req.URL.Path == prm+"/mcp" {
			long = &counted{ReadCloser: resp.Body}
			resp.Body = long
		}
		return resp, err
	})
	_, err = post(context.Background(), &doorward.Transport{Flow: machine(), Base: base}, s.URL+"/mcp")
	if err == nil || long == nil || long.n > 1<<20+512 {
		t.Errorf("error %v after %+v", err, long)
	}
}

// counted is a body that counts what is read of it.
type counted struct {
	io.ReadCloser
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += n
	return n, err
}
