package ledger

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"doorward/internal/anyvalue"
	"doorward/internal/oauth"
	"doorward/store"

	"google.golang.org/protobuf/encoding/protowire"
)

// anyGrant has something in most members, and nothing in some.
func anyGrant(r *rand.Rand) Grant {
	var g Grant
	anyvalue.Fill(r, &g)
	g.rest()
	return g
}

// What lies in the store of a grant says everything of it.
func TestGrantsComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	said := func(g *Grant) string { // what is empty is nothing
		if g.Refresh != nil && len(g.Refresh.Hash) == 0 {
			g.Refresh.Hash = nil
		}
		if g.Code != nil && len(g.Code.Hash) == 0 {
			g.Code.Hash = nil
		}
		b, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for range 3000 {
		g := anyGrant(r)
		value := encodeGrant(&g)
		if bytes.HasPrefix(value, []byte("{")) {
			t.Fatalf("%x is taken for JSON", value)
		}
		got, err := decodeGrant(value)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := said(got), said(&g); got != want {
			t.Fatalf("\n%s\nwas\n%s", got, want)
		}
	}
}

// The numbers of the fields are those that lie in people's databases.
func TestGrantNumbers(t *testing.T) {
	at := time.Unix(1785229200, 5).UTC()
	after := func(seconds time.Duration) time.Time { return at.Add(seconds * time.Second) }
	want := Grant{Grant: oauth.Grant{ID: "id", Client: "client", Resource: "resource", Scopes: oauth.Scopes{"a", "b"}, Details: oauth.Details{json.RawMessage(`{"type":"d"}`)},
		Type: "type", Issuer: "issuer", Nonce: "nonce", Key: "key", Created: at, Expires: after(1),
		Subject: oauth.Subject{ID: "subject", Provider: "provider", Account: "account", Tenant: "tenant", Name: "name", Email: "email", Groups: []string{"g"}, GroupsUnknown: true,
			AuthTime: after(2), ACR: "acr", AMR: []string{"amr"}, Session: "session"}},
		TokensUntil: after(3), Ended: after(4), EndReason: "reason", Assertion: []byte{1}, Upstream: true,
		Code:    &Code{Hash: []byte{2}, Until: after(5), Used: true, RedirectURI: "redirect", Challenge: "challenge", Key: "codekey"},
		Refresh: &Refresh{Hash: []byte{3}, Previous: []byte{4}, Generation: 5, Rotated: after(6), IdleUntil: after(7)}}
	value, err := hex.DecodeString(
		"0a0269641206636c69656e741a087265736f757263652201612201622a047479706532080890dfa1d30610053a080891dfa1d306100542080893dfa1d30610054a077375626a" +
			"65637452080892dfa1d30610055a0773657373696f6e6201036a010470057a080897dfa1d30610058201080896dfa1d30610058a0101029201080895dfa1d3061005980101a2" +
			"01087265646972656374aa01096368616c6c656e6765b20107636f64656b6579ba010c7b2274797065223a2264227dc20106697373756572ca01056e6f6e6365d201036b6579" +
			"da01080894dfa1d3061005e20106726561736f6eea010101f00101fa010870726f76696465728202076163636f756e748a020674656e616e749202046e616d659a0205656d61" +
			"696ca2020167a80201b20203616372ba0203616d72")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeGrant(value)
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("\n%+v, %v\nwas\n%+v", got, err, want)
	}
	if len(encodeGrant(&want)) != len(value) {
		t.Error("is not written as it was")
	}
}

// What an older version wrote is read as it was meant, and as a message from then on.
func TestGrantsOfOlderVersions(t *testing.T) {
	l := memory(t)
	s := l.Store
	at := time.Now().Add(time.Hour).UTC()
	want := Grant{Grant: oauth.Grant{ID: "g", Subject: oauth.Subject{ID: "corp/alice", Groups: []string{"eng"}}, Client: "c", Resource: "https://r.example/mcp",
		Scopes: oauth.Scopes{"a", "b"}, Type: oauth.AuthorizationCode, Created: at, Expires: at}, TokensUntil: at,
		Refresh: &Refresh{Hash: []byte{1, 2}, Generation: 3, IdleUntil: at}}
	value, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), store.Put(store.Record{Kind: KindGrant, Key: "g", Value: value})); err != nil {
		t.Fatal(err)
	}
	want.version = 1
	got, err := l.Grant(t.Context(), "g")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("\n%+v, %v\nwas\n%+v", got, err, want)
	}
	got.Refresh.Generation++
	if err := s.Commit(t.Context(), got.Put()); err != nil {
		t.Fatal(err)
	}
	want.version, want.Refresh.Generation = 2, 4
	for _, l := range []*Ledger{l, {Store: s}} {
		if got, err := l.Grant(t.Context(), "g"); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("\n%+v, %v\nwas\n%+v", got, err, want)
		}
	}
}

// What a newer version adds is passed over; what is cut off or is no time is an
// error, and not a grant with less in it.
func TestGrantsThatCannotBeRead(t *testing.T) {
	g := Grant{Grant: oauth.Grant{ID: "g", Client: "c", Created: time.Unix(1e9, 5)}}
	value := encodeGrant(&g)
	for n := 1; n < len(value); n++ {
		if got, err := decodeGrant(value[:n]); err == nil && bytes.Equal(encodeGrant(got), value) {
			t.Errorf("%d bytes of %d say everything", n, len(value))
		}
	}
	newer := protowire.AppendFixed32(protowire.AppendTag(bytes.Clone(value), 1000, protowire.Fixed32Type), 7)
	newer = protowire.AppendVarint(protowire.AppendTag(newer, grantClient, protowire.VarintType), 7)
	if got, err := decodeGrant(newer); err != nil || got.Client != "c" {
		t.Errorf("%+v, %v", got, err)
	}
	var late wire
	late.number(timeNanos, 1e9)
	broken := wire(bytes.Clone(value))
	broken.member(grantEnded, (*[]byte)(&late))
	for _, b := range [][]byte{broken, append(bytes.Clone(value), 0xff), append(bytes.Clone(value), 0)} {
		if got, err := decodeGrant(b); err == nil {
			t.Errorf("%x is %+v", b, got)
		}
	}
	l := &Ledger{}
	if _, err := Parse[*Grant](l, store.Record{Kind: KindGrant, Key: "g", Value: []byte{0xff}}); err == nil {
		t.Error("read")
	}
}

func FuzzDecodeGrant(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		g := anyGrant(r)
		f.Add(encodeGrant(&g))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeGrant(b)
		if err != nil {
			return
		}
		value := encodeGrant(g)
		again, err := decodeGrant(value)
		if err != nil || !bytes.Equal(encodeGrant(again), value) {
			t.Fatalf("%x is %+v, again %+v, %v", b, g, again, err)
		}
	})
}
