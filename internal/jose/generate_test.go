package jose

import (
	"testing"

	gojose "github.com/go-jose/go-jose/v4"
)

// Keys of each algorithm sign what the library and we verify, also once they
// were sealed and read again, and with no other algorithm.
func TestGenerate(t *testing.T) {
	for _, alg := range Algs() {
		made, err := Generate(alg)
		if err != nil {
			t.Fatal(err)
		}
		der, err := made.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParseKeyFor(der, made.ID(), alg)
		if err != nil || key.Alg() != alg || key.ID() != made.ID() {
			t.Fatalf("%s: read again as %v, %v", alg, key, err)
		}
		token, err := key.Sign("at+jwt", map[string]any{"sub": "a"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(token, NewSet(key), []string{alg}, []string{"at+jwt"}); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		jws, err := gojose.ParseSignedCompact(token, []gojose.SignatureAlgorithm{gojose.SignatureAlgorithm(alg)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Verify(key.pub); err != nil {
			t.Errorf("%s by the library: %v", alg, err)
		}
		for _, other := range Algs() {
			if other == alg {
				continue
			}
			if _, err := Verify(token, NewSet(key), []string{other}, nil); err == nil {
				t.Errorf("%s passes as %s", alg, other)
			}
			rsa := (alg == RS256 || alg == PS256) && (other == RS256 || other == PS256)
			if k, err := ParseKeyFor(der, "x", other); rsa != (err == nil) {
				t.Errorf("a key for %s as one for %s: %v, %v", alg, other, k, err)
			}
		}
	}
	if _, err := Generate("HS256"); err == nil {
		t.Error("a key for HS256")
	}
}
