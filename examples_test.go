package doorward_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parsed is the program of an example.
func parsed(t *testing.T, name string) (*token.FileSet, *ast.File) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, filepath.Join("examples", name, "main.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return set, f
}

// Cross-app access is four types, and all of the agent that acts for many
// people is thirty lines.
func TestExamplesAreShort(t *testing.T) {
	_, crossapp := parsed(t, "crossapp")
	used := map[string]bool{}
	ast.Inspect(crossapp, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "doorward" {
				used[s.Sel.Name] = true
			}
		}
		return true
	})
	if got := slices.Sorted(maps.Keys(used)); !slices.Equal(got, []string{"Credentials", "CrossApp", "Subject", "Transport"}) {
		t.Errorf("examples/crossapp uses %q", got)
	}
	set, agent := parsed(t, "agent")
	lines := 0
	for _, d := range agent.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && (f.Name.Name == "agent" || f.Name.Name == "call") {
			lines += set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
		}
	}
	if lines == 0 || lines > 30 {
		t.Errorf("examples/agent: agent and call are %d lines", lines)
	}
}

// The README names every example program.
func TestReadmeNamesTheExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	mains, err := filepath.Glob("examples/*/main.go")
	if err != nil || len(mains) < 5 {
		t.Fatalf("%q, %v", mains, err)
	}
	for _, main := range mains {
		if dir := filepath.ToSlash(filepath.Dir(main)); !strings.Contains(string(readme), "("+dir+")") {
			t.Errorf("README.md does not name %s", dir)
		}
	}
}
