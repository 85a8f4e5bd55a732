package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/fetch"
	"doorward/internal/oauth"
)

const (
	maxDocument  = 1 << 20
	certificates = 14 * 24 * time.Hour // a certificate that ends sooner is worth a word
)

// address is whether a client may send a token there at all.
func (w *walk) address() bool {
	s := Step{ID: "url", Title: "the address", Rule: "MCP authorization: HTTPS, plain http on loopback only", Who: Person}
	u, err := url.Parse(w.report.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		s.Saw, s.Mend = "this is no http or https URL", "Give the whole address of the MCP server, like https://mcp.example.com/mcp."
		return w.fail(s)
	case u.User != nil || u.Fragment != "":
		s.Saw, s.Mend = "the address has user info or a fragment", "Leave them out."
		return w.fail(s)
	case u.Scheme == "http" && !oauth.IsLoopbackHost(u.Host):
		s.Saw, s.Mend, s.Who = "plain http on a host that is not loopback", "Put TLS in front of the server.", Operator
		return w.fail(s)
	}
	w.url = u
	return w.ok("url", s.Title, u.Scheme+"://"+u.Host+u.Path)
}

func (w *walk) dns() bool {
	s := Step{ID: "dns", Title: "the host has an address", Who: Operator,
		Mend: "Check the spelling, and the DNS record of the host."}
	addrs, err := net.DefaultResolver.LookupNetIP(w.ctx, "ip", w.url.Hostname())
	if err != nil {
		s.Saw = err.Error()
		return w.fail(s)
	}
	c := fetch.Config{MaxBytes: maxDocument, Transport: w.Transport}
	var texts []string
	for _, a := range addrs {
		a = a.Unmap()
		w.addrs = append(w.addrs, a)
		texts = append(texts, a.String())
		// What the server names may lie where the server itself does.
		c.AllowLoopback = c.AllowLoopback || a.IsLoopback()
		c.AllowPrivate = c.AllowPrivate || fetch.Config{}.CheckAddr(a) != nil && fetch.Config{AllowPrivate: true}.CheckAddr(a) == nil
	}
	w.fetch = fetch.New(c)
	return w.ok(s.ID, s.Title, strings.Join(texts, ", "))
}

func (w *walk) port() string {
	if p := w.url.Port(); p != "" {
		return p
	}
	return map[string]string{"https": "443", "http": "80"}[w.url.Scheme]
}

