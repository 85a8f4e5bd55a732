// Command doorward is MCP authorization in one binary: a guard for any MCP
// server, an identity provider that issues ID-JAGs, and the tools to see what
// happens between them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"doorward/internal/keep"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, lookup: os.LookupEnv, keyring: keep.SystemKeyring()}))
}

// run is the program: exit status 0 done, 1 failed, 2 wrong use.
func run(ctx context.Context, args []string, e env) int {
	root := newRoot(e)
	root.SetArgs(args)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var f *failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &f):
		if ctx.Err() != nil && errors.Is(err, context.Canceled) { // Ctrl-C
			fmt.Fprintln(e.stderr, "doorward: interrupted")
			return 1
		}
		if f.err != nil {
			fmt.Fprintln(e.stderr, "doorward: "+strings.TrimPrefix(f.err.Error(), "doorward: ")) // the library says so, too
		}
		if errors.As(err, new(wrongUse)) {
			return 2
		}
		return 1
	}
	fmt.Fprintf(e.stderr, "doorward: %v\nSee: %s -h\n", err, cmd.CommandPath())
	return 2
}

// failure is an error of a command that was used rightly. Everything else that
// comes out of cobra (flags, arguments, unknown commands) is wrong use.
type failure struct{ err error } // nil: everything was said already

func (f *failure) Error() string {
	if f.err == nil {
		return "failed"
	}
	return f.err.Error()
}
func (f *failure) Unwrap() error { return f.err }

// wrongUse is found by a command only after cobra was content.
type wrongUse struct{ error }

func newRoot(e env) *cobra.Command {
	root := &cobra.Command{
		Use:   "doorward",
		Short: "Your company's MCP servers under the sign-in that you already have",
		Long: `Doorward puts a company's MCP servers under the sign-in that it already has.

  doorward demo                     the whole thing on this machine, offline, in seconds
  doorward serve                    authorization server and gateway in front of MCP servers
  doorward idp                      an identity provider that issues ID-JAGs
  doorward doctor URL|FILE          what is wrong with a server, or with a configuration file
  doorward probe ISSUER             what an authorization server lets through that it must refuse
  doorward why REF                  what happened to a refused attempt, and who must act`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, cmd := range []*cobra.Command{
		newDemo(e), newServe(e), newIdP(e), newConnect(e), newLogin(e), newLogout(e), newWhoami(e), newSetup(e), newToken(e), newDoctor(e), newProbe(e),
		newLeave(e), newRevoke(e), newCan(e), newWhy(e), newLs(e), newClient(e), newUser(e), newKey(e), newAudit(e), newVersion(e),
	} {
		root.AddCommand(cmd)
	}
	markFailures(root)
	explainArguments(root)
	return root
}

// markFailures tells errors of commands from errors of their use.
func markFailures(cmd *cobra.Command) {
	if inner := cmd.RunE; inner != nil && cmd.HasParent() {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			err := inner(c, args)
			var f *failure
			if err != nil && !errors.As(err, &f) {
				return &failure{err}
			}
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		markFailures(sub)
	}
}
