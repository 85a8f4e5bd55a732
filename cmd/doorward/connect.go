package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"doorward"
	"doorward/internal/bridge"
	"doorward/internal/oauth"
)

func newConnect(e env) *cobra.Command {
	f := &tokenFlags{}
	cmd := &cobra.Command{
		Use:   "connect URL",
		Short: "A stdio MCP server that reaches the protected one at URL and does all of the authorization",
		Long: `Speaks MCP over stdin and stdout and carries it to the MCP server at URL, for clients that cannot do its authorization.

  auto        enterprise if the server takes ID-JAGs and there are a sign-in (doorward login) and a client (--client-id, or
              the one of the last time), workload with --workload-jwt, client if --client-secret is given without a
              sign-in, else browser, or device where that is offered in an SSH session without a display
  enterprise  with the sign-in of doorward login, or at --idp; no consent screen
  browser     sign in and consent at the server's own authorization server
  device      the same in a browser on any device, by a code that is printed (RFC 8628), where the server offers it
  client      the client for itself (client_credentials)
  workload    a program by the JWT of the place where it runs, such as a Kubernetes service account token (--workload-jwt)

What a person signed in to is kept, sealed, until doorward logout: the next start needs nobody, and several starts at
once share one sign-in. Nothing but MCP is written to stdout; addresses to open and errors go to stderr.`,
		Example: "  doorward connect https://mcp.example.com/mcp\n  doorward connect https://mcp.example.com/mcp --client-id desktop --client-secret file:secret",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.connect(cmd.Context(), e, args[0])
		},
	}
	f.register(cmd)
	return cmd
}

func (f *tokenFlags) connect(ctx context.Context, e env, server string) error {
	if err := checkServer(server); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w, err := f.choose(ctx, e, server)
	if err != nil {
		return err
	}
	base := carrier()
	w.each(func(t *doorward.Transport) { t.Base, t.Legacy, t.Logger = base, true, log }) // REV-11
	return bridge.Run(ctx, bridge.Config{URL: server, HTTP: &http.Client{Transport: w}, In: e.stdin, Out: e.stdout, Logger: log, Idle: giveBack})
}

func checkServer(server string) error {
	if u, err := url.Parse(server); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return wrongUse{fmt.Errorf("%q is no URL of an MCP server, such as https://mcp.example.com/mcp", server)}
	}
	return nil
}

// way is how tokens are got: by one flow, or by cross-app access and, where the
// server's authorization server takes no ID-JAGs, by the browser.
type way struct {
	first  *doorward.Transport
	second *doorward.Transport // nil: none
	person *somebody           // of first; nil: nobody

	mu      sync.Mutex
	settled bool // second it is
}

func (w *way) each(set func(*doorward.Transport)) {
	set(w.first)
	if w.second != nil {
		set(w.second)
	}
}

// RoundTrip is that of the Transport whose flow the server takes.
func (w *way) RoundTrip(req *http.Request) (*http.Response, error) {
	t := w.current()
	resp, err := t.RoundTrip(req)
	if err == nil || !w.turn(t, err) {
		return resp, w.explain(err)
	}
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return w.second.RoundTrip(again)
}

// Token is that of the Transport whose flow the server takes.
func (w *way) Token(ctx context.Context, server string) (*oauth2.Token, error) {
	t := w.current()
	tok, err := t.Token(ctx, server)
	if err == nil || !w.turn(t, err) {
		return tok, w.explain(err)
	}
	return w.second.Token(ctx, server)
}

func (w *way) current() *doorward.Transport {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.settled {
		return w.second
	}
	return w.first
}

// turn settles for the browser if the first way cannot lead anywhere: what the
// server publishes names no authorization server that takes ID-JAGs. Whatever
// the provider refuses is final (C-EMA-08), and so is an error at the provider.
func (w *way) turn(t *doorward.Transport, err error) bool {
	var e *doorward.Error
	if w.second == nil || t != w.first || !errors.As(err, &e) || e.Step != "discover" || e.Retry || e.Err != nil ||
		isOf(w.person.issuer(), e.Server) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled = true
	return true
}

// explain says what to do where the sign-in is what is missing.
func (w *way) explain(err error) error {
	var e *doorward.Error
	if w.person == nil || !errors.As(err, &e) || e.Step != "subject" {
		return err
	}
	missing := w.person.missing()
	if missing == nil {
		return err
	}
	return &doorward.Error{Step: e.Step, Server: e.Server, Who: e.Who, Description: missing.Error()}
}

// isOf reports whether an error is about an issuer or its metadata.
func isOf(issuer, server string) bool {
	places, err := oauth.MetadataURLs(issuer)
	return err == nil && (server == issuer || slices.Contains(places, server) ||
		server == strings.TrimSuffix(issuer, "/")+oauth.WellKnownOIDC)
}
