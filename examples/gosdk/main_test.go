package main

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward"
	"doorward/authtest"
)

func hello() http.Handler {
	s := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "hello"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{}, nil, nil
	})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{DisableLocalhostProtection: true})
}

// Both ways list the tools, with the browser's flow and with an ID-JAG.
func TestGoSDK(t *testing.T) {
	w := authtest.New(t, authtest.Config{MCP: hello()})
	for name, over := range map[string]func(*doorward.Transport, string) *mcp.StreamableClientTransport{"Transport": connection, "OAuthHandler": handler} {
		for flow, f := range map[string]doorward.Flow{
			"browser": &doorward.AuthorizationCode{ClientName: "gosdk", Open: w.Browser("alice").Open}, "enterprise": w.CrossApp("alice"),
		} {
			got, err := tools(t.Context(), over(&doorward.Transport{Flow: f}, w.MCP))
			if err != nil || !slices.Equal(got, []string{"hello"}) {
				t.Errorf("%s, %s: %q, %v", name, flow, got, err)
			}
		}
	}
	// Without a Transport it is refused.
	if got, err := tools(t.Context(), &mcp.StreamableClientTransport{Endpoint: w.MCP}); err == nil {
		t.Errorf("%q", got)
	}
}
