package authserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"doorward/internal/fetch"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// internet is a world where names under tarpit.example lead to hosts that never
// answer, and all others to one server with documents.
type internet struct {
	*docs
	hanging chan string   // a fetch that hangs from now on
	let     chan struct{} // closed: those that hang fail
	wg      sync.WaitGroup
}

func newInternet(t *testing.T, s *site) *internet {
	n := &internet{docs: newDocs(t), hanging: make(chan string, 100), let: make(chan struct{})}
	roots := x509.NewCertPool()
	roots.AddCert(n.Certificate())
	tarpit, web := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("1.1.1.1")
	fetcher := fetch.New(fetch.Config{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}},
		Lookup: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if strings.HasSuffix(strings.TrimSuffix(host, "."), ".tarpit.example") {
				return []netip.Addr{tarpit}, nil
			}
			return []netip.Addr{web}, nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, tarpit.String()) {
				n.hanging <- address
				<-n.let
				return nil, errors.New("timeout")
			}
			return (&net.Dialer{}).DialContext(ctx, network, n.Listener.Addr().String())
		},
	})
	s.current().documents.fetcher, s.current().documents.keyFetcher = fetcher, fetcher
	t.Cleanup(n.release)
	return n
}

// release ends what hangs.
func (n *internet) release() {
	select {
	case <-n.let:
	default:
		close(n.let)
	}
	n.wg.Wait()
}

// hang runs what will wait for a tarpit, and returns when it waits.
func (n *internet) hang(f func()) {
	n.wg.Go(f)
	<-n.hanging
}

func (n *internet) publish(id string) string {
	u, _ := url.Parse(id)
	n.raw(u.Path, func(w http.ResponseWriter) {
		fmt.Fprintf(w, `{"client_id":%q,"client_name":"C","redirect_uris":["https://notes.example/cb"]}`, id)
	})
	return id
}

// begin opens the authorization page of a client from an address.
func begin(s *site, address, id string) reply {
	r := httptest.NewRequest(http.MethodGet, s.ask(id, "https://notes.example/cb"), nil)
	r.RemoteAddr = address
	return send(s.Server, r)
}

// Hosts that never answer, named by strangers at many addresses, keep other
// strangers' documents out for a while, and no known client.
//
// covers: AS-CIMD-13, SEC-24
func TestTarpitsKeepNoKnownClientOut(t *testing.T) {
	s := newSite(t, nil)
	n := newInternet(t, s)
	for i := range maxFetches {
		n.hang(func() {
			begin(s, fmt.Sprintf("192.0.2.%d:1", i/maxHeld), fmt.Sprintf("https://h%d.tarpit.example/c", i))
		})
	}
	known, other := n.publish("https://claude.ai/oauth/mcp-oauth-client-metadata"), n.publish("https://notes.example/c")
	if got := begin(s, "192.0.2.100:1", known); got.status != http.StatusSeeOther {
		t.Errorf("a known client: %d %s", got.status, got.body)
	}
	if got := begin(s, "192.0.2.100:1", other); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "5" || !strings.Contains(got.body, "at once") {
		t.Errorf("one more: %d %v %s", got.status, got.header, got.body)
	}
	n.release()
	if got := begin(s, "192.0.2.100:1", other); got.status != http.StatusSeeOther {
		t.Errorf("when they are over: %d %s", got.status, got.body)
	}
	if d := s.current().documents; d.strangers != 0 || len(d.held) != 0 {
		t.Errorf("after all: %d under way, %v", d.strangers, d.held)
	}
}

// One requester holds few fetches at once, of documents and keys together. That
// is said to them alone, and says nothing about the client or its keys.
//
// covers: AS-CIMD-13, SEC-24
func TestOneRequesterHoldsFewFetches(t *testing.T) {
	s := newSite(t, nil)
	n := newInternet(t, s)
	signs := func(address, id, keys string) error {
		token, err := testKeys()["es"].Sign("", map[string]any{"iss": id, "sub": id, "aud": s.url, "jti": newID(), "exp": s.now().Unix() + 60})
		if err != nil {
			t.Fatal(err)
		}
		c := ledger.Client{ID: id, Source: ledger.FromDynamic, AuthMethod: authPrivateKey, JWKSURI: keys}
		return s.checkClientAssertion(context.WithValue(t.Context(), requesterKey{}, address), s.current(), c, token)
	}
	for i := range maxHeld {
		host := fmt.Sprintf("https://h%d.tarpit.example", i)
		n.hang(func() {
			if i%2 == 0 {
				begin(s, "192.0.2.1:1", host+"/c")
			} else {
				signs("192.0.2.1:1", "c", host+"/jwks")
			}
		})
	}
	n.raw("/jwks", func(w http.ResponseWriter) { w.Write(jwksOf("es")) })
	id := n.publish("https://notes.example/c")
	if got := begin(s, "192.0.2.1:2", id); got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "5" {
		t.Errorf("the fifth: %d %v %s", got.status, got.header, got.body)
	}
	var busy *oauth.Error
	if err := signs("192.0.2.1:2", "c", "https://notes.example/jwks"); !errors.As(err, &busy) || busy.Code != oauth.TooManyRequests {
		t.Errorf("the fifth, keys: %v", err)
	}
	if err := signs("192.0.2.2:1", "c", "https://notes.example/jwks"); err != nil {
		t.Errorf("another, right after, for the same keys: %v", err)
	}
	if got := begin(s, "192.0.2.2:1", id); got.status != http.StatusSeeOther {
		t.Errorf("another: %d %s", got.status, got.body)
	}
	n.release()
	if got := begin(s, "192.0.2.1:2", n.publish("https://notes.example/later")); got.status != http.StatusSeeOther {
		t.Errorf("when they are over: %d %s", got.status, got.body)
	}
}
