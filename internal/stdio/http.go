package stdio

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	sessionHeader = "Mcp-Session-Id"
	// maxBody bounds the body of a request; the gateway's own bound is before it.
	maxBody = 64 << 20
)

// ServeHTTP is the MCP endpoint (streamable HTTP, MCP 2025-11-25).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	owner, grant := s.c.Caller(r.Context())
	if owner == "" {
		s.refuse(w, http.StatusInternalServerError, nil, codeInternal, "this server must stand behind a gateway that says who calls")
		return
	}
	var m message
	if r.Method == http.MethodPost {
		var err error
		if m, err = readMessage(r); err != nil {
			s.refuse(w, http.StatusBadRequest, nil, codeInvalidRequest, err.Error())
			return
		}
	}
	id := r.Header.Get(sessionHeader)
	if id == "" {
		s.withoutSession(w, r, m, owner, grant)
		return
	}
	one := s.find(id, owner)
	if one == nil || !one.enter(grant) {
		s.notFound(w, m)
		return
	}
	defer one.leave()
	switch {
	case r.Method == http.MethodGet:
		one.listen(w, r)
	case r.Method == http.MethodDelete:
		one.end("the client ended it")
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "GET, POST, DELETE")
		s.refuse(w, http.StatusMethodNotAllowed, nil, codeInvalidRequest, "an MCP endpoint takes POST, GET and DELETE")
	case m.method == "initialize":
		s.refuse(w, http.StatusBadRequest, m.id, codeInvalidRequest, "the session has begun already")
	case m.isRequest():
		one.answer(w, r, m)
	default:
		if err := one.tell(m); err != nil {
			s.refuse(w, http.StatusServiceUnavailable, nil, codeInternal, err.Error())
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}
}

func readMessage(r *http.Request) (message, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return message{}, errors.New("the request body could not be read")
	case len(body) > maxBody:
		return message{}, errors.New("the request body is too large")
	}
	m, err := parseMessage(body)
	if err == nil && m.isRequest() && key(m.id) == "" {
		err = errors.New("the id must be a string or a number")
	}
	return m, err
}

// withoutSession begins one, which is all that can be done without.
func (s *Server) withoutSession(w http.ResponseWriter, r *http.Request, m message, owner, grant string) {
	if m.method != "initialize" || m.id == nil {
		s.refuse(w, http.StatusBadRequest, m.id, codeInvalidRequest,
			"there is no session: begin one with initialize (this server speaks the revisions of MCP up to 2025-11-25)")
		return
	}
	one, err := s.begin(owner)
	switch {
	case errors.Is(err, errOwnFull):
		s.refuse(w, http.StatusTooManyRequests, m.id, codeInternal, err.Error())
		return
	case errors.Is(err, errFull), errors.Is(err, errClosed):
		s.refuse(w, http.StatusServiceUnavailable, m.id, codeInternal, err.Error())
		return
	case err != nil: // may name files of this machine
		s.c.Logger.Warn("the command of an MCP server cannot be started", "command", s.c.Command[0], "directory", s.c.Dir, "error", err)
		s.refuse(w, http.StatusBadGateway, m.id, codeInternal, "the MCP server "+s.c.Name+" cannot be started")
		return
	}
	defer one.leave()
	one.tie(grant)
	answer, err := one.initialize(r.Context(), m)
	if err != nil {
		one.broke(err.Error())
		if r.Context().Err() != nil { // nobody waits for it, or they may no longer
			return
		}
		s.refuse(w, http.StatusBadGateway, m.id, codeInternal, "the MCP server "+s.c.Name+" does not work: "+err.Error())
		return
	}
	status := http.StatusOK
	switch over := one.hasEnded(); {
	case over: // the answer says why
		status = http.StatusBadGateway
	case failed(answer): // it wants no session
		one.end("it refused initialize")
	default:
		w.Header().Set(sessionHeader, one.id)
	}
	writeJSON(w, status, answer)
}

