package authserver_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"doorward"
	"doorward/authserver"
	"doorward/store/sqlite"
)

// An issuer and an MCP server under it, in one process: whoever has no token is
// told where to get one.
func ExampleNew() {
	db, err := sqlite.Open(":memory:") // a path in production
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	as, err := authserver.New(authserver.Config{
		URL:   "http://127.0.0.1:8080",
		Store: db,
		SignIn: authserver.LocalPeople(map[string]authserver.LocalPerson{
			"alice": {Email: "alice@example.com", Password: "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$c29tZWhhc2g"},
		}),
		Registration: authserver.Registration{Mode: "open"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer as.Close()
	mcp := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := doorward.CallerFrom(r.Context())
		fmt.Fprintln(w, "hello,", who.Subject)
	})
	if err := as.Protect("/mcp", mcp); err != nil {
		log.Fatal(err)
	}
	// http.ListenAndServe("127.0.0.1:8080", as) in production
	w := httptest.NewRecorder()
	as.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8080/mcp", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output:
	// 401 Bearer resource_metadata="http://127.0.0.1:8080/.well-known/oauth-protected-resource/mcp"
}
