package authserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"doorward/internal/audit"
	"doorward/internal/dpop"
	"doorward/internal/jsonobj"
	"doorward/internal/oauth"
	"doorward/store"
)

// A handler returns a value or an error; this file is the one place that
// writes either.

// answerForm answers a POST with a form in its body (RFC 6749 section 3.2).
// Parameters in the query are not looked at.
func (s *Server) answerForm(h func(context.Context, *settings, *http.Request, url.Values) (any, error)) http.HandlerFunc {
	return s.answerFormWith(http.StatusOK, h)
}

func (s *Server) answerFormWith(status int, h func(context.Context, *settings, *http.Request, url.Values) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		st := s.current()
		body, err := readText(w, r, st, "application/x-www-form-urlencoded")
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		form, err := oauth.ParseForm(body)
		if err != nil {
			s.refuse(w, r, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body is not a form", Err: err})
			return
		}
		v, err := h(r.Context(), st, r, form)
		s.answer(w, r, status, v, err)
	}
}

// answerJSON answers a POST with JSON in its body.
func (s *Server) answerJSON(status int, h func(context.Context, *settings, *http.Request, []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		st := s.current()
		body, err := readBody(w, r, st, "application/json")
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		v, err := h(r.Context(), st, r, body)
		s.answer(w, r, status, v, err)
	}
}

// answerPlain answers a request whose body does not matter.
func (s *Server) answerPlain(h func(context.Context, *settings, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := h(r.Context(), s.current(), r)
		s.answer(w, r, http.StatusOK, v, err)
	}
}

// answerDocument answers with a public document that was serialised before.
func (s *Server) answerDocument(pick func(*settings) []byte) http.HandlerFunc {
	var last atomic.Pointer[tagged]
	return func(w http.ResponseWriter, r *http.Request) {
		doc := pick(s.current())
		t := last.Load()
		if !t.is(doc) {
			t = tag(doc)
			last.Store(t)
		}
		h := w.Header()
		h["Content-Type"] = typeJSON
		h["Cache-Control"] = fiveMinutes
		h["Etag"] = t.etag
		if len(r.Header["If-None-Match"])+len(r.Header["If-Match"])+len(r.Header["Range"]) == 0 {
			if len(doc) > oneBuffer {
				h["Content-Length"] = t.length
			}
			w.Write(doc)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(doc)) // 304 to who has it (RFC 9110 section 13)
	}
}

// tagged is a document with the tag of its content, and its length, as headers
// have them.
type tagged struct {
	doc          []byte
	etag, length []string
}

