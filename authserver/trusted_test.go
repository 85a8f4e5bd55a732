package authserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// moody is an issuer that is not always well. It says where its keys are.
type moody struct {
	mu    sync.Mutex
	mode  string
	keys  []*jose.Key
	asked int // for the key set, or for what leads there
}

func (m *moody) set(mode string, keys ...*jose.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mode = mode
	if keys != nil {
		m.keys = keys
	}
}

func (m *moody) times() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

// moods are what goes wrong, and whether it is an outage: a key set that can be
// read and has no key for us says that all keys were withdrawn.
var moods = []struct {
	name   string
	outage bool
}{
	{"slow", true}, {"slow body", true}, {"down", true}, {"500", true}, {"page", true}, {"redirect", true}, {"huge", true}, {"endless", true}, {"broken", true},
	{"no keys member", true}, {"keys of a wrong type", true}, {"too many keys", true}, {"another issuer", true}, {"keys by http", true}, {"no jwks_uri", true},
	{"no key", false}, {"a secret key", false}, {"a key that is not for signatures", false},
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// stuck is a body that does not come before the request is given up.
type stuck struct{ r *http.Request }

func (s stuck) Read([]byte) (int, error) { <-s.r.Context().Done(); return 0, s.r.Context().Err() }

func (m *moody) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	m.asked++
	mode, set := m.mode, jose.NewSet(m.keys...)
	m.mu.Unlock()
	status, body := 200, io.Reader(strings.NewReader(""))
	text := func(s string) { body = strings.NewReader(s) }
	metadata := strings.Contains(r.URL.Path, "/.well-known/")
	switch {
	case mode == "slow":
		<-r.Context().Done()
		return nil, r.Context().Err()
	case mode == "slow body":
		body = stuck{r}
	case mode == "down":
		return nil, errors.New("connection refused")
	case mode == "500":
		status = 500
	case mode == "redirect":
		status = 302
	case mode == "page":
		text("<html>Sorry</html>")
	case mode == "another issuer" && metadata:
		text(`{"issuer":"https://evil.example","jwks_uri":"` + idpURL + `/jwks"}`)
	case mode == "keys by http" && metadata:
		text(`{"issuer":"` + idpURL + `","jwks_uri":"http://idp.example/jwks"}`)
	case mode == "no jwks_uri" && metadata:
		text(`{"issuer":"` + idpURL + `"}`)
	case metadata:
		text(`{"issuer":"` + idpURL + `","jwks_uri":"` + idpURL + `/jwks"}`)
	case mode == "huge":
		text(`{"keys":[` + strings.Repeat(" ", 1<<20) + `]}`)
	case mode == "endless":
		body = io.MultiReader(strings.NewReader(`{"keys":[`), endless{})
	case mode == "broken":
		text(`{"keys":[{"kty":`)
	case mode == "no keys member":
		text(`{"error":"temporarily_unavailable"}`)
	case mode == "keys of a wrong type":
		text(`{"keys":{"kty":"EC"}}`)
	case mode == "too many keys":
		text(`{"keys":[` + strings.Repeat(`{},`, 200) + `{}]}`)
	case mode == "no key":
		text(`{"keys":[]}`)
	case mode == "a secret key":
		text(`{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`)
	default:
		doc, err := json.Marshal(set)
		if err != nil {
			return nil, err
		}
		if mode == "a key that is not for signatures" {
			doc = bytes.ReplaceAll(doc, []byte(`"sig"`), []byte(`"enc"`))
		}
		body = bytes.NewReader(doc)
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Location": {"https://evil.example/jwks"}}, Body: io.NopCloser(body), Request: r}, nil
}

// moodyWorld trusts it, and another issuer, which is always well.
func moodyWorld(t *testing.T, mode string) (*world, *moody) {
	m := &moody{mode: mode, keys: []*jose.Key{testKeys()["es"]}}
	w := newWorld(t, func(as, _ *Config) {
		as.HTTP = byHost{"idp.example": m, "well.example": keysOf{"well.example": jwksOf("ed")}}
		as.Issuers["well"] = TrustedIssuer{Issuer: "https://well.example", JWKSURI: "https://well.example/jwks"}
	})
	return w, m
}

// byHost brings requests to whom they are for.
type byHost map[string]http.RoundTripper

func (h byHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if to := h[r.URL.Host]; to != nil {
		return to.RoundTrip(r)
	}
	return nil, errors.New("no route to " + r.URL.Host)
}

// bring redeems an ID-JAG that was just signed with a key. However the issuer
// is, the answer comes in time.
func (w *world) bring(t *testing.T, key *jose.Key, change map[string]any) reply {
	t.Helper()
	token := w.sign(t, key, oauth.TypIDJAG, change)
	began := time.Now()
	r := post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+token))
	if took := time.Since(began); took > issuerPatience+5*time.Second {
		t.Errorf("an answer after %v", took)
	}
	if r.status != 200 && (r.status != 400 || r.text("error") != oauth.InvalidGrant) {
		t.Errorf("%d %s", r.status, r.body)
	}
	return r
}

