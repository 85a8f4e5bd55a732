package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward"
	"doorward/authserver"
	"doorward/authtest"
)

// whoami is an MCP server with one tool, which says who calls.
func whoami() http.Handler {
	s := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "whoami"}, func(ctx context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		caller := "nobody"
		if r.Extra != nil && r.Extra.Header != nil {
			caller = r.Extra.Header.Get("Test-Caller")
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: caller}}}, nil, nil
	})
	h := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{DisableLocalhostProtection: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := doorward.CallerFrom(r.Context())
		r.Header.Set("Test-Caller", who.Subject)
		h.ServeHTTP(w, r)
	})
}

// Two people use the agent at once, many times, and each is told their own
// name; a third, whom a rule of the company keeps out, and somebody who is not
// signed in are told so.
func TestAgent(t *testing.T) {
	people := map[string]authserver.LocalPerson{}
	for _, name := range []string{"alice", "bob", "carol"} {
		people[name] = authserver.LocalPerson{Email: name + "@example.com", Password: name + "-password-12"}
	}
	w := authtest.New(t, authtest.Config{MCP: whoami(), People: people, Deny: []authserver.Rule{{Who: []string{"person:carol"}}}})
	tokens := map[string]string{}
	for name := range people {
		tokens[name] = w.IDToken(name)
	}
	idp := doorward.Credentials{Issuer: w.IdP, ID: authtest.IdPClientID, Secret: authtest.IdPClientSecret}
	server := doorward.Credentials{ID: authtest.ClientID, Secret: authtest.ClientSecret}
	srv := httptest.NewServer(agent(idp, server, w.MCP, func(r *http.Request) doorward.Subject {
		name := r.FormValue("as") // a test's session
		return doorward.Subject{Person: name, Token: tokens[name]}
	}))
	defer srv.Close()
	ask := func(who string) (int, string) {
		resp, err := http.Get(srv.URL + "/?tool=whoami&as=" + who)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, fmt.Sprint(string(body), err)
	}
	var callers sync.WaitGroup
	for i := range 20 {
		who := []string{"alice", "bob"}[i%2]
		callers.Go(func() {
			if status, said := ask(who); status != http.StatusOK || !strings.HasPrefix(said, "corp/"+who) {
				t.Errorf("%s: %d %s", who, status, said)
			}
		})
	}
	callers.Wait()
	for who, says := range map[string]string{"carol": "IdP's administrator", "": "subject"} {
		if status, said := ask(who); status != http.StatusBadGateway || !strings.Contains(said, says) {
			t.Errorf("%q: %d %s", who, status, said)
		}
	}
}
