package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// demo is Alice's last day, on real parts: three issuers of this program with
// their own configuration files, stores and keys, and a real MCP client.
type demo struct {
	env
	once, trace, json bool

	// wrap stands before the parties' doors ("idp", "serve", "admin"), and
	// listen opens them; tests make a party fail there.
	wrap   func(part string, h http.Handler) http.Handler
	listen func(part, preferred string) (net.Listener, error)

	dir         string
	idp, server string // issuers
	partnerIdP  string // the other company's
	partnerFile string // its configuration, as it was written last
	// changePartner gives the other company's identity provider a new file.
	changePartner func(text string) error
	idpState      string
	serverState   string
	secrets       map[string]string
	wire          *recorder
	refused       string // the reference of Bob's refusal
}

func newDemo(e env) *cobra.Command {
	d := &demo{env: e}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Alice's last day: the whole thing on this machine, offline, in seconds",
		Long: `Starts an identity provider, an authorization server with its gateway and a sample MCP server on loopback. Alice signs in
once and a real MCP client calls a tool through an ID-JAG; Bob is refused by a named rule; then Alice leaves. At another
company's identity provider somebody has her name and address, and is somebody else: what each company decides is for its
own people. Each line is read from what really went over the wire. Then it stays up until Ctrl-C.`,
		Example: "  doorward demo --once --trace",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	cmd.Flags().BoolVar(&d.once, "once", false, "end after the walk: exit status 0 only if every step did what it should")
	cmd.Flags().BoolVar(&d.trace, "trace", false, "show requests, answers and decoded tokens")
	cmd.Flags().BoolVar(&d.json, "json", false, "print one JSON object a step")
	return cmd
}

func (d *demo) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "doorward-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d.dir = dir
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop, err := d.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	wctx, wcancel := context.WithTimeout(ctx, 60*time.Second)
	err = d.walk(wctx)
	wcancel()
	switch {
	case ctx.Err() != nil: // Ctrl-C in the middle
		return &failure{errors.New("interrupted")}
	case err != nil:
		fmt.Fprintln(d.stdout, err)
		return &failure{}
	case d.once:
		return nil
	}
	d.farewell()
	<-ctx.Done()
	d.say("Stopped; the demo's files are removed.")
	return nil
}

// start puts both issuers up. The ports come first, since the files name them.
func (d *demo) start(ctx context.Context) (stop func(), err error) {
	if d.listen == nil {
		d.listen = listenOrAny
	}
	var doors []net.Listener
	closeAll := func() {
		for _, l := range doors {
			l.Close()
		}
	}
	for _, door := range []struct{ part, address string }{
		{"serve", "127.0.0.1:8080"}, {"serve ops", "127.0.0.1:8081"}, {"idp", "127.0.0.1:8090"}, {"idp ops", "127.0.0.1:8091"},
		{"partner idp", "127.0.0.1:0"},
	} {
		l, err := d.listen(door.part, door.address)
		if err != nil {
			closeAll()
			return nil, err
		}
		doors = append(doors, l)
	}
	d.server, d.idp = "http://"+doors[0].Addr().String(), "http://"+doors[2].Addr().String()
	d.partnerIdP = "http://" + doors[4].Addr().String()
	d.serverState, d.idpState = filepath.Join(d.dir, "server"), filepath.Join(d.dir, "idp")
	d.secrets = map[string]string{}
	for _, name := range []string{"ALICE", "BOB", "CAROL", "IDP_SECRET", "SERVER_SECRET", "SIGN_IN_SECRET", "PARTNERS_ALICE", "PARTNER_SECRET"} {
		d.secrets[name] = newPassword()
	}
	d.wire = &recorder{next: &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 16}}
	ictx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	stop = func() {
		cancel()
		running.Wait()
		closeAll()
	}
	d.partnerFile = d.partnerYAML(doors[4])
	for _, p := range []issuerOfDemo{
		{"idp", roleIdP, d.idpYAML(doors[2], doors[3]), serving{main: doors[2], ops: doors[3], wrap: d.wrap}},
		{"partner", roleIdP, d.partnerFile, serving{main: doors[4], wrap: d.atPartner}},
		{"doorward", roleServe, d.serverYAML(doors[0], doors[1]), serving{main: doors[0], ops: doors[1], wrap: d.wrap}},
	} {
		if err := d.startOne(ictx, &running, p); err != nil {
			stop()
			return nil, err
		}
	}
	d.say("An identity provider (%s) and Doorward in front of a sample MCP server (%s/mcp) are up.", d.idp, d.server)
	return stop, nil
}

// issuerOfDemo is an issuer to start, from a file of its name.
type issuerOfDemo struct {
	name string
	role role
	yaml string
	at   serving
}

