package oauth

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// covers: C-DISC-01
func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	const prm = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"
	for _, tt := range []struct {
		name   string
		values []string
		want   []Challenge
	}{
		{"none", nil, nil},
		{"empty", []string{"", " , ,"}, nil},
		{"scheme alone", []string{"Bearer"}, []Challenge{{Scheme: "Bearer", Params: params{}}}},
		{"one", []string{`Bearer resource_metadata="` + prm + `", scope="files:read files:write"`},
			[]Challenge{{Scheme: "Bearer", Params: params{"resource_metadata": prm, "scope": "files:read files:write"}}}},
		{"two headers", []string{`Basic realm="a"`, `Bearer error="invalid_token"`},
			[]Challenge{{Scheme: "Basic", Params: params{"realm": "a"}}, {Scheme: "Bearer", Params: params{"error": "invalid_token"}}}},
		{"several in one", []string{`Basic realm="a", Bearer error="x", scope="b", DPoP algs="ES256 PS256"`},
			[]Challenge{{Scheme: "Basic", Params: params{"realm": "a"}}, {Scheme: "Bearer", Params: params{"error": "x", "scope": "b"}}, {Scheme: "DPoP", Params: params{"algs": "ES256 PS256"}}}},
		{"schemes without parameters", []string{`Negotiate, Bearer, Basic realm=x`},
			[]Challenge{{Scheme: "Negotiate", Params: params{}}, {Scheme: "Bearer", Params: params{}}, {Scheme: "Basic", Params: params{"realm": "x"}}}},
		{"comma and scheme inside quotes", []string{`Bearer error_description="no, Basic realm=\"x\", sorry", scope="s"`},
			[]Challenge{{Scheme: "Bearer", Params: params{"error_description": `no, Basic realm="x", sorry`, "scope": "s"}}}},
		{"escapes", []string{`Bearer realm="a\\b\"c\d"`}, []Challenge{{Scheme: "Bearer", Params: params{"realm": `a\b"cd`}}}},
		{"token68", []string{`Negotiate YII+/abc==, Bearer scope="s"`},
			[]Challenge{{Scheme: "Negotiate", Token68: "YII+/abc==", Params: params{}}, {Scheme: "Bearer", Params: params{"scope": "s"}}}},
		{"token68 at the end", []string{`Bearer scope=s, NTLM TlRM=`},
			[]Challenge{{Scheme: "Bearer", Params: params{"scope": "s"}}, {Scheme: "NTLM", Token68: "TlRM=", Params: params{}}}},
		{"no spaces", []string{`Bearer error="x",resource_metadata="y",scope="z",DPoP algs="ES256"`},
			[]Challenge{{Scheme: "Bearer", Params: params{"error": "x", "resource_metadata": "y", "scope": "z"}}, {Scheme: "DPoP", Params: params{"algs": "ES256"}}}},
		{"no commas", []string{`Bearer error="x" scope="z"DPoP algs="ES256" Basic realm=r`},
			[]Challenge{{Scheme: "Bearer", Params: params{"error": "x", "scope": "z"}}, {Scheme: "DPoP", Params: params{"algs": "ES256"}}, {Scheme: "Basic", Params: params{"realm": "r"}}}},
		{"spaces around equals", []string{"Bearer  realm = \"a\" ,\tscope\t=b"}, []Challenge{{Scheme: "Bearer", Params: params{"realm": "a", "scope": "b"}}}},
		{"bare URL", []string{`Bearer resource_metadata=` + prm + `, scope=s`}, []Challenge{{Scheme: "Bearer", Params: params{"resource_metadata": prm, "scope": "s"}}}},
		{"names in lower case", []string{`bEARER Resource_Metadata="u"`}, []Challenge{{Scheme: "bEARER", Params: params{"resource_metadata": "u"}}}},
		{"the first of a repeated one", []string{`Bearer scope="a", Scope="b", scope=c`}, []Challenge{{Scheme: "Bearer", Params: params{"scope": "a"}}}},
		{"empty value in quotes", []string{`Bearer realm=""`}, []Challenge{{Scheme: "Bearer", Params: params{"realm": ""}}}},
		{"quote without end", []string{`Bearer scope="a", realm="b, Basic realm=c`, "Basic"},
			[]Challenge{{Scheme: "Bearer", Params: params{"scope": "a"}}, {Scheme: "Basic", Params: params{}}}},
		{"parameter without a challenge", []string{`scope="a", Bearer scope="b"`}, []Challenge{{Scheme: "Bearer", Params: params{"scope": "b"}}}},
		{"junk", []string{`;;"Basic realm=x" = , Bearer ; error="x"; scope="b"`}, []Challenge{{Scheme: "Bearer", Params: params{"error": "x", "scope": "b"}}}},
		{"too long", []string{`Bearer scope="` + strings.Repeat("a", 17<<10) + `"`, "Basic"}, []Challenge{{Scheme: "Basic", Params: params{}}}},
		{"too many", append(slices.Repeat([]string{strings.Repeat(",", 16<<10)}, 4), "Basic"), nil},
		{"empty ones cost nothing", append(make([]string, 100), "Basic"), []Challenge{{Scheme: "Basic", Params: params{}}}},
	} {
		if got := ParseChallenges(tt.values); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// covers: RS-CHAL-07
func TestFormatChallenge(t *testing.T) {
	for _, tt := range []struct {
		want   string
		scheme string
		params []string
	}{
		{`Bearer`, "Bearer", nil},
		{`Bearer scope="a b"`, "Bearer", []string{"scope", "a b"}},
		{`Bearer error="x", scope="a"`, "Bearer", []string{"error", "x", "error_description", "", "scope", "a"}},
		{`Bearer scope="a"`, "Bearer", []string{"scope", "a", "scope", "b", "Scope", "c"}},
		{`Bearer scope="b"`, "Bearer", []string{"scope", "", "scope", "b"}},
		{`Bearer scope="a'b?c??"`, "Bearer", []string{"scope", "a\"b\\c\r\n"}},
		{`Bearer e="?"`, "Bearer", []string{"e", "é"}},
		{`Bearer a="1"`, "Bearer", []string{"a", "1", "bad name", "2", "", "3", "odd"}},
	} {
		if got := FormatChallenge(tt.scheme, tt.params...); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	for _, s := range []string{
		`Bearer`, `Bearer realm="x", Basic realm=y`, `Negotiate abc==, Bearer a="b,c"`, `DPoP error="use_dpop_nonce", algs="ES256 PS256"`,
		`Bearer a="\"" b=c`, `"`, `=`, `a=b`, `Bearer "x", y`, `Bearer a="`, `A b=`, `, ,`, "B\t\x00=é",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := ParseChallenges([]string{s})
		if twice := ParseChallenges([]string{s, s}); len(twice) != 2*len(got) {
			t.Fatalf("two header values read as %d challenges, one as %d", len(twice), len(got))
		}
		for _, c := range got {
			var params []string
			want := map[string]string{}
			for k, v := range c.Params {
				if !isToken(k) || k != strings.ToLower(k) || !strings.Contains(strings.ToLower(s), k) {
					t.Fatalf("name %q out of %q", k, s)
				}
				if v != "" {
					params, want[k] = append(params, k, v), quotable(v)
				}
			}
			again := ParseChallenges([]string{FormatChallenge(c.Scheme, params...)})
			if len(again) != 1 || again[0].Scheme != c.Scheme || again[0].Token68 != "" || !reflect.DeepEqual(again[0].Params, want) {
				t.Fatalf("%+v written and read again is %+v", c, again)
			}
		}
		// Whatever the value, it stays one parameter of one challenge.
		if s == "" || len(s) > 4<<10 {
			return
		}
		one := ParseChallenges([]string{FormatChallenge("Bearer", "error_description", s)})
		if len(one) != 1 || len(one[0].Params) != 1 || one[0].Params["error_description"] != quotable(s) {
			t.Fatalf("%q broke out of its quotes: %+v", s, one)
		}
	})
}
