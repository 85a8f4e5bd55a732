package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"doorward/internal/ledger"
)

func newLeave(e env) *cobra.Command {
	f := &adminFlags{}
	var undo bool
	cmd := &cobra.Command{
		Use:     "leave PERSON",
		Short:   "The off switch for a person, with a receipt",
		Long:    "Ends everything of a person who leaves: grants, tokens, open streams, sign-in sessions; and lets them have nothing new.\nPERSON is the account (NAME, or PROVIDER/ACCOUNT) or the e-mail address.",
		Example: "  doorward leave alice\n  doorward leave --undo alice     # the person is back; what ended stays ended",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := askOnce[receipt](cmd.Context(), e, f, "leave", leaveIn{args[0], undo})
			if err != nil {
				return err
			}
			return e.printReceipt(r, f.json)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&undo, "undo", false, "let a person who left come back")
	return cmd
}

func newRevoke(e env) *cobra.Command {
	f := &adminFlags{}
	var all bool
	cmd := &cobra.Command{
		Use:     "revoke client:ID | server:NAME | issuer:NAME | grant:ID | --all",
		Short:   "Ends what a client, a server, an issuer or one grant has, with a receipt",
		Example: "  doorward revoke client:desktop\n  doorward revoke issuer:okta\n  doorward revoke --all",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := parseWhich(args, all)
			if err != nil {
				return wrongUse{err}
			}
			r, err := askOnce[receipt](cmd.Context(), e, f, "revoke", in)
			if err != nil {
				return err
			}
			return e.printReceipt(r, f.json)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "everything of everybody")
	return cmd
}

func parseWhich(args []string, all bool) (revokeIn, error) {
	if all == (len(args) == 1) {
		return revokeIn{}, errors.New("name one of client:ID, server:NAME, issuer:NAME, grant:ID, or say --all")
	}
	if all {
		return revokeIn{What: ledger.Which{All: true}, Name: "everything"}, nil
	}
	kind, name, ok := strings.Cut(args[0], ":")
	in := revokeIn{Name: args[0]}
	switch {
	case !ok || name == "":
		return in, fmt.Errorf("%q: write client:ID, server:NAME, issuer:NAME or grant:ID (a person: doorward leave)", args[0])
	case kind == "client":
		in.What.Client = name
	case kind == "server":
		in.What.Resource = name
	case kind == "issuer":
		in.What.Issuer = name
	case kind == "grant":
		in.What.Grant = name
	default:
		return in, fmt.Errorf("%q: there is no %s to revoke; write client:ID, server:NAME, issuer:NAME or grant:ID (a person: doorward leave)", args[0], kind)
	}
	return in, nil
}

func (e env) printReceipt(r receipt, asJSON bool) error {
	if asJSON {
		return e.printJSON(r)
	}
	fmt.Fprintf(e.stdout, "%s · %s · %s · %.1f ms\n", r.What, r.Reason, r.Time.Format(time.RFC3339), r.TookMS)
	fmt.Fprintf(e.stdout, "  ended: %s, %s, %s\n", count(len(r.Grants), "grant"), count(r.Sessions, "session"), count(r.Consents, "remembered consent"))
	for _, g := range r.Grants {
		fmt.Fprintf(e.stdout, "  grant %s  %s → %s  by %s  since %s\n", g.ID, g.Person, g.Resource, g.Client, g.Since.Format(time.RFC3339))
	}
	if r.Note != "" {
		fmt.Fprintf(e.stdout, "  %s\n", r.Note)
	}
	return nil
}

func newCan(e env) *cobra.Command {
	f := &adminFlags{}
	in := canIn{}
	cmd := &cobra.Command{
		Use:     "can PERSON SERVER [TOOL]",
		Short:   "May they, and which rule decides",
		Long:    "Asks the rules of the running server about a person as they were last seen. The flags ask about somebody else than that.\nExit status 0: allowed; 1: refused.",
		Example: "  doorward can alice files read_file",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Person, in.Server = args[0], args[1]
			if len(args) == 3 {
				in.Tool = args[2]
			}
			out, err := askOnce[canOut](cmd.Context(), e, f, "can", in)
			if err != nil {
				return err
			}
			if f.json {
				err = e.printJSON(out)
			} else {
				verdict := map[bool]string{true: "yes", false: "no"}[out.Allowed]
				_, err = fmt.Fprintf(e.stdout, "%s: %s · %s\n", verdict, out.Reason, or(out.Rule, "no rule lets them"))
			}
			if err == nil && !out.Allowed {
				return &failure{}
			}
			return err
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&in.Client, "client", "", "as if through this client")
	cmd.Flags().StringSliceVar(&in.Groups, "group", nil, "as if in this group; repeatable")
	cmd.Flags().StringVar(&in.Email, "email", "", "as if with this address")
	cmd.Flags().StringSliceVar(&in.AMR, "amr", nil, "as if signed in by this method; repeatable")
	cmd.Flags().StringVar(&in.SignedIn, "signed-in", "", "as if signed in this long ago (8h)")
	return cmd
}

