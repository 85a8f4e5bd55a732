package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"doorward/authserver"
	"doorward/internal/ledger"
)

type grantsIn struct {
	Person string `json:"person,omitempty"`
	Client string `json:"client,omitempty"`
	All    bool   `json:"all,omitempty"` // ended and expired ones, too
	After  string `json:"after,omitempty"`
}

type grantsOut struct {
	Grants []grantOut `json:"grants"`
	Next   string     `json:"next,omitempty"`
}

// grantOut is a grant without what could be used of it.
type grantOut struct {
	ID       string    `json:"id"`
	Person   string    `json:"person,omitempty"` // empty: the client itself
	Client   string    `json:"client"`
	Resource string    `json:"resource"`
	Scope    string    `json:"scope,omitempty"`
	Issuer   string    `json:"issuer,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	Ended    time.Time `json:"ended,omitzero"`
	Why      string    `json:"why,omitempty"` // it ended
}

func (i *instance) grantList(ctx context.Context, in grantsIn) (grantsOut, error) {
	which := ledger.Which{Person: in.Person, Client: in.Client, All: in.Person == "" && in.Client == ""}
	if in.Person != "" {
		var err error
		if which.Person, err = i.person(ctx, in.Person); err != nil {
			return grantsOut{}, err
		}
	}
	out := grantsOut{Grants: []grantOut{}}
	page, next, err := i.ledger.Grants(ctx, which, in.After)
	if err != nil {
		return out, err
	}
	now := time.Now()
	for _, g := range page {
		if !in.All && !g.Active(now) || in.Client != "" && g.Client != in.Client {
			continue
		}
		o := grantOut{ID: g.ID, Client: g.Client, Resource: g.Resource, Scope: g.Scopes.String(), Issuer: g.Issuer,
			Created: g.Created, Expires: g.Expires, Ended: g.Ended, Why: g.EndReason}
		if !g.Subject.IsClient() {
			o.Person = g.Subject.ID
		}
		out.Grants = append(out.Grants, o)
	}
	out.Next = next
	return out, nil
}

// kinds are what ls lists, in its order.
var kinds = []string{"people", "clients", "grants", "keys"}

func newLs(e env) *cobra.Command {
	f := &adminFlags{}
	in := grantsIn{}
	cmd := &cobra.Command{
		Use:   "ls [people|clients|grants|keys]",
		Short: "What there is: people, clients, grants, keys",
		Long: `Lists what a server knows: people, clients, grants and signing keys; without a word all of them.
With --json: a list of that kind, or an object of all four.`,
		Example:   "  doorward ls grants --person alice\n  doorward ls clients --json",
		ValidArgs: kinds,
		Args:      cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && !slices.Contains(kinds, args[0]) {
				return wrongUse{fmt.Errorf("%q: there are people, clients, grants and keys", args[0])}
			}
			if (in.Person != "" || in.Client != "" || in.All) && (len(args) == 0 || args[0] != "grants") {
				return wrongUse{errors.New("--person, --client and --all are for `doorward ls grants`")}
			}
			a, err := f.open(cmd.Context(), e)
			if err != nil {
				return err
			}
			defer a.close()
			return e.list(cmd.Context(), a, args, in, f.json)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&in.Person, "person", "", "grants of this person only")
	cmd.Flags().StringVar(&in.Client, "client", "", "grants of this client only")
	cmd.Flags().BoolVar(&in.All, "all", false, "grants that ended or expired, too")
	return cmd
}

// list prints one kind, or all of them under headings.
func (e env) list(ctx context.Context, a *admin, args []string, in grantsIn, asJSON bool) error {
	some := args
	if len(args) == 0 {
		some = kinds
	}
	all := map[string]any{}
	for n, kind := range some {
		list, rows, err := a.listOf(ctx, kind, in)
		if err != nil {
			return err
		}
		if all[kind] = list; asJSON {
			continue
		}
		if len(some) > 1 {
			if n > 0 {
				fmt.Fprintln(e.stdout)
			}
			fmt.Fprintf(e.stdout, "%s: %d\n", kind, len(rows)-1)
		}
		if err := table(e.stdout, rows); err != nil {
			return err
		}
	}
	switch {
	case !asJSON:
		return nil
	case len(args) == 1:
		return e.printJSON(all[args[0]])
	}
	return e.printJSON(all)
}

// listOf asks for a kind: as it came, and as rows with their heading.
func (a *admin) listOf(ctx context.Context, kind string, in grantsIn) (any, [][]string, error) {
	switch kind {
	case "people":
		var people []userOut
		rows := [][]string{{"NAME", "FROM", "E-MAIL", "GROUPS", "LEFT", "DIRECTORY"}}
		err := a.ask(ctx, "user/list", struct{}{}, &people)
		for _, p := range people {
			rows = append(rows, []string{p.Name, or(p.Provider, p.Source), p.Email, strings.Join(p.Groups, ","), day(p.Left), p.Directory})
		}
		return people, rows, err
	case "clients":
		var clients []clientOut
		rows := [][]string{{"CLIENT", "FROM", "KIND", "APPROVED", "NAME"}}
		err := a.ask(ctx, "client/list", struct{}{}, &clients)
		for _, c := range clients {
			rows = append(rows, []string{c.ID, c.Source, map[bool]string{true: "public", false: "confidential"}[c.Public],
				map[bool]string{true: "yes", false: "no"}[c.Approved], c.Name})
		}
		return clients, rows, err
	case "grants":
		return a.listGrants(ctx, in)
	}
	var keys keyOut
	rows := [][]string{{"KEY", "ALG", "MADE", "STATE"}}
	err := a.ask(ctx, "key/list", struct{}{}, &keys)
	for _, k := range keys.Keys {
		rows = append(rows, []string{k.ID, k.Alg, day(k.Created), keyState(k, time.Now())})
	}
	return keys.Keys, rows, err
}

func keyState(k authserver.KeyInfo, now time.Time) string {
	switch until := "published until " + k.Until.Format(time.RFC3339); {
	case now.Before(k.Signs):
		return "next, from " + k.Signs.Format(time.RFC3339)
	case k.Retired.IsZero():
		return "signs"
	case now.Before(k.Retired):
		return "signs; " + until
	default:
		return until
	}
}

func (a *admin) listGrants(ctx context.Context, in grantsIn) (any, [][]string, error) {
	grants := []grantOut{}
	rows := [][]string{{"GRANT", "PERSON", "CLIENT", "RESOURCE", "SCOPE", "SINCE", "UNTIL"}}
	for {
		var out grantsOut
		if err := a.ask(ctx, "grant/list", in, &out); err != nil {
			return nil, nil, err
		}
		grants = append(grants, out.Grants...)
		if in.After = out.Next; in.After == "" {
			break
		}
	}
	for _, g := range grants {
		until := g.Expires.Format(time.RFC3339)
		if !g.Ended.IsZero() {
			until = "ended " + g.Ended.Format(time.RFC3339) + " (" + g.Why + ")"
		}
		rows = append(rows, []string{g.ID, or(g.Person, "(itself)"), g.Client, g.Resource, g.Scope, g.Created.Format(time.RFC3339), until})
	}
	return grants, rows, nil
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateOnly)
}

// table writes rows in columns, without control characters of names that
// strangers chose.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = or(cleanForTerminal(cell), "-")
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}
