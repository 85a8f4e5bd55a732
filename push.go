package doorward

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"doorward/internal/oauth"
)

// push sends the authorization request to the server beforehand, where it takes
// that (RFC 9126), and returns what is left for the browser to carry. A server
// that offers it and cannot do it gets the request by the browser; one that
// refuses the request, or demands that it be pushed, has the last word.
func (f *AuthorizationCode) push(ctx context.Context, w want, md *oauth.ServerMetadata, client registration, request url.Values) (url.Values, error) {
	switch {
	case md.PushedAuthorizationRequestEndpoint == "" && md.PushedOnly:
		return nil, unusable(stepAuthorize, md.Issuer, "it wants pushed authorization requests, and its metadata has no pushed_authorization_request_endpoint")
	case md.PushedAuthorizationRequestEndpoint == "":
		return request, nil
	}
	uri, err := f.pushed(ctx, w, md, client, request)
	if err == nil {
		return url.Values{"client_id": {client.id}, "request_uri": {uri}}, nil
	}
	var e *Error
	if md.PushedOnly || !errors.As(err, &e) || e.Code != "" && e.Code != oauth.UnauthorizedClient || ctx.Err() != nil {
		return nil, err
	}
	w.t.log().InfoContext(ctx, "authorization request not pushed", "issuer", md.Issuer, "error", err)
	return request, nil
}

// pushed is the request_uri under which the server keeps the request.
func (f *AuthorizationCode) pushed(ctx context.Context, w want, md *oauth.ServerMetadata, client registration, request url.Values) (string, error) {
	form, as := url.Values{}, client.credentials(f, md.Issuer)
	for name, values := range request {
		form[name] = values
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	by, err := w.t.identify(ctx, form, header, md, w.target.by, as, client.method)
	if err != nil {
		return "", err
	}
	status, body, err := w.t.post(ctx, md.PushedAuthorizationRequestEndpoint, by, header, []byte(form.Encode()))
	if err != nil {
		e := unreachable(stepAuthorize, md.Issuer, err)
		if e.Status = status; status != 0 {
			e.Who = whoOperator
		}
		return "", e
	}
	return readPushed(md.Issuer, status, body, func(text string) string { return withoutSecrets(form, as, text) })
}

// readPushed reads the answer (RFC 9126 sections 2.2 and 2.3).
func readPushed(issuer string, status int, body []byte, clean func(string) string) (string, error) {
	var a struct {
		RequestURI       string `json:"request_uri"`
		Error            string `json:"error"`
		ErrorDescription string `json:"error_description"`
	}
	readable := json.Unmarshal(body, &a) == nil
	switch {
	case readable && a.Error != "":
		return "", refusal(stepAuthorize, issuer, status, clean(a.Error), clean(a.ErrorDescription))
	case status != http.StatusCreated && status != http.StatusOK:
		return "", refusal(stepAuthorize, issuer, status, "", "its endpoint for pushed requests gave no OAuth error")
	case !readable || !visible(a.RequestURI) || len(a.RequestURI) > 2000:
		return "", unusable(stepAuthorize, issuer, "the answer of its endpoint for pushed requests has no usable request_uri")
	}
	return a.RequestURI, nil
}
