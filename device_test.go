package doorward_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"doorward"
	"doorward/internal/oauth"
)

// devices are an MCP server and its authorization server in memory, on the
// clock of the test.
type devices struct {
	t        *testing.T
	metadata m
	begin    m                                      // answer of the device authorization endpoint
	begun    int                                    // its status; 0: 200
	poll     func(n int) (int, m)                   // answer n of the token endpoint, from 1
	fail     func(n int) error                      // instead, the network fails
	shown    []string                               // code and addresses
	asked    []url.Values                           // device authorization requests
	polled   []time.Duration                        // since the code was shown
	forms    []url.Values                           // token requests
	made     []m                                    // registrations
	codeOnly bool                                   // clients that register themselves get no device grant
	since    time.Time                              // when the code was shown
	onShow   func(ctx context.Context) (fail error) // nil: success
}

const deviceIssuer = "https://as.example"

func newDevices(t *testing.T) *devices {
	return &devices{t: t,
		metadata: m{"issuer": deviceIssuer, "token_endpoint": deviceIssuer + "/token", "authorization_endpoint": deviceIssuer + "/authorize",
			"device_authorization_endpoint": deviceIssuer + "/device", "registration_endpoint": deviceIssuer + "/register",
			"token_endpoint_auth_methods_supported": []string{"none", "client_secret_basic"}},
		begin: m{"device_code": "device-code-1", "user_code": "WDJB-MJHT", "verification_uri": deviceIssuer + "/go",
			"verification_uri_complete": deviceIssuer + "/go?user_code=WDJB-MJHT", "expires_in": 600, "interval": 2},
		poll: func(int) (int, m) { return 200, m{"access_token": "token", "token_type": "Bearer", "expires_in": 3600} },
	}
}

func (d *devices) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	switch req.URL.Host + req.URL.Path {
	case "mcp.example/mcp":
		if req.Header.Get("Authorization") == "" {
			rec.Header().Set("WWW-Authenticate", `Bearer scope="read"`)
			rec.WriteHeader(401)
		}
	case "mcp.example/.well-known/oauth-protected-resource/mcp":
		reply(rec, 200, m{"resource": "https://mcp.example/mcp", "authorization_servers": []string{deviceIssuer}})
	case "as.example/.well-known/oauth-authorization-server":
		reply(rec, 200, d.metadata)
	case "as.example/register":
		var asked m
		if err := json.NewDecoder(req.Body).Decode(&asked); err != nil {
			d.t.Error(err)
		}
		d.made = append(d.made, asked)
		if grants, _ := asked["grant_types"].([]any); d.codeOnly && slices.Contains(grants, any(oauth.DeviceCode)) {
			reply(rec, 400, m{"error": "invalid_client_metadata", "error_description": "grant_types must have authorization_code"})
			break
		}
		reply(rec, 201, m{"client_id": "dynamic", "token_endpoint_auth_method": "none"})
	case "as.example/device":
		_ = req.ParseForm()
		d.asked = append(d.asked, req.PostForm)
		reply(rec, max(d.begun, 200), d.begin)
	case "as.example/token":
		_ = req.ParseForm()
		d.forms = append(d.forms, req.PostForm)
		d.polled = append(d.polled, time.Since(d.since))
		if d.fail != nil {
			if err := d.fail(len(d.forms)); err != nil {
				return nil, err
			}
		}
		status, answer := d.poll(len(d.forms))
		reply(rec, status, answer)
	default:
		rec.WriteHeader(404)
	}
	return rec.Result(), nil
}

func (d *devices) flow() *doorward.AuthorizationCode {
	return &doorward.AuthorizationCode{ShowCode: func(ctx context.Context, code, at, complete string) error {
		d.shown, d.since = []string{code, at, complete}, time.Now()
		if d.onShow != nil {
			return d.onShow(ctx)
		}
		return nil
	}}
}

func (d *devices) call(ctx context.Context, f *doorward.AuthorizationCode) error {
	_, err := post(ctx, &doorward.Transport{Flow: f, Base: d}, "https://mcp.example/mcp")
	return err
}

