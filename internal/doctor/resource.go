package doctor

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// resourceMetadata looks where clients look: where the challenge says, else at
// the path-inserted place, else at the root.
func (w *walk) resourceMetadata() bool {
	origin := w.url.Scheme + "://" + w.url.Host
	inserted, err := oauth.ResourceMetadataURL(origin + w.url.EscapedPath())
	if err != nil {
		return w.fail("resource_metadata", problem{saw: err.Error(), mend: "Give the server an address that can be a resource identifier."})
	}
	named := w.challenge["resource_metadata"]
	var places, wrong []string
	if named != "" {
		places = append(places, named)
	}
	if w.url.RawQuery != "" { // RFC 9728 section 3.1 keeps it
		places = append(places, inserted+"?"+w.url.RawQuery)
	}
	places = append(places, inserted, origin+oauth.WellKnownPRM)
	seen := map[string]bool{}
	for _, place := range places {
		if seen[place] {
			continue
		}
		seen[place] = true
		var m oauth.ResourceMetadata
		d := w.get(place, &m)
		if d.wrong != "" {
			wrong = append(wrong, d.wrong)
		}
		if d.there() {
			if len(w.documents) == 0 {
				w.resource = m
			}
			w.documents = append(w.documents, d)
		}
		if place == named && d.wrong != "" {
			return w.fail("resource_metadata", problem{saw: "the challenge names " + strings.TrimSuffix(d.wrong, "\n"), mend: namedWrong(named, inserted, w.url.Host)})
		}
	}
	return w.resourceForms(named, inserted, wrong)
}

// namedWrong is what to do where the place in the challenge is no good.
func namedWrong(named, inserted, host string) string {
	u, err := url.Parse(named)
	switch {
	case err != nil || u.Host == "":
		return "Name a whole URL there: " + inserted
	case u.Host != host:
		return "Name the public address of the document, " + inserted + ": behind a proxy the server has to be told its own."
	}
	return "Serve the document there, as JSON, to whoever asks, without a token and without a redirect."
}

func (w *walk) resourceForms(named, inserted string, wrong []string) bool {
	if len(w.documents) == 0 {
		mend := "Serve the resource's metadata at " + inserted + " and name it in the challenge."
		if slices.ContainsFunc(wrong, func(s string) bool { return strings.HasSuffix(s, "status 401") || strings.HasSuffix(s, "status 403") }) {
			mend = "Let everybody read the metadata without a token: exempt /.well-known/ from the check."
		}
		return w.fail("resource_metadata", problem{saw: "none: " + list(wrong), mend: mend})
	}
	first := w.documents[0]
	if first.wrong != "" {
		return w.fail("resource_metadata", problem{saw: first.wrong, mend: "Publish the members in the types that RFC 9728 section 2 gives them."})
	}
	if t := first.answer.header.Get("Content-Type"); !strings.HasPrefix(t, "application/json") {
		return w.warn("resource_metadata", problem{saw: fmt.Sprintf("%s is of type %q", first.place, t), mend: "Send it as application/json: some clients read nothing else."})
	}
	atPlace := slices.ContainsFunc(w.documents, func(d document) bool { place, _, _ := strings.Cut(d.place, "?"); return place == inserted })
	switch {
	case !atPlace:
		return w.warn("resource_metadata", problem{saw: "at " + first.place + ", but not at " + inserted, mend: "Serve it at the well-known place too: some clients look only there."})
	case named == "" && len(w.url.Path) > 1 && len(w.documents) == 1:
		return w.ok("resource_metadata", inserted)
	}
	for _, d := range w.documents[1:] {
		if d.place == inserted && string(d.raw["authorization_servers"]) != string(first.raw["authorization_servers"]) {
			return w.warn("resource_metadata", problem{saw: first.place + " and " + d.place + " name different authorization servers",
				mend: "Publish one document: it depends on the client which of them it reads."})
		}
	}
	return w.ok("resource_metadata", first.place)
}

