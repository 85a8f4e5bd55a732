package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
)

const (
	sessionHeader = "Mcp-Session-Id"
	eventHeader   = "Last-Event-Id"
	sealBytes     = 16
)

// openSession finds the upstream's session id in the one that the caller shows.
// A session of somebody else does not exist for them, and the upstream never
// hears of it.
func (x *exchange) openSession() *refusal {
	shown := x.r.Header[sessionHeader]
	if len(shown) == 0 {
		return nil
	}
	if len(shown) == 1 {
		if i := strings.LastIndexByte(shown[0], '.'); i > 0 {
			id := shown[0][:i]
			if hmac.Equal([]byte(x.sealSession(id)), []byte(shown[0])) {
				x.session = id
				return nil
			}
		}
	}
	return &refusal{status: http.StatusNotFound, code: codeSession, reason: "session_not_found",
		message: "Session not found: begin a new one with initialize"}
}

// openEvent does the same with the event after which the caller wants its
// stream to go on: an upstream that keeps the events of all its streams together
// would replay another person's.
func (x *exchange) openEvent() *refusal {
	shown := x.r.Header[eventHeader]
	if len(shown) == 0 || len(shown) == 1 && shown[0] == "" {
		return nil
	}
	if len(shown) == 1 {
		if i := strings.LastIndexByte(shown[0], '.'); i > 0 {
			id := shown[0][:i]
			if hmac.Equal([]byte(x.seal("event", id)), []byte(shown[0])) {
				x.lastEvent = id
				return nil
			}
		}
	}
	return &refusal{status: http.StatusBadRequest, code: codeInvalidRequest, reason: "event_unknown",
		message: "Last-Event-ID is no event of a stream of yours: open the stream without it"}
}

// sealSession is the session id that the caller gets to see.
func (x *exchange) sealSession(id string) string { return x.seal("session", id) }

// seal is what the caller gets to see of a name that the upstream gave: the
// name, and a proof that it was given to this caller at this server.
func (x *exchange) seal(kind, id string) string {
	mac := hmac.New(sha256.New, x.e.g.c.SessionKey)
	var length [4]byte
	principal := "client"
	if x.subject.Person != "" {
		principal = "person"
	}
	for _, part := range []string{kind, x.e.resource, x.caller.Issuer, principal, x.caller.Subject, id} {
		binary.BigEndian.PutUint32(length[:], uint32(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return id + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:sealBytes])
}
