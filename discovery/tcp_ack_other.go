//go:build unix && !linux

package discovery

// acknowledge does nothing on these systems, which have no such option.
func acknowledge(uintptr) {}
