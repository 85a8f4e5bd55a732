package main

import (
	"slices"
	"strings"
)

// gap is a key of the manual whose feature does not exist yet. It is refused
// with its line, unless it is empty or says what the program does anyway:
// nothing is read and ignored.
type gap struct {
	Key    string   // * stands for any name
	Only   []string // values that are refused (with a * at the end: everything that begins so); nil: all
	Except []string // values that say what the program does anyway
}

// gaps is the whole list; docs/rough-edges.md has a row for each.
var gaps = []gap{
	{Key: "redis"},
	{Key: "database", Only: []string{"postgres:*", "postgresql:*"}},
	{Key: "tls.acme"},
	{Key: "admins"},
	{Key: "tokens.format", Except: []string{"jwt"}},
	{Key: "fetch.proxy"},
	{Key: "telemetry.otlp"},
}

// switches are on when their key is present, be it {}: an empty one is not
// nothing.
var switches = []string{"providers.*.sign_in", "providers.*.id_jag", "servers.*.credential.caller-jwt", "servers.*.credential.exchange"}

// findGap returns the row of a key.
func findGap(p keyPath) (gap, bool) {
	i := slices.IndexFunc(gaps, func(g gap) bool { return p.matches(g.Key) })
	if i < 0 {
		return gap{}, false
	}
	return gaps[i], true
}

// gapChildren are the keys that only the table knows, under a path.
func gapChildren(p keyPath) []string {
	var names []string
	for _, g := range gaps {
		keys := strings.Split(g.Key, ".")
		if len(keys) > len(p.names()) && p.matches(strings.Join(keys[:len(p.names())], ".")) && !slices.Contains(names, keys[len(p.names())]) {
			names = append(names, keys[len(p.names())])
		}
	}
	return names
}

// refuses reports whether a text says something that the program does not do.
func (g gap) refuses(text string) bool {
	if text == "" || slices.Contains(g.Except, text) {
		return false
	}
	return g.Only == nil || slices.ContainsFunc(g.Only, func(v string) bool {
		prefix, open := strings.CutSuffix(v, "*")
		return v == text || open && strings.HasPrefix(text, prefix)
	})
}
