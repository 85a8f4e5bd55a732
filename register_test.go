package doorward_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"doorward"
)

// registrar is a registration endpoint that answers as it is told and keeps
// what it was asked.
func registrar(t *testing.T, w *world, status int, body string) *[]*http.Request {
	t.Helper()
	var asked []*http.Request
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r)
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	w.asMetadata["registration_endpoint"] = s.URL + "/register"
	return &asked
}

// covers: S05
func TestRefusedRegistrationSaysWhatWasAskedAndAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		status           int
		body             string
		code, says, lack string
		retry            bool
	}{
		"OAuth error":  {400, `{"error":"invalid_redirect_uri","error_description":"no loopback here"}`, "invalid_redirect_uri", "no loopback here", "", false},
		"text":         {403, "Registration is closed. Ask ops@example.com.\n", "", "Registration is closed", "", false},
		"busy":         {503, "", "", "", "", true},
		"token echoed": {401, `initial-access-token is not valid`, "", "... is not valid", "initial-access-token", false},
		"token in the description": {401, `{"error":"invalid_token","error_description":"initial-access-token expired"}`,
			"invalid_token", "... expired", "initial-access-token", false},
		"long": {400, strings.Repeat("x", 5000), "", "xxx", strings.Repeat("x", 400), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			registrar(t, w, c.status, c.body)
			flow := w.code()
			flow.InitialAccessToken = "initial-access-token"
			_, err := post(context.Background(), &doorward.Transport{Flow: flow}, w.url())
			var e *doorward.Error
			if !errors.As(err, &e) || e.Step != "register" || e.Server != w.as.URL || e.Status != c.status || e.Code != c.code || e.Retry != c.retry {
				t.Fatalf("error %+v", e)
			}
			if !strings.Contains(e.Description, c.says) || c.lack != "" && strings.Contains(err.Error(), c.lack) {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(e.Err.Error(), "http://127.0.0.1:") || !strings.Contains(e.Err.Error(), "native") {
				t.Errorf("what was asked: %v", e.Err)
			}
		})
	}
}

// covers: S17
func TestInitialAccessToken(t *testing.T) {
	w, evil := newWorld(t), newWorld(t)
	asked := registrar(t, w, 201, `{"client_id":"dynamic-1"}`)
	stolen := registrar(t, evil, 201, `{"client_id":"dynamic-1"}`)
	flow := w.code()
	flow.InitialAccessToken = "initial-access-token"
	tr := &doorward.Transport{Flow: flow}
	must(t, context.Background(), tr, w.url())
	if got := (*asked)[0].Header.Get("Authorization"); got != "Bearer initial-access-token" {
		t.Errorf("Authorization %q", got)
	}
	var e *doorward.Error
	if _, err := post(context.Background(), tr, evil.url()); !errors.As(err, &e) || len(*stolen) > 0 {
		t.Errorf("another issuer: error %v, %d registrations", err, len(*stolen))
	}
	flow.Client.Issuer = w.as.URL
	if _, err := post(context.Background(), &doorward.Transport{Flow: flow}, evil.url()); !errors.As(err, &e) || len(*stolen) > 0 {
		t.Errorf("another issuer than the configured one: error %v, %d registrations", err, len(*stolen))
	}
}

// What an authorization server made of the registration is used as it says, or
// not at all.
//
// covers: C-REG-08
func TestOnlyRegisteredRedirectURIsAreUsed(t *testing.T) {
	w := newWorld(t)
	tr := &doorward.Transport{Flow: w.code()}
	must(t, context.Background(), tr, w.url())
	w.revoke()
	must(t, context.Background(), tr, w.url())
	uris, _ := w.made[0]["redirect_uris"].([]any)
	for i, q := range w.sent {
		if len(w.made) != 1 || len(uris) != 1 || q.Get("redirect_uri") != uris[0] || q.Get("redirect_uri") != w.forms["as"][i].Get("redirect_uri") {
			t.Errorf("registered %v, sent to %q and redeemed with %q", uris, q.Get("redirect_uri"), w.forms["as"][i].Get("redirect_uri"))
		}
	}
	for name, answer := range map[string]string{
		"another URI":      `{"client_id":"c","redirect_uris":["https://evil.example/callback"]}`,
		"another path":     `{"client_id":"c","redirect_uris":["http://127.0.0.1/other"]}`,
		"secret forgotten": `{"client_id":"c","token_endpoint_auth_method":"client_secret_basic"}`,
	} {
		w := newWorld(t)
		registrar(t, w, 201, answer)
		var e *doorward.Error
		if _, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url()); !errors.As(err, &e) || e.Step != "register" || len(w.sent) > 0 {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for _, uri := range []string{"http://app.example/callback", "https://app.example/callback", "http://127.0.0.1.evil.example/cb", "com.example.app:/cb"} {
		w := newWorld(t)
		flow := w.code()
		flow.RedirectURL = uri
		if _, err := post(context.Background(), &doorward.Transport{Flow: flow}, w.url()); err == nil || len(w.sent)+len(w.made) > 0 {
			t.Errorf("%s: error %v", uri, err)
		}
	}
}

// The server moves to another authorization server: that one learns nothing of
// the first.
//
// covers: SEC-36, C-REG-02
func TestNewIssuerLearnsNothingOfTheOld(t *testing.T) {
	w, next := newWorld(t), newWorld(t)
	registrar(t, w, 201, `{"client_id":"id-at-the-first","client_secret":"secret-at-the-first","token_endpoint_auth_method":"client_secret_post"}`)
	w.token = func(url.Values) (int, map[string]any) {
		return 200, m{"refresh_token": "refresh-at-the-first", "access_token": "access-at-the-first"}
	}
	var all strings.Builder
	log := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		fmt.Fprintf(&all, "%s %v %v\n", r.URL, r.Header, r.PostForm)
		next.as.Config.Handler.ServeHTTP(rw, r)
	}))
	defer log.Close()
	for _, name := range []string{"issuer", "token_endpoint", "authorization_endpoint", "registration_endpoint"} {
		next.asMetadata[name] = strings.Replace(next.asMetadata[name].(string), next.as.URL, log.URL, 1)
	}
	next.authorize = func(q url.Values) { q.Set("iss", log.URL) }

	tr := &doorward.Transport{Flow: w.code()}
	w.live["access-at-the-first"] = url.Values{}
	must(t, context.Background(), tr, w.url())
	w.prm["authorization_servers"] = []string{log.URL}
	w.revoke()
	if status, err := post(context.Background(), tr, w.url()); err != nil || status != 401 { // the MCP server knows none of its tokens
		t.Fatalf("status %d, error %v", status, err)
	}
	if len(next.made) != 1 || len(next.sent) != 1 || next.count("as") != 1 {
		t.Fatalf("%d registrations, %d sign-ins, %d token requests at the new one", len(next.made), len(next.sent), next.count("as"))
	}
	made, _ := json.Marshal(next.made)
	for _, word := range []string{"id-at-the-first", "secret-at-the-first", "refresh-at-the-first", "access-at-the-first"} {
		if strings.Contains(all.String()+string(made), word) {
			t.Errorf("the new authorization server got %s:\n%s", word, all.String())
		}
	}
}

