package doorward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"doorward/internal/oauth"
)

const (
	guardFetchTime = 10 * time.Second
	guardSeldom    = 30 * time.Second
	guardMetadata  = 256 << 10 // bytes of a metadata document
	guardKeySet    = 1 << 20   // bytes of a key set
)

// seldom fetches every 30 seconds at most, and repeats what it got in between.
func seldom(fetch func(context.Context) ([]byte, error), now func() time.Time) func(context.Context) ([]byte, error) {
	var mu sync.Mutex
	var last time.Time
	var doc []byte
	var failed error
	return func(ctx context.Context) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if t := now(); last.IsZero() || t.Sub(last) >= guardSeldom {
			last = t
			doc, failed = fetch(ctx)
		}
		return doc, failed
	}
}

// guardKeys finds an issuer's keys through its metadata.
type guardKeys struct {
	issuer   string
	base     http.RoundTripper
	insecure bool // plain http anywhere
}

// fetch gets the issuer's JWK Set: metadata first, then its jwks_uri.
func (k guardKeys) fetch(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, guardFetchTime)
	defer cancel()
	m, err := k.metadata(ctx, func(m oauth.ServerMetadata) string { return m.JWKSURI }, "jwks_uri")
	if err != nil {
		return nil, err
	}
	return k.get(ctx, m.JWKSURI, guardKeySet)
}

// metadata gets the issuer's document (RFC 8414 section 3, OpenID Connect
// Discovery section 4) that has a usable URL in the member called name.
func (k guardKeys) metadata(ctx context.Context, member func(oauth.ServerMetadata) string, name string) (oauth.ServerMetadata, error) {
	urls, err := oauth.MetadataURLs(k.issuer)
	if err != nil {
		return oauth.ServerMetadata{}, err
	}
	var failed []error
	for _, at := range urls {
		m, err := k.document(ctx, at)
		if err == nil && !k.usable(member(m)) {
			err = fmt.Errorf("%s names no usable %s", at, name)
		}
		if err == nil {
			return m, nil
		}
		failed = append(failed, err)
	}
	return oauth.ServerMetadata{}, fmt.Errorf("no metadata of %s: %w", k.issuer, errors.Join(failed...))
}

func (k guardKeys) document(ctx context.Context, at string) (oauth.ServerMetadata, error) {
	var m oauth.ServerMetadata
	data, err := k.get(ctx, at, guardMetadata)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s is no metadata document: %w", at, err)
	}
	if m.Issuer != k.issuer { // RFC 8414 section 3.3
		return m, fmt.Errorf("%s is the metadata of another issuer, %q", at, m.Issuer)
	}
	return m, nil
}

// usable reports whether an endpoint is https, or http where that is allowed.
func (k guardKeys) usable(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && (k.insecure || oauth.IsLoopbackHost(u.Host)))
}

// get fetches a JSON document; redirects are not followed.
func (k guardKeys) get(ctx context.Context, from string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	return k.send(req, limit)
}

func (k guardKeys) send(req *http.Request, limit int64) ([]byte, error) {
	req.Header.Set("Accept", "application/json")
	client := http.Client{
		Transport:     k.base,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	from := req.URL.Redacted()
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", from, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", from, limit)
	}
	return data, err
}
