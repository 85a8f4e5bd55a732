package authserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// limitedWorld has small limits on the authorization server.
func limitedWorld(t *testing.T, l Limits) *world {
	return newWorld(t, func(as, _ *Config) { as.Limits = l })
}

// from sends a form from an address. who is as in post.
func from(s *Server, address, path, who string, f url.Values) reply {
	r := httptest.NewRequest(http.MethodPost, s.current().cfg.URL+path, strings.NewReader(f.Encode()))
	r.RemoteAddr = address
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id, secret, ok := strings.Cut(who, " "); ok {
		r.SetBasicAuth(oauth.EscapeBasic(id), oauth.EscapeBasic(secret))
	}
	return send(s, r)
}

// crowd asks until it is turned away, and returns how often it was answered.
func crowd(t *testing.T, ask func() reply) (int, reply) {
	t.Helper()
	for n := range 2000 {
		if r := ask(); r.status == http.StatusTooManyRequests {
			return n, r
		}
	}
	t.Fatal("nobody was turned away")
	return 0, reply{}
}

// tooManyAs checks a 429 of an endpoint.
func tooManyAs(t *testing.T, r reply, seconds int) {
	t.Helper()
	if r.status != http.StatusTooManyRequests || r.text("error") != "too_many_requests" || r.header.Get("Cache-Control") != "no-store" ||
		r.header.Get("Content-Type") != "application/json" || !refTail.MatchString(r.text("error_description")) {
		t.Errorf("not a refusal for too many requests: %d %v %s", r.status, r.header, r.body)
	}
	if got, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || got < 1 || got > seconds {
		t.Errorf("Retry-After %q, not 1 to %d", r.header.Get("Retry-After"), seconds)
	}
	if r.header.Get("RateLimit-Limit") == "" || r.header.Get("RateLimit-Remaining") != "0" || r.header.Get("RateLimit-Reset") != r.header.Get("Retry-After") {
		t.Errorf("RateLimit headers: %v", r.header)
	}
}

const (
	here  = "192.0.2.7:1000"
	there = "192.0.2.8:1000"
)

// A stranger who floods is turned away. Who has a secret to show is not, from
// the same address, and others elsewhere are not.
//
// covers: H02, H05, H07, H09, D20, SEC-31
func TestTokenLimitIsOfTheStranger(t *testing.T) {
	w := limitedWorld(t, Limits{Token: Rate{5, time.Minute}})
	garbage := func(address string) func() reply {
		return func() reply {
			return from(w.as, address, "/token", "", form("grant_type=authorization_code", "client_id=web", "code=nonsense"))
		}
	}
	n, r := crowd(t, garbage(here))
	tooManyAs(t, r, 60)
	if n != 5 {
		t.Errorf("%d requests of a stranger were answered", n)
	}
	if r.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(strings.Join(r.header.Values("Access-Control-Expose-Headers"), ", "), "Retry-After") {
		t.Errorf("a script cannot read how long to wait: %v", r.header)
	}
	agent := func(address string) reply {
		return from(w.as, address, "/token", "agent "+agentSecret, form("grant_type=client_credentials"))
	}
	if r := agent(here); r.status != http.StatusOK {
		t.Errorf("who shows a secret is turned away for the flood beside them: %d %s", r.status, r.body)
	}
	if r := garbage(there)(); r.status != http.StatusBadRequest {
		t.Errorf("another address is turned away: %d", r.status)
	}
	// A wrong method is told before anything is counted, and does not count.
	if r := ask(w.as, http.MethodPut, asURL+"/token"); r.status != http.StatusMethodNotAllowed {
		t.Errorf("405 became %d", r.status)
	}
	w.forward(12 * time.Second)
	if r := garbage(here)(); r.status != http.StatusBadRequest {
		t.Errorf("after the time of one request: %d", r.status)
	}
	tooManyAs(t, garbage(here)(), 12)
}

