package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// connectRow is the name by which -only finds what doorward connect costs.
const connectRow = "connect: one tool call"

// bridged is what doorward connect adds to a tool call, and what it holds.
type bridged struct {
	calls         int
	without, with time.Duration // medians
	idle          float64       // MiB
}

func (b bridged) added() time.Duration { return b.with - b.without }

const (
	warmCalls    = 300
	bridgedCalls = 2000            // each way, in turn
	silence      = 7 * time.Second // after it the bridge is idle
)

// connect measures doorward connect between a pipe and the gateway.
func (b *bench) connect() (bridged, error) {
	r := bridged{calls: bridgedCalls}
	t := b.targets["serve"]
	token, err := t.credentialsToken()
	if err != nil {
		return r, err
	}
	direct, err := dial(t.base)
	if err != nil {
		return r, err
	}
	defer direct.wire.Close()
	request := post(t.host, "/mcp", "application/json", callHeaders(token), toolCall)
	p, err := b.startConnect(t)
	if err != nil {
		return r, err
	}
	defer p.stop()
	var without, with []time.Duration
	for n := range warmCalls + bridgedCalls {
		began := time.Now()
		if err := direct.do(request, http.StatusOK); err != nil {
			return r, err
		}
		between := time.Now()
		if err := p.call(toolCall); err != nil {
			return r, err
		}
		if n >= warmCalls {
			without, with = append(without, between.Sub(began)), append(with, time.Since(between))
		}
	}
	r.without, r.with = median(without), median(with)
	time.Sleep(silence)
	resident, err := memory(p.cmd.Process.Pid, "VmRSS")
	r.idle = float64(resident) / 1024
	return r, err
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// piped is a running doorward connect.
type piped struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (b *bench) startConnect(t target) (*piped, error) {
	home := filepath.Join(b.dir, "home")
	p := &piped{cmd: exec.Command(filepath.Join(b.dir, "doorward"), "connect", t.base+"/mcp",
		"--flow", "client", "--client-id", "agent", "--client-secret", "env:BENCH_SECRET")}
	p.cmd.Env = []string{"HOME=" + home, "BENCH_SECRET=" + secret}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

func (p *piped) call(message string) error {
	if _, err := io.WriteString(p.in, message+"\n"); err != nil {
		return err
	}
	answer, err := p.out.ReadString('\n')
	if err == nil && !strings.Contains(answer, `"result"`) {
		err = fmt.Errorf("connect answered %s", answer)
	}
	return err
}

func (p *piped) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// aboutConnect is its part of the table.
func (r *results) aboutConnect() string {
	c := r.bridged
	if c.calls == 0 {
		return ""
	}
	return fmt.Sprintf("\n| `doorward connect` | | goal |\n|---|--:|--:|\n"+
		"| a tool call through the gateway, median of %d, without and with it in turn | %.2f ms, %.2f ms | |\n"+
		"| what it adds | **%.2f ms** | 1 ms |\n| resident memory, idle after these calls | %.0f MiB | 20 MiB |\n",
		c.calls, inMillis(c.without), inMillis(c.with), inMillis(c.added()), c.idle)
}

func inMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