// An issuer that cannot be asked, or answers nonsense, is honoured with the last
// keys that it published, for a day, and nobody waits for it.
//
// covers: AS-JAG-04, X-JWT-07
func TestIssuerThatIsNotWell(t *testing.T) {
	for _, mood := range moods {
		t.Run(mood.name, func(t *testing.T) {
			t.Parallel()
			w, m := moodyWorld(t, "")
			key := testKeys()["es"]
			if r := w.bring(t, key, nil); r.status != 200 {
				t.Fatalf("when it was well: %s", r.body)
			}
			m.set(mood.name)
			w.forward(11 * time.Minute)
			before := m.times()
			began := time.Now()
			r := w.bring(t, key, nil)
			took := time.Since(began)
			if (r.status == 200) != mood.outage {
				t.Errorf("with the last good keys: %d %s", r.status, r.body)
			}
			if took > 4*time.Second {
				t.Errorf("with the last good keys: after %v", took)
			}
			for range 20 { // it is not asked again and again
				w.bring(t, key, nil)
			}
			if n := m.times() - before; n == 0 || n > 4 {
				t.Errorf("asked %d times", n)
			}
			if r := w.bring(t, testKeys()["ed"], map[string]any{"iss": "https://well.example", "sub": "w"}); r.status != 200 {
				t.Errorf("another issuer: %s", r.body)
			}
			if mood.name == "slow" || mood.name == "slow body" {
				return // the rest is as when it is down
			}
			w.forward(25 * time.Hour)
			if r := w.bring(t, key, nil); r.status == 200 {
				t.Error("honoured after a day without an answer")
			}
			m.set("")
			w.forward(31 * time.Second)
			if r := w.bring(t, key, nil); r.status != 200 {
				t.Errorf("when it was well again: %s", r.body)
			}
		})
	}
}

// One that never answered is refused in time, and so by the first answer that
// makes sense no longer.
func TestIssuerThatNeverAnswered(t *testing.T) {
	t.Parallel()
	w, m := moodyWorld(t, "down")
	key := testKeys()["es"]
	for range 5 {
		if r := w.bring(t, key, nil); r.status != 400 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	m.set("")
	w.forward(31 * time.Second)
	if r := w.bring(t, key, nil); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	slow, _ := moodyWorld(t, "slow")
	began := time.Now()
	if r := slow.bring(t, key, nil); r.status != 400 || time.Since(began) > issuerPatience+2*time.Second {
		t.Errorf("%d %s after %v", r.status, r.body, time.Since(began))
	}
}

// An issuer that changes its keys every second, and a flood of keys that nobody
// has: it is asked once in half a minute; what it withdrew is refused from then
// on, and what it publishes is taken.
//
// covers: AS-JAG-04, X-JWT-07
func TestIssuerThatChangesItsKeys(t *testing.T) {
	t.Parallel()
	w, m := moodyWorld(t, "")
	key := testKeys()["es"]
	if r := w.bring(t, key, nil); r.status != 200 {
		t.Fatal(r.body)
	}
	began, taken := m.times(), 0
	last := key // of the set that was fetched last
	const seconds = 120
	for range seconds {
		next, err := jose.NewES256()
		if err != nil {
			t.Fatal(err)
		}
		m.set("", next)
		w.forward(time.Second)
		before := m.times()
		r := w.bring(t, next, nil)
		fetched := m.times() != before
		if (r.status == 200) != fetched {
			t.Fatalf("fetched: %t, and the new key: %d %s", fetched, r.status, r.body)
		}
		if fetched {
			taken++
			if r := w.bring(t, last, nil); r.status == 200 {
				t.Fatal("a withdrawn key is honoured")
			}
			last = next
		}
		stranger, err := jose.NewES256()
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if r := w.bring(t, stranger, nil); r.status == 200 {
				t.Fatal("a key that nobody published is honoured")
			}
		}
		if r := w.bring(t, last, nil); r.status != 200 {
			t.Fatalf("the key of the last set: %s", r.body)
		}
	}
	// Each time it is asked where the keys are, and for them.
	if n := m.times() - began; n > 2*(seconds/30+1) || taken < seconds/30-1 {
		t.Errorf("asked %d times in %d s, %d new keys were taken", n, seconds, taken)
	}
}
