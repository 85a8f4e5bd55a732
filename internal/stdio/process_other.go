//go:build !unix

package stdio

import "os/exec"

// There are no process groups here, and no signal that asks a process to end:
// what it started ends when it sees its own input closed.

func ownGroup(*exec.Cmd) {}

func terminate(*exec.Cmd) {}

func kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func groupLives(*exec.Cmd) bool { return false }
