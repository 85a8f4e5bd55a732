package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Proof is a file that only somebody who controls the issuer's host can put
// there.
type Proof struct {
	URL     string // where it must lie
	Content string // what must stand in it, alone
}

// Prove names a file for an issuer, a new one each time.
func Prove(issuer string) (Proof, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return Proof{}, fmt.Errorf("%q is no issuer", issuer)
	}
	return Proof{URL: u.Scheme + "://" + u.Host + "/.well-known/doorward-probe-" + strings.ToLower(random()), Content: random()}, nil
}

// errNoProof is why a probe does not begin.
var errNoProof = errors.New("the file did not come, so nothing was probed")

// Wait waits until the file is there, and says how it looks meanwhile.
func (p Proof) Wait(ctx context.Context, transport http.RoundTripper, every time.Duration) error {
	u, err := url.Parse(p.URL)
	if err != nil {
		return err
	}
	w := newWire(Config{Transport: transport, Pace: -1}, u)
	for {
		a, err := w.get(ctx, p.URL)
		if err == nil && a.status == http.StatusOK && strings.TrimSpace(a.body) == p.Content {
			return nil
		}
		if !sleep(ctx, every) {
			if err == nil {
				err = fmt.Errorf("%s answers %d and something else than the content", p.URL, a.status)
			}
			return fmt.Errorf("%w: %w", errNoProof, err)
		}
	}
}
