package jose

import (
	"crypto/ed25519"
	"testing"
)

var benchClaims = map[string]any{
	"iss": "https://as.example", "sub": "u_8f2b1c", "aud": "https://mcp.example/mcp", "client_id": "https://client.example/id.json",
	"scope": "tools:read tools:call", "exp": 1_900_000_000, "iat": 1_800_000_000, "jti": "3q2-7wAAAAAAAAAAAAAAAA", "gid": "AAAAAAAAAAAAAAAAAAAAAA",
}

func benchKeys(b *testing.B) map[string]*Key {
	return map[string]*Key{ES256: newP256(b, ""), EdDSA: newKey(b, ed25519.NewKeyFromSeed(make([]byte, 32)), ""), RS256: newKey(b, rsaKey(), "")}
}

func BenchmarkSign(b *testing.B) {
	for alg, k := range benchKeys(b) {
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Sign("at+jwt", benchClaims); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for alg, k := range benchKeys(b) {
		token, err := k.Sign("at+jwt", benchClaims)
		if err != nil {
			b.Fatal(err)
		}
		keys, algs, types := NewSet(k), []string{alg}, []string{"at+jwt"}
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(token, keys, algs, types); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
