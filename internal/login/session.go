package login

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/internal/vault"
	"doorward/store"
)

// Lifetime is how long a session lasts after the sign-in: a working day. There
// is no idle limit: ID tokens name the session they come from, and a client
// that works in the background must not lose it while the person is at lunch.
// Whoever needs a younger sign-in asks for it (max_age, signed_in_within).
const Lifetime = 12 * time.Hour

// Session is one sign-in in one browser.
type Session struct {
	// ID names the session to others (claim sid). It opens nothing: it is a
	// keyed hash of the secret in the cookie, and the key of the record.
	ID      string
	Subject oauth.Subject
	Created time.Time
	Expires time.Time

	version uint64
}

// Same is the op that lets a commit through only as long as the session lives.
func (s Session) Same() store.Op { return store.Same(ledger.KindSession, s.ID, s.version) }

// Sessions keeps the sessions of one issuer.
type Sessions struct {
	ledger  *ledger.Ledger
	macs    sync.Pool // of *mac with a key of the vault
	session string    // name of the session's cookie
	browser string    // name of the cookie that tells browsers apart before sign-in
	secure  bool
	now     func() time.Time
}

// NewSessions keeps sessions of issuer in the ledger. secure must be true but
// for an http issuer on loopback, whose cookies have neither the prefix __Host-
// nor Secure. now nil means time.Now.
//
// The session ids are made with a key of the vault, so that who can write the
// store alone cannot put a session there.
func NewSessions(l *ledger.Ledger, v *vault.Vault, issuer string, secure bool, now func() time.Time) *Sessions {
	if now == nil {
		now = time.Now
	}
	// Cookies do not know ports: two issuers on one host need two names.
	sum := sha256.Sum256([]byte(issuer))
	tail := hex.EncodeToString(sum[:4])
	key := v.Derive("session")
	s := &Sessions{ledger: l, macs: sync.Pool{New: func() any { return &mac{hash: hmac.New(sha256.New, key)} }}, session: "dw-" + tail, browser: "dw-browser-" + tail, secure: secure, now: now}
	if secure {
		s.session, s.browser = "__Host-"+s.session, "__Host-"+s.browser
	}
	return s
}

type record struct {
	Subject oauth.Subject `json:"subject"`
	Created time.Time     `json:"created"`
}

// Start makes a session for somebody who just signed in, always with a new
// secret (a cookie that was there before, by whomever it was set, is replaced
// and its session ended), and sets its cookie. The subject of the session
// carries its ID. The error is ledger.ErrLeft for a person who left.
func (s *Sessions) Start(ctx context.Context, w http.ResponseWriter, r *http.Request, subject oauth.Subject) (Session, error) {
	return s.StartUntil(ctx, w, r, subject, time.Time{})
}

// StartUntil is Start of a session that ends at a time, if that is sooner than
// Lifetime from now; zero: it lasts for Lifetime.
func (s *Sessions) StartUntil(ctx context.Context, w http.ResponseWriter, r *http.Request, subject oauth.Subject, ends time.Time) (Session, error) {
	if err := s.ledger.CheckPerson(ctx, subject.ID); err != nil {
		return Session{}, err
	}
	secret := newSecret()
	sess := Session{ID: s.id("session", secret), Created: s.now(), version: 1}
	subject.Session = sess.ID
	if subject.AuthTime.IsZero() && subject.Provider == "" { // a provider's silence is no proof of now
		subject.AuthTime = sess.Created
	}
	sess.Subject = subject
	value, err := json.Marshal(record{subject, sess.Created})
	if err != nil {
		return Session{}, fmt.Errorf("session of %s: %w", subject.ID, err)
	}
	if latest := sess.Created.Add(Lifetime); ends.IsZero() || ends.After(latest) {
		ends = latest
	}
	sess.Expires = ends
	ops := []store.Op{store.Add(store.Record{
		Kind: ledger.KindSession, Key: sess.ID, Value: value,
		Index: []string{"person=" + subject.ID}, Expires: ends,
	})}
	old, replaces := s.secretOf(r, s.session)
	if replaces {
		ops = append(ops, store.Delete(ledger.KindSession, s.id("session", old)))
	}
	err = s.ledger.Store.Commit(ctx, ops...)
	if err == nil && replaces {
		err = s.ledger.FollowSession(ctx, s.id("session", old), sess.ID, subject.ID, ends)
	}
	if err != nil {
		return Session{}, err
	}
	// Leaving marks the account first and lists the sessions after, so one of
	// the two sees the other.
	if err := s.ledger.CheckPerson(ctx, subject.ID); err != nil {
		return Session{}, errors.Join(err, s.ledger.EndSession(ctx, sess.ID))
	}
	s.setCookie(w, s.session, secret, 0)
	return sess, nil
}

