//go:build unix

package main

import "syscall"

// openFiles is how many files this process may have open; Go has raised it as
// far as the system lets it.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Cur)
}
