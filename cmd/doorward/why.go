package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"doorward/internal/audit"
	"doorward/store"
)

type whyIn struct {
	Ref string `json:"ref"`
}

type whyOut struct {
	Found   *audit.Explanation `json:"found,omitempty"`
	Unknown string             `json:"unknown,omitempty"` // what it means that there is none
}

func newWhy(e env) *cobra.Command {
	f := &adminFlags{}
	cmd := &cobra.Command{
		Use:   "why REF",
		Short: "What happened to a refused attempt, step by step, and who must act",
		Long: `Every refusal carries a reference of eight characters: on a page, in an error_description, in a JSON-RPC error. why prints
the steps of that attempt, the one that broke, the rule, and who must act: the person, the client's maker, the identity
provider's administrator or the operator. Refusals of callers who proved who they are lie in the database for audit.keep,
the last 10,000 others in the memory of the running server.
Exit status 0: explained; 1: there is no such reference here.`,
		Example: "  doorward why k7f3q2mz",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := strings.ToLower(strings.TrimSpace(args[0]))
			if !audit.IsRef(ref) {
				return wrongUse{fmt.Errorf("%q is no reference: it has eight letters and digits, as in (ref k7f3q2mz)", args[0])}
			}
			out, err := askOnce[whyOut](cmd.Context(), e, f, "why", whyIn{ref})
			if err != nil {
				return err
			}
			return e.printWhy(out, f.json)
		},
	}
	f.register(cmd)
	return cmd
}

// why finds a refusal: in memory, else in the store.
func (i *instance) why(ctx context.Context, in whyIn) (whyOut, error) {
	attempts := i.engine.Attempts()
	event, ok := attempts.Recent(in.Ref)
	if !ok {
		if err := attempts.Flush(ctx); err != nil {
			return whyOut{}, err
		}
		var err error
		if event, err = i.ledger.Attempt(ctx, in.Ref); errors.Is(err, store.ErrNotFound) {
			return whyOut{Unknown: i.unknownRef(in.Ref, attempts.Dropped())}, nil
		} else if err != nil {
			return whyOut{}, err
		}
	}
	x := audit.Explain(event)
	return whyOut{Found: &x}, nil
}

// unknownRef says what it means that nothing is kept under a reference.
func (i *instance) unknownRef(ref string, dropped int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "there is no attempt %s at %s: it was at another server, is mistyped, or is older than audit.keep", ref, i.config().URL)
	since := i.since.Load()
	switch {
	case since == nil:
		b.WriteString("; and this server does not run: refusals of callers who had not proved who they are were in its memory only, and are gone")
	case dropped > 0:
		fmt.Fprintf(&b, "; or it was dropped: of callers who had not proved who they are only the last %d are kept, in memory, and %d were dropped since this server started at %s",
			audit.MaxAttempts, dropped, since.Format(time.RFC3339))
	default:
		fmt.Fprintf(&b, "; or its caller had not proved who they are and the server was started again after it (at %s): such refusals are kept in memory", since.Format(time.RFC3339))
	}
	return b.String()
}

func (e env) printWhy(out whyOut, asJSON bool) error {
	if out.Found == nil {
		if asJSON {
			if err := e.printJSON(out); err != nil {
				return err
			}
			return &failure{}
		}
		return errors.New(out.Unknown)
	}
	if asJSON {
		return e.printJSON(out.Found)
	}
	good, bad, dim, off := "", "", "", ""
	if e.colours(e.stdout) {
		good, bad, dim, off = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
	}
	x := out.Found
	var b strings.Builder
	fmt.Fprintf(&b, "%s · %s · %s\n", x.Ref, x.Attempt, x.Time.UTC().Format(time.RFC3339))
	if about := aboutAttempt(x.Event); about != "" {
		fmt.Fprintf(&b, "  %s\n", about)
	}
	b.WriteByte('\n')
	for _, s := range x.Steps {
		switch s.Result {
		case audit.StepOK:
			fmt.Fprintf(&b, "  %sok    %s %s\n", good, off, s.Title)
		case audit.StepBroken:
			fmt.Fprintf(&b, "  %sBROKEN%s %s\n", bad, off, s.Title)
			if s.Saw != "" {
				fmt.Fprintf(&b, "         saw: %s\n", printable(s.Saw))
			}
		default:
			fmt.Fprintf(&b, "  %s-      %s%s\n", dim, s.Title, off)
		}
	}
	fmt.Fprintf(&b, "\n  why:       %s (%s)\n", x.Means, x.Reason)
	if x.Rule != "" {
		fmt.Fprintf(&b, "  rule:      %s\n", x.Rule)
	}
	fmt.Fprintf(&b, "  who acts:  %s\n  mend:      %s\n", x.Who, x.Mend)
	_, err := io.WriteString(e.stdout, b.String())
	return err
}

// aboutAttempt is who attempted what.
func aboutAttempt(ev audit.Event) string {
	var parts []string
	for _, p := range [][2]string{{"person", ev.Person}, {"client", ev.Client}, {"server", ev.Resource}, {"tool", ev.Tool},
		{"issuer", ev.Issuer}, {"grant", ev.Grant}, {"from", ev.Address}} {
		if p[1] != "" {
			parts = append(parts, p[0]+" "+printable(p[1]))
		}
	}
	return strings.Join(parts, " · ")
}

// printable keeps what strangers sent from driving the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, s)
}
