package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"doorward/internal/oauth"
)

// defaultIdP is where the probe's identity provider listens: the same each
// time, so that it has to be trusted once.
const defaultIdP = "127.0.0.1:8099"

// provider is an identity provider that issues ID-JAGs, right ones and wrong
// ones. Its keys live as long as the run.
type provider struct {
	issuer string
	key    *ecdsa.PrivateKey // of its key set
	thief  *ecdsa.PrivateKey // of nobody's
	srv    *http.Server
}

const (
	goodKid  = "doorward-probe"
	thiefKid = "doorward-probe-thief"
	// otherPath makes a second issuer on the same host, which nobody trusts.
	otherPath = "/other"
)

func startProvider(address string) (*provider, error) {
	listen := address
	if listen == "" {
		listen = defaultIdP
	}
	l, err := net.Listen("tcp", listen)
	if err != nil && address == "" {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, err
	}
	p := &provider{issuer: "http://" + l.Addr().String()}
	for _, k := range []**ecdsa.PrivateKey{&p.key, &p.thief} {
		if *k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	p.srv = &http.Server{Handler: p.routes(), ReadHeaderTimeout: 5 * time.Second}
	go p.srv.Serve(l)
	return p, nil
}

func (p *provider) close() { p.srv.Close() }

func (p *provider) routes() http.Handler {
	mux := http.NewServeMux()
	document := func(path string, v any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	for _, path := range []string{"", otherPath} {
		meta := map[string]any{"issuer": p.issuer + path, "jwks_uri": p.issuer + path + "/jwks", "token_endpoint": p.issuer + path + "/token",
			"authorization_endpoint": p.issuer + path + "/authorize", "response_types_supported": []string{"code"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"}}
		document(oauth.WellKnownAS+path, meta)
		document(path+oauth.WellKnownOIDC, meta)
		document(path+"/jwks", map[string]any{"keys": []any{publicJWK(p.key, goodKid)}})
	}
	document("/thief", map[string]any{"keys": []any{publicJWK(p.thief, thiefKid)}})
	return mux
}

func publicJWK(k *ecdsa.PrivateKey, kid string) map[string]any {
	raw, err := k.PublicKey.Bytes()
	if err != nil {
		panic("probe: a P-256 key has no bytes: " + err.Error())
	}
	b := base64.RawURLEncoding
	return map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
		"x": b.EncodeToString(raw[1:33]), "y": b.EncodeToString(raw[33:])}
}

// jag is an ID-JAG, or a DPoP proof, in the making.
type jag struct {
	header, claims map[string]any
	key            *ecdsa.PrivateKey
	sign           func(input string) []byte // nil: ES256 with key
	last           string                    // as it was written last
}

// right is an ID-JAG that has everything right.
func (p *provider) right(s *session, c *registered) *jag {
	now := time.Now().Unix()
	j := &jag{key: p.key, header: map[string]any{"alg": "ES256", "kid": goodKid, "typ": oauth.TypIDJAG},
		claims: map[string]any{"iss": p.issuer, "sub": "doorward-probe", "aud": s.c.Issuer, "client_id": c.id, "jti": random(), "iat": now, "exp": now + 120}}
	if r := s.resource(); r != "" {
		j.claims["resource"] = r
	}
	if all := s.scopes(); len(all) > 0 {
		j.claims["scope"] = all[0]
	}
	return j
}

func (j *jag) String() string {
	part := func(m map[string]any) string {
		b, err := json.Marshal(m)
		if err != nil {
			panic("probe: claims: " + err.Error()) // strings and numbers of ours only
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := part(j.header) + "." + part(j.claims)
	sign := j.sign
	if sign == nil {
		sign = j.es256
	}
	j.last = input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
	return j.last
}

func (j *jag) es256(input string) []byte {
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, j.key, sum[:])
	if err != nil {
		panic("probe: signing: " + err.Error())
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

// hmacWith signs with the public key as if it were a shared secret.
func hmacWith(key *ecdsa.PrivateKey) func(string) []byte {
	return func(input string) []byte {
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			panic("probe: public key: " + err.Error())
		}
		m := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		m.Write([]byte(input))
		return m.Sum(nil)
	}
}

// present presents an ID-JAG as a client.
func (s *session) present(c *registered, j *jag, pairs ...string) (*answer, error) {
	text := j.String()
	s.wire.secret(text)
	form := url.Values{"grant_type": {oauth.JWTBearer}, "assertion": {text}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return s.token(c, form)
}

// keyPatience is how long a server may take until it has the provider's keys:
// one that asked for them while it was not there waits before it asks again.
const keyPatience = 40 * time.Second

// beTrusted starts the provider and makes sure that an ID-JAG of it that has
// everything right is redeemed.
func (s *session) beTrusted() error {
	if !contains(s.meta.list("grant_types_supported"), oauth.JWTBearer) && !contains(s.meta.list("authorization_grant_profiles_supported"), oauth.ProfileIDJAG) {
		return notHere("the server does not take ID-JAGs (grant_types_supported)")
	}
	s.untrusted = true // until shown otherwise
	if s.c.ClientID == "" || s.c.ClientSecret == "" {
		return errors.New("ID-JAGs need a client that an administrator registered for the jwt-bearer grant: give --client-id and --client-secret")
	}
	issuer, err := url.Parse(s.c.Issuer)
	if err != nil {
		return err
	}
	if !oauth.IsLoopbackHost(issuer.Host) {
		return errors.New("the probe's identity provider is on loopback, where a server elsewhere does not reach it: run the probe on the server's machine")
	}
	if s.idp, err = startProvider(s.c.IdPAddress); err != nil {
		return fmt.Errorf("the probe's identity provider does not start: %w", err)
	}
	if s.c.Trust != nil {
		s.c.Trust(s.idp.issuer)
	}
	c, err := s.client(confidentialRole)
	if err != nil {
		return err
	}
	for end := time.Now().Add(keyPatience); ; {
		a, err := s.present(c, s.idp.right(s, c))
		switch {
		case err != nil:
			return err
		case a.text("access_token") != "":
			s.untrusted = false
			return nil
		case a.text("error") != oauth.InvalidGrant || time.Now().After(end):
			return fmt.Errorf("an ID-JAG that has everything right is refused (%d %s): the server does not trust the probe's identity provider at %s, or the client may not use the jwt-bearer grant",
				a.status, a.text("error"), s.idp.issuer)
		}
		if !sleep(s.ctx, 4*time.Second) {
			return s.ctx.Err()
		}
	}
}

// Entry is what a configuration of `doorward serve` must have to take the
// ID-JAGs of the probe's identity provider, and the client that brings them.
// issuer "": the usual one.
func Entry(issuer, client string) string {
	if issuer == "" {
		issuer = "http://" + defaultIdP
	}
	if client == "" {
		client = "probe"
	}
	return "providers:\n  probe: {issuer: \"" + issuer + "\", id_jag: {}}\nclients:\n  registered:\n    " + client +
		": {secret: \"${PROBE_SECRET}\", redirect_uris: [\"http://127.0.0.1/callback\"]}\n"
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
