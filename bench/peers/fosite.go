package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"sync"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/storage"
	"github.com/ory/fosite/token/jwt"
)

const secret = "a-secret-of-the-bench-0123456789"

// digests compares secrets by their SHA-256, as Doorward does: with fosite's own
// bcrypt (cost 12) nothing else would be seen.
type digests struct{}

// Hash is fosite.Hasher.
func (digests) Hash(_ context.Context, data []byte) ([]byte, error) {
	sum := sha256.Sum256(data)
	return sum[:], nil
}

// Compare is fosite.Hasher.
func (digests) Compare(_ context.Context, hash, data []byte) error {
	if sum := sha256.Sum256(data); subtle.ConstantTimeCompare(sum[:], hash) != 1 {
		return fosite.ErrInvalidClient
	}
	return nil
}

// store is fosite's own store in memory, with the clients of the bench and the
// key of one issuer of ID-JAGs.
func store(base, issuer string, key *jose.JSONWebKey) *memory {
	hash := sha256.Sum256([]byte(secret))
	m := storage.NewMemoryStore()
	for _, c := range []*fosite.DefaultClient{
		{ID: "agent", GrantTypes: []string{"client_credentials"}},
		{ID: "api"},
		{ID: "desktop", GrantTypes: []string{"authorization_code", "refresh_token", string(fosite.GrantTypeJWTBearer)},
			ResponseTypes: []string{"code"}, RedirectURIs: []string{"http://127.0.0.1/callback"}},
	} {
		c.Secret, c.Scopes, c.Audience = hash[:], []string{"use"}, []string{base + "/mcp"}
		m.Clients[c.ID] = c
	}
	m.IssuerPublicKeys[issuer] = storage.IssuerPublicKeys{Issuer: issuer, KeysBySub: map[string]storage.SubjectPublicKeys{
		"alice": {Subject: "alice", Keys: map[string]storage.PublicKeyScopes{key.KeyID: {Key: key, Scopes: []string{"use"}}}},
	}}
	return &memory{MemoryStore: m}
}

// memory is fosite's store with a lock that it lacks: in v0.49.0 its
// RevokeRefreshToken writes a map that others are reading, which ends the program.
type memory struct {
	*storage.MemoryStore
	refresh sync.RWMutex
}

func (m *memory) CreateRefreshTokenSession(ctx context.Context, signature, access string, req fosite.Requester) error {
	m.refresh.Lock()
	defer m.refresh.Unlock()
	return m.MemoryStore.CreateRefreshTokenSession(ctx, signature, access, req)
}

func (m *memory) GetRefreshTokenSession(ctx context.Context, signature string, s fosite.Session) (fosite.Requester, error) {
	m.refresh.RLock()
	defer m.refresh.RUnlock()
	return m.MemoryStore.GetRefreshTokenSession(ctx, signature, s)
}

func (m *memory) RevokeRefreshToken(ctx context.Context, request string) error {
	m.refresh.Lock()
	defer m.refresh.Unlock()
	return m.MemoryStore.RevokeRefreshToken(ctx, request)
}

func (m *memory) RotateRefreshToken(ctx context.Context, request, signature string) error {
	m.refresh.Lock()
	defer m.refresh.Unlock()
	return m.MemoryStore.RotateRefreshToken(ctx, request, signature)
}

// server is the handlers that fosite leaves to its user.
type server struct {
	base  string
	oauth fosite.OAuth2Provider
}

func newServer(base string, key *ecdsa.PrivateKey, db *memory) *server {
	config := &fosite.Config{
		GlobalSecret:        []byte("0123456789abcdef0123456789abcdef"),
		ClientSecretsHasher: digests{},
		AccessTokenIssuer:   base,
		TokenURL:            base, // the audience of ID-JAGs
		RefreshTokenScopes:  []string{},
		EnforcePKCE:         true,
		JWTScopeClaimKey:    jwt.JWTScopeFieldString,
	}
	signer := func(context.Context) (any, error) { return key, nil }
	return &server{base, compose.Compose(config, db, compose.NewOAuth2JWTStrategy(signer, compose.NewOAuth2HMACStrategy(config), config),
		compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2PKCEFactory, compose.OAuth2RefreshTokenGrantFactory,
		compose.OAuth2ClientCredentialsGrantFactory, compose.RFC7523AssertionGrantFactory, compose.OAuth2TokenIntrospectionFactory)}
}

// session is what a token says of its subject.
func session(subject string) *oauth2.JWTSession {
	return &oauth2.JWTSession{Subject: subject, JWTClaims: &jwt.JWTClaims{Subject: subject},
		JWTHeader: &jwt.Headers{Extra: map[string]any{"kid": "3q2-7wAAAAAAAAAAAAAAAA3q2-7wAAAAAAAAAAAAAAAA", "typ": "at+jwt"}}}
}

// authorize lets everybody in as alice, who consents to everything: who is at
// the browser is none of fosite's business.
func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ask, err := s.oauth.NewAuthorizeRequest(ctx, r)
	if err != nil {
		s.oauth.WriteAuthorizeError(ctx, w, ask, err)
		return
	}
	ask.GrantScope("use")
	ask.GrantAudience(s.base + "/mcp")
	answer, err := s.oauth.NewAuthorizeResponse(ctx, ask, session("alice"))
	if err != nil {
		s.oauth.WriteAuthorizeError(ctx, w, ask, err)
		return
	}
	s.oauth.WriteAuthorizeResponse(ctx, w, ask, answer)
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	own := session("agent")
	ask, err := s.oauth.NewAccessRequest(ctx, r, own)
	if err != nil {
		s.oauth.WriteAccessError(ctx, w, ask, err)
		return
	}
	if grants := ask.GetGrantTypes(); !grants.Has("authorization_code") && !grants.Has("refresh_token") { // they bring theirs
		own.JWTClaims.Subject = own.Subject // that of an ID-JAG
		ask.GrantScope("use")
		ask.GrantAudience(s.base + "/mcp")
	}
	answer, err := s.oauth.NewAccessResponse(ctx, ask)
	if err != nil {
		s.oauth.WriteAccessError(ctx, w, ask, err)
		return
	}
	s.oauth.WriteAccessResponse(ctx, w, ask, answer)
}

func (s *server) introspect(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	answer, err := s.oauth.NewIntrospectionRequest(ctx, r, session(""))
	if err != nil {
		s.oauth.WriteIntrospectionError(ctx, w, err)
		return
	}
	s.oauth.WriteIntrospectionResponse(ctx, w, answer)
}
