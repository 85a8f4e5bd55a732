package probe

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/oauth"
)

// session is one run: what was found out and made so far.
type session struct {
	ctx  context.Context
	c    Config
	wire *wire
	meta metadata
	seen map[string][]Exchange // of what was fetched once for many rules

	listener    net.Listener
	callback    callback
	clients     map[string]*registered
	made        []*registered // to be removed at the end
	browser     *visitor      // the person's, signed in after the first walk
	baseline    func() (*basis, error)
	door        func() (*landing, error)
	whole       func() (*visitor, error)
	journey     *landing    // of whole
	traveller   *registered // the client of journey
	idp         *provider
	trusted     func() error
	untrusted   bool // the server takes ID-JAGs, and not the probe's
	proofs      func() error
	nonce       string  // the newest that the server gave for proofs
	boundAnswer *answer // to a token request with a proof
	tokens      []held
}

// held is a refresh token that is to be revoked at the end.
type held struct {
	client *registered
	token  string
}

// metadata is the server's document as it came.
type metadata struct {
	answer  *answer
	members map[string]any
	from    string // its URL
}

func (m metadata) text(name string) string { s, _ := m.members[name].(string); return s }

func (m metadata) list(name string) []string {
	var out []string
	all, _ := m.members[name].([]any)
	for _, v := range all {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// newSession reads the metadata: without it there is nothing to probe.
func newSession(ctx context.Context, c Config) (*session, error) {
	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, err
	}
	s := &session{ctx: ctx, c: c, wire: newWire(c, issuer), seen: map[string][]Exchange{}, clients: map[string]*registered{}, browser: newVisitor()}
	s.wire.secret(c.Password, c.ClientSecret)
	s.baseline, s.door, s.whole, s.trusted = once(s.makeBasis), once(s.openDoor), once(s.goAllTheWay), onceError(s.beTrusted)
	s.proofs = onceError(s.canProve)
	if err := s.readMetadata(); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.callback.got = make(chan url.Values, 8)
	srv := &http.Server{Handler: &s.callback, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(s.listener)
	return s, nil
}

func once[T any](f func() (T, error)) func() (T, error) {
	var v T
	var err error
	done := false
	return func() (T, error) {
		if !done {
			v, err = f()
			done = true
		}
		return v, err
	}
}

func onceError(f func() error) func() error {
	g := once(func() (struct{}, error) { return struct{}{}, f() })
	return func() error { _, err := g(); return err }
}

func (s *session) readMetadata() error {
	places, err := oauth.MetadataURLs(s.c.Issuer)
	if err != nil {
		return err
	}
	var last error
	for _, place := range places {
		a, err := s.wire.get(s.ctx, place)
		switch {
		case err != nil:
			last = err
			continue
		case a.status != http.StatusOK:
			last = fmt.Errorf("%s answers %d", place, a.status)
			continue
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(a.body), &m); err != nil {
			last = fmt.Errorf("%s is no JSON object", place)
			continue
		}
		s.meta = metadata{a, m, place}
		s.seen["metadata"] = s.wire.end()
		return nil
	}
	return fmt.Errorf("%s has no metadata (RFC 8414): %w. The issuer is the URL without /.well-known/…", s.c.Issuer, last)
}

// show notes an exchange of earlier again, since the rule is about it.
func (s *session) show(name string) {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	s.wire.notes = append(s.wire.notes, s.seen[name]...)
}

// close ends what was made: tokens, clients, the listeners.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 20*time.Second)
	defer cancel()
	s.ctx = ctx
	if endpoint := s.meta.text("revocation_endpoint"); endpoint != "" {
		for _, h := range s.tokens {
			_, _ = s.postAs(h.client, endpoint, url.Values{"token": {h.token}})
		}
	}
	for _, c := range s.made {
		if c.manage == "" {
			continue
		}
		if req, err := http.NewRequestWithContext(ctx, http.MethodDelete, c.manage, nil); err == nil {
			req.Header.Set("Authorization", "Bearer "+c.manageToken)
			_, _ = s.wire.do(req)
		}
	}
	s.listener.Close()
	if s.idp != nil {
		s.idp.close()
	}
}

// endpoint is a URL of the metadata, or why there is nothing to try.
func (s *session) endpoint(name string) (string, error) {
	if e := s.meta.text(name); e != "" {
		return e, nil
	}
	return "", fmt.Errorf("the metadata has no %s", name)
}

// redirect is the probe's own redirect URI.
func (s *session) redirect() string { return "http://" + s.listener.Addr().String() + "/callback" }

// resource is what tokens are asked for; "": the server's default.
func (s *session) resource() string {
	if s.c.Resource != "" {
		return s.c.Resource
	}
	if all := s.meta.list("protected_resources"); len(all) > 0 {
		return all[0]
	}
	return ""
}

// scopes are those that may be asked for, without offline_access.
func (s *session) scopes() []string {
	return slices.DeleteFunc(s.meta.list("scopes_supported"), func(v string) bool { return v == "offline_access" })
}

// scope is what the probe asks for: the first scope, and a refresh token.
func (s *session) scope() string {
	var out []string
	if all := s.scopes(); len(all) > 0 {
		out = append(out, all[0])
	}
	if slices.Contains(s.meta.list("scopes_supported"), "offline_access") {
		out = append(out, "offline_access")
	}
	return strings.Join(out, " ")
}

func random() string { return rand.Text() }

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// newVerifier is a fresh one of 52 characters.
func newVerifier() string { return rand.Text() + rand.Text() }

// callback takes what the system's browser brings back.
type callback struct{ got chan url.Values }

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != "/callback" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Referrer-Policy", "no-referrer")
	fmt.Fprintln(w, "The probe has its answer. You can close this page; another one may open.")
	select {
	case c.got <- r.URL.Query():
	default:
	}
}

var errNoWay = errors.New("no code can be had: give --user and --password, or let the system's browser be opened")
