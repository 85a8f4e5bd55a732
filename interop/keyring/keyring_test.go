//go:build linux

// Package keyring_test lets doorward keep its key in a real Secret Service:
// gnome-keyring on a session bus of its own.
package keyring_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"doorward/internal/browse"
	"doorward/interop/rig"
)

const (
	insideEnv  = "DOORWARD_TEST_IN_SESSION"
	programEnv = "DOORWARD_TEST_PROGRAM"
	password   = "orchard-tango-27-violet"
)

// session is a person's session: a bus, a keyring and a home.
type session struct {
	t       *testing.T
	home    string
	program string
	env     []string
}

func TestMain(m *testing.M) { rig.Main(m) }

// covers: C-TOK-04
func TestSecretService(t *testing.T) {
	for _, program := range []string{"dbus-run-session", "dbus-send", "gnome-keyring-daemon", "secret-tool"} {
		_, err := exec.LookPath(program)
		rig.Need(t, program, err == nil)
	}
	if os.Getenv(insideEnv) == "" {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "dbus-run-session", "--", os.Args[0], "-test.run=^TestSecretService$", "-test.v")
		cmd.Env = append(os.Environ(), insideEnv+"=1", programEnv+"="+rig.Doorward(t), "HOME="+t.TempDir(), "XDG_RUNTIME_DIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestSecretService")) {
			t.Errorf("in the session: %v\n%s", err, out)
		}
		return
	}
	s := newSession(t)
	issuer := s.provider()

	// login keeps its key in the keyring, and says so; no key lies in a file.
	r := s.login(issuer)
	if r.code != 0 || !strings.Contains(r.errs, "a key in the system's keyring") {
		t.Fatalf("login: exit %d\n%s%s", r.code, r.out, r.errs)
	}
	if _, err := os.Stat(filepath.Join(s.profiles(), "store.key")); err == nil {
		t.Error("there is a key beside the file")
	}
	key := s.secret()
	if raw, err := hex.DecodeString(key); err != nil || len(raw) != 32 {
		t.Fatalf("the keyring has no key of 32 bytes: %d characters, %v", len(key), err)
	}
	sealed, err := os.ReadFile(filepath.Join(s.profiles(), "default.sealed"))
	if err != nil || bytes.Contains(sealed, []byte(key)) || bytes.Contains(sealed, []byte("alice")) {
		t.Errorf("%v, or it can be read", err)
	}

	// Another process reads it.
	if r := s.run("whoami"); r.code != 0 || !strings.Contains(r.out, "alice") {
		t.Errorf("whoami: exit %d\n%s%s", r.code, r.out, r.errs)
	}

	// A keyring that is locked, with nobody at a prompt, is an error that says
	// so, in time, and nothing is lost by it.
	s.lock()
	start := time.Now()
	r = s.run("whoami")
	if r.code != 1 || !strings.Contains(r.errs, "the keyring is locked") || !strings.Contains(r.errs, "unlock the keyring") {
		t.Errorf("locked: exit %d\n%s%s", r.code, r.out, r.errs)
	}
	if took := time.Since(start); took > 50*time.Second {
		t.Errorf("it took %s", took)
	}
	if _, err := os.Stat(filepath.Join(s.profiles(), "store.key")); err == nil {
		t.Error("a key was made beside the file")
	}
	s.unlock()
	if r := s.run("whoami"); r.code != 0 || !strings.Contains(r.out, "alice") {
		t.Errorf("unlocked again: exit %d\n%s%s", r.code, r.out, r.errs)
	}

	// logout works without the keyring, too.
	s.lock()
	if r := s.run("logout"); r.code != 0 || !strings.Contains(r.out, "signed out") || !strings.Contains(r.errs, "not ended at the provider") {
		t.Errorf("logout: exit %d\n%s%s", r.code, r.out, r.errs)
	}
}

func newSession(t *testing.T) *session {
	t.Helper()
	s := &session{t: t, home: os.Getenv("HOME")}
	for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "PATH"} {
		s.env = append(s.env, name+"="+os.Getenv(name))
	}
	s.unlock()
	s.program = os.Getenv(programEnv)
	return s
}

// unlock starts the keyring with the person's password, as a login does, or
// puts another one, unlocked, in the place of the one that runs.
func (s *session) unlock() {
	s.t.Helper()
	cmd := exec.Command("gnome-keyring-daemon", "--replace", "--unlock", "--components=secrets")
	cmd.Stdin = strings.NewReader("the person's password")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("gnome-keyring-daemon: %v\n%s", err, out)
	}
}

func (s *session) lock() {
	s.t.Helper()
	cmd := exec.Command("dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets",
		"org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/collection/login")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("the keyring is not locked: %v\n%s", err, out)
	}
}

// secret is what the keyring has of doorward.
func (s *session) secret() string {
	s.t.Helper()
	out, err := exec.Command("secret-tool", "search", "--unlock", "service", "doorward").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if value, ok := strings.CutPrefix(line, "secret = "); ok {
			return strings.TrimSpace(value)
		}
	}
	s.t.Fatalf("nothing of doorward is in the keyring: %d bytes", len(out))
	return ""
}

func (s *session) profiles() string {
	return filepath.Join(s.home, ".local", "state", "doorward", "profiles")
}

// ran is a command that is over.
type ran struct {
	code      int
	out, errs string
}

func (s *session) run(args ...string) ran {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.program, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		s.t.Errorf("%q did not end: %v", args, err)
	}
	return ran{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// provider starts the company's identity provider.
func (s *session) provider() string {
	s.t.Helper()
	issuer := "http://" + rig.Free(s.t)
	dir := s.t.TempDir()
	file := filepath.Join(dir, "idp.yaml")
	text := fmt.Sprintf(`
url: %s
ops: ""
people: {alice: {email: alice@example.com, password: "%s"}}
clients: {registered: {desktop: {redirect_uris: ["http://127.0.0.1/callback"]}}}
`, issuer, password)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(s.program, "idp", "--config", file)
	cmd.Env = s.env
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(errs)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "is ready") {
			go func() {
				for lines.Scan() {
				}
			}()
			return issuer
		}
	}
	s.t.Fatal("the provider does not start")
	return ""
}

// login signs alice in.
func (s *session) login(issuer string) ran {
	s.t.Helper()
	cmd := exec.Command(s.program, "login", issuer, "--client-id", "desktop", "--no-browser", "--timeout", "60s")
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout = s.env, &out
	pipe, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	alice, err := browse.New("alice", password, http.DefaultTransport)
	if err != nil {
		s.t.Fatal(err)
	}
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		errs.WriteString(lines.Text() + "\n")
		if address := strings.TrimSpace(lines.Text()); strings.HasPrefix(address, "http") {
			if err := alice.Open(s.t.Context(), address); err != nil {
				s.t.Error(err)
			}
		}
	}
	cmd.Wait()
	return ran{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}
