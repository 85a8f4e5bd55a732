package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"doorward/internal/ledger"
	"doorward/store"
)

// auditFile gets every audit event that this process committed, as a line of
// JSON. The database stays the record: a line can be missing after a crash or
// with a full disk, which the log says.
type auditFile struct {
	log *slog.Logger

	mu   sync.Mutex
	path string
	file *os.File // nil: none is configured, or it could not be opened
	lost bool     // the last line was not written
}

// use appends to a file from now on; "": to none. Called again it opens the
// file anew, for who has moved it away (SIGHUP).
func (a *auditFile) use(path string) error {
	var f *os.File
	if path != "" {
		var err error
		if f, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return fmt.Errorf("audit.file: %w", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil {
		a.file.Close()
	}
	a.path, a.file = path, f
	return nil
}

func (a *auditFile) reopen() {
	a.mu.Lock()
	path := a.path
	a.mu.Unlock()
	if err := a.use(path); err != nil {
		a.log.Error("the audit file is not opened anew; the old one stays", "error", err)
	}
}

func (a *auditFile) close() { _ = a.use("") }

// write appends the events of a commit in one piece.
func (a *auditFile) write(ops []store.Op) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return
	}
	var lines []byte
	for _, op := range ops {
		if op.Record.Kind == ledger.KindAudit && len(op.Record.Value) > 0 {
			lines = append(append(lines, op.Record.Value...), '\n')
		}
	}
	if len(lines) == 0 {
		return
	}
	_, err := a.file.Write(lines)
	if err != nil && !a.lost {
		a.log.Error("audit events are not written to the file; they are in the database", "file", a.path, "error", err)
	}
	a.lost = err != nil
}

// auditedStore writes what it commits to the file, too.
type auditedStore struct {
	store.Store
	file *auditFile
}

// Commit is store.Store.
func (s auditedStore) Commit(ctx context.Context, ops ...store.Op) error {
	err := s.Store.Commit(ctx, ops...)
	if err == nil {
		s.file.write(ops)
	}
	return err
}
