package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"doorward/internal/vault"
)

// state is the directory of one issuer: database, master key, socket, and a
// note of how its server was started, so that administration finds it.
type state struct{ dir string }

// running is that note.
type running struct {
	Role     role      `json:"role"`
	URL      string    `json:"url"`
	Config   string    `json:"config,omitempty"`   // absolute path; "": started without a file
	Upstream string    `json:"upstream,omitempty"` // --upstream and --allow of a start without a file
	Command  string    `json:"command,omitempty"`  // after --, without its arguments
	Allow    []string  `json:"allow,omitempty"`
	Database string    `json:"database"`
	Socket   string    `json:"socket,omitempty"`
	Started  time.Time `json:"started"`
}

// stateDir is the directory of product.md: the key, else $STATE_DIRECTORY,
// else beside the configuration file, else under $XDG_STATE_HOME by the url.
func stateDir(e env, configured, configFile, issuer string) (string, error) {
	switch {
	case configured != "":
		return filepath.Abs(configured)
	case e.get("STATE_DIRECTORY") != "":
		// systemd may name several, parted by colons; the first is ours.
		dir, _, _ := strings.Cut(e.get("STATE_DIRECTORY"), ":")
		return dir, nil
	case configFile != "":
		return filepath.Abs(filepath.Join(filepath.Dir(configFile), ".doorward"))
	}
	return stateByURL(e, issuer)
}

// stateByURL is the directory of a server of which no more than the url is known.
func stateByURL(e env, issuer string) (string, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return "", err
	}
	base := e.get("XDG_STATE_HOME")
	if base == "" {
		home := e.get("HOME")
		if home == "" {
			if home, err = os.UserHomeDir(); err != nil {
				return "", fmt.Errorf("no place for the state: set `state:` (or --state): %w", err)
			}
		}
		base = filepath.Join(home, ".local", "state")
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return filepath.Join(base, "doorward", strings.ReplaceAll(host, ":", "_")+"-"+port), nil
}

// pointer is the file, in the directory that the url alone names, with the path
// of the state that its server has elsewhere.
const pointer = "elsewhere"

// announce lets --url find a server whose state lies where a file or a flag says.
// A server without a home cannot; it is found by those.
func (s state) announce(e env, issuer string) error {
	dir, err := stateByURL(e, issuer)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, pointer)
	if dir == s.dir {
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return writeFile(path, []byte(s.dir+"\n"))
}

// elsewhere is where the server of that url has its state instead of in s.
func (s state) elsewhere(issuer string) (state, running, bool) {
	b, err := os.ReadFile(s.path(pointer))
	if err != nil {
		return state{}, running{}, false
	}
	there := state{strings.TrimSpace(string(b))}
	note, err := there.readNote()
	return there, note, err == nil && strings.TrimSuffix(note.URL, "/") == strings.TrimSuffix(issuer, "/")
}

// openState makes the directory, for its owner alone.
func openState(dir string) (state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return state{}, fmt.Errorf("the state directory %s cannot be made: %w", dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return state{}, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return state{}, fmt.Errorf("others can write in the state directory %s, where the keys lie: chmod go-w %s", dir, dir)
	}
	return state{dir}, nil
}

func (s state) path(name string) string { return filepath.Join(s.dir, name) }

// master returns the key that seals what lies in the database. It is made for
// an empty database and never for one with something in it: that would make
// every signing key unreadable without a word.
func (s state) master(configured string, databaseEmpty bool) ([]byte, error) {
	path := configured
	if path == "" {
		path = s.path("master.key")
	}
	key, err := vault.LoadMaster(path)
	switch {
	case err == nil:
		return key, nil
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	case configured != "":
		return nil, fmt.Errorf("keys.master: %w", err)
	case !databaseEmpty:
		return nil, fmt.Errorf("the master key %s is missing, and the database is not empty: put the key back from its backup (without it the signing keys in the database cannot be read)", path)
	}
	return vault.CreateMaster(path)
}

// socketPath is where administration finds the server. Socket addresses are
// short (104 bytes on some systems), so a deep state directory gets a socket in
// a directory of its own under the temporary one.
func (s state) socketPath() (path string, cleanup func(), err error) {
	if p := s.path("doorward.sock"); len(p) < 100 {
		return p, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "doorward-")
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(dir, "sock"), func() { os.RemoveAll(dir) }, nil
}

func (s state) note(r running) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.path("server.json"), append(b, '\n'))
}

func (s state) readNote() (running, error) {
	var r running
	b, err := os.ReadFile(s.path("server.json"))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

// writeFile replaces a file in one step, readable by its owner alone.
func writeFile(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(b); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
