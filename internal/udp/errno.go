//go:build !windows

package udp

import "syscall"

// transient are the errors of sending that tell of interfaces, addresses, routes, filters and
// queues as they are now.
var transient = []syscall.Errno{
	syscall.ENETUNREACH,
	syscall.EHOSTUNREACH,
	syscall.EHOSTDOWN,
	syscall.ENETDOWN,
	syscall.EADDRNOTAVAIL,
	syscall.EPERM,   // a filter
	syscall.EACCES,  // a "prohibit" route
	syscall.EINVAL,  // a "blackhole" route; and on IPv6, an answer from an address that the machine has lost
	syscall.ENOBUFS, // a full queue
}

// refused is the error of a socket that is connected to a port on which nobody listens.
const refused = syscall.ECONNREFUSED
