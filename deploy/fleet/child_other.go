//go:build !linux

package main

import "syscall"

// childAttr leaves the gateways as they are: the terminal's Ctrl-C reaches them too.
func childAttr() *syscall.SysProcAttr { return nil }
