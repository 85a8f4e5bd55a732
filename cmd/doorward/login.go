package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"doorward/internal/keep"
	"doorward/internal/oauth"
)

// loginFlags are those of login.
type loginFlags struct {
	flow                      string
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
	fl.StringVar(&f.flow, "flow", "auto", "auto, browser, or device: by a code that is entered on any device (RFC 8628); auto is device in an\nSSH session without a display, if the provider offers it")
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
	case f.flow != "auto" && f.flow != "browser" && f.flow != "device":
		return wrongUse{fmt.Errorf("--flow %q: auto, browser or device", f.flow)}
	}
	store, err := e.kept()
	if err != nil {
		return err
	}
	if err := store.Ready(); err != nil {
		return err
	}
	as := *f
	as.secret = secret
	s, err := signInOnce(ctx, e, as, issuer)
	if err != nil {
		return err
	}
	was, err := keepSignIn(ctx, store, f.profile, s)
	if err != nil {
		return err
	}
	for _, lasting := range endAll(ctx, was) {
		e.say("%s, of who was signed in before: %s", f.profile, cleanForTerminal(lasting))
	}
	_, err = fmt.Fprintln(e.stdout, describe(f.profile, s))
	return err
}

// keepSignIn puts the sign-in into its profile. What servers gave before stays
// only if it was the same person's: else it is was, which is to end. A profile
// that cannot be read is replaced.
func keepSignIn(ctx context.Context, store *keep.Store, profile string, s *keep.SignIn) (was keep.Profile, err error) {
	err = store.Update(ctx, profile, func(p *keep.Profile) (bool, error) {
		if before := p.SignIn; before != nil && (before.Issuer != s.Issuer || before.Subject != s.Subject) {
			was, *p = *p, keep.Profile{}
		}
		p.SignIn = s
		return true, nil
	})
	var unreadable *keep.Error
	if errors.As(err, &unreadable) && (unreadable.Reason == keep.Unreadable || unreadable.Reason == keep.TooLarge) {
		return keep.Profile{}, store.Replace(ctx, profile, keep.Profile{SignIn: s})
	}
	return was, err
}

// signInOnce signs a person in: with the system's browser, or by a code on any
// device.
func signInOnce(ctx context.Context, e env, f loginFlags, issuer string) (*keep.SignIn, error) {
	in := signIn{
		Issuer: issuer, ClientID: f.clientID, ClientSecret: f.secret, RedirectURI: "http://127.0.0.1/callback",
		Scopes: []string{"email", "profile", "offline_access"},
		HTTP:   &http.Client{Timeout: 30 * time.Second}, Now: time.Now,
	}
	if f.flow != "device" {
		in.Open = (&tokenFlags{noBrowser: f.noBrowser}).opener(e)
	}
	if f.flow == "device" || f.flow == "auto" && !f.noBrowser && e.remote() {
		in.ShowCode = showCode(e)
	}
	id, err := in.do(ctx)
	if err != nil {
		return nil, err
	}
	s := &keep.SignIn{Issuer: issuer, ClientID: f.clientID, ClientSecret: f.secret, Subject: id.Subject,
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
	return cleanForTerminal(fmt.Sprintf("%s: %s at %s, client %s, %s", profile, who, s.Issuer, s.ClientID, till(s.RefreshToken != "", s.Until)))
}

func till(renewable bool, until time.Time) string {
	switch {
	case renewable:
		return "renewed by itself"
	case !until.IsZero():
		return "until " + until.Local().Format("2006-01-02 15:04:05")
	}
	return "no end is known"
}

func newWhoami(e env) *cobra.Command {
	var profile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Who is signed in, where, and until when",
		Long: `Says what is kept: one line for each profile's sign-in (doorward login), and one for each MCP server that connect and
token have a token for. Exit status 1 if there is nothing. No token is shown.`,
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

// reached is what whoami --json says of one MCP server.
type reached struct {
	Profile   string    `json:"profile"`
	Server    string    `json:"server"`
	Issuer    string    `json:"issuer"`
	ClientID  string    `json:"client_id,omitempty"`
	Until     time.Time `json:"until,omitzero"` // of the access token
	Renewable bool      `json:"renewable"`      // there is a refresh token
}

// describe says of which server a token is kept, whose it is and until when.
func (r reached) describe() string {
	text := r.Profile + ": " + r.Server + " by " + r.Issuer
	if r.ClientID != "" {
		text += ", client " + r.ClientID
	}
	return cleanForTerminal(text + ", " + till(r.Renewable, r.Until))
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
	all, servers := []signedIn{}, []reached{}
	for _, name := range names {
		p, err := store.Read(ctx, name)
		if err != nil {
			return err
		}
		if s := p.SignIn; s != nil {
			all = append(all, signedIn{name, s.Issuer, s.Subject, s.Email, s.ClientID, s.Since, s.Until, s.RefreshToken != ""})
			if !asJSON {
				fmt.Fprintln(e.stdout, describe(name, s))
			}
		}
		for _, k := range keptTokens(p) {
			r := reached{name, k.Covers, k.Issuer, k.client(p).ID, k.Expires, k.Refresh != ""}
			servers = append(servers, r)
			if !asJSON {
				fmt.Fprintln(e.stdout, r.describe())
			}
		}
	}
	if asJSON {
		if err := e.printJSON(map[string]any{"sign_ins": all, "servers": servers}); err != nil {
			return err
		}
	}
	if len(all) == 0 && len(servers) == 0 {
		return errors.New("nobody is signed in: run doorward login ISSUER")
	}
	return nil
}
