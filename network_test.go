package doorward

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// public makes the transport believe that a server on loopback lies on the
// internet, as far as what it names is concerned.
func public(t *Transport, server string) {
	u, _ := url.Parse(server)
	t.state.addresses.put(time.Now(), originOf(u), reach{}, time.Time{})
}

// covers: C-DISC-09, SEC-06, M19
func TestServersOnTheInternetNameNoPrivateAddress(t *testing.T) {
	var reached atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		_, _ = fmt.Fprintf(w, `{"issuer":"http://%s","token_endpoint":"http://%s/token","access_token":"t","token_type":"Bearer"}`, r.Host, r.Host)
	}))
	defer inside.Close()
	for name, c := range map[string]struct{ challenge, prm, as string }{
		"resource_metadata":       {challenge: inside.URL + "/prm"},
		"authorization_servers":   {prm: inside.URL},
		"token_endpoint":          {as: inside.URL + "/token"},
		"metadata address":        {as: "https://169.254.169.254/token"},
		"private address":         {as: "https://10.0.0.1/token"},
		"loopback in disguise":    {as: "https://[::ffff:127.0.0.1]/token"},
		"decimal":                 {as: "https://2130706433/token"},
		"file":                    {as: "file:///etc/passwd"},
		"metadata at 0.0.0.0":     {challenge: "https://0.0.0.0/prm"},
		"authorization server v6": {prm: "https://[::1]:1"},
	} {
		t.Run(name, func(t *testing.T) {
			var s *httptest.Server
			s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/mcp":
					challenge := "Bearer"
					if c.challenge != "" {
						challenge = fmt.Sprintf("Bearer resource_metadata=%q", c.challenge)
					}
					w.Header().Set("WWW-Authenticate", challenge)
					w.WriteHeader(401)
				case r.URL.Path == oauth.WellKnownPRM+"/mcp":
					issuer := s.URL
					if c.prm != "" {
						issuer = c.prm
					}
					_ = json.NewEncoder(w).Encode(map[string]any{"resource": s.URL + "/mcp", "authorization_servers": []string{issuer}})
				default:
					_ = json.NewEncoder(w).Encode(map[string]any{"issuer": s.URL, "token_endpoint": c.as})
				}
			}))
			defer s.Close()
			reached.Store(0)
			tr := &Transport{Flow: &ClientCredentials{Client: Credentials{ID: "c", Secret: "s"}}}
			public(tr, s.URL)
			_, err := call(tr, s.URL+"/mcp")
			if err == nil || reached.Load() > 0 {
				t.Errorf("error %v, %d requests inside", err, reached.Load())
			}
		})
	}
}

