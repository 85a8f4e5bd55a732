package ledger

import (
	"bytes"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Grants lie in the store as protocol buffers: half as long as JSON, and a refresh
// writes one whole. A number means the same for ever; what has none that we know
// is passed over. The first byte is never '{', with which JSON begins, as older
// versions wrote it.
const (
	grantID protowire.Number = iota + 1
	grantClient
	grantResource
	grantScope // each
	grantType
	grantCreated
	grantExpires
	grantTokensUntil
	subjectID
	subjectAuthTime
	subjectSession
	refreshHash // if there is a Refresh, even if it is empty
	refreshPrevious
	refreshGeneration
	refreshIdleUntil
	refreshRotated
	codeHash // if there is a Code, even if it is empty
	codeUntil
	codeUsed
	codeRedirectURI
	codeChallenge
	codeKey
	grantDetail // each, JSON
	grantIssuer
	grantNonce
	grantKey
	grantEnded
	grantEndReason
	grantAssertion
	grantUpstream
	subjectProvider
	subjectAccount
	subjectTenant
	subjectName
	subjectEmail
	subjectGroup // each
	subjectGroupsUnknown
	subjectACR
	subjectAMR // each
)

// Numbers within a time, which is a Timestamp of protocol buffers.
const (
	timeSeconds protowire.Number = iota + 1
	timeNanos
)

// wire is a value that is being written.
type wire []byte

func (w *wire) text(n protowire.Number, s string) {
	if s != "" {
		*w = protowire.AppendString(protowire.AppendTag(*w, n, protowire.BytesType), s)
	}
}

func (w *wire) texts(n protowire.Number, list []string) {
	for _, s := range list { // an empty one is one, too
		*w = protowire.AppendString(protowire.AppendTag(*w, n, protowire.BytesType), s)
	}
}

func (w *wire) bytes(n protowire.Number, b []byte) {
	*w = protowire.AppendBytes(protowire.AppendTag(*w, n, protowire.BytesType), b)
}

func (w *wire) number(n protowire.Number, v uint64) {
	if v != 0 {
		*w = protowire.AppendVarint(protowire.AppendTag(*w, n, protowire.VarintType), v)
	}
}

func (w *wire) yes(n protowire.Number, v bool) { w.number(n, protowire.EncodeBool(v)) }

func (w *wire) time(n protowire.Number, t time.Time) {
	if t.IsZero() {
		return
	}
	var room [24]byte
	m := wire(room[:0])
	m.number(timeSeconds, uint64(t.Unix()))
	m.number(timeNanos, uint64(t.Nanosecond()))
	w.bytes(n, m)
}

// encodeGrant is what lies in the store of a grant.
func encodeGrant(g *Grant) []byte {
	room := rooms.Get().(*[]byte)
	w := wire((*room)[:0])
	w.text(grantID, g.ID)
	w.text(grantClient, g.Client)
	w.text(grantResource, g.Resource)
	w.texts(grantScope, g.Scopes)
	w.text(grantType, g.Type)
	w.time(grantCreated, g.Created)
	w.time(grantExpires, g.Expires)
	w.time(grantTokensUntil, g.TokensUntil)
	w.text(subjectID, g.Subject.ID)
	w.time(subjectAuthTime, g.Subject.AuthTime)
	w.text(subjectSession, g.Subject.Session)
	if r := g.Refresh; r != nil {
		w.bytes(refreshHash, r.Hash)
		if len(r.Previous) > 0 {
			w.bytes(refreshPrevious, r.Previous)
		}
		w.number(refreshGeneration, uint64(r.Generation))
		w.time(refreshIdleUntil, r.IdleUntil)
		w.time(refreshRotated, r.Rotated)
	}
	if c := g.Code; c != nil {
		w.bytes(codeHash, c.Hash)
		w.time(codeUntil, c.Until)
		w.yes(codeUsed, c.Used)
		w.text(codeRedirectURI, c.RedirectURI)
		w.text(codeChallenge, c.Challenge)
		w.text(codeKey, c.Key)
	}
	for _, d := range g.Details {
		w.bytes(grantDetail, d)
	}
	w.text(grantIssuer, g.Issuer)
	w.text(grantNonce, g.Nonce)
	w.text(grantKey, g.Key)
	w.time(grantEnded, g.Ended)
	w.text(grantEndReason, g.EndReason)
	if len(g.Assertion) > 0 {
		w.bytes(grantAssertion, g.Assertion)
	}
	w.yes(grantUpstream, g.Upstream)
	w.text(subjectProvider, g.Subject.Provider)
	w.text(subjectAccount, g.Subject.Account)
	w.text(subjectTenant, g.Subject.Tenant)
	w.text(subjectName, g.Subject.Name)
	w.text(subjectEmail, g.Subject.Email)
	w.texts(subjectGroup, g.Subject.Groups)
	w.yes(subjectGroupsUnknown, g.Subject.GroupsUnknown)
	w.text(subjectACR, g.Subject.ACR)
	w.texts(subjectAMR, g.Subject.AMR)
	return keepRoom(room, w)
}

// decodeGrant is the reverse of encodeGrant. Texts are pieces of one copy.
func decodeGrant(value []byte) (*Grant, error) {
	g, said := new(Grant), string(value)
	for b := value; len(b) > 0; {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		f := field{number: n, kind: kind}
		b = b[size:]
		if size = f.read(b); size < 0 {
			return nil, protowire.ParseError(size)
		}
		b = b[size:]
		end := len(value) - len(b)
		f.said = said[end-len(f.bytes) : end]
		if err := g.take(&f); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// field is one field that was read: bytes, or a number.
type field struct {
	number protowire.Number
	kind   protowire.Type
	bytes  []byte
	said   string // the bytes
	value  uint64
}

// read takes the field's value off b and returns its length.
func (f *field) read(b []byte) (size int) {
	switch f.kind {
	case protowire.BytesType:
		f.bytes, size = protowire.ConsumeBytes(b)
	case protowire.VarintType:
		f.value, size = protowire.ConsumeVarint(b)
	default:
		size = protowire.ConsumeFieldValue(f.number, f.kind, b)
	}
	return size
}

// time reads the field as a time.
func (f *field) time() (time.Time, error) {
	var seconds, nanos uint64
	for b := f.bytes; len(b) > 0; {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return time.Time{}, protowire.ParseError(size)
		}
		in := field{number: n, kind: kind}
		b = b[size:]
		if size = in.read(b); size < 0 {
			return time.Time{}, protowire.ParseError(size)
		}
		b = b[size:]
		switch {
		case kind == protowire.VarintType && n == timeSeconds:
			seconds = in.value
		case kind == protowire.VarintType && n == timeNanos:
			nanos = in.value
		}
	}
	if nanos >= uint64(time.Second) {
		return time.Time{}, fmt.Errorf("a time has %d nanoseconds", nanos)
	}
	return time.Unix(int64(seconds), int64(nanos)).UTC(), nil
}

func (g *Grant) refresh() *Refresh {
	if g.Refresh == nil {
		g.Refresh = new(Refresh)
	}
	return g.Refresh
}

func (g *Grant) code() *Code {
	if g.Code == nil {
		g.Code = new(Code)
	}
	return g.Code
}

// take puts a field into the grant. One whose kind is not that of its number is
// passed over like one that is not known.
func (g *Grant) take(f *field) (err error) {
	switch f.kind {
	case protowire.VarintType:
		g.takeNumber(f)
	case protowire.BytesType:
		if p := g.text(f.number); p != nil {
			*p = f.said
		} else if p := g.time(f.number); p != nil {
			*p, err = f.time()
		} else if p := g.list(f.number); p != nil {
			*p = append(*p, f.said)
		} else if p := g.bytes(f.number); p != nil {
			*p = bytes.Clone(f.bytes)
		} else if f.number == grantDetail {
			g.Details = append(g.Details, bytes.Clone(f.bytes))
		}
	}
	return err
}

func (g *Grant) takeNumber(f *field) {
	switch f.number {
	case refreshGeneration:
		g.refresh().Generation = uint32(f.value)
	case codeUsed:
		g.code().Used = f.value != 0
	case grantUpstream:
		g.Upstream = f.value != 0
	case subjectGroupsUnknown:
		g.Subject.GroupsUnknown = f.value != 0
	}
}

// text is the member that is a text and has the number; nil: none is. So are those
// below it.
func (g *Grant) text(n protowire.Number) *string {
	switch n {
	case grantID:
		return &g.ID
	case grantClient:
		return &g.Client
	case grantResource:
		return &g.Resource
	case grantType:
		return &g.Type
	case subjectID:
		return &g.Subject.ID
	case subjectSession:
		return &g.Subject.Session
	case codeRedirectURI:
		return &g.code().RedirectURI
	case codeChallenge:
		return &g.code().Challenge
	case codeKey:
		return &g.code().Key
	case grantIssuer:
		return &g.Issuer
	case grantNonce:
		return &g.Nonce
	case grantKey:
		return &g.Key
	case grantEndReason:
		return &g.EndReason
	case subjectProvider:
		return &g.Subject.Provider
	case subjectAccount:
		return &g.Subject.Account
	case subjectTenant:
		return &g.Subject.Tenant
	case subjectName:
		return &g.Subject.Name
	case subjectEmail:
		return &g.Subject.Email
	case subjectACR:
		return &g.Subject.ACR
	}
	return nil
}

func (g *Grant) time(n protowire.Number) *time.Time {
	switch n {
	case grantCreated:
		return &g.Created
	case grantExpires:
		return &g.Expires
	case grantTokensUntil:
		return &g.TokensUntil
	case grantEnded:
		return &g.Ended
	case subjectAuthTime:
		return &g.Subject.AuthTime
	case refreshIdleUntil:
		return &g.refresh().IdleUntil
	case refreshRotated:
		return &g.refresh().Rotated
	case codeUntil:
		return &g.code().Until
	}
	return nil
}

func (g *Grant) list(n protowire.Number) *[]string {
	switch n {
	case grantScope:
		return (*[]string)(&g.Scopes)
	case subjectGroup:
		return &g.Subject.Groups
	case subjectAMR:
		return &g.Subject.AMR
	}
	return nil
}

func (g *Grant) bytes(n protowire.Number) *[]byte {
	switch n {
	case refreshHash:
		return &g.refresh().Hash
	case refreshPrevious:
		return &g.refresh().Previous
	case codeHash:
		return &g.code().Hash
	case grantAssertion:
		return &g.Assertion
	}
	return nil
}
