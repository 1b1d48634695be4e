//go:build !linux

package discovery

// watch is nothing where this is built: the kernel notices.
type watch struct{}

func newWatch() watch { return watch{} }
