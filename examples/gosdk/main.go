// Command gosdk is the MCP Go SDK with a Transport beneath: it lists the tools
// of a protected server.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward"
)

func main() {
	t := &doorward.Transport{Flow: &doorward.AuthorizationCode{ClientName: "gosdk", Open: show}}
	over := connection
	if len(os.Args) > 1 && os.Args[1] == "handler" {
		over = handler
	}
	names, err := tools(context.Background(), over(t, os.Getenv("MCP_URL")))
	if err != nil {
		log.Fatal(err) // says which step broke, and who can mend it
	}
	for _, name := range names {
		fmt.Println(name)
	}
}

// connection has the Transport as the http.Client of the SDK's transport: the
// way that covers every request (POST, the GET stream, DELETE) and every flow.
func connection(t *doorward.Transport, url string) *mcp.StreamableClientTransport {
	return &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: t}}
}

// handler is the other way, for a program that has an http.Client of its own to
// keep: the SDK asks it about POSTs only, and it is for one server.
func handler(t *doorward.Transport, url string) *mcp.StreamableClientTransport {
	return &mcp.StreamableClientTransport{Endpoint: url, OAuthHandler: t.OAuth()}
}

// tools is what any program does with the SDK.
func tools(ctx context.Context, over mcp.Transport) (names []string, err error) {
	session, err := mcp.NewClient(&mcp.Implementation{Name: "gosdk", Version: "1"}, nil).Connect(ctx, over, nil)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	for tool, err := range session.Tools(ctx, nil) {
		if err != nil {
			return nil, err
		}
		names = append(names, tool.Name)
	}
	return names, nil
}

func show(_ context.Context, url string) error {
	_, err := fmt.Fprintln(os.Stderr, "Open this address to sign in:", url)
	return err
}
