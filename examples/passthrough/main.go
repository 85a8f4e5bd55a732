// Command passthrough puts an MCP server beside the authorization server that a
// company has: its endpoints are relayed under our URL, so that clients find
// them where the MCP server says, and its own tokens are what the MCP server takes.
// Its access tokens must name the MCP server (https://…/mcp) as audience, and be
// those of RFC 9068.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"doorward"
	"doorward/authserver"
	"doorward/store"
	"doorward/store/sqlite"
)

func main() {
	db, err := sqlite.Open("passthrough.db")
	if err != nil {
		log.Fatal(err)
	}
	as, err := build("http://127.0.0.1:8080", db, authserver.Separate{Issuer: os.Getenv("ISSUER")})
	if err != nil {
		log.Fatal(err)
	}
	log.Println("http://127.0.0.1:8080/mcp is guarded")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", as))
}

// build makes the server.
func build(url string, db store.Store, separate authserver.Separate) (*authserver.Server, error) {
	as, err := authserver.New(authserver.Config{URL: url, Store: db, Mode: "passthrough", Separate: separate})
	if err != nil {
		return nil, err
	}
	return as, as.Protect("/mcp", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // your MCP server
		who, _ := doorward.CallerFrom(r.Context())
		fmt.Fprintf(w, "%s of %s", who.Subject, who.Issuer)
	}))
}
