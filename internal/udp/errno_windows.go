package udp

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// transient are the errors of sending that tell of interfaces, addresses, routes, filters and
// queues as they are now.
var transient = []syscall.Errno{
	windows.WSAENETUNREACH,
	windows.WSAEHOSTUNREACH,
	windows.WSAEHOSTDOWN,
	windows.WSAENETDOWN,
	windows.WSAEADDRNOTAVAIL,
	windows.WSAEACCES,  // a filter
	windows.WSAENOBUFS, // a full queue
}

// refused is the error of a socket that is connected to a port on which nobody listens.
const refused = windows.WSAECONNRESET
