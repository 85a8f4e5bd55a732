package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// process is a program that is measured.
type process struct {
	cmd           *exec.Cmd
	stdin         io.Closer
	base, control string
}

// start starts a program of bench and waits until it says where it listens.
func start(program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...)}
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := fmt.Fscan(bufio.NewReader(out), &p.base, &p.control); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s does not say where it listens: %w", program, err)
	}
	return p, nil
}

// stop ends a program of bench and waits for its end.
func (p *process) stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
}

// ask gets a path of the control listener.
func (p *process) ask(path string) ([]byte, error) {
	resp, err := http.Get(p.control + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", path, resp.Status, body)
	}
	return body, err
}

// cpu is what the process has used so far.
func (p *process) cpu() (time.Duration, error) {
	body, err := p.ask("/cpu")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(body), 10, 64)
	return time.Duration(n), err
}

// memory is a line of /proc/PID/status in KiB: VmHWM is the peak, VmRSS now.
func memory(pid int, line string) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(status), line+":")
	if !ok {
		return 0, fmt.Errorf("no %s of process %d", line, pid)
	}
	return strconv.Atoi(strings.Fields(rest)[0])
}
