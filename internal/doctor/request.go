package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/fetch"
	"doorward/internal/oauth"
)

const (
	maxDocument = 1 << 20          // bytes
	oneAnswer   = 10 * time.Second // hosted clients wait no longer
)

// answer is what came back of one request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends one request. Redirects are not followed.
func (w *walk) ask(f *fetch.Fetcher, method, address, body string, header ...string) (*answer, error) {
	ctx, cancel := context.WithTimeout(w.ctx, oneAnswer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, errors.New("this is no URL")
	}
	if req.URL.Scheme == "http" && !oauth.IsLoopbackHost(req.URL.Host) {
		return nil, errors.New("plain http, where clients do not go")
	}
	if body == "" {
		req.Body, req.GetBody, req.ContentLength = nil, nil, 0
	}
	req.Header.Set("User-Agent", "doorward-doctor")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	sent := w.Now()
	resp, err := f.RoundTripper().RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	w.date(req.URL.Host, resp.Header, sent)
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if resp.StatusCode/100 == 2 && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return a, nil // it may go on for ever, and its start says enough
	}
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

// kind is what an answer is, in words.
func (a *answer) kind() string {
	switch t := a.header.Get("Content-Type"); {
	case a.status/100 == 3:
		return fmt.Sprintf("a redirect (%d) to %s", a.status, a.header.Get("Location"))
	case a.status != http.StatusOK:
		return fmt.Sprintf("status %d", a.status)
	case len(bytes.TrimSpace(a.body)) == 0:
		return "an empty answer"
	case strings.Contains(t, "html") || bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<")):
		return "a page (HTML)"
	case t == "":
		return "an answer without a content type"
	default:
		return "an answer of type " + t
	}
}

// document is a metadata document at one place.
type document struct {
	place  string
	answer *answer
	err    error  // of the network
	wrong  string // why it cannot be used; "": it can
	raw    map[string]json.RawMessage
}

// there reports whether a client finds something at the place.
func (d document) there() bool { return d.err == nil && d.raw != nil }

// get reads the JSON object at a place into a struct.
func (w *walk) get(place string, into any) document {
	d := document{place: place}
	if d.answer, d.err = w.ask(w.fetch, http.MethodGet, place, "", "Accept", "application/json"); d.err != nil {
		d.wrong = place + ": " + explain(d.err)
		return d
	}
	if d.answer.status != http.StatusOK {
		d.wrong = place + ": " + d.answer.kind()
		return d
	}
	if err := json.Unmarshal(d.answer.body, &d.raw); err != nil || d.raw == nil {
		d.raw, d.wrong = nil, place+": "+d.answer.kind()+", no JSON object"
		return d
	}
	if err := json.Unmarshal(d.answer.body, into); err != nil {
		d.wrong = place + ": " + member(err)
	}
	return d
}

// member says which member of a document has the wrong type.
func member(err error) string {
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) && typed.Field != "" {
		return fmt.Sprintf("%s is a JSON %s, which it may not be", typed.Field, typed.Value)
	}
	return "the document cannot be read: " + err.Error()
}

// explain says in words why a request failed.
func explain(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		dns     *net.DNSError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &unknown):
		return "the certificate is from an authority that this machine does not know, or its chain is not whole"
	case errors.As(err, &name):
		return "the certificate is for other names: " + list(name.Certificate.DNSNames)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate is not valid now, but from " + minute(invalid.Cert.NotBefore) + " to " + minute(invalid.Cert.NotAfter) + " UTC"
	case errors.As(err, &record):
		return "the port does not speak TLS"
	case errors.As(err, &dns) && dns.IsNotFound:
		return dns.Name + " has no address"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended in the middle"
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err.Error()
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// dated is what a server's clock said.
type dated struct {
	host string
	ahead,
	doubt time.Duration
}

// slow is the slowest answer.
type slow struct {
	host string
	took time.Duration
}

// date reads the Date header (RFC 9110 section 6.6.1), which has whole seconds.
func (w *walk) date(host string, h http.Header, sent time.Time) {
	now := w.Now()
	if took := now.Sub(sent); took > w.slowest.took {
		w.slowest = slow{host, took}
	}
	if said, err := http.ParseTime(h.Get("Date")); err == nil {
		w.dates = append(w.dates, dated{host, said.Sub(now), now.Sub(sent) + time.Second})
	}
}

// clock compares the clocks; assertions live for minutes.
func (w *walk) clock() {
	if len(w.dates) == 0 {
		return
	}
	worst := w.dates[0]
	for _, d := range w.dates {
		if d.ahead.Abs()-d.doubt > worst.ahead.Abs()-worst.doubt {
			worst = d
		}
	}
	off, way := worst.ahead.Abs()-worst.doubt, "ahead of"
	if worst.ahead < 0 {
		way = "behind"
	}
	p := problem{saw: fmt.Sprintf("%s is %s %s this machine", worst.host, worst.ahead.Abs().Round(time.Second), way),
		mend: "Set the clocks by NTP, on the server and on this machine: tokens are refused that are not valid yet, or not any more."}
	switch {
	case off > 2*time.Minute:
		w.fail("clock", p)
	case off > 20*time.Second:
		w.warn("clock", p)
	default:
		w.ok("clock", "within a few seconds of this machine")
	}
}

// speed is the slowest answer: hosted clients give up after ten seconds.
func (w *walk) speed() {
	switch took := w.slowest.took.Round(100 * time.Millisecond); {
	case took == 0 && w.slowest.host == "":
	case took > 5*time.Second:
		w.warn("speed", problem{saw: fmt.Sprintf("%s took %s for one answer", w.slowest.host, took),
			mend: "Answer faster: hosted clients give up after about ten seconds. A server that sleeps until it is called is a common cause."})
	case took == 0:
		w.ok("speed", "each in less than 0.1s")
	default:
		w.ok("speed", fmt.Sprintf("the slowest took %s", took))
	}
}