func (w *walk) resourceCovers() bool {
	asked := w.url.Scheme + "://" + w.url.Host + w.url.EscapedPath()
	got := w.resource.Resource
	p := problem{saw: fmt.Sprintf("it is for %q, and clients call %q", got, asked)}
	switch u, err := url.Parse(got); {
	case got == asked, w.url.RawQuery != "" && got == asked+"?"+w.url.RawQuery:
		return w.ok("resource", got)
	case got != "" && w.Client != nil && w.Client.Resource == got:
		return w.ok("resource", got+", as you said")
	case got == "":
		p.saw, p.mend = "resource is missing", "Publish as resource exactly the address that clients call: "+asked
	case oauth.ResourceCovers(got, w.report.URL):
		p.mend = "Publish exactly the address that clients call: some compare letter by letter (the Go SDK, VS Code), a slash at the end included. If you wrote the address differently from what clients get, use theirs."
		return w.warn("resource", p)
	case err == nil && u.Scheme == "http" && w.url.Scheme == "https":
		p.mend = "Tell the server that its public address is https: the proxy ends TLS, and the server believes that it is http (X-Forwarded-Proto, or its own setting)."
	case err == nil && strings.EqualFold(u.Host, w.url.Host):
		p.mend = "Publish as resource exactly the address that clients call. If this server has several paths, each has a document of its own, at its own well-known place."
	default:
		p.mend = "Publish as resource exactly the address that clients call; behind a proxy, the public one: the server has to be told it."
	}
	return w.fail("resource", p)
}

func (w *walk) authorizationServer() bool {
	mend := "List the issuer identifier under authorization_servers: https, without query and fragment."
	all := w.resource.AuthorizationServers
	if len(all) == 0 {
		return w.fail("authorization_servers", problem{saw: "authorization_servers is empty or missing", mend: mend})
	}
	w.issuer = all[0]
	if cross, ok := w.enterpriseFlow(); ok && slices.Contains(all, cross.Server.Issuer) {
		w.issuer = cross.Server.Issuer
	}
	if err := oauth.CheckIssuer(w.issuer); err != nil {
		if strings.Contains(w.issuer, "/.well-known/") {
			mend = "List the issuer itself there, not the address of its metadata."
		} else if strings.HasPrefix(w.issuer, "http:") {
			mend += " Behind a proxy that ends TLS the server has to be told its public address."
		}
		return w.fail("authorization_servers", problem{saw: err.Error(), mend: mend})
	}
	u, err := url.Parse(w.issuer)
	switch {
	case err != nil:
		return w.fail("authorization_servers", problem{saw: err.Error(), mend: mend})
	case strings.Contains(u.Path, "/.well-known/"):
		return w.fail("authorization_servers", problem{saw: w.issuer, mend: "List the issuer itself there, not the address of its metadata."})
	case oauth.IsLoopbackHost(u.Host) && !w.addrs[0].IsLoopback():
		return w.fail("authorization_servers", problem{saw: w.issuer + ", which is every client's own machine",
			mend: "List the public address of the authorization server; behind a proxy the server has to be told it."})
	}
	return w.ok("authorization_servers", list(all))
}

// scopes compares the scopes that are asked for with those that there are.
func (w *walk) scopes() bool {
	asked, err := oauth.ParseScope(w.challenge["scope"])
	if err != nil {
		return w.warn("scopes", problem{saw: fmt.Sprintf("scope=%q in the challenge", w.challenge["scope"]), mend: "Separate scopes by single spaces; commas and quotes cannot stand in them."})
	}
	if slices.ContainsFunc(w.resource.ScopesSupported, func(s string) bool { return strings.Contains(s, " ") }) {
		return w.warn("scopes", problem{saw: "scopes_supported has several scopes in one string: " + list(w.resource.ScopesSupported), mend: "Make each scope an element of its own."})
	}
	if slices.Contains(asked, "offline_access") || slices.Contains(w.resource.ScopesSupported, "offline_access") {
		return w.warn("scopes", problem{saw: "offline_access is asked for by the MCP server", mend: "Leave it out of the challenge and of the resource metadata: refresh tokens are between client and authorization server."})
	}
	if len(asked) == 0 {
		return w.ok("scopes", list(w.resource.ScopesSupported))
	}
	return w.ok("scopes", "asked for: "+asked.String())
}
