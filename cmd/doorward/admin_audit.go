package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"doorward/internal/audit"
)

type auditIn struct {
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	After string    `json:"after,omitempty"`
}

type auditOut struct {
	Events []audit.Event `json:"events"`
	Next   string        `json:"next,omitempty"`
}

// auditExport is a page of events. The first waits for those that are queued.
func (i *instance) auditExport(ctx context.Context, in auditIn) (auditOut, error) {
	out := auditOut{Events: []audit.Event{}}
	if in.After == "" {
		if err := errors.Join(i.audit.Flush(ctx), i.engine.Attempts().Flush(ctx)); err != nil {
			return out, err
		}
	}
	page, next, err := i.ledger.Events(ctx, in.After)
	if err != nil {
		return out, err
	}
	for _, e := range page {
		if e.Time.Before(in.Since) || !in.Until.IsZero() && !e.Time.Before(in.Until) {
			continue
		}
		out.Events = append(out.Events, e)
	}
	out.Next = next
	return out, nil
}

func newAudit(e env) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "The record of decisions: export", Args: cobra.NoArgs, Example: "  doorward audit export --since 24h --json"}
	cmd.RunE = func(*cobra.Command, []string) error {
		return wrongUse{errors.New("say what to do: audit export")}
	}
	f := &adminFlags{}
	since, until := "", ""
	export := &cobra.Command{
		Use:   "export",
		Short: "Print the audit events, the oldest first",
		Long: `Prints what was decided: who asked for what, by which client, by which rule, and why. Events lie in the database for audit.keep.
--since and --until take a time (2026-07-28, 2026-07-28T09:00:00Z) or how long ago (24h). With --json each event is one line.`,
		Example: "  doorward audit export --since 24h\n  doorward audit export --since 2026-07-01 --until 2026-08-01 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			in, now := auditIn{}, time.Now()
			if in.Since, err = moment(since, now); err != nil {
				return wrongUse{fmt.Errorf("--since %w", err)}
			}
			if in.Until, err = moment(until, now); err != nil {
				return wrongUse{fmt.Errorf("--until %w", err)}
			}
			return e.exportAudit(cmd.Context(), f, in)
		},
	}
	f.register(export)
	export.Flags().StringVar(&since, "since", "", "not before: a time, or how long ago")
	export.Flags().StringVar(&until, "until", "", "only before: a time, or how long ago")
	cmd.AddCommand(export)
	return cmd
}

// moment reads a time, or how long ago it was.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2026-07-28, 2026-07-28T09:00:00Z, or 24h for that long ago", s)
}

func (e env) exportAudit(ctx context.Context, f *adminFlags, in auditIn) error {
	a, err := f.open(ctx, e)
	if err != nil {
		return err
	}
	defer a.close()
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	for {
		var out auditOut
		if err := a.ask(ctx, "audit/export", in, &out); err != nil {
			return err
		}
		for _, event := range out.Events {
			if f.json {
				err = enc.Encode(event)
			} else {
				_, err = fmt.Fprintln(e.stdout, eventLine(event))
			}
			if err != nil {
				return err
			}
		}
		if in.After = out.Next; in.After == "" {
			return nil
		}
	}
}

// eventLine is an event for people: time, action and outcome, then what is not
// empty.
func eventLine(e audit.Event) string {
	line := fmt.Sprintf("%s  %-18s %-8s", e.Time.UTC().Format(time.RFC3339), e.Action, e.Outcome)
	for _, f := range [][2]string{
		{"reason", e.Reason}, {"rule", e.Rule}, {"person", e.Person}, {"client", e.Client}, {"resource", e.Resource}, {"tool", e.Tool},
		{"scope", e.Scope}, {"grant", e.Grant}, {"issuer", e.Issuer}, {"jti", e.JTI}, {"grant_type", e.GrantType}, {"address", e.Address},
		{"ref", e.Ref}, {"detail", e.Detail},
	} {
		if f[1] != "" {
			line += " " + f[0] + "=" + quoted(cleanForTerminal(f[1]))
		}
	}
	return line
}

func quoted(s string) string {
	if strings.ContainsAny(s, " \"=") {
		return fmt.Sprintf("%q", s)
	}
	return s
}
