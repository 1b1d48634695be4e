package main

import "runtime/debug"

// version returns the version of the module that the program was built from, such as v1.2.3 or
// (devel).
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