// A proven client has a limit of its own, wherever it asks from.
//
// covers: H02, H07
func TestTokenLimitOfAClient(t *testing.T) {
	w := limitedWorld(t, Limits{Token: Rate{5, time.Minute}})
	i := 0
	n, r := crowd(t, func() reply {
		i++
		return from(w.as, fmt.Sprintf("192.0.2.%d:1", i), "/token", "agent "+agentSecret, form("grant_type=client_credentials"))
	})
	tooManyAs(t, r, 12)
	if n != 5 {
		t.Errorf("%d requests were answered", n)
	}
	if r := from(w.as, here, "/token", "desktop "+desktopSecret, form("grant_type=authorization_code", "code=x")); r.status != http.StatusBadRequest {
		t.Errorf("another client: %d", r.status)
	}
}

// At a public client, whose name proves nothing, it is the person who is
// counted; a code that is refused for the number of requests stays good.
//
// covers: H07, SEC-31
func TestTokenLimitOfAPerson(t *testing.T) {
	w := limitedWorld(t, Limits{Token: Rate{2, time.Minute}})
	redeem := func(person string) func() reply {
		g := filesGrant("web")
		g.Subject.ID = person
		code := w.code(t, w.as, g, "https://web.example/callback")
		return func() reply {
			return from(w.as, here, "/token", "", form("grant_type=authorization_code", "client_id=web", "code="+code, "code_verifier="+codeVerifier))
		}
	}
	for range 2 {
		if r := redeem("alice")(); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	third := redeem("alice")
	tooManyAs(t, third(), 60)
	if r := redeem("bob")(); r.status != http.StatusOK {
		t.Errorf("another person at the same address: %d %s", r.status, r.body)
	}
	w.forward(30 * time.Second)
	if r := third(); r.status != http.StatusOK {
		t.Errorf("the code was spent by a request that was refused: %d %s", r.status, r.body)
	}
	w.forward(time.Minute)
	crowd(t, func() reply {
		return from(w.as, here, "/token", "", form("grant_type=authorization_code", "client_id=web", "code=x"))
	})
	code := redeem("carol")
	tooManyAs(t, code(), 60) // before anything of the request is believed
	w.forward(30 * time.Second)
	if r := code(); r.status != http.StatusOK {
		t.Errorf("the code of carol was spent: %d %s", r.status, r.body)
	}
}

// covers: H03
func TestRevocationLimit(t *testing.T) {
	w := limitedWorld(t, Limits{Token: Rate{3, time.Minute}})
	n, r := crowd(t, func() reply { return from(w.as, here, "/revoke", "", form("client_id=web", "token=x")) })
	tooManyAs(t, r, 20)
	if n != 3 {
		t.Errorf("%d requests were answered", n)
	}
}

// Guesses at one client's secret stop, the right secret among them; the client
// elsewhere is not locked out, nor another client here, however many addresses
// guess.
//
// covers: AS-CAUTH-08, SEC-31
func TestGuessedSecrets(t *testing.T) {
	w := limitedWorld(t, Limits{})
	guess := func(address, client, secret string) reply {
		return from(w.as, address, "/token", client+" "+secret, form("grant_type=client_credentials"))
	}
	if r := guess(there, "agent", agentSecret); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	n, r := crowd(t, func() reply { return guess(here, "agent", "wrong-secret-0123456789") })
	tooManyAs(t, r, 6)
	if n != wrongHere {
		t.Errorf("%d guesses were answered", n)
	}
	tooManyAs(t, guess(here, "agent", agentSecret), 6) // or guessing would go on unseen
	if r := guess(here, "e+m%a", "p:w%d /+ü-0123456789"); r.status != http.StatusOK {
		t.Errorf("another client here: %d %s", r.status, r.body)
	}
	if r := guess(there, "agent", agentSecret); r.status != http.StatusOK {
		t.Errorf("the client elsewhere: %d %s", r.status, r.body)
	}
	w.forward(6 * time.Second)
	if r := guess(here, "agent", agentSecret); r.status != http.StatusOK {
		t.Errorf("after the pause: %d %s", r.status, r.body)
	}
	// From many addresses.
	i := 0
	n, _ = crowd(t, func() reply {
		i++
		return guess(fmt.Sprintf("[2001:db8:%x::1]:1", i/5), "agent", "wrong-secret-0123456789")
	})
	if n > wrongClient || n < wrongClient-wrongHere {
		t.Errorf("%d guesses from everywhere were answered", n)
	}
	if r := guess(there, "agent", agentSecret); r.status != http.StatusOK {
		t.Errorf("where the client was before it is locked out: %d %s", r.status, r.body)
	}
}

// One address may be wrong about many clients, but not without end; unknown
// names count as much as known ones.
//
// covers: AS-CAUTH-08
func TestGuessedClients(t *testing.T) {
	w := limitedWorld(t, Limits{Token: Rate{100_000, time.Second}})
	for _, name := range []string{"no-such-%d", "agent"} {
		i := 0
		n, _ := crowd(t, func() reply {
			i++
			who := name
			if strings.Contains(name, "%") {
				who = fmt.Sprintf(name, i)
			}
			return from(w.as, fmt.Sprintf("[2001:db8::%x]:1", i), "/token", who+" wrong-secret-0123456789", form("grant_type=client_credentials"))
		})
		want := wrongHere
		if name != "agent" {
			want = wrongAddress
		}
		if n != want {
			t.Errorf("%s: %d answers, not %d", name, n, want)
		}
		w.forward(2 * time.Minute)
	}
}

// Whoever names clients that do not exist, with secrets or without, locks nobody
// out who was right at the address before.
//
// covers: SEC-31
func TestGuessesOfOthersAtOneAddress(t *testing.T) {
	w := limitedWorld(t, Limits{Token: Rate{100_000, time.Second}})
	ask := func(who string) reply {
		return from(w.as, here, "/token", who, form("grant_type=client_credentials"))
	}
	if r := ask("agent " + agentSecret); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	i := 0
	crowd(t, func() reply {
		i++
		return ask(fmt.Sprintf("no-such-%d wrong-secret-0123456789", i))
	})
	if r := ask("agent " + agentSecret); r.status != http.StatusOK {
		t.Errorf("a client is locked out where it works: %d %s", r.status, r.body)
	}
	tooManyAs(t, ask("e+m%a p:w%d /+ü-0123456789"), 60) // it might be a guess
}

// A client whose registration has ended is told so, however often it asks.
//
// covers: AS-DCR-10
func TestEndedClientsAreToldSo(t *testing.T) {
	w := limitedWorld(t, Limits{Token: Rate{100_000, time.Second}})
	for i := range 200 {
		r := from(w.as, here, "/token", "", form("grant_type=refresh_token", "client_id=gone", "refresh_token=x"))
		if r.status != http.StatusUnauthorized || r.text("error") != oauth.InvalidClient {
			t.Fatalf("request %d: %d %s", i, r.status, r.body)
		}
	}
	if r := from(w.as, here, "/token", "agent "+agentSecret, form("grant_type=client_credentials")); r.status != http.StatusOK {
		t.Errorf("another client is locked out: %d %s", r.status, r.body)
	}
}

// covers: AS-DCR-09, H04, H05
func TestRegistrationLimit(t *testing.T) {
	w := limitedWorld(t, Limits{})
	register := func(address string) func() reply {
		return func() reply {
			r := httptest.NewRequest(http.MethodPost, asURL+"/register", strings.NewReader(`{"redirect_uris":["https://a.example/cb"]}`))
			r.RemoteAddr = address
			r.Header.Set("Content-Type", "application/json")
			return send(w.as, r)
		}
	}
	n, r := crowd(t, register(here))
	tooManyAs(t, r, 180)
	if n != 20 {
		t.Errorf("%d registrations were answered", n)
	}
	if r := register(there)(); r.status != http.StatusCreated {
		t.Errorf("another address: %d", r.status)
	}
	// A subscriber's IPv6 network is one caller.
	i := 0
	n, _ = crowd(t, func() reply { i++; return register(fmt.Sprintf("[2001:db8:0:1::%x]:1", i))() })
	if n != 20 {
		t.Errorf("%d registrations of one /64 were answered", n)
	}
	if r := register("[2001:db8:0:2::1]:1")(); r.status != http.StatusCreated {
		t.Errorf("another /64: %d", r.status)
	}
	w.forward(3 * time.Minute)
	if r := register(here)(); r.status != http.StatusCreated {
		t.Errorf("after the time of one: %d", r.status)
	}
}

// covers: H01
func TestAuthorizeLimit(t *testing.T) {
	w := limitedWorld(t, Limits{Authorize: Rate{3, time.Minute}})
	authorize := func(address string) func() reply {
		return func() reply {
			r := httptest.NewRequest(http.MethodGet, asURL+"/authorize?client_id=web&response_type=code&code_challenge_method=S256&code_challenge="+
				oauth.S256(codeVerifier)+"&redirect_uri="+url.QueryEscape("https://web.example/callback"), nil)
			r.RemoteAddr = address
			return send(w.as, r)
		}
	}
	n, r := crowd(t, authorize(here))
	if n != 3 {
		t.Errorf("%d requests were answered", n)
	}
	if r.header.Get("Retry-After") != "20" || r.header.Get("Cache-Control") != "no-store" ||
		!strings.HasPrefix(r.header.Get("Content-Type"), "text/html") || !strings.Contains(r.body, "Reference:") || r.header.Get("Location") != "" {
		t.Errorf("not a page: %v %s", r.header, r.body)
	}
	if r := authorize(there)(); r.status != http.StatusSeeOther && r.status != http.StatusFound {
		t.Errorf("another address: %d %s", r.status, r.body)
	}
}

// Limits can be changed and switched off; a reload that leaves a rate as it is
// forgets nothing.
//
// covers: H06
func TestLimitsReload(t *testing.T) {
	w := limitedWorld(t, Limits{Token: Rate{2, time.Minute}})
	ask := func() reply {
		return from(w.as, here, "/token", "", form("grant_type=authorization_code", "client_id=web", "code=x"))
	}
	reload := func(l Limits) {
		t.Helper()
		cfg := w.asCfg
		cfg.Limits = l
		if err := w.as.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}
	crowd(t, ask)
	reload(Limits{Token: Rate{2, time.Minute}, Authorize: Rate{Requests: -1}})
	tooManyAs(t, ask(), 60)
	reload(Limits{Token: Rate{4, time.Minute}})
	if n, _ := crowd(t, ask); n != 4 {
		t.Errorf("%d requests with the new rate", n)
	}
	reload(unlimited)
	for range 200 {
		if r := ask(); r.status != http.StatusBadRequest {
			t.Fatalf("switched off: %d", r.status)
		}
	}
	cfg := w.asCfg
	cfg.Limits = Limits{Token: Rate{5, 0}}
	if err := w.as.Reload(cfg); err == nil {
		t.Error("a rate in no time was taken")
	}
}

// Where only this machine can ask there is no limit unless one is given.
func TestLimitsOnLoopback(t *testing.T) {
	w := newWorld(t)
	cfg := w.asConfig(openStore(t, w.now))
	cfg.URL, cfg.Limits = "http://127.0.0.1:8080", Limits{}
	cfg.Resources = nil
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 300 {
		if r := from(s, here, "/token", "agent wrong-secret-0123456789", form("grant_type=client_credentials")); r.status != http.StatusUnauthorized {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
}

// A resource server asks about tokens as often as it is asked itself; who
// guesses at its secret does not.
func TestIntrospectionIsOpenToTheProven(t *testing.T) {
	w := limitedWorld(t, Limits{Token: Rate{3, time.Minute}})
	for range 50 {
		if r := from(w.as, here, "/introspect", "agent "+agentSecret, form("token=x")); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	n, r := crowd(t, func() reply {
		return from(w.as, there, "/introspect", "agent wrong-secret-0123456789", form("token=x"))
	})
	tooManyAs(t, r, 60)
	if n != 3 {
		t.Errorf("%d guesses were answered", n)
	}
}

// The endpoints that came later have the limit of all where clients
// authenticate.
//
// covers: AS-PAR-05
func TestLimitsOfPushedRequestsAndDevices(t *testing.T) {
	for _, path := range []string{"/par", "/device_authorization"} {
		w := limitedWorld(t, Limits{Token: Rate{3, time.Minute}})
		n, r := crowd(t, func() reply { return from(w.as, here, path, "", form("client_id=web", "response_type=code")) })
		tooManyAs(t, r, 20)
		if n != 3 {
			t.Errorf("%s: %d requests were answered", path, n)
		}
		if r := from(w.as, there, path, "", form("client_id=web", "response_type=code")); r.status == http.StatusTooManyRequests {
			t.Errorf("%s: another address is turned away", path)
		}
	}
}
