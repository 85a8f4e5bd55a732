//go:build unix

package stdio

import (
	"errors"
	"os/exec"
	"syscall"
)

// ownGroup gives the process a group of its own, so that all of what it starts
// can be ended with it, and nothing that is sent to ours reaches it.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate asks the group to end.
func terminate(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }

// kill ends the group.
func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// groupLives reports whether somebody of the group is left. While somebody is,
// no other process gets its number.
func groupLives(cmd *exec.Cmd) bool {
	return !errors.Is(syscall.Kill(-cmd.Process.Pid, 0), syscall.ESRCH)
}
