//go:build !unix

package main

import (
	"io/fs"
	"os"
)

// lockFolder does nothing: folders have no locks here.
func lockFolder(string) (unlock func(), err error) { return func() {}, nil }

// giveTo does nothing: a file belongs to its folder here.
func giveTo(*os.File, fs.FileInfo) error { return nil }
