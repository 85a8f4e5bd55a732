package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// Every example starts as it stands, but for the ports and the state, answers
// with its metadata, and stops when it is told to.
func TestExamplesStart(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("examples: %q, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			everywhere(d)
			_, cfg, err := checkFile(file, everything)
			if err != nil {
				t.Fatal(err)
			}
			listen, ops := free(t), free(t)
			p := d.start(string(cfg.role), "--config", file, "--listen", listen, "--ops", ops, "--state", filepath.Join(d.home, "state"))
			well := map[role]string{roleServe: oauth.WellKnownAS, roleIdP: oauth.WellKnownOIDC}[cfg.role]
			for _, at := range []string{"http://" + listen + well, "http://" + ops + "/readyz"} {
				if a := get(t, at); a.status != http.StatusOK {
					t.Errorf("%s: %d %s", at, a.status, a.body)
				}
			}
			for name, s := range cfg.Servers {
				if a := get(t, "http://"+listen+s.Path); a.status != http.StatusUnauthorized {
					t.Errorf("servers.%s: %d %s", name, a.status, a.body)
				}
			}
			begin := time.Now()
			p.stop()
			if took := time.Since(begin); p.code != 0 || took > 5*time.Second {
				t.Errorf("it stopped with %d after %s:\n%s", p.code, took, p.errs)
			}
		})
	}
}

// The programs among the examples build; a module of its own is not ours to
// build here.
func TestExamplePrograms(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs go")
	}
	mains, err := filepath.Glob("../../examples/*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("%q %v", mains, err)
	}
	checked := 0
	for _, main := range mains {
		dir := filepath.Dir(main)
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			continue
		} else if !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		checked++
		vet := exec.CommandContext(t.Context(), goTool, "vet", "-trimpath", ".")
		vet.Dir, vet.Env = dir, append(os.Environ(), "CGO_ENABLED=0") // as the binary is built, so that it is compiled once
		if out, err := vet.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", dir, err, out)
		}
	}
	if checked == 0 {
		t.Error("there is no example program")
	}
}
