//go:build !linux

package discovery

// waiter does nothing on these systems: a goroutine waits in a Read of each connection.
type waiter struct{}

// idle has nobody to tell.
var idle poller

type poller struct{}

func (poller) closed(*waiter) {}
