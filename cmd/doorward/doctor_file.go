package main

import (
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// checkFile diagnoses a configuration file as serve or idp would read it, and
// says besides which rules could never match. The error is for a file that
// cannot be read at all.
func checkFile(path string, env func(string) (string, bool)) (findings []Finding, cfg *Config, err error) {
	doc, at, err := parseFile(path)
	if err != nil && at.Line == 0 {
		return nil, nil, fmt.Errorf("%s %w", path, err)
	}
	cfg, findings = loadConfig(path, guessRole(doc), env)
	if !cfg.unusable {
		findings = append(findings, cfg.hints()...)
	}
	return cfg.sorted(findings), cfg, nil
}

// guessRole takes a file with audiences for that of an identity provider.
func guessRole(doc *yaml.Node) role {
	if doc == nil || doc.Kind != yaml.MappingNode {
		return roleServe
	}
	for i := 0; i+1 < len(doc.Content); i += 2 {
		if doc.Content[i].Value == "audiences" {
			return roleIdP
		}
	}
	return roleServe
}

// writeFindings writes what checkFile found, a line each, and what the file
// comes to if nothing keeps it from starting.
func writeFindings(w io.Writer, path string, findings []Finding, cfg *Config) error {
	errs := 0
	for _, f := range findings {
		if !f.Warning {
			errs++
		}
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	if errs > 0 {
		_, err := fmt.Fprintf(w, "%s: %s and %s\n", path, count(errs, "error"), count(len(findings)-errs, "warning"))
		return err
	}
	what := count(len(cfg.Servers), "server")
	if cfg.role == roleIdP {
		what = count(len(cfg.Audiences), "audience")
	}
	_, err := fmt.Fprintf(w, "%s: good for `doorward %s`: %s with %s, %s\n", path, cfg.role, cfg.URL, what, count(len(findings), "warning"))
	return err
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
