package main

import (
	"context"
	"maps"
	"path/filepath"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"

	"doorward"
	"doorward/internal/gateway"
	"doorward/internal/stdio"
)

// runs is what `run:` says: sample, or a command and its arguments.
type runs struct {
	sample  bool
	command []string
	dir     string // of the file that it stands in; "": of this process
}

func (r runs) isSet() bool { return r.sample || r.command != nil }

func (r *runs) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	if n.Kind == yaml.SequenceNode {
		command := []string{}
		l.list(n, reflect.ValueOf(&command).Elem(), p, "")
		*r = runs{command: command, dir: filepath.Dir(l.absolute(filepath.Base(l.file)))}
		return
	}
	text, ok := "", false
	if n.Kind != yaml.MappingNode {
		if text, ok = l.str(n, p); !ok || text == "" {
			return
		}
	}
	if text != "sample" {
		l.fail(l.place(n), "%s must be a list, a command and its arguments ([npx, -y, …]), or the word sample", p)
		return
	}
	*r = runs{sample: true}
}

// String says what it is, without the arguments: there may be secrets in them.
func (r runs) String() string {
	switch {
	case r.sample:
		return "the built-in sample server"
	case len(r.command) > 1:
		return r.command[0] + " …, a process for each session"
	case r.command != nil:
		return r.command[0] + ", a process for each session"
	}
	return ""
}

// children are the servers that are started by command, as they run now.
type children struct {
	running map[string]child
}

type child struct {
	run    runs
	env    map[string]secret
	server *stdio.Server
}

// place puts the commands of a configuration into its servers. One that did
// not change goes on with its sessions. keep must be called once the servers
// are in force, drop if they are not taken.
func (c *children) place(cfg *Config, common stdio.Config, servers map[string]gateway.Server) (keep, drop func(), err error) {
	next, fresh := map[string]child{}, []*stdio.Server{}
	drop = func() {
		for _, s := range fresh {
			s.Close()
		}
	}
	for _, name := range sortedNames(servers) {
		s := cfg.Servers[name]
		if s.Run.command == nil {
			continue
		}
		one, ok := c.running[name]
		if !ok || !reflect.DeepEqual(one.run, s.Run) || !maps.Equal(one.env, s.Env) {
			conf := common
			conf.Name, conf.Command, conf.Dir, conf.Env = name, s.Run.command, s.Run.dir, map[string]string{}
			for key, value := range s.Env {
				conf.Env[key] = string(value)
			}
			server, err := stdio.New(conf)
			if err != nil {
				drop()
				return nil, nil, err
			}
			fresh = append(fresh, server)
			one = child{s.Run, s.Env, server}
		}
		next[name] = one
		g := servers[name]
		g.Handler = one.server
		servers[name] = g
	}
	keep = func() {
		for name, old := range c.running {
			if next[name].server != old.server {
				go old.server.Close() // its sessions end at once, its processes within the grace
			}
		}
		c.running = next
	}
	return keep, drop, nil
}

// close ends every process.
func (c *children) close() {
	for _, name := range slices.Backward(sortedNames(c.running)) {
		c.running[name].server.Close()
	}
}

// commonCommand is what all commands of the instance have in common.
func (i *instance) commonCommand() stdio.Config {
	issuer := i.cfg.URL
	return stdio.Config{
		Logger: i.log, OnEnd: i.ended.OnEnd, Lookup: i.env.lookup,
		Caller: func(ctx context.Context) (owner, grant string) {
			caller, ok := doorward.CallerFrom(ctx)
			if !ok {
				return "", ""
			}
			owner, grant = caller.Issuer+"\x00"+caller.Subject, caller.Grant
			if caller.Issuer != issuer {
				grant = "" // if the token names one, it is none of ours
			}
			if caller.IsClient() {
				owner += "\x00"
			}
			return owner, grant
		},
	}
}
