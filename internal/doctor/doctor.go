// Package doctor diagnoses an MCP server from outside: it walks as a client
// would, and says of each step what it saw, which rule that is about, how to
// mend it and who has to. Without a flow it holds no token and changes nothing.
//
// Read [Walk] first, then the table in checks.go. What happened inside is
// explained by internal/audit.
package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"doorward"
	"doorward/internal/fetch"
	"doorward/internal/oauth"
)

// Results of a step.
const (
	OK   = "ok"
	Warn = "warn"
	Fail = "fail"
)

// Who can mend a step.
const (
	Person   = "person"
	Operator = "operator"
	IdPAdmin = "IdP's administrator"
	Maker    = "client's maker"
)

// Step is what was found at one step.
type Step struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Result string `json:"result"` // ok | warn | fail
	Saw    string `json:"saw"`    // what was there
	Rule   string `json:"rule"`   // what asks for something else
	Mend   string `json:"mend"`
	Who    string `json:"who"`
}

// Report is the whole diagnosis. OK: no step failed.
type Report struct {
	URL   string `json:"url"`
	OK    bool   `json:"ok"`
	Steps []Step `json:"steps"`

	issuer, idp string // as far as they became known, for the drawing
}

// Config says how to walk.
type Config struct {
	Timeout   time.Duration    // of the whole walk; 0: 30 s
	Transport *http.Transport  // for its TLS roots; nil: the default
	Now       func() time.Time // nil: time.Now
	// Progress is told the title of the step that is looked at. nil: nobody is.
	Progress func(title string)
	// Client gets a token by its Flow at the end of the walk, and calls the server
	// with it. Its Base is set, and no token of its Store is used. nil: the walk
	// ends without a token.
	Client *doorward.Transport
	// Lookup resolves names and Dial connects. nil: the system does.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// walk is one walk, and what was found on the way.
type walk struct {
	Config
	ctx    context.Context
	report Report
	url    *url.URL
	addrs  []netip.Addr
	fetch  *fetch.Fetcher // for the server and what it names
	opened []*fetch.Fetcher
	conn   net.Conn // the connection that TLS is tried on; nil: none

	refused   *answer           // the 401
	pages     bool              // pages of other origins can call the server
	challenge map[string]string // of the 401
	documents []document        // the resource metadata, in the forms that were there
	resource  oauth.ResourceMetadata
	issuer    string
	forms     []document // the server's metadata, likewise
	server    oauth.ServerMetadata
	keySet    []byte
	dates     []dated
	slowest   slow
}

// Walk diagnoses the MCP server at a URL. It ends early where a client would
// have to: then the last step but for clock and speed failed.
func Walk(ctx context.Context, c Config, address string) Report {
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Lookup == nil {
		c.Lookup = net.DefaultResolver.LookupNetIP
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	w := &walk{Config: c, ctx: ctx, report: Report{URL: address, OK: true, Steps: []Step{}}}
	for _, part := range []struct {
		id  string
		run func() bool
	}{
		{"url", w.address}, {"dns", w.dns}, {"connect", w.connect}, {"tls", w.tls},
		{"redirects", w.redirects}, {"unauthorized", w.unauthorized}, {"challenge", w.readChallenge}, {"wires", w.wires}, {"cors", w.cors},
		{"resource_metadata", w.resourceMetadata}, {"resource", w.resourceCovers}, {"authorization_servers", w.authorizationServer}, {"scopes", w.scopes},
		{"as_reach", w.asReach}, {"as_metadata", w.serverMetadata}, {"issuer", w.sameIssuer}, {"as_forms", w.sameForms}, {"endpoints", w.endpoints},
		{"pkce", w.pkce}, {"grants", w.grants}, {"registration", w.registration}, {"client_auth", w.clientAuth}, {"iss", w.issParameter}, {"id_jag", w.idJAG},
		{"dpop", w.dpop}, {"jwks", w.keys}, {"authorize", w.tryAuthorize}, {"token_endpoint", w.tryToken}, {"registration_endpoint", w.tryRegistration},
		{"cors_documents", w.corsDocuments}, {"provider", w.provider}, {"hosted", w.hosted}, {"clients", w.clients},
		{"token", w.withToken},
	} {
		w.Progress(titles[part.id].Title)
		if !part.run() || w.late(part.id) {
			break
		}
	}
	for _, f := range w.opened {
		f.CloseIdle()
	}
	w.clock()
	w.speed()
	w.report.issuer = w.issuer
	return w.report
}

// late ends a walk whose time is over.
func (w *walk) late(id string) bool {
	if w.ctx.Err() == nil {
		return false
	}
	if w.report.OK {
		w.fail(id, problem{saw: fmt.Sprintf("the time for the whole walk (%s) was over here", w.Timeout),
			mend: "Look why the servers take so long, or give it more time with --timeout.", who: Operator})
	}
	return true
}

// problem is what is wrong at a step. who "": whom the table names.
type problem struct{ saw, mend, who string }

// ok, warn and fail note a step. fail returns false: the walk ends there.
func (w *walk) ok(id, saw string) bool {
	w.report.Steps = append(w.report.Steps, Step{ID: id, Title: titles[id].Title, Result: OK, Saw: oauth.Printable(saw)})
	return true
}

func (w *walk) warn(id string, p problem) bool {
	w.note(id, Warn, p)
	return true
}

func (w *walk) fail(id string, p problem) bool {
	w.note(id, Fail, p)
	w.report.OK = false
	return false
}

// still notes a failure after which the rest can be seen all the same.
func (w *walk) still(id string, p problem) bool {
	w.fail(id, p)
	return true
}

// note adds a step. What servers say is in it: it may not steer a terminal.
func (w *walk) note(id, result string, p problem) {
	c := titles[id]
	if p.who == "" {
		p.who = c.Who
	}
	w.report.Steps = append(w.report.Steps, Step{ID: id, Title: c.Title, Result: result, Saw: oauth.Printable(p.saw),
		Rule: c.Rule, Mend: oauth.Printable(p.mend), Who: p.who})
}

// list is some of a list of what servers say.
func list(all []string) string {
	const most = 6
	if len(all) == 0 {
		return "nothing"
	}
	if len(all) > most {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
}
