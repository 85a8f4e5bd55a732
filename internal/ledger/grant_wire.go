package ledger

import (
	"bytes"
	"fmt"
	"time"

	"doorward/internal/oauth"

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

func (w *wire) tag(n protowire.Number, kind protowire.Type) []byte {
	return protowire.AppendTag(*w, n, kind)
}

func (w *wire) number(n protowire.Number, v uint64) {
	if v != 0 {
		*w = protowire.AppendVarint(w.tag(n, protowire.VarintType), v)
	}
}

func (w *wire) time(n protowire.Number, t time.Time) {
	if t.IsZero() {
		return
	}
	var room [24]byte
	m := protowire.AppendVarint(protowire.AppendTag(room[:0], timeSeconds, protowire.VarintType), uint64(t.Unix()))
	m = protowire.AppendVarint(protowire.AppendTag(m, timeNanos, protowire.VarintType), uint64(t.Nanosecond()))
	*w = protowire.AppendBytes(w.tag(n, protowire.BytesType), m)
}

// member is where a field is kept in what it is a field of.
type member[T any] func(*T) any

// ofGrant, ofRefresh and ofCode are the members by their numbers.
var ofGrant = [...]member[Grant]{
	grantID:              func(g *Grant) any { return &g.ID },
	grantClient:          func(g *Grant) any { return &g.Client },
	grantResource:        func(g *Grant) any { return &g.Resource },
	grantScope:           func(g *Grant) any { return (*[]string)(&g.Scopes) },
	grantType:            func(g *Grant) any { return &g.Type },
	grantCreated:         func(g *Grant) any { return &g.Created },
	grantExpires:         func(g *Grant) any { return &g.Expires },
	grantTokensUntil:     func(g *Grant) any { return &g.TokensUntil },
	subjectID:            func(g *Grant) any { return &g.Subject.ID },
	subjectAuthTime:      func(g *Grant) any { return &g.Subject.AuthTime },
	subjectSession:       func(g *Grant) any { return &g.Subject.Session },
	grantDetail:          func(g *Grant) any { return &g.Details },
	grantIssuer:          func(g *Grant) any { return &g.Issuer },
	grantNonce:           func(g *Grant) any { return &g.Nonce },
	grantKey:             func(g *Grant) any { return &g.Key },
	grantEnded:           func(g *Grant) any { return &g.Ended },
	grantEndReason:       func(g *Grant) any { return &g.EndReason },
	grantAssertion:       func(g *Grant) any { return &g.Assertion },
	grantUpstream:        func(g *Grant) any { return &g.Upstream },
	subjectProvider:      func(g *Grant) any { return &g.Subject.Provider },
	subjectAccount:       func(g *Grant) any { return &g.Subject.Account },
	subjectTenant:        func(g *Grant) any { return &g.Subject.Tenant },
	subjectName:          func(g *Grant) any { return &g.Subject.Name },
	subjectEmail:         func(g *Grant) any { return &g.Subject.Email },
	subjectGroup:         func(g *Grant) any { return &g.Subject.Groups },
	subjectGroupsUnknown: func(g *Grant) any { return &g.Subject.GroupsUnknown },
	subjectACR:           func(g *Grant) any { return &g.Subject.ACR },
	subjectAMR:           func(g *Grant) any { return &g.Subject.AMR },
}

var ofRefresh = [...]member[Refresh]{
	refreshHash:       func(r *Refresh) any { return &r.Hash },
	refreshPrevious:   func(r *Refresh) any { return &r.Previous },
	refreshGeneration: func(r *Refresh) any { return &r.Generation },
	refreshIdleUntil:  func(r *Refresh) any { return &r.IdleUntil },
	refreshRotated:    func(r *Refresh) any { return &r.Rotated },
}

var ofCode = [...]member[Code]{
	codeHash:        func(c *Code) any { return &c.Hash },
	codeUntil:       func(c *Code) any { return &c.Until },
	codeUsed:        func(c *Code) any { return &c.Used },
	codeRedirectURI: func(c *Code) any { return &c.RedirectURI },
	codeChallenge:   func(c *Code) any { return &c.Challenge },
	codeKey:         func(c *Code) any { return &c.Key },
}

// all writes the members of v.
func all[T any](w *wire, members []member[T], v *T) {
	for n, of := range members {
		if of != nil {
			w.member(protowire.Number(n), of(v))
		}
	}
}

// member writes a field, if there is something in it.
func (w *wire) member(n protowire.Number, of any) {
	switch v := of.(type) {
	case *string:
		if *v != "" {
			*w = protowire.AppendString(w.tag(n, protowire.BytesType), *v)
		}
	case *[]string:
		for _, s := range *v { // an empty one is one, too
			*w = protowire.AppendString(w.tag(n, protowire.BytesType), s)
		}
	case *oauth.Details:
		for _, d := range *v {
			*w = protowire.AppendBytes(w.tag(n, protowire.BytesType), d)
		}
	case *[]byte:
		if len(*v) > 0 || n == refreshHash || n == codeHash {
			*w = protowire.AppendBytes(w.tag(n, protowire.BytesType), *v)
		}
	case *time.Time:
		w.time(n, *v)
	case *uint32:
		w.number(n, uint64(*v))
	case *bool:
		w.number(n, protowire.EncodeBool(*v))
	default:
		panic(fmt.Sprintf("ledger: a grant has a member of type %T", of))
	}
}

// encodeGrant is what lies in the store of a grant.
func encodeGrant(g *Grant) []byte {
	room := rooms.Get().(*[]byte)
	w := wire((*room)[:0])
	all(&w, ofGrant[:], g)
	if g.Refresh != nil {
		all(&w, ofRefresh[:], g.Refresh)
	}
	if g.Code != nil {
		all(&w, ofCode[:], g.Code)
	}
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

// take puts a field into the grant. One whose kind is not that of its number is
// passed over like one that is not known.
func (g *Grant) take(f *field) (err error) {
	switch f.kind {
	case protowire.BytesType:
		switch v := g.member(f.number).(type) {
		case *string:
			*v = f.said
		case *[]string:
			*v = append(*v, f.said)
		case *oauth.Details:
			*v = append(*v, bytes.Clone(f.bytes))
		case *[]byte:
			*v = bytes.Clone(f.bytes)
		case *time.Time:
			*v, err = f.time()
		}
	case protowire.VarintType:
		switch v := g.member(f.number).(type) {
		case *uint32:
			*v = uint32(f.value)
		case *bool:
			*v = f.value != 0
		}
	}
	return err
}

// member is the member with a number; nil: there is none.
func (g *Grant) member(n protowire.Number) any {
	if of := numbered(ofGrant[:], n); of != nil {
		return of(g)
	}
	if of := numbered(ofRefresh[:], n); of != nil {
		if g.Refresh == nil {
			g.Refresh = new(Refresh)
		}
		return of(g.Refresh)
	}
	if of := numbered(ofCode[:], n); of != nil {
		if g.Code == nil {
			g.Code = new(Code)
		}
		return of(g.Code)
	}
	return nil
}

func numbered[T any](members []member[T], n protowire.Number) member[T] {
	if int(n) >= len(members) {
		return nil
	}
	return members[n]
}