func newClient(e env) *cobra.Command {
	cmd := &cobra.Command{Use: "client", Short: "Clients: add, approve, remove, list", Args: cobra.NoArgs,
		Example: "  doorward client add agent --grant jwt-bearer"}
	cmd.RunE = func(*cobra.Command, []string) error {
		return wrongUse{errors.New("say what to do: client add, approve, remove or list")}
	}
	cmd.AddCommand(newClientAdd(e), newClientApprove(e), newClientRemove(e), newClientList(e))
	return cmd
}

func newClientAdd(e env) *cobra.Command {
	f := &adminFlags{}
	in, keys := clientIn{}, ""
	cmd := &cobra.Command{
		Use: "add ID", Short: "Add a client; its secret is printed once", Args: cobra.ExactArgs(1),
		Example: "  doorward client add agent --redirect-uri http://127.0.0.1/callback",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.ID = args[0]
			if keys != "" {
				b, err := os.ReadFile(keys)
				if err == nil && !json.Valid(b) {
					err = errors.New("is not JSON")
				}
				if err != nil {
					return fmt.Errorf("--jwks %s: %w", keys, err)
				}
				in.JWKS = b
			}
			out, err := askOnce[clientOut](cmd.Context(), e, f, "client/add", in)
			if err != nil {
				return err
			}
			if f.json {
				return e.printJSON(out)
			}
			fmt.Fprintf(e.stdout, "client_id      %s\n", out.ID)
			if out.Secret != "" {
				fmt.Fprintf(e.stdout, "client_secret  %s\n", out.Secret)
				e.say("The secret is shown this once; only its hash is kept.")
			}
			return nil
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&in.Name, "name", "", "name that people see")
	cmd.Flags().StringArrayVar(&in.RedirectURIs, "redirect-uri", nil, "where it may be sent back to; repeatable")
	cmd.Flags().StringArrayVar(&in.GrantTypes, "grant", nil, "grant type it may use (short name); repeatable")
	cmd.Flags().StringArrayVar(&in.Scopes, "scope", nil, "bound of its own; repeatable")
	cmd.Flags().BoolVar(&in.Public, "public", false, "without a secret")
	cmd.Flags().StringVar(&keys, "jwks", "", "file with its public keys (a JWK Set): it signs instead of having a secret (private_key_jwt)")
	cmd.Flags().StringVar(&in.JWKSURI, "jwks-uri", "", "or where it publishes them")
	return cmd
}

func newClientApprove(e env) *cobra.Command {
	f := &adminFlags{}
	cmd := &cobra.Command{
		Use: "approve ID", Short: "Let in a client that registered itself",
		Long: "Let in a client that registered itself, by its id or the URL of its metadata document. With clients.consent.others: admin this is also the\nconsent for everybody, to the client as it describes itself now.", Args: cobra.ExactArgs(1),
		Example: "  doorward client approve dyn-5f2k…",
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := askOnce[clientOut](cmd.Context(), e, f, "client/approve", named{args[0]})
			if err != nil {
				return err
			}
			if f.json {
				return e.printJSON(out)
			}
			whom := ""
			if out.ForAll {
				whom = ", for everybody: an administrator consents here, and people are not asked"
			}
			_, err = fmt.Fprintf(e.stdout, "approved: %s (%s)%s\n", out.ID, out.Name, whom)
			return err
		},
	}
	f.register(cmd)
	return cmd
}

func newClientRemove(e env) *cobra.Command {
	f := &adminFlags{}
	cmd := &cobra.Command{
		Use: "remove ID", Short: "Remove a client and end what it has, with a receipt", Args: cobra.ExactArgs(1),
		Example: "  doorward client remove agent",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := askOnce[receipt](cmd.Context(), e, f, "client/remove", named{args[0]})
			if err != nil {
				return err
			}
			return e.printReceipt(r, f.json)
		},
	}
	f.register(cmd)
	return cmd
}

func newClientList(e env) *cobra.Command {
	f := &adminFlags{}
	cmd := &cobra.Command{
		Use: "list", Short: "List the clients", Args: cobra.NoArgs, Example: "  doorward client list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := askOnce[[]clientOut](cmd.Context(), e, f, "client/list", struct{}{})
			if err != nil {
				return err
			}
			if f.json {
				return e.printJSON(out)
			}
			for _, c := range out {
				kind, state := "confidential", ""
				if c.Public {
					kind = "public"
				}
				if !c.Approved {
					state = "  waits for approval"
				}
				fmt.Fprintf(e.stdout, "%-28s %-8s %-14s %s%s\n", c.ID, c.Source, kind, cleanForTerminal(c.Name), state)
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}

// cleanForTerminal drops control characters of names that strangers chose.
func cleanForTerminal(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, s)
}

func newUser(e env) *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Local people: add, password, list", Args: cobra.NoArgs,
		Example: "  doorward user add carol --group eng"}
	cmd.RunE = func(*cobra.Command, []string) error {
		return wrongUse{errors.New("say what to do: user add, password or list")}
	}
	cmd.AddCommand(newUserAdd(e), newUserPassword(e), newUserList(e))
	return cmd
}

