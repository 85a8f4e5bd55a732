package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"doorward/internal/audit"
	"doorward/internal/jsonobj"
)

// roomForRecord is what the JSON of most grants and events fits into.
const roomForRecord = 1024

// rooms are buffers that records are written in. Values stay in memory for a
// while after that (memo, the store's cache), so they get memory of their size.
var rooms = sync.Pool{New: func() any { b := make([]byte, 0, roomForRecord); return &b }}

// object is a record's JSON that is being written.
type object struct {
	jsonobj.Object
	room *[]byte
}

func begin() object {
	room := rooms.Get().(*[]byte)
	return object{jsonobj.Begin((*room)[:0]), room}
}

// end finishes the object; err is what went wrong in it.
func (o *object) end(err error) []byte {
	return keepRoom(o.room, must(o.End(), err))
}

// keepRoom is a copy of b, which was written in the room, and keeps the room.
func keepRoom(room *[]byte, b []byte) []byte {
	value := bytes.Clone(b)
	if cap(b) <= 8*roomForRecord {
		*room = b[:0]
		rooms.Put(room)
	}
	return value
}

// encode is the JSON of a record's value.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	return must(b, err)
}

// encodeClient is encode of what every registration writes.
func encodeClient(c *Client) []byte {
	o := begin()
	o.Text("id", c.ID)
	o.SomeText("name", c.Name)
	o.SomeBytes("secret_hash", c.SecretHash)
	o.SomeText("auth_method", c.AuthMethod)
	o.SomeTexts("redirect_uris", c.RedirectURIs)
	o.Texts("grant_types", c.GrantTypes)
	o.SomeTexts("scopes", c.Scopes)
	o.Text("source", c.Source)
	o.SomeText("known", c.Known)
	o.True("approved", c.Approved)
	o.SomeText("consented", c.Consented)
	o.SomeText("uri", c.URI)
	o.SomeText("application_type", c.Application)
	o.SomeTexts("introspects", c.Introspects)
	o.True("require_pushed_authorization_requests", c.PushedOnly)
	o.True("dpop_bound_access_tokens", c.DPoPBound)
	o.True("tls_client_certificate_bound_access_tokens", c.CertBound)
	o.SomeText("tls_subject", c.TLSSubject)
	o.SomeText("backchannel_logout_uri", c.Backchannel)
	o.True("backchannel_logout_session_required", c.BackchannelSession)
	o.SomeText("frontchannel_logout_uri", c.Frontchannel)
	o.True("frontchannel_logout_session_required", c.FrontchannelSession)
	o.SomeText("saml_entity_id", c.SAMLEntityID)
	o.SomeTexts("saml_acs", c.SAMLACS)
	o.SomeTime("created", c.Created)
	o.SomeTime("expires", c.Expires)
	o.SomeTime("secret_expires", c.SecretExpires)
	o.SomeBytes("registration_hash", c.RegistrationHash)
	o.SomeTexts("auth_methods", c.AuthMethods)
	err := o.SomeRaw("jwks", c.JWKS)
	o.SomeText("jwks_uri", c.JWKSURI)
	o.SomeText("auth_alg", c.AuthAlg)
	return o.end(err)
}

// encodeEvent is encode of what goes with it.
func encodeEvent(e *audit.Event) []byte {
	o := begin()
	o.Time("time", e.Time)
	o.Text("action", e.Action)
	o.Text("outcome", e.Outcome)
	o.SomeText("reason", e.Reason)
	o.SomeText("rule", e.Rule)
	o.SomeText("person", e.Person)
	o.SomeText("client", e.Client)
	o.SomeText("resource", e.Resource)
	o.SomeText("tool", e.Tool)
	o.SomeText("scope", e.Scope)
	o.SomeText("grant", e.Grant)
	o.SomeText("issuer", e.Issuer)
	o.SomeText("jti", e.JTI)
	o.SomeText("grant_type", e.GrantType)
	o.SomeText("workload", e.Workload)
	o.SomeText("address", e.Address)
	o.SomeText("detail", e.Detail)
	o.SomeText("ref", e.Ref)
	o.SomeText("step", e.Step)
	return o.end(nil)
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(fmt.Sprintf("ledger: record cannot be encoded: %v", err)) // our own types only
	}
	return b
}
