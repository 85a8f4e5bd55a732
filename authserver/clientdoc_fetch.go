package authserver

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"doorward/internal/fetch"
	"doorward/internal/ledger"
	"doorward/internal/limit"
)

// Bounds of client metadata documents.
const (
	maxDocument      = 5 << 10 // AS-CIMD-11
	documentTimeout  = 5 * time.Second
	documentLife     = 5 * time.Minute // without a word of its server
	minDocumentLife  = time.Minute
	maxDocumentLife  = 24 * time.Hour
	maxDocuments     = 1000 // that are kept
	maxFetches       = 32   // at once, of strangers
	maxHeld          = 4    // of these, by one requester
	maxFailures      = 20   // of a host, within failureWindow
	maxOfRequester   = 60   // fetches that one requester causes, within failureWindow
	failureWindow    = time.Minute
	maxFailingHosts  = 1000
	maxRequesters    = 10_000
	documentNotThere = "cannot be fetched"
)

// documents fetches client metadata documents and keeps those that are valid.
// Nothing else is kept: what was wrong a moment ago may be mended (AS-CIMD-13).
type documents struct {
	fetcher    *fetch.Fetcher
	keyFetcher *fetch.Fetcher // of the keys that documents name

	mu         sync.Mutex
	kept       map[string]*keptDocument // by URL
	flights    map[string]*flight       // likewise
	strangers  int                      // fetches under way that count against maxFetches
	held       map[string]int           // of these, by who causes them
	failed     map[string]*failures     // by what is failing: a host
	requesters *limit.Limiter           // fetches, by who causes them
}

// keptDocument is a valid one. Until fresh it is used without asking; until
// stale when its server cannot be reached.
type keptDocument struct {
	client             ledger.Client
	fresh, stale, used time.Time
}

// flight is one fetch and whoever waits for it.
type flight struct {
	done   chan struct{}
	client ledger.Client
	err    error
}

// failures are those of one host since a time.
type failures struct {
	since time.Time
	n     int
}

// unreachable: there was no answer, or one that says nothing about the document.
type unreachable struct{ error }

func newDocuments(cfg Config, loopback bool) *documents {
	size := cfg.Fetch.MaxBytes
	if size <= 0 {
		size = maxDocument
	}
	fetcher := func(size int64) *fetch.Fetcher {
		return fetch.New(fetch.Config{
			AllowLoopback: loopback, // AS-CIMD-10
			Private:       cfg.Fetch.Private, MaxBytes: size, Timeout: documentTimeout,
			Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: cfg.Fetch.Roots, MinVersion: tls.VersionTLS12}},
		})
	}
	return &documents{
		fetcher: fetcher(size), keyFetcher: fetcher(maxKeysDocument),
		kept: map[string]*keptDocument{}, flights: map[string]*flight{}, held: map[string]int{}, failed: map[string]*failures{},
		requesters: limit.New(limit.Rate{N: maxOfRequester, Per: failureWindow}, maxRequesters),
	}
}

// same reports whether what was fetched by one may be used by the other.
func (f Fetch) same(g Fetch) bool {
	roots := f.Roots == g.Roots || f.Roots != nil && g.Roots != nil && f.Roots.Equal(g.Roots)
	return roots && f.MaxBytes == g.MaxBytes && slices.Equal(f.Private, g.Private)
}