func newUserAdd(e env) *cobra.Command {
	f := &adminFlags{}
	in, password := userIn{}, ""
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add a local person; a password is made and printed once", Args: cobra.ExactArgs(1),
		Example: "  doorward user add carol --email carol@example.com --group eng",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in.Name = args[0]
			if in.Password, err = e.secret("password", password); err != nil {
				return err
			}
			return e.tellPassword(cmd, f, "user/add", in)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&in.Email, "email", "", "e-mail address")
	cmd.Flags().StringArrayVar(&in.Groups, "group", nil, "group; repeatable")
	cmd.Flags().StringVar(&password, "password", "", "env:NAME or file:PATH; left out: one is made")
	return cmd
}

func newUserPassword(e env) *cobra.Command {
	f := &adminFlags{}
	in, password := userIn{}, ""
	cmd := &cobra.Command{
		Use: "password NAME", Short: "Change a local person's password and end their sessions", Args: cobra.ExactArgs(1),
		Example: "  doorward user password carol",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in.Name = args[0]
			if in.Password, err = e.secret("password", password); err != nil {
				return err
			}
			return e.tellPassword(cmd, f, "user/password", in)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&password, "password", "", "env:NAME or file:PATH; left out: one is made")
	return cmd
}

func (e env) tellPassword(cmd *cobra.Command, f *adminFlags, path string, in userIn) error {
	out, err := askOnce[userOut](cmd.Context(), e, f, path, in)
	if err != nil {
		return err
	}
	if f.json {
		return e.printJSON(out)
	}
	fmt.Fprintf(e.stdout, "name      %s\n", out.Name)
	if out.Password != "" {
		fmt.Fprintf(e.stdout, "password  %s\n", out.Password)
		e.say("The password is shown this once; only its hash is kept.")
	}
	return nil
}

func newUserList(e env) *cobra.Command {
	f := &adminFlags{}
	cmd := &cobra.Command{
		Use: "list", Short: "List the people who are known here", Args: cobra.NoArgs, Example: "  doorward user list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := askOnce[[]userOut](cmd.Context(), e, f, "user/list", struct{}{})
			if err != nil {
				return err
			}
			if f.json {
				return e.printJSON(out)
			}
			for _, u := range out {
				left := ""
				if !u.Left.IsZero() {
					left = "  left " + u.Left.Format(time.DateOnly)
				}
				fmt.Fprintf(e.stdout, "%-28s %-8s %-28s %s%s\n", cleanForTerminal(u.Name), u.Source, cleanForTerminal(u.Email), cleanForTerminal(strings.Join(u.Groups, ",")), left)
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}

func newKey(e env) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Signing keys: rotate, list", Args: cobra.NoArgs, Example: "  doorward key rotate"}
	cmd.RunE = func(*cobra.Command, []string) error {
		return wrongUse{errors.New("say what to do: key rotate or list")}
	}
	rotate, list := &adminFlags{}, &adminFlags{}
	in := keyIn{}
	r := &cobra.Command{
		Use: "rotate", Short: "Sign with a new key in 20 minutes, or now if a key is in wrong hands", Args: cobra.NoArgs,
		Long: `Publishes a new signing key. It signs in 20 minutes, when all who check tokens have it; the one before stays published until all that
it signed has expired.

With --now the new key signs at once and all others are withdrawn, for when one may be in wrong hands: access tokens, ID tokens and ID-JAGs
from before are refused by all who read the key set again (guards of Doorward within 15 minutes); refresh tokens bring new ones.`,
		Example: "  doorward key rotate",
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := askOnce[keyOut](cmd.Context(), e, rotate, "key/rotate", in)
			switch {
			case err != nil:
				return err
			case rotate.json:
				return e.printJSON(out)
			case in.Now:
				_, err = fmt.Fprintf(e.stdout, "now signing with %s; all other keys are withdrawn\n", out.New)
			default:
				_, err = fmt.Fprintf(e.stdout, "%s signs from %s on; until then %s does, which stays published until what it signed has expired\n",
					out.New, out.From.Local().Format(time.RFC3339), out.Old)
			}
			return err
		},
	}
	r.Flags().BoolVar(&in.Now, "now", false, "a key may be in wrong hands: sign with the new one at once, and withdraw all others")
	l := &cobra.Command{
		Use: "list", Short: "List the published keys", Args: cobra.NoArgs, Example: "  doorward key list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := askOnce[keyOut](cmd.Context(), e, list, "key/list", struct{}{})
			if err != nil {
				return err
			}
			if list.json {
				return e.printJSON(out)
			}
			_, err = fmt.Fprintln(e.stdout, strings.Join(out.IDs, "\n"))
			return err
		},
	}
	rotate.register(r)
	list.register(l)
	cmd.AddCommand(r, l)
	return cmd
}
