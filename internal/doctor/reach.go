package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"doorward/internal/fetch"
	"doorward/internal/oauth"
)

// certificates that end sooner are worth a word.
const certificates = 14 * 24 * time.Hour

// address is whether a client may send a token there at all.
func (w *walk) address() bool {
	u, err := url.Parse(w.report.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return w.fail("url", problem{saw: "this is no http or https URL", mend: "Give the whole address of the MCP server, like https://mcp.example.com/mcp."})
	case u.User != nil || u.Fragment != "":
		return w.fail("url", problem{saw: "the address has user info or a fragment", mend: "Leave them out: clients send neither."})
	case u.Scheme == "http" && !oauth.IsLoopbackHost(u.Host):
		return w.fail("url", problem{saw: "plain http on a host that is not loopback", who: Operator,
			mend: "Put TLS in front of the server and give its https address: whoever is on the way could take the token."})
	}
	w.url = u
	return w.ok("url", u.Scheme+"://"+u.Host+u.Path)
}

// lookup resolves a name, or reads an address.
func (w *walk) lookup(host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(w.ctx, oneAnswer)
	defer cancel()
	addrs, err := w.Lookup(ctx, "ip", host)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	if err == nil && len(addrs) == 0 {
		err = errors.New(host + " has no address")
	}
	return addrs, err
}

func (w *walk) dns() bool {
	addrs, err := w.lookup(w.url.Hostname())
	if err != nil {
		return w.fail("dns", problem{saw: explain(err), who: Person,
			mend: "Check the spelling of the host. If it is right, its operator has to publish a DNS record for it, or you need the network (VPN) in which it has one."})
	}
	w.addrs = addrs
	w.fetch = w.fetcherFor(addrs)
	return w.ok("dns", list(texts(addrs)))
}

func texts(addrs []netip.Addr) []string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return all
}

// fetcherFor fetches what a server at these addresses names: in special
// address space only where the server itself is.
func (w *walk) fetcherFor(addrs []netip.Addr) *fetch.Fetcher {
	c := fetch.Config{MaxBytes: maxDocument, Timeout: oneAnswer, Transport: w.Transport, Lookup: w.Lookup, Dial: w.Dial}
	for _, a := range addrs {
		c.AllowLoopback = c.AllowLoopback || a.IsLoopback()
		c.AllowPrivate = c.AllowPrivate || private(a)
	}
	f := fetch.New(c)
	w.opened = append(w.opened, f)
	return f
}

func private(a netip.Addr) bool {
	return fetch.Config{}.CheckAddr(a) != nil && fetch.Config{AllowPrivate: true}.CheckAddr(a) == nil
}

func public(a netip.Addr) bool { return fetch.Config{}.CheckAddr(a) == nil }

func (w *walk) port() string {
	if p := w.url.Port(); p != "" {
		return p
	}
	return map[string]string{"https": "443", "http": "80"}[w.url.Scheme]
}

// connect tries the addresses in turn, as clients do.
func (w *walk) connect() bool {
	var errs []string
	for _, a := range w.addrs {
		ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		c, err := w.Dial(ctx, "tcp", net.JoinHostPort(a.String(), w.port()))
		cancel()
		if err != nil {
			errs = append(errs, explain(err))
			continue
		}
		if w.conn = c; w.url.Scheme == "http" {
			c.Close()
		}
		if len(errs) > 0 {
			return w.warn("connect", problem{saw: fmt.Sprintf("%s answers, but not all of its addresses: %s", net.JoinHostPort(a.String(), w.port()), list(errs)),
				mend: "Let the server listen on every address that DNS gives for it (often IPv6 is forgotten), or take the others out of DNS."})
		}
		return w.ok("connect", net.JoinHostPort(a.String(), w.port()))
	}
	return w.fail("connect", problem{saw: "port " + w.port() + ": " + list(errs),
		mend: "Start the server, or open the port to where you are (firewall, listen address). Is the port in the address the right one?"})
}

func (w *walk) tls() bool {
	if w.url.Scheme == "http" {
		return w.ok("tls", "not needed: plain http on loopback")
	}
	defer w.conn.Close()
	config := &tls.Config{}
	if w.Transport != nil && w.Transport.TLSClientConfig != nil {
		config = w.Transport.TLSClientConfig.Clone()
	}
	config.ServerName, config.MinVersion = w.url.Hostname(), tls.VersionTLS12
	ctx, cancel := context.WithTimeout(w.ctx, oneAnswer)
	defer cancel()
	secure := tls.Client(w.conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return w.fail("tls", problem{saw: explain(err),
			mend: "Serve a certificate that is valid now, for this host name, with its whole chain, from an authority that clients know, over TLS 1.2 or newer."})
	}
	state := secure.ConnectionState()
	ends := state.PeerCertificates[0].NotAfter
	saw := fmt.Sprintf("%s, the certificate ends %s", tls.VersionName(state.Version), day(ends))
	if ends.Sub(w.Now()) < certificates {
		return w.warn("tls", problem{saw: saw, mend: "Renew the certificate, and look why that did not happen by itself."})
	}
	return w.ok("tls", saw)
}