// covers: C-REG-03, S02
func TestClientIDMetadataDocument(t *testing.T) {
	flow := &doorward.AuthorizationCode{ClientIDMetadataURL: "https://app.example/oauth/client.json", ClientName: "My agent", RedirectURL: "http://127.0.0.1/back",
		Client: doorward.Credentials{Secret: "never"}, InitialAccessToken: "never"}
	rec := httptest.NewRecorder()
	flow.ServeClientID(rec, httptest.NewRequest(http.MethodGet, "/oauth/client.json", nil))
	var d map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &d); err != nil || rec.Code != 200 || rec.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, %s", rec.Code, rec.Body)
	}
	if d["client_id"] != flow.ClientIDMetadataURL || d["client_name"] != "My agent" || d["token_endpoint_auth_method"] != "none" || d["application_type"] != "native" ||
		fmt.Sprint(d["redirect_uris"]) != "[http://127.0.0.1/back]" || fmt.Sprint(d["grant_types"]) != "[authorization_code refresh_token]" {
		t.Errorf("document %v", d)
	}
	if strings.Contains(rec.Body.String(), "never") || d["client_secret"] != nil {
		t.Errorf("a secret stands in %s", rec.Body)
	}
	for address, ok := range map[string]bool{
		"https://app.example/client.json": true, "https://app.example/client.json?v=1": true,
		"https://app.example": false, "https://app.example/": false, "http://app.example/c": false, "https://u@app.example/c": false,
		"https://app.example/c#f": false, "https://app.example/../c": false, "https://app.example/a/./c": false, "client.json": false, "https:///c": false,
	} {
		w := newWorld(t)
		w.asMetadata["client_id_metadata_document_supported"] = true
		flow := w.code()
		flow.ClientIDMetadataURL = address
		_, err := post(context.Background(), &doorward.Transport{Flow: flow}, w.url())
		var e *doorward.Error
		if ok && (err != nil || w.sent[0].Get("client_id") != address) || !ok && (!errors.As(err, &e) || e.Step != "configure" || len(w.sent) > 0) {
			t.Errorf("%s: error %v", address, err)
		}
		rec := httptest.NewRecorder()
		flow.ServeClientID(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		if (rec.Code == 200) != ok {
			t.Errorf("%s: the document has status %d", address, rec.Code)
		}
	}
	w := newWorld(t) // which does not say that it takes such documents
	flow = w.code()
	flow.ClientIDMetadataURL = "https://app.example/client.json"
	must(t, context.Background(), &doorward.Transport{Flow: flow}, w.url())
	if w.sent[0].Get("client_id") != "dynamic-1" {
		t.Errorf("client_id %q at a server that takes no metadata documents", w.sent[0].Get("client_id"))
	}
}

// A registered client authenticates as its registration says; where that says
// nothing, by a method of the metadata, and basic where there is none.
//
// covers: C-REG-06
func TestMethodOfTheRegistration(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		listed any
		want   string
	}{
		"post, though basic is listed": {`{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"client_secret_post"}`, []string{"client_secret_basic"}, "post"},
		"basic, though post is listed": {`{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"client_secret_basic"}`, []string{"client_secret_post"}, "basic"},
		"none, though it has a secret": {`{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"none"}`, []string{"client_secret_basic"}, "none"},
		"not said, post is listed":     {`{"client_id":"c","client_secret":"s"}`, []string{"client_secret_post"}, "post"},
		"not said, nothing is listed":  {`{"client_id":"c","client_secret":"s"}`, nil, "basic"},
		"not said, no secret":          {`{"client_id":"c"}`, []string{"client_secret_basic", "none"}, "none"},
	} {
		w := newWorld(t)
		if w.asMetadata["token_endpoint_auth_methods_supported"] = c.listed; c.listed == nil {
			delete(w.asMetadata, "token_endpoint_auth_methods_supported")
		}
		registrar(t, w, 201, c.answer)
		must(t, context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
		form, got := w.forms["as"][0], "none"
		if _, _, ok := (&http.Request{Header: w.heads["as"][0]}).BasicAuth(); ok {
			got = "basic"
		}
		if form.Has("client_secret") {
			got = strings.TrimPrefix(got+" and post", "none and ")
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
