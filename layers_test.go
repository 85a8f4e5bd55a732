package doorward_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// step is the staircase of ARCHITECTURE.md: a package imports only lower steps.
var step = map[string]int{
	"internal/jsonobj": -1, "internal/churn": -1,
	"internal/oauth": 0, "internal/jose": 0, "internal/fetch": 0, "internal/access": 0,
	"internal/audit": 0, "internal/vault": 0, "store": 0, "internal/browse": 0, "internal/stdio": 0,
	"internal/limit": 0, "internal/peer": 0, "internal/scim": 0,
	"internal/metrics": 0, "internal/saml": 0,
	"internal/anyvalue": 1, "internal/keyset": 1, "internal/dpop": 1, "internal/ledger": 1,
	"store/sqlite": 1, "store/postgres": 1, "store/redis": 1, "store/storetest": 1,
	"": 2, "internal/login": 2,
	"authserver": 3, "internal/gateway": 3, "internal/bridge": 3, "internal/doctor": 3,
	"internal/keep": 3, "internal/console": 3,
	"authtest": 4, "internal/probe": 4, "internal/sample": 4,
	"cmd/doorward": 5, "conformance/client": 5, "conformance/beside": 5,
}

type listed struct {
	ImportPath   string
	Dir          string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// inModule is the package's path below the module's, and whether it is ours.
func inModule(path string) (string, bool) {
	if path == modulePath {
		return "", true
	}
	return strings.CutPrefix(path, modulePath+"/")
}

var modulePath = func() string {
	b, err := os.ReadFile("go.mod")
	if err != nil {
		panic(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "module "))
}()

func TestStaircase(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := inModule(p.ImportPath)
		if strings.HasPrefix(name, "examples/") || strings.HasPrefix(name, "bench") || strings.HasPrefix(name, "interop/") {
			continue // programs of users and tests beside them
		}
		own, ok := step[name]
		if !ok {
			t.Errorf("package %q stands on no step of the staircase", name)
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := inModule(imp)
			if !ours {
				continue
			}
			nouns := dep == "internal/oauth" && slices.Contains([]string{"internal/access", "internal/audit", "store"}, name)
			if s, ok := step[dep]; !ok || s >= own && !nouns {
				t.Errorf("%q (step %d) imports %q (step %d)", name, own, dep, s)
			}
		}
	}
}

func TestRootImportsLittle(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range strings.Fields(string(out)) {
		if _, ours := inModule(dep); ours || strings.HasPrefix(dep, "golang.org/x/oauth2") || strings.HasPrefix(dep, "github.com/go-jose/go-jose/v4") {
			continue
		}
		t.Errorf("a program that imports %s compiles %s", modulePath, dep)
	}
}

// Only internal/jose knows the JOSE library.
func TestOneImporterOfJOSE(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := inModule(p.ImportPath)
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "github.com/go-jose/") && name != "internal/jose" {
				t.Errorf("%q imports %s", name, imp)
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	banned := []string{"util", "utils", "common", "helpers", "types", "manager", "service", "impl", "misc"}
	for _, p := range packages(t) {
		if base := filepath.Base(p.ImportPath); slices.Contains(banned, base) {
			t.Errorf("%s: a package is named after a noun of the field, not %q", p.ImportPath, base)
		}
	}
}

var public = []string{".", "authserver", "authtest", "store", "store/sqlite", "store/storetest"}

// The exported names are a promise: a change of testdata/exported.txt is a
// change of the product's face.
func TestExportedNames(t *testing.T) {
	var got strings.Builder
	for _, dir := range public {
		for _, name := range exported(t, dir, nil) {
			fmt.Fprintf(&got, "%s %s\n", dir, name)
		}
	}
	const golden = "testdata/exported.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("exported names differ from %s (UPDATE_GOLDEN=1 writes it):\n%s", golden, diffLines(string(want), got.String()))
	}
}