func pending(code string) (int, m) { return 400, m{"error": code} }

func TestDeviceFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevices(t)
		d.poll = func(n int) (int, m) {
			switch n {
			case 1, 4:
				return pending("authorization_pending")
			case 2, 3:
				return pending("slow_down")
			}
			return 200, m{"access_token": "token", "token_type": "Bearer"}
		}
		if err := d.call(t.Context(), d.flow()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(d.shown, []string{"WDJB-MJHT", deviceIssuer + "/go", deviceIssuer + "/go?user_code=WDJB-MJHT"}) {
			t.Errorf("shown %q", d.shown)
		}
		s := time.Second
		if want := []time.Duration{2 * s, 4 * s, 11 * s, 23 * s, 35 * s}; !slices.Equal(d.polled, want) {
			t.Errorf("polled after %v, want %v", d.polled, want)
		}
		if q := d.asked[0]; q.Get("client_id") != "dynamic" || q.Get("scope") != "read" || q.Get("resource") != "https://mcp.example/mcp" {
			t.Errorf("device authorization request %v", q)
		}
		if q := d.forms[0]; q.Get("grant_type") != oauth.DeviceCode || q.Get("device_code") != "device-code-1" || q.Get("client_id") != "dynamic" {
			t.Errorf("token request %v", q)
		}
		grants, _ := d.made[0]["grant_types"].([]any)
		if _, redirects := d.made[0]["redirect_uris"]; redirects || !slices.Contains(grants, any(oauth.DeviceCode)) || !slices.Contains(grants, any("refresh_token")) {
			t.Errorf("registration %v", d.made[0])
		}
	})
}

// Whatever goes wrong ends in an error that says so, and in time.
func TestDeviceFlowRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(d *devices)
		step   string
		who    string
		says   string
		within time.Duration
	}{
		"refused":  {func(d *devices) { d.poll = func(int) (int, m) { return pending("access_denied") } }, "redeem", "person", "access_denied", 2 * time.Second},
		"expired":  {func(d *devices) { d.poll = func(int) (int, m) { return pending("expired_token") } }, "redeem", "person", "expired_token", 2 * time.Second},
		"nonsense": {func(d *devices) { d.poll = func(int) (int, m) { return 200, m{"access_token": 7} } }, "redeem", "operator", "no JSON object", 2 * time.Second},
		"no poll":  {func(d *devices) { d.poll = func(int) (int, m) { return pending("invalid_grant") } }, "redeem", "operator", "invalid_grant", 2 * time.Second},
		"nobody":   {func(d *devices) { d.poll = func(int) (int, m) { return pending("authorization_pending") } }, "authorize", "person", "nobody entered the code", 600 * time.Second},
		"long life": {func(d *devices) {
			d.poll = func(int) (int, m) { return pending("authorization_pending") }
			d.begin["expires_in"] = 1e6
		}, "authorize", "person", "nobody entered the code", 30 * time.Minute},
		"no life": {func(d *devices) {
			d.poll = func(int) (int, m) { return pending("authorization_pending") }
			d.begin["expires_in"], d.begin["interval"] = "soon", nil
		}, "authorize", "person", "nobody entered the code", 30 * time.Minute},
		"not offered":          {func(d *devices) { delete(d.metadata, "device_authorization_endpoint") }, "discover", "operator", "device_authorization_endpoint", 0},
		"refused at the start": {func(d *devices) { d.begun, d.begin = 400, m{"error": "unauthorized_client", "error_description": "no"} }, "authorize", "operator", "unauthorized_client", 0},
		"no error code":        {func(d *devices) { d.begun, d.begin = 500, m{} }, "authorize", "operator", "HTTP 500", 0},
		"no code":              {func(d *devices) { delete(d.begin, "user_code") }, "authorize", "operator", "user_code", 0},
		"hidden code":          {func(d *devices) { d.begin["user_code"] = "A\x1b[2JB" }, "authorize", "operator", "user_code", 0},
		"no address":           {func(d *devices) { delete(d.begin, "verification_uri") }, "authorize", "operator", "verification_uri", 0},
		"script":               {func(d *devices) { d.begin["verification_uri"] = "javascript:alert(1)" }, "authorize", "operator", "verification_uri", 0},
		"this machine":         {func(d *devices) { d.begin["verification_uri_complete"] = "http://127.0.0.1/x" }, "authorize", "operator", "verification_uri", 0},
		"cannot be shown":      {func(d *devices) { d.onShow = func(context.Context) error { return errors.New("no terminal") } }, "authorize", "person", "no terminal", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDevices(t)
				c.change(d)
				began := time.Now()
				err := d.call(t.Context(), d.flow())
				var e *doorward.Error
				if !errors.As(err, &e) || e.Step != c.step || e.Who != c.who || !strings.Contains(e.Error(), c.says) {
					t.Errorf("%v (step %q, who %q)", err, e.Step, e.Who)
				}
				if took := time.Since(began); took != c.within {
					t.Errorf("took %v, want %v", took, c.within)
				}
				if err != nil && strings.Contains(err.Error(), "device-code-1") {
					t.Error("the error tells the device code")
				}
			})
		})
	}
}

