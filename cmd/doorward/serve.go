package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"
)

// serveFlags are the flags of serve and idp: the common case without a file.
type serveFlags struct {
	config, url, listen, ops, state string
	upstream                        string
	command                         []string // after --
	allow                           []string
	signIn, clientID, secretFile    string

	fresh string // the password that this start made
}

func newServe(e env) *cobra.Command {
	f := &serveFlags{}
	cmd := &cobra.Command{
		Use:   "serve [flags] [-- COMMAND…]",
		Short: "Authorization server and gateway in front of MCP servers",
		Long: `Starts the OAuth 2.1 authorization server and the gateway in front of MCP servers.

Without a file and flags: http://127.0.0.1:8080, SQLite in the state directory, the built-in sample server at /mcp and one
local person, admin, whose password is printed once.`,
		Example: "  doorward serve --upstream http://127.0.0.1:3001/mcp\n  doorward serve -- npx -y @modelcontextprotocol/server-everything\n  doorward serve --config doorward.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case dash == 0:
				f.command = args
			case len(args) > 0:
				return wrongUse{fmt.Errorf("serve takes no arguments, but got %q (a command stands after --)", args[0])}
			}
			if len(f.command) > 0 && f.upstream != "" {
				return wrongUse{errors.New("--upstream and a command after -- exclude each other: keep one")}
			}
			if (f.signIn == "") != (f.clientID == "") || f.secretFile != "" && f.signIn == "" {
				return wrongUse{errors.New("--sign-in ISSUER and --client-id go together; --client-secret-file goes with them")}
			}
			return runRole(cmd.Context(), e, roleServe, f)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.upstream, "upstream", "", "URL of the MCP server to guard, served at /mcp")
	cmd.Flags().StringArrayVar(&f.allow, "allow", nil, "who may use it (everyone, person:…, group:…, an e-mail address); repeatable")
	cmd.Flags().StringVar(&f.signIn, "sign-in", "", "issuer of an OpenID provider that people sign in at, instead of a local person")
	cmd.Flags().StringVar(&f.clientID, "client-id", "", "client id at that provider")
	cmd.Flags().StringVar(&f.secretFile, "client-secret-file", "", "file with its secret; none: a public client")
	return cmd
}

