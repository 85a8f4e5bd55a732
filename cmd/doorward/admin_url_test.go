package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A server whose state lies beside its file is found by its url, too, running
// and stopped; one that was started without a file later takes the name over.
func TestAdministrationByURL(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	at := free(t)
	dir := write(t, map[string]string{"doorward.yaml": fmt.Sprintf("url: http://%s\nops: \"\"\nclients: {registered: {made-by-file: {secret: \"${S}\"}}}\nservers: {one: {path: /mcp, run: sample}}\n", at)})
	d.vars["S"] = longSecret
	p := d.start("serve", "--config", filepath.Join(dir, "doorward.yaml"))
	for _, state := range []string{"running", "stopped"} {
		if out := d.must("client", "list", "--url", "http://"+at); !strings.Contains(out, "made-by-file") {
			t.Errorf("%s: %s", state, out)
		}
		p.stop()
	}
	d.refused(1, []string{"ls", "--url", "http://127.0.0.1:1"}, "no server was ever started with the state directory")
	// A path that points to another server's state is not followed.
	byURL, err := stateByURL(d.env(nil, nil), "http://127.0.0.1:1")
	if err == nil {
		err = os.MkdirAll(byURL, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(byURL, pointer), []byte(filepath.Join(dir, ".doorward")), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.refused(1, []string{"ls", "--url", "http://127.0.0.1:1"}, "no server was ever started with the state directory")
	p = d.start("serve", "--url", "http://"+at)
	defer p.stop()
	if out := d.must("client", "list", "--url", "http://"+at); strings.Contains(out, "made-by-file") {
		t.Error(out)
	}
}

// What is said without need, or left out, at a start.
func TestGreeting(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	at, listen := free(t), free(t)
	p := d.start("serve", "--url", "http://"+at, "--listen", listen, "--ops", "off")
	p.errs.wait(t, "listening on "+regexp.QuoteMeta(listen)) // the line after the one that start waits for
	p.stop()
	d.refused(1, []string{"doctor", "127.0.0.1:8080/mcp"}, "there is no such file; an address begins with http:// or https://")
}
