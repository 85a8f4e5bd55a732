package authtest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Client is a double of a program that people connect to MCP servers with: it
// asks, registers, signs in, authenticates and renews as that program does, and
// demands of a server what that program demands. It is for testing servers; it
// shares no code with the library's client.
//
// What is known of the programs is from public pages ([Client.Source]); they
// change, and a double is no promise of theirs.
type Client struct {
	Name   string // of the program: "claude", "vscode", …
	Way    string // how it comes: "document", "registration", "typed in", "enterprise", sometimes with a word more
	Quirks []string
	Source string

	habits habits
}

// String is the name and the way, which no two clients share.
func (c Client) String() string { return c.Name + "/" + c.Way }

// Clients is the zoo: every client in every way that it comes.
func Clients() []Client { return slices.Clone(zoo) }

// Site is what a client is let loose on, and the person who uses it.
type Site struct {
	// MCP is the URL of the MCP server.
	MCP string
	// Visit is the person at their browser.
	Visit Visit
	// Transport carries the client's requests. nil: http.DefaultTransport.
	Transport http.RoundTripper
	// ClientID and ClientSecret are what somebody registered by hand, for the
	// clients that it is typed into. Its redirect URIs must hold
	// [Client.Redirects].
	ClientID, ClientSecret string
	// Documents says where the server can fetch the client's metadata document
	// whose real address is given; the answer is the client's id. nil: at the
	// real address, which needs the internet.
	Documents func(address string) string
	// Enterprise is the identity provider of the person's company, for clients
	// that come with an ID-JAG; they redeem it as ClientID.
	Enterprise Enterprise
}

// Enterprise is what an administrator types into a client for
// enterprise-managed authorization.
type Enterprise struct {
	Issuer, ClientID, ClientSecret string
}

// Connection is a client that came in.
type Connection struct {
	ClientID string // at the authorization server
	Scope    string // that was granted, "" if the answer named none

	visit *visit
}

// TypedIn reports whether the client needs Site.ClientID and ClientSecret.
func (c Client) TypedIn() bool { return c.habits.way == typedIn || c.habits.way == enterprise }

// Redirects are the client's redirect URIs. Those on loopback are without a
// port: it is another one each time.
func (c Client) Redirects() []string {
	return slices.Collect(mapped(c.habits.redirects, func(uri string) string { return fillURI(uri, "") }))
}

// Connect walks the whole way: it calls the server without a token, finds the
// authorization server, comes to a client id, sends the person through the
// browser, gets a token, calls the server, renews the token where it was given
// the means, and calls again. The error says at which step a server failed the
// client. It takes 30 seconds at most.
func (c Client) Connect(ctx context.Context, at Site) (*Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	v := newVisit(c, at)
	if err := v.walk(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	return &Connection{ClientID: v.id, Scope: v.scope, visit: v}, nil
}

// Call lists the server's tools with the token of the connection.
func (c *Connection) Call(ctx context.Context) error { return c.visit.list(ctx) }

// Renew gets the next token by the refresh token, as the client does.
func (c *Connection) Renew(ctx context.Context) error { return c.visit.renew(ctx) }

// Again is the same installation of the client, started once more: what it
// keeps (a registration, if it keeps one) is kept, its loopback port is another,
// and the person signs in anew.
func (c *Connection) Again(ctx context.Context) (*Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	old := c.visit
	v := newVisit(old.client, old.site)
	if !old.habits.registersAnew {
		v.id, v.secret, v.method = old.id, old.secret, old.method
	}
	if err := v.walk(ctx); err != nil {
		return nil, fmt.Errorf("%s, the second time: %w", old.client, err)
	}
	return &Connection{ClientID: v.id, Scope: v.scope, visit: v}, nil
}
