package doorward

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"doorward/internal/oauth"
)

const (
	pollInterval = 5 * time.Second  // where the answer names none (RFC 8628 section 3.2)
	pollMost     = 60 * time.Second // while the network fails
	codeLife     = 30 * time.Minute // no device code is waited for longer
)

// device is the answer of a device authorization endpoint (RFC 8628 section 3.2).
type device struct {
	DeviceCode              string          `json:"device_code"`
	UserCode                string          `json:"user_code"`
	VerificationURI         string          `json:"verification_uri"`
	VerificationURIComplete string          `json:"verification_uri_complete"`
	ExpiresIn               json.RawMessage `json:"expires_in"`
	Interval                json.RawMessage `json:"interval"`
	Error                   string          `json:"error"`
	ErrorDescription        string          `json:"error_description"`
}

// byDevice reports whether the person signs in on another device. Where the
// browser could be opened here, too, the issuer has to offer that.
func (f *AuthorizationCode) byDevice(md *oauth.ServerMetadata) bool {
	return f.ShowCode != nil && (f.Open == nil || md.DeviceAuthorizationEndpoint != "")
}

// authorizeDevice shows the person a code and waits until they have entered it
// in some browser (RFC 8628). got names the client also on failure.
func (f *AuthorizationCode) authorizeDevice(ctx context.Context, w want, md *oauth.ServerMetadata) (got, error) {
	client, d, err := f.deviceCode(ctx, w, md)
	if err != nil {
		if notForDevices(err) && f.Open != nil {
			if err := f.checkBrowser(md); err != nil {
				return got{}, err
			}
			return f.authorize(ctx, w, md)
		}
		return got{client: client}, f.byHand(err)
	}
	life := codeLife
	if s := seconds(d.ExpiresIn); s > 0 {
		life = min(s, codeLife)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, life, errDeviceOver)
	defer cancel()
	if err := f.ShowCode(ctx, d.UserCode, d.VerificationURI, d.VerificationURIComplete); err != nil {
		return got{client: client}, &Error{Step: stepAuthorize, Server: md.Issuer, Who: whoPerson, Description: "the code could not be shown", Err: err}
	}
	return f.poll(ctx, w, md, client, d)
}

// deviceCode asks for a code, as a client that is registered for that.
func (f *AuthorizationCode) deviceCode(ctx context.Context, w want, md *oauth.ServerMetadata) (registration, device, error) {
	client, known, err := f.known(ctx, w, md)
	if err != nil {
		return registration{}, device{}, err
	}
	if !known {
		if client, err = f.register(ctx, w, md, ""); err != nil {
			return registration{}, device{}, err
		}
	}
	d, err := f.askDevice(ctx, w, md, client)
	return client, d, err
}

// notForDevices reports that the server offers the grant, and not to this
// client: many give it to none that registered itself.
func notForDevices(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Step == stepRegister && e.Code == oauth.InvalidClientMetadata || e.Step == stepAuthorize && e.Code == oauth.UnauthorizedClient)
}

// byHand says what helps a client that registered itself, or could not, where the
// grant is for others.
func (f *AuthorizationCode) byHand(err error) error {
	var e *Error
	if f.Client.ID == "" && notForDevices(err) && errors.As(err, &e) {
		e.Who = whoOperator
		e.Description += " (a client for devices has to be added there by hand and its id given: AuthorizationCode.Client, --client-id)"
	}
	return err
}

// errDeviceOver ends the wait for a device code that nobody entered.
var errDeviceOver = errors.New("the code is over")

// askDevice makes the device authorization request (RFC 8628 section 3.1).
func (f *AuthorizationCode) askDevice(ctx context.Context, w want, md *oauth.ServerMetadata, client registration) (device, error) {
	form := url.Values{}
	if w.target.resource != "" {
		form.Set("resource", w.target.resource)
	}
	setScope(form, w.scopes)
	for name, values := range w.demand.parameters() {
		form[name] = values // section 3.1: who does not know them ignores them
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	as := client.credentials(f, md.Issuer)
	by, err := w.t.identify(ctx, form, header, md, w.target.by, as, client.method)
	if err != nil {
		return device{}, err
	}
	status, body, err := w.t.post(ctx, md.DeviceAuthorizationEndpoint, by, header, []byte(form.Encode()))
	if err != nil {
		e := unreachable(stepAuthorize, md.Issuer, err)
		e.Status = status
		return device{}, e
	}
	var d device
	readable := json.Unmarshal(body, &d) == nil
	switch {
	case readable && d.Error != "":
		return device{}, refusal(stepAuthorize, md.Issuer, status, d.Error, withoutSecrets(form, as, d.ErrorDescription))
	case status != http.StatusOK:
		return device{}, refusal(stepAuthorize, md.Issuer, status, "", "its device_authorization_endpoint gave no OAuth error")
	case !readable || !visible(d.DeviceCode) || d.UserCode == "" || oauth.Printable(d.UserCode) != d.UserCode:
		return device{}, unusable(stepAuthorize, md.Issuer, "the answer of its device_authorization_endpoint has no usable device_code and user_code")
	}
	for _, address := range []string{d.VerificationURI, d.VerificationURIComplete} {
		if address == "" && d.VerificationURI != "" {
			continue // the complete one is optional
		}
		u, err := url.Parse(address)
		if err == nil {
			err = w.t.mayOpen(u, w.target.by)
		}
		if err != nil {
			return device{}, &Error{Step: stepAuthorize, Server: md.Issuer, Who: whoOperator, Description: "its verification_uri is not shown", Err: err}
		}
	}
	return d, nil
}

// poll asks for the token until there is an answer (RFC 8628 section 3.4 and
// 3.5). A network that fails is asked half as often.
func (f *AuthorizationCode) poll(ctx context.Context, w want, md *oauth.ServerMetadata, client registration, d device) (got, error) {
	every := pollInterval
	if s := seconds(d.Interval); s > 0 {
		every = s
	}
	for {
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return got{client: client}, f.unanswered(ctx, md)
		}
		form := w.formFor(oauth.DeviceCode)
		form.Set("device_code", d.DeviceCode)
		g, err := f.redeem(ctx, stepRedeem, w, md, client, form)
		var e *Error
		switch {
		case err == nil:
			return g, nil
		case ctx.Err() != nil:
			return g, f.unanswered(ctx, md)
		case !errors.As(err, &e):
			return g, err
		case e.Code == oauth.AuthorizationPending:
		case e.Code == oauth.SlowDown:
			every += pollInterval
		case e.Code == oauth.ExpiredToken, e.Code == oauth.AccessDenied:
			e.Who = whoPerson
			return g, e
		case e.Retry && e.Code == "":
			every = max(every, min(2*every, pollMost))
		default:
			return g, err
		}
	}
}

// unanswered is the end of a wait in which nobody signed in.
func (f *AuthorizationCode) unanswered(ctx context.Context, md *oauth.ServerMetadata) error {
	return &Error{Step: stepAuthorize, Server: md.Issuer, Who: whoPerson, Description: "nobody entered the code", Err: context.Cause(ctx)}
}
