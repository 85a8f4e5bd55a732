// Command agent is a service that many people use: what somebody asks it, it
// asks an MCP server for that very person, by cross-app access. Nobody sees a
// consent screen, and no token of one person is ever sent for another.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward"
)

func main() {
	idp := doorward.Credentials{Issuer: os.Getenv("IDP_ISSUER"), ID: os.Getenv("IDP_CLIENT_ID"), Secret: os.Getenv("IDP_CLIENT_SECRET")}
	server := doorward.Credentials{ID: os.Getenv("CLIENT_ID"), Secret: os.Getenv("CLIENT_SECRET")} // its issuer is found from the MCP server
	log.Fatal(http.ListenAndServe("127.0.0.1:8000", agent(idp, server, os.Getenv("MCP_URL"), signedIn)))
}

// agent answers GET /?tool=NAME with what the tool says to whoever asks.
func agent(idp, server doorward.Credentials, url string, who func(*http.Request) doorward.Subject) http.Handler {
	type person struct{}
	client := &http.Client{Transport: &doorward.Transport{Flow: &doorward.CrossApp{IdP: idp, Server: server,
		Subject: func(ctx context.Context) (doorward.Subject, error) { // asked for each request; without a Token it goes nowhere
			s, _ := ctx.Value(person{}).(doorward.Subject)
			return s, nil
		}}}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said, err := call(context.WithValue(r.Context(), person{}, who(r)), client, url, r.FormValue("tool"))
		if err != nil { // says which step broke, and who can mend it
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, said)
	})
}

// call is MCP, with the Go SDK: the Transport is all that authorization adds.
func call(ctx context.Context, client *http.Client, url, tool string) (string, error) {
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: client}, nil)
	if err != nil {
		return "", err
	}
	defer session.Close()
	res, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool})
	if err != nil || res.IsError || len(res.Content) == 0 {
		return "", errors.Join(err, errors.New("the tool failed"))
	}
	text, _ := res.Content[0].(*mcp.TextContent)
	return text.Text, nil
}

// signedIn is yours: who is signed in to this service, and the ID token that it
// got when they signed in at the company's provider. It keeps those beside its
// sessions, and never takes one from a request.
func signedIn(r *http.Request) doorward.Subject {
	c, err := r.Cookie("session")
	if err != nil {
		return doorward.Subject{}
	}
	return sessions[c.Value]
}

var sessions = map[string]doorward.Subject{} // session id → {Person: "alice", Token: "eyJ…"}
