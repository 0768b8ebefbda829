//go:build !unix

package nethttp

import "syscall"

// Elsewhere the state of an idle connection shows when it is used.
func quiet(syscall.RawConn) bool   { return true }
func waiting(syscall.RawConn) bool { return false }
