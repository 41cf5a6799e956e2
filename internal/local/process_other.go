//go:build unix && !linux

package local

import "syscall"

// childAttributes give a child a process group of its own, so that Ctrl-C in
// the terminal reaches only the supervisor. A parent-death signal exists on
// Linux only: elsewhere killing the supervisor with -9 leaves its children.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