func newIdP(e env) *cobra.Command {
	f := &serveFlags{}
	cmd := &cobra.Command{
		Use:     "idp [flags]",
		Short:   "An identity provider that issues ID-JAGs",
		Long:    "Starts an OpenID Provider that signs people in and issues ID-JAGs under the rules of its audiences.\n\nWithout a file: http://127.0.0.1:8090 and one local person, admin, whose password is printed once.",
		Example: "  doorward idp --config idp.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRole(cmd.Context(), e, roleIdP, f)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *serveFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "configuration file")
	cmd.Flags().StringVar(&f.url, "url", "", "public base URL, which is the issuer")
	cmd.Flags().StringVar(&f.listen, "listen", "", "HOST:PORT to listen on")
	cmd.Flags().StringVar(&f.ops, "ops", "", `HOST:PORT of /metrics, /healthz and /readyz; "off" switches it off`)
	cmd.Flags().StringVar(&f.state, "state", "", "directory for database, keys and socket")
}

// runRole is serve and idp.
func runRole(ctx context.Context, e env, r role, f *serveFlags) error {
	cfg, err := f.load(e, r)
	if err != nil {
		return err
	}
	main, err := listen("listen", cfg.Listen)
	if err != nil {
		return err
	}
	defer main.Close()
	var ops net.Listener
	if cfg.Ops != "" {
		if ops, err = listen("ops", cfg.Ops); err != nil {
			return err
		}
		defer ops.Close()
	}
	i, err := openInstance(ctx, e, cfg, f.config)
	if err != nil {
		return err
	}
	defer i.close()
	if cfg.TLS.isSet() {
		if err := i.cert.use(cfg.TLS); err != nil {
			return err
		}
	}
	if err := i.endChanged(ctx, cfg); err != nil {
		return err
	}
	i.flags = f
	sctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait() // before the store closes
	defer cancel()
	return i.serve(ctx, serving{main: main, ops: ops, ready: func() error {
		if err := i.tellPassword(f.fresh); err != nil {
			return err
		}
		if f.config != "" {
			w := i.startWatch(f.config)
			watching.Go(func() { i.follow(sctx, f, w) })
		}
		i.greet()
		return nil
	}})
}

// tellPassword keeps a password that was just made and says it, once.
func (i *instance) tellPassword(fresh string) error {
	if fresh == "" {
		return nil
	}
	path := i.state.path("password")
	if err := writeFile(path, []byte(fresh+"\n")); err != nil {
		return fmt.Errorf("the password of admin cannot be kept: %w", err)
	}
	i.env.say("Sign in as admin with the password %s (written to %s; shown this once).", fresh, path)
	return nil
}

// load reads the file, if there is one, and lays the flags over it.
func (f *serveFlags) load(e env, r role) (*Config, error) {
	var cfg *Config
	if f.config != "" {
		loaded, findings := loadConfig(f.config, r, e.lookup)
		if err := e.report(findings); err != nil {
			return nil, err
		}
		cfg = loaded
		if len(f.command) > 0 {
			return nil, wrongUse{errors.New("a command after -- goes without --config: write it in the file, under run")}
		}
		for _, own := range []struct{ flag, value string }{{"url", f.url}, {"upstream", f.upstream}, {"allow", strings.Join(f.allow, ",")}, {"sign-in", f.signIn}} {
			if own.value != "" {
				return nil, wrongUse{fmt.Errorf("--%s goes without --config: write it in the file", own.flag)}
			}
		}
	} else {
		var err error
		if cfg, err = f.withoutFile(e, r); err != nil {
			return nil, err
		}
	}
	if f.state != "" {
		cfg.State = filePath(f.state)
	}
	if f.listen != "" {
		cfg.Listen = f.listen
	}
	switch f.ops {
	case "":
	case "off":
		cfg.Ops = ""
	default:
		cfg.Ops = f.ops
	}
	return cfg, e.report(cfg.checkStart())
}

func (f *serveFlags) withoutFile(e env, r role) (*Config, error) {
	cfg := defaultConfig(r)
	if f.url != "" {
		cfg.moveTo(strings.TrimSuffix(f.url, "/"))
	}
	cfg.layServer(f.upstream, f.command, f.allow)
	if f.signIn != "" {
		if err := cfg.layProvider(f.signIn, f.clientID, f.secretFile); err != nil {
			return nil, err
		}
		cfg.settle()
		return cfg, nil
	}
	cfg.settle()
	dir, err := stateDir(e, f.state, "", cfg.URL)
	if err != nil {
		return nil, err
	}
	st, err := openState(dir)
	if err != nil {
		return nil, err
	}
	password, err := passwordOf(st)
	if err != nil {
		return nil, err
	}
	if password == "" {
		f.fresh = newPassword()
		password = f.fresh
	}
	cfg.People = map[string]PersonConfig{"admin": {Password: secret(password)}}
	return cfg, nil
}

// layServer lays --upstream or the command, and --allow, over the one server of
// a start without a file.
func (c *Config) layServer(upstream string, command, allow []string) {
	if c.role != roleServe {
		return
	}
	name := "sample"
	s := c.Servers[name]
	if upstream != "" || len(command) > 0 {
		delete(c.Servers, name)
		name, s = "mcp", ServerConfig{Path: "/mcp", Upstream: upstream, Run: runs{command: command}}
	}
	if len(allow) > 0 {
		s.Allow = []ServerRule{{Who: allow}}
	}
	c.Servers[name] = s
}

// flagProvider is the name of the provider that --sign-in names.
const flagProvider = "sso"

// layProvider lays --sign-in over the local person of a start without a file.
func (c *Config) layProvider(issuer, clientID, secretFile string) error {
	var p ProviderConfig
	p.setDefaults()
	var s SignInConfig
	s.setDefaults()
	p.Issuer, s.ClientID = issuer, clientID
	if secretFile != "" {
		text, err := readSecretFile(secretFile)
		if err != nil {
			return fmt.Errorf("--client-secret-file: %w", err)
		}
		s.ClientSecret = secret(text)
	}
	if u, err := url.Parse(issuer); err == nil {
		p.Name = u.Host
	}
	p.SignIn = &s
	c.Providers, c.People = map[string]ProviderConfig{flagProvider: p}, nil
	return nil
}

// newPassword has 100 random bits in groups that people can type.
func newPassword() string {
	t := strings.ToLower(rand.Text()) // 26 letters of base32
	return strings.Join([]string{t[:5], t[5:10], t[10:15], t[15:20]}, "-")
}

// report says findings; an error if one of them is more than a warning.
func (e env) report(findings []Finding) error {
	bad := 0
	for _, f := range findings {
		text := f.String()
		if f.File == noFile { // then it is about a flag
			text = strings.TrimPrefix(text, noFile+":1:1: ")
		}
		e.say("%s", text)
		if !f.Warning {
			bad++
		}
	}
	if bad > 0 {
		return &failure{}
	}
	return nil
}

// greet says what is there, on stderr.
func (i *instance) greet() {
	c := i.config()
	i.env.say("doorward %s is ready: %s (state in %s)", i.role, c.URL, i.state.dir)
	if u, err := url.Parse(c.URL); c.Listen != "" && (c.public() || err == nil && u.Host != c.Listen) {
		i.env.say("  listening on %s", c.Listen)
	}
	for _, name := range sortedNames(c.Servers) {
		s := c.Servers[name]
		to := s.Upstream
		if s.Run.isSet() {
			to = s.Run.String()
		}
		i.env.say("  %s%s → %s", originOf(c.URL), s.Path, to)
	}
	for _, name := range sortedNames(c.Providers) {
		if p := c.Providers[name]; p.SignIn != nil {
			there := "/callback/"
			if p.Kind == "saml" {
				there = "/saml/"
			}
			i.env.say("  sign-in at %s (register there: %s%s%s)", p.where(), c.URL, there, name)
		}
	}
	for _, aud := range sortedNames(c.Audiences) {
		i.env.say("  ID-JAGs for %s", aud)
	}
}

// watch is what tells of a new configuration.
type watch struct {
	hup   chan os.Signal
	files *fsnotify.Watcher
}

// startWatch listens for SIGHUP and for changes of the file or one that it
// includes.
func (i *instance) startWatch(file string) watch {
	w := watch{hup: make(chan os.Signal, 1)}
	if hangup != nil {
		signal.Notify(w.hup, hangup)
	}
	var err error
	if w.files, err = fsnotify.NewWatcher(); err != nil {
		i.log.Warn("the configuration file is not watched; SIGHUP still reloads it", "error", err)
		w.files = &fsnotify.Watcher{} // tells nothing
		return w
	}
	i.watchDirs(w.files, file)
	return w
}

func (w watch) stop() {
	signal.Stop(w.hup)
	if w.files.Events != nil {
		w.files.Close()
	}
}

// follow reloads when told to. A broken new file keeps the old one and says so.
func (i *instance) follow(ctx context.Context, f *serveFlags, w watch) {
	defer w.stop()
	var settle <-chan time.Time // editors write in several steps
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.files.Events:
			if ok && concerns(ev.Name, f.config, i.config().Include) {
				settle = time.After(100 * time.Millisecond)
			}
		case err := <-w.files.Errors:
			i.log.Warn("a change of the configuration file may be missed; SIGHUP reloads it", "error", err)
		case <-w.hup:
			i.audited.reopen()
			i.reloadFile(f)
		case <-settle:
			settle = nil
			i.reloadFile(f)
			if w.files.Events != nil {
				i.watchDirs(w.files, f.config)
			}
		}
	}
}

