package doctor

import (
	"fmt"
	"slices"

	"doorward/internal/oauth"
)

// hosted is whether clients in somebody else's cloud can come here. On
// loopback nobody expects that.
func (w *walk) hosted() bool {
	var here, inside, outside, four bool
	for _, a := range w.addrs {
		here = here || a.IsLoopback()
		outside = outside || public(a)
		inside = inside || !public(a) && !a.IsLoopback()
		four = four || a.Is4()
	}
	switch {
	case here && !outside && !inside:
		return w.ok("hosted", "on loopback: for clients on this machine")
	case !outside:
		return w.warn("hosted", problem{saw: list(texts(w.addrs)) + ": not reachable from outside this network",
			mend: "Clients on this network can use it. For hosted ones (Claude, ChatGPT) give it a public address, or a tunnel, and let their address ranges through the firewall."})
	case inside || here:
		return w.warn("hosted", problem{saw: "public and private addresses for one name: " + list(texts(w.addrs)), mend: "Publish only the public ones to the world: clients that guard against private addresses refuse the name."})
	case w.port() != "443":
		return w.warn("hosted", problem{saw: "port " + w.port(), mend: "Listen on 443: Claude connects to no other port, and others' firewalls often let no other out."})
	case !four:
		return w.warn("hosted", problem{saw: "IPv6 addresses only", mend: "Add an IPv4 address: several hosted clients have no IPv6."})
	}
	return w.ok("hosted", "public address, port 443")
}

// callbacks are what is registered by hand for hosted clients (the catalogue of
// known clients).
func callbacks(iss bool) string {
	chatgpt := "https://chatgpt.com/connector/oauth/{id}"
	if iss {
		chatgpt = "https://chatgpt.com/connector_platform_oauth_redirect"
	}
	return "https://claude.ai/api/mcp/auth_callback, https://claude.com/api/mcp/auth_callback, " + chatgpt
}

// clients is which of the common clients find a way to be known.
func (w *walk) clients() bool {
	m := w.server
	none := slices.Contains(m.TokenEndpointAuthMethodsSupported, oauth.AuthNone)
	registers := m.RegistrationEndpoint != "" && !w.found("registration_endpoint")
	post := slices.Contains(m.TokenEndpointAuthMethodsSupported, oauth.AuthPost)
	switch {
	case m.AuthorizationEndpoint == "":
		return w.ok("clients", "programs only: nobody signs in by the browser")
	case m.ClientIDMetadataDocument && none:
		return w.ok("clients", "by metadata documents")
	case registers && (none || post || len(m.TokenEndpointAuthMethodsSupported) == 0):
		return w.ok("clients", "by registration")
	case registers:
		return w.warn("clients", problem{saw: "clients may register, with " + list(m.TokenEndpointAuthMethodsSupported) + " only",
			mend: "List none and client_secret_post, too: Claude, VS Code and Cursor register as public clients, and a secret that is typed in goes in the body."})
	case m.ClientIDMetadataDocument:
		return w.ok("clients", "by metadata documents, if they authenticate")
	}
	return w.ok("clients", fmt.Sprintf("by hand; redirect URIs of hosted ones: %s", callbacks(m.AuthorizationResponseIss)))
}
