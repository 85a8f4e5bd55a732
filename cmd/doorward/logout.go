package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"doorward/internal/fetch"
	"doorward/internal/keep"
	"doorward/internal/oauth"
)

func newLogout(e env) *cobra.Command {
	var profile string
	var all bool
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "Forget the sign-in and all tokens, and end them where that is possible",
		Long: `Removes what login, connect and token kept, and revokes it: the sign-in at the provider, the tokens of each MCP server at
its authorization server, if those have a revocation_endpoint (RFC 7009).`,
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
		err := store.End(ctx, name, func(p keep.Profile, err error) {
			if err != nil {
				e.say("%s: forgotten here, but not ended at the provider: %v", name, err)
				return
			}
			for _, lasting := range endAll(ctx, p) {
				e.say("%s: %s", name, cleanForTerminal(lasting))
			}
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "%s: signed out\n", name)
	}
	return nil
}

// endAll revokes what a profile holds, all at once, and says what goes on all
// the same.
func endAll(ctx context.Context, p keep.Profile) []string {
	var mu sync.Mutex
	var lasting []string
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		lasting = append(lasting, fmt.Sprintf(format, args...))
	}
	var each sync.WaitGroup
	if s := p.SignIn; s != nil && s.RefreshToken != "" {
		each.Go(func() {
			c := keep.Client{ID: s.ClientID, Secret: s.ClientSecret}
			err := revoke(ctx, &http.Client{}, s.Issuer, c, "", s.RefreshToken, "refresh_token")
			if err != nil && !errors.Is(err, errNoRevocation) {
				say("forgotten here, but not ended at the provider: %v", err)
			}
		})
	}
	for _, k := range keptTokens(p) {
		each.Go(func() {
			token, hint, until := k.Refresh, "refresh_token", "until that server ends it"
			if token == "" {
				token, hint = k.Access, "access_token"
				if !k.Expires.IsZero() && !time.Now().Before(k.Expires) {
					return
				}
				until = till(false, k.Expires)
			}
			// The server named the issuer: its metadata may lie where the server's own address does.
			c := &http.Client{Transport: fetch.New(fetch.Config{AllowPrivate: k.Private, AllowLoopback: k.Loopback, MaxBytes: 1 << 20}).RoundTripper()}
			if err := revoke(ctx, c, k.Issuer, k.client(p), k.Client.Method, token, hint); err != nil {
				say("forgotten here; the access to %s goes on, %s: %v", k.Covers, until, err)
			}
		})
	}
	each.Wait()
	return lasting
}

var errNoRevocation = errors.New("there is no revocation_endpoint")

// revoke tells an issuer that a token is over (RFC 7009). method is how the
// client authenticates; "": by the metadata.
func revoke(ctx context.Context, client *http.Client, issuer string, as keep.Client, method, token, hint string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	client = noRedirects(client)
	meta, err := publishedBy(ctx, client, issuer)
	if err != nil {
		return err
	}
	if meta.RevocationEndpoint == "" {
		return fmt.Errorf("%s: %w", issuer, errNoRevocation)
	}
	if err := checkWebAddress(meta.RevocationEndpoint); err != nil {
		return fmt.Errorf("%s: its revocation_endpoint %w", issuer, err)
	}
	methods := meta
	methods.TokenEndpointAuthMethodsSupported = meta.RevocationEndpointAuthMethods
	if method != "" {
		methods.TokenEndpointAuthMethodsSupported = []string{method}
	}
	form := url.Values{"token": {token}, "token_type_hint": {hint}}
	req, err := formRequest(ctx, meta.RevocationEndpoint, form, as.ID, as.Secret, authStyle(as.Secret, methods))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s answered %s", meta.RevocationEndpoint, resp.Status)
	}
	return nil
}

// publishedBy is the metadata of an issuer, at the places of OAuth and OpenID
// Connect (RFC 8414 section 3).
func publishedBy(ctx context.Context, client *http.Client, issuer string) (oauth.ServerMetadata, error) {
	places, err := oauth.MetadataURLs(issuer)
	if err != nil {
		return oauth.ServerMetadata{}, err
	}
	for _, place := range append(places, strings.TrimSuffix(issuer, "/")+oauth.WellKnownOIDC) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
		if err != nil {
			return oauth.ServerMetadata{}, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return oauth.ServerMetadata{}, fmt.Errorf("%s cannot be reached: %w", issuer, err)
		}
		var meta oauth.ServerMetadata
		err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&meta)
		resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK && meta.Issuer == issuer {
			return meta, nil
		}
	}
	return oauth.ServerMetadata{}, fmt.Errorf("%s publishes no metadata", issuer)
}
