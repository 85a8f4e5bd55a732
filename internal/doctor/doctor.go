// Package doctor diagnoses an MCP server from outside: it walks as a client
// would, and says of each step what it saw, which rule that is about, how to
// mend it and who has to. It holds no token and changes nothing.
//
// Read [Walk] first. What happened inside is explained by internal/audit.
package doctor

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

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
)

// Step is what was found at one step.
type Step struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Result string `json:"result"`         // ok | warn | fail
	Saw    string `json:"saw,omitempty"`  // what was there
	Rule   string `json:"rule,omitempty"` // what asks for something else
	Mend   string `json:"mend,omitempty"`
	Who    string `json:"who,omitempty"`
}

// Report is the whole diagnosis. OK: no step failed.
type Report struct {
	URL   string `json:"url"`
	OK    bool   `json:"ok"`
	Steps []Step `json:"steps"`
}

// Config says how to walk.
type Config struct {
	Timeout   time.Duration    // of the whole walk; 0: 30 s
	Transport *http.Transport  // for its TLS roots; nil: the default
	Now       func() time.Time // nil: time.Now
}

// walk is one walk, and what was found on the way.
type walk struct {
	Config
	ctx    context.Context
	report Report
	url    *url.URL
	addrs  []netip.Addr
	fetch  *fetch.Fetcher
	conn   net.Conn // the connection that TLS is tried on; nil: none

	challenge map[string]string // of the 401
	resource  oauth.ResourceMetadata
	issuer    string
	server    oauth.ServerMetadata
	dates     []dated
}

// Walk diagnoses the MCP server at a URL. It ends early where a client would
// have to: then the last step failed.
func Walk(ctx context.Context, c Config, address string) Report {
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	w := &walk{Config: c, ctx: ctx, report: Report{URL: address, OK: true, Steps: []Step{}}}
	for _, step := range []func() bool{
		w.address, w.dns, w.connect, w.tls, w.unauthorized, w.readChallenge, w.resourceMetadata, w.resourceCovers, w.authorizationServer,
		w.serverMetadata, w.sameIssuer, w.endpoints, w.pkce, w.registration, w.keys, w.issParameter, w.idJAG,
	} {
		if !step() {
			break
		}
	}
	w.clock()
	return w.report
}

// ok, warn and fail note a step. fail returns false: the walk ends there.
func (w *walk) ok(id, title, saw string) bool {
	w.report.Steps = append(w.report.Steps, Step{ID: id, Title: title, Result: OK, Saw: oauth.Printable(saw)})
	return true
}

func (w *walk) warn(s Step) bool {
	s.Result, s.Saw = Warn, oauth.Printable(s.Saw)
	w.report.Steps = append(w.report.Steps, s)
	return true
}

func (w *walk) fail(s Step) bool {
	s.Result, s.Saw = Fail, oauth.Printable(s.Saw)
	w.report.Steps, w.report.OK = append(w.report.Steps, s), false
	return false
}
