package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"doorward/internal/keep"
	"doorward/internal/oauth"
)

// loginFlags are those of login.
type loginFlags struct {
	clientID, secret, profile string
	noBrowser                 bool
	timeout                   time.Duration
}

func newLogin(e env) *cobra.Command {
	f := &loginFlags{}
	cmd := &cobra.Command{
		Use:   "login ISSUER",
		Short: "Sign in at the company's provider once, for connect and token",
		Long: `Signs you in at the company's identity provider with the system's browser and keeps the sign-in, sealed, for this user.
connect and token then walk into MCP servers with it (cross-app access) until logout, or until the provider ends it.`,
		Example: "  doorward login https://acme.okta.com --client-id 0oa… --client-secret env:IDP_SECRET",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			return f.run(ctx, e, args[0])
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.clientID, "client-id", "", "client id at the provider, registered with http://127.0.0.1/callback")
	fl.StringVar(&f.secret, "client-secret", "", "secret there: env:NAME or file:PATH; it is kept with the sign-in")
	fl.StringVar(&f.profile, "profile", defaultProfile, "name to keep the sign-in under")
	fl.BoolVar(&f.noBrowser, "no-browser", false, "only print the address to open")
	fl.DurationVar(&f.timeout, "timeout", 5*time.Minute, "give up after")
	return cmd
}

func (f *loginFlags) run(ctx context.Context, e env, issuer string) error {
	secret, err := e.secret("client-secret", f.secret)
	switch {
	case err != nil:
		return err
	case oauth.CheckIssuer(issuer) != nil:
		return wrongUse{fmt.Errorf("%q is no issuer, such as https://acme.okta.com: %w", issuer, oauth.CheckIssuer(issuer))}
	case f.clientID == "":
		return wrongUse{errors.New("--client-id is needed: the provider's administrator registers this program as a client with the redirect URI http://127.0.0.1/callback")}
	case keep.CheckName(f.profile) != nil:
		return wrongUse{keep.CheckName(f.profile)}
	}
	store, err := e.kept()
	if err != nil {
		return err
	}
	s, err := signInOnce(ctx, issuer, f.clientID, secret, (&tokenFlags{noBrowser: f.noBrowser}).opener(e))
	if err != nil {
		return err
	}
	if err := store.Replace(ctx, f.profile, keep.Profile{SignIn: s}); err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.stdout, describe(f.profile, s))
	return err
}

// signInOnce signs a person in with the system's browser.
func signInOnce(ctx context.Context, issuer, client, secret string, open func(context.Context, string) error) (*keep.SignIn, error) {
	id, err := signIn{
		Issuer: issuer, ClientID: client, ClientSecret: secret, RedirectURI: "http://127.0.0.1/callback",
		Scopes: []string{"email", "profile", "offline_access"},
		Open:   open, HTTP: &http.Client{Timeout: 30 * time.Second}, Now: time.Now,
	}.do(ctx)
	if err != nil {
		return nil, err
	}
	s := &keep.SignIn{Issuer: issuer, ClientID: client, ClientSecret: secret, Subject: id.Subject,
		IDToken: id.Raw, RefreshToken: id.Refresh, Until: until(id), Since: time.Now().UTC()}
	s.Name, _ = id.Claims.Text("name")
	s.Email, _ = id.Claims.Text("email")
	return s, nil
}

// describe says who is signed in, where and until when.
func describe(profile string, s *keep.SignIn) string {
	who := s.Subject
	if s.Email != "" {
		who = s.Email + " (" + s.Subject + ")"
	}
	till := "no end is known"
	switch {
	case s.RefreshToken != "":
		till = "renewed by itself"
	case !s.Until.IsZero():
		till = "until " + s.Until.Local().Format("2006-01-02 15:04:05")
	}
	return cleanForTerminal(fmt.Sprintf("%s: %s at %s, client %s, %s", profile, who, s.Issuer, s.ClientID, till))
}

func newLogout(e env) *cobra.Command {
	var profile string
	var all bool
	cmd := &cobra.Command{
		Use:     "logout",
		Short:   "Forget the sign-in, and end it at the provider where that is possible",
		Long:    "Removes what login kept, and revokes it at the provider if that has a revocation_endpoint (RFC 7009).",
		Example: "  doorward logout",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			return logout(ctx, e, profile, all)
		},
	}
	cmd.Flags().StringVar(&profile, "profile", defaultProfile, "name that the sign-in is kept under")
	cmd.Flags().BoolVar(&all, "all", false, "all profiles")
	return cmd
}

func logout(ctx context.Context, e env, profile string, all bool) error {
	store, err := e.kept()
	if err != nil {
		return err
	}
	kept, err := store.Profiles()
	if err != nil {
		return err
	}
	names := kept
	if !all {
		names = nil
		for _, name := range kept {
			if name == profile {
				names = []string{name}
			}
		}
	}
	if len(names) == 0 {
		e.say("nobody is signed in")
	}
	for _, name := range names {
		p, err := store.Read(ctx, name)
		if err == nil && p.SignIn != nil {
			err = revokeSignIn(ctx, p.SignIn)
		}
		if err != nil {
			e.say("%s: forgotten here, but not ended at the provider: %v", name, err)
		}
		if err := store.Remove(ctx, name); err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "%s: signed out\n", name)
	}
	return nil
}

// postForm sends a form as the client of a sign-in and wants a success.
func postForm(ctx context.Context, client *http.Client, at string, form url.Values, s *keep.SignIn, style oauth2.AuthStyle) error {
	if style == oauth2.AuthStyleInParams {
		form.Set("client_id", s.ClientID)
		if s.ClientSecret != "" {
			form.Set("client_secret", s.ClientSecret)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if style == oauth2.AuthStyleInHeader {
		req.SetBasicAuth(url.QueryEscape(s.ClientID), url.QueryEscape(s.ClientSecret))
	}
	resp, err := noRedirects(client).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s answered %s", at, resp.Status)
	}
	return nil
}

func newWhoami(e env) *cobra.Command {
	var profile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "whoami",
		Short:   "Who is signed in, where, and until when",
		Long:    "Says what login kept: one line for each profile. Exit status 1 if nobody is signed in. No token is shown.",
		Example: "  doorward whoami --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return whoami(cmd.Context(), e, profile, asJSON)
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "only this profile; left out: all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// signedIn is what whoami --json says of one profile.
type signedIn struct {
	Profile   string    `json:"profile"`
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	Email     string    `json:"email,omitempty"`
	ClientID  string    `json:"client_id"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until,omitzero"` // of the ID token
	Renewable bool      `json:"renewable"`      // there is a refresh token
}

func whoami(ctx context.Context, e env, profile string, asJSON bool) error {
	store, err := e.kept()
	if err != nil {
		return err
	}
	names := []string{profile}
	if profile == "" {
		if names, err = store.Profiles(); err != nil {
			return err
		}
	}
	all := []signedIn{}
	for _, name := range names {
		p, err := store.Read(ctx, name)
		if err != nil {
			return err
		}
		s := p.SignIn
		if s == nil {
			continue
		}
		all = append(all, signedIn{name, s.Issuer, s.Subject, s.Email, s.ClientID, s.Since, s.Until, s.RefreshToken != ""})
		if !asJSON {
			fmt.Fprintln(e.stdout, describe(name, s))
		}
	}
	if asJSON {
		if err := e.printJSON(map[string]any{"sign_ins": all}); err != nil {
			return err
		}
	}
	if len(all) == 0 {
		return errors.New("nobody is signed in: run doorward login ISSUER")
	}
	return nil
}
