// Package probe tries, from outside, what an authorization server must refuse:
// a row for each rule, held, broken or not testable, with the requests and
// answers that show it. Nothing secret stands in them.
//
// It speaks HTTP and nothing else, and it holds nothing of this program's own
// server: what it says of one server it says of any. Read [Run] first, then
// rules.go, which has the table.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/oauth"
)

// Results of a rule.
const (
	Held        = "held"
	Broken      = "broken"
	NotTestable = "not testable"
)

// Rule is something that an authorization server must do, or must refuse.
type Rule struct {
	ID     string // row of docs/requirements.md, with a word if the row has several
	Title  string
	Source string // where the rule stands
	Mend   string // what to change in a server that breaks it
	run    func(*session) error
}

// Result is what became of a rule.
type Result struct {
	ID       string     `json:"id"`
	Title    string     `json:"title"`
	Result   string     `json:"result"`
	Saw      string     `json:"saw,omitempty"` // why it is broken or not testable
	Source   string     `json:"source"`
	Mend     string     `json:"mend,omitempty"` // of a broken one
	Exchange []Exchange `json:"exchange"`
}

// Report is the whole probe.
type Report struct {
	Issuer      string   `json:"issuer"`
	Rules       []Result `json:"rules"`
	Held        int      `json:"held"`
	Broken      int      `json:"broken"`
	NotTestable int      `json:"not_testable"`

	// Untrusted: the server takes ID-JAGs, but does not trust the probe's
	// identity provider, or no client was given that may bring them ([Entry]).
	Untrusted bool `json:"-"`
}

// Config says what to probe, and as whom.
type Config struct {
	Issuer string

	// ClientID and ClientSecret are a client that the server knows. Left out,
	// and for what one client is not enough for, clients are registered
	// dynamically (RFC 7591) if the server offers that.
	ClientID, ClientSecret string
	RedirectURI            string // of that client; "": http://127.0.0.1/callback, any port

	// User and Password sign in through the server's own pages, if these are
	// plain forms. Left out, Open takes a person there.
	User, Password string
	// Open takes the person's browser to an authorization URL; nil: nobody is
	// there, and what needs a code is not testable.
	Open func(ctx context.Context, url string) error

	// Patience is how long the person may take until they are back; 0: 3 minutes.
	Patience time.Duration

	Resource string   // resource indicator to ask tokens for; "": the first of the metadata's protected_resources
	Only     []string // ids, or their beginnings up to a dot or a dash; nil: all

	Transport http.RoundTripper // nil: the default
	Pace      time.Duration     // least time between two requests; negative: none; 0: 20 ms
	// IdPAddress is where the identity provider of the ID-JAG rules listens on
	// loopback; "": 127.0.0.1:8099, or any port if that is taken.
	IdPAddress string
	// Trust is told the issuer of that provider once it answers: the server has
	// to be made to trust it. nil: nobody is told.
	Trust func(issuer string)
	// Progress is told each result. nil: nobody is told.
	Progress func(done, all int, r Result)
}

// Rules is the table, in the order in which the rules are tried.
func Rules() []Rule {
	var all []Rule
	for _, part := range [][]Rule{metadataRules, authorizeRules, answerRules, redirectRules, pageRules, formRules, tokenRules, codeRules,
		refreshRules, dpopRules, clientRules, revokeRules, assertionRules, registerRules} {
		all = append(all, part...)
	}
	return all
}

// Select is the rules that only names.
func Select(only []string) ([]Rule, error) {
	all := Rules()
	if len(only) == 0 {
		return all, nil
	}
	var out []Rule
	found := map[string]bool{}
	for _, r := range all {
		hit := false
		for _, name := range only {
			if r.ID == name || strings.HasPrefix(r.ID, name+".") || strings.HasPrefix(r.ID, name+"-") {
				found[name], hit = true, true
			}
		}
		if hit {
			out = append(out, r)
		}
	}
	for _, name := range only {
		if !found[name] {
			return nil, fmt.Errorf("there is no rule %q: docs/probe.md lists them", name)
		}
	}
	return out, nil
}

// CheckIssuer says whether a probe may be pointed there at all: an issuer URL,
// on loopback unless control over it was shown.
func CheckIssuer(issuer string) error { return oauth.CheckIssuer(issuer) }

// Loopback reports whether the issuer is on this machine.
func Loopback(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && oauth.IsLoopbackHost(u.Host)
}

// Run probes. The caller has made sure that the server is the user's own
// ([Loopback], [Prove]). An error means that there is nothing to probe.
func Run(ctx context.Context, c Config) (Report, error) {
	report := Report{Issuer: c.Issuer, Rules: []Result{}}
	rules, err := Select(c.Only)
	if err != nil {
		return report, err
	}
	s, err := newSession(ctx, c)
	if err != nil {
		return report, err
	}
	defer s.close()
	for i, rule := range rules {
		r := s.try(rule)
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		report.Rules = append(report.Rules, r)
		switch r.Result {
		case Held:
			report.Held++
		case Broken:
			report.Broken++
		default:
			report.NotTestable++
		}
		if c.Progress != nil {
			c.Progress(i+1, len(rules), r)
		}
	}
	report.Untrusted = s.untrusted
	return report, nil
}

// broken is what a rule found that must not be.
type broken struct{ saw string }

func (b *broken) Error() string { return b.saw }

func brokenf(format string, args ...any) error { return &broken{fmt.Sprintf(format, args...)} }

// try tries one rule. Whatever keeps it from an answer is "not testable".
func (s *session) try(rule Rule) Result {
	r := Result{ID: rule.ID, Title: rule.Title, Source: rule.Source, Result: Held}
	s.wire.begin()
	err := rule.run(s)
	r.Exchange = s.wire.end()
	var b *broken
	switch {
	case errors.As(err, &b):
		r.Result, r.Saw, r.Mend = Broken, s.wire.redact(b.saw), rule.Mend
	case err != nil:
		r.Result, r.Saw = NotTestable, s.wire.redact(err.Error())
	}
	return r
}
