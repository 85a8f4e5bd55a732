package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"doorward/internal/keep"
)

// provider is an OpenID provider whose device endpoint answers as told.
func provider(t *testing.T, device http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		meta := map[string]any{"issuer": srv.URL, "authorization_endpoint": srv.URL + "/authorize", "token_endpoint": srv.URL + "/token",
			"jwks_uri": srv.URL + "/jwks"}
		if device != nil {
			meta["device_authorization_endpoint"] = srv.URL + "/device"
			meta["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
		}
		json.NewEncoder(w).Encode(meta)
	})
	if device != nil {
		mux.HandleFunc("/device", device)
	}
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		if r.PostFormValue("client_secret") != longSecret {
			io.WriteString(w, `{"error":"invalid_client"}`)
			return
		}
		io.WriteString(w, `{"error":"access_denied","error_description":"she said no"}`)
	})
	return srv.URL
}

// Whatever a provider answers to a device ends the sign-in with a word about it.
func TestLoginByDeviceRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string // "-": no such endpoint
		says   string
	}{
		"not offered":  {"-", "use --flow browser"},
		"null":         {`null`, "no https URL"},
		"no JSON":      {`<html>`, "not the JSON"},
		"refused":      {`{"error":"unauthorized_client","error_description":"no devices"}`, "unauthorized_client: no devices"},
		"wrong types":  {`{"device_code":7}`, "not the JSON"},
		"script":       {`{"device_code":"d","user_code":"A","verification_uri":"javascript:alert(1)"}`, "no https URL"},
		"plain http":   {`{"device_code":"d","user_code":"A","verification_uri":"http://idp.example/"}`, "no https URL"},
		"script, too":  {`{"device_code":"d","user_code":"A","verification_uri":"https://idp.example/","verification_uri_complete":"javascript:x"}`, "no https URL"},
		"hidden code":  {`{"device_code":"d","user_code":"A\u001b[2JB","verification_uri":"https://idp.example/"}`, "no usable code"},
		"she says no":  {`{"device_code":"d","user_code":"A","verification_uri":"https://idp.example/","interval":1}`, "access_denied: she said no"},
		"odd interval": {`{"device_code":"d","user_code":"A","verification_uri":"https://idp.example/","interval":-1,"expires_in":1}`, "nobody entered the code"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, "SECRET", longSecret)
			var device http.HandlerFunc
			if c.answer != "-" {
				device = func(w http.ResponseWriter, r *http.Request) {
					if r.PostFormValue("client_id") != "c" || r.PostFormValue("client_secret") != longSecret || !strings.HasPrefix(r.PostFormValue("scope"), "openid") {
						t.Errorf("the device asks %v", r.PostForm)
					}
					io.WriteString(w, c.answer)
				}
			}
			d.refused(1, []string{"login", provider(t, device), "--client-id", "c", "--client-secret", "env:SECRET", "--flow", "device"}, c.says)
			d.refused(1, []string{"whoami"}, "nobody is signed in")
		})
	}
}

// At a provider of ours the code of a device signs a person in as the browser does.
func TestLoginByDevice(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "ALICE", alicesPassword, "IDP_SECRET", longSecret, "DOORWARD_STORE_KEY", strings.Repeat("a5", 32))
	file := filepath.Join(write(t, map[string]string{"idp.yaml": fmt.Sprintf(`
url: http://%s
ops: ""
people: {alice: {email: alice@example.com, password: "${ALICE}"}}
clients: {registered: {tv: {secret: "${IDP_SECRET}", grant_types: [device_code, refresh_token]}}}
`, free(t))}), "idp.yaml")
	idp := d.start("idp", "--config", file)
	r := d.browser(person(t, "alice", alicesPassword), "login", idp.url, "--client-id", "tv", "--client-secret", "env:IDP_SECRET", "--flow", "device")
	if r.code != 0 || !strings.Contains(r.out, "alice") || !strings.Contains(r.errs, "with the code") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.errs)
	}
}

