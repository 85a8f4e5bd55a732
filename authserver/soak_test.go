package authserver

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// soakWorkers send at the same time, so that the race detector sees something.
const soakWorkers = 4

// pool is the last things of a kind that somebody was given. Everybody draws from
// it: what belongs to another, was used, or is over is among them.
type pool struct {
	mu  sync.Mutex
	all [64]string
	n   int
}

func (p *pool) put(s string) {
	if s == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[p.n%len(p.all)] = s
	p.n++
}

func (p *pool) any(r *rand.Rand) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 {
		return "none-yet"
	}
	return p.all[r.IntN(min(p.n, len(p.all)))]
}

// soak is what the workers share.
type soak struct {
	*world
	t     *testing.T
	paths []soakPath

	codes, refresh, access, jags, ids, clients, devices, users, pushed, attempts pool

	mu    sync.Mutex
	seen  map[string]int // answers by endpoint and status
	fault int
}

type soakPath struct {
	s    *Server
	path string
	rt   route
}

// soaker is one worker.
type soaker struct {
	*soak
	*rand.Rand
	left int // requests
	jar  map[string]*http.Cookie
}

// newSoak starts the two servers with lives so short that the store does not
// grow for ever, and a sign-in that lets in whoever comes.
func newSoak(t *testing.T) *soak {
	k := &soak{t: t, seen: map[string]int{}}
	k.world = newWorld(t, func(as, idp *Config) {
		lives := Tokens{Access: time.Minute, AccessIDJAG: time.Minute, RefreshIdle: 2 * time.Minute, RefreshMax: 4 * time.Minute, IDToken: 2 * time.Minute}
		for _, c := range []*Config{as, idp} {
			c.Tokens, c.AuditKeep, c.SignIn = lives, 2*time.Minute, anybody{}
		}
		as.OtherClients, as.Registration = "allow", Registration{Mode: "open", Unused: 2 * time.Minute}
	})
	if err := k.as.Protect("/extra", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Server{k.as, k.idp} {
		for _, path := range slices.Sorted(maps.Keys(s.routes)) {
			k.paths = append(k.paths, soakPath{s, path, s.routes[path]})
		}
	}
	k.paths = append(k.paths, soakPath{k.as, "/extra", route{methods: []string{"GET", "POST", "DELETE"}}}, soakPath{k.as, oauth.WellKnownPRM + "/extra", route{methods: []string{"GET"}}},
		soakPath{k.as, "/nothing", route{}})
	return k
}

// anybody is a sign-in that asks for nothing.
type anybody struct{}

func (anybody) SignIn(_ http.ResponseWriter, r *http.Request, _ Attempt) (*Person, error) {
	return &Person{ID: "person" + strconv.Itoa(len(r.URL.RawQuery)%20)}, nil
}

// ask sends a request to a server, checks the answer, and keeps what it gives.
func (k *soaker) ask(s *Server, method, path, query, kind, body string, header http.Header) reply {
	k.left--
	k.forward(50 * time.Millisecond)
	r := httptest.NewRequest(http.MethodGet, s.current().cfg.URL, strings.NewReader(body))
	r.Method, r.URL.Path, r.URL.RawQuery, r.ContentLength = method, path, query, int64(len(body))
	r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1000", k.IntN(50))
	for name, values := range header {
		r.Header[name] = values
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for _, c := range k.jar {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	for _, c := range rec.Result().Cookies() {
		k.jar[c.Name] = c
	}
	got := reply{rec.Code, rec.Header(), rec.Body.String()}
	k.note(method, path, got)
	k.access.put(got.text("access_token"))
	k.refresh.put(got.text("refresh_token"))
	k.ids.put(got.text("id_token"))
	return got
}

func (k *soak) note(method, path string, r reply) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[fmt.Sprint(r.status)]++
	k.seen[path]++
	if r.status < 500 && !goTrace.MatchString(r.body) {
		return
	}
	if k.fault++; k.fault <= 10 {
		k.t.Errorf("%s %s: %s", method, path, r.brief())
	}
}

func (k *soaker) post(s *Server, path, who string, f url.Values) reply {
	h := http.Header{}
	if id, secret, ok := strings.Cut(who, " "); ok {
		r := http.Request{Header: h}
		r.SetBasicAuth(oauth.EscapeBasic(id), oauth.EscapeBasic(secret))
	}
	return k.ask(s, http.MethodPost, path, "", formKind, f.Encode(), h)
}

// work sends n requests: half of the steps are right, a quarter nearly, and the
// rest is whatever comes.
func (k *soaker) work(n int) {
	for k.left = n; k.left > 0; {
		switch d := k.IntN(100); {
		case d < 75:
			k.step(d >= 50)
		default:
			k.anything()
		}
	}
}

// anything is any method at any path with any body.
func (k *soaker) anything() {
	p := k.paths[k.IntN(len(k.paths))]
	method := pick(k.Rand, append([]string{"GET", "POST", "PUT", "OPTIONS", "HEAD"}, p.rt.methods...))
	header := http.Header{}
	if k.IntN(2) == 0 {
		header.Set("Authorization", pick(k.Rand, []string{"Bearer ", "Basic ", "DPoP ", ""})+k.rubbish())
	}
	if k.IntN(4) == 0 {
		header.Set("Origin", pick(k.Rand, []string{"null", asURL, "https://evil.example"}))
		header.Set("Dpop", k.rubbish())
	}
	f := url.Values{}
	for range k.IntN(12) {
		f.Add(pick(k.Rand, soakNames), k.rubbish())
	}
	kind, body := formKind, f.Encode()
	switch k.IntN(6) {
	case 0:
		kind = "application/json"
		body = pick(k.Rand, []string{"{", "[]", `{"redirect_uris":[` + strconv.Quote(k.rubbish()) + `]}`, `{"client_name":` + strconv.Quote(k.rubbish()) + `,"redirect_uris":["https://a.example/cb"]}`, strings.Repeat("[", 1+k.IntN(5000))})
	case 1:
		kind = pick(k.Rand, []string{"", "text/plain", "multipart/form-data", "a/b; c"})
	case 2:
		body = k.rubbish()
	}
	k.ask(p.s, method, p.path, f.Encode(), kind, body, header)
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

var soakNames = []string{"grant_type", "client_id", "client_secret", "code", "code_verifier", "redirect_uri", "refresh_token", "assertion", "scope", "resource", "audience", "token",
	"token_type_hint", "response_type", "state", "code_challenge", "code_challenge_method", "attempt", "decision", "device_code", "user_code", "request_uri", "request", "prompt", "max_age",
	"subject_token", "subject_token_type", "requested_token_type", "client_assertion", "client_assertion_type", "authorization_details", "nonce", "dpop_jkt", "claims", "end"}

// rubbish is a value that does not belong there: things of others, words of the
// protocol, and bytes.
func (k *soaker) rubbish() string {
	pools := []*pool{&k.codes, &k.refresh, &k.access, &k.jags, &k.ids, &k.clients, &k.devices, &k.users, &k.pushed, &k.attempts}
	switch k.IntN(5) {
	case 0, 1:
		return pools[k.IntN(len(pools))].any(k.Rand)
	case 2:
		return pick(k.Rand, []string{"", " ", "desktop", "web", "code", "S256", "plain", "none", "files:read", filesURL, asURL, "urn:x", "-1", "0", "99999999999999999999", "%", "a b",
			"javascript:alert(1)", "http://127.0.0.1:1/callback", "https://web.example/callback", oauth.JWTBearer, oauth.TokenExchange, oauth.DeviceCode, "e30.e30.", "\u202e", "😀", "'\"<b>"})
	case 3:
		b := make([]byte, k.IntN(200))
		for i := range b {
			b[i] = byte(k.IntN(256))
		}
		return string(b)
	}
	s := []byte(pools[k.IntN(len(pools))].any(k.Rand)) // nearly right
	s[k.IntN(len(s))] ^= byte(1 + k.IntN(255))
	return string(s)
}

// spoil makes a request nearly right.
func (k *soaker) spoil(f url.Values) {
	names := slices.Sorted(maps.Keys(f))
	name := pick(k.Rand, names)
	switch k.IntN(5) {
	case 0:
		f.Del(name)
	case 1:
		f.Add(name, f.Get(name))
	case 2:
		f.Set(name, k.rubbish())
	case 3:
		f.Set(pick(k.Rand, soakNames), k.rubbish())
	case 4:
		f.Set(name, f.Get(pick(k.Rand, names)))
	}
}

// soaking is how many steps a seeded test does, and its seed: few, or under make
// soak its share of DOORWARD_SOAK_N.
func soaking(t *testing.T, few, share int) (n int, seed uint64) {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		v, err := strconv.ParseUint(text, 10, 40)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	return int(number("DOORWARD_SOAK_N", uint64(few*share))) / share, number("DOORWARD_SOAK_SEED", 1)
}

// TestSoak sends seeded requests, valid, half-valid and hostile, to both servers
// in memory: DOORWARD_SOAK_N of them (make soak: a million), else a few. None may
// be a fault, and from 200,000 on the heap after each tenth must be within a
// tenth of what it was after the second: with fewer, what is kept in memory is
// not yet full then.
func TestSoak(t *testing.T) {
	n, seed := soaking(t, soakRequests, 1)
	k := newSoak(t)
	workers := make([]*soaker, soakWorkers)
	for i := range workers {
		workers[i] = &soaker{soak: k, Rand: rand.New(rand.NewPCG(seed, uint64(i))), jar: map[string]*http.Cookie{}}
	}
	second := 0.0
	begun := time.Now()
	for tenth := 1; tenth <= 10; tenth++ {
		var working sync.WaitGroup
		for _, w := range workers {
			working.Go(func() { w.workAndSweep(n / 10 / soakWorkers) })
		}
		working.Wait()
		heap := heapNow()
		t.Logf("%d of %d requests after %.1f s (seed %d), heap %.2f MiB, resident %s", n/10*tenth, n, time.Since(begun).Seconds(), seed, heap, resident())
		if tenth == 2 {
			second = heap
		}
		if tenth > 2 && n >= 200_000 && (heap > second*1.1 || heap < second*0.9) {
			t.Errorf("the heap was %.1f MiB after the second tenth, and is %.1f after the %dth", second, heap, tenth)
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("answers: %v", k.seen)
	for _, p := range k.paths {
		if k.seen[p.path] == 0 {
			t.Errorf("nothing was sent to %s", p.path)
		}
	}
	for _, status := range []string{"200", "201", "303", "400", "401", "404", "405"} {
		if k.seen[status] < n/2000 {
			t.Errorf("only %d answers %s: the requests are not what they should be", k.seen[status], status)
		}
	}
}

// workAndSweep works in portions, and does what happens every ten seconds in
// between: the clock of the test is faster than ours.
func (k *soaker) workAndSweep(n int) {
	for done := 0; done < n; done += 500 {
		k.work(min(500, n-done))
		for _, s := range []*Server{k.as, k.idp} {
			if err := s.sweep(context.Background()); err != nil {
				k.t.Error(err)
			}
		}
	}
}

// resident is the memory of the process, with what SQLite has: of Linux only.
func resident() string {
	b, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 2 {
		return "unknown"
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d MiB", pages*os.Getpagesize()>>20)
}

func heapNow() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}
