package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"doorward/internal/audit"
	"doorward/internal/oauth"
	"doorward/internal/scim"
	"doorward/store"
)

// scimPath, the name of a provider and a slash is where its directory writes.
const scimPath = "/scim/"

// scimRoute is the service provider of a directory (RFC 7644 section 3.2).
func (s *Server) scimRoute(path string) (route, bool) {
	st := s.current()
	rest, ok := strings.CutPrefix(path, st.path+scimPath)
	name, at, _ := strings.Cut(rest, "/")
	d := st.directories[name]
	if !ok || d == nil {
		return route{}, false
	}
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	return route{methods, noCORS, func(w http.ResponseWriter, r *http.Request) {
		c := &scimCall{s: s, st: st, d: d, w: w, r: r}
		c.kind, c.id, _ = strings.Cut(strings.TrimSuffix(at, "/"), "/")
		c.serve()
	}}, true
}

// scimCall is one request of a directory's client.
type scimCall struct {
	s        *Server
	st       *settings
	d        *directory
	w        http.ResponseWriter
	r        *http.Request
	kind, id string // Users or Groups, and which it names; "": all
}

// scimAnswer is an answer; body nil: none.
type scimAnswer struct {
	status   int
	location string
	version  uint64 // of the resource; 0: it has none
	body     map[string]any
}

func (c *scimCall) serve() {
	err := c.s.admit(c.st, c.d, c.r)
	var a scimAnswer
	if err == nil {
		a, err = c.do(c.r.Context())
	}
	if err != nil {
		c.refuse(err)
		return
	}
	h := c.w.Header()
	h["Cache-Control"] = noStore
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if a.version != 0 {
		h.Set("ETag", etag(a.version))
		if c.r.Method == http.MethodGet && matches(c.r.Header.Get("If-None-Match"), a.version) {
			c.w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if a.body == nil {
		c.w.WriteHeader(a.status)
		return
	}
	c.write(a.status, a.body)
}

func (c *scimCall) write(status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		c.s.log.ErrorContext(c.r.Context(), "answer cannot be encoded", "path", c.r.URL.Path, "error", err)
		status, b = http.StatusInternalServerError, nil
	}
	h := c.w.Header()
	h.Set("Content-Type", scim.MediaType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	c.w.WriteHeader(status)
	c.w.Write(b)
}

// do is the table of what there is (RFC 7644 section 3.2).
func (c *scimCall) do(ctx context.Context) (scimAnswer, error) {
	read := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	switch {
	case c.kind == "ServiceProviderConfig" && read && c.id == "":
		return scimAnswer{status: http.StatusOK, body: scim.ServiceProviderConfig(c.base())}, nil
	case c.kind == "ResourceTypes" && read:
		return c.described(scim.ResourceTypes(c.base()))
	case c.kind == "Schemas" && read:
		return c.described(scim.Schemas(c.base()))
	case c.kind == "Users" && c.id == "" && read:
		return c.listUsers(ctx)
	case c.kind == "Users" && c.id == "" && c.r.Method == http.MethodPost:
		return c.createUser(ctx)
	case c.kind == "Users" && c.id != "" && c.r.Method != http.MethodPost:
		return c.oneUser(ctx)
	case c.kind == "Groups" && c.id == "" && read:
		return c.listGroups(ctx)
	case c.kind == "Groups" && c.id == "" && c.r.Method == http.MethodPost:
		return c.createGroup(ctx)
	case c.kind == "Groups" && c.id != "" && c.r.Method != http.MethodPost:
		return c.oneGroup(ctx)
	case c.kind == "Users", c.kind == "Groups":
		return scimAnswer{}, &oauth.Error{Code: oauth.InvalidRequest, Reason: "scim_request", Status: http.StatusMethodNotAllowed, Description: "this method is not for this endpoint"}
	}
	return scimAnswer{}, noSuchResource()
}

// base is where the directory's resources lie.
func (c *scimCall) base() string { return c.st.cfg.URL + scimPath + c.d.name }

func noSuchResource() error {
	return &oauth.Error{Code: oauth.InvalidRequest, Reason: "scim_unknown", Status: http.StatusNotFound, Description: "there is no such resource"}
}

// described is a list of documents, or the one that is named.
func (c *scimCall) described(all []map[string]any) (scimAnswer, error) {
	if c.id == "" {
		return scimAnswer{status: http.StatusOK, body: scim.List(all, len(all), 1)}, nil
	}
	for _, one := range all {
		if one["id"] == c.id {
			return scimAnswer{status: http.StatusOK, body: one}, nil
		}
	}
	return scimAnswer{}, noSuchResource()
}

// body reads what came: application/scim+json or application/json.
func (c *scimCall) body() ([]byte, error) {
	want := scim.MediaType
	if got, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err == nil && got == "application/json" {
		want = got
	}
	return readBody(c.w, c.r, c.st, want)
}

// change is the body of a request that changes something by what its body says.
func (c *scimCall) change() ([]byte, error) {
	if c.r.Method == http.MethodPut || c.r.Method == http.MethodPatch {
		return c.body()
	}
	return nil, nil
}

// ifMatch checks the precondition of a change (RFC 7644 section 3.14).
func (c *scimCall) ifMatch(version uint64) error {
	if want := c.r.Header.Get("If-Match"); want != "" && !matches(want, version) {
		return &oauth.Error{Code: oauth.InvalidRequest, Reason: "scim_version", Status: http.StatusPreconditionFailed, Description: "it was changed since it was read"}
	}
	return nil
}

func etag(version uint64) string { return `W/"` + strconv.FormatUint(version, 10) + `"` }

func matches(header string, version uint64) bool {
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(etag(version), "W/") {
			return true
		}
	}
	return false
}

// refuse writes an error as RFC 7644 section 3.12 has it, with the reference
// that why explains.
func (c *scimCall) refuse(err error) {
	var e *oauth.Error
	var own *scim.Error
	scimType := ""
	switch {
	case errors.As(err, &own):
		scimType = own.Type
		e = &oauth.Error{Code: oauth.InvalidRequest, Reason: "scim_request", Description: own.Detail}
		if own.Type == scim.Uniqueness {
			e.Status, e.Reason = http.StatusConflict, "scim_taken"
		}
	case errors.As(err, &e):
	case notFound(err):
		errors.As(noSuchResource(), &e)
	default:
		e = &oauth.Error{Code: oauth.ServerError, Description: "the server could not do this; its log says why", Err: err}
	}
	known := c.authorized(e)
	ref := c.s.keepAttempt(audit.Event{Action: "scim.refuse", Address: address(c.r), Issuer: c.d.trust.Issuer}, e, known)
	c.s.logRefusal(c.r, e, ref)
	h := c.w.Header()
	h["Cache-Control"] = noStore
	retryAfter(h, e.RetryAfter)
	if e.Code == oauth.InvalidToken {
		h.Set("WWW-Authenticate", oauth.FormatChallenge("Bearer", "realm", c.base()))
	}
	body := map[string]any{"schemas": []string{scim.ErrorURN}, "status": strconv.Itoa(e.HTTPStatus()),
		"detail": audit.Describe(oauth.Printable(e.Description), ref)}
	if scimType != "" {
		body["scimType"] = scimType
	}
	c.write(e.HTTPStatus(), body)
}

// authorized reports whether a refusal is of somebody who showed the token.
func (c *scimCall) authorized(e *oauth.Error) bool {
	return e.Reason != "scim_token" && e.Code != oauth.TooManyRequests
}

// conflicted reports whether another request was faster.
func conflicted(err error) bool { return errors.Is(err, store.ErrConflict) }
