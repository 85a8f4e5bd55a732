package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// product is what is measured of `doorward serve` itself.
type product struct {
	binary       float64 // MiB
	first, later time.Duration
	stream       float64 // KiB of an idle stream
	idle, peak   float64 // MiB
}

// streams is how many idle streams are opened to see what one costs.
const streams = 500

func (b *bench) product() (product, error) {
	var p product
	binary := filepath.Join(b.dir, "doorward")
	info, err := os.Stat(binary)
	if err != nil {
		return p, err
	}
	p.binary = float64(info.Size()) / (1 << 20)
	host, err := freeHost() // one for all starts: the state belongs to its issuer
	if err != nil {
		return p, err
	}
	for n, took := range []*time.Duration{&p.first, &p.later} {
		for try := range 3 { // the least
			if n == 0 {
				if err := os.RemoveAll(filepath.Join(b.dir, "state")); err != nil {
					return p, err
				}
			}
			s, err := b.serve(binary, host)
			if err != nil {
				return p, err
			}
			if try == 0 || s.took < *took {
				*took = s.took
			}
			if n == 1 && try == 2 {
				err = b.inside(s, &p)
			}
			s.stop()
			if err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func freeHost() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// served is a running `doorward serve`.
type served struct {
	cmd  *exec.Cmd
	t    target
	took time.Duration // from its start to its first answer
}

func (s *served) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// serve starts the product and waits for its first answer.
func (b *bench) serve(binary, host string) (*served, error) {
	file := filepath.Join(b.dir, "doorward.yaml")
	if err := os.WriteFile(file, []byte(b.configuration(host)), 0o600); err != nil {
		return nil, err
	}
	state := filepath.Join(b.dir, "state")
	s := &served{cmd: exec.Command(binary, "serve", "--config", file, "--state", state),
		t: target{base: "http://" + host, host: host, world: b.world}}
	var said strings.Builder
	s.cmd.Stderr = &said
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(began) < 10*time.Second {
		if c, err := dial(s.t.base); err == nil {
			err = c.do(get(host, "/.well-known/oauth-authorization-server", ""), http.StatusOK)
			c.wire.Close()
			if err == nil {
				s.took = time.Since(began)
				return s, nil
			}
		}
		time.Sleep(time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("doorward serve does not answer: %s", said.String())
}

func (b *bench) configuration(host string) string {
	return fmt.Sprintf(`version: 1
url: http://%s
listen: %s
ops: ""
providers:
  corp: {issuer: %s, email_domains: [example.com], id_jag: {jwks_uri: %s/jwks}}
people:
  alice: {email: alice@example.com, groups: [eng], password: %s}
clients:
  registration: {dynamic: open, total: 100000000}
  registered:
    desktop: {name: Desktop, secret: %s, redirect_uris: ["http://127.0.0.1/callback"]}
    agent: {secret: %s, grant_types: [client_credentials]}
    api: {secret: %s, introspects: [mcp]}
servers:
  mcp: {path: /mcp, upstream: %s/mcp, scopes: {use: Use the server}, allow: [{who: [everyone, "client:agent"]}]}
`, host, host, b.world.url, b.world.url, password, secret, secret, secret, b.world.url)
}

// inside measures memory: idle, and then under every load of the table.
func (b *bench) inside(s *served, p *product) error {
	var err error
	if s.t.cookie, err = browser(s.t.base, ""); err != nil {
		return err
	}
	pid := s.cmd.Process.Pid
	idle, err := memory(pid, "VmRSS")
	if err != nil {
		return err
	}
	p.idle = float64(idle) / 1024
	if p.stream, err = b.stream(); err != nil {
		return err
	}
	for _, row := range rows() {
		if row.ours.at != "serve" || strings.HasPrefix(row.name, "guard") {
			continue
		}
		each := max(1, int(float64(row.rate)*max(1, b.o.seconds))/b.o.connections)
		ops, conns, err := prepare(row.ours, s.t, b.o.connections, each)
		if err != nil {
			return err
		}
		if _, err := load(ops, conns, each); err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
	}
	peak, err := memory(pid, "VmHWM")
	p.peak = float64(peak) / 1024
	return err
}

// stream is what an idle stream costs, in KiB of resident memory, of a process
// that keeps nothing but what lives.
func (b *bench) stream() (float64, error) {
	p := b.processes["serve"]
	resident := func() (int, error) {
		if _, err := p.ask("/free"); err != nil {
			return 0, err
		}
		return memory(p.cmd.Process.Pid, "VmRSS")
	}
	before, err := resident()
	if err != nil {
		return 0, err
	}
	open, err := openStreams(b.targets["serve"])
	if err != nil {
		return 0, err
	}
	after, err := resident()
	for _, c := range open {
		c.wire.Close()
	}
	return float64(after-before) / streams, err
}

func openStreams(t target) ([]*conn, error) {
	token, err := t.token()
	if err != nil {
		return nil, err
	}
	request := get(t.host, "/mcp", "Accept: text/event-stream\r\nMcp-Protocol-Version: 2025-11-25\r\nAuthorization: Bearer "+token+"\r\n")
	var open []*conn
	for range streams {
		c, err := dial(t.base)
		if err != nil {
			return open, err
		}
		open = append(open, c)
		if err := c.begin(request, http.StatusOK); err != nil {
			return open, err
		}
	}
	return open, nil
}
