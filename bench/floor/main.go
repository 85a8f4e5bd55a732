// Floor is a bare net/http program for each row of the table: the same
// cryptography, the same durable write and JSON, and nothing else.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"doorward/bench/control"
)

// floor is the handlers and what they share.
type floor struct {
	key      *ecdsa.PrivateKey
	trusted  *ecdsa.PublicKey // of ID-JAGs and of tokens at the guard
	secret   [32]byte
	db       *db
	document []byte

	mu       sync.Mutex
	sessions map[[32]byte]string
	seen     map[[32]byte]string
}

func main() {
	dir := flag.String("dir", "", "directory for the database")
	upstream := flag.String("upstream", "", "URL of the MCP server")
	trusted := flag.String("trusted", "", "public key of whom it trusts (PKIX, base64)")
	flag.Parse()
	if err := run(*dir, *upstream, *trusted); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(dir, upstream, trusted string) error {
	f := &floor{secret: sha256.Sum256([]byte("a-secret-of-the-bench-0123456789")), sessions: map[[32]byte]string{}, seen: map[[32]byte]string{}}
	der, err := base64.StdEncoding.DecodeString(trusted)
	if err != nil {
		return err
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return err
	}
	f.trusted = pub.(*ecdsa.PublicKey)
	if f.key, err = newKey(); err != nil {
		return err
	}
	if f.db, err = openDB(dir); err != nil {
		return err
	}
	f.document, _ = json.Marshal(map[string]string{"issuer": strings.Repeat("x", 1000)})
	f.sessions[sha256.Sum256([]byte("session"))] = "alice"
	target, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	l, _, err := control.Listen()
	if err != nil {
		return err
	}
	return control.Serve(l, f.routes(target), map[string]http.HandlerFunc{"/primitive": f.primitive})
}

func (f *floor) routes(upstream *url.URL) http.Handler {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = 256 // else it makes a new connection for most requests
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/hello": f.hello, "/commit": f.commit(1), "/commit2": f.commit(2), "/form": f.form, "/json": f.json, "/metadata": f.metadata, "/credentials": f.credentials, "/refresh": f.refresh,
		"/authorize": f.authorize, "/assertion": f.assertion, "/exchange": f.exchange, "/introspect": f.introspect, "/register": f.register, "/guard": f.guard, "/guard-first": f.guardFirst,
	} {
		mux.HandleFunc(path, h)
	}
	mux.Handle("/mcp", &httputil.ReverseProxy{Transport: base, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(upstream)
		p.Out.URL.Path = upstream.Path
	}})
	return mux
}

func (f *floor) hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

// commit is hello with rows of 300 bytes.
func (f *floor) commit(rows int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var values [][]byte
		for range rows {
			values = append(values, make([]byte, 300))
		}
		if f.db.commit(values...) != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(w, "hello")
	}
}

func (f *floor) form(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	io.WriteString(w, r.PostForm.Get("grant_type"))
}

