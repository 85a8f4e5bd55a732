// Package rig is what the tests against other people's software share: what must
// be installed, our binary, free addresses and what processes say.
package rig

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// Need skips a test loudly where software is not installed; in CI it fails.
func Need(t testing.TB, what string, ok bool) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") != "":
		t.Fatalf("%s is missing: .ci/deps installs it", what)
	default:
		t.Skipf("NOT TESTED: %s is missing: make deps installs it", what)
	}
}

// Node is Need for Node.js and packages of npm beside the test.
func Node(t testing.TB, packages ...string) {
	t.Helper()
	_, err := exec.LookPath("node")
	Need(t, "Node.js", err == nil)
	for _, name := range packages {
		_, err := os.Stat(filepath.Join("node_modules", name))
		Need(t, name+" of npm", err == nil)
	}
}

var given struct {
	sync.Mutex
	ports map[int]bool
}

// Free is an address of this machine that nobody listens on. Its port is given
// once, and is none of those that the system gives to whoever wants just any:
// they would be taken meanwhile.
func Free(t testing.TB) string {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	for range 100 {
		port := 12000 + rand.IntN(20000)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		l.Close()
		if given.ports[port] {
			continue
		}
		if given.ports == nil {
			given.ports = map[int]bool{}
		}
		given.ports[port] = true
		return address
	}
	t.Fatal("no port is free")
	return ""
}

// Port is that of an address.
func Port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// built is made once for all tests of a package.
var built struct {
	sync.Once
	dir, program string
	err          error
}

// Doorward is the path of our binary, which is made as `make build` makes it:
// what was compiled for that serves here, too.
func Doorward(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "doorward-interop-"); built.err != nil {
			return
		}
		built.program = filepath.Join(built.dir, "doorward.exe") // Windows wants the ending
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", built.program, "../../cmd/doorward")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.program
}

// Main is the TestMain of a package that uses Doorward: it leaves nothing behind.
func Main(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// Output is what a process says.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write takes what the process writes.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is all that was said so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Wait returns the groups of the nth match of a pattern, for which it waits.
func (o *Output) Wait(t testing.TB, patience time.Duration, pattern string, nth int) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if all := re.FindAllStringSubmatch(o.String(), -1); len(all) >= nth {
			return all[nth-1]
		}
	}
	t.Fatalf("%q never came:\n%s", pattern, o)
	return nil
}

// Start starts a program that the test's end ends.
func Start(t testing.TB, env []string, name string, args ...string) *Output {
	t.Helper()
	said := &Output{}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = said, said, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		late := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(name), said)
		}
	})
	return said
}
