package scim

import (
	"maps"
	"slices"
	"strings"
)

// operation is one of a PATCH: add, remove or replace.
type operation struct {
	do    string
	path  Path
	value any
}

// operations reads the body of a PATCH. A value without a path is taken apart
// into one operation for each attribute of it (RFC 7644 section 3.5.2.1), whose
// names may be paths, as Microsoft Entra ID sends them.
func operations(body []byte) ([]operation, error) {
	attrs, err := object(body)
	if err != nil {
		return nil, err
	}
	raw, ok := attrs["operations"].([]any)
	switch {
	case !ok || len(raw) == 0:
		return nil, refuse(InvalidSyntax, "Operations is missing or empty")
	case len(raw) > maxPatches:
		return nil, refuse(TooMany, "more than %d Operations", maxPatches)
	}
	var out []operation
	for _, v := range raw {
		one, ok := v.(map[string]any)
		if !ok {
			return nil, refuse(InvalidSyntax, "an operation must be an object")
		}
		if one, err = lower(one); err != nil {
			return nil, err
		}
		if out, err = appendOperation(out, one); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func appendOperation(out []operation, one map[string]any) ([]operation, error) {
	do, _ := one["op"].(string)
	do = strings.ToLower(do)
	if do != "add" && do != "remove" && do != "replace" {
		return nil, refuse(InvalidSyntax, "op must be add, remove or replace")
	}
	switch path := one["path"].(type) {
	case string:
		if path == "" {
			break
		}
		p, err := ParsePath(path)
		if err != nil {
			return nil, err
		}
		value, there := one["value"]
		if !there && do != "remove" {
			return nil, refuse(InvalidValue, "an operation has no value")
		}
		return append(out, operation{do, p, value}), nil
	case nil:
	default:
		return nil, refuse(InvalidPath, "a path must be a string")
	}
	if do == "remove" {
		return nil, refuse(NoTarget, "remove needs a path")
	}
	values, ok := one["value"].(map[string]any)
	if !ok {
		return nil, refuse(InvalidValue, "without a path the value must be an object")
	}
	if _, err := lower(values); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) { // the whole before its parts
		p, err := ParsePath(name)
		if err != nil {
			return nil, err
		}
		out = append(out, operation{do, p, values[name]})
	}
	return out, nil
}
