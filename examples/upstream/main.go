// Command upstream is a server behind `doorward serve` that knows who calls: it
// checks the JWT that credential: caller-jwt sends, and does no OAuth.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func main() {
	// ISSUER is url of the gateway's file, UPSTREAM what stands in upstream there.
	c := &callers{issuer: os.Getenv("ISSUER"), audience: os.Getenv("UPSTREAM")}
	log.Fatal(http.ListenAndServe("127.0.0.1:3001", c.handler()))
}

// handler is the server; in place of this one your MCP server's.
func (c *callers) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := c.check(r.Context(), r.Header.Get("Authorization"))
		if err != nil {
			log.Print("not from the gateway: ", err)
			http.Error(w, "not from the gateway", http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "files of %s, for the client %s", who.Subject, who.Client)
	})
}

// caller is what the statement says, of that what is needed here.
type caller struct {
	jwt.Claims
	Client string `json:"client_id"`
	Scope  string `json:"scope"`
}

// callers checks statements of one gateway for one server.
type callers struct {
	issuer, audience string

	mu      sync.Mutex
	keys    jose.JSONWebKeySet
	fetched time.Time
}

func (c *callers) check(ctx context.Context, authorization string) (caller, error) {
	var who caller
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok {
		return who, errors.New("there is no statement")
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return who, err
	}
	header := parsed.Headers[0]
	if header.ExtraHeaders[jose.HeaderType] != "caller+jwt" {
		return who, errors.New("it is a JWT of another kind")
	}
	key, err := c.key(ctx, header.KeyID)
	if err != nil {
		return who, err
	}
	if err := parsed.Claims(key, &who); err != nil {
		return who, err
	}
	if who.Expiry == nil || who.Subject == "" {
		return who, errors.New("it lacks exp or sub")
	}
	want := jwt.Expected{Issuer: c.issuer, AnyAudience: jwt.Audience{c.audience}, Time: time.Now()}
	return who, who.ValidateWithLeeway(want, 30*time.Second)
}

// key is the issuer's key of that id. One that is not known may be new; the set
// is fetched again for that, once a minute at most.
func (c *callers) key(ctx context.Context, id string) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if keys := c.keys.Key(id); len(keys) == 1 {
		return keys[0].Key, nil
	}
	if time.Since(c.fetched) < time.Minute {
		return nil, fmt.Errorf("no key %q", id)
	}
	c.fetched = time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.issuer+"/jwks", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&set); err != nil {
		return nil, err
	}
	c.keys = set
	keys := set.Key(id)
	if len(keys) != 1 {
		return nil, fmt.Errorf("no key %q", id)
	}
	return keys[0].Key, nil
}
