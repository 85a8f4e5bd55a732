package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"doorward/internal/access"
	"doorward/internal/oauth"
)

// mode is what is done with the body of an answer.
type mode int

const (
	pending   mode = iota // nothing is known yet
	passing               // it goes out as it is
	holding               // it is kept until its tools were filtered
	streaming             // it goes out event by event
	empty                 // there must be none
	dropping              // whatever there is, nobody wants it
	refused               // something else was answered
)

// maxHeld bounds an answer that is changed, in bytes.
const maxHeld = 16 << 20

var (
	errHeldTooLarge = errors.New("the answer is too large")
	errUnreadable   = errors.New("the answer cannot be read")
)

// answer brings one upstream's answer to the caller: begin once, then write,
// then end.
type answer struct {
	x      *exchange
	mode   mode
	status int
	held   []byte
	events eventSplitter
}

// begin takes the status and the header. length is -1 if it is not known.
func (a *answer) begin(status int, h http.Header, length int64) {
	if status < 200 || a.mode != pending { // interim answers are between the two of them
		return
	}
	var bad *refusal
	if a.mode, bad = a.judge(status, h, length); bad != nil {
		a.refuse(bad, status)
		return
	}
	out := a.x.w.Header()
	incoming(out, h)
	if id := h[sessionHeader]; len(id) > 0 {
		out.Set(sessionHeader, a.x.sealSession(id[0]))
	}
	a.status = status
	switch a.mode {
	case passing:
		if length >= 0 {
			out.Set("Content-Length", strconv.FormatInt(length, 10))
		}
		a.x.w.WriteHeader(status)
	case streaming:
		a.x.w.WriteHeader(status)
		a.flush()
	case dropping:
		out.Del("Content-Type")
	}
}

// judge says what to do with an answer. What would speak for us (a challenge, a
// redirect, a page of our origin) does not go out.
func (a *answer) judge(status int, h http.Header, length int64) (mode, *refusal) {
	x := a.x
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	server := "the MCP server behind " + x.e.label()
	wanted := x.r.Method == http.MethodGet || x.call.id != nil && x.call.method != ""
	coding := h.Get("Content-Encoding")
	switch {
	case status/100 == 3:
		return refused, x.badUpstream("upstream_redirect", server+" answers with a redirect")
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired:
		if status == http.StatusUnauthorized {
			x.spent()
		}
		return refused, x.badUpstream("upstream_refused", fmt.Sprintf("%s refused the gateway (%d): its own credential is missing or wrong", server, status))
	case coding != "" && coding != "identity":
		return refused, x.badUpstream("upstream_unreadable", server+" compresses its answers unasked")
	case status == http.StatusNoContent || status == http.StatusResetContent:
		return dropping, nil
	case media == "application/json" && status < 300 && (x.call.method == toolsList || x.call.method == discover):
		return holding, nil
	case media == "application/json", media == "text/plain" && status >= 400:
		return passing, nil
	case media == "text/event-stream" && status < 300:
		return streaming, nil
	case media == "" && length <= 0:
		return empty, nil
	case status >= 500:
		return refused, x.badUpstream("upstream_failed", fmt.Sprintf("%s failed (%d)", server, status))
	case status >= 400:
		return refused, &refusal{status: status, code: codeInternal, reason: "upstream_refused", message: fmt.Sprintf("%s does not take this (%d)", server, status)}
	case !wanted:
		return dropping, nil
	}
	return refused, x.badUpstream("upstream_unreadable", fmt.Sprintf("%s answers with %q where MCP has JSON or an event stream", server, oauth.Printable(media)))
}

// write takes a piece of the body.
func (a *answer) write(p []byte) error {
	switch a.mode {
	case passing:
		_, err := a.x.w.Write(p)
		return err
	case streaming:
		if err := a.events.feed(p, a.emit); err != nil {
			return err
		}
		a.flush()
	case holding:
		if a.held = append(a.held, p...); len(a.held) > maxHeld {
			return errHeldTooLarge
		}
	case empty:
		if len(p) > 0 {
			a.refuse(a.x.badUpstream("upstream_unreadable", "the MCP server behind "+a.x.e.label()+" answers without a Content-Type"), a.status)
		}
	}
	return nil
}

// emit sends one event on, without the tools that are not for the caller.
func (a *answer) emit(event []byte) error {
	event, err := changeEvent(event, a.change)
	if err != nil {
		if a.x.call.id != nil {
			f := a.x.badUpstream("upstream_unreadable", errUnreadable.Error())
			a.x.keep(f)
			message := f.body(a.x.call.id)
			_, _ = fmt.Fprintf(a.x.w, "data: %s\n\n", message) // the stream ends here either way
		}
		return errUnreadable
	}
	_, err = a.x.w.Write(sealEventIDs(event, func(id string) string { return a.x.seal("event", id) }))
	return err
}

// change is a message as the caller gets it: lists of tools without those that
// are not for them, and what the server can do with what we do for it.
func (a *answer) change(message []byte) ([]byte, error) {
	message, err := filterTools(message, a.shown)
	if err == nil && a.x.call.method == discover {
		return advertise(message, a.x.e.s.Extensions)
	}
	return message, err
}

// shown reports whether the caller gets to see a tool: if a call of it would be
// allowed, now or after another sign-in.
func (a *answer) shown(tool string) bool {
	d := a.x.may(tool)
	return d.Allowed || d.Reason == access.NeedsLogin
}

// end completes the answer. err is what broke it off, if anything did.
func (a *answer) end(err error) {
	x := a.x
	if err != nil && x.r.Context().Err() == nil && !x.wasEnded() {
		x.e.g.c.Logger.Warn("the answer of an MCP server broke off", "server", x.e.key, "error", err)
	}
	switch a.mode {
	case pending: // a handler that wrote nothing
		a.begin(http.StatusOK, http.Header{}, 0)
		a.end(err)
	case passing:
		if err != nil { // half an answer must not look like a whole one
			panic(http.ErrAbortHandler)
		}
	case streaming:
		if rest := a.events.held; err == nil && len(rest) > 0 {
			_ = a.emit(rest) // the last event, and nobody left to tell
		}
	case holding:
		a.sendHeld(err)
	case empty, dropping:
		x.w.WriteHeader(a.status)
	}
}

func (a *answer) sendHeld(err error) {
	x := a.x
	if x.wasEnded() {
		x.refuse(x.afterEnd())
		return
	}
	var body []byte
	if err == nil {
		body, err = a.change(a.held)
	}
	if err != nil {
		a.refuse(x.badUpstream("upstream_unreadable", errUnreadable.Error()), a.status)
		return
	}
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(a.status)
	_, _ = x.w.Write(body) // a client that went away gets nothing
}

// refuse answers in the upstream's place.
func (a *answer) refuse(f *refusal, status int) {
	a.mode = refused
	a.x.e.g.c.Logger.Warn("an MCP server gave no answer of MCP", "server", a.x.e.key, "status", status, "reason", f.reason)
	a.x.refuse(f)
}

func (a *answer) flush() {
	// Every ResponseWriter that streams can flush; one that cannot holds the
	// events back until the end.
	_ = http.NewResponseController(a.x.w).Flush()
}