// dial connects to the first address that answers, as clients do.
func (w *walk) dial() (net.Conn, error) {
	var errs []error
	for _, a := range w.addrs {
		ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(a.String(), w.port()))
		cancel()
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (w *walk) connect() bool {
	s := Step{ID: "connect", Title: "the port answers", Who: Operator,
		Mend: "Start the server, or open the port to where you are (firewall, listen address)."}
	c, err := w.dial()
	if err != nil {
		s.Saw = err.Error()
		return w.fail(s)
	}
	if w.conn = c; w.url.Scheme == "http" {
		c.Close()
	}
	return w.ok(s.ID, s.Title, c.RemoteAddr().String())
}

func (w *walk) tls() bool {
	if w.url.Scheme == "http" {
		return w.ok("tls", "TLS", "none: plain http on loopback")
	}
	s := Step{ID: "tls", Title: "TLS", Rule: "RFC 9110 section 4.3.4", Who: Operator,
		Mend: "Serve a certificate for this host name, with its chain, from an authority that clients know."}
	defer w.conn.Close()
	config := &tls.Config{}
	if w.Transport != nil && w.Transport.TLSClientConfig != nil {
		config = w.Transport.TLSClientConfig.Clone()
	}
	config.ServerName, config.MinVersion = w.url.Hostname(), tls.VersionTLS12
	secure := tls.Client(w.conn, config)
	if err := secure.HandshakeContext(w.ctx); err != nil {
		s.Saw = err.Error()
		return w.fail(s)
	}
	state := secure.ConnectionState()
	ends := state.PeerCertificates[0].NotAfter
	saw := fmt.Sprintf("%s, the certificate ends %s", tls.VersionName(state.Version), ends.UTC().Format(time.DateOnly))
	if ends.Sub(w.Now()) < certificates {
		s.Saw, s.Mend = saw, "Renew the certificate."
		return w.warn(s)
	}
	return w.ok(s.ID, s.Title, saw)
}

// initialize is the first message of every MCP client.
const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"doorward-doctor","version":"1"}}}`

// unauthorized sends the first message of a client without a token.
func (w *walk) unauthorized() bool {
	s := Step{ID: "unauthorized", Title: "a request without a token gets 401", Rule: "MCP authorization: RFC 6750 section 3, RFC 9728 section 5", Who: Operator}
	resp, err := w.post(initialize)
	if err != nil {
		s.Saw, s.Mend = err.Error(), "Look why the server does not answer; its log may say."
		return w.fail(s)
	}
	s.Saw = resp.Status
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		values := resp.Header.Values("WWW-Authenticate")
		w.challenge = bearer(oauth.ParseChallenges(values))
		return w.ok(s.ID, s.Title, resp.Status)
	case resp.StatusCode/100 == 2:
		s.Mend = "Put the server behind an authorization check: anybody who reaches it can use it."
	case resp.StatusCode == http.StatusNotFound:
		s.Mend, s.Who = "There is no MCP endpoint at this path: check the address (often it ends in /mcp).", Person
	case resp.StatusCode/100 == 3:
		s.Saw += " to " + resp.Header.Get("Location")
		s.Mend, s.Who = "Use the address that it redirects to: clients do not follow redirects with a token.", Person
	case resp.StatusCode == http.StatusForbidden:
		s.Mend = "Answer 401 with a challenge, not 403: clients do not know otherwise that they need a token."
	default:
		s.Mend = "An MCP endpoint answers a POST of initialize without a token with 401."
	}
	return w.fail(s)
}

func bearer(all []oauth.Challenge) map[string]string {
	for _, c := range all {
		if strings.EqualFold(c.Scheme, "Bearer") {
			return c.Params
		}
	}
	return nil
}

func (w *walk) post(body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, w.url.String(), bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("User-Agent", "doorward")
	sent := w.Now()
	resp, err := w.fetch.RoundTripper().RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	w.date(w.url.Host, resp.Header, sent)
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode/100 == 2 { // an answer that goes on says enough
		err = nil
	}
	return resp, err
}

// dated is what a server's clock said.
type dated struct {
	host string
	ahead,
	doubt time.Duration
}

// date reads the Date header (RFC 9110 section 6.6.1), which has whole seconds.
func (w *walk) date(host string, h http.Header, sent time.Time) {
	said, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	now := w.Now()
	w.dates = append(w.dates, dated{host, said.Sub(now), now.Sub(sent) + time.Second})
}

// clock compares the clocks; assertions live for minutes.
func (w *walk) clock() bool {
	if len(w.dates) == 0 {
		return true
	}
	s := Step{ID: "clock", Title: "the clocks agree", Rule: "RFC 7519 section 4.1.4", Who: Operator,
		Mend: "Set the clocks by NTP, on the server and on this machine."}
	worst := w.dates[0]
	for _, d := range w.dates {
		if d.ahead.Abs()-d.doubt > worst.ahead.Abs()-worst.doubt {
			worst = d
		}
	}
	s.Saw = fmt.Sprintf("%s is within a few seconds of this machine", worst.host)
	off := worst.ahead.Abs() - worst.doubt
	if off > 10*time.Second {
		s.Saw = fmt.Sprintf("%s differs from this machine by %s", worst.host, worst.ahead.Round(time.Second))
	}
	switch {
	case off > 2*time.Minute:
		return w.fail(s)
	case off > 20*time.Second:
		return w.warn(s)
	}
	return w.ok(s.ID, s.Title, s.Saw)
}
