package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxConfigFile bounds each file; maxConfigNodes what aliases may blow it up to.
const (
	maxConfigFile  = 1 << 20
	maxConfigNodes = 200_000
)

// Finding is one thing that is wrong with a configuration, or doubtful.
type Finding struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Col     int    `json:"col"`
	Text    string `json:"text"`
	Warning bool   `json:"warning,omitempty"`
}

// String is FILE:LINE:COL: text.
func (f Finding) String() string {
	warning := ""
	if f.Warning {
		warning = "warning: "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", f.File, f.Line, f.Col, warning, f.Text)
}

// origin is where a Config came from: it gives every finding its place.
type origin struct {
	role  role
	files []string // every file that was read, the configuration file first
	where map[string]mark
	// unread are keys under which something could not be read or was refused;
	// unusable is set if a whole file could not be read.
	unread   map[string]bool
	plain    map[string]bool // secrets that stand in the file itself
	said     []Finding       // what loadConfig found
	unusable bool
}

// mark is where a key and its value stand.
type mark struct{ key, value Finding }

// loadConfig reads a configuration file and what it includes, with every
// secret resolved. The findings are sorted by their place; the Config may be
// used only if all of them are warnings.
func loadConfig(path string, r role, env func(string) (string, bool)) (*Config, []Finding) {
	c, findings := readConfig(path, r, env)
	c.settle()
	if !c.unusable {
		findings = append(findings, c.check()...)
	}
	c.said = c.sorted(findings)
	return c, c.said
}

// checkStart looks again after flags were laid over the file or the defaults;
// it repeats nothing that loadConfig found.
func (c *Config) checkStart() []Finding {
	var fresh []Finding
	for _, f := range c.check() {
		if !slices.Contains(c.said, f) {
			fresh = append(fresh, f)
		}
	}
	return c.sorted(fresh)
}

// hasErrors reports whether one of the findings is more than a warning.
func hasErrors(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return !f.Warning })
}

// readConfig is the first half of loadConfig: no defaults that follow from
// other keys, no combinations. For callers that put flags over the file before
// they call settle and check.
func readConfig(path string, r role, env func(string) (string, bool)) (*Config, []Finding) {
	l := &loader{cfg: emptyConfig(r), env: env}
	l.read(path)
	for i, pattern := range l.cfg.Include {
		l.include(path, pattern, keyPath{"include", index(i)})
	}
	l.database()
	return l.cfg, l.cfg.sorted(l.findings)
}

// database makes the path of SQLite absolute.
func (l *loader) database() {
	p := keyPath{"database"}
	text, at := l.cfg.Database, l.cfg.at(p...)
	if text == "" || text == "sqlite::memory:" || l.cfg.unread[p.key()] {
		return
	}
	path, ok := strings.CutPrefix(text, "sqlite:")
	if !ok || path == "" || strings.HasPrefix(path, ":") {
		l.fail(at, `database must be sqlite:PATH or "sqlite::memory:"`)
		return
	}
	l.file = at.File
	l.cfg.Database = "sqlite:" + l.absolute(path)
}

// sorted orders findings by file, as read, then by place.
func (c *Config) sorted(findings []Finding) []Finding {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(c.files, a.File), slices.Index(c.files, b.File)),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(findings)
}

// loader reads files into one Config and collects what is wrong with them.
type loader struct {
	cfg      *Config
	env      func(string) (string, bool)
	file     string // the one being read
	nodes    int
	findings []Finding
}

func (l *loader) read(path string) {
	l.file = path
	l.cfg.files = append(l.cfg.files, path)
	doc, at, err := parseFile(path)
	if err != nil {
		at.File, at.Text = path, err.Error()
		at.Line, at.Col = max(at.Line, 1), max(at.Col, 1)
		l.findings = append(l.findings, at)
		l.cfg.unusable = true
		return
	}
	if doc != nil {
		l.cfg.unusable = l.cfg.unusable || doc.Kind != yaml.MappingNode
		l.value(doc, reflect.ValueOf(l.cfg).Elem(), nil, "")
	}
}

// include reads the files of one pattern. Their findings name them by the path
// from where the configuration file was named.
func (l *loader) include(main, pattern string, p keyPath) {
	at := l.cfg.at(p...)
	full := pattern
	if !filepath.IsAbs(full) {
		full = filepath.Join(filepath.Dir(main), full)
	}
	matches, err := filepath.Glob(full)
	if err != nil {
		l.fail(at, "include: %q is not a pattern: %v", pattern, err)
		return
	}
	if len(matches) == 0 && !strings.ContainsAny(pattern, "*?[") {
		l.fail(at, "include: there is no file %s", full)
	}
	for _, m := range matches {
		if info, err := os.Stat(m); err == nil && !info.Mode().IsRegular() {
			l.fail(at, "include: %s is not a regular file", m) // a pipe would never end
			continue
		}
		if !slices.Contains(l.cfg.files, m) {
			l.read(m)
		}
	}
}

// fail adds an error.
func (l *loader) fail(at Finding, format string, args ...any) {
	at.Text = fmt.Sprintf(format, args...)
	l.findings = append(l.findings, at)
}

// parseFile returns the root of the one document of a file, nil if it is
// empty; with an error, where in the file it is (line 0: there is no such
// place, the file cannot be read).
func parseFile(path string) (*yaml.Node, Finding, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Finding{}, fmt.Errorf("cannot be read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, Finding{}, fmt.Errorf("cannot be read: %w", err)
	}
	if len(b) > maxConfigFile {
		return nil, Finding{}, errors.New("is larger than 1 MiB: is this a configuration file?")
	}
	return parseYAML(b)
}

func parseYAML(b []byte) (*yaml.Node, Finding, error) {
	at := Finding{Line: 1, Col: 1}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, next yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, at, nil
	case err != nil:
		at, err = syntaxError(b, err)
		return nil, at, err
	}
	switch err := dec.Decode(&next); {
	case err == nil:
		at.Line, at.Col = max(next.Line, 1), max(next.Column, 1)
		return nil, at, errors.New("a second document begins here: write everything into one")
	case !errors.Is(err, io.EOF):
		at, err = syntaxError(b, err)
		return nil, at, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil, at, nil
	}
	return doc.Content[0], at, nil
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

var parserError = regexp.MustCompile(`^did not find expected (',|'-|key|node content|<)`)

// syntaxError puts the message of the YAML reader, which knows the line only,
// at the first character of that line.
func syntaxError(b []byte, err error) (Finding, error) {
	at := Finding{Line: 1, Col: 1}
	text := err.Error()
	m := syntaxLine.FindStringSubmatch(text)
	if m != nil {
		text = text[len(m[0]):]
		n, _ := strconv.Atoi(m[1])
		if parserError.MatchString(text) {
			n++ // the reader counts the lines of these from zero
		}
		at.Line = n
	}
	lines := strings.Split(string(b), "\n")
	at.Line = min(max(at.Line, 1), len(lines))
	line := lines[at.Line-1]
	at.Col = len(line) - len(strings.TrimLeft(line, " \t\r")) + 1
	hint := ""
	if strings.ContainsAny(line, "{[") && strings.Contains(line, "${") {
		hint = ` (inside { } and [ ] a ${NAME} needs quotes: "${NAME}")`
	}
	return at, fmt.Errorf("not YAML: %s%s", strings.TrimSpace(text), hint)
}
