package authserver

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// secretName is what holds a secret or the hash of one: it is compared with
// subtle.ConstantTimeCompare or hmac.Equal, never with == (but for being empty).
var secretName = regexp.MustCompile(`(?i)^(secret|.*secret(hash)?|hash|previous|verifier|codeverifier|password|registrationhash|refreshtoken|token)$`)

// covers: E06, SEC-26
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	files := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	safe := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if (n.Op == token.EQL || n.Op == token.NEQ) && (holdsSecret(n.X) || holdsSecret(n.Y)) && !isNothing(n.X) && !isNothing(n.Y) {
					t.Errorf("%s compares a secret with %s", files.Position(n.Pos()), n.Op)
				}
			case *ast.CallExpr:
				f, ok := n.Fun.(*ast.SelectorExpr)
				if !ok {
					break
				}
				switch f.Sel.Name {
				case "ConstantTimeCompare":
					safe++
				case "Equal", "EqualFold", "Compare", "HasPrefix":
					pkg, _ := f.X.(*ast.Ident)
					for _, arg := range n.Args {
						if holdsSecret(arg) && (pkg == nil || pkg.Name != "hmac") {
							t.Errorf("%s compares a secret with %s", files.Position(n.Pos()), f.Sel.Name)
						}
					}
				}
			}
			return true
		})
	}
	if safe < 3 { // client secrets, refresh tokens and their predecessors
		t.Errorf("%d comparisons in constant time", safe)
	}
}

func holdsSecret(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return secretName.MatchString(e.Name)
	case *ast.SelectorExpr:
		if pkg, ok := e.X.(*ast.Ident); ok && pkg.Name == "oauth" {
			return false // a name of the protocol
		}
		return secretName.MatchString(e.Sel.Name)
	}
	return false
}

// isNothing is an empty text, nil, or the type word of a token.
func isNothing(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Value == `""`
	case *ast.Ident:
		return e.Name == "nil"
	}
	return false
}
