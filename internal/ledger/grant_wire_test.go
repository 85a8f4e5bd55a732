package ledger

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"doorward/internal/oauth"
	"doorward/store"
	"doorward/store/sqlite"

	"google.golang.org/protobuf/encoding/protowire"
)

// anyGrant has something in most members, and nothing in some.
func anyGrant(r *rand.Rand) Grant {
	var g Grant
	fillAny(r, reflect.ValueOf(&g).Elem())
	g.version = 0
	return g
}

func fillAny(r *rand.Rand, v reflect.Value) {
	if !v.CanSet() || r.IntN(3) == 0 {
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Unix(r.Int64N(1<<34)-1<<33, r.Int64N(2)*r.Int64N(1e9)).UTC()
		return
	case *json.RawMessage:
		*x = json.RawMessage(`{"type":"a"}`)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillAny(r, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillAny(r, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+r.IntN(3), 4))
		for i := range v.Len() {
			fillAny(r, v.Index(i))
		}
	case reflect.String:
		v.SetString([]string{"alice", "https://a.example/cb?x=1&y=2", "\xff{", "Žluť"}[r.IntN(4)])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint32:
		v.SetUint(uint64(r.IntN(256)))
	default:
		panic("a member of a kind that this does not know: " + v.Type().String())
	}
}

// plain makes of what is empty nothing, which is all that is written of it.
func plain(g *Grant) {
	none := func(b *[]byte) {
		if len(*b) == 0 {
			*b = nil
		}
	}
	none(&g.Assertion)
	if g.Refresh != nil {
		none(&g.Refresh.Hash)
		none(&g.Refresh.Previous)
	}
	if g.Code != nil {
		none(&g.Code.Hash)
	}
	for i := range g.Details {
		none((*[]byte)(&g.Details[i]))
	}
}

// What lies in the store of a grant says everything of it, and what an older version
// wrote is read as it was meant.
func TestGrantsComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
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
		plain(&g)
		plain(got)
		if !reflect.DeepEqual(*got, g) {
			t.Fatalf("\n%+v\nwas\n%+v", *got, g)
		}
	}
}

func TestGrantsOfOlderVersions(t *testing.T) {
	s, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := &Ledger{Store: s}
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
	broken.bytes(grantEnded, late)
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
