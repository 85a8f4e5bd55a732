package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"testing"

	"doorward"
	"doorward/authserver"
)

// roots are the types whose every field this module uses, with what lies in them.
var roots = map[string]reflect.Type{
	"authserver.Config": reflect.TypeFor[authserver.Config](), "authserver.Audience": reflect.TypeFor[authserver.Audience](),
	"authserver.OAuthProvider": reflect.TypeFor[authserver.OAuthProvider](),
	"authserver.LocalPerson":   reflect.TypeFor[authserver.LocalPerson](), "authserver.OIDCProvider": reflect.TypeFor[authserver.OIDCProvider](),
	"doorward.GuardConfig": reflect.TypeFor[doorward.GuardConfig](),
}

// uses are the fields that composite literals name, by their type.
type uses map[reflect.Type]map[string]bool

// literal notes the fields of a literal of a type, and of those in it.
func (u uses) literal(e ast.Expr, typ reflect.Type) {
	lit, ok := e.(*ast.CompositeLit)
	if !ok {
		return
	}
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	for _, elt := range lit.Elts {
		kv, keyed := elt.(*ast.KeyValueExpr)
		switch {
		case typ.Kind() == reflect.Struct && keyed:
			name := kv.Key.(*ast.Ident).Name
			if u[typ] == nil {
				u[typ] = map[string]bool{}
			}
			u[typ][name] = true
			if f, ok := typ.FieldByName(name); ok {
				u.literal(kv.Value, f.Type)
			}
		case typ.Kind() == reflect.Map && keyed:
			u.literal(kv.Value, typ.Elem())
		case typ.Kind() == reflect.Slice:
			u.literal(elt, typ.Elem())
		}
	}
}

// named is "package.Type" of a type expression.
func named(e ast.Expr) string {
	if sel, ok := e.(*ast.SelectorExpr); ok {
		if pkg, ok := sel.X.(*ast.Ident); ok {
			return pkg.Name + "." + sel.Sel.Name
		}
	}
	return ""
}

// wanted are the structs of the library in a type, with itself.
func wanted(typ reflect.Type, into map[reflect.Type]bool) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice:
		wanted(typ.Elem(), into)
	case reflect.Map:
		wanted(typ.Elem(), into)
	case reflect.Struct:
		if into[typ] || !ours(typ.PkgPath()) {
			return
		}
		into[typ] = true
		for i := range typ.NumField() {
			wanted(typ.Field(i).Type, into)
		}
	}
}

func ours(path string) bool {
	root := reflect.TypeFor[doorward.GuardConfig]().PkgPath()
	return path == root || len(path) > len(root) && path[:len(root)+1] == root+"/"
}

// A program in another module uses every field of the configurations once.
//
// covers: A01, A02, A08
func TestEveryFieldIsUsed(t *testing.T) {
	used := uses{}
	for _, file := range []string{"main.go", "elsewhere.go", "embed_test.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.CompositeLit); ok {
				if typ := roots[named(lit.Type)]; typ != nil {
					used.literal(lit, typ)
				}
				if m, ok := lit.Type.(*ast.MapType); ok && roots[named(m.Value)] != nil {
					used.literal(lit, reflect.MapOf(reflect.TypeFor[string](), roots[named(m.Value)]))
				}
			}
			return true
		})
	}
	want := map[reflect.Type]bool{}
	for _, typ := range roots {
		wanted(typ, want)
	}
	if len(want) < 14 {
		t.Errorf("only %d types: %v", len(want), want)
	}
	for typ := range want {
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() && !used[typ][f.Name] && typ != reflect.TypeFor[doorward.Credentials]() {
				t.Errorf("%s.%s is used nowhere here: add it to main.go or elsewhere.go", typ, f.Name)
			}
		}
	}
}
