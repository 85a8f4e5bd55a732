package peer

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

var trusted = Trusted{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48")}

// covers: SEC-33, H08
func TestClient(t *testing.T) {
	for _, tt := range []struct {
		from      string
		forwarded []string
		want      string
		via       bool
	}{
		{"192.0.2.1:5", nil, "192.0.2.1", false},
		{"192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1", false}, // nobody whom we trust says so
		{"10.0.0.1:5", nil, "10.0.0.1", true},
		{"10.0.0.1:5", []string{"198.51.100.1"}, "198.51.100.1", true},
		{"10.0.0.1:5", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1", true}, // the first is invented
		{"10.0.0.1:5", []string{"203.0.113.9", "198.51.100.1,10.2.2.2"}, "198.51.100.1", true},
		{"10.0.0.1:5", []string{"10.9.9.9, 10.2.2.2"}, "10.9.9.9", true},
		{"10.0.0.1:5", []string{"203.0.113.9, unknown, 10.2.2.2"}, "10.2.2.2", true},
		{"10.0.0.1:5", []string{"203.0.113.9, "}, "10.0.0.1", true},
		{"10.0.0.1:5", []string{"198.51.100.1:4711"}, "198.51.100.1", true},
		{"10.0.0.1:5", []string{"[2001:db8::1]:4711"}, "2001:db8::1", true},
		{"10.0.0.1:5", []string{"[2001:db8::1]"}, "2001:db8::1", true},
		{"[::ffff:10.0.0.1]:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1", true},
		{"[2001:db8:f::1]:5", []string{"2001:db8::1"}, "2001:db8::1", true},
		{"10.0.0.1:5", []string{strings.Repeat("10.0.0.2,", 1000) + "10.0.0.3"}, "10.0.0.2", true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = tt.from, tt.forwarded
		got, via := trusted.Client(r)
		if got.String() != tt.want || via != tt.via {
			t.Errorf("%s %q: %s %t, not %s %t", tt.from, tt.forwarded, got, via, tt.want, tt.via)
		}
	}
}

// Other headers that proxies write change nothing, even from one that is
// trusted.
//
// covers: SEC-33
func TestHandler(t *testing.T) {
	var seen *http.Request
	h := Handler(func() Trusted { return trusted }, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }))
	for from, want := range map[string]string{"10.0.0.1:5": "198.51.100.1:0", "192.0.2.1:5": "192.0.2.1:5", "@": "@"} {
		r := httptest.NewRequest(http.MethodGet, "https://as.example/", nil)
		r.RemoteAddr = from
		r.Header.Set("X-Forwarded-For", "198.51.100.1")
		for _, name := range []string{"X-Real-Ip", "X-Client-Ip", "Forwarded", "X-Forwarded-Host"} {
			r.Header.Set(name, "for=203.0.113.9")
		}
		h.ServeHTTP(nil, r)
		if seen.RemoteAddr != want || seen.Host != "as.example" || Via(seen.Context()) != (from == "10.0.0.1:5") || r.RemoteAddr != from {
			t.Errorf("%s: %s %s", from, seen.RemoteAddr, seen.Host)
		}
	}
}

func FuzzClient(f *testing.F) {
	f.Add("10.0.0.1:5", "203.0.113.9, 198.51.100.1")
	f.Add("[2001:db8:f::1]:5", "[::1]:9,10.0.0.1,")
	f.Add("@", "unknown")
	f.Fuzz(func(t *testing.T, from, forwarded string) {
		r := &http.Request{RemoteAddr: from, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		client, via := trusted.Client(r)
		if own, ok := parse(from); !via && ok && client != own {
			t.Errorf("%q %q: %s is believed", from, forwarded, client)
		}
		if via && !client.IsValid() {
			t.Errorf("%q %q: no address", from, forwarded)
		}
	})
}
