package doorward_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"doorward"
)

// pushing gives the world's authorization server an endpoint for pushed
// requests, which answers as it is told, and keeps what it got.
func pushing(t *testing.T, w *world, status int, body string) (forms *[]url.Values, heads *[]http.Header) {
	t.Helper()
	forms, heads = &[]url.Values{}, &[]http.Header{}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		*forms, *heads = append(*forms, r.PostForm), append(*heads, r.Header)
		rw.Header().Set("Content-Type", "application/json")
		if status == http.StatusFound {
			rw.Header().Set("Location", "/elsewhere")
		}
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	w.asMetadata["pushed_authorization_request_endpoint"] = s.URL + "/par"
	return forms, heads
}

// A request that is pushed leaves nothing but its name for the browser to carry.
func TestPushedRequest(t *testing.T) {
	w := newWorld(t)
	w.scope = "read"
	w.asMetadata["authorization_endpoint"] = w.as.URL + "/authorize?tenant=7"
	forms, heads := pushing(t, w, 201, `{"request_uri":"urn:ietf:params:oauth:request_uri:one","expires_in":60}`)
	var opened url.Values
	flow := w.code()
	flow.Client = doorward.Credentials{ID: "known", Secret: "s"}
	flow.Open = func(ctx context.Context, address string) error {
		u, _ := url.Parse(address)
		opened = u.Query()
		form := (*forms)[0]
		return visit(ctx, form.Get("redirect_uri")+"?"+url.Values{"code": {"code-1"}, "state": {form.Get("state")}, "iss": {w.as.URL}}.Encode())
	}
	must(t, context.Background(), &doorward.Transport{Flow: flow}, w.url())
	if len(opened) != 3 || opened.Get("client_id") != "known" || opened.Get("request_uri") != "urn:ietf:params:oauth:request_uri:one" || opened.Get("tenant") != "7" {
		t.Errorf("the browser carried %v", opened)
	}
	form := (*forms)[0]
	for _, name := range []string{"state", "code_challenge", "redirect_uri", "resource", "scope", "response_type", "client_id"} {
		if form.Get(name) == "" {
			t.Errorf("the pushed request has no %s", name)
		}
	}
	if form.Get("resource") != w.url() || form.Has("client_secret") || form.Has("code_verifier") {
		t.Errorf("pushed %v", form)
	}
	if id, secret, ok := (&http.Request{Header: (*heads)[0]}).BasicAuth(); !ok || id != "known" || secret != "s" {
		t.Error("the client did not authenticate")
	}
}

// covers: C-REG-07
func TestPushedRequestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		must   bool   // the server wants pushed requests only
		opened bool   // the browser was sent all the same
		code   string // of the error
	}{
		"refused":              {400, `{"error":"invalid_scope"}`, false, false, "invalid_scope"},
		"refused with 200":     {200, `{"error":"invalid_scope"}`, false, false, "invalid_scope"},
		"not for this client":  {403, `{"error":"unauthorized_client"}`, false, true, ""},
		"not there":            {404, `<html>`, false, true, ""},
		"broken":               {500, ``, false, true, ""},
		"no request_uri":       {201, `{}`, false, true, ""},
		"a redirect":           {302, ``, false, true, ""},
		"must, not there":      {404, ``, true, false, ""},
		"must, no request_uri": {201, `{"request_uri":7}`, true, false, ""},
		"must, not for it":     {403, `{"error":"unauthorized_client"}`, true, false, "unauthorized_client"},
		"unknown client":       {401, `{"error":"invalid_client"}`, false, false, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.asMetadata["require_pushed_authorization_requests"] = c.must
			forms, _ := pushing(t, w, c.status, c.body)
			_, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
			if (err == nil) != c.opened || (len(w.sent) > 0) != c.opened {
				t.Fatalf("error %v, %d requests by the browser", err, len(w.sent))
			}
			var e *doorward.Error
			if !c.opened && (!errors.As(err, &e) || e.Step != "authorize" || e.Code != c.code) {
				t.Errorf("error %v", err)
			}
			if again := len(*forms) == 2 && len(w.made) == 2; again != (c.code == "invalid_client") {
				t.Errorf("%d pushed requests by %d clients", len(*forms), len(w.made))
			}
		})
	}
	w := newWorld(t)
	w.asMetadata["require_pushed_authorization_requests"] = true
	if _, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url()); err == nil || len(w.sent) > 0 {
		t.Errorf("pushed requests only, and no endpoint: %v", err)
	}
}
