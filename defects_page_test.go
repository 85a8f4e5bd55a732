package doorward_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// defectsOf counts the defects of a part of docs/parity.md: numbered
// lines, or numbers within one paragraph.
func defectsOf(t *testing.T, parity, part string) int {
	t.Helper()
	_, text, found := strings.Cut(parity, "\n### "+part+".")
	if !found {
		t.Fatalf("docs/parity.md has no part %s", part)
	}
	text, _, _ = strings.Cut(text, "\n#")
	n := 0
	for _, m := range regexp.MustCompile(`\b(\d+)\. `).FindAllStringSubmatch(text, -1) {
		if i, err := strconv.Atoi(m[1]); err == nil && i == n+1 {
			n = i
		}
	}
	return n
}

// testsOf are the test functions of a package's directory.
func testsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Test") {
				names = append(names, fn.Name.Name)
			}
		}
	}
	return names
}

// Each defect of others has a test of ours that exists.
func TestDefectsHaveTests(t *testing.T) {
	parity, err := os.ReadFile("docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/defects.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for part, n := range map[string]int{"d1": 13, "d2": 14, "d3": 7, "d4": 11, "d5": 20} {
		if got := defectsOf(t, string(parity), part); got != n {
			t.Errorf("docs/parity.md has %d defects in %s, not %d", got, part, n)
		}
		for i := range n {
			want = append(want, fmt.Sprintf("%s.%d", part, i+1))
		}
	}
	known, span := map[string][]string{}, regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9]+)`")
	var have []string
	for line := range strings.SplitSeq(string(page), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !strings.HasPrefix(line, "| d") || len(cells) != 3 {
			continue
		}
		id := strings.TrimSpace(cells[0])
		have = append(have, id)
		tests := span.FindAllStringSubmatch(cells[2], -1)
		if len(tests) == 0 {
			t.Errorf("%s has no test", id)
		}
		for _, m := range tests {
			dir := "./" + strings.TrimPrefix(m[1], "doorward")
			if known[dir] == nil {
				known[dir] = testsOf(t, dir)
			}
			if !slices.Contains(known[dir], m[2]) {
				t.Errorf("%s: there is no %s in %s", id, m[2], dir)
			}
		}
	}
	if slices.Sort(have); !slices.Equal(have, slices.Sorted(slices.Values(want))) {
		t.Errorf("docs/defects.md has the rows %q, want %q", have, want)
	}
}
