package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// recorder is the wire of the demo: it keeps what really went over it, and the
// lines that the demo prints are read from that.
type recorder struct {
	next http.RoundTripper

	mu  sync.Mutex
	all []*exchange
}

// exchange is one request and its answer.
type exchange struct {
	who     string // whose program sent it
	method  string
	url     *url.URL
	header  http.Header
	reqBody []byte
	status  int
	answer  http.Header
	err     error
	started time.Time

	mu    sync.Mutex
	took  time.Duration
	body  bytes.Buffer
	ended chan struct{} // closed when the answer's body ended, however
	once  sync.Once
}

const recordLimit = 1 << 20

// as is the recorder as the wire of one person's programs.
func (r *recorder) as(who string) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) { return r.roundTrip(who, req) })
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func (r *recorder) roundTrip(who string, req *http.Request) (*http.Response, error) {
	x := &exchange{who: who, method: req.Method, url: req.URL, header: req.Header.Clone(), started: time.Now(), ended: make(chan struct{})}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		x.reqBody = body
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := r.next.RoundTrip(req)
	x.took = time.Since(x.started)
	if err != nil {
		x.err = err
		x.end()
	} else {
		x.status, x.answer = resp.StatusCode, resp.Header.Clone()
		resp.Body = &recordedBody{ReadCloser: resp.Body, x: x}
	}
	r.mu.Lock()
	r.all = append(r.all, x)
	r.mu.Unlock()
	return resp, err
}

type recordedBody struct {
	io.ReadCloser
	x *exchange
}

func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.x.mu.Lock()
	if b.x.body.Len() < recordLimit {
		b.x.body.Write(p[:n])
	}
	if !b.x.isStream() {
		b.x.took = time.Since(b.x.started)
	}
	b.x.mu.Unlock()
	if err != nil {
		b.x.end()
	}
	return n, err
}

func (b *recordedBody) Close() error {
	err := b.ReadCloser.Close()
	b.x.end()
	return err
}

func (x *exchange) end() { x.once.Do(func() { close(x.ended) }) }

func (x *exchange) isStream() bool {
	return x.method == http.MethodGet && strings.HasPrefix(x.answer.Get("Content-Type"), "text/event-stream")
}

func (x *exchange) ms() float64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return float64(x.took.Microseconds()) / 1000
}

func (x *exchange) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.body.String()
}

// form is the request's form, for token requests.
func (x *exchange) form() url.Values {
	v, err := url.ParseQuery(string(x.reqBody))
	if err != nil {
		return nil
	}
	return v
}

// answerJSON decodes the answer.
func (x *exchange) answerJSON(v any) error { return json.Unmarshal([]byte(x.text()), v) }

// rpcMethod is the JSON-RPC method of the request, if it is one.
func (x *exchange) rpcMethod() string {
	var m struct {
		Method string `json:"method"`
	}
	if json.Unmarshal(x.reqBody, &m) != nil {
		return ""
	}
	return m.Method
}

// refusal is the OAuth error of the answer.
func (x *exchange) refusal() (e struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}) {
	_ = x.answerJSON(&e) // an answer without one leaves it empty
	return e
}

// find returns the exchanges from index on that match.
func (r *recorder) find(from int, match func(*exchange) bool) []*exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*exchange
	for _, x := range r.all[min(from, len(r.all)):] {
		if match(x) {
			out = append(out, x)
		}
	}
	return out
}

func (r *recorder) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// decoded is a token's claims for showing; its signature has been checked by
// whoever took it.
func decoded(token string) (typ string, claims map[string]any) {
	h, c, err := jose.Peek(token)
	if err != nil {
		return "", nil
	}
	claims = map[string]any{}
	for name, raw := range c {
		var v any
		if json.Unmarshal(raw, &v) == nil {
			claims[name] = v
		}
	}
	return h.Typ, claims
}

// secretParams are never shown, not even in a trace; tokens are shown decoded.
var secretParams = map[string]bool{"client_secret": true, "code": true, "code_verifier": true, "password": true, "refresh_token": true, "attempt": true}

// trace writes an exchange for people: the request, the answer, and what the
// tokens in them say.
func (x *exchange) trace(w io.Writer) {
	p := func(s string) { io.WriteString(w, "      "+s+"\n") }
	p(x.method + " " + x.url.Scheme + "://" + x.url.Host + x.url.Path)
	if a := x.header.Get("Authorization"); a != "" {
		scheme, _, _ := strings.Cut(a, " ")
		p("Authorization: " + scheme + " …")
	}
	var tokens []string
	if strings.HasPrefix(x.header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		for name, vs := range x.form() {
			for _, v := range vs {
				switch {
				case secretParams[name]:
					v = "…"
				case strings.Count(v, ".") == 2 && strings.HasPrefix(v, "eyJ"):
					tokens, v = append(tokens, v), "(below)"
				}
				p("  " + name + "=" + v)
			}
		}
	} else if len(x.reqBody) > 0 {
		p("  " + cut(string(x.reqBody), 300))
	}
	if x.err != nil {
		p("→ " + x.err.Error())
		return
	}
	p("→ " + http.StatusText(x.status))
	for _, name := range []string{"WWW-Authenticate", "Content-Type"} {
		if v := x.answer.Get(name); v != "" {
			p("  " + name + ": " + v)
		}
	}
	var body map[string]any
	if x.answerJSON(&body) == nil {
		for _, name := range []string{"access_token", "id_token", "refresh_token"} {
			if t, ok := body[name].(string); ok {
				tokens, body[name] = append(tokens, t), "(below)"
				if name == "refresh_token" {
					tokens, body[name] = tokens[:len(tokens)-1], "…"
				}
			}
		}
		b, err := json.Marshal(body)
		if err == nil {
			p("  " + cut(string(b), 1200))
		}
	}
	for _, t := range tokens {
		if typ, claims := decoded(t); claims != nil {
			b, err := json.Marshal(claims)
			if err == nil {
				p("  " + typ + ": " + string(b))
			}
		}
	}
}

func cut(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// isGrant matches token requests of a grant type at an issuer.
func isGrant(issuer, grant string) func(*exchange) bool {
	return func(x *exchange) bool {
		return x.method == http.MethodPost && x.url.String() == issuer+"/token" && x.form().Get("grant_type") == grant
	}
}

var (
	exchangeAt   = func(issuer string) func(*exchange) bool { return isGrant(issuer, oauth.TokenExchange) }
	redemptionAt = func(issuer string) func(*exchange) bool { return isGrant(issuer, oauth.JWTBearer) }
)
