package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"doorward"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// The second half of the demo: another company with an identity provider of its
// own, where somebody has the same sub and the same e-mail address as Alice.

// employer is where somebody of the demo signs in.
type employer struct {
	name   string // of the provider in the server's file
	idp    string // issuer
	secret string // of the client desktop-idp there
	to     string // as the lines call its identity provider
}

func (d *demo) corp() employer { return employer{"corp", d.idp, d.secrets["IDP_SECRET"], "IdP"} }

func (d *demo) partner() employer {
	return employer{"partner", d.partnerIdP, d.secrets["PARTNER_SECRET"], "its IdP"}
}

// partnersAlice is what the lines call her.
const partnersAlice = "Alice@partner"

func (d *demo) partnerYAML(main net.Listener) string {
	return fmt.Sprintf(`# Another company's identity provider.
version: 1
url: %s
listen: %s
ops: ""
state: %s
telemetry: {log: error}
people:
  alice: {email: alice@example.com, groups: [eng], password: "${PARTNERS_ALICE}"}
clients:
  registered:
    desktop-idp: {name: Desktop, secret: "${PARTNER_SECRET}", redirect_uris: ["http://127.0.0.1/callback"]}
audiences:
  %s:
    resources: ["%s/mcp"]
    client_ids: {desktop-idp: desktop}
    claims: [email]
    allow: [{who: "group:eng", resources: ["*"], scopes: ["*"]}]
    deny: []
`, d.partnerIdP, main.Addr(), filepath.ToSlash(filepath.Join(d.dir, "partner")), d.server, d.server)
}

// atPartner is what stands before the doors of the second identity provider.
func (d *demo) atPartner(part string, h http.Handler) http.Handler {
	if d.wrap == nil {
		return h
	}
	return d.wrap("partner "+part, h)
}

// twoCompanies shows that the other Alice is another person, that a rule of one
// company counts at the next exchange there, and that the off switch of one
// company's issuer leaves the other's people alone. first is Alice's ID-JAG.
func (w *walker) twoCompanies(ctx context.Context, first map[string]any) error {
	alice, token, err := w.isSomebodyElse(ctx, first)
	if err != nil {
		return err
	}
	carol, err := w.signsIn(ctx, "Carol", "carol", w.secrets["CAROL"], w.corp())
	if err != nil {
		return err
	}
	carols := w.transport("Carol's client", w.corp(), carol)
	if err := w.getsThrough(ctx, "Carol's client", carols, "corp/carol"); err != nil {
		return err
	}
	if err := w.ruleChanges(ctx, alice); err != nil {
		return err
	}
	return w.issuerEnds(ctx, token, carols)
}

// isSomebodyElse signs in the other Alice, whom the same words name, after the
// first one left.
func (w *walker) isSomebodyElse(ctx context.Context, first map[string]any) (tok idToken, token string, err error) {
	at := w.partner()
	if tok, err = w.signsIn(ctx, partnersAlice, "alice", w.secrets["PARTNERS_ALICE"], at); err != nil {
		return tok, "", err
	}
	start := w.wire.len()
	cctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	session, result, cause := w.call(cctx, w.transport(partnersAlice, at, tok))
	if session != nil {
		defer session.Close()
	}
	resource := w.server + "/mcp"
	x := first1(w.wire.find(start, exchangeAt(at.idp)))
	if err := w.step(partnersAlice, at.to, "the ID-JAG exchange", x, cause, func(x *exchange) (string, map[string]any, error) {
		_, claims, err := w.checkExchange(x, resource)
		switch {
		case err != nil:
			return "", nil, err
		case claims["sub"] != first["sub"] || claims["email"] != first["email"] || claims["iss"] == first["iss"]:
			return "", nil, fmt.Errorf("it is of sub=%v email=%v iss=%v, and not of the same name and address at another company", claims["sub"], claims["email"], claims["iss"])
		}
		return fmt.Sprintf("ID token → ID-JAG: the same sub=%v email=%v, iss=%v", claims["sub"], claims["email"], claims["iss"]), claims, nil
	}); err != nil {
		return tok, "", err
	}
	x = first1(w.wire.find(start, redemptionAt(w.server)))
	if err := w.step(partnersAlice, "Doorward", "the ID-JAG redemption", x, cause, func(x *exchange) (what string, claims map[string]any, err error) {
		token, _, claims, err = w.checkRedemption(x, resource, at.name)
		if err == nil && claims["sub"] != "partner/alice" {
			err = fmt.Errorf("the token is of %v", claims["sub"])
		}
		return fmt.Sprintf("ID-JAG → token: sub=%v, not the one who left", claims["sub"]), claims, err
	}); err != nil {
		return tok, "", err
	}
	x = last(w.wire.find(start, func(x *exchange) bool { return x.rpcMethod() == "tools/call" }))
	return tok, token, w.step(partnersAlice, "MCP server", "tools/call whoami", x, cause, func(x *exchange) (string, map[string]any, error) {
		return checkCall(x, result, cause, "partner/alice")
	})
}

