package main

import (
	"fmt"
	"strings"
)

// keyPath names a place in a configuration: keys and names, and for elements
// of a list their index in brackets.
type keyPath []string

// noFile stands for the file of a Config that was not read from one.
const noFile = "(defaults)"

func index(i int) string { return fmt.Sprintf("[%d]", i) }

// add returns a longer path and leaves p alone.
func (p keyPath) add(name string) keyPath {
	return append(append(make(keyPath, 0, len(p)+1), p...), name)
}

// String is the path as people write it: servers.files.allow[0].who.
func (p keyPath) String() string {
	var b strings.Builder
	for i, name := range p {
		if i > 0 && !strings.HasPrefix(name, "[") {
			b.WriteByte('.')
		}
		b.WriteString(name)
	}
	return b.String()
}

// key tells two paths apart also where names have dots.
func (p keyPath) key() string { return strings.Join(p, "\x00") }

// names is the path without indexes.
func (p keyPath) names() keyPath {
	out := make(keyPath, 0, len(p))
	for _, name := range p {
		if !strings.HasPrefix(name, "[") {
			out = append(out, name)
		}
	}
	return out
}

// matches compares with a pattern in which * stands for any name.
func (p keyPath) matches(pattern string) bool {
	names, keys := p.names(), strings.Split(pattern, ".")
	if pattern == "" {
		keys = nil
	}
	if len(names) != len(keys) {
		return false
	}
	for i, key := range keys {
		if key != "*" && key != names[i] {
			return false
		}
	}
	return true
}

// at is the place of a value, or of the nearest entry around it that is
// written. Without a file it is line 1 of nothing.
func (c *Config) at(p ...string) Finding {
	for n := len(p); n > 0; n-- {
		if m, ok := c.where[keyPath(p[:n]).key()]; ok {
			return m.value
		}
	}
	file := noFile
	if len(c.files) > 0 {
		file = c.files[0]
	}
	return Finding{File: file, Line: 1, Col: 1}
}

// given reports whether the key stands in the file.
func (c *Config) given(p ...string) bool {
	_, ok := c.where[keyPath(p).key()]
	return ok
}

// before compares the places of two keys of one mapping; keys that stand in no
// file are in the order of their names.
func (c *Config) before(a, b []string) bool {
	ma, okA := c.where[keyPath(a).key()]
	mb, okB := c.where[keyPath(b).key()]
	if !okA || !okB {
		return a[len(a)-1] < b[len(b)-1]
	}
	if ma.key.Line != mb.key.Line {
		return ma.key.Line < mb.key.Line
	}
	return ma.key.Col < mb.key.Col
}