func (one *session) hasEnded() bool {
	select {
	case <-one.over:
		return true
	default:
		return false
	}
}

// failed reports whether a response is an error.
func failed(response []byte) bool {
	var m struct {
		Error json.RawMessage `json:"error"`
	}
	return json.Unmarshal(response, &m) == nil && m.Error != nil
}

// answer sends a request to the process and brings what belongs to it back.
func (one *session) answer(w http.ResponseWriter, r *http.Request, m message) {
	c, err := one.ask(m, accepts(r, "text/event-stream"))
	switch {
	case errors.Is(err, errEnded):
		one.s.notFound(w, m)
		return
	case errors.Is(err, errSameID):
		one.s.refuse(w, http.StatusBadRequest, m.id, codeInvalidRequest, err.Error())
		return
	case err != nil:
		one.s.refuse(w, http.StatusServiceUnavailable, m.id, codeInternal, err.Error())
		return
	}
	defer one.drop(c)
	e := events{w: w}
	beat := time.NewTicker(one.s.c.Beat)
	defer beat.Stop()
	for {
		select {
		case <-c.out.more:
			for _, m := range c.out.take() {
				if m.last && !e.begun {
					writeJSON(w, http.StatusOK, m.raw)
				} else if e.send(m.raw) != nil {
					return
				}
				if m.last {
					return
				}
			}
		case <-beat.C:
			if c.events && e.beat() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// listen is the stream of a GET: what the server sends by itself.
func (one *session) listen(w http.ResponseWriter, r *http.Request) {
	if !accepts(r, "text/event-stream") {
		one.s.refuse(w, http.StatusNotAcceptable, nil, codeInvalidRequest, "a GET is for an event stream: send Accept: text/event-stream")
		return
	}
	st := one.open()
	defer one.close(st)
	e := events{w: w}
	e.begin()
	beat := time.NewTicker(one.s.c.Beat)
	defer beat.Stop()
	for {
		select {
		case <-one.out.more:
			select {
			case <-st.replaced: // what is there is for the other one
				one.out.signal()
				return
			default:
			}
			for _, m := range one.out.take() {
				if e.send(m.raw) != nil {
					return
				}
			}
		case <-beat.C:
			if e.beat() != nil {
				return
			}
		case <-st.replaced:
			return
		case <-one.over:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// events writes server-sent events.
type events struct {
	w     http.ResponseWriter
	begun bool
}

func (e *events) begin() {
	e.begun = true
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // for proxies that hold answers back
	e.w.WriteHeader(http.StatusOK)
	e.flush()
}

// send sends a message, which has no line breaks.
func (e *events) send(m []byte) error {
	if !e.begun {
		e.begin()
	}
	event := make([]byte, 0, len(m)+24)
	event = append(append(append(event, "event: message\ndata: "...), m...), "\n\n"...)
	_, err := e.w.Write(event)
	e.flush()
	return err
}

// beat sends a comment, so that nobody takes the silence for an end.
func (e *events) beat() error {
	if !e.begun {
		e.begin()
	}
	_, err := io.WriteString(e.w, ":\n\n")
	e.flush()
	return err
}

func (e *events) flush() { _ = http.NewResponseController(e.w).Flush() }

// accepts reports whether the request takes a media type (RFC 9110 section 12.5.1).
func accepts(r *http.Request, media string) bool {
	main, _, _ := strings.Cut(media, "/")
	for _, list := range r.Header["Accept"] {
		for part := range strings.SplitSeq(list, ",") {
			name, _, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case media, main + "/*", "*/*":
				return true
			}
		}
	}
	return false
}

func (s *Server) notFound(w http.ResponseWriter, m message) {
	var id json.RawMessage
	if m.isRequest() {
		id = m.id
	}
	s.refuse(w, http.StatusNotFound, id, codeSession, "Session not found: begin a new one with initialize")
}

func (s *Server) refuse(w http.ResponseWriter, status int, id json.RawMessage, code int, text string) {
	writeJSON(w, status, errorMessage(id, code, text))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away gets nothing
}
