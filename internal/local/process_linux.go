package local

import "syscall"

// childAttributes give a child a process group of its own, so that Ctrl-C in
// the terminal reaches only the supervisor, and have the kernel kill it when
// the supervisor dies in whatever way.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
