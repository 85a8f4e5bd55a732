package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"doorward/authserver"
)

type (
	// secret is text that no message may show.
	secret string
	// oneOrMore is a text or a list of texts.
	oneOrMore []string
	// filePath is relative to the file that it stands in; absolute once read.
	filePath string
	// urlOrFile is an http(s) URL as it stands, or a filePath.
	urlOrFile string
	// keyFile is the path of file:PATH, absolute once read.
	keyFile string
	// rate is RATE/s, RATE/m, RATE/h or off.
	rate string
	// proxies is a range of addresses.
	proxies netip.Prefix
	// size is a number of bytes.
	size int64
)

// String keeps a secret out of logs and messages.
func (s secret) String() string { return "(secret)" }

// GoString keeps it out of %#v.
func (s secret) GoString() string { return "(secret)" }

// scalarReaders read what is written as one word.
var scalarReaders = map[reflect.Type]func(v reflect.Value, text string) error{
	reflect.TypeFor[time.Duration](): readDuration,
	reflect.TypeFor[rate]():          readRate,
	reflect.TypeFor[size]():          readSize,
	reflect.TypeFor[netip.Prefix]():  readPrivate,
	reflect.TypeFor[proxies]():       readProxies,
}

var days = regexp.MustCompile(`^(\d{1,4})d$`)

func readDuration(v reflect.Value, text string) error {
	d, err := time.ParseDuration(text)
	switch m := days.FindStringSubmatch(text); {
	case m != nil:
		n, _ := strconv.Atoi(m[1])
		return fmt.Errorf("is no duration: days are written in hours, %dh", n*24)
	case err != nil:
		return errors.New("is no duration: write 30s, 15m, 168h or 1h30m")
	case d < 0:
		return errors.New("is negative: write 0s or more")
	}
	v.SetInt(int64(d))
	return nil
}

var rateForm = regexp.MustCompile(`^[1-9]\d{0,8}/[smh]$`)

func readRate(v reflect.Value, text string) error {
	if text != "off" && !rateForm.MatchString(text) {
		return errors.New(`is no rate: write 100/s, 20/m, 20/h or "off"`)
	}
	v.SetString(text)
	return nil
}

func readProxies(v reflect.Value, text string) error {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return errors.New("is no range of addresses: write 10.1.0.0/16, or 192.0.2.7/32 for one")
	case prefix != prefix.Masked():
		return fmt.Errorf("has bits behind its length: write %s", prefix.Masked())
	case prefix.Bits() == 0:
		return errors.New("is everybody: any caller could say that they are somebody else")
	}
	v.Set(reflect.ValueOf(proxies(prefix)))
	return nil
}

// bound is the rate as the engine has it.
func (r rate) bound() authserver.Rate {
	n, unit, ok := strings.Cut(string(r), "/")
	requests, err := strconv.Atoi(n)
	if !ok || err != nil {
		return authserver.Rate{Requests: -1}
	}
	return authserver.Rate{Requests: requests, Per: map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]}
}

var (
	sizeForm  = regexp.MustCompile(`^(\d{1,15})(B|KiB|MiB|GiB)?$`)
	sizeUnits = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
)

func readSize(v reflect.Value, text string) error {
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return errors.New("is no size: write 512KiB, 1MiB or a number of bytes")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/sizeUnits[m[2]] {
		return errors.New("is too large")
	}
	v.SetInt(n * sizeUnits[m[2]])
	return nil
}

// set stores what read makes of text; messages show what stands in the file,
// not what the environment put there.
func (l *loader) set(n *yaml.Node, v reflect.Value, p keyPath, text string, read func(reflect.Value, string) error) {
	if err := read(v, text); err != nil {
		l.fail(l.place(n), "%s: %q %v", p, n.Value, err)
	}
}

// text is the expanded text of a scalar, numbers as they are written.
func (l *loader) text(n *yaml.Node, p keyPath) (string, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		l.fail(l.place(n), "%s must be a single value", p)
		return "", false
	}
	switch n.ShortTag() {
	case "!!str":
		return l.expand(n, p)
	case "!!int", "!!float", "!!bool", "!!timestamp", "!!null":
		return n.Value, true
	}
	l.fail(l.place(n), "%s: tags such as %s are not read: write the value without it", p, n.Tag)
	return "", false
}

// str is text that must not look like a number or a date, of which YAML knows
// several spellings.
func (l *loader) str(n *yaml.Node, p keyPath) (string, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && !isNull(n) && n.ShortTag() != "!!str" && strings.HasPrefix(n.ShortTag(), "!!") && n.ShortTag() != "!!binary" {
		l.fail(l.place(n), "%s must be text: put it in quotes", p)
		return "", false
	}
	return l.text(n, p)
}

var variable = regexp.MustCompile(`\$\$\{|\$\{[^}]*\}?`)
var variableName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// expand puts in the environment's values, once: what they contain is text.
func (l *loader) expand(n *yaml.Node, p keyPath) (string, bool) {
	ok := true
	out := variable.ReplaceAllStringFunc(n.Value, func(found string) string {
		if found == "$${" {
			return "${"
		}
		m := variableName.FindStringSubmatch(found)
		if m == nil {
			l.fail(l.place(n), "%s: a ${ must be ${NAME}, or $${ for the characters themselves", p)
			ok = false
			return ""
		}
		value, set := l.env(m[1])
		if !set {
			l.fail(l.place(n), "%s: the environment variable %s is not set", p, m[1])
			ok = false
		}
		return value
	})
	return out, ok
}

