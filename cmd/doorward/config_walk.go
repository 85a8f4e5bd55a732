package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// unmarshaler is a type that reads its own node.
type unmarshaler interface {
	fromYAML(l *loader, n *yaml.Node, p keyPath)
}

// value reads a node into v. What does not fit becomes a finding and leaves v
// as it is. words are the values that an enumeration takes, parted by spaces.
func (l *loader) value(n *yaml.Node, v reflect.Value, p keyPath, words string) {
	n = l.resolve(n, p)
	if n == nil || isNull(n) {
		return // as if it were left out
	}
	if u, ok := v.Addr().Interface().(unmarshaler); ok {
		u.fromYAML(l, n, p)
		return
	}
	if read, ok := scalarReaders[v.Type()]; ok {
		if text, ok := l.text(n, p); ok {
			l.set(n, v, p, text, read)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		l.structure(n, v, p)
	case reflect.Map:
		l.named(n, v, p, words)
	case reflect.Slice:
		l.list(n, v, p, words)
	case reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		setDefaults(fresh)
		l.value(n, fresh.Elem(), p, words)
		v.Set(fresh)
	case reflect.String:
		l.word(n, v, p, words)
	case reflect.Bool:
		l.boolean(n, v, p)
	case reflect.Int:
		l.number(n, v, p)
	default:
		panic(fmt.Sprintf("%s: no rule reads a %s", p, v.Type()))
	}
}

// resolve follows an alias, and ends a file whose aliases blow it up.
func (l *loader) resolve(n *yaml.Node, p keyPath) *yaml.Node {
	if l.nodes++; l.nodes > maxConfigNodes {
		if l.nodes == maxConfigNodes+1 {
			l.fail(l.place(n), "%s: the file is too large with its aliases written out", p)
		}
		return nil
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func (l *loader) place(n *yaml.Node) Finding {
	return Finding{File: l.file, Line: max(n.Line, 1), Col: max(n.Column, 1)}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// mark remembers where a key stands. A value that spreads over lines is found
// by its key.
func (l *loader) mark(p keyPath, key, value *yaml.Node) {
	if _, again := l.cfg.where[p.key()]; again {
		return
	}
	m := mark{key: l.place(key), value: l.place(value)}
	if value.Kind != yaml.ScalarNode || isNull(value) {
		m.value = m.key
	}
	l.cfg.where[p.key()] = m
}

// pairs calls each for the keys of a mapping, each key once.
func (l *loader) pairs(n *yaml.Node, p keyPath, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		l.fail(l.place(n), "%s must be a mapping (key: value)", p.orFile())
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch {
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
			l.fail(l.place(key), "merge keys (<<) are not read: write the keys out")
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			l.fail(l.place(key), "%s: a key must be text: put it in quotes", p.orFile())
		case seen[key.Value] != 0:
			l.fail(l.place(key), "%s is given twice: first at line %d", p.add(key.Value), seen[key.Value])
		default:
			seen[key.Value] = max(key.Line, 1)
			each(key, value)
		}
	}
}

func (p keyPath) orFile() string {
	if len(p) == 0 {
		return "the file"
	}
	return p.String()
}

// structure reads a mapping whose keys are the fields of v.
func (l *loader) structure(n *yaml.Node, v reflect.Value, p keyPath) {
	fields := fieldsOf(v.Type())
	l.pairs(n, p, func(key, value *yaml.Node) {
		full := p.add(key.Value)
		f, known := fields[key.Value]
		g, isGap := findGap(full)
		switch {
		case !known && !isGap:
			l.unknown(key, p, fields)
			return
		case known && f.role != "" && f.role != l.cfg.role:
			l.fail(l.place(key), "%s is a key of `doorward %s`, and this file was given to `doorward %s`", full, f.role, l.cfg.role)
			l.cfg.unread[full.key()] = true
			return
		case full.String() == "include" && len(l.cfg.files) > 1:
			l.fail(l.place(key), "include stands in the configuration file only, not in a file that it includes")
			return
		}
		if other, again := l.cfg.where[full.key()]; again && (!known || !mergeable(v.Field(f.index).Type())) && full.String() != "version" {
			l.fail(l.place(key), "%s is given twice: also at %s:%d:%d", full, other.key.File, other.key.Line, other.key.Col)
			return
		}
		l.mark(full, key, value)
		l.field(key, value, v, f, known, g, isGap, full)
	})
}

// field reads one key of a structure, and refuses what is not built.
func (l *loader) field(key, value *yaml.Node, v reflect.Value, f field, known bool, g gap, isGap bool, p keyPath) {
	before := len(l.findings)
	defer l.noteUnread(p, before)
	if isSwitch(p) && isNull(value) {
		l.fail(l.place(key), "%s is empty: write {} to switch it on, or remove the key", p)
		return
	}
	if isGap && g.Only == nil && value.Kind != yaml.ScalarNode {
		if !isEmpty(value) || isSwitch(p) {
			l.fail(l.place(key), "%s: not in this version", p)
		}
		return
	}
	if known {
		l.value(value, v.Field(f.index), p, f.words)
	}
	if isGap && len(l.findings) == before {
		l.refuseScalar(value, p, g)
	}
}

// noteUnread keeps check from complaining about what could not be read.
func (l *loader) noteUnread(p keyPath, before int) {
	if len(l.findings) > before {
		l.cfg.unread[p.key()] = true
	}
}

// refuseScalar refuses a value, or an element of a list, that the table names.
func (l *loader) refuseScalar(n *yaml.Node, p keyPath, g gap) {
	switch n.Kind {
	case yaml.ScalarNode:
		if text, ok := l.text(n, p); ok && g.refuses(text) {
			at := l.cfg.where[p.key()].key
			if at.File == "" {
				at = l.place(n)
			}
			value := "" // not one that may have a password in it
			if g.Only != nil && !strings.HasSuffix(g.Only[0], "*") {
				value = " (" + text + ")"
			}
			l.fail(at, "%s: not in this version%s", p, value)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			if item.Kind == yaml.AliasNode {
				item = item.Alias
			}
			l.refuseScalar(item, p.add(index(i)), g)
		}
	}
}

func isSwitch(p keyPath) bool { return slices.ContainsFunc(switches, p.matches) }

// isEmpty reports whether a value says nothing.
func isEmpty(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode {
		return isNull(n) || n.Value == ""
	}
	return n.Kind != yaml.AliasNode && len(n.Content) == 0
}

// mergeable types take keys from several files.
func mergeable(t reflect.Type) bool {
	return t.Kind() == reflect.Map || t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[unmarshaler]()) && scalarReaders[t] == nil
}

// named reads a mapping from names that the file gives.
func (l *loader) named(n *yaml.Node, v reflect.Value, p keyPath, words string) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	l.pairs(n, p, func(key, value *yaml.Node) {
		full := p.add(key.Value)
		if other, again := l.cfg.where[full.key()]; again {
			l.fail(l.place(key), "%s is given twice: also at %s:%d:%d", full, other.key.File, other.key.Line, other.key.Col)
			return
		}
		l.mark(full, key, value)
		before := len(l.findings)
		entry := reflect.New(v.Type().Elem())
		setDefaults(entry)
		l.value(value, entry.Elem(), full, words)
		l.noteUnread(full, before)
		v.SetMapIndex(reflect.ValueOf(key.Value), entry.Elem())
	})
}

func (l *loader) list(n *yaml.Node, v reflect.Value, p keyPath, words string) {
	if n.Kind != yaml.SequenceNode {
		l.fail(l.place(n), "%s must be a list ([a, b])", p)
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	for i, item := range n.Content {
		full := p.add(index(i))
		l.mark(full, item, item)
		if isNull(item) {
			l.fail(l.place(item), "%s is empty: write a value or remove it", full)
			continue
		}
		entry := reflect.New(v.Type().Elem())
		setDefaults(entry)
		l.value(item, entry.Elem(), full, words)
		out = reflect.Append(out, entry.Elem())
	}
	v.Set(out)
}

func setDefaults(pointer reflect.Value) {
	if d, ok := pointer.Interface().(interface{ setDefaults() }); ok {
		d.setDefaults()
	}
}

// field is a key of a structure.
type field struct {
	index int
	words string
	role  role
}

func fieldsOf(t reflect.Type) map[string]field {
	fields := map[string]field{}
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		if name := tag.Get("yaml"); name != "" {
			fields[name] = field{index: i, words: tag.Get("enum"), role: role(tag.Get("role"))}
		}
	}
	return fields
}

// unknown says which key was probably meant.
func (l *loader) unknown(key *yaml.Node, p keyPath, fields map[string]field) {
	known := gapChildren(p)
	for name, f := range fields {
		if (f.role == "" || f.role == l.cfg.role) && !slices.Contains(known, name) {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	text := fmt.Sprintf("unknown key %q", key.Value)
	if near := nearest(key.Value, known); near != "" {
		text += fmt.Sprintf(": did you mean %q?", near)
	} else {
		text += fmt.Sprintf(": %s has %s", p.orFile(), strings.Join(known, ", "))
	}
	l.fail(l.place(key), "%s", text)
}

// nearest is the known word that takes the fewest changes, if they are few.
func nearest(word string, known []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	return best
}

// distance counts inserted, removed and replaced bytes (Levenshtein).
func distance(a, b string) int {
	if len(a) > 100 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