// hops are redirects that are followed to tell where they lead.
const hops = 5

// redirects sends the first message of a client without a token.
func (w *walk) redirects() bool {
	a, err := w.post(w.url.String(), initialize, "2025-11-25")
	if err != nil {
		return w.fail("redirects", problem{saw: explain(err), who: Operator, mend: "Look why the server does not answer; its log may say."})
	}
	if a.status/100 != 3 || a.header.Get("Location") == "" {
		w.refused = a
		return w.ok("redirects", "")
	}
	path, at := []string{w.url.String()}, w.url
	for a.status/100 == 3 && len(path) <= hops {
		next, err := at.Parse(a.header.Get("Location"))
		if err != nil || next.Hostname() == "" {
			return w.fail("redirects", problem{saw: a.kind(), who: Operator, mend: "Answer at this address, or redirect to a URL."})
		}
		for _, seen := range path {
			if seen == next.String() {
				return w.fail("redirects", problem{saw: "a redirect that leads back to where it began: " + list(append(path[1:], next.String())), who: Operator,
					mend: "Mend the rule that redirects. Often two of them fight about a slash at the end, or about http and https behind a proxy."})
			}
		}
		path, at = append(path, next.String()), next
		if a, err = w.post(next.String(), initialize, "2025-11-25"); err != nil {
			return w.fail("redirects", problem{saw: "a redirect to " + next.String() + ": " + explain(err), who: Operator,
				mend: "Answer at this address, or redirect to one that can be reached. Behind a proxy, tell the server its public address."})
		}
	}
	if a.status/100 == 3 {
		return w.fail("redirects", problem{saw: fmt.Sprintf("more than %d redirects: %s", hops, list(path[1:])), who: Operator, mend: "Answer at this address, or after one redirect."})
	}
	if at.Scheme == "http" && w.url.Scheme == "https" {
		return w.fail("redirects", problem{saw: "a redirect from https to " + at.String(), who: Operator, mend: "Tell the server that its public address is https (X-Forwarded-Proto, or its own setting)."})
	}
	return w.fail("redirects", problem{saw: "a redirect to " + at.String(),
		mend: "Use " + at.String() + " as the address: clients do not follow redirects with a token, and a POST may become a GET on the way."})
}

// initialize is the first message of every client up to 2025-11-25, discover
// that of one of 2026-07-28.
const (
	initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"doorward-doctor","version":"1"}}}`
	discovery  = `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"doorward-doctor","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
)

// post sends a message as clients do.
func (w *walk) post(address, message, version string, header ...string) (*answer, error) {
	header = append(header, "Content-Type", "application/json", "Accept", "application/json, text/event-stream", "Mcp-Protocol-Version", version)
	if message == discovery {
		header = append(header, "Mcp-Method", "server/discover")
	}
	return w.ask(w.fetch, http.MethodPost, address, message, header...)
}

// asReach is whether the host of the authorization server is where a client
// may go, and its TLS.
func (w *walk) asReach() bool {
	u, err := url.Parse(w.issuer)
	if err != nil {
		return w.fail("as_reach", problem{saw: err.Error(), mend: "Name an issuer that is a URL."})
	}
	if strings.EqualFold(u.Host, w.url.Host) {
		return w.ok("as_reach", "it is at the host of the MCP server")
	}
	addrs, err := w.lookup(u.Hostname())
	if err != nil {
		return w.fail("as_reach", problem{saw: explain(err), mend: "Name an authorization server that clients can find: behind a proxy its public address, not an internal name."})
	}
	for _, a := range addrs {
		if !public(a) && public(w.addrs[0]) {
			return w.fail("as_reach", problem{saw: fmt.Sprintf("%s is at %s, which is not public, and the MCP server is", u.Host, a),
				mend: "Put the public address of the authorization server into authorization_servers: clients outside cannot reach this one, and must not try."})
		}
	}
	if _, err := w.ask(w.fetch, http.MethodGet, u.Scheme+"://"+u.Host+oauth.WellKnownAS, "", "Accept", "application/json"); err != nil {
		return w.fail("as_reach", problem{saw: u.Host + ": " + explain(err), mend: "Start the authorization server, open its port, or mend its certificate."})
	}
	return w.ok("as_reach", u.Host+" at "+list(texts(addrs)))
}
