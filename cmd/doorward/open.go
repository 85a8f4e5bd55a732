package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"runtime"

	"github.com/pkg/browser"

	"doorward/internal/bridge"
	"doorward/internal/oauth"
)

// remote reports whether the person sits elsewhere: an SSH session without a
// display. A browser that is started there is seen by nobody.
func (e env) remote() bool {
	if e.get("SSH_CONNECTION") == "" && e.get("SSH_TTY") == "" {
		return false
	}
	return runtime.GOOS == "darwin" || runtime.GOOS == "windows" || e.get("DISPLAY") == "" && e.get("WAYLAND_DISPLAY") == ""
}

// opener prints the address and opens the system's browser on it.
func (f *tokenFlags) opener(e env) func(context.Context, string) error {
	return func(ctx context.Context, address string) error {
		if bridge.Unattended(ctx) {
			return bridge.ErrUnattended
		}
		e.say("Sign in here:\n\n  %s\n", cleanForTerminal(address))
		switch {
		case e.remote():
			if port := portOf(ctx, address); port != "" {
				e.say("(this session has no display. The browser comes back to port %s of this machine: open the address on yours after\n"+
					"ssh -L %s:127.0.0.1:%s to here, or take --flow device if the server has a client for that)", port, port, port)
			}
			return nil
		case f.noBrowser:
			return nil
		}
		if err := openInBrowser(address); err != nil {
			e.say("(no browser could be started: open the address yourself)")
		}
		return nil
	}
}

// openInBrowser starts the system's browser, which keeps passwords from us, as
// one argument of a program and without a shell. Only web pages are opened,
// whoever named the address, and none over plain http but on this machine.
func openInBrowser(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return err
	case u.Hostname() == "" || u.User != nil:
		return errors.New("the address is no web page's")
	case u.Scheme != "https" && (u.Scheme != "http" || !oauth.IsLoopbackHost(u.Host)):
		return errors.New("only https is opened, and http on this machine")
	}
	browser.Stdout, browser.Stderr = io.Discard, io.Discard // browsers and those who look for one talk a lot
	return browser.OpenURL(u.String())
}

// portOf is the loopback port that the browser is sent back to.
func portOf(ctx context.Context, address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	back, err := url.Parse(cmp.Or(oauth.RedirectURI(ctx), u.Query().Get("redirect_uri")))
	if err != nil {
		return ""
	}
	if _, port, err := net.SplitHostPort(back.Host); err == nil {
		return port
	}
	return ""
}

// showCode prints what to enter where (RFC 8628 section 3.3).
func showCode(e env) func(ctx context.Context, code, at, complete string) error {
	return func(ctx context.Context, code, at, complete string) error {
		if bridge.Unattended(ctx) {
			return bridge.ErrUnattended
		}
		code, at, complete = cleanForTerminal(code), cleanForTerminal(at), cleanForTerminal(complete)
		if complete == "" {
			e.say("Sign in on any device:\n\n  %s\n\nand enter the code  %s\n", at, code)
			return nil
		}
		e.say("Sign in on any device:\n\n  %s\n\nor at %s with the code  %s\nThe page must show this code, else somebody else asks.\n", complete, at, code)
		return nil
	}
}
