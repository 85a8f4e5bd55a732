package fetch

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// site is a server on loopback that counts its requests and connections.
func site(t *testing.T, secure bool, handler http.HandlerFunc) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	var seen atomic.Int32
	s := httptest.NewUnstartedServer(handler)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			seen.Add(1)
		}
	}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s, &seen
}

func trusting(s *httptest.Server) *http.Transport { return s.Client().Transport.(*http.Transport) }

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"hello":1}`) }

func TestGet(t *testing.T) {
	s, _ := site(t, true, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", r.Method+" "+r.Header.Get("Accept"))
		w.WriteHeader(http.StatusTeapot)
		hello(w, r)
	})
	res, err := New(Config{AllowLoopback: true, Transport: trusting(s)}).Get(t.Context(), s.URL+"/a?b")
	if err != nil {
		t.Fatal(err)
	}
	if res.Status != http.StatusTeapot || string(res.Body) != `{"hello":1}` || res.Header.Get("X-Seen") != "GET application/json" {
		t.Errorf("%+v", res)
	}
	if _, err := New(Config{AllowLoopback: true}).Get(t.Context(), s.URL); err == nil {
		t.Error("a certificate of nobody is trusted")
	}
}

// What a name resolves to counts, at the moment of the dial: no connection is
// made to a refused address, by literal or by name.
//
// covers: AS-CIMD-09, SEC-05
func TestRefusedAddressIsNotDialled(t *testing.T) {
	s, seen := site(t, true, hello)
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	for name, c := range map[string]Config{
		"nothing allowed": {Transport: trusting(s)},
		"private allowed": {Transport: trusting(s), AllowPrivate: true},
	} {
		for _, host := range []string{"127.0.0.1", "localhost", "localhost.", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "127.1", "0x7f000001", "2130706433"} {
			if _, err := New(c).Get(t.Context(), "https://"+host+port); err == nil {
				t.Errorf("%s: https://%s was fetched", name, host)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+host+port, strings.NewReader("a=b"))
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := New(c).RoundTripper().RoundTrip(req); err == nil {
				_ = resp.Body.Close()
				t.Errorf("%s: posted to https://%s", name, host)
			}
		}
	}
	if seen.Load() != 0 {
		t.Errorf("%d connections were made", seen.Load())
	}
	res, err := New(Config{Transport: trusting(s), AllowLoopback: true}).Get(t.Context(), s.URL)
	if err != nil || res.Status != 200 || seen.Load() != 1 {
		t.Errorf("where loopback is allowed: %v", err)
	}
}

// The check of a dial does not look at the name at all.
//
// covers: AS-CIMD-09, SEC-05
func TestControl(t *testing.T) {
	g := newGuard(Config{AllowLoopback: true})
	http1 := context.WithValue(t.Context(), plain{}, true)
	for _, c := range []struct {
		ctx              context.Context
		network, address string
		want             bool
	}{
		{t.Context(), "tcp4", "8.8.8.8:443", true},
		{t.Context(), "tcp4", "127.0.0.1:443", true},
		{t.Context(), "tcp4", "10.0.0.1:443", false},
		{t.Context(), "tcp6", "[fe80::1%eth0]:443", false},
		{t.Context(), "udp4", "8.8.8.8:443", false},
		{t.Context(), "unix", "/run/docker.sock", false},
		{t.Context(), "tcp4", "example.com:443", false},
		{http1, "tcp4", "127.0.0.1:80", true},
		{http1, "tcp4", "8.8.8.8:80", false},
	} {
		if err := g.control(c.ctx, c.network, c.address, nil); (err == nil) != c.want {
			t.Errorf("%s %s: %v, want accepted: %v", c.network, c.address, err, c.want)
		}
	}
}

// A name is refused for any of its addresses, and again if it resolves to
// another one at the dial.
//
// covers: AS-CIMD-09, SEC-05
func TestNames(t *testing.T) {
	s, seen := site(t, true, hello)
	local := "https://localhost" + s.URL[strings.LastIndexByte(s.URL, ':'):]
	for name, c := range map[string]struct {
		config Config
		first  []string // what the name resolves to at first; in truth it is loopback
		want   string
	}{
		"all are public, then loopback": {Config{}, []string{"8.8.8.8", "2606:4700::1111"}, "(loopback)"},
		"one is private":                {Config{AllowLoopback: true}, []string{"127.0.0.1", "8.8.8.8", "10.0.0.1"}, "10.0.0.1 is a special-use"},
		"one is private, mapped":        {Config{AllowLoopback: true}, []string{"127.0.0.1", "::ffff:10.0.0.1"}, "10.0.0.1 is a special-use"},
		"all are allowed":               {Config{AllowLoopback: true}, []string{"::ffff:127.0.0.1", "8.8.8.8"}, "certificate"},
	} {
		f := New(c.config)
		f.guard.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			var addrs []netip.Addr
			for _, a := range c.first {
				addrs = append(addrs, addr(a))
			}
			return addrs, nil
		}
		before := seen.Load()
		_, err := f.Get(t.Context(), local)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if dialled := seen.Load() > before; dialled != (c.want == "certificate") {
			t.Errorf("%s: connected: %v", name, dialled)
		}
	}
}

func TestCheckURL(t *testing.T) {
	strict, loose := newGuard(Config{}), newGuard(Config{AllowLoopback: true})
	for _, c := range []struct {
		url           string
		strict, loose bool
	}{
		{"https://example.com/a", true, true},
		{"https://example.com:8443/", true, true},
		{"https://8.8.8.8/", true, true},
		{"http://example.com/", false, false},
		{"http://8.8.8.8/", false, false},
		{"http://localhost:8080/", false, true},
		{"http://a.localhost/", false, true},
		{"http://127.0.0.1/", false, true},
		{"http://[::1]/", false, true},
		{"http://localhost.example.com/", false, false},
		{"http://notlocalhost/", false, false},
		{"https://127.0.0.1/", false, true},
		{"https://[::ffff:8.8.8.8]/", false, false},
		{"https://10.0.0.1/", false, false},
		{"https://user@example.com/", false, false},
		{"https://user:pass@example.com/", false, false},
		{"https://@example.com/", false, false},
		{"https:///a", false, false},
		{"https:example.com", false, false},
		{"//example.com/", false, false},
		{"file:///etc/passwd", false, false},
		{"gopher://example.com/", false, false},
		{"HTTPS://example.com/", true, true},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		for g, want := range map[*guard]bool{strict: c.strict, loose: c.loose} {
			if err := g.checkURL(u); (err == nil) != want {
				t.Errorf("%s (loopback %v): %v, want accepted: %v", c.url, g.c.AllowLoopback, err, want)
			}
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	target, seen := site(t, false, hello)
	for _, status := range []int{301, 302, 303, 307, 308} {
		s, _ := site(t, false, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, status) })
		res, err := New(Config{AllowLoopback: true}).Get(t.Context(), s.URL)
		if err != nil || res.Status != status || res.Header.Get("Location") != target.URL {
			t.Errorf("%d: %+v, %v", status, res, err)
		}
	}
	if seen.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestSizeIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		body  int
		gzip  bool
		write func(w io.Writer, n int)
		want  bool
	}{
		"at the limit":          {1000, false, nil, true},
		"one over":              {1001, false, nil, false},
		"far over":              {1 << 20, false, nil, false},
		"compressed, at it":     {1000, true, nil, true},
		"compressed, one over":  {1001, true, nil, false},
		"compressed, far over":  {8 << 20, true, nil, false},
		"no length, one over":   {1001, false, func(w io.Writer, n int) { io.WriteString(w, strings.Repeat("x", n)); w.(http.Flusher).Flush() }, false},
		"no length, at the end": {1000, false, func(w io.Writer, n int) { io.WriteString(w, strings.Repeat("x", n)); w.(http.Flusher).Flush() }, true},
	} {
		s, _ := site(t, false, func(w http.ResponseWriter, _ *http.Request) {
			switch {
			case c.gzip:
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				_, _ = io.WriteString(z, strings.Repeat("x", c.body))
				_ = z.Close()
			case c.write != nil:
				c.write(w, c.body)
			default:
				_, _ = io.WriteString(w, strings.Repeat("x", c.body))
			}
		})
		f := New(Config{AllowLoopback: true, MaxBytes: 1000})
		res, err := f.Get(t.Context(), s.URL)
		if (err == nil) != c.want || c.want && len(res.Body) != c.body {
			t.Errorf("%s: %d bytes, %v, want accepted: %v", name, len(res.Body), err, c.want)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, nil)
		resp, err := f.RoundTripper().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); (err == nil) != c.want {
			t.Errorf("%s by the transport: %v, want accepted: %v", name, err, c.want)
		}
		_ = resp.Body.Close()
	}
}

func TestTimeIsBounded(t *testing.T) {
	stop := make(chan struct{})
	s, _ := site(t, false, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "x")
		w.(http.Flusher).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	defer close(stop)
	start := time.Now()
	if _, err := New(Config{AllowLoopback: true, Timeout: 50 * time.Millisecond}).Get(t.Context(), s.URL); err == nil {
		t.Error("a body that never ends was read")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestEnvironmentProxyIsNotUsed(t *testing.T) {
	proxy, seen := site(t, false, hello)
	s, _ := site(t, true, hello)
	base := trusting(s).Clone()
	base.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	base.DialTLSContext = func(context.Context, string, string) (net.Conn, error) { return tls.Dial("tcp", "127.0.0.1:1", nil) }
	base.DialContext = func(context.Context, string, string) (net.Conn, error) { return net.Dial("tcp", "127.0.0.1:1") }
	if _, err := New(Config{AllowLoopback: true, Transport: base}).Get(t.Context(), s.URL); err != nil {
		t.Error(err)
	}
	if seen.Load() != 0 {
		t.Error("the proxy was asked")
	}
}

func TestErrorsKeepTheQuery(t *testing.T) {
	for _, u := range []string{"https://127.0.0.1/?token=secret", "https://u:secret@example.com/", "https://exa mple/?secret", "http://example.com/?secret"} {
		_, err := New(Config{}).Get(t.Context(), u)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
}

// Who brings a resolver and a dialer of their own gets the same checks, and the
// name is not resolved a second time.
//
// covers: AS-CIMD-09, SEC-05
func TestOwnLookupAndDial(t *testing.T) {
	s, seen := site(t, false, hello)
	port := s.URL[strings.LastIndexByte(s.URL, ':')+1:]
	for want, answers := range map[string][]netip.Addr{
		"":                         {addr("::ffff:127.0.0.1")},
		"10.0.0.1 is not loopback": {addr("127.0.0.1"), addr("10.0.0.1")},
		"has no address":           nil,
	} {
		var dialled []string
		f := New(Config{AllowLoopback: true,
			Lookup: func(context.Context, string, string) ([]netip.Addr, error) { return answers, nil },
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				dialled = append(dialled, address)
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}})
		before := seen.Load()
		_, err := f.Get(t.Context(), "http://mcp.localhost:"+port)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) || len(dialled) != 0 {
				t.Errorf("%q: %v, dialled %v", want, err, dialled)
			}
			continue
		}
		if err != nil || seen.Load() != before+1 || len(dialled) != 1 || dialled[0] != "127.0.0.1:"+port {
			t.Errorf("%v, dialled %v", err, dialled)
		}
	}
}
