package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// peersDir is a module and a package of npm of its own.
const peersDir = "bench/peers"

// openPeers starts the peers that can be had, and says loudly which cannot.
func (b *bench) openPeers() error {
	for _, p := range peers() {
		running, err := p.start(b)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: WITHOUT %s, WHICH CANNOT BE HAD: %v\n", p.name, err)
			continue
		}
		b.processes[p.name] = running
		version, err := running.ask("/version")
		if err != nil {
			return fmt.Errorf("version of %s: %w", p.name, err)
		}
		p.version = string(version)
		t := target{base: running.base, host: strings.TrimPrefix(running.base, "http://"), world: b.world, redirect: p.redirect, scope: p.scope}
		if p.signsIn {
			if t.cookie, err = browser(t.base, p.scope); err != nil {
				return fmt.Errorf("signing in at %s: %w", p.name, err)
			}
		}
		b.targets[p.name] = t
		b.peers = append(b.peers, p)
	}
	return nil
}

// fetchLimit bounds how long the packages of a peer may take to come.
const fetchLimit = 5 * time.Minute

// command runs a program that fetches or builds, and returns what it said if it
// fails.
func command(dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), fetchLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func startFosite(b *bench) (*process, error) {
	binary := filepath.Join(b.dir, fosite)
	if err := command(peersDir, "go", "build", "-o", binary, "."); err != nil {
		return nil, err
	}
	return start(binary, "-issuer", b.world.url, "-trusted", b.world.trusted, "-kid", b.world.key.ID())
}

// node starts a program for Node.js, with the packages of the lockfile.
func node(script string) func(*bench) (*process, error) {
	return func(*bench) (*process, error) {
		if err := install(); err != nil {
			return nil, err
		}
		// env becomes node: the process that is started is the one that is measured.
		return start("env", "NODE_ENV=production", "node", "--expose-gc", filepath.Join(peersDir, script))
	}
}

// install has npm install what the lockfile names, unless that is what it
// installed last (as .ci/deps does).
func install() error {
	lock, err := os.ReadFile(filepath.Join(peersDir, "package-lock.json"))
	if err != nil {
		return err
	}
	mark := filepath.Join(peersDir, "node_modules", ".doorward-lock")
	if installed, err := os.ReadFile(mark); err == nil && bytes.Equal(installed, lock) {
		return nil
	}
	if err := command(peersDir, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"); err != nil {
		return err
	}
	return os.WriteFile(mark, lock, 0o644)
}