func tag(doc []byte) *tagged {
	sum := sha256.Sum256(doc)
	return &tagged{doc, []string{`"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}, []string{strconv.Itoa(len(doc))}}
}

// is reports whether doc is the very document that was tagged: documents are
// made anew when they change, and never written to.
func (t *tagged) is(doc []byte) bool {
	return t != nil && len(t.doc) == len(doc) && len(doc) > 0 && &t.doc[0] == &doc[0]
}

// answer writes a value as JSON (nil: an empty body), or the error.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, status int, v any, err error) {
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header()["Cache-Control"] = noStore
	if fresh, ok := v.(withNonce); ok {
		w.Header().Set(dpop.NonceHeader, fresh.nonce)
		v = fresh.answer
	}
	if v == nil {
		w.WriteHeader(status)
		return
	}
	if d, ok := v.(textAnswer); ok {
		w.Header().Set("Content-Type", d.mediaType)
		w.WriteHeader(status)
		io.WriteString(w, d.body)
		return
	}
	s.writeJSON(w, r, status, v)
}

// textAnswer is a value that is not written as JSON.
type textAnswer struct{ mediaType, body string }

// buffers keeps what answers are put together in, and forms are read into, as
// long as they are small.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func giveBack(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		clear(b.Bytes()) // tokens need not lie about
		b.Reset()
		buffers.Put(b)
	}
}

const keptBuffer = 16 << 10

// oneBuffer is what fits into the buffer of net/http, which then says itself how
// long the answer is. A ninth header would cost another map.
const oneBuffer = 2048

func (s *Server) writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	b := buffers.Get().(*bytes.Buffer)
	defer giveBack(b)
	if err := encodeTo(b, v); err != nil {
		s.log.ErrorContext(r.Context(), "answer cannot be encoded", "path", r.URL.Path, "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h["Content-Type"] = typeJSON
	if b.Len() > oneBuffer {
		h.Set("Content-Length", strconv.Itoa(b.Len()))
	}
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// encodeTo writes the JSON of v with a line feed after it.
func encodeTo(b *bytes.Buffer, v any) error {
	if o, ok := v.(jsonobj.Appender); ok {
		text, err := o.AppendJSON(b.AvailableBuffer())
		b.Write(append(text, '\n'))
		return err
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// errorBody is RFC 6749 section 5.2 with RFC 9470's members.
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	MaxAge      int    `json:"max_age,omitempty"`
	ACRValues   string `json:"acr_values,omitempty"`
}

// refuse writes an error. Only an *oauth.Error says outside what was wrong.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	err = overdrawn(r.Context(), w.Header(), err)
	var e *oauth.Error
	if !errors.As(err, &e) {
		e = &oauth.Error{Code: oauth.ServerError, Description: "the server could not do this; its log says why", Err: err}
	}
	if e.Code == oauth.AuthorizationPending || e.Code == oauth.SlowDown { // no refusal: a device waits
		w.Header().Set("Cache-Control", "no-store")
		s.writeJSON(w, r, e.HTTPStatus(), errorBody{Error: e.Code, Description: e.Description})
		return
	}
	ref := s.keepRefusal(r, err, e)
	s.logRefusal(r, e, ref)
	description := audit.Describe(oauth.Printable(e.Description), ref)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	retryAfter(h, e.RetryAfter)
	if e.Code == oauth.UseDPoPNonce { // RFC 9449 section 8
		h.Set(dpop.NonceHeader, s.nonces.Current(s.now()))
	}
	switch {
	case e.DPoP:
		h.Set("WWW-Authenticate", challengeDPoP(e.Code, description))
	case e.Code == oauth.InvalidClient && e.Basic: // RFC 6749 section 5.2
		h.Set("WWW-Authenticate", oauth.FormatChallenge("Basic", "realm", s.current().cfg.URL))
	case e.Reason == reasonNoToken:
		h.Set("WWW-Authenticate", oauth.FormatChallenge("Bearer", "realm", s.current().cfg.URL))
	case e.Code == oauth.InvalidToken || e.Code == oauth.InsufficientScope: // RFC 6750 section 3
		h.Set("WWW-Authenticate", oauth.FormatChallenge("Bearer", "error", e.Code, "error_description", description))
	}
	s.writeJSON(w, r, e.HTTPStatus(), errorBody{e.Code, description, e.MaxAge, e.ACRValues})
}

func (s *Server) logRefusal(r *http.Request, e *oauth.Error, ref string) {
	args := []any{"path", r.URL.Path, "code", e.Code, "reason", e.Reason, "description", e.Description, "reference", ref, "address", address(r)}
	if e.Err != nil {
		args = append(args, "cause", e.Err.Error())
	}
	if e.HTTPStatus() >= http.StatusInternalServerError {
		s.log.ErrorContext(r.Context(), "request failed", args...)
		return
	}
	s.log.InfoContext(r.Context(), "request refused", args...)
}

// recover answers a panic like any other fault of the server.
func (s *Server) recover(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.log.ErrorContext(r.Context(), "panic", "path", r.URL.Path, "stack", string(debug.Stack()))
	s.refuse(w, r, errors.New("panic"))
}

// readText is readBody for a body that is read as a text.
func readText(w http.ResponseWriter, r *http.Request, st *settings, want string) (string, error) {
	b := buffers.Get().(*bytes.Buffer)
	defer giveBack(b)
	body, err := readInto(b.AvailableBuffer(), w, r, st, want)
	b.Write(body) // to be cleared, and kept if it had to grow
	return string(body), err
}

// readBody reads a body of the media type and at most the configured size.
func readBody(w http.ResponseWriter, r *http.Request, st *settings, want string) ([]byte, error) {
	return readInto(nil, w, r, st, want)
}

// readInto is readBody into room, if that is large enough.
func readInto(room []byte, w http.ResponseWriter, r *http.Request, st *settings, want string) ([]byte, error) {
	if ct := r.Header.Get("Content-Type"); ct != want {
		if got, _, err := mime.ParseMediaType(ct); err != nil || got != want {
			return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "Content-Type must be " + want}
		}
	}
	body, err := readAll(room, http.MaxBytesReader(w, r.Body, st.bodyLimit), r.ContentLength)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusRequestEntityTooLarge,
			Description: "the body is too large"}
	case err != nil:
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the body could not be read", Err: err}
	}
	return body, nil
}

// readAll is io.ReadAll into room, or more: what was announced, within reason.
func readAll(room []byte, r io.Reader, announced int64) ([]byte, error) {
	size := bytes.MinRead
	if announced > 0 {
		size = int(min(announced, 16<<10)) + 1 // one more, to see the end without growing
	}
	b := slices.Grow(room[:0], size)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		case len(b) == cap(b):
			b = slices.Grow(b, bytes.MinRead)
		}
	}
}

// secureHeaders are on every answer; pages replace the policy by their own.
func secureHeaders(h http.Header) {
	h["X-Content-Type-Options"] = nosniff
	h["Referrer-Policy"] = noReferrer
	h["X-Frame-Options"] = denyFrames
	h["Content-Security-Policy"] = nothingLoads
}

// Values of headers that are the same on every answer. Handlers replace them
// (Header.Set) and never append to them.
var (
	nosniff      = []string{"nosniff"}
	noReferrer   = []string{"no-referrer"}
	denyFrames   = []string{"DENY"}
	nothingLoads = []string{"default-src 'none'; frame-ancestors 'none'"}
	noStore      = []string{"no-store"}
	fiveMinutes  = []string{"public, max-age=300"}
	typeJSON     = []string{"application/json"}
	anyOrigin    = []string{"*"}
	corsExposed  = []string{"DPoP-Nonce, WWW-Authenticate"}
)

// preflight answers the question of a browser before a request of another
// origin. No credentials: what an origin may send is what anybody may.
func preflight(w http.ResponseWriter, methods []string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	h.Set("Access-Control-Allow-Headers", "*, Authorization, DPoP")
	h.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}

// address is the caller's, without the port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func notFound(err error) bool { return errors.Is(err, store.ErrNotFound) }
