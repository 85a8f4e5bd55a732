package probe

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Exchange is a request and its answer. Secrets, codes and tokens are left out.
type Exchange struct {
	Request string `json:"request"`        // method and URL
	Sent    string `json:"sent,omitempty"` // headers that matter, and the body
	Status  int    `json:"status"`
	Answer  string `json:"answer,omitempty"` // headers that matter, and the body
}

// maxShown is the size over which of a body only the size is shown.
const maxShown = 64 << 10

// maxNotes bounds the exchanges that a result shows; what stands first led
// there, what stands last shows it.
const maxNotes = 12

func (w *wire) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = nil
}

func (w *wire) end() []Exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.notes) > maxNotes {
		w.notes = w.notes[len(w.notes)-maxNotes:]
	}
	return append([]Exchange{}, w.notes...)
}

// lastNote is the last exchange alone.
func (w *wire) lastNote() []Exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Exchange{}, w.notes[max(len(w.notes)-1, 0):]...)
}

// secret notes what must not be shown, wherever it turns up.
func (w *wire) secret(values ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range values {
		if len(v) >= 6 {
			w.hidden[v] = url.QueryEscape(v)
		}
	}
}

const left = "…"

// redact takes the secrets of this run out of a text.
func (w *wire) redact(text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for plain, escaped := range w.hidden {
		text = strings.ReplaceAll(text, plain, left)
		if escaped != plain {
			text = strings.ReplaceAll(text, escaped, left)
		}
	}
	return text
}

func (w *wire) note(req *http.Request, body string, a *answer) {
	e := Exchange{
		Request: w.redact(req.Method + " " + showURL(req.URL)),
		Sent:    w.redact(joinLines(showHeaders(req.Header, "Content-Type", "Authorization", "Origin", "X-Forwarded-Host", "Dpop"), showHost(req), showBody(req.Header, body))),
		Status:  a.status,
	}
	e.Answer = w.redact(joinLines(showHeaders(a.header, "Location", "Content-Type", "Cache-Control", "Www-Authenticate", "Allow", "Retry-After",
		"Content-Security-Policy", "X-Frame-Options", "Referrer-Policy", "Access-Control-Allow-Origin", "Set-Cookie"), showBody(a.header, a.body)))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, e)
}

func showHost(req *http.Request) string {
	if req.Host != "" && req.Host != req.URL.Host {
		return "Host: " + req.Host
	}
	return ""
}

func joinLines(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "\n")
}

func showHeaders(h http.Header, names ...string) string {
	var out []string
	for _, name := range names {
		for _, v := range h.Values(name) {
			switch name {
			case "Authorization":
				v, _, _ = strings.Cut(v, " ")
				v += " " + left
			case "Dpop":
				v = left
			case "Set-Cookie":
				v = cookieValue.ReplaceAllString(v, "$1="+left)
			case "Location":
				if u, err := url.Parse(v); err == nil {
					v = showURL(u)
				}
			}
			out = append(out, name+": "+cut(v, 600))
		}
	}
	return strings.Join(out, "\n")
}

var cookieValue = regexp.MustCompile(`^([^=;]*)=[^;]*`)

// shown are the parameters and members whose values say something and give
// nothing away; of all others only the name stands in a note.
var shown = []string{
	"grant_type", "client_id", "redirect_uri", "redirect_uris", "response_type", "response_types", "response_mode", "scope", "resource",
	"code_challenge", "code_challenge_method", "error", "error_description", "error_uri", "iss", "prompt", "token_type", "expires_in",
	"token_type_hint", "client_name", "grant_types", "token_endpoint_auth_method", "application_type", "client_id_issued_at",
	"client_secret_expires_at", "active", "jwks_uri", "max_age", "padding", "decision", "state",
}

func showURL(u *url.URL) string {
	c := *u
	c.RawQuery, c.Fragment, c.RawFragment, c.User = "", "", "", u.User
	text := c.String()
	if u.RawQuery != "" {
		text += "?" + showForm(u.RawQuery)
	}
	if u.Fragment != "" {
		text += "#" + showForm(u.EscapedFragment())
	}
	return text
}

// showForm keeps the order of a form and the values that may be shown.
func showForm(raw string) string {
	var out []string
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, found := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); found && value != "" && (err != nil || !slices.Contains(shown, plain)) {
			value = left
		}
		if found {
			name += "=" + cut(value, 300)
		}
		out = append(out, name)
	}
	return strings.Join(out, "&")
}

func showBody(h http.Header, body string) string {
	switch {
	case body == "":
		return ""
	case isType(h, formType) && len(body) < maxShown:
		return showForm(body)
	case isType(h, "text/html") || isType(h, "application/xhtml+xml"):
		title := "without a title"
		if m := pageTitle.FindStringSubmatch(body); m != nil {
			title = strings.TrimSpace(m[1])
		}
		return fmt.Sprintf("(a page: %s)", cut(title, 120))
	}
	var v map[string]any
	if len(body) < maxShown && json.Unmarshal([]byte(body), &v) == nil {
		if len(v) > 0 && v["issuer"] == nil && v["keys"] == nil {
			for name := range v {
				if !slices.Contains(shown, name) {
					v[name] = left
				}
			}
		}
		if v["keys"] != nil {
			return "(a key set)"
		}
		b, _ := json.Marshal(v)
		return cut(string(b), 2500)
	}
	if len(body) > 200 {
		return fmt.Sprintf("(%d bytes)", len(body))
	}
	return "(text)"
}

var pageTitle = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)

func cut(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + left
	}
	return s
}
