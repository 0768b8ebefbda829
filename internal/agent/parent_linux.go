package agent

import "syscall"

// dieWithParent makes the kernel kill the agent when the test dies, also by a
// panic or a signal, when no cleanup runs.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
