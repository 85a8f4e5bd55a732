package doorward

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"doorward/internal/oauth"
)

// expected is what was recorded before the browser was sent away (C-AUTHZ-04).
type expected struct {
	issuer string
	state  string
	iss    bool   // the issuer says that it sends iss (RFC 9207)
	client string // what the program is called, for the page
}

// check reads an authorization response. mine is false if it belongs to no
// request of ours, so that it ends none. Nothing of the answer is acted on
// before its iss was compared (C-CB-02, C-CB-03).
func (e expected) check(q url.Values) (code string, mine bool, err error) {
	mine = slices.ContainsFunc(q["state"], func(s string) bool {
		return subtle.ConstantTimeCompare([]byte(s), []byte(e.state)) == 1
	})
	if !mine {
		return "", false, errors.New("the answer belongs to no request that is open here")
	}
	for _, name := range []string{"state", "iss", "code", "error"} {
		if len(q[name]) > 1 {
			return "", true, e.refuse("the parameter " + name + " is repeated")
		}
	}
	switch iss, sent := q["iss"]; {
	case sent && iss[0] != e.issuer: // code point by code point: no normalization
		return "", true, e.refuse("the answer is from another issuer than the one that was asked (iss)")
	case !sent && e.iss:
		return "", true, e.refuse("the answer does not name its issuer (iss), which this authorization server says it does")
	}
	switch {
	case q.Has("error") && q.Has("code"):
		return "", true, e.refuse("the answer has a code and an error")
	case q.Has("error"):
		return "", true, refusal(stepAuthorize, e.issuer, 0, q.Get("error"), q.Get("error_description"))
	case q.Get("code") == "":
		return "", true, e.refuse("the answer has no code")
	}
	return q.Get("code"), true, nil
}

func (e expected) refuse(why string) *Error {
	return &Error{Step: stepAuthorize, Server: e.issuer, Who: whoOperator, Description: why}
}

// callback waits on loopback for the browser to come back (C-CB-01).
type callback struct {
	redirect  string
	path      string
	listeners []net.Listener
	server    *http.Server
	results   chan result
	outcome   chan error  // what became of the code
	over      atomic.Bool // there was an answer, or nobody waits for one any more
}

type result struct {
	code string
	err  error
}

// listen opens the port of a loopback redirect URI; any free one if it names none.
func listen(redirect string) (*callback, error) {
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "http" || !oauth.IsLoopbackHost(u.Host) || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, misconfigured("AuthorizationCode.RedirectURL must be http on a loopback host without query, such as http://127.0.0.1/callback")
	}
	hosts := []string{u.Hostname()}
	if net.ParseIP(u.Hostname()) == nil {
		hosts = []string{"127.0.0.1", "::1"}
	}
	c := &callback{path: u.Path, results: make(chan result, 1), outcome: make(chan error, 1)}
	if c.path == "" {
		c.path = "/"
	}
	port := ""
	for tries := 1; ; tries++ {
		c.listeners, port, err = listenAll(hosts, cmp.Or(u.Port(), "0"))
		if err == nil {
			break
		}
		if port == "" || tries == freePortTries {
			return nil, err
		}
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	c.redirect = u.String()
	return c, nil
}

// freePortTries is how often a port is looked for that is free at all hosts.
const freePortTries = 10

// listenAll opens one port at all hosts; "0" is any free one. A browser may go
// to either address of localhost, so a port that somebody else has at one of
// them is an error, with the port if another one may be free.
func listenAll(hosts []string, port string) (all []net.Listener, at string, err error) {
	at = port
	for i, host := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(host, at))
		switch {
		case err == nil:
			all = append(all, l)
			_, at, _ = net.SplitHostPort(l.Addr().String())
		case i > 0 && !canListen(host): // this machine has no IPv6 loopback
		default:
			for _, l := range all {
				l.Close()
			}
			if i == 0 || port != "0" {
				at = ""
			}
			return nil, at, err
		}
	}
	return all, at, nil
}

// canListen asks the system in place of an error number, which differ.
func canListen(host string) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// serve answers the callback path until an answer to the request came.
func (c *callback) serve(e expected) {
	c.server = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.answer(w, r, e) }),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
	}
	c.server.SetKeepAlivesEnabled(false)
	for _, l := range c.listeners {
		go func() { _ = c.server.Serve(l) }()
	}
}

func (c *callback) answer(w http.ResponseWriter, r *http.Request, e expected) {
	pageHeader(w.Header())
	if r.URL.Path != c.path {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet {
		http.Error(w, "the answer comes as a GET", http.StatusMethodNotAllowed)
		return
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		pageUnreadable.write(w, e)
		return
	}
	code, mine, err := e.check(q)
	switch {
	case !mine:
		pageForeign.write(w, e)
		return
	case c.over.Swap(true): // the state was used before
		pageOver.write(w, e)
		return
	}
	if err != nil { // the page first: whoever waits for the result closes the server
		pageFor(err).write(w, e)
		_ = http.NewResponseController(w).Flush()
		c.results <- result{err: err}
		return
	}
	c.results <- result{code: code}
	if err = <-c.outcome; err != nil {
		pageUnfinished.write(w, e)
		return
	}
	pageDone.write(w, e)
}

// settle says what became of the code, which the browser is waiting to show.
func (c *callback) settle(err error) {
	select {
	case c.outcome <- err:
	default:
	}
}

// wait returns the code of the answer, or why there is none.
func (c *callback) wait(ctx context.Context, opened <-chan error) (string, error) {
	for {
		select {
		case r := <-c.results:
			return r.code, r.err
		case err := <-opened:
			opened = nil
			if err == nil {
				continue
			}
			return c.last(&Error{Step: stepAuthorize, Who: whoPerson, Description: "the browser could not be opened", Err: err})
		case <-ctx.Done():
			return c.last(&Error{Step: stepAuthorize, Who: whoPerson, Description: "nobody came back from the browser", Err: ctx.Err()})
		}
	}
}

// last is the end without an answer, unless one came at the same moment.
func (c *callback) last(err error) (string, error) {
	if c.over.Swap(true) {
		r := <-c.results
		return r.code, r.err
	}
	return "", err
}

// close ends the listener; an answer that is being written is finished.
func (c *callback) close() {
	c.settle(errors.New("given up"))
	for _, l := range c.listeners {
		l.Close()
	}
	if c.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.server.Shutdown(ctx)
}
