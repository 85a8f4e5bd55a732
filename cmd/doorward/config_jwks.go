package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"doorward/internal/jose"
)

// keySet is a JWK Set of public keys, as JSON.
type keySet []byte

// maxKeySetFile bounds a file with a key set.
const maxKeySetFile = 64 << 10

// fromYAML reads the set itself ({keys: [{kty: EC, …}]}) or file:PATH of its
// JSON. It holds nothing secret, so others may read the file.
func (s *keySet) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	var doc []byte
	if n.Kind == yaml.MappingNode {
		var err error
		if doc, err = json.Marshal(l.plainValue(n, p)); err != nil {
			l.fail(l.place(n), "%s: cannot be written as JSON", p)
			return
		}
	} else {
		text, ok := l.str(n, p)
		if !ok || text == "" {
			return
		}
		path, isFile := strings.CutPrefix(text, "file:")
		if !isFile || path == "" {
			l.fail(l.place(n), "%s must be a key set ({keys: [{kty: EC, …}]}) or file:PATH of one", p)
			return
		}
		info, err := os.Stat(l.absolute(path))
		if err == nil && info.Size() <= maxKeySetFile {
			doc, err = os.ReadFile(l.absolute(path))
		}
		if err != nil || doc == nil {
			l.fail(l.place(n), "%s: %s cannot be read, or is larger than 64 KiB", p, l.absolute(path))
			return
		}
	}
	if problem := keySetProblem(doc); problem != "" {
		l.fail(l.place(n), "%s: %s", p, problem)
		return
	}
	*s = doc
}

// keySetProblem says what is wrong with a client's keys; "": nothing.
func keySetProblem(doc []byte) string {
	var raw struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}
	set, err := jose.ParseSet(doc)
	if err != nil || json.Unmarshal(doc, &raw) != nil {
		return "is no JWK Set (RFC 7517): {keys: […]}"
	}
	for _, key := range raw.Keys {
		for _, private := range []string{"d", "k"} {
			if _, there := key[private]; there {
				return "has a private or symmetric key: write the public one, and replace this one if others could read it"
			}
		}
	}
	if len(set.IDs()) == 0 {
		return "has no public key that ES256, RS256, PS256 or EdDSA fits"
	}
	return ""
}

// plainValue is a node with its variables put in: maps, lists and texts.
func (l *loader) plainValue(n *yaml.Node, p keyPath) any {
	if n = l.resolve(n, p); n == nil || isNull(n) {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		l.pairs(n, p, func(key, value *yaml.Node) { out[key.Value] = l.plainValue(value, p.add(key.Value)) })
		return out
	case yaml.SequenceNode:
		out := []any{}
		for i, item := range n.Content {
			out = append(out, l.plainValue(item, p.add(index(i))))
		}
		return out
	}
	var text string
	l.word(n, reflect.ValueOf(&text).Elem(), p, "")
	return text
}