// getsThrough calls the tool as somebody; one line.
func (w *walker) getsThrough(ctx context.Context, from string, t *doorward.Transport, account string) error {
	start := w.wire.len()
	cctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	session, result, cause := w.call(cctx, t)
	if session != nil {
		defer session.Close()
	}
	x := last(w.wire.find(start, func(x *exchange) bool { return x.rpcMethod() == "tools/call" }))
	return w.step(from, "MCP server", "tools/call whoami", x, cause, func(x *exchange) (string, map[string]any, error) {
		return checkCall(x, result, cause, account)
	})
}

// ruleChanges writes a deny rule into the file of the other company, as its
// administrator does, and asks for one more ID-JAG there.
func (w *walker) ruleChanges(ctx context.Context, tok idToken) error {
	at := w.partner()
	changed := strings.Replace(w.partnerFile, "deny: []", `deny: [{who: "person:alice"}]`, 1)
	cause := w.changePartner(changed)
	start := w.wire.len()
	if cause == nil {
		cctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		session, _, err := w.call(cctx, w.transport(partnersAlice, at, tok))
		if session != nil {
			session.Close()
		}
		cause = err
	}
	x := last(w.wire.find(start, exchangeAt(at.idp)))
	return w.step(partnersAlice, at.to, "the ID-JAG exchange under a new rule", x, cause, func(x *exchange) (string, map[string]any, error) {
		code, description, err := w.refusedByRule(x, cause)
		return "a new rule counts at once, no ID-JAG: " + code + ", " + description, map[string]any{"error": code, "error_description": description}, err
	})
}

// issuerEnds is `doorward revoke issuer:partner --state …`: what came of that
// company ends, and the other's people go on.
func (w *walker) issuerEnds(ctx context.Context, token string, carols *doorward.Transport) error {
	var r receipt
	start := w.wire.len()
	err := w.administers(ctx, "revoke", revokeIn{What: ledger.Which{Issuer: "partner"}, Name: "issuer:partner"}, &r)
	x := last(w.wire.find(start, func(x *exchange) bool { return x.url.Path == "/revoke" }))
	if err := w.step("administrator", "Doorward", "revoke issuer:partner", x, err, func(*exchange) (string, map[string]any, error) {
		switch {
		case err != nil:
			return "", nil, err
		case len(r.Grants) != 1 || r.Grants[0].Person != "partner/alice":
			return "", nil, fmt.Errorf("it ended %+v, and there is one grant of partner/alice", r.Grants)
		}
		return fmt.Sprintf("revoke issuer:partner: %s ended", count(len(r.Grants), "grant")), map[string]any{"grants": r.Grants, "took_ms": r.TookMS}, nil
	}); err != nil {
		return err
	}
	if err := w.tokenIsOver(ctx, partnersAlice, token); err != nil {
		return err
	}
	return w.getsThrough(ctx, "Carol's client", carols, "corp/carol")
}

// tokenIsOver shows a token that somebody held to the door once more.
func (w *walker) tokenIsOver(ctx context.Context, from, token string) error {
	x, err := w.withToken(ctx, token)
	return w.step(from, "Doorward", "her token", x, err, func(x *exchange) (string, map[string]any, error) {
		if err := wantStatus(x, 401); err != nil {
			return "", nil, err
		}
		ch := oauth.ParseChallenges(x.answer.Values("WWW-Authenticate"))
		if len(ch) == 0 || ch[0].Params["error"] != oauth.InvalidToken {
			return "", nil, errors.New("refused, but not as invalid_token")
		}
		return "her token is refused: " + oauth.InvalidToken, map[string]any{"error": oauth.InvalidToken}, nil
	})
}
