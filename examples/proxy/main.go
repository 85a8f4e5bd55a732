// Command proxy is an authorization server and an MCP server in one process, for
// people who sign in at somebody else's: a provider without registration, PKCE
// metadata or resource. Clients get our tokens; the provider's lie sealed beside
// each grant, are renewed as they end, and serve to call its API for the person.
package main

import (
	"io"
	"log"
	"net/http"
	"os"

	"doorward"
	"doorward/authserver"
	"doorward/store"
	"doorward/store/sqlite"
)

func main() {
	db, err := sqlite.Open("proxy.db")
	if err != nil {
		log.Fatal(err)
	}
	as, err := build("http://127.0.0.1:8080", db, os.Getenv("API_URL"), authserver.Separate{
		Issuer: os.Getenv("ISSUER"), ClientID: os.Getenv("CLIENT_ID"), ClientSecret: os.Getenv("CLIENT_SECRET"),
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Println("register http://127.0.0.1:8080/callback/separate there; http://127.0.0.1:8080/mcp is guarded")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", as))
}

// build makes the server; api is what the provider's tokens are for.
func build(url string, db store.Store, api string, separate authserver.Separate) (*authserver.Server, error) {
	as, err := authserver.New(authserver.Config{
		URL: url, Store: db, Mode: "proxy", Separate: separate, Registration: authserver.Registration{Mode: "open"},
	})
	if err != nil {
		return nil, err
	}
	return as, as.Protect("/mcp", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // your MCP server
		who, _ := doorward.CallerFrom(r.Context())
		token, err := as.UpstreamToken(r.Context(), who.Grant)
		if err != nil {
			http.Error(w, "sign in again", http.StatusForbidden)
			return
		}
		call, err := http.NewRequestWithContext(r.Context(), http.MethodGet, api, nil)
		if err != nil {
			http.Error(w, "the address of the API is wrong", http.StatusInternalServerError)
			return
		}
		call.Header.Set("Authorization", "Bearer "+token) // never the caller's own
		res, err := http.DefaultClient.Do(call)
		if err != nil {
			http.Error(w, "the API does not answer", http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		io.Copy(w, res.Body)
	}))
}