func (f *floor) json(w http.ResponseWriter, r *http.Request) {
	var v map[string]any
	body, _ := io.ReadAll(r.Body)
	if json.Unmarshal(body, &v) != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func (f *floor) metadata(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(f.document)
}

// scratch is what a request is worked on in, used again.
type scratch struct{ body, token, payload, out []byte }

var scratches = sync.Pool{New: func() any { return &scratch{out: make([]byte, 0, 1024)} }}

// read is the body of r in one piece.
func (s *scratch) read(r *http.Request) ([]byte, error) {
	n := int(min(max(r.ContentLength, 0), 64<<10))
	s.body = slices.Grow(s.body[:0], n)[:n]
	_, err := io.ReadFull(r.Body, s.body)
	return s.body, err
}

func (s *scratch) form(r *http.Request) url.Values {
	body, err := s.read(r)
	if err != nil {
		return nil
	}
	v, _ := url.ParseQuery(string(body))
	return v
}

// write answers with what is in the scratch.
func (s *scratch) write(w http.ResponseWriter, errs ...error) {
	defer scratches.Put(s)
	for _, err := range errs {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header()["Content-Type"] = applicationJSON
	w.Write(s.out)
}

var applicationJSON = []string{"application/json"}

func (f *floor) knows(form url.Values) error {
	given := sha256.Sum256([]byte(form.Get("client_secret")))
	if subtle.ConstantTimeCompare(given[:], f.secret[:]) != 1 {
		return errToken
	}
	return nil
}

func (f *floor) credentials(w http.ResponseWriter, r *http.Request) {
	s := scratches.Get().(*scratch)
	s.write(w, f.knows(s.form(r)), s.answer(f.key, ""))
}

// refresh is also the token request of the code flow.
func (f *floor) refresh(w http.ResponseWriter, r *http.Request) {
	s := scratches.Get().(*scratch)
	form := s.form(r)
	hash := sha256.Sum256([]byte(form.Get("refresh_token")))
	rows := make([]byte, 600)
	copy(rows, hash[:])
	s.write(w, f.knows(form), s.answer(f.key, "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC"), f.db.commit(rows[:300:300], rows[300:]))
}

func (f *floor) authorize(w http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie("session")
	if err != nil {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	f.mu.Lock()
	person := f.sessions[sha256.Sum256([]byte(c.Value))]
	f.mu.Unlock()
	if f.db.commit(make([]byte, 300)) != nil || person == "" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	q := r.URL.Query()
	w.Header().Set("Location", q.Get("redirect_uri")+"?code=DDDDDDDDDDDDDDDDDDDDDDDDDD&state="+q.Get("state"))
	w.WriteHeader(http.StatusSeeOther)
}

func (f *floor) assertion(w http.ResponseWriter, r *http.Request) {
	s := scratches.Get().(*scratch)
	id, err := s.verify(f.trusted, s.form(r).Get("assertion"), `"jti":"`)
	s.write(w, err, s.answer(f.key, ""), f.db.commit(bytes.Clone(id)))
}

func (f *floor) exchange(w http.ResponseWriter, r *http.Request) {
	s := scratches.Get().(*scratch)
	_, err := s.verify(f.trusted, s.form(r).Get("subject_token"), `"sub":"`)
	s.write(w, err, s.answer(f.key, ""))
}

func (f *floor) introspect(w http.ResponseWriter, r *http.Request) {
	s := scratches.Get().(*scratch)
	form := s.form(r)
	subject, err := s.verify(f.trusted, form.Get("token"), `"sub":"`)
	s.active(subject)
	s.write(w, f.knows(form), err)
}

func (f *floor) register(w http.ResponseWriter, r *http.Request) {
	var v map[string]any
	s := scratches.Get().(*scratch)
	body, err := s.read(r)
	if err == nil {
		err = json.Unmarshal(body, &v)
	}
	if err == nil {
		v["client_id"], v["client_secret"] = rand.Text(), rand.Text()
		if body, err = json.Marshal(v); err == nil {
			err = f.db.commit(body)
		}
	}
	s.out = append(s.out[:0], body...)
	s.write(w, err)
}

func (f *floor) guard(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s := scratches.Get().(*scratch)
	s.token = append(s.token[:0], token...)
	key := sha256.Sum256(s.token)
	scratches.Put(s)
	f.mu.Lock()
	subject, ok := f.seen[key]
	f.mu.Unlock()
	if !ok {
		var err error
		if subject, err = f.subject(token); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		f.mu.Lock()
		f.seen[key] = subject
		f.mu.Unlock()
	}
	io.WriteString(w, subject)
}

// subject is whom a token is about.
func (f *floor) subject(token string) (string, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	subject, err := s.verify(f.trusted, token, `"sub":"`)
	return string(subject), err
}

func (f *floor) guardFirst(w http.ResponseWriter, r *http.Request) {
	subject, err := f.subject(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	io.WriteString(w, subject)
}
