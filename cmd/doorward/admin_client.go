package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/spf13/cobra"
)

// adminFlags say which server is meant.
type adminFlags struct {
	config, state, url string
	json               bool
}

func (f *adminFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "configuration file of the server")
	cmd.Flags().StringVar(&f.state, "state", "", "state directory of the server")
	cmd.Flags().StringVar(&f.url, "url", "", "url of a server that was started without a file")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

// admin asks the running server through its socket or, when none runs, the
// same handler over the opened store.
type admin struct {
	http  *http.Client
	close func()
}

func (f *adminFlags) open(ctx context.Context, e env) (*admin, error) {
	dir, note, err := f.find(e)
	if err != nil {
		return nil, err
	}
	if note.answers() {
		t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", note.Socket)
		}}
		return &admin{&http.Client{Transport: t}, t.CloseIdleConnections}, nil
	}
	return f.openStore(ctx, e, dir, note)
}

// find is the state directory that the flags mean, and the note in it.
func (f *adminFlags) find(e env) (string, running, error) {
	given := 0
	for _, s := range []string{f.config, f.state, f.url} {
		if s != "" {
			given++
		}
	}
	if given > 1 {
		return "", running{}, wrongUse{errors.New("--config, --state and --url name the same thing: give one of them")}
	}
	configured, issuer := f.state, f.url
	if f.config != "" {
		findings, cfg, err := checkFile(f.config, e.lookup)
		if err != nil {
			return "", running{}, err
		}
		// The off switch must work with a file that is being mended: only what
		// says where the server is must be readable.
		if cfg.unusable || cfg.unreadable("state") || cfg.unreadable("url") {
			return "", running{}, e.report(findings)
		}
		configured, issuer = string(cfg.State), cfg.URL
	}
	if issuer == "" {
		issuer = "http://127.0.0.1:8080"
	}
	dir, err := stateDir(e, configured, f.config, issuer)
	if err != nil {
		return "", running{}, err
	}
	if f.config == "" && f.state == "" {
		if there, note, ok := (state{dir}).elsewhere(issuer); ok {
			return there.dir, note, nil
		}
	}
	note, err := state{dir}.readNote()
	if errors.Is(err, os.ErrNotExist) {
		return "", running{}, fmt.Errorf("no server was ever started with the state directory %s: name yours with --config, --state or --url", dir)
	}
	return dir, note, err
}

// unreadable reports whether a key of the first level could not be read.
func (c *Config) unreadable(key string) bool { return c.unread[keyPath{key}.key()] }

// openStore puts the stopped server together for one command.
func (f *adminFlags) openStore(ctx context.Context, e env, dir string, note running) (*admin, error) {
	var cfg *Config
	file := note.Config
	if f.config != "" {
		file = f.config
	}
	if file != "" {
		loaded, findings := loadConfig(file, note.Role, e.lookup)
		if hasErrors(findings) {
			return nil, e.report(findings)
		}
		cfg = loaded
	} else {
		cfg = defaultConfig(note.Role)
		var command []string
		if note.Command != "" {
			command = []string{note.Command} // nothing is started
		}
		cfg.layServer(note.Upstream, command, note.Allow)
		cfg.moveTo(note.URL)
		cfg.settle()
	}
	cfg.State = filePath(dir)
	if cfg.Database == "sqlite::memory:" {
		return nil, errors.New("that server keeps everything in memory and does not run: there is nothing to administer")
	}
	i, err := openInstance(ctx, e, cfg, file)
	if err != nil {
		return nil, err
	}
	h := i.adminHandler()
	rt := roundTripper(func(req *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec.Result(), nil
	})
	return &admin{&http.Client{Transport: rt}, i.close}, nil
}

// ask calls path with in and reads the answer into out.
func (a *admin) ask(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://doorward/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		e := &adminError{}
		if json.Unmarshal(b, e) != nil || e.Message == "" {
			return fmt.Errorf("the server answered %s", resp.Status)
		}
		if e.Use {
			return wrongUse{e}
		}
		return e
	}
	return json.Unmarshal(b, out)
}

// askOnce opens, asks and closes.
func askOnce[Out any](ctx context.Context, e env, f *adminFlags, path string, in any) (Out, error) {
	var out Out
	a, err := f.open(ctx, e)
	if err != nil {
		return out, err
	}
	defer a.close()
	return out, a.ask(ctx, path, in, &out)
}
