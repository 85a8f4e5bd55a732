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
	"strconv"
	"strings"
	"testing"
)

// upstreamCases are the tests that docs/parity.md lists in (c1) and (c2), by file.
func upstreamCases(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(b), "\n### c1.")
	part, _, _ = strings.Cut(part, "\n### c3.")
	heading := regexp.MustCompile(`^\*\*(\S+) — (\d+) cases\*\*`)
	group := regexp.MustCompile(`^- \*[^*]+\*: (.*)`)
	all, count, file := map[string][]string{}, map[string]int{}, ""
	for line := range strings.SplitSeq(part, "\n") {
		if m := heading.FindStringSubmatch(line); m != nil {
			file = m[1]
			count[file], _ = strconv.Atoi(m[2])
		} else if m := group.FindStringSubmatch(line); m != nil && file != "" {
			for one := range strings.SplitSeq(m[1], "; ") {
				all[file] = append(all[file], strings.ReplaceAll(one, " ⟨table⟩", ""))
			}
		}
	}
	sum := 0
	for file, n := range count {
		if sum += n; len(all[file]) != n {
			t.Errorf("docs/parity.md: %s has %d cases and %d names", file, n, len(all[file]))
		}
	}
	if sum != 143+53 {
		t.Errorf("docs/parity.md: %d cases, not 143 and 53", sum)
	}
	return all
}

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

// ranTests runs tests of a package, and says which passed.
func ranTests(t *testing.T, pkg string, names []string) map[string]bool {
	t.Helper()
	cmd := exec.Command("go", "test", "-json", "-count=1", "-run", "^("+strings.Join(names, "|")+")$", pkg)
	cmd.Stderr = os.Stderr
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
	packages := map[string]string{"doorward": ".", "authserver": "./authserver"}
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
