package stdio

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is the child, too: the first argument says how it behaves.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

func say(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }

// child is an MCP server that is good but for what its name says.
func child(how string) {
	switch how {
	case "crash":
		fmt.Fprintln(os.Stderr, "cannot find my file")
		os.Exit(3)
	case "mute":
		time.Sleep(time.Hour)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		defer time.Sleep(time.Hour) // also when its input ends
	case "rubbish":
		say("Welcome to my server!\n\n{not json}\n[1,2]\n{\"id\":1}\n\x1b[31mred")
	case "fork":
		again := exec.Command(os.Args[0], "child", "stubborn")
		again.Stdout, again.Stderr = os.Stdout, os.Stderr // holds them open
		if in, err := again.StdinPipe(); err != nil || in == nil || again.Start() != nil {
			os.Exit(4)
		}
		fmt.Fprintln(os.Stderr, "forked", again.Process.Pid)
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct {
				Name, Text string
				N          int
				Meta       struct {
					Token json.RawMessage `json:"progressToken"`
				} `json:"_meta"`
			}
			Result json.RawMessage
		}
		if json.Unmarshal([]byte(line), &m) != nil {
			os.Exit(5)
		}
		result := func(v any) {
			b, _ := json.Marshal(v)
			say(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, b)
		}
		switch m.Method {
		case "initialize":
			if how == "refusing" {
				say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"not you"}}`, m.ID)
				continue
			}
			result(map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{}, "serverInfo": map[string]any{"name": how, "version": "1"}})
		case "env":
			result(os.Environ())
		case "pid":
			result(os.Getpid())
		case "args":
			dir, _ := os.Getwd()
			result(append(os.Args[3:], dir))
		case "echo":
			result(m.Params.Text)
		case "exit":
			os.Exit(m.Params.N)
		case "answer and exit":
			result("bye")
			os.Exit(0)
		case "close":
			os.Stdout.Close()
			time.Sleep(time.Hour)
		case "close input":
			os.Stdin.Close()
			result(nil)
			time.Sleep(time.Hour)
		case "sleep":
			result(nil)
			time.Sleep(time.Hour)
		case "giant":
			result(strings.Repeat("x", m.Params.N))
		case "giant line":
			for {
				if _, err := fmt.Print(strings.Repeat("x", 1<<16)); err != nil {
					return
				}
			}
		case "shout":
			for i := range m.Params.N {
				fmt.Fprintf(os.Stderr, "line %d \x1b[31m %s\n", i, strings.Repeat("y", 3000))
			}
			result(nil)
		case "work":
			for i := range m.Params.N {
				say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, m.Params.Meta.Token, i+1)
			}
			result("done")
		case "notify":
			for i := range m.Params.N {
				say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%d}}`, i)
			}
			result(nil)
		case "ask": // the client, and answer with what it says
			say("{\"jsonrpc\":\"2.0\", \r \"id\":\"q\",\"method\":\"sampling/createMessage\",\"params\":{}}")
			reply, err := in.ReadString('\n')
			if err != nil {
				return
			}
			result(strings.TrimSpace(reply))
		case "never":
		}
	}
}
