package doorward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"doorward/internal/oauth"
)

const (
	guardFetchTime = 10 * time.Second
	guardMetadata  = 256 << 10 // bytes of a metadata document
	guardKeySet    = 1 << 20   // bytes of a key set
)

// guardKeys finds an issuer's keys through its metadata.
type guardKeys struct {
	issuer   string
	base     http.RoundTripper
	insecure bool // plain http anywhere
}

// fetch gets the issuer's JWK Set: metadata first (RFC 8414 section 3, OpenID
// Connect Discovery section 4), then its jwks_uri.
func (k guardKeys) fetch(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, guardFetchTime)
	defer cancel()
	urls, err := oauth.MetadataURLs(k.issuer)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, u := range urls {
		jwksURI, err := k.jwksURI(ctx, u)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		return k.get(ctx, jwksURI, guardKeySet)
	}
	return nil, fmt.Errorf("no metadata of %s: %w", k.issuer, errors.Join(failed...))
}

func (k guardKeys) jwksURI(ctx context.Context, metadataURL string) (string, error) {
	data, err := k.get(ctx, metadataURL, guardMetadata)
	if err != nil {
		return "", err
	}
	var m oauth.ServerMetadata
	if err := json.Unmarshal(data, &m); err != nil {
		return "", fmt.Errorf("%s is no metadata document: %w", metadataURL, err)
	}
	if m.Issuer != k.issuer { // RFC 8414 section 3.3
		return "", fmt.Errorf("%s is the metadata of another issuer, %q", metadataURL, m.Issuer)
	}
	u, err := url.Parse(m.JWKSURI)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !k.insecure && !oauth.IsLoopbackHost(u.Host)) {
		return "", fmt.Errorf("%s names no usable jwks_uri", metadataURL)
	}
	return m.JWKSURI, nil
}

// get fetches a JSON document; redirects are not followed.
func (k guardKeys) get(ctx context.Context, from string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	client := http.Client{
		Transport:     k.base,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
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