// word reads text, or one of the words of an enumeration.
func (l *loader) word(n *yaml.Node, v reflect.Value, p keyPath, words string) {
	text, ok := l.str(n, p)
	if !ok {
		return
	}
	if words != "" {
		known := strings.Fields(words)
		if short := shortGrants[text]; slices.Contains(known, short) {
			text = short
		}
		found := false
		for _, w := range known {
			found = found || w == text
		}
		if !found {
			hint := ""
			if near := nearest(text, known); near != "" {
				hint = fmt.Sprintf(": did you mean %q?", near)
			}
			l.fail(l.place(n), "%s: %q is not one of %s%s", p, n.Value, strings.Join(known, ", "), hint)
			return
		}
	}
	v.SetString(text)
}

func (l *loader) boolean(n *yaml.Node, v reflect.Value, p keyPath) {
	text, ok := l.text(n, p)
	if !ok {
		return
	}
	fromEnv := text != n.Value
	if (n.ShortTag() != "!!bool" && !fromEnv) || (text != "true" && text != "false") {
		l.fail(l.place(n), "%s: %q must be true or false", p, n.Value)
		return
	}
	v.SetBool(text == "true")
}

func (l *loader) number(n *yaml.Node, v reflect.Value, p keyPath) {
	text, ok := l.text(n, p)
	if !ok {
		return
	}
	fromEnv := text != n.Value
	i, err := strconv.ParseInt(text, 10, 32)
	if err != nil || (n.ShortTag() != "!!int" && !fromEnv) || strconv.FormatInt(i, 10) != text {
		l.fail(l.place(n), "%s: %q must be a whole number", p, n.Value)
		return
	}
	v.SetInt(i)
}

func (o *oneOrMore) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	if n.Kind == yaml.SequenceNode {
		var list []string
		l.list(n, reflect.ValueOf(&list).Elem(), p, "")
		*o = list
		return
	}
	if n.Kind == yaml.MappingNode {
		l.fail(l.place(n), "%s must be text or a list of texts", p)
		return
	}
	if text, ok := l.str(n, p); ok {
		*o = oneOrMore{text}
	}
}

func (f *filePath) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	if text, ok := l.str(n, p); ok && text != "" {
		*f = filePath(l.absolute(text))
	}
}

// absolute takes a path as relative to the file that it stands in.
func (l *loader) absolute(path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(l.file), path)
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func (k *keyFile) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	text, ok := l.str(n, p)
	if !ok || text == "" {
		return
	}
	path, isFile := strings.CutPrefix(text, "file:")
	if !isFile || path == "" {
		l.fail(l.place(n), "%s must be file:PATH (a new key: openssl rand -hex 32)", p)
		return
	}
	path = l.absolute(path)
	if _, err := readSecretFile(path); err != nil {
		l.fail(l.place(n), "%s: %v", p, err)
		return
	}
	*k = keyFile(path)
}

// fromYAML never shows the text, not even what is wrong with it.
func (s *secret) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	text, ok := l.str(n, p)
	if !ok {
		return
	}
	path, isFile := strings.CutPrefix(text, "file:")
	if !isFile {
		*s = secret(text)
		if !variableIn(n.Value) {
			l.cfg.plain[p.key()] = true
		}
		return
	}
	value, err := readSecretFile(l.absolute(path))
	if err != nil {
		l.fail(l.place(n), "%s: %v", p, err)
		return
	}
	*s = secret(value)
}

// variableIn reports whether a text takes something from the environment.
func variableIn(text string) bool {
	return strings.Contains(strings.ReplaceAll(text, "$${", ""), "${")
}

// maxSecretFile bounds what is read as one secret.
const maxSecretFile = 64 << 10

// readSecretFile reads a secret of one line, from a file that is its owner's
// alone.
func readSecretFile(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s can be read by others: chmod 600 %s", path, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	text := strings.TrimRight(string(b), "\r\n")
	switch {
	case err != nil:
		return "", fmt.Errorf("%s cannot be read: %w", path, err)
	case len(b) > maxSecretFile:
		return "", fmt.Errorf("%s is larger than 64 KiB: is this a secret?", path)
	case text == "":
		return "", fmt.Errorf("%s is empty", path)
	}
	return text, nil
}

// fromYAML reads a word, or {header: {…}}, {caller-jwt: {…}} or {exchange: {…}}.
func (c *CredentialConfig) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	if n.Kind == yaml.MappingNode {
		l.structure(n, reflect.ValueOf(c).Elem(), p)
		return
	}
	text, ok := l.str(n, p)
	switch text {
	case "caller-jwt":
		c.CallerJWT = &CallerJWTConfig{}
	case "", "none", "vault":
		c.Word = text
	case "exchange":
		l.fail(l.place(n), "%s: exchange needs settings: write {exchange: {issuer: …, token_url: …, client_id: …, client_secret: …, audience: …}}", p)
	default:
		if ok {
			l.fail(l.place(n), "%s: %q is not one of none, {header: {NAME: VALUE}}, caller-jwt, vault, {exchange: {…}}", p, n.Value)
		}
	}
}

func (f *urlOrFile) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	if text, ok := l.str(n, p); ok && text != "" {
		if !isWeb(text) {
			text = l.absolute(text)
		}
		*f = urlOrFile(text)
	}
}
