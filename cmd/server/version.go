package main

import "runtime/debug"

// released is the version of a release, such as v1.2.3, which the linker sets.
var released string

// version returns the version of the release, or of the module that the program was built from,
// such as v1.2.3 or (devel).
func version() string {
	if released != "" {
		return released
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
