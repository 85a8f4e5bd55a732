package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A connect that has worked and waits holds little, and works on.
func TestConnectIdlesUnder20MiB(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	t.Cleanup(srv.Close)
	cmd := exec.Command(d.program(), "connect", srv.URL, "--flow", "browser", "--no-browser")
	cmd.Env = []string{"HOME=" + d.home}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	call := func() {
		t.Helper()
		if _, err := io.WriteString(in, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+strings.Repeat("x", 4000)+`"}}`+"\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || !strings.Contains(lines.Text(), "result") {
			t.Fatalf("%s", lines.Text())
		}
	}
	for range 2000 {
		call()
	}
	const most = 20 << 10 // KiB
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		resident, err := residentOf(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if resident < most {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d KiB are resident", resident)
		}
	}
	call()
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// residentOf is the resident memory of a process in KiB.
func residentOf(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	return strconv.Atoi(strings.Fields(rest)[0])
}
