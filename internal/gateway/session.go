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

// sealSession is the session id that the caller gets to see: the upstream's,
// and a proof that it was given to this caller at this server.
func (x *exchange) sealSession(id string) string {
	mac := hmac.New(sha256.New, x.e.g.c.SessionKey)
	var length [4]byte
	for _, part := range []string{x.e.resource, x.caller.Issuer, x.caller.Subject, id} {
		binary.BigEndian.PutUint32(length[:], uint32(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return id + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:sealBytes])
}
