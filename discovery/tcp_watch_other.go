//go:build !linux

package discovery

// watch does nothing on these systems: their kernels notice a loss themselves.
type watch struct{}

func newWatch() watch { return watch{} }
