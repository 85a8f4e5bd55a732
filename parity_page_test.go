package doorward_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// parityRowOfPage is a row of docs/parity-tests.md.
type parityRowOfPage struct {
	name  string
	tests []string
	note  string
}

func parityPage(t *testing.T) map[string][]parityRowOfPage {
	t.Helper()
	b, err := os.ReadFile("docs/parity-tests.md")
	if err != nil {
		t.Fatal(err)
	}
	span := regexp.MustCompile("`([^`]+)`")
	page, file := map[string][]parityRowOfPage{}, ""
	for line := range strings.SplitSeq(string(b), "\n") {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			file = name
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.Contains(line, "| here |") {
			continue
		}
		row := parityRowOfPage{name: strings.TrimSpace(cells[0]), note: strings.TrimSpace(cells[2])}
		for _, m := range span.FindAllStringSubmatch(cells[1], -1) {
			row.tests = append(row.tests, m[1])
		}
		page[file] = append(page[file], row)
	}
	return page
}

// ranTests runs tests of a package, and says which passed. They are built as the
// binary is, so that what was compiled for that serves here.
func ranTests(t *testing.T, pkg string, names []string) map[string]bool {
	t.Helper()
	cmd := exec.Command("go", "test", "-trimpath", "-vet=off", "-json", "-count=1", "-run", "^("+strings.Join(names, "|")+")$", pkg)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	out, err := cmd.Output()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	passed := map[string]bool{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var e struct{ Action, Test, Output string }
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return passed
		} else if err != nil {
			t.Fatalf("%v in %.2000s", err, out)
		}
		if e.Action == "pass" {
			passed[e.Test] = true
		}
	}
}

// Each test of the upstream's suite has one of ours, which exists, runs and
// passes, or the reason why it cannot concern us.
func TestUpstreamTestsHaveOurs(t *testing.T) {
	page, want := parityPage(t), upstreamCases(t)
	for file, names := range want {
		var have []string
		for _, row := range page[file] {
			have = append(have, row.name)
		}
		if slices.Sort(have); !slices.Equal(have, slices.Sorted(slices.Values(names))) {
			t.Errorf("docs/parity-tests.md: the cases of %s are not those of docs/parity.md", file)
		}
	}
	packages := map[string]string{"doorward": ".", "authserver": "./authserver", "authtest": "./authtest", "oauth": "./internal/oauth"}
	tops := map[string][]string{}
	for file, rows := range page {
		for _, row := range rows {
			if len(row.tests) == 0 && len(row.note) < 20 {
				t.Errorf("%s: %s has neither a test nor a reason", file, row.name)
			}
			for _, name := range row.tests {
				pkg, test, _ := strings.Cut(name, ".")
				top, _, _ := strings.Cut(test, "/")
				if packages[pkg] == "" || !strings.HasPrefix(top, "Test") {
					t.Errorf("%s: %q is no test", file, name)
				} else if !slices.Contains(tops[pkg], top) {
					tops[pkg] = append(tops[pkg], top)
				}
			}
		}
	}
	for pkg, names := range tops {
		passed := ranTests(t, packages[pkg], names)
		for file, rows := range page {
			for _, row := range rows {
				for _, name := range row.tests {
					test, ours := strings.CutPrefix(name, pkg+".")
					if ours && !passed[strings.ReplaceAll(test, " ", "_")] {
						t.Errorf("%s: %s did not run, or did not pass", file, name)
					}
				}
			}
		}
	}
}