// A network that fails is asked less often, and nobody loses the code by it.
func TestDeviceFlowOverABadNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevices(t)
		d.fail = func(n int) error {
			if n <= 6 {
				return context.DeadlineExceeded
			}
			return nil
		}
		if err := d.call(t.Context(), d.flow()); err != nil {
			t.Fatal(err)
		}
		s := time.Second
		if want := []time.Duration{2 * s, 6 * s, 14 * s, 30 * s, 62 * s, 122 * s, 182 * s}; !slices.Equal(d.polled, want) {
			t.Errorf("polled after %v, want %v", d.polled, want)
		}
	})
}

// Where both ways are open, the device is taken if the issuer offers it.
func TestDeviceOrBrowser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, offered := range []bool{true, false} {
			d := newDevices(t)
			d.metadata["code_challenge_methods_supported"] = []string{"S256"}
			if !offered {
				delete(d.metadata, "device_authorization_endpoint")
			}
			f, opened := d.flow(), false
			f.Client.ID = "c"
			f.Open = func(context.Context, string) error { opened = true; return errors.New("enough") }
			f.RedirectURL = "http://127.0.0.1/callback"
			err := d.call(t.Context(), f)
			if (err == nil) != offered || opened == offered {
				t.Errorf("offered %v: opened %v, %v", offered, opened, err)
			}
		}
	})
}

// Many servers offer the device grant, and to no client that registered itself.
// Then the browser is the way; without one, it is said what has to be done.
func TestDeviceGrantThatIsNotForUs(t *testing.T) {
	for name, refuse := range map[string]func(*devices){
		"at the registration": func(d *devices) { d.codeOnly = true },
		"at the request": func(d *devices) {
			d.begin, d.begun = m{"error": "unauthorized_client"}, 400
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevices(t)
			d.metadata["code_challenge_methods_supported"] = []string{"S256"}
			refuse(d)
			f, opened := d.flow(), ""
			f.Open = func(_ context.Context, url string) error { opened = url; return errors.New("enough") }
			err := d.call(t.Context(), f)
			if !strings.HasPrefix(opened, deviceIssuer+"/authorize?") || len(d.shown) > 0 {
				t.Errorf("%s: opened %q, shown %q: %v", name, opened, d.shown, err)
			}
			f.Open = nil
			var e *doorward.Error
			if err := d.call(t.Context(), f); !errors.As(err, &e) || len(d.shown) > 0 {
				t.Errorf("%s: without a browser: %v", name, err)
			} else if e.Who != "operator" || !strings.Contains(e.Description, "--client-id") {
				t.Errorf("%s: %v", name, e)
			}
			// PKCE is not given up on the way.
			f.Open, opened = func(_ context.Context, url string) error { opened = url; return nil }, ""
			d.metadata["code_challenge_methods_supported"] = []string{"plain"}
			if err := d.call(t.Context(), f); err == nil || opened != "" {
				t.Errorf("%s: without S256: opened %q, %v", name, opened, err)
			}
		})
	}
}
