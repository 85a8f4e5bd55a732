package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"doorward"
	"doorward/internal/doctor"
)

func newDoctor(e env) *cobra.Command {
	f := &tokenFlags{}
	cmd := &cobra.Command{
		Use:   "doctor URL|FILE",
		Short: "Diagnose an MCP server from outside, or a configuration file",
		Long: `Of a URL: walks as a client would, without a token, and says at each step what it saw, which rule it is about, how to mend
it and who has to; docs/doctor.md lists the steps. It tries the endpoints with a client that does not exist, and changes nothing.
With --flow it then gets a token as doorward token does, decodes what comes by (no token is shown), and calls the server:

  enterprise  the whole chain: sign-in, ID-JAG, its redemption, the access token, a call
  browser     sign in and consent at the server's own authorization server
  device      the same in a browser on any device, by a code that is printed (RFC 8628)
  client      the client for itself (client_credentials)

What a person signed in to by browser or device before is not used, and nothing is kept.

Of a file: unknown keys with the nearest known one, wrong types, impossible combinations, what a public address refuses, and
what is not in this version, each as FILE:LINE:COL: text.
Exit status 0: no step failed, the file would start; 1: one did, it would not.`,
		Example: "  doorward doctor https://mcp.example.com/mcp\n  doorward doctor https://mcp.example.com/mcp --flow enterprise --client-id agent --client-secret env:AGENT_SECRET\n  doorward doctor doorward.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.HasPrefix(args[0], "http://") || strings.HasPrefix(args[0], "https://") {
				return f.examine(cmd, e, args[0])
			}
			if _, err := os.Stat(args[0]); errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s: there is no such file; an address begins with http:// or https://", args[0])
			} else if err != nil {
				return err
			}
			return e.diagnose(args[0], f.json)
		},
	}
	f.register(cmd)
	f.flow = ""
	flow := cmd.Flags().Lookup("flow")
	flow.DefValue, flow.Usage = "", "get a token by enterprise, browser, device or client, too; left out: without a token"
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "of the whole walk to a URL; with --flow 5m unless given")
	return cmd
}

// examine walks to a URL and shows what it found.
func (f *tokenFlags) examine(cmd *cobra.Command, e env, address string) error {
	if f.flow != "" && !cmd.Flags().Changed("timeout") {
		f.timeout = 5 * time.Minute
	}
	client, err := f.doctorClient(cmd, e, address)
	if err != nil {
		return err
	}
	progress, done := e.progress()
	r := doctor.Walk(cmd.Context(), doctor.Config{Timeout: f.timeout, Client: client, Progress: progress}, address)
	done()
	if f.json {
		err = e.printJSON(r)
	} else {
		err = e.printReport(r)
	}
	if err == nil && !r.OK {
		err = &failure{}
	}
	return err
}

// doctorClient is the client that the flags ask for; nil: none.
func (f *tokenFlags) doctorClient(cmd *cobra.Command, e env, server string) (*doorward.Transport, error) {
	switch f.flow {
	case "":
		for _, flag := range []string{"idp", "idp-client-id", "idp-client-secret", "client-id", "client-secret", "scope", "resource", "profile", "assume-pkce", "no-browser"} {
			if cmd.Flags().Changed(flag) {
				return nil, wrongUse{fmt.Errorf("--%s goes with --flow", flag)}
			}
		}
		return nil, nil
	case "auto":
		return nil, wrongUse{errors.New("--flow auto: doctor takes one at a time: enterprise, browser, device or client")}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	w, err := f.choose(ctx, e, server)
	if err != nil {
		return nil, err
	}
	return w.first, nil
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
