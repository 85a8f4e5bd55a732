package main

import (
	"net"
	"net/url"
	"time"

	"doorward/internal/oauth"
)

// defaultConfig is what holds without a configuration file: serve guards the
// built-in server, idp has nobody to send to; one local person, whose password
// the caller sets; nobody else is trusted.
func defaultConfig(r role) *Config {
	c := emptyConfig(r)
	c.People = map[string]PersonConfig{"admin": {}}
	if r == roleServe {
		c.Servers = map[string]ServerConfig{"sample": {
			Path: "/mcp", Run: runs{sample: true},
			Scopes:        map[string]string{"sample:read": "Ask the sample server who you are", "sample:write": "Write notes on the sample server"},
			DefaultScopes: []string{"sample:read"},
			Tools:         map[string][]string{"note": {"sample:write"}},
		}}
	}
	c.settle()
	return c
}

// emptyConfig has the defaults of an empty file. What follows from the url is
// left to settle.
func emptyConfig(r role) *Config {
	c := &Config{
		Version: 1, URL: "http://127.0.0.1:8080", Ops: "127.0.0.1:8081", Mode: "direct",
		Tokens: TokensConfig{
			Access:  AccessConfig{Default: 15 * time.Minute, IDJAG: time.Hour},
			Refresh: RefreshConfig{Idle: 168 * time.Hour, Max: 720 * time.Hour, Grace: time.Minute},
			Format:  "jwt", Alg: "ES256", DPoP: "optional", IDToken: time.Hour, IDJAG: 5 * time.Minute,
		},
		Clients: ClientsConfig{
			Known:        []string{"claude", "claude-code", "chatgpt", "vscode", "cursor"},
			Consent:      ConsentConfig{Known: "person", Others: "person"},
			Registration: RegistrationConfig{Total: 10000, Unused: 720 * time.Hour},
		},
		Limits:    LimitsConfig{Body: 1 << 20},
		Audit:     AuditConfig{Keep: 2160 * time.Hour},
		Telemetry: TelemetryConfig{Log: "info"},
		Keys:      KeysConfig{Rotate: 2160 * time.Hour},
		origin:    origin{role: r, where: map[string]mark{}, unread: map[string]bool{}, plain: map[string]bool{}},
	}
	if r == roleIdP {
		c.URL, c.Ops = "http://127.0.0.1:8090", "127.0.0.1:8091"
	}
	return c
}

// setDefaults fills a named entry before its keys are read.
func (p *ProviderConfig) setDefaults() {
	*p = ProviderConfig{Kind: "oidc", Account: oneOrMore{"sub"}, Accounts: "create", Groups: GroupsConfig{Claim: "groups"}}
}

func (s *SignInConfig) setDefaults() {
	*s = SignInConfig{Scopes: []string{"openid", "email", "profile"}, Recheck: time.Hour}
}

func (d *SCIMConfig) setDefaults() { *d = SCIMConfig{Attribute: "externalId"} }

func (j *IDJAGConfig) setDefaults() {
	*j = IDJAGConfig{MaxLifetime: 5 * time.Minute, Algs: []string{"ES256", "RS256", "PS256", "EdDSA"}, Replay: "auto"}
}

func (a *AudienceConfig) setDefaults() { *a = AudienceConfig{Subject: "sub"} }

// settle fills in what follows from other keys. It may be called again after
// URL has changed only if what follows from it is emptied with it (moveTo).
func (c *Config) settle() {
	if c.Listen == "" {
		c.Listen = c.defaultListen()
	}
	local := !c.public()
	if c.Clients.Others == "" {
		c.Clients.Others = "ask-admin"
		if local {
			c.Clients.Others = "allow"
		}
	}
	if c.Clients.Registration.Dynamic == "" {
		c.Clients.Registration.Dynamic = "limited"
		switch {
		case c.role == roleIdP:
			c.Clients.Registration.Dynamic = "off"
		case local:
			c.Clients.Registration.Dynamic = "open"
		}
	}
	c.Limits.settle(local)
	c.settleSeparate()
	c.settleExchanges()
	for name, p := range c.Providers {
		if p.Name == "" {
			p.Name = name
		}
		if p.Kind == "oauth" && p.SignIn != nil && !c.given("providers", name, "sign_in", "scopes") {
			p.SignIn.Scopes = nil
		}
		c.Providers[name] = p
	}
	for name, s := range c.Servers {
		if len(s.Scopes) == 0 {
			s.Scopes = map[string]string{name: "Use " + name}
		}
		if len(s.DefaultScopes) == 0 {
			s.DefaultScopes = []string{c.firstScope(name, s)}
		}
		c.Servers[name] = s
	}
}

// moveTo gives a configuration without a file another URL.
func (c *Config) moveTo(url string) {
	c.URL, c.Listen, c.Clients.Others, c.Clients.Registration.Dynamic = url, "", "", ""
	c.Limits = LimitsConfig{Body: c.Limits.Body}
}

// settle fills in the rates: none where only this machine can ask.
func (l *LimitsConfig) settle(local bool) {
	for _, f := range []struct {
		own   *rate
		usual rate
	}{{&l.Token, "100/s"}, {&l.Authorize, "20/s"}, {&l.Register, "20/h"}} {
		switch {
		case *f.own != "":
		case local:
			*f.own = "off"
		default:
			*f.own = f.usual
		}
	}
}

// firstScope is the one that stands first in the file.
func (c *Config) firstScope(server string, s ServerConfig) string {
	first := ""
	for scope := range s.Scopes {
		if first == "" || c.before([]string{"servers", server, "scopes", scope}, []string{"servers", server, "scopes", first}) {
			first = scope
		}
	}
	return first
}

func (c *Config) defaultListen() string {
	u, err := url.Parse(c.URL)
	if err == nil && u.Scheme == "http" && oauth.IsLoopbackHost(u.Host) {
		host, port := u.Hostname(), u.Port()
		if net.ParseIP(host) == nil {
			host = "127.0.0.1" // localhost and its subdomains
		}
		if port == "" {
			port = "80"
		}
		return net.JoinHostPort(host, port)
	}
	if c.role == roleIdP {
		return "127.0.0.1:8090"
	}
	return "127.0.0.1:8080"
}

// public reports whether people elsewhere can reach it, as far as the
// configuration says.
func (c *Config) public() bool {
	u, err := url.Parse(c.URL)
	return err != nil || !oauth.IsLoopbackHost(u.Host) || !isLoopbackListen(c.Listen) || c.Ops != "" && !isLoopbackListen(c.Ops)
}

func isLoopbackListen(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || ip == nil && oauth.IsLoopbackHost(host)
}
