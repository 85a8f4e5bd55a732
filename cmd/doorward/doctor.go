package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func newDoctor(e env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor FILE",
		Short: "Diagnose a configuration file",
		Long: `Says what is wrong with a configuration file: unknown keys with the nearest known one, wrong types, impossible
combinations, what a public address refuses, and what is not in this version, each as FILE:LINE:COL: text.
Exit status 0: it would start; 1: it would not.`,
		Example: "  doorward doctor doorward.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if strings.HasPrefix(args[0], "http://") || strings.HasPrefix(args[0], "https://") {
				return errors.New("diagnosing a URL is not in this version; a file is")
			}
			if _, err := os.Stat(args[0]); err != nil {
				return err
			}
			return e.diagnose(args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

type diagnosis struct {
	URL   string          `json:"url"` // the file
	OK    bool            `json:"ok"`
	Steps []diagnosisStep `json:"steps"`
}

type diagnosisStep struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Result string `json:"result"` // ok | warn | fail
	Saw    string `json:"saw,omitempty"`
	Rule   string `json:"rule,omitempty"`
	Mend   string `json:"mend,omitempty"`
	Who    string `json:"who,omitempty"`
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

func newDiagnosis(file string, findings []Finding) diagnosis {
	d := diagnosis{URL: file, OK: !hasErrors(findings), Steps: []diagnosisStep{}}
	for _, f := range findings {
		s := diagnosisStep{ID: fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Col), Title: "configuration", Result: "fail", Saw: f.Text, Who: "operator"}
		if f.Warning {
			s.Result = "warn"
		}
		d.Steps = append(d.Steps, s)
	}
	if len(findings) == 0 {
		d.Steps = append(d.Steps, diagnosisStep{ID: "file", Title: "configuration", Result: "ok"})
	}
	return d
}