// get returns the client of a document, fetched at most once at a time.
func (d *documents) get(ctx context.Context, id string, now time.Time) (ledger.Client, error) {
	d.mu.Lock()
	old := d.kept[id]
	if old != nil {
		old.used = now
		if now.Before(old.fresh) {
			d.mu.Unlock()
			return old.client, nil
		}
	}
	if f := d.flights[id]; f != nil {
		d.mu.Unlock()
		select {
		case <-f.done:
			return f.client, f.err
		case <-ctx.Done():
			return ledger.Client{}, ctx.Err()
		}
	}
	place, err := d.enter(ctx, id, inKnown(id), now)
	if err != nil {
		d.mu.Unlock()
		if errors.Is(err, errNotSoSoon) {
			err = documentError("the client metadata document at "+documentHost(id)+" is "+errNotSoSoon.Error()+": try in a minute", nil)
		}
		return stillGood(old, now, err)
	}
	id = strings.Clone(id) // it is a piece of a request, and will be kept
	f := &flight{done: make(chan struct{})}
	d.flights[id] = f
	d.mu.Unlock()

	f.client, f.err = d.land(context.WithoutCancel(ctx), id, place, old, now) // others may wait for it
	close(f.done)
	return f.client, f.err
}

// lastKept is the client of a document as it was when it was fetched last.
func (d *documents) lastKept(id string) (ledger.Client, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kept[id]
	if k == nil {
		return ledger.Client{}, false
	}
	return k.client, true
}

// land fetches the document, and keeps it or counts the failure.
func (d *documents) land(ctx context.Context, id string, place place, old *keptDocument, now time.Time) (ledger.Client, error) {
	c, life, err := d.load(ctx, id)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.flights, id)
	d.leave(place)
	if err == nil {
		d.keep(id, &keptDocument{client: c, fresh: now.Add(life), stale: now.Add(maxDocumentLife), used: now})
		return c, nil
	}
	d.countFailure(failingAt(id), now)
	var away unreachable
	if errors.As(err, &away) {
		return stillGood(old, now, documentError("the client metadata document at "+documentHost(id)+" "+documentNotThere, err))
	}
	delete(d.kept, id)
	return ledger.Client{}, err
}

// stillGood is the document of last time, or the error.
func stillGood(old *keptDocument, now time.Time, err error) (ledger.Client, error) {
	if old != nil && now.Before(old.stale) {
		return old.client, nil
	}
	return ledger.Client{}, err
}

// load fetches and reads the document. Only 200 counts, and no redirect is
// followed (AS-CIMD-03).
func (d *documents) load(ctx context.Context, id string) (ledger.Client, time.Duration, error) {
	res, err := d.fetcher.Get(ctx, id)
	switch {
	case err != nil:
		return ledger.Client{}, 0, unreachable{err}
	case res.Status >= 500 || res.Status == http.StatusTooManyRequests:
		return ledger.Client{}, 0, unreachable{errors.New("status " + strconv.Itoa(res.Status))}
	case res.Status != http.StatusOK:
		return ledger.Client{}, 0, documentError("the client metadata document at "+documentHost(id)+" "+documentNotThere+
			": its server answers "+strconv.Itoa(res.Status)+" instead of 200", nil)
	}
	c, err := parseDocument(id, res.Body)
	return c, lifeOf(res.Header), err
}

// lifeOf is how long a document may be used without asking again, by the
// max-age of its server, or else what it says in Expires, within our own bounds
// (RFC 9111 sections 5.2.2 and 5.3).
func lifeOf(h http.Header) time.Duration {
	life := documentLife
	if date, err := http.ParseTime(h.Get("Date")); err == nil && h.Get("Expires") != "" {
		expires, err := http.ParseTime(h.Get("Expires")) // one that cannot be read is in the past
		if life = expires.Sub(date); err != nil {
			life = 0
		}
	}
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return minDocumentLife
		case "max-age":
			if n, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil {
				life = time.Duration(n) * time.Second
			}
		}
	}
	return min(max(life, minDocumentLife), maxDocumentLife)
}

// keep puts a document in, in place of the one that was used longest ago if
// there are too many. The caller holds mu.
func (d *documents) keep(id string, k *keptDocument) {
	if _, there := d.kept[id]; !there && len(d.kept) >= maxDocuments {
		last := ""
		for u, other := range d.kept {
			if last == "" || other.used.Before(d.kept[last].used) {
				last = u
			}
		}
		delete(d.kept, last)
	}
	d.kept[id] = k
}
