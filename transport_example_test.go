package doorward_test

import (
	"context"
	"fmt"
	"net/http"

	"doorward"
)

// A program that serves many people: the person of a request is the one of its
// context, and tokens of two people never meet.
func ExampleCrossApp() {
	t := &doorward.Transport{Flow: &doorward.CrossApp{
		IdP:    doorward.Credentials{Issuer: "https://acme.okta.example", ID: "0oa", Secret: "from a secret store"},
		Server: doorward.Credentials{ID: "agent", Secret: "from a secret store"},
		Subject: func(ctx context.Context) (doorward.Subject, error) {
			session, ok := ctx.Value("session").(struct{ User, IDToken string })
			if !ok {
				return doorward.Subject{}, fmt.Errorf("no session")
			}
			return doorward.Subject{Person: session.User, Token: session.IDToken}, nil
		},
	}}
	_ = &http.Client{Transport: t}
}

// A service that acts for itself.
func ExampleClientCredentials() {
	t := &doorward.Transport{Flow: &doorward.ClientCredentials{
		Client: doorward.Credentials{Issuer: "https://auth.example.com", ID: "nightly", Secret: "from a secret store"},
	}}
	_ = &http.Client{Transport: t}
}

// A program on somebody's machine: the browser is opened when a server asks.
func ExampleAuthorizationCode() {
	t := &doorward.Transport{Flow: &doorward.AuthorizationCode{
		ClientIDMetadataURL: "https://app.example.com/client.json",
		Open: func(_ context.Context, url string) error {
			fmt.Println("Open this address to sign in:", url)
			return nil
		},
	}}
	_ = &http.Client{Transport: t}
}

// With the MCP Go SDK, the Transport is the http.Client of its transport:
//
//	&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: t}}
//
// Its OAuthHandler can be used instead, one for each connection.
func ExampleTransport_OAuth() {
	t := &doorward.Transport{Flow: &doorward.ClientCredentials{}}
	_ = t.OAuth() // &mcp.StreamableClientTransport{Endpoint: url, OAuthHandler: t.OAuth()}
}

func ExampleTransport_Token() {
	t := &doorward.Transport{Flow: &doorward.ClientCredentials{
		Client: doorward.Credentials{Issuer: "https://auth.example.com", ID: "nightly", Secret: "from a secret store"},
	}}
	token, err := t.Token(context.Background(), "https://files.example.com/mcp")
	if err != nil {
		return // err says which step broke, and who can mend it
	}
	fmt.Println(token.Expiry)
}
