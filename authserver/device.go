package authserver

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// A device without a browser (RFC 8628) gets two codes: one that it polls the
// token endpoint with, and a short one that a person types at /device, in a
// browser of theirs. From there on the request takes the way of every other:
// sign-in, rules, consent.

const (
	deviceLife     = 10 * time.Minute // of both codes
	deviceInterval = 5 * time.Second  // between two polls

	// userLetters are those of RFC 8628 section 6.1: no vowels, so that no words
	// come out, and nothing that looks like a digit or is missing on a keyboard.
	userLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userLength  = 8 // 34 bits
)

// deviceRecord is what a device asked for and what became of it. Its key in the
// store is the SHA-256 of the device code.
type deviceRecord struct {
	Client   string        `json:"client"`
	Resource string        `json:"resource"`
	Scopes   oauth.Scopes  `json:"scopes,omitempty"`
	Details  oauth.Details `json:"authorization_details,omitempty"`
	Until    time.Time     `json:"until"`
	Grant    string        `json:"grant,omitempty"` // a person said yes: what they gave
	Refused  bool          `json:"refused,omitempty"`
}

// deviceAnswer is RFC 8628 section 3.2.
type deviceAnswer struct {
	DeviceCode              string `json:"device_code"`
	UserCode                string `json:"user_code"`
	VerificationURI         string `json:"verification_uri"`
	VerificationURIComplete string `json:"verification_uri_complete"`
	ExpiresIn               int64  `json:"expires_in"`
	Interval                int64  `json:"interval"`
}

// deviceAuthorization is the device authorization endpoint (RFC 8628 section
// 3.1): client_id or client authentication, scope and resource.
func (s *Server) deviceAuthorization(ctx context.Context, st *settings, r *http.Request, form url.Values) (any, error) {
	req, err := oauth.ParseTokenRequest(form)
	if err != nil {
		return nil, err
	}
	client, err := s.authenticate(ctx, st, r.Header, &req)
	if err != nil {
		return nil, err
	}
	c := client.client
	if !slices.Contains(c.GrantTypes, oauth.DeviceCode) {
		return nil, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "this client is not registered for the device grant"}
	}
	res, err := st.resource(req.Resources)
	if err != nil {
		return nil, err
	}
	scopes, err := st.narrowed(c, res, req.Scope)
	if err != nil {
		return nil, err
	}
	details, err := st.details(req.AuthorizationDetails, res)
	if err != nil {
		return nil, err
	}
	device, user, err := s.newDevice(ctx, deviceRecord{Client: c.ID, Resource: res.ID, Scopes: scopes, Details: details, Until: s.now().Add(deviceLife)})
	if err != nil {
		return nil, err
	}
	page := st.cfg.URL + "/device"
	return deviceAnswer{DeviceCode: device, UserCode: user, VerificationURI: page, VerificationURIComplete: page + "?user_code=" + user,
		ExpiresIn: seconds(deviceLife), Interval: seconds(deviceInterval)}, nil
}

// newDevice keeps a request under two new codes. The record outlives the codes
// by their life, so that a device learns that it came late.
func (s *Server) newDevice(ctx context.Context, d deviceRecord) (device, user string, err error) {
	device = randomText(32)
	value, err := json.Marshal(d)
	if err != nil {
		return "", "", fmt.Errorf("authserver: device: %w", err)
	}
	for range attempts {
		user = newUserCode()
		err = s.commit(ctx,
			store.Create(store.Record{Kind: ledger.KindDevice, Key: codeKey(device), Value: value, Expires: d.Until.Add(deviceLife)}),
			store.Create(store.Record{Kind: ledger.KindUserCode, Key: s.userCodeKey(user), Value: []byte(codeKey(device)), Expires: d.Until}))
		if !errors.Is(err, store.ErrConflict) { // else somebody has this user code
			return device, user[:userLength/2] + "-" + user[userLength/2:], err
		}
	}
	return "", "", err
}

func newUserCode() string {
	b := make([]byte, userLength)
	for i := range b {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(userLetters))))
		if err != nil {
			panic("authserver: no random numbers: " + err.Error()) // never: crypto/rand ends the program instead
		}
		b[i] = userLetters[n.Int64()]
	}
	return string(b)
}

// readUserCode is what somebody typed as it was drawn, without case, dash and
// spaces; "" if it is no user code.
func readUserCode(typed string) string {
	if len(typed) > 100 {
		return ""
	}
	code := strings.NewReplacer(" ", "", "-", "", "\u2013", "", "\u00a0", "").Replace(strings.ToUpper(typed))
	if len(code) != userLength || strings.Trim(code, userLetters) != "" {
		return ""
	}
	return code
}

// userCodeKey is the key of a user code's record: a keyed hash, since so short
// a code could be found out from a plain one.
func (s *Server) userCodeKey(code string) string {
	return base64.RawURLEncoding.EncodeToString(s.derived.userCode.mac([]byte(code)))
}

