//go:build !linux

package agent

import "syscall"

// dieWithParent is Linux's: elsewhere an agent outlives a test that is killed.
func dieWithParent() *syscall.SysProcAttr { return nil }
