package authserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"doorward/internal/oauth"
)

// providerMetadata is what an OpenID provider says of itself.
type providerMetadata struct {
	oauth.ServerMetadata
	ClaimsParameter bool     `json:"claims_parameter_supported"`
	PromptValues    []string `json:"prompt_values_supported"`
}

const (
	// metadataFresh is how long a provider's metadata is used before it is
	// fetched again, metadataStale how long while that fails.
	metadataFresh = 10 * time.Minute
	metadataStale = 24 * time.Hour
	// providerRest is the least time between two tries at a provider that did
	// not answer.
	providerRest = 5 * time.Second
)

// discovery keeps one provider's metadata.
type discovery[M any] struct {
	name  string // of the provider, for errors
	fetch func(context.Context) (M, error)
	now   func() time.Time

	mu      sync.Mutex
	meta    M
	fetched time.Time // zero: never
	tried   time.Time // the last try that failed
	err     error     // of it
	flight  chan struct{}
}

func newDiscovery(client *http.Client, issuer string, now func() time.Time) *discovery[providerMetadata] {
	return &discovery[providerMetadata]{name: issuer, now: now, fetch: func(ctx context.Context) (providerMetadata, error) {
		return discover(ctx, client, issuer)
	}}
}

// get returns the metadata, fetched at most once at a time for all callers. The
// last good one serves on for a day while fetching fails.
func (d *discovery[M]) get(ctx context.Context) (M, error) {
	var none M
	d.mu.Lock()
	now := d.now()
	old := now.Sub(d.fetched) >= metadataFresh || d.fetched.IsZero()
	rested := d.tried.IsZero() || now.Sub(d.tried) >= providerRest
	if old && rested && d.flight == nil {
		d.flight = make(chan struct{})
		go d.fly(context.WithoutCancel(ctx), d.flight)
	}
	wait := d.flight
	if !old {
		wait = nil
	}
	d.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fetched.IsZero() || d.now().Sub(d.fetched) >= metadataStale {
		return none, fmt.Errorf("%s does not say what it is: %w", d.name, d.err)
	}
	return d.meta, nil
}

func (d *discovery[M]) fly(ctx context.Context, done chan struct{}) {
	meta, err := d.fetch(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.meta, d.fetched, d.tried, d.err = meta, d.now(), time.Time{}, nil
	} else {
		d.tried, d.err = d.now(), err
	}
	d.flight = nil
	close(done)
}

// discover is OpenID Connect Discovery section 4: the document must name
// exactly this issuer (section 4.3).
func discover(ctx context.Context, client *http.Client, issuer string) (providerMetadata, error) {
	var meta providerMetadata
	at := strings.TrimSuffix(issuer, "/") + oauth.WellKnownOIDC
	doc, err := fetchDocument(ctx, client, at)
	if err != nil {
		return meta, err
	}
	if err := json.Unmarshal(doc, &meta); err != nil {
		return meta, fmt.Errorf("%s: %w", at, err)
	}
	if meta.Issuer != issuer {
		return meta, fmt.Errorf("%s names the issuer %.200q, not %q", at, meta.Issuer, issuer)
	}
	for name, where := range map[string]string{"authorization_endpoint": meta.AuthorizationEndpoint,
		"token_endpoint": meta.TokenEndpoint, "jwks_uri": meta.JWKSURI} {
		if checkProviderURL(where) != nil {
			return meta, fmt.Errorf("%s: %s is missing or no https URL (http is for loopback)", at, name)
		}
	}
	if meta.UserinfoEndpoint != "" && checkProviderURL(meta.UserinfoEndpoint) != nil {
		return meta, fmt.Errorf("%s: userinfo_endpoint is no https URL (http is for loopback)", at)
	}
	return meta, nil
}

func checkProviderURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%.200q is no endpoint", text)
	}
	return checkKeysURL(text)
}