// From returns the session of the browser that sent the request, and false if
// it has none that lives. With an error nobody knows.
func (s *Sessions) From(ctx context.Context, r *http.Request) (Session, bool, error) {
	secret, ok := s.secretOf(r, s.session)
	if !ok {
		return Session{}, false, nil
	}
	return s.Named(ctx, s.id("session", secret))
}

// Named returns the session with that public id, and false if there is none
// that lives. With an error nobody knows.
func (s *Sessions) Named(ctx context.Context, id string) (Session, bool, error) {
	rec, err := s.ledger.Store.Get(ctx, ledger.KindSession, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !s.now().Before(rec.Expires) {
		return Session{}, false, nil
	}
	if err != nil {
		return Session{}, false, err
	}
	v, err := ledger.Parse[record](s.ledger, rec)
	if err != nil {
		return Session{}, false, nil
	}
	v.Subject.Groups, v.Subject.AMR = slices.Clone(v.Subject.Groups), slices.Clone(v.Subject.AMR)
	return Session{ID: id, Subject: v.Subject, Created: v.Created, Expires: rec.Expires, version: rec.Version}, true, nil
}

// End ends the session of the browser and takes its cookies away.
func (s *Sessions) End(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	s.setCookie(w, s.session, "", -1)
	s.setCookie(w, s.browser, "", -1)
	secret, ok := s.secretOf(r, s.session)
	if !ok {
		return nil
	}
	return s.ledger.EndSession(ctx, s.id("session", secret))
}

// Alive reports whether the session with that public id still lives.
func (s *Sessions) Alive(ctx context.Context, id string) (bool, error) {
	if id == "" || len(id) > 64 {
		return false, nil
	}
	rec, err := s.ledger.Store.Get(ctx, ledger.KindSession, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && s.now().Before(rec.Expires), err
}

// Browser returns a name of the browser that sent the request, also before
// anybody signed in; forms are bound to it. A browser without one gets a cookie.
func (s *Sessions) Browser(w http.ResponseWriter, r *http.Request) string {
	if name, ok := s.BrowserOf(r); ok {
		return name
	}
	secret := newSecret()
	s.setCookie(w, s.browser, secret, 0)
	return s.id("browser", secret)
}

// BrowserOf is the name of the browser, and false if it brought no cookie.
func (s *Sessions) BrowserOf(r *http.Request) (string, bool) {
	secret, ok := s.secretOf(r, s.browser)
	if !ok {
		return "", false
	}
	return s.id("browser", secret), true
}

// KnowsBrowser reports whether the browser brought the cookie that BrowserOf
// reads.
func (s *Sessions) KnowsBrowser(r *http.Request) bool {
	_, ok := s.secretOf(r, s.browser)
	return ok
}

// mac is an HMAC with its buffers.
type mac struct {
	hash interface {
		Reset()
		Write([]byte) (int, error)
		Sum([]byte) []byte
	}
	in   []byte
	sum  [sha256.Size]byte
	text [(sha256.Size*8 + 5) / 6]byte
}

func (s *Sessions) id(use, secret string) string {
	m := s.macs.Get().(*mac)
	defer s.macs.Put(m)
	m.in = append(append(append(m.in[:0], use...), 0), secret...)
	m.hash.Reset()
	m.hash.Write(m.in)
	base64.RawURLEncoding.Encode(m.text[:], m.hash.Sum(m.sum[:0]))
	return string(m.text[:])
}

// secretOf reads a cookie of ours: exactly one, in the form in which we make
// them.
func (s *Sessions) secretOf(r *http.Request, name string) (string, bool) {
	secret, ok := onlyCookie(r.Header["Cookie"], name)
	if !ok || len(secret) != secretText {
		return "", false
	}
	var text [secretText]byte
	var raw [secretSize]byte
	copy(text[:], secret)
	n, err := base64.RawURLEncoding.Decode(raw[:], text[:])
	return secret, err == nil && n == secretSize
}

// trimmed is a text without what net/http takes off the ends of cookies and their
// names.
func trimmed(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// onlyCookie is the value of the one cookie of that name (RFC 6265 section
// 5.4), and false if there is none or another of the same name. Every request of
// a browser is asked twice, so it does without the list of all cookies.
func onlyCookie(lines []string, name string) (value string, ok bool) {
	for _, line := range lines {
		for rest, more := line, true; more; {
			var part string
			part, rest, more = strings.Cut(rest, ";")
			n, v, _ := strings.Cut(trimmed(part), "=")
			if trimmed(n) != name {
				continue
			}
			if ok {
				return "", false
			}
			value, ok = v, true
		}
	}
	return value, ok
}

// setCookie sets a cookie that ends with the browser, or with maxAge -1 takes
// it away.
func (s *Sessions) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

const (
	secretSize = 32 // bytes
	secretText = (secretSize*8 + 5) / 6
)

func newSecret() string {
	b := make([]byte, secretSize)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}
