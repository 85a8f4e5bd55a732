package authtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// Weak is a deliberately weak authorization server: a small one that keeps
// every rule of `doorward probe` but those that it was told to break. It is for
// trying out what looks for such holes, and for nothing else. It speaks https
// on loopback; Transport trusts its certificate.
//
// Everybody signs in with the password NAME-password-12; the client [ClientID]
// with [ClientSecret] may use every grant.
type Weak struct {
	Issuer   string
	Resource string // the one resource that it serves

	srv    *httptest.Server
	faults map[string]bool
	signer *ecdsa.PrivateKey
	key    *jose.Key

	mu       sync.Mutex
	trusted  []string
	clients  map[string]*weakClient
	sessions map[string]string // session id → person, "" before the sign-in
	attempts map[string]*weakAttempt
	codes    map[string]*weakCode
	refresh  map[string]*weakRefresh
	access   map[string]*weakGrant
	approved map[string]bool // person and client
	proofs   map[string]bool // jti of those that were used
}

type weakClient struct {
	id, secret, method, name string
	redirects, grants        []string
	dynamic                  bool
}

// weakGrant is what a person let a client do.
type weakGrant struct {
	client, person, scope, resource string
	key                             string // thumbprint that it is bound to; "": none
	dead                            bool
}

type weakRefresh struct {
	grant *weakGrant
	used  bool
}

type weakCode struct {
	grant             *weakGrant
	redirect          string
	challenge, method string
	key               string // dpop_jkt
	used              bool
}

// weakKid is the id of its signing key.
const weakKid = "weak-1"

// NewWeak starts a weak server that has these faults, named as in [Faults];
// none makes it a strict one. It ends with the test.
func NewWeak(t testing.TB, faults ...string) *Weak {
	t.Helper()
	w := &Weak{faults: map[string]bool{}, clients: map[string]*weakClient{}, sessions: map[string]string{}, attempts: map[string]*weakAttempt{},
		codes: map[string]*weakCode{}, refresh: map[string]*weakRefresh{}, access: map[string]*weakGrant{}, approved: map[string]bool{}, proofs: map[string]bool{}}
	for _, f := range faults {
		if _, ok := weakFaults[f]; !ok {
			t.Fatalf("the weak server has no fault %q", f)
		}
		w.faults[f] = true
	}
	var err error
	if w.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if w.key, err = jose.NewKey(w.signer, weakKid); err != nil {
		t.Fatal(err)
	}
	w.clients[ClientID] = &weakClient{id: ClientID, secret: ClientSecret, method: "client_secret_basic", name: "Desktop", redirects: []string{"http://127.0.0.1/callback"},
		grants: []string{oauth.AuthorizationCode, oauth.RefreshToken, oauth.ClientCredentials, oauth.JWTBearer}}
	w.srv = httptest.NewTLSServer(w.routes())
	w.Issuer = w.srv.URL
	w.Resource = w.Issuer + "/mcp"
	t.Cleanup(func() {
		w.srv.CloseClientConnections()
		w.srv.Close()
	})
	return w
}

// Faults says what each fault of a weak server does, by the id of the rule that
// it breaks.
func Faults() map[string]string {
	out := map[string]string{}
	for id, does := range weakFaults {
		out[id] = does
	}
	return out
}

// Transport reaches the server: it trusts its certificate.
func (w *Weak) Transport() *http.Transport {
	t, ok := w.srv.Client().Transport.(*http.Transport)
	if !ok {
		t = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	}
	return t.Clone()
}

// Trust makes the server take ID-JAGs of an issuer.
func (w *Weak) Trust(issuer string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trusted = append(w.trusted, issuer)
}

// has reports whether the server has a fault.
func (w *Weak) has(fault string) bool { return w.faults[fault] }

func (w *Weak) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(oauth.WellKnownAS, w.asMetadata)
	mux.HandleFunc(oauth.WellKnownOIDC, w.oidcMetadata)
	mux.HandleFunc("/jwks", w.jwks)
	mux.HandleFunc("/authorize", w.authorize)
	mux.HandleFunc("/login", w.login)
	mux.HandleFunc("/consent", w.consent)
	mux.HandleFunc("/token", w.token)
	mux.HandleFunc("/register", w.register)
	mux.HandleFunc("/revoke", w.revoke)
	mux.HandleFunc("/introspect", w.introspect)
	return mux
}

// weakError is an OAuth error.
type weakError struct {
	status    int
	code      string
	text      string
	challenge bool // WWW-Authenticate: Basic
}

func (e *weakError) Error() string { return e.code + ": " + e.text }

func weakRefusal(code, text string) *weakError {
	return &weakError{http.StatusBadRequest, code, text, false}
}

func writeJSON(rw http.ResponseWriter, status int, v any) { writeAs(rw, "application/json", status, v) }

func writeAs(rw http.ResponseWriter, contentType string, status int, v any) {
	rw.Header().Set("Content-Type", contentType)
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v)
}

func (w *Weak) refuse(rw http.ResponseWriter, e *weakError) {
	rw.Header().Set("Cache-Control", "no-store")
	if e.challenge && !w.has("AS-CAUTH-03.challenge") {
		rw.Header().Set("WWW-Authenticate", `Basic realm="weak"`)
	}
	writeJSON(rw, e.status, map[string]string{"error": e.code, "error_description": e.text})
}

// repeated is the first parameter that stands more than once.
func repeated(form url.Values, may ...string) string {
	for name, values := range form {
		if len(values) > 1 && !slices.Contains(may, name) {
			return name
		}
	}
	return ""
}
