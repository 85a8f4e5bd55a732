package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Administration is an HTTP API on a Unix socket in the state directory: who
// can reach the socket owns the server anyway. When no server runs, a command
// puts the instance together and asks the same handler in its own process.

// adminError is an answer of that API that is not 200.
type adminError struct {
	Message string `json:"error"`
	Use     bool   `json:"use,omitempty"` // the command was used wrongly
}

func (e *adminError) Error() string { return e.Message }

func (i *instance) adminHandler() http.Handler {
	mux := http.NewServeMux()
	serveAdmin(mux, "leave", i.leave)
	serveAdmin(mux, "revoke", i.revoke)
	serveAdmin(mux, "can", i.can)
	serveAdmin(mux, "why", i.why)
	serveAdmin(mux, "client/add", i.clientAdd)
	serveAdmin(mux, "client/approve", i.clientApprove)
	serveAdmin(mux, "client/remove", i.clientRemove)
	serveAdmin(mux, "client/list", i.clientList)
	serveAdmin(mux, "user/add", i.userAdd)
	serveAdmin(mux, "user/password", i.userPassword)
	serveAdmin(mux, "user/list", i.userList)
	serveAdmin(mux, "key/rotate", i.keyRotate)
	serveAdmin(mux, "key/list", i.keyList)
	serveAdmin(mux, "grant/list", i.grantList)
	serveAdmin(mux, "audit/export", i.auditExport)
	return mux
}

// serveAdmin is one call: JSON in, JSON out.
func serveAdmin[In, Out any](mux *http.ServeMux, path string, call func(context.Context, In) (Out, error)) {
	mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, r *http.Request) {
		var in In
		dec := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&in); err != nil {
			answerAdmin(w, http.StatusBadRequest, &adminError{Message: "this server is another version than the command: " + err.Error()})
			return
		}
		out, err := call(r.Context(), in)
		if err != nil {
			var use wrongUse
			answerAdmin(w, http.StatusUnprocessableEntity, &adminError{Message: err.Error(), Use: errors.As(err, &use)})
			return
		}
		answerAdmin(w, http.StatusOK, out)
	})
}

func answerAdmin(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// listenAdmin opens the socket and notes where it is.
func (i *instance) listenAdmin() (net.Listener, func(), error) {
	if before, err := i.state.readNote(); err == nil && before.answers() {
		return nil, nil, fmt.Errorf("another doorward serves this state directory (%s): stop it, or set `state:` to another one", i.state.dir)
	}
	path, cleanup, err := i.state.socketPath()
	if err != nil {
		return nil, nil, err
	}
	os.Remove(path) // left by a process that was killed
	l, err := net.Listen("unix", path)
	if err != nil {
		cleanup()
		return nil, nil, fmt.Errorf("the administration socket cannot be opened: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		cleanup()
		return nil, nil, err
	}
	if err := i.note(path); err != nil {
		l.Close()
		cleanup()
		return nil, nil, err
	}
	if err := i.state.announce(i.env, i.cfg.URL); err != nil {
		i.log.Debug("--url will not find this server", "error", err)
	}
	return l, cleanup, nil
}

// note writes down how this server was started, for when it does not run.
func (i *instance) note(socket string) error {
	r := running{Role: i.role, URL: i.cfg.URL, Database: i.cfg.Database, Socket: socket, Started: time.Now().UTC()}
	if i.file != "" {
		var err error
		if r.Config, err = filepath.Abs(i.file); err != nil {
			return err
		}
	} else if i.flags != nil {
		r.Upstream, r.Allow = i.flags.upstream, i.flags.allow
		if len(i.flags.command) > 0 {
			r.Command = i.flags.command[0]
		}
	}
	return i.state.note(r)
}

// answers reports whether the server of the note runs.
func (r running) answers() bool {
	if r.Socket == "" {
		return false
	}
	c, err := net.DialTimeout("unix", r.Socket, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
