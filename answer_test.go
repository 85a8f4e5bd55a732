package doorward

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "1e3": 0, "99999999999": time.Hour, "999999999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat):    time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat):   0,
		now.Add(48 * time.Hour).Format(http.TimeFormat): time.Hour,
		"Fri, 02 Jan 2026 03:04:15 +0100":               0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// Whatever a token endpoint answers is read to a value or to none.
func FuzzTokenAnswer(f *testing.F) {
	for _, seed := range []string{`{"access_token":"a","token_type":"Bearer","expires_in":"60","scope":"a b"}`, `{"access_token":7}`, `{"expires_in":null}`,
		`{"expires_in":1e99}`, `{"error":"x","error_uri":"https://a.example/why"}`, `[]`, `{"scope":["a"]}`, `{"access_token":"e30.eyJleHAiOjE3NjAwMDAwMDB9.x"}`} {
		f.Add([]byte(seed))
	}
	now := time.Unix(1.7e9, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		a, readable := readAnswer(body)
		var object map[string]json.RawMessage
		if readable && json.Unmarshal(body, &object) != nil {
			t.Errorf("%q is no object", body)
		}
		if until := a.until(now); !until.IsZero() && until.After(now.Add(11*365*24*time.Hour)) && expOf(a.AccessToken).IsZero() {
			t.Errorf("it lives until %v", until)
		}
		if uri := a.errorURI(); uri != "" && !strings.HasPrefix(uri, "https://") {
			t.Errorf("error_uri %q", uri)
		}
		a.scopes(nil)
	})
}

// What lies in a TokenStore may be half written: it is a grant of this version
// for the server, or none.
func FuzzKeptGrant(f *testing.F) {
	for _, seed := range []string{`{"v":1,"covers":"https://a.example/mcp","issuer":"https://as.example","access":"t"}`, `{"v":1,"covers":"https://b.example/","issuer":"https://as.example"}`, `{"v":2}`, `{"v":1`, `null`, `{"v":1,"expires":"x"}`} {
		f.Add([]byte(seed))
	}
	tr := &Transport{Flow: &CrossApp{}, Store: storeOf(nil)}
	f.Fuzz(func(t *testing.T, value []byte) {
		tr.Store = storeOf(value)
		k, err := tr.load(t.Context(), "https://a.example/mcp", "k")
		if err != nil {
			t.Fatal(err)
		}
		at, ok := tr.targetOf(k, address{"https", "a.example", "/mcp", "", ""})
		if ok && (at.by.typed || !strings.HasPrefix(strings.ToLower(at.covers), "https://a.example")) {
			t.Errorf("%q is taken for %+v", value, at)
		}
	})
}

// storeOf is a TokenStore with one value.
type storeOf []byte

func (s storeOf) Load(context.Context, string) ([]byte, error) { return s, nil }
func (s storeOf) Save(context.Context, string, []byte) error   { return nil }
func (s storeOf) Lock(context.Context, string) (func(), error) { return func() {}, nil }