// device reads a record. ok is false if a person can say nothing to it any
// more: it is over, or somebody answered.
func (s *Server) device(ctx context.Context, key string) (d deviceRecord, version uint64, ok bool, err error) {
	rec, err := s.ledger.Store.Get(ctx, ledger.KindDevice, key)
	if notFound(err) {
		return d, 0, false, nil
	}
	if err != nil {
		return d, 0, false, err
	}
	if err := json.Unmarshal(rec.Value, &d); err != nil {
		return d, 0, false, fmt.Errorf("authserver: device record cannot be read: %w", err)
	}
	return d, rec.Version, rec.Taken.IsZero() && d.Grant == "" && !d.Refused && s.now().Before(d.Until), nil
}

// errDeviceOver: there is nothing to say to this user code.
var errDeviceOver = errors.New("the code of the device is unknown, used or too old")

// fromDevice marks an asking that did not come from a browser. There is no way
// back to its client but the page.
type fromDevice struct {
	key, userCode string
	record        deviceRecord
	version       uint64
}

// examineDevice checks what a device asked for as examine checks a request.
func (s *Server) examineDevice(ctx context.Context, st *settings, key, userCode string) (*asking, error) {
	d, version, ok, err := s.device(ctx, key)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errDeviceOver
	}
	c, err := s.client(ctx, st, d.Client)
	if err != nil {
		return nil, err
	}
	a := &asking{client: c, maxAge: -1, device: &fromDevice{key, userCode, d, version}}
	a.ClientID = c.ID
	if a.resource = st.byID(d.Resource); a.resource == nil || !slices.Contains(c.GrantTypes, oauth.DeviceCode) {
		return nil, errDeviceOver
	}
	a.scopes = a.resource.bound(d.Scopes.Intersect(a.resource.scopes), c.Scopes)
	if len(a.scopes) == 0 && len(d.Scopes) > 0 || len(st.words(d.Details)) < len(d.Details) { // a type is gone
		return nil, errDeviceOver
	}
	a.details = d.Details
	return a, nil
}

// approveDevice makes the grant that the device may fetch, good once for the
// page and once for the device.
func (v *visit) approveDevice(a *asking, more ...store.Op) {
	v.approveDeviceAs(a, orderedText(v.s.now(), idSize), more...)
}

// approveDeviceAs is approveDevice for a grant of that id.
func (v *visit) approveDeviceAs(a *asking, id string, more ...store.Op) {
	subject, now, d := v.session.Subject, v.s.now(), a.device.record
	g := oauth.Grant{ID: id, Subject: subject, Client: a.client.ID, Resource: a.resource.ID, Scopes: a.scopes, Details: a.details,
		Type: oauth.DeviceCode, Created: now, Expires: d.Until}
	if least := now.Add(codeLife); g.Expires.Before(least) {
		g.Expires = least
	}
	d.Grant, d.Until = g.ID, g.Expires
	more = append(more, ledger.Grant{Grant: g, Upstream: v.st.proxied != nil}.Put(), v.s.ledger.AuditOp(v.s.event("authorize.approve", audit.Event{Person: subject.ID,
		Client: a.client.ID, Resource: a.resource.ID, Scope: a.scopes.String(), Address: address(v.r)})))
	err := v.answerDevice(a, d, more...)
	if err == nil {
		err = v.s.endIfLeft(v.r.Context(), &g)
	}
	v.afterDevice(a, doneYes, err)
}

// refuseDevice tells the device that the person said no.
func (v *visit) refuseDevice(a *asking) {
	d := a.device.record
	d.Refused = true
	e := &oauth.Error{Code: oauth.AccessDenied, Reason: "person_refused", Description: "the person refused"}
	err := v.answerDevice(a, d)
	if err == nil {
		v.keepTurnedDown(a, e, nil)
	}
	v.afterDevice(a, doneNo, err)
}

// answerDevice writes the answer if nobody else was faster, and ends the user
// code.
func (v *visit) answerDevice(a *asking, d deviceRecord, more ...store.Op) error {
	value, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("authserver: device: %w", err)
	}
	ops := append([]store.Op{
		store.Put(store.Record{Kind: ledger.KindDevice, Key: a.device.key, Value: value, Version: a.device.version, Expires: d.Until.Add(deviceLife)}),
	}, more...)
	return v.s.commit(v.r.Context(), append(ops, store.Delete(ledger.KindUserCode, v.s.userCodeKey(a.device.userCode)))...)
}

func (v *visit) afterDevice(a *asking, done string, err error) {
	switch {
	case errors.Is(err, store.ErrSeen) || errors.Is(err, store.ErrConflict):
		v.turnDown(nil, errDeviceOver)
	case err != nil:
		v.turnDown(a, err)
	default:
		v.see(v.st.path + "/device?attempt=" + v.seal(forDevice, attempt{Done: done}))
	}
}
