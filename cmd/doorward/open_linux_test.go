package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a server names is opened by the system's browser, as one argument of its
// program and without a shell, or not at all.
//
// covers: SEC-35, C-AUTHZ-07, C-AUTHZ-09
func TestBrowserIsTheSystemsAndWithoutAShell(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Chdir(dir)
	script := "#!/bin/sh\nprintf '%s\\n' \"$#\" \"$@\" >" + filepath.Join(dir, "opened.new") + "\nmv opened.new opened\n"
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"https://as.example/authorize?a=b&c=d":      "https://as.example/authorize?a=b&c=d",
		"http://127.0.0.1:8080/authorize?x=1":       "http://127.0.0.1:8080/authorize?x=1",
		"https://x/$(touch hacked)":                 "https://x/$%28touch%20hacked%29",
		"https://x/$(id)":                           "https://x/$(id)",
		"https://x/`touch hacked`":                  "https://x/%60touch%20hacked%60",
		"https://x/?a=1&touch+hacked;touch hacked|": "https://x/?a=1&touch+hacked;touch hacked|",
		"https://x/?q=\"&calc":                      "https://x/?q=\"&calc",
		"&calc":                                     "",
		"-version":                                  "",
		"--help":                                    "",
		"javascript:alert(1)":                       "",
		"JavaScript:alert(1)":                       "",
		"data:text/html,x":                          "",
		"vbscript:x":                                "",
		"file:///etc/passwd":                        "",
		"/etc/passwd":                               "",
		"http://as.example/authorize":               "",
		"https://as.example@evil.example/":          "",
		"https:///authorize":                        "",
		"ms-settings:":                              "",
		"mailto:a@b.example":                        "",
		"":                                          "",
	} {
		_ = os.Remove("opened")
		var said bytes.Buffer
		open := (&tokenFlags{}).opener(env{stderr: &said, lookup: func(string) (string, bool) { return "", false }})
		if err := open(context.Background(), address); err != nil {
			t.Errorf("%q: %v", address, err)
		}
		got, err := os.ReadFile("opened")
		for n := 0; errors.Is(err, fs.ErrNotExist) && want != "" && n < 100; n++ {
			time.Sleep(10 * time.Millisecond)
			got, err = os.ReadFile("opened")
		}
		if want == "" && (err == nil || !strings.Contains(said.String(), "no browser could be started")) {
			t.Errorf("%q was opened: %q; said %q", address, got, said.String())
		}
		if text := "1\n" + want + "\n"; want != "" && string(got) != text {
			t.Errorf("%q: the browser's program got %q, want %q", address, got, text)
		}
		if _, err := os.Stat("hacked"); err == nil {
			t.Fatalf("%q was run", address)
		}
	}
}
