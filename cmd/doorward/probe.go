package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"doorward/internal/probe"
)

// proofTime is how long the file that shows control is waited for.
const proofTime = 15 * time.Minute

type probeFlags struct {
	clientID, secret, redirectURI string
	user, password, resource      string
	only                          []string
	mine, json, noBrowser         bool
}

func newProbe(e env) *cobra.Command {
	f := &probeFlags{}
	cmd := &cobra.Command{
		Use:   "probe ISSUER",
		Short: "Try, from outside, what an authorization server must refuse",
		Long: `Tries what an authorization server must refuse, a row for each rule: held, broken or not testable. What each rule is and where it
stands: docs/probe.md.

Probe your own servers only. On loopback it begins at once; elsewhere it wants --mine, and a file with a name of its choosing at the
issuer, which shows that the server is yours. It registers clients of its own where the server lets it, and takes them away again
where the server can do that.

Codes are got with --user and --password through the server's own pages, if these are plain forms, or else with the system's browser,
which is opened for each of some forty codes. The rules about ID-JAGs need a client that an administrator registered (--client-id,
--client-secret), and trust in the probe's own identity provider: what to add to the configuration is printed.

Exit status 0: nothing is broken; 1: something is.`,
		Example: "  doorward probe http://127.0.0.1:8080 --user admin --password file:password\n  doorward probe https://auth.example.com --mine --client-id desktop --client-secret env:SECRET --only AS-PKCE",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), e, args[0])
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.clientID, "client-id", "", "client id there; left out: clients are registered dynamically")
	fl.StringVar(&f.secret, "client-secret", "", "its secret: env:NAME or file:PATH")
	fl.StringVar(&f.redirectURI, "redirect-uri", "", "its redirect URI; left out: http://127.0.0.1/callback on any port")
	fl.StringVar(&f.user, "user", "", "name to sign in with")
	fl.StringVar(&f.password, "password", "", "password: env:NAME or file:PATH")
	fl.StringVar(&f.resource, "resource", "", "resource to ask tokens for; left out: the first that the metadata names")
	fl.StringSliceVar(&f.only, "only", nil, "only rules whose ids begin like this; repeatable")
	fl.BoolVar(&f.mine, "mine", false, "the server is mine: probe it although it is not on loopback, once a file shows that")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	fl.BoolVar(&f.noBrowser, "no-browser", false, "only print the addresses to open")
	return cmd
}

func (f *probeFlags) run(ctx context.Context, e env, issuer string) error {
	c, err := f.config(e, issuer)
	if err != nil {
		return err
	}
	if !probe.Loopback(issuer) {
		if err := f.prove(ctx, e, issuer); err != nil {
			return err
		}
	}
	trusted := ""
	c.Trust = func(provider string) {
		trusted = provider
		e.say("The probe's identity provider is %s for this run; the server is asked to take its ID-JAGs (up to 40 seconds).", provider)
	}
	if e.colours(e.stderr) {
		c.Progress = func(done, all int, r probe.Result) {
			fmt.Fprintf(e.stderr, "\r\x1b[K%d of %d: %s", done, all, r.ID)
			if done == all {
				fmt.Fprint(e.stderr, "\r\x1b[K")
			}
		}
	}
	r, err := probe.Run(ctx, c)
	if err != nil {
		return err
	}
	if f.json {
		err = e.printJSON(r)
	} else {
		err = e.printProbe(r)
	}
	if err != nil {
		return err
	}
	if r.Untrusted {
		e.say("\nThe rules about ID-JAGs were not tried. A `doorward serve` on this machine takes the probe's with this in its configuration,\nand the probe then with --client-id and --client-secret of that client:\n\n%s", probe.Entry(trusted, f.clientID))
	}
	if r.Broken > 0 {
		return &failure{}
	}
	return nil
}

