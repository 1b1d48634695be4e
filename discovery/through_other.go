//go:build !linux

package discovery

import "syscall"

// bindToInterface does nothing on this system.
func bindToInterface(syscall.RawConn, string) error { return nil }
