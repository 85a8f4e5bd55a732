package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/pkg/browser"
	"github.com/spf13/cobra"

	"doorward"
)

// tokenFlags are the flags of commands that get tokens.
type tokenFlags struct {
	flow                          string
	idp, idpClientID, idpSecret   string
	clientID, secret              string
	scopes                        []string
	resource, profile, assumeS256 string
	header, json, noBrowser       bool
	timeout                       time.Duration
}

func newToken(e env) *cobra.Command {
	f := &tokenFlags{}
	cmd := &cobra.Command{
		Use:   "token URL",
		Short: "Get a token for the MCP server at URL and print it",
		Long: `Gets an access token for the MCP server at URL by the flows that a client has, and prints it.

  enterprise  sign in at the company's provider (--idp), exchange that for an ID-JAG, redeem it; no consent screen
  browser     sign in and consent at the server's own authorization server
  client      the client for itself (client_credentials)
  auto        enterprise if --idp is given, client if --client-secret is, else browser`,
		Example: "  doorward token http://127.0.0.1:8080/mcp --header\n  doorward token https://mcp.example.com/mcp --idp https://acme.okta.com --idp-client-id 0oa… --idp-client-secret env:IDP_SECRET --client-id agent --client-secret env:AGENT_SECRET",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			return f.run(ctx, e, args[0])
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.flow, "flow", "auto", "auto, enterprise, browser, client; device and workload are not in this version")
	fl.StringVar(&f.idp, "idp", "", "issuer of the company's identity provider")
	fl.StringVar(&f.idpClientID, "idp-client-id", "", "client id there")
	fl.StringVar(&f.idpSecret, "idp-client-secret", "", "secret there: env:NAME or file:PATH")
	fl.StringVar(&f.clientID, "client-id", "", "client id at the MCP server's authorization server")
	fl.StringVar(&f.secret, "client-secret", "", "secret there: env:NAME or file:PATH")
	fl.StringArrayVar(&f.scopes, "scope", nil, "scope to ask for; repeatable; left out: what the server asks for")
	fl.StringVar(&f.resource, "resource", "", "resource identifier, if it is not the URL (not in this version)")
	fl.StringVar(&f.profile, "profile", "", "stored sign-in to use (not in this version)")
	fl.StringVar(&f.assumeS256, "assume-pkce", "", "issuer whose metadata forgets to say that it does PKCE with S256")
	fl.BoolVar(&f.noBrowser, "no-browser", false, "only print the address to open")
	fl.BoolVar(&f.header, "header", false, "print the whole header line")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	fl.DurationVar(&f.timeout, "timeout", 5*time.Minute, "give up after")
	return cmd
}

func (f *tokenFlags) run(ctx context.Context, e env, server string) error {
	if u, err := url.Parse(server); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return wrongUse{fmt.Errorf("%q is no URL of an MCP server, such as https://mcp.example.com/mcp", server)}
	}
	flow, err := f.choose(ctx, e)
	if err != nil {
		return err
	}
	t := &doorward.Transport{Flow: flow}
	tok, err := t.Token(ctx, server)
	if err != nil {
		return err
	}
	switch {
	case f.json:
		return e.printJSON(struct {
			AccessToken string    `json:"access_token"`
			TokenType   string    `json:"token_type"`
			Expires     time.Time `json:"expires,omitzero"`
		}{tok.AccessToken, tok.Type(), tok.Expiry})
	case f.header:
		_, err = fmt.Fprintf(e.stdout, "Authorization: %s %s\n", tok.Type(), tok.AccessToken)
	default:
		_, err = fmt.Fprintln(e.stdout, tok.AccessToken)
	}
	return err
}

// choose makes the flow that the flags ask for.
func (f *tokenFlags) choose(ctx context.Context, e env) (doorward.Flow, error) {
	idpSecret, err := e.secret("idp-client-secret", f.idpSecret)
	if err != nil {
		return nil, err
	}
	secret, err := e.secret("client-secret", f.secret)
	if err != nil {
		return nil, err
	}
	if f.resource != "" || f.profile != "" {
		return nil, errors.New("--resource and --profile are not in this version")
	}
	kind := f.kind()
	client := doorward.Credentials{ID: f.clientID, Secret: secret}
	if kind != "enterprise" && (f.idp != "" || f.idpClientID != "" || f.idpSecret != "") {
		return nil, wrongUse{fmt.Errorf("--idp, --idp-client-id and --idp-client-secret go with the enterprise flow, not with %s", kind)}
	}
	if kind != "browser" && f.assumeS256 != "" {
		return nil, wrongUse{fmt.Errorf("--assume-pkce goes with the browser flow, not with %s", kind)}
	}
	switch kind {
	case "enterprise":
		if f.idp == "" || f.idpClientID == "" || f.clientID == "" {
			return nil, wrongUse{errors.New("the enterprise flow needs --idp, --idp-client-id and --client-id")}
		}
		return f.enterprise(ctx, e, idpSecret, client)
	case "browser":
		flow := &doorward.AuthorizationCode{Client: client, ClientName: "doorward", Scopes: f.scopes, Open: f.opener(e)}
		if f.assumeS256 != "" {
			flow.AssumeS256For = []string{f.assumeS256}
		}
		return flow, nil
	case "client":
		if f.clientID == "" || secret == "" {
			return nil, wrongUse{errors.New("the client flow needs --client-id and --client-secret")}
		}
		return &doorward.ClientCredentials{Client: client, Scopes: f.scopes}, nil
	case "device", "workload":
		return nil, fmt.Errorf("--flow %s is not in this version", kind)
	}
	return nil, wrongUse{fmt.Errorf("--flow %q: auto, enterprise, browser or client", f.flow)}
}

// kind is the flow that auto stands for.
func (f *tokenFlags) kind() string {
	switch {
	case f.flow != "auto":
		return f.flow
	case f.idp != "":
		return "enterprise"
	case f.secret != "":
		return "client"
	}
	return "browser"
}

// enterprise signs the person in at the company's provider, once.
func (f *tokenFlags) enterprise(ctx context.Context, e env, idpSecret string, client doorward.Credentials) (doorward.Flow, error) {
	tok, err := signIn{
		Issuer: f.idp, ClientID: f.idpClientID, ClientSecret: idpSecret, RedirectURI: "http://127.0.0.1/callback",
		Open: f.opener(e), HTTP: &http.Client{Timeout: 30 * time.Second}, Now: time.Now,
	}.do(ctx)
	if err != nil {
		return nil, err
	}
	return &doorward.CrossApp{
		IdP:    doorward.Credentials{Issuer: f.idp, ID: f.idpClientID, Secret: idpSecret},
		Server: client, Scopes: f.scopes,
		Subject: func(context.Context) (doorward.Subject, error) {
			return doorward.Subject{Person: f.idp + " " + tok.Subject, Token: tok.Raw}, nil
		},
	}, nil
}

// opener prints the address and opens the system's browser on it.
func (f *tokenFlags) opener(e env) func(context.Context, string) error {
	return func(_ context.Context, address string) error {
		e.say("Sign in here:\n\n  %s\n", cleanForTerminal(address))
		if f.noBrowser {
			return nil
		}
		browser.Stdout, browser.Stderr = e.stderr, e.stderr
		if err := browser.OpenURL(address); err != nil {
			e.say("(no browser could be started: open the address yourself)")
		}
		return nil
	}
}
