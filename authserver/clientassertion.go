package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"doorward/internal/jose"
	"doorward/internal/keyset"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// private_key_jwt: the client signs an assertion with a key that it registered
// (RFC 7521 section 4.2, RFC 7523 section 3 and its successor).

// afterwards is how long after the check of its time it may take to write down
// that an assertion or a page was used: two requests may be checked in the last
// moment and written after it.
const afterwards = time.Minute

// maxAssertionLife is how far ahead of now an assertion may expire: so long is
// its jti remembered.
const maxAssertionLife = time.Hour

// assertionTypes are the typ values that an assertion may have. Real clients
// leave typ out or write JWT (AS-CAUTH-06); the type of another class of JWT
// is refused (RFC 8725 section 3.11).
var assertionTypes = []string{oauth.TypClientAssertion, "JWT", ""}

// readAssertion takes the client from the assertion, which is checked later. A
// client_id beside it must be the same (RFC 7521 section 4.2, AS-CAUTH-07).
func readAssertion(req *oauth.TokenRequest) (credentials, error) {
	switch {
	case req.ClientAssertion == "" || req.ClientAssertionType == "":
		return credentials{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_assertion and client_assertion_type go together"}
	case req.ClientAssertionType != oauth.ClientAssertionJWT:
		return credentials{}, &oauth.Error{Code: oauth.InvalidClient, Reason: "client_assertion",
			Description: "client_assertion_type must be " + oauth.ClientAssertionJWT}
	}
	_, claims, err := jose.Peek(req.ClientAssertion)
	if err != nil {
		return credentials{}, assertionRefused(reject("client_assertion", "%v", err))
	}
	id, err := claims.Text("sub")
	switch {
	case err != nil || id == "":
		return credentials{}, assertionRefused(reject("client_assertion", "sub, which names the client, is missing"))
	case req.ClientID != "" && req.ClientID != id:
		return credentials{}, &oauth.Error{Code: oauth.InvalidClient, Reason: "client_assertion", Description: "client_id is not the client that the assertion names"}
	}
	return credentials{id: id, method: authPrivateKey, assertion: req.ClientAssertion}, nil
}

// assertionRefused looks from outside like a wrong secret.
func assertionRefused(r *rejection) error {
	e := unknownClient()
	e.Reason, e.Err = r.reason, r
	return e
}

// checkClientAssertion checks the assertion with the client's own keys and
// spends it: the second request that brings the same one is refused, whichever
// node it comes to.
func (s *Server) checkClientAssertion(ctx context.Context, st *settings, c ledger.Client, assertion string) error {
	algs := assertionAlgs
	if c.AuthAlg != "" {
		algs = []string{c.AuthAlg}
	}
	v, err := st.clientKeys.verify(ctx, c, assertion, algs, s.clock)
	var busy *oauth.Error
	if errors.As(err, &busy) { // the keys were not asked for: nothing is known of the assertion
		return busy
	}
	if err != nil {
		reason := "client_assertion"
		if errors.Is(err, keyset.ErrNoKeys) {
			reason = "client_keys"
		}
		return assertionRefused(reject(reason, "%v", err))
	}
	once, until, err := checkAssertionClaims(v.Claims(), c.ID, st.cfg.URL, s.now())
	if err != nil {
		return assertionRefused(reject("client_assertion", "%v", err))
	}
	err = s.ledger.Store.Commit(ctx, store.Once(once, until))
	if errors.Is(err, store.ErrSeen) {
		return assertionRefused(reject("client_assertion_replay", "its jti was used before"))
	}
	return err
}

// checkAssertionClaims checks what an assertion says and returns the name
// under which its one use is remembered, and until when. The names of two
// clients, and those of another class of JWT, cannot meet.
func checkAssertionClaims(c jose.Claims, client, own string, now time.Time) (once string, until time.Time, err error) {
	for _, name := range []string{"iss", "sub"} {
		if text, err := c.Text(name); err != nil || text != client {
			return "", until, fmt.Errorf("%s is not the client", name)
		}
	}
	aud, err := c.Texts("aud")
	if err != nil {
		return "", until, err
	}
	// AS-CAUTH-05: the issuer alone. Whoever takes the URL of an endpoint, or
	// one of several, can be made to take an assertion for another server.
	if single, ok := oauth.SingleAudience(aud); !ok || single != own {
		return "", until, fmt.Errorf("aud is %.200q, not this issuer alone", aud)
	}
	if err := jose.CheckTimes(c, now, assertionSkew); err != nil {
		return "", until, err
	}
	exp, err := c.Time("exp")
	if err != nil || exp.Sub(now) > maxAssertionLife+assertionSkew {
		return "", until, fmt.Errorf("exp is more than %s away", maxAssertionLife)
	}
	jti, err := c.Text("jti")
	if err != nil || jti == "" || len(jti) > maxText {
		return "", until, errors.New("jti is missing or too long")
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", client, jti))
	return "client-assertion:" + hex.EncodeToString(sum[:]), exp.Add(assertionSkew + afterwards), nil
}
