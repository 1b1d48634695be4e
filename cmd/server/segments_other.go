//go:build !linux

package main

import "net"

// limitSegments does nothing on this system: routers have to tell when a packet is too large.
func limitSegments(net.Listener) {}
