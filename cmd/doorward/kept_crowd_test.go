package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/authserver"
	"doorward/interop/rig"
	"doorward/store/sqlite"
)

// memberEnv makes this test program one of a crowd instead of testing: URL,
// goroutines, and how long each goes on calling.
const memberEnv = "DOORWARD_TEST_CROWD"

func TestMain(m *testing.M) {
	if what := os.Getenv(memberEnv); what != "" {
		if err := member(what); err != nil {
			fmt.Fprintln(os.Stderr, "doorward:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	rig.Main(m)
}

// member is a process with many goroutines that call one server, as connect does.
func member(what string) error {
	var server string
	var many int
	var long time.Duration
	var text string
	if _, err := fmt.Sscan(what, &server, &many, &text); err != nil {
		return err
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	e := env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, lookup: os.LookupEnv}
	f := &tokenFlags{flow: "browser", noBrowser: true}
	w, err := f.choose(context.Background(), e, server)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: w, Timeout: time.Minute}
	errs := make([]error, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			for end := time.Now().Add(long); ; time.Sleep(250 * time.Millisecond) {
				resp, err := client.Post(server, "application/json", strings.NewReader("{}"))
				if err == nil && resp.StatusCode != http.StatusOK {
					err = errors.New(resp.Status)
				}
				if err != nil {
					errs[i] = err
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if !time.Now().Before(end) {
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// crowd is a server and its authorization server, which count what reaches them.
type crowd struct {
	*desk
	server string

	mu     sync.Mutex
	counts map[string]int
}

func newCrowd(t *testing.T, tokens authserver.Tokens) *crowd {
	c := &crowd{desk: newDesk(t), counts: map[string]int{}}
	c.vars["DOORWARD_STORE_KEY"] = strings.Repeat("a5", 32)
	db, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	var as *authserver.Server
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := r.URL.Path
		if what == "/token" {
			b, err := io.ReadAll(r.Body)
			form, perr := url.ParseQuery(string(b))
			if errors.Join(err, perr) != nil {
				t.Error(err, perr)
			}
			what, r.Body = form.Get("grant_type"), io.NopCloser(bytes.NewReader(b))
		}
		c.mu.Lock()
		c.counts[what]++
		c.mu.Unlock()
		as.ServeHTTP(w, r)
	}))
	issuer := "http://" + srv.Listener.Addr().String()
	as, err = authserver.New(authserver.Config{URL: issuer, Store: db, Tokens: tokens, Registration: authserver.Registration{Mode: "open"},
		SignIn: authserver.LocalPeople(map[string]authserver.LocalPerson{"alice": {Password: alicesPassword}})})
	if err == nil {
		err = as.Protect("/mcp", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	}
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Close(); as.Close(); db.Close() })
	c.server = issuer + "/mcp"
	return c
}

func (c *crowd) count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[what]
}

// join starts a process of many goroutines. Addresses to open come out of it.
func (c *crowd) join(many int, long time.Duration, open chan<- request) *exec.Cmd {
	c.t.Helper()
	cmd := exec.Command(os.Args[0])
	for name, value := range c.vars {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, memberEnv+"="+fmt.Sprint(c.server, " ", many, " ", long))
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cmd.Process.Kill() })
	go func() {
		for lines := bufio.NewScanner(errs); lines.Scan(); {
			line := strings.TrimSpace(lines.Text())
			if strings.HasPrefix(line, "http") {
				open <- request{line, cmd}
			}
			if strings.HasPrefix(line, "doorward:") {
				c.t.Error(line)
			}
		}
	}()
	return cmd
}

// request is an address that a process wants opened.
type request struct {
	address string
	by      *exec.Cmd
}

// Eight processes of one person with a thousand goroutines need one token at
// once: one of them asks the person, and each has one flight at most.
//
// covers: C-TOK-05, T14
func TestCrowdSharesOneSignIn(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, authserver.Tokens{})
	open := make(chan request, 100)
	var members []*exec.Cmd
	for range 8 {
		members = append(members, c.join(125, 0, open))
	}
	if err := person(t, "alice", alicesPassword).Open(t.Context(), (<-open).address); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if err := m.Wait(); err != nil {
			t.Error(err)
		}
	}
	for what, want := range map[string]int{"authorization_code": 1, "refresh_token": 0, "/register": 1} {
		if got := c.count(what); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	if n := c.count("/.well-known/oauth-authorization-server"); n > 8 {
		t.Errorf("metadata was fetched %d times by 8 processes", n)
	}
	if len(open) > 0 {
		t.Errorf("the person was asked %d times more", len(open))
	}
}

// A refresh token that rotates is used once by all processes together, and the
// next one is never lost: this issuer forgives nothing.
//
// covers: C-TOK-05, T05, T14
func TestCrowdRotatesOneRefreshToken(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, authserver.Tokens{Access: 3 * time.Second, RefreshGrace: -1})
	open := make(chan request, 100)
	var members []*exec.Cmd
	for range 8 {
		members = append(members, c.join(5, 9*time.Second, open))
	}
	if err := person(t, "alice", alicesPassword).Open(t.Context(), (<-open).address); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if err := m.Wait(); err != nil {
			t.Error(err)
		}
	}
	if n := c.count("refresh_token"); n < 2 || n > 8 {
		t.Errorf("%d refreshes in nine seconds of tokens of three", n)
	}
	if c.count("authorization_code") != 1 || len(open) > 0 {
		t.Errorf("%d sign-ins", c.count("authorization_code")+len(open))
	}
}

// Whoever is killed while the person is away leaves the sign-in to the others.
func TestCrowdLosesTheOneThatAsked(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, authserver.Tokens{})
	open := make(chan request, 100)
	members := map[*exec.Cmd]bool{}
	for range 3 {
		members[c.join(10, 0, open)] = true
	}
	first := <-open
	if err := first.by.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.by.Wait()
	delete(members, first.by)
	second := <-open
	if second.by == first.by {
		t.Fatal("the dead ask")
	}
	if err := person(t, "alice", alicesPassword).Open(t.Context(), second.address); err != nil {
		t.Fatal(err)
	}
	for m := range members {
		if err := m.Wait(); err != nil {
			t.Error(err)
		}
	}
	if c.count("authorization_code") != 1 || len(open) > 0 {
		t.Errorf("%d sign-ins", c.count("authorization_code")+len(open))
	}
}
