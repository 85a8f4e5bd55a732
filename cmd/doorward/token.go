package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"doorward"
	"doorward/internal/keep"
)

// tokenFlags are the flags of commands that get tokens.
type tokenFlags struct {
	flow                          string
	idp, idpClientID, idpSecret   string
	clientID, secret, workloadJWT string
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
		Long: `Gets an access token for the MCP server at URL by the flows that a client has, and prints it. What a person signed in
to is kept, sealed, and renewed: the next run needs nobody, until doorward logout.

  enterprise  exchange the sign-in of doorward login, or one at --idp, for an ID-JAG and redeem it; no consent screen
  browser     sign in and consent at the server's own authorization server
  device      the same in a browser on any device, by a code that is printed (RFC 8628), where the server offers it
  client      the client for itself (client_credentials)
  workload    a program by the JWT of the place where it runs, such as a Kubernetes service account token (--workload-jwt)
  auto        enterprise with --idp, or with a sign-in and a client (--client-id, or the one of the last time) if the
              server takes ID-JAGs; workload with --workload-jwt; client if --client-secret is given without a sign-in; else
              browser, or device where that is offered in an SSH session without a display`,
		Example: "  doorward token http://127.0.0.1:8080/mcp --header\n  doorward token https://mcp.example.com/mcp --idp https://acme.okta.com --idp-client-id 0oa… --idp-client-secret env:IDP_SECRET --client-id agent --client-secret env:AGENT_SECRET",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			return f.run(ctx, e, args[0])
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&f.header, "header", false, "print the whole header line")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 5*time.Minute, "give up after")
	return cmd
}

// register makes the flags that connect has, too.
func (f *tokenFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.flow, "flow", "auto", "auto, enterprise, browser, device, client or workload")
	fl.StringVar(&f.idp, "idp", "", "issuer of the company's identity provider; left out: that of doorward login")
	fl.StringVar(&f.idpClientID, "idp-client-id", "", "client id there")
	fl.StringVar(&f.idpSecret, "idp-client-secret", "", "secret there: env:NAME or file:PATH")
	fl.StringVar(&f.clientID, "client-id", "", "client id at the MCP server's authorization server")
	fl.StringVar(&f.secret, "client-secret", "", "secret there: env:NAME or file:PATH; it is kept with a person's tokens")
	fl.StringVar(&f.workloadJWT, "workload-jwt", "", "JWT of the place where the program runs, addressed to the server's issuer: env:NAME or file:PATH, read anew for each token")
	fl.StringArrayVar(&f.scopes, "scope", nil, "scope to ask for; repeatable; left out: what the server asks for")
	fl.StringVar(&f.resource, "resource", "", "resource identifier of the server, if its address is not below it")
	fl.StringVar(&f.profile, "profile", "", "name that sign-in and tokens are kept under; left out: default")
	fl.StringVar(&f.assumeS256, "assume-pkce", "", "issuer whose metadata forgets to say that it does PKCE with S256")
	fl.BoolVar(&f.noBrowser, "no-browser", false, "only print the address to open")
}