// startOne starts an issuer the way serve and idp do: from a file.
func (d *demo) startOne(ctx context.Context, running *sync.WaitGroup, p issuerOfDemo) error {
	file := filepath.Join(d.dir, p.name+".yaml")
	e := d.env
	e.lookup = func(name string) (string, bool) {
		if v, ok := d.secrets[name]; ok {
			return v, true
		}
		return "", false
	}
	load := func(text string) (*Config, error) {
		if err := writeFile(file, []byte(text)); err != nil {
			return nil, err
		}
		cfg, findings := loadConfig(file, p.role, e.lookup)
		return cfg, d.report(findings)
	}
	cfg, err := load(p.yaml)
	if err != nil {
		return err
	}
	i, err := openInstance(ctx, e, cfg, file)
	if err != nil {
		return err
	}
	if p.name == "partner" {
		d.changePartner = func(text string) error {
			cfg, err := load(text)
			if err != nil {
				return err
			}
			return i.reload(cfg)
		}
	}
	running.Go(func() {
		defer i.close()
		if err := i.serve(ctx, p.at); err != nil && ctx.Err() == nil {
			d.say("%s stopped: %v", p.name, err)
		}
	})
	return nil
}

func (d *demo) idpYAML(main, ops net.Listener) string {
	return fmt.Sprintf(`# The company's identity provider.
version: 1
url: %s
listen: %s
ops: %s
state: %s
telemetry: {log: error}
people:
  alice: {email: alice@example.com, groups: [eng], password: "${ALICE}"}
  bob: {email: bob@example.com, groups: [eng], password: "${BOB}"}
  carol: {email: carol@example.com, groups: [eng], password: "${CAROL}"}
clients:
  registered:
    desktop-idp: {name: Desktop, secret: "${IDP_SECRET}", redirect_uris: ["http://127.0.0.1/callback"]}
    mcp-servers: {name: The MCP servers, secret: "${SIGN_IN_SECRET}", redirect_uris: ["%s/callback/corp"]}
audiences:
  %s:
    resources: ["%s/mcp"]
    client_ids: {desktop-idp: desktop}
    claims: [email]
    allow: [{who: "group:eng", resources: ["*"], scopes: ["*"]}]
    deny: [{who: "person:bob"}]
`, d.idp, main.Addr(), ops.Addr(), filepath.ToSlash(d.idpState), d.server, d.server, d.server)
}

func (d *demo) serverYAML(main, ops net.Listener) string {
	return fmt.Sprintf(`# The authorization server and gateway in front of the company's MCP servers.
version: 1
url: %s
listen: %s
ops: %s
state: %s
telemetry: {log: error}
providers:
  corp:
    issuer: %s
    name: the company
    id_jag: {}
    sign_in: {client_id: mcp-servers, client_secret: "${SIGN_IN_SECRET}"}
  partner:
    issuer: %s
    name: another company
    id_jag: {}
clients:
  registered:
    desktop: {name: Desktop, secret: "${SERVER_SECRET}", grant_types: [jwt-bearer]}
servers:
  sample:
    path: /mcp
    run: sample
    scopes: {"sample:read": Ask the sample server who you are, "sample:write": Write notes on the sample server}
    default_scopes: ["sample:read"]
    tools: {note: ["sample:write"]}
    allow: [{who: everyone}]
    deny: [{who: "person:corp/bob"}]
`, d.server, main.Addr(), ops.Addr(), filepath.ToSlash(d.serverState), d.idp, d.partnerIdP)
}

// listenOrAny takes the usual port if it is free, else any.
func listenOrAny(_, preferred string) (net.Listener, error) {
	l, err := net.Listen("tcp", preferred)
	if err != nil {
		host, _, splitErr := net.SplitHostPort(preferred)
		if splitErr != nil {
			return nil, splitErr
		}
		return net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	return l, nil
}

// farewell says what is there to play with.
func (d *demo) farewell() {
	d.say(`
Still up, until Ctrl-C:
  MCP server         %[1]s/mcp   (issuer %[1]s, state %[3]s)
  identity provider  %[2]s       (state %[4]s)
  people there       bob / %[5]s    carol / %[6]s
  another company's  %[8]s       (alice / %[9]s)

  doorward why %[7]s --state %[4]s
  doorward can corp/carol sample whoami --state %[3]s
  doorward leave carol --state %[4]s
  doorward leave --undo alice --state %[3]s`,
		d.server, d.idp, d.serverState, d.idpState, d.secrets["BOB"], d.secrets["CAROL"], d.refused, d.partnerIdP, d.secrets["PARTNERS_ALICE"])
	d.say("\nYour own client, signing in as carol:\n")
	f := &setupFlags{name: "doorward-demo"}
	for _, entry := range setupEntries() {
		if entry.Name == "vscode" || entry.Name == "claude-code" {
			entry.Parts = f.fill(entry.Parts, d.server+"/mcp")
			entry.write(d.stderr)
		}
	}
}

// stepError ends the demo: its text is the last line.
type stepError struct {
	n   int
	err error
}

func (e *stepError) Error() string {
	return fmt.Sprintf("step %d failed: %s", e.n, strings.TrimSpace(e.err.Error()))
}
func (e *stepError) Unwrap() error { return e.err }
