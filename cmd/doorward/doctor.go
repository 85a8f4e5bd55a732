package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"doorward/internal/doctor"
)

func newDoctor(e env) *cobra.Command {
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "doctor URL|FILE",
		Short: "Diagnose an MCP server from outside, or a configuration file",
		Long: `Of a URL: walks as a client would, without a token, and says at each step what it saw, which rule it is about, how to mend
it and who has to.
Of a file: unknown keys with the nearest known one, wrong types, impossible combinations, what a public address refuses, and
what is not in this version, each as FILE:LINE:COL: text.
Exit status 0: no step failed, the file would start; 1: one did, it would not.`,
		Example: "  doorward doctor https://mcp.example.com/mcp\n  doorward doctor doorward.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.HasPrefix(args[0], "http://") || strings.HasPrefix(args[0], "https://") {
				return e.examine(doctor.Walk(cmd.Context(), doctor.Config{Timeout: timeout}, args[0]), asJSON)
			}
			if _, err := os.Stat(args[0]); err != nil {
				return err
			}
			return e.diagnose(args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "of the whole walk to a URL")
	return cmd
}

func (e env) diagnose(file string, asJSON bool) error {
	findings, cfg, err := checkFile(file, e.lookup)
	if err != nil {
		return err
	}
	if asJSON {
		err = e.printJSON(newDiagnosis(file, findings))
	} else {
		err = writeFindings(e.stdout, file, findings, cfg)
	}
	if err == nil && hasErrors(findings) {
		return &failure{}
	}
	return err
}

func newDiagnosis(file string, findings []Finding) doctor.Report {
	d := doctor.Report{URL: file, OK: !hasErrors(findings), Steps: []doctor.Step{}}
	for _, f := range findings {
		s := doctor.Step{ID: fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Col), Title: "configuration", Result: doctor.Fail, Saw: f.Text, Who: doctor.Operator}
		if f.Warning {
			s.Result = doctor.Warn
		}
		d.Steps = append(d.Steps, s)
	}
	if len(findings) == 0 {
		d.Steps = append(d.Steps, doctor.Step{ID: "file", Title: "configuration", Result: doctor.OK})
	}
	return d
}

// examine shows what the walk to a URL found: a line a step, then what to mend.
func (e env) examine(r doctor.Report, asJSON bool) error {
	if asJSON {
		if err := e.printJSON(r); err != nil {
			return err
		}
	} else if err := e.printReport(r); err != nil {
		return err
	}
	if !r.OK {
		return &failure{}
	}
	return nil
}

func (e env) printReport(r doctor.Report) error {
	colour, off := map[string]string{}, ""
	if e.colours(e.stdout) {
		colour, off = map[string]string{doctor.OK: "\x1b[32m", doctor.Warn: "\x1b[33m", doctor.Fail: "\x1b[31m"}, "\x1b[0m"
	}
	var steps, mend strings.Builder
	for _, s := range r.Steps {
		line := s.Title
		if s.Saw != "" {
			line += ": " + s.Saw
		}
		fmt.Fprintf(&steps, "%s%-4s%s  %s\n", colour[s.Result], s.Result, off, line)
		if s.Result != doctor.OK {
			fmt.Fprintf(&mend, "\n%s%s%s  %s\n  who acts: %s\n  mend:     %s\n", colour[s.Result], s.Title, off, s.Saw, s.Who, s.Mend)
			if s.Rule != "" {
				fmt.Fprintf(&mend, "  rule:     %s\n", s.Rule)
			}
		}
	}
	_, err := io.WriteString(e.stdout, steps.String()+mend.String())
	return err
}