func (f *probeFlags) config(e env, issuer string) (probe.Config, error) {
	c := probe.Config{Issuer: issuer, ClientID: f.clientID, RedirectURI: f.redirectURI, User: f.user, Resource: f.resource, Only: f.only}
	if err := probe.CheckIssuer(issuer); err != nil {
		return c, wrongUse{fmt.Errorf("%q is no issuer, such as https://auth.example.com: %w", issuer, err)}
	}
	if _, err := probe.Select(f.only); err != nil {
		return c, wrongUse{err}
	}
	var err error
	if c.ClientSecret, err = e.secret("client-secret", f.secret); err != nil {
		return c, err
	}
	if c.Password, err = e.secret("password", f.password); err != nil {
		return c, err
	}
	switch {
	case c.ClientSecret != "" && c.ClientID == "":
		return c, wrongUse{errors.New("--client-secret goes with --client-id")}
	case c.RedirectURI != "" && c.ClientID == "":
		return c, wrongUse{errors.New("--redirect-uri goes with --client-id")}
	case (c.User == "") != (c.Password == ""):
		return c, wrongUse{errors.New("--user and --password go together")}
	case !probe.Loopback(issuer) && !f.mine:
		return c, wrongUse{fmt.Errorf("%s is not on loopback: if the server is yours, say --mine, and put up the file that is asked for then", issuer)}
	}
	if c.User == "" {
		c.Open = (&tokenFlags{noBrowser: f.noBrowser}).opener(e)
	}
	return c, nil
}

// prove waits for the file that shows control over the issuer's host.
func (f *probeFlags) prove(ctx context.Context, e env, issuer string) error {
	p, err := probe.Prove(issuer)
	if err != nil {
		return err
	}
	e.say("To show that the server is yours, put up this file (any content type), with this content and nothing else:\n\n  %s\n  %s\n\nThe probe begins when it is there, and waits for %d minutes.", p.URL, p.Content, int(proofTime.Minutes()))
	ctx, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	return p.Wait(ctx, nil, 3*time.Second)
}

// printProbe shows the rows, then each broken rule with what was sent and what
// came back.
func (e env) printProbe(r probe.Report) error {
	colour, off := map[string]string{}, ""
	if e.colours(e.stdout) {
		colour, off = map[string]string{probe.Held: "\x1b[32m", probe.Broken: "\x1b[31m", probe.NotTestable: "\x1b[33m"}, "\x1b[0m"
	}
	var rows, broken strings.Builder
	for _, res := range r.Rules {
		fmt.Fprintf(&rows, "%s%-12s%s  %-26s %s\n", colour[res.Result], res.Result, off, res.ID, res.Title)
		switch res.Result {
		case probe.NotTestable:
			fmt.Fprintf(&rows, "%14s%-26s %s\n", "", "", cleanForTerminal("("+res.Saw+")"))
		case probe.Broken:
			fmt.Fprintf(&broken, "\n%s%s%s  %s\n  found:   %s\n  rule:    %s\n  mend:    %s\n", colour[res.Result], res.ID, off, res.Title, cleanForTerminal(res.Saw), res.Source, res.Mend)
			writeExchange(&broken, res.Exchange)
		}
	}
	_, err := fmt.Fprintf(e.stdout, "%s%s\n%d held, %d broken, %d not testable\n", rows.String(), broken.String(), r.Held, r.Broken, r.NotTestable)
	return err
}

// shownExchanges is how many of them stand in the text; --json has more.
const shownExchanges = 3

func writeExchange(w io.Writer, all []probe.Exchange) {
	for _, x := range all[max(len(all)-shownExchanges, 0):] {
		fmt.Fprintf(w, "  sent:    %s\n", cleanForTerminal(x.Request))
		for line := range strings.SplitSeq(x.Sent, "\n") {
			if line != "" {
				fmt.Fprintf(w, "           %s\n", cleanForTerminal(line))
			}
		}
		fmt.Fprintf(w, "  answer:  %d\n", x.Status)
		for line := range strings.SplitSeq(x.Answer, "\n") {
			if line != "" {
				fmt.Fprintf(w, "           %s\n", cleanForTerminal(line))
			}
		}
	}
}