// concerns reports whether a change of a file may be one of the configuration:
// of it, of one that it may include, or of the link by which a mounted volume
// is replaced as a whole.
func concerns(changed, config string, include []string) bool {
	name, ext := filepath.Base(changed), filepath.Ext(config)
	for _, pattern := range include {
		if ok, err := filepath.Match(filepath.Base(pattern), name); ok && err == nil {
			return true
		}
	}
	return name == filepath.Base(config) || name == "..data" || ext != "" && filepath.Ext(name) == ext
}

// watchDirs watches directories, since editors replace files.
func (i *instance) watchDirs(w *fsnotify.Watcher, file string) {
	dirs := []string{filepath.Dir(file)}
	for _, pattern := range i.config().Include {
		dirs = append(dirs, filepath.Join(filepath.Dir(file), filepath.Dir(pattern)))
	}
	for _, dir := range dirs {
		if err := w.Add(dir); err != nil {
			i.log.Warn("not watched", "directory", dir, "error", err)
		}
	}
}

func (i *instance) reloadFile(f *serveFlags) {
	cfg, err := f.load(i.env, i.role)
	if err == nil {
		err = i.reload(cfg)
	}
	if f := new(failure); errors.As(err, &f) && f.err == nil {
		err = errors.New("the lines before this one say what is wrong with it")
	}
	if err != nil {
		i.log.Error("the new configuration is not taken; the old one stays", "file", f.config, "error", err)
		return
	}
	i.log.Info("configuration reloaded", "file", f.config)
}
