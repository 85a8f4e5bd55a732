package authserver

import (
	_ "embed"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

//go:embed known.json
var knownText []byte

// knownEntry is a client that many people use, as its makers describe it.
type knownEntry struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// RedirectURIs are what it registers, letter by letter; {id} stands for a
	// name of its own making, and the port of a loopback URI is free.
	RedirectURIs []string `json:"redirect_uris"`
	// ClientNames begin the client_name of its registrations. They are looked
	// at when all of its redirect URIs are loopback or private-use, which any
	// program on the person's computer can register: they tell programs apart
	// and prove nothing, and the consent page says so.
	ClientNames []string `json:"client_names"`
	// Documents are the addresses of its client metadata documents.
	Documents []string `json:"documents"`
	Source    string   `json:"source"` // where the facts are from
	Date      string   `json:"date"`   // when they were looked up

	patterns []*regexp.Regexp
}

// known is the catalogue.
var known = readKnown(knownText)

func readKnown(text []byte) []knownEntry {
	var list []knownEntry
	if err := json.Unmarshal(text, &list); err != nil {
		panic("authserver: known.json: " + err.Error()) // it is compiled in
	}
	for i, k := range list {
		for _, uri := range k.RedirectURIs {
			if strings.Contains(uri, "{id}") {
				exact := strings.ReplaceAll(regexp.QuoteMeta(uri), regexp.QuoteMeta("{id}"), "[A-Za-z0-9_-]{1,128}")
				list[i].patterns = append(list[i].patterns, regexp.MustCompile("^"+exact+"$"))
			}
		}
	}
	return list
}

// knownClient returns the entry of that name.
func knownClient(name string) (knownEntry, bool) {
	i := slices.IndexFunc(known, func(k knownEntry) bool { return k.Name == name })
	if i < 0 || name == "" {
		return knownEntry{}, false
	}
	return known[i], true
}

// matchKnown returns the name of the known client, among those that are
// wanted, that a registration with these redirect URIs and this name is of; ""
// if none.
func matchKnown(wanted, redirectURIs []string, clientName string) string {
	for _, k := range known {
		if slices.Contains(wanted, k.Name) && k.matches(redirectURIs, clientName) {
			return k.Name
		}
	}
	return ""
}

func (k knownEntry) matches(redirectURIs []string, clientName string) bool {
	proven := false
	for _, uri := range redirectURIs {
		if !k.has(uri) {
			return false
		}
		proven = proven || claimed(uri)
	}
	return proven || slices.ContainsFunc(k.ClientNames, func(prefix string) bool {
		return len(clientName) >= len(prefix) && strings.EqualFold(clientName[:len(prefix)], prefix)
	})
}

func (k knownEntry) has(uri string) bool {
	return oauth.MatchRedirect(k.RedirectURIs, uri) && !strings.Contains(uri, "{") ||
		slices.ContainsFunc(k.patterns, func(p *regexp.Regexp) bool { return p.MatchString(uri) })
}

// inCatalogue reports whether some known client has the redirect URI, letter
// by letter: the only private-use ones that may be registered (AS-REDIR-04).
func inCatalogue(uri string) bool {
	return !strings.Contains(uri, "{") && // a pattern is no URI
		slices.ContainsFunc(known, func(k knownEntry) bool { return slices.Contains(k.RedirectURIs, uri) })
}