// A stray answer ends no sign-in, and the page says how the right one ended.
//
// covers: C-CB-02, C-CB-06
func TestLoginPage(t *testing.T) {
	t.Parallel()
	var pages []string
	read := make(chan struct{}) // the last page may come after the end of the sign-in
	issuer := provider(t, nil)
	err := signInAt(t, issuer, func(ctx context.Context, address string) error {
		defer close(read)
		u, err := url.Parse(address)
		if err != nil {
			return err
		}
		back, state := u.Query().Get("redirect_uri"), u.Query().Get("state")
		for _, answer := range []url.Values{
			{"state": {"another"}, "code": {"c"}},
			{"code": {"c"}},
			{"state": {state}, "error": {"access_denied"}, "error_description": {"<script>"}},
		} {
			a := get(t, back+"?"+answer.Encode())
			pages = append(pages, fmt.Sprint(a.status, " ", a.body))
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("%v", err)
	}
	<-read
	for i, want := range []string{"Not open here", "Not open here", "Not signed in"} {
		if i >= len(pages) || !strings.HasPrefix(pages[i], "400 ") || !strings.Contains(pages[i], want) || strings.Contains(pages[i], "<script>") {
			t.Errorf("page %d: %q, want %q", i, pages, want)
		}
	}
}

// Over SSH without a display no browser is started, and the person learns how
// the answer comes back.
func TestAskingAPerson(t *testing.T) {
	address := "https://as.example/authorize?redirect_uri=" + url.QueryEscape("http://127.0.0.1:4711/callback")
	for name, c := range map[string]struct {
		vars   []string
		remote bool
	}{
		"SSH":              {[]string{"SSH_CONNECTION", "x"}, true},
		"SSH terminal":     {[]string{"SSH_TTY", "/dev/pts/1"}, true},
		"no SSH":           {nil, false},
		"SSH, with screen": {[]string{"SSH_CONNECTION", "x", "DISPLAY", ":10"}, false},
	} {
		d := newDesk(t, c.vars...)
		errs := newBuffer()
		e := d.env(io.Discard, errs)
		if e.remote() != c.remote {
			t.Errorf("%s: remote %v", name, !c.remote)
		}
		open := (&tokenFlags{noBrowser: true}).opener(e)
		if err := open(t.Context(), address); err != nil || strings.Contains(errs.String(), "ssh -L 4711:127.0.0.1:4711") != c.remote {
			t.Errorf("%s: %v, said %s", name, err, errs)
		}
	}
	errs := newBuffer()
	show := showCode(newDesk(t).env(io.Discard, errs))
	if err := show(t.Context(), "A-B", "https://as.example/go", ""); err != nil || !strings.Contains(errs.String(), "enter the code  A-B") {
		t.Errorf("%v: %s", err, errs)
	}
}

// Somebody else's login in the same profile takes nothing over; one that cannot
// be read is replaced, and one whose key is away is not.
func TestLoginOverWhatIsKept(t *testing.T) {
	t.Parallel()
	one := &keep.SignIn{Issuer: "https://idp.example", Subject: "one", IDToken: "t", Since: time.Now()}
	two := &keep.SignIn{Issuer: "https://idp.example", Subject: "two", IDToken: "t", Since: time.Now()}
	dir := t.TempDir()
	store := keep.New(keep.Config{Dir: dir, Key: strings.Repeat("a5", 32)})
	tokens := func(s *keep.SignIn) int {
		t.Helper()
		if _, err := keepSignIn(t.Context(), store, "p", s); err != nil {
			t.Fatal(err)
		}
		p, err := store.Read(t.Context(), "p")
		if err != nil || p.SignIn.Subject != s.Subject {
			t.Fatalf("%+v %v", p.SignIn, err)
		}
		return len(p.Tokens)
	}
	if err := store.Tokens("p", "", nil).Save(t.Context(), "k", []byte(`1`)); err != nil {
		t.Fatal(err)
	}
	if a, b, c := tokens(one), tokens(one), tokens(two); a != 1 || b != 1 || c != 0 {
		t.Errorf("tokens after the first sign-in %d, after another of the same person %d, after one of somebody else %d", a, b, c)
	}
	store = keep.New(keep.Config{Dir: dir, Key: strings.Repeat("5a", 32)})
	if n := tokens(one); n != 0 {
		t.Errorf("%d tokens of a file that could not be read", n)
	}
	store = keep.New(keep.Config{Dir: dir, Key: "short"})
	if _, err := keepSignIn(t.Context(), store, "p", one); err == nil {
		t.Error("signed in with a key that is none")
	}
}
