package main

import (
	"fmt"
	"net"
	"strconv"
)

// hostPort is an address of a TCP service.
type hostPort string

// UnmarshalText reads HOST:PORT.
func (a *hostPort) UnmarshalText(b []byte) error {
	_, port, err := net.SplitHostPort(string(b))
	if err != nil {
		return fmt.Errorf("%q: want HOST:PORT", b)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q: port %q is not a number from 1 to 65535", b, port)
	}
	*a = hostPort(b)
	return nil
}

// listenAddress is an address to listen on.
type listenAddress string

// UnmarshalText reads HOST:PORT.
func (a *listenAddress) UnmarshalText(b []byte) error {
	if host, port, err := net.SplitHostPort(string(b)); err == nil && port == "0" && host != "" {
		*a = listenAddress(b)
		return nil
	}
	return (*hostPort)(a).UnmarshalText(b)
}
