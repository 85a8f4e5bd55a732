package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"

	"doorward/internal/keep"
)

// env is what a command sees of the world around it.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookup         func(name string) (string, bool)
	keyring        keep.Keyring // nil: there is none
}

func (e env) get(name string) string {
	v, _ := e.lookup(name)
	return v
}

// say writes talk: to stderr, so that stdout is only results.
func (e env) say(format string, args ...any) { fmt.Fprintf(e.stderr, format+"\n", args...) }

func (e env) printJSON(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// colours reports whether w is a terminal that wants colours.
func (e env) colours(w io.Writer) bool {
	f, ok := w.(*os.File)
	_, no := e.lookup("NO_COLOR")
	return ok && !no && e.get("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// secret resolves a secret of the command line: env:NAME or file:PATH. Anything
// else would lie in the shell's history and in the process list.
func (e env) secret(flag, value string) (string, error) {
	switch {
	case value == "":
		return "", nil
	case strings.HasPrefix(value, "env:"):
		v, ok := e.lookup(value[len("env:"):])
		if !ok || v == "" {
			return "", wrongUse{fmt.Errorf("--%s %s: that variable is not set", flag, value)}
		}
		return v, nil
	case strings.HasPrefix(value, "file:"):
		return secretFile(value[len("file:"):])
	}
	return "", wrongUse{fmt.Errorf("--%s: a secret on the command line is env:NAME or file:PATH", flag)}
}

func secretFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others: chmod 600 %s", path, path)
	}
	b, err := os.ReadFile(path)
	return strings.TrimRight(string(b), "\r\n"), err
}
