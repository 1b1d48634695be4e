package main

import "syscall"

// childAttr keeps the terminal's Ctrl-C from the gateways, which are told to end by this program,
// and ends them if it is killed.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