func diffLines(want, got string) string {
	var out strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, l := range w {
		if !slices.Contains(g, l) {
			fmt.Fprintf(&out, "- %s\n", l)
		}
	}
	for _, l := range g {
		if !slices.Contains(w, l) {
			fmt.Fprintf(&out, "+ %s\n", l)
		}
	}
	return out.String()
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := inModule(p.ImportPath)
		if name == "" {
			name = "."
		}
		exported(t, name, func(decl string) { t.Errorf("%s: %s has no doc comment", name, decl) })
	}
}

// exported lists the exported names of a package's directory and reports those
// without a comment.
func exported(t *testing.T, dir string, undocumented func(string)) []string {
	t.Helper()
	fset := token.NewFileSet()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	note := func(name string, docs ...*ast.CommentGroup) {
		names = append(names, name)
		for _, d := range docs {
			if d.Text() != "" {
				return
			}
		}
		if undocumented != nil {
			undocumented(name)
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			exportedOf(d, note)
		}
	}
	slices.Sort(names)
	return names
}

func exportedOf(d ast.Decl, note func(string, ...*ast.CommentGroup)) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if !d.Name.IsExported() {
			return
		}
		if d.Recv == nil {
			note("func "+d.Name.Name, d.Doc)
			return
		}
		recv := d.Recv.List[0].Type
		if star, ok := recv.(*ast.StarExpr); ok {
			recv = star.X
		}
		if id, ok := recv.(*ast.Ident); ok && id.IsExported() {
			note("method "+id.Name+"."+d.Name.Name, d.Doc)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					note("type "+s.Name.Name, d.Doc, s.Doc)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() {
						note(strings.ToLower(d.Tok.String())+" "+n.Name, d.Doc, s.Doc, s.Comment)
					}
				}
			}
		}
	}
}

// Sizes of ARCHITECTURE.md: a file never past 600 lines, a function never past 80.
func TestSizes(t *testing.T) {
	fset := token.NewFileSet()
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if n := fset.Position(f.End()).Line; n > 600 {
				t.Errorf("%s/%s has %d lines", p.ImportPath, name, n)
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > 80 {
					t.Errorf("%s/%s: %s has %d lines", p.ImportPath, name, fn.Name.Name, n)
				}
			}
		}
	}
}

var (
	coversLine = regexp.MustCompile(`(?://|#|\*) *covers: *(.*)`)
	rowID      = regexp.MustCompile(`\b(?:(?:AS|RS|C|IDP|X|REV|SEC)(?:-[A-Z0-9]+)*-[0-9]{2}|[A-Z][0-9]{2})\b`)
	parityRow  = regexp.MustCompile(`(?m)^\| ([A-Z][0-9]{2}) \|`)
	ruleRow    = regexp.MustCompile(`(?m)^- ((?:AS|RS|C|IDP|X|REV|SEC)(?:-[A-Z0-9]+)*-[0-9]{2}) `)
)

// A row id above a test is a claim; here only that the row exists and that no
// test claims everything at once.
func TestRowIDs(t *testing.T) {
	known := map[string]bool{}
	for file, re := range map[string]*regexp.Regexp{"docs/parity.md": parityRow, "docs/requirements.md": ruleRow} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range re.FindAllStringSubmatch(string(b), -1) {
			known[m[1]] = true
		}
	}
	if len(known) < 700 {
		t.Fatalf("only %d rows found in docs/: are the tables still there?", len(known))
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".txtar") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		checkRows(t, path, string(b), known)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkRows counts the ids of each run of neighbouring covers lines.
func checkRows(t *testing.T, path, text string, known map[string]bool) {
	var claimed []string
	for i, line := range append(strings.Split(text, "\n"), "") {
		m := coversLine.FindStringSubmatch(line)
		if m == nil || strings.Contains(line, "regexp.MustCompile") {
			if len(claimed) > 12 {
				t.Errorf("%s:%d: one test claims %d rows", path, i, len(claimed))
			}
			claimed = nil
			continue
		}
		for _, id := range rowID.FindAllString(m[1], -1) {
			claimed = append(claimed, id)
			if !known[id] {
				t.Errorf("%s:%d: there is no row %s", path, i+1, id)
			}
		}
	}
}