func (f *tokenFlags) run(ctx context.Context, e env, server string) error {
	if err := checkServer(server); err != nil {
		return err
	}
	w, err := f.choose(ctx, e, server)
	if err != nil {
		return err
	}
	tok, err := w.Token(ctx, server)
	if err != nil {
		return err
	}
	if strings.EqualFold(tok.Type(), "DPoP") {
		return errors.New("this server takes tokens only together with proofs of the key that they are bound to (DPoP), so that a token alone is of no use: doorward connect has the key and makes the proofs")
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

// choose makes the way that the flags and what is kept ask for.
func (f *tokenFlags) choose(ctx context.Context, e env, server string) (*way, error) {
	idpSecret, err := e.secret("idp-client-secret", f.idpSecret)
	if err != nil {
		return nil, err
	}
	secret, err := e.secret("client-secret", f.secret)
	if err != nil {
		return nil, err
	}
	client := doorward.Credentials{ID: f.clientID, Secret: secret}
	who, err := f.signedIn(ctx, e, server, &client)
	if err != nil {
		return nil, err
	}
	kind := f.kind(e, who, client)
	if kind != "workload" && f.workloadJWT != "" {
		return nil, wrongUse{fmt.Errorf("--workload-jwt goes with the workload flow, not with %s", kind)}
	}
	if kind != "enterprise" && (f.idp != "" || f.idpClientID != "" || f.idpSecret != "") {
		return nil, wrongUse{fmt.Errorf("--idp, --idp-client-id and --idp-client-secret go with the enterprise flow, not with %s", kind)}
	}
	if kind != "browser" && kind != "auto" && f.assumeS256 != "" {
		return nil, wrongUse{fmt.Errorf("--assume-pkce goes with the browser flow, not with %s", kind)}
	}
	w, err := f.way(e, kind, who, idpSecret, client)
	if err != nil {
		return nil, err
	}
	w.each(func(t *doorward.Transport) { t.Resource = f.resource })
	if kind != "client" && kind != "workload" && (w.person == nil || w.person.profile != "") {
		kept := f.tokens(e, client)
		w.each(func(t *doorward.Transport) { t.Store = kept })
	}
	return w, nil
}

// way is the one of a kind.
func (f *tokenFlags) way(e env, kind string, who *somebody, idpSecret string, client doorward.Credentials) (*way, error) {
	own := doorward.Credentials{ID: f.clientID, Secret: client.Secret} // not the one of the last time: that was another flow's
	if f.clientID == "" {
		own = doorward.Credentials{}
	}
	switch kind {
	case "enterprise":
		return f.enterprise(e, who, idpSecret, client)
	case "auto":
		w, err := f.enterprise(e, who, idpSecret, client)
		if err == nil {
			flow := f.browser(e, own)
			if strings.HasPrefix(own.ID, "https://") { // where that is taken; else the client registers itself
				flow.Client, flow.ClientIDMetadataURL = doorward.Credentials{}, own.ID
			}
			w.second = &doorward.Transport{Flow: flow}
		}
		return w, err
	case "browser", "device":
		return &way{first: &doorward.Transport{Flow: f.browser(e, own)}}, nil
	case "client":
		if f.clientID == "" || client.Secret == "" {
			return nil, wrongUse{errors.New("the client flow needs --client-id and --client-secret")}
		}
		return &way{first: &doorward.Transport{Flow: &doorward.ClientCredentials{Client: client, Scopes: f.scopes}}}, nil
	case "workload":
		flow, err := f.workload(e, own)
		return &way{first: &doorward.Transport{Flow: flow}}, err
	}
	return nil, wrongUse{fmt.Errorf("--flow %q: auto, enterprise, browser, device, client or workload", f.flow)}
}

// signedIn is the kept sign-in, if the flags leave room for one; nil: none.
// Where they name no client, it is the one that serves at this server.
func (f *tokenFlags) signedIn(ctx context.Context, e env, server string, client *doorward.Credentials) (*somebody, error) {
	profile := f.profileName()
	if err := keep.CheckName(profile); err != nil {
		return nil, wrongUse{err}
	}
	if f.flow != "auto" && f.flow != "enterprise" || f.idpClientID != "" {
		return nil, nil
	}
	store, err := e.kept()
	if err != nil {
		return nil, err
	}
	p, err := store.Read(ctx, profile)
	switch {
	case err != nil:
		return nil, err
	case p.SignIn == nil && f.profile != "" && f.flow == "enterprise":
		return nil, fmt.Errorf("nobody is signed in in the profile %s: run doorward login ISSUER --profile %s", profile, profile)
	case p.SignIn == nil || f.idp != "" && f.idp != p.SignIn.Issuer:
		return nil, nil
	}
	if known, ok := knownClient(p, server); ok && f.clientID == "" {
		*client = known
	}
	return &somebody{profile: profile, store: store, held: *p.SignIn, now: time.Now}, nil
}

// kind is the flow that auto stands for; auto itself is cross-app access where
// the server takes that, and else the browser.
func (f *tokenFlags) kind(e env, who *somebody, client doorward.Credentials) string {
	switch {
	case f.flow != "auto":
		return f.flow
	case f.idp != "":
		return "enterprise"
	case who != nil && client.ID != "":
		return "auto"
	case f.workloadJWT != "":
		return "workload"
	case f.secret != "":
		return "client"
	case who != nil:
		e.say("(the sign-in at %s is not used: that takes --client-id, the client at the MCP server's authorization server)", who.held.Issuer)
	}
	return "browser"
}

// browser is the flow of a person at a browser: here, or on another device.
func (f *tokenFlags) browser(e env, client doorward.Credentials) *doorward.AuthorizationCode {
	flow := &doorward.AuthorizationCode{Client: client, ClientName: "doorward", Scopes: f.scopes}
	if f.flow != "device" {
		flow.Open = f.opener(e)
	}
	if f.flow == "device" || f.flow == "auto" && !f.noBrowser && e.remote() {
		flow.ShowCode = showCode(e)
	}
	if f.assumeS256 != "" {
		flow.AssumeS256For = []string{f.assumeS256}
	}
	return flow
}

// enterprise is cross-app access with the kept sign-in, or with one at --idp
// for this run alone.
func (f *tokenFlags) enterprise(e env, who *somebody, idpSecret string, client doorward.Credentials) (*way, error) {
	if client.ID == "" || who == nil && (f.idp == "" || f.idpClientID == "") {
		return nil, wrongUse{errors.New("the enterprise flow needs --idp, --idp-client-id and --client-id, or --client-id and a sign-in (doorward login ISSUER)")}
	}
	idp := doorward.Credentials{Issuer: f.idp, ID: f.idpClientID, Secret: idpSecret}
	if who != nil {
		idp = doorward.Credentials{Issuer: who.held.Issuer, ID: who.held.ClientID, Secret: who.held.ClientSecret}
	} else {
		who = &somebody{now: time.Now, first: func(ctx context.Context) (*keep.SignIn, error) {
			return signInOnce(ctx, e, f.asLogin(idpSecret), f.idp)
		}}
	}
	return &way{person: who, first: &doorward.Transport{Flow: &doorward.CrossApp{
		IdP: idp, Server: client, Scopes: f.scopes, Subject: who.subject,
	}}}, nil
}

// asLogin is the sign-in at --idp.
func (f *tokenFlags) asLogin(secret string) loginFlags {
	flow := f.flow
	if flow == "enterprise" {
		flow = "auto"
	}
	return loginFlags{flow: flow, clientID: f.idpClientID, secret: secret, noBrowser: f.noBrowser}
}
