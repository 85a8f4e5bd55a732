package doorward_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward"
)

// TestParityClientErrors has the cases of the TypeScript client's other files
// that no other test asserts.
//
// covers: T11
func TestParityClientErrors(t *testing.T) {
	background := context.Background()
	get := func(t *testing.T, tr *doorward.Transport, address string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(background, http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	cases{
		"a GET stream": func(t *testing.T) {
			w := newWorld(t)
			w.scope = "read"
			tr := &doorward.Transport{Flow: machine()}
			first := get(t, tr, w.url())
			w.needs = "write"
			if second := get(t, tr, w.url()); first != 200 || second != 200 || w.forms["as"][1].Get("scope") != "read write" {
				t.Errorf("%d, then %d, %v", first, second, w.forms["as"])
			}
		},
		"registration over a dead network": func(t *testing.T) {
			// A port that was free a moment ago may be another test's by now; this one is nobody's.
			_, err := called(t, func(w *world, _ *doorward.AuthorizationCode) {
				w.asMetadata["registration_endpoint"] = "http://127.0.0.1:1"
			})
			var cause *url.Error
			if e := failed(t, err, "register"); !errors.As(e.Err, &cause) && !strings.Contains(e.Error(), "refused") {
				t.Errorf("%v", e)
			}
		},
		"the call itself fails": func(t *testing.T) {
			w := newWorld(t)
			w.mcp.Close()
			_, err := post(background, &doorward.Transport{Flow: w.code()}, w.url())
			var e *doorward.Error
			var network *url.Error
			if errors.As(err, &e) || !errors.As(err, &network) || len(w.trace()) > 0 {
				t.Errorf("%v", err)
			}
		},
		"a fragment is no part of the resource": func(t *testing.T) {
			w := newWorld(t)
			must(t, background, &doorward.Transport{Flow: machine()}, w.url()+"#part")
			if got := w.forms["as"][0].Get("resource"); got != w.url() {
				t.Errorf("resource %q", got)
			}
		},
		"a metadata document at the next issuer": func(t *testing.T) {
			w, next := newWorld(t), newWorld(t)
			w.asMetadata["client_id_metadata_document_supported"], next.asMetadata["client_id_metadata_document_supported"] = true, true
			flow := w.code()
			flow.ClientIDMetadataURL = "https://app.example/client.json"
			tr := &doorward.Transport{Flow: flow}
			must(t, background, tr, w.url())
			w.prm["authorization_servers"] = []string{next.as.URL}
			w.revoke()
			_, _ = post(background, tr, w.url()) // the MCP server knows none of its tokens
			if len(next.made) > 0 || len(next.sent) != 1 || next.sent[0].Get("client_id") != flow.ClientIDMetadataURL {
				t.Errorf("%d registrations, %v", len(next.made), next.sent)
			}
		},
	}.run(t)
}