func call(tr *Transport, address string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("{}"))
	if err != nil {
		return 0, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// What lies where the server itself lies may be named, and AllowPrivate opens
// the rest; an issuer that the user configured is the user's word.
func TestWhatMayBeNamed(t *testing.T) {
	as := httptest.NewServer(nil)
	defer as.Close()
	as.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q,"access_token":"t","token_type":"Bearer"}`, as.URL, as.URL+"/token")
	})
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/mcp":
			_ = json.NewEncoder(w).Encode(map[string]any{"resource": s.URL + "/mcp", "authorization_servers": []string{as.URL}})
		case r.Header.Get("Authorization") == "":
			w.WriteHeader(401)
		}
	}))
	defer s.Close()
	for name, c := range map[string]struct {
		public, allow bool
		issuer        string
		ok            bool
	}{
		"both on loopback":  {false, false, "", true},
		"server outside":    {true, false, "", false},
		"AllowPrivate":      {true, true, "", true},
		"configured issuer": {true, false, as.URL, true},
	} {
		tr := &Transport{Flow: &ClientCredentials{Client: Credentials{Issuer: c.issuer, ID: "c", Secret: "s"}}, AllowPrivate: c.allow}
		if c.public {
			public(tr, s.URL)
		}
		if _, err := call(tr, s.URL+"/mcp"); (err == nil) != c.ok {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestReach(t *testing.T) {
	for addr, want := range map[string]reach{
		"127.0.0.1": {loopback: true}, "::1": {loopback: true},
		"10.1.2.3": {private: true}, "192.168.1.1": {private: true}, "100.64.0.1": {private: true}, "fd00::1": {private: true},
		"8.8.8.8": {}, "169.254.169.254": {}, "2606:4700::1111": {},
	} {
		if got := reachOf(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %+v, want %+v", addr, got, want)
		}
	}
	if got := literalReach("localhost"); !got.loopback {
		t.Error("localhost is not loopback")
	}
}

func TestMayOpen(t *testing.T) {
	outside := trust{origin: origin{"https", "mcp.example", "443"}}
	inside := trust{origin: origin{"https", "mcp.example", "443"}, reach: reach{loopback: true, private: true}}
	for address, want := range map[string][2]bool{ // from outside, from inside
		"https://as.example/authorize":   {true, true},
		"https://10.0.0.1/authorize":     {false, true},
		"http://127.0.0.1:80/authorize":  {false, true},
		"https://localhost/authorize":    {false, true},
		"http://as.example/authorize":    {false, false},
		"javascript:alert(1)":            {false, false},
		"https://u:p@as.example/":        {false, false},
		"https://mcp.example/authorize":  {true, true},
		"https://as.example/a#fragment":  {false, false},
		"data:text/html,<script></":      {false, false},
		"https:///authorize":             {false, false},
		"https://[::1]/authorize":        {false, true},
		"https://192.168.0.1/authorize?": {false, true},
	} {
		u, err := url.Parse(address)
		if err != nil {
			continue
		}
		for i, by := range []trust{outside, inside} {
			if got := (&Transport{}).mayOpen(u, by) == nil; got != want[i] {
				t.Errorf("%s, %+v: %v", address, by.reach, got)
			}
		}
	}
}

// covers: O09, O11, S18
func TestChooseMethod(t *testing.T) {
	secret, public := Credentials{ID: "c", Secret: "s"}, Credentials{ID: "c"}
	keyed, both := Credentials{ID: "c", Key: ed25519.PrivateKey{}}, Credentials{ID: "c", Secret: "s", Key: ed25519.PrivateKey{}}
	made := Credentials{Assertion: func(context.Context, string) (string, error) { return "", nil }}
	for _, c := range []struct {
		as     Credentials
		listed []string
		cert   certificate
		want   string
	}{
		{secret, nil, absent, oauth.AuthBasic},
		{secret, []string{oauth.AuthPost, oauth.AuthBasic}, present, oauth.AuthBasic},
		{secret, []string{oauth.AuthPost}, absent, oauth.AuthPost},
		{secret, []string{oauth.AuthNone}, absent, oauth.AuthNone},
		{secret, []string{oauth.AuthTLS}, absent, oauth.AuthTLS}, // which then fails
		{secret, []string{oauth.AuthTLS, oauth.AuthNone}, present, oauth.AuthTLS},
		{public, nil, present, oauth.AuthNone},
		{public, []string{oauth.AuthBasic}, absent, oauth.AuthNone},
		{public, []string{oauth.AuthBasic, oauth.AuthSelfSignedTLS}, present, oauth.AuthSelfSignedTLS},
		{public, []string{oauth.AuthNone, oauth.AuthTLS}, unknown, oauth.AuthNone},
		{public, []string{oauth.AuthTLS}, unknown, oauth.AuthTLS},
		{keyed, nil, absent, oauth.AuthPrivateKeyJWT},
		{keyed, []string{oauth.AuthBasic, oauth.AuthPrivateKeyJWT}, present, oauth.AuthPrivateKeyJWT},
		{keyed, []string{oauth.AuthTLS}, present, oauth.AuthTLS},
		{keyed, []string{oauth.AuthTLS}, absent, oauth.AuthPrivateKeyJWT},
		{both, []string{oauth.AuthPost}, absent, oauth.AuthPost},
		{made, []string{oauth.AuthPrivateKeyJWT, oauth.AuthNone}, absent, oauth.AuthPrivateKeyJWT},
	} {
		if got := chooseMethod(c.as, c.listed, c.cert); got != c.want {
			t.Errorf("%+v of %v: %s, want %s", c.as, c.listed, got, c.want)
		}
	}
	err := (&Transport{}).authenticate(context.Background(), url.Values{}, http.Header{}, "https://as.example", nil, secret, "tls_client_auth")
	if err == nil || !strings.Contains(err.Error(), "tls_client_auth") {
		t.Errorf("a method without credentials: %v", err)
	}
	for _, method := range []string{oauth.AuthBasic, oauth.AuthPost, oauth.AuthPrivateKeyJWT} {
		form, header := url.Values{}, http.Header{}
		err := (&Transport{}).authenticate(context.Background(), form, header, "https://as.example", nil, public, method)
		if err == nil || !strings.Contains(err.Error(), method) || len(form)+len(header) != 0 {
			t.Errorf("%s without a secret or key: %v %v %v", method, err, form, header)
		}
	}
}

func TestEndOfAnIDJAG(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	token := func(claims string) string {
		part := base64.RawURLEncoding.EncodeToString
		return part([]byte(`{"alg":"ES256","typ":"oauth-id-jag+jwt"}`)) + "." + part([]byte(claims)) + "." + part([]byte("x"))
	}
	for name, c := range map[string]struct {
		token, in string
		want      time.Duration // from now; 0: not kept
	}{
		"neither":            {"opaque", "", 0},
		"expires_in":         {"opaque", "300", 295 * time.Second},
		"exp":                {token(`{"exp":1700000100}`), "", 95 * time.Second},
		"exp is first":       {token(`{"exp":1700000100}`), "300", 95 * time.Second},
		"expires_in first":   {token(`{"exp":1700000900}`), "300", 295 * time.Second},
		"exp is not a time":  {token(`{"exp":"soon"}`), "", 0},
		"expires_in as text": {"opaque", `"60"`, 55 * time.Second},
	} {
		var want time.Time
		if c.want != 0 {
			want = now.Add(c.want)
		}
		if got := jagEnd(answer{AccessToken: c.token, ExpiresIn: json.RawMessage(c.in)}, now); !got.Equal(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// FuzzRegistrationAnswer: what is accepted is a client that can be used.
func FuzzRegistrationAnswer(f *testing.F) {
	for _, s := range []string{`{"client_id":"c"}`, `{"client_id":"c","client_secret":"s","client_secret_expires_at":"17","token_endpoint_auth_method":"client_secret_post"}`,
		`{"client_id":"c","redirect_uris":["https://evil.example"]}`, `{"client_id":"c","redirect_uris":["http://127.0.0.1/cb"],"client_secret_expires_at":1e300}`, `[]`, `{"client_id":7}`, ``} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, until, err := readRegistration("https://as.example", []byte(s), "http://127.0.0.1:7/cb")
		var e *Error
		switch {
		case err != nil && (!errors.As(err, &e) || e.Step != stepRegister || r != registration{} || !until.IsZero()):
			t.Errorf("%q: %+v %v, error %v", s, r, until, err)
		case err == nil && (r.id == "" || r.redirect != "http://127.0.0.1:7/cb" || !until.IsZero() && until.Unix() <= 0):
			t.Errorf("%q: %+v %v", s, r, until)
		}
	})
}

// FuzzPushedAnswer: what is accepted can stand in a URL.
func FuzzPushedAnswer(f *testing.F) {
	f.Add(201, `{"request_uri":"urn:ietf:params:oauth:request_uri:x","expires_in":60}`)
	f.Add(400, `{"error":"invalid_request"}`)
	f.Add(201, `{"request_uri":"a b"}`)
	f.Add(200, `<html>`)
	f.Fuzz(func(t *testing.T, status int, s string) {
		uri, err := readPushed("https://as.example", status, []byte(s), func(s string) string { return s })
		var e *Error
		switch {
		case err != nil && (!errors.As(err, &e) || uri != ""):
			t.Errorf("%d %q: %q, error %v", status, s, uri, err)
		case err == nil && (!visible(uri) || status != 200 && status != 201):
			t.Errorf("%d %q: %q", status, s, uri)
		}
	})
}

func FuzzSeconds(f *testing.F) {
	for _, s := range []string{"3600", `"3600"`, "null", "-1", "1e400", "NaN", `"x"`, "0.5", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := seconds(json.RawMessage(s)); d < 0 || d > 10*366*24*time.Hour {
			t.Errorf("%q is %v", s, d)
		}
	})
}
