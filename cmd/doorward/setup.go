package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"doorward/internal/oauth"
)

//go:embed setup.json
var setupText []byte

// setupEntry is how one client is told of a server, as its makers describe it.
type setupEntry struct {
	Name   string      `json:"name"`
	Title  string      `json:"title"`
	Local  bool        `json:"local"` // it runs on the person's machine and reaches loopback
	Parts  []setupPart `json:"parts"`
	Source string      `json:"source"` // where the facts are from
	Date   string      `json:"date"`   // when they were looked up
}

// setupPart is one thing to paste. {name}, {url}, {issuer}, {client_id} and
// {idp_client_id} stand for those of the flags.
type setupPart struct {
	When  string `json:"when,omitempty"` // enterprise: only with --issuer
	Title string `json:"title"`
	Text  string `json:"text"`
}

func setupEntries() []setupEntry {
	var list []setupEntry
	if err := json.Unmarshal(setupText, &list); err != nil {
		panic("setup.json: " + err.Error()) // it is compiled in
	}
	return list
}

type setupFlags struct {
	name, issuer, clientID, idpClientID string
	json                                bool
}

func newSetup(e env) *cobra.Command {
	f := &setupFlags{}
	var names []string
	for _, entry := range setupEntries() {
		names = append(names, entry.Name)
	}
	cmd := &cobra.Command{
		Use:   "setup CLIENT [URL]",
		Short: "The settings to paste into a client: " + strings.Join(names, ", "),
		Long: `Prints what to paste into that client so that it uses the MCP server at URL (left out: the one of serve without flags).
With --issuer also its enterprise-managed settings, by which it goes in with the company's sign-in and without a consent
screen; where a client has none, doorward connect. No secret is printed: put them in where it says so.`,
		Example: "  doorward setup vscode\n  doorward setup vscode https://mcp.example.com/mcp --issuer https://acme.okta.com --idp-client-id 0oa… --client-id vscode",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			server := "http://127.0.0.1:8080/mcp"
			if len(args) == 2 {
				server = args[1]
			}
			return f.run(e, names, args[0], server)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "what to call the server; left out: from its URL")
	fl.StringVar(&f.issuer, "issuer", "", "the company's identity provider, for enterprise-managed settings")
	fl.StringVar(&f.idpClientID, "idp-client-id", "CLIENT_ID_AT_THE_PROVIDER", "client id of that client there")
	fl.StringVar(&f.clientID, "client-id", "CLIENT_ID_AT_THE_SERVER", "client id of that client at the server's authorization server")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func (f *setupFlags) run(e env, names []string, client, server string) error {
	i := slices.Index(names, client)
	if i < 0 {
		return wrongUse{fmt.Errorf("%q is no client that is known here: %s", client, strings.Join(names, ", "))}
	}
	if err := f.check(server); err != nil {
		return err
	}
	entry := setupEntries()[i]
	entry.Parts = f.fill(entry.Parts, server)
	u, err := url.Parse(server)
	if err == nil && !entry.Local && oauth.IsLoopbackHost(u.Host) {
		e.say("%s runs in its maker's cloud and cannot reach %s: the server needs a public https URL", entry.Title, server)
	}
	if f.json {
		return e.printJSON(struct {
			setupEntry
			URL string `json:"url"`
		}{entry, server})
	}
	entry.write(e.stdout)
	fmt.Fprintf(e.stdout, "# from %s (%s)\n", entry.Source, entry.Date)
	return nil
}

// write prints what to paste.
func (s setupEntry) write(w io.Writer) {
	for _, part := range s.Parts {
		fmt.Fprintf(w, "# %s: %s\n%s\n\n", s.Title, part.Title, part.Text)
	}
}

// check keeps out whatever would be more than a name once it is pasted into a
// shell or a JSON file.
func (f *setupFlags) check(server string) error {
	if err := checkServer(server); err != nil {
		return err
	}
	if f.issuer != "" {
		if err := oauth.CheckIssuer(f.issuer); err != nil {
			return wrongUse{fmt.Errorf("--issuer: %w", err)}
		}
	}
	for flag, value := range map[string]string{"the URL": server, "--issuer": f.issuer, "--client-id": f.clientID, "--idp-client-id": f.idpClientID, "--name": f.name} {
		if strings.ContainsFunc(value, func(r rune) bool {
			return r < 0x20 || r > 0x7e && r < 0xa0 || strings.ContainsRune("\"'`$\\;|<>(){}!*", r)
		}) {
			return wrongUse{fmt.Errorf("%s: %q has a character that a shell or a JSON file would take for something else", flag, value)}
		}
	}
	if strings.ContainsAny(server+f.name, " &") {
		return wrongUse{fmt.Errorf("the URL or --name has a space or an &, which does not paste well")}
	}
	return nil
}

// fill puts the values in and leaves out what the flags do not ask for.
func (f *setupFlags) fill(parts []setupPart, server string) []setupPart {
	name := f.name
	if name == "" {
		name = serverName(server)
	}
	values := strings.NewReplacer("{name}", name, "{url}", server, "{issuer}", f.issuer, "{client_id}", f.clientID, "{idp_client_id}", f.idpClientID)
	var out []setupPart
	for _, p := range parts {
		if p.When == "enterprise" && f.issuer == "" {
			continue
		}
		p.Title, p.Text = values.Replace(p.Title), values.Replace(p.Text)
		out = append(out, p)
	}
	return out
}

// serverName is a short name from a URL: of https://mcp.example.com/files/mcp,
// files; of one without such a path, the host.
func serverName(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return "server"
	}
	for _, part := range slices.Backward(strings.Split(u.Path, "/")) {
		if part != "" && part != "mcp" && part != "sse" {
			return plainName(part)
		}
	}
	host := u.Hostname()
	if net.ParseIP(host) != nil || host == "localhost" {
		return "doorward"
	}
	return plainName(host)
}

func plainName(s string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, s), "-")
}
