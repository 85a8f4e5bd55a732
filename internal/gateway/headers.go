package gateway

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Headers of a request that stay here: credentials, what belongs to this hop,
// what proxies tell servers about a caller, and what we set ourselves.
var (
	keptBack = set(
		"Authorization", "Dpop", "Cookie", "Cookie2",
		"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Content-Length", "Accept-Encoding",
		"Origin", "Referer", // checked here; the upstream would compare with its own
		"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip",
		"Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name", "X-Remote-User", "X-Remote-Group", "X-Remote-Groups",
		"X-Rewrite-Url", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Arr-Clientcert", sessionHeader, eventHeader,
	)
	keptBackPrefixes = []string{
		"Doorward-", "Proxy-", "X-Forwarded-", "X-Original-", "Sec-", "Access-Control-",
		"Client-Cert", "X-Client-Cert", "X-Client-Verify", "X-Client-Dn", "X-Ssl-", "Ssl-", "X-Tls-", "X-Amzn-Mtls-",
		"X-Auth-Request-", "X-Webauth-", "X-Amzn-Oidc-", "X-Goog-Iap-", "X-Goog-Authenticated-User-", "X-Ms-Client-Principal",
		"X-Ms-Token-", "Cf-Access-", "X-Pomerium-", "X-Authentik-", "Tailscale-User-",
	}
	// sent is what nearly every request has and every upstream may see.
	sent = set("Accept", "Content-Type", "User-Agent", "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name")
	// answered is what an upstream may say to a caller; the origin is ours, and
	// other headers would speak for it (cookies, CORS, HSTS, Alt-Svc, …).
	answered = set("Content-Type", "Cache-Control", "Retry-After", "Allow", "X-Accel-Buffering", "X-Request-Id", "Traceresponse",
		"Server-Timing", "Ratelimit", "Ratelimit-Policy", "Deprecation", "Sunset")
	answeredPrefixes = []string{"Mcp-", "X-Ratelimit-", "Ratelimit-"}
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

func hasPrefix(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// outgoing is a request's header as the upstream gets it: without the caller's
// token, also where the caller repeats it in another header (RS-TOK-10).
func outgoing(in http.Header) http.Header {
	out := make(http.Header, len(in)+2)
	_, token, _ := strings.Cut(in.Get("Authorization"), " ")
	token = strings.Trim(token, " ")
	for name, values := range in {
		if (sent[name] || !keptBack[name] && !hasPrefix(name, keptBackPrefixes) &&
			!strings.Contains(name, "_")) && // CGI takes it for a hyphen
			!holds(values, token) {
			out[name] = values
		}
	}
	for _, list := range in["Connection"] { // RFC 9110 section 7.6.1
		for name := range strings.SplitSeq(list, ",") {
			delete(out, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	return out
}

// holds reports whether one of the values has the token in it.
func holds(values []string, token string) bool {
	return token != "" && slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, token) })
}

// private reports whether no cache that others share may keep an answer: what
// one person gets is not what another would (RFC 9111 section 3.5).
func private(cacheControl []string) bool {
	own := false
	for directive := range strings.SplitSeq(strings.Join(cacheControl, ","), ",") {
		name, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch strings.TrimSpace(name) {
		case "public", "s-maxage", "must-revalidate":
			return false
		case "private", "no-store", "no-cache":
			own = true
		}
	}
	return own
}

// incoming puts an upstream's header into the answer.
func incoming(out, in http.Header) {
	for name, values := range in {
		if answered[name] || hasPrefix(name, answeredPrefixes) {
			out[name] = values
		}
	}
	if !private(in["Cache-Control"]) {
		out.Set("Cache-Control", "no-store")
	}
	out.Set("X-Content-Type-Options", "nosniff")
}
