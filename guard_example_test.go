package doorward_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"doorward"
	"doorward/authserver"
	"doorward/store/sqlite"
)

// An MCP server whose tokens another authorization server makes. Its keys are
// found through its metadata when the first token comes.
//
// covers: A02, J24
func ExampleNewGuard() {
	guard, err := doorward.NewGuard(doorward.GuardConfig{
		Resource: "https://files.example.com/mcp",
		Name:     "Files",
		Issuers:  []string{"https://auth.example.com"},
		Scopes:   []string{"files:read"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	guard.Mount(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := doorward.CallerFrom(r.Context())
		fmt.Fprintln(w, "hello,", who.Subject)
	}))
	// http.ListenAndServe("127.0.0.1:8080", mux), behind TLS

	for _, path := range []string{"/mcp", "/.well-known/oauth-protected-resource/mcp"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://files.example.com"+path, nil))
		fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	}
	// Output:
	// 401 Bearer resource_metadata="https://files.example.com/.well-known/oauth-protected-resource/mcp", scope="files:read"
	// 200
}

// exampleIssuer is an authorization server in this process, with a client for
// itself and one that stands for the server at resource.
func exampleIssuer(resource string) *httptest.Server {
	db, err := sqlite.Open(":memory:")
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(nil)
	as, err := authserver.New(authserver.Config{
		URL: "http://" + srv.Listener.Addr().String(), Store: db,
		Clients: map[string]authserver.Client{
			"nightly": {Secret: "a secret of the nightly job", GrantTypes: []string{"client_credentials"}},
			"files":   {Secret: "a secret of the file server", Introspects: []string{resource}},
		},
		Resources: []authserver.Resource{{
			ID: resource, Scopes: map[string]string{"files:read": "Read files", "files:write": "Change files"}, DefaultScopes: []string{"files:read"},
			Allow: []authserver.Rule{{Who: []string{"client:nightly"}}},
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	srv.Config.Handler = as
	srv.Start()
	return srv
}

// fetch asks the server as the nightly job would, and prints what comes.
func fetch(method, url, issuer string) {
	client := &http.Client{Transport: &doorward.Transport{Flow: &doorward.ClientCredentials{
		Client: doorward.Credentials{Issuer: issuer, ID: "nightly", Secret: "a secret of the nightly job"},
	}}}
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(method, resp.StatusCode, strings.TrimSpace(string(body)))
}

// Scopes for operations. Whoever may change files may read them; a client that
// lacks a scope is told which, and gets it if its issuer lets it.
func ExampleGuard_Require() {
	srv := httptest.NewUnstartedServer(nil)
	resource := "http://" + srv.Listener.Addr().String() + "/mcp"
	issuer := exampleIssuer(resource)
	defer issuer.Close()
	guard, err := doorward.NewGuard(doorward.GuardConfig{
		Resource: resource, Issuers: []string{issuer.URL}, Scopes: []string{"files:read"},
		Implies: map[string][]string{"files:write": {"files:read"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	guard.Mount(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && !guard.Require(w, r, "files:write") {
			return
		}
		who, _ := doorward.CallerFrom(r.Context())
		fmt.Fprintln(w, who.ClientID, who.Scopes)
	}), "files:read")
	srv.Config.Handler = mux
	srv.Start()
	defer srv.Close()

	fetch(http.MethodGet, resource, issuer.URL)
	fetch(http.MethodPost, resource, issuer.URL)
	// Output:
	// GET 200 nightly [files:read]
	// POST 200 nightly [files:read files:write]
}

// A guard that asks the issuer about each token. Opaque tokens can be taken,
// and one that is revoked there stops here within 30 seconds.
//
// covers: RS-TOK-11, J25
func ExampleNewGuard_introspection() {
	srv := httptest.NewUnstartedServer(nil)
	resource := "http://" + srv.Listener.Addr().String() + "/mcp"
	issuer := exampleIssuer(resource)
	defer issuer.Close()
	guard, err := doorward.NewGuard(doorward.GuardConfig{
		Resource: resource, Issuers: []string{issuer.URL},
		Introspect: map[string]doorward.Credentials{issuer.URL: {ID: "files", Secret: "a secret of the file server"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	guard.Mount(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := doorward.CallerFrom(r.Context())
		fmt.Fprintln(w, "hello,", who.ClientID)
	}))
	srv.Config.Handler = mux
	srv.Start()
	defer srv.Close()

	fetch(http.MethodGet, resource, issuer.URL)
	// Output:
	// GET 200 hello, nightly
}
