package oauth

import (
	"strings"
	"testing"
)

// covers: AS-CIMD-02
func TestCheckClientURL(t *testing.T) {
	for _, ok := range []string{
		"https://client.example/c.json", "https://client.example:8443/a/b", "https://127.0.0.1:9/c", "https://[::1]/c", "https://client.example/c?v=1", "https://client.example/a..b/.well-known",
	} {
		if err := CheckClientURL(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{
		"", "desktop", "http://client.example/c", "HTTPS://client.example/c", "https://", "https:///c", "https://client.example", "https://client.example/",
		"https://u@client.example/c", "https://u:p@client.example/c", "https://@client.example/c", "https://client.example/c#f", "https://client.example/c#",
		"https://client.example/./c", "https://client.example/a/../c", "https://client.example/..", "https://client.example/%2e%2E/c", "https://client.example/a%2F..%2Fc",
		"https://client.example/a\\..\\c", "https://client.example:/c", "https://client.example/a b", "https://client.example/\n", "https://client.example/" + strings.Repeat("x", 2000),
	} {
		if CheckClientURL(bad) == nil {
			t.Errorf("%.80q is accepted", bad)
		}
	}
}
