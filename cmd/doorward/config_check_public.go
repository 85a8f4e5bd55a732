package main

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"doorward/internal/login"
)

// exposure refuses what must not be where others can reach it. On loopback some
// of it is a warning.
func (k *checker) exposure() {
	if !k.public() {
		for _, name := range sortedNames(k.People) {
			if reason := k.weakness(name); reason != "" {
				k.warn(pathOf("people", name, "password"), "%s: fine for trying things out, refused on a server that is not on loopback", reason)
			}
		}
		return
	}
	if isLoopbackURL(k.URL) {
		k.loopbackListeners()
	}
	if strings.HasPrefix(k.URL, "http:") {
		k.refuse(pathOf("url"), "http: anybody on the way could read passwords and tokens; use https")
	}
	for _, name := range sortedNames(k.People) {
		if reason := k.weakness(name); reason != "" {
			k.refuse(pathOf("people", name, "password"), "%s", reason)
		}
	}
	if k.Database == "sqlite::memory:" {
		k.refuse(pathOf("database"), "sqlite::memory: loses every grant and key at the end of the process")
	}
	if k.Clients.Others == "allow" {
		k.refuse(pathOf("clients", "others"), "allow: any program that somebody registers could ask your people for consent; write ask-admin or refuse")
	}
	if k.Clients.Registration.Dynamic == "open" {
		k.refuse(pathOf("clients", "registration", "dynamic"), "open: strangers could register clients without limit; write limited or off")
	}
	for _, id := range sortedNames(k.Clients.Registered) {
		if s := k.Clients.Registered[id].Secret; s != "" && utf8.RuneCountInString(string(s)) < shortestSecret {
			k.refuse(pathOf("clients", "registered", id, "secret"), "has fewer than %d characters: it could be guessed (openssl rand -hex 32 makes one)", shortestSecret)
		}
	}
	for _, name := range sortedNames(k.Servers) {
		if len(k.Servers[name].Allow) == 0 && !k.broken(pathOf("servers", name, "allow")) {
			k.warn(pathOf("servers", name), "has no allow rule: nobody gets in")
		}
	}
	k.everybodyOnEarth()
}

// shortestSecret is the least length of a client's secret, in characters.
const shortestSecret = 16

// refuse is an error, or with insecure_public a warning at every start.
func (k *checker) refuse(p keyPath, format string, args ...any) {
	if k.InsecurePublic {
		k.warn(p, format+" (insecure_public lets it pass)", args...)
		return
	}
	k.fail(p, format, args...)
}

func (k *checker) loopbackListeners() {
	for key, address := range map[string]string{"listen": k.Listen, "ops": k.Ops} {
		if address != "" && !isLoopbackListen(address) {
			k.refuse(pathOf(key), "%s can be reached from elsewhere, and url is a loopback one: listen on 127.0.0.1, or give the public https url", address)
		}
	}
}

// weakness says why a person's password may not stand on a server for others.
func (k *checker) weakness(person string) string {
	pw := string(k.People[person].Password)
	if pw == "" || login.IsHash(pw) {
		return ""
	}
	if k.plain[pathOf("people", person, "password").key()] {
		return "is plain text in the file: write ${NAME}, file:PATH or an argon2id hash"
	}
	if reason := login.Weak(pw); reason != "" {
		return "is weak: " + reason
	}
	return ""
}

// everybodyOnEarth refuses an allow for everyone beside a provider at which
// anybody can have an account.
func (k *checker) everybodyOnEarth() {
	var wide []string
	if worldwide(k.home()) {
		wide = append(wide, "separate")
	}
	for _, name := range sortedNames(k.Providers) {
		p := k.Providers[name]
		if worldwide(p.where()) && len(p.Tenants) == 0 && (p.IDJAG != nil || p.SignIn != nil || k.given("providers", name, "sign_in")) {
			wide = append(wide, "providers."+name)
		}
	}
	for _, name := range sortedNames(k.Servers) {
		for i, r := range k.Servers[name].Allow {
			for j, who := range r.Who {
				if issuer, of := strings.CutPrefix(who, "issuer:"); of && !strings.Contains(issuer, "#") && worldwide(issuer) {
					k.refuse(pathOf("servers", name, "allow", index(i), "who", index(j)),
						"%s is everybody on earth: anybody can have an account there; name people (issuer:URL#SUB)", who)
				}
			}
		}
	}
	if len(wide) == 0 {
		return
	}
	for _, name := range sortedNames(k.Servers) {
		for i, r := range k.Servers[name].Allow {
			if j := slices.Index(r.Who, "everyone"); j >= 0 {
				k.refuse(pathOf("servers", name, "allow", index(i), "who", index(j)),
					"everyone is everybody on earth: anybody can have an account at %s; name groups or people, or its tenants", wide[0])
			}
		}
	}
	for _, name := range sortedNames(k.Audiences) {
		for i, r := range k.Audiences[name].Allow {
			if j := slices.Index(r.Who, "everyone"); j >= 0 {
				k.refuse(pathOf("audiences", name, "allow", index(i), "who", index(j)),
					"everyone is everybody on earth: anybody can have an account at %s; name groups or people, or its tenants", wide[0])
			}
		}
	}
}

// worldHosts are issuers where anybody can have an account; worldTenants are
// the shared tenants of Microsoft Entra ID (the last is that of personal
// accounts).
var (
	worldHosts   = []string{"accounts.google.com", "appleid.apple.com", "github.com", "gitlab.com", "bitbucket.org", "www.facebook.com", "www.linkedin.com", "api.login.yahoo.com", "id.twitch.tv", "discord.com", "login.salesforce.com", "auth.openai.com", "huggingface.co"}
	worldTenants = []string{"common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"}
)

func worldwide(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	if slices.Contains(worldHosts, host) {
		return true
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	microsoft := host == "login.microsoftonline.com" || host == "sts.windows.net" || host == "login.microsoftonline.us"
	return microsoft && slices.Contains(worldTenants, strings.ToLower(tenant))
}
