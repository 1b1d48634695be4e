package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// safeName returns a path below a directory for a name that a stranger gave.
func safeName(name string) string {
	name = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == '\\' || c == ':' {
			return '_'
		}
		return c
	}, name)
	if name = filepath.FromSlash(name); !filepath.IsLocal(name) || filepath.Base(name) == "." {
		name = filepath.Base(name)
	}
	if name == "." || name == ".." || name == string(filepath.Separator) {
		return "file"
	}
	return name
}

// numbered returns path, or one with a number before its extension.
func numbered(path string, n int) string {
	if n == 0 {
		return path
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(path, ext), n, ext)
}

// createNew makes a file at path and suffix, or with a number if there is one.
func createNew(path, suffix string) (*os.File, error) {
	for n := 0; ; n++ {
		f, err := os.OpenFile(numbered(path, n)+suffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, os.ErrExist) || n == 1000 {
			return f, err
		}
	}
}

// hashFile returns the SHA-256 of a file.
func hashFile(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [32]byte(h.Sum(nil)), nil
}
