package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of processor time in /proc/stat. It is 10 ms on each Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuOf returns the processor time that a process has used, of user and system. The clock of a
// process counts nanoseconds; what /proc tells is the same, in ticks.
func cpuOf(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil { // as clock_getcpuclockid does
		return 0, fmt.Errorf("the clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// busy returns the processor time that everything on this machine has used.
func busy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var all time.Duration
	for i, f := range strings.Fields(line)[1:] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 && i < 8 { // idle, waiting for a disk, and guests, which count elsewhere
			all += time.Duration(n) * tick
		}
	}
	return all, nil
}

// cpuOfAll returns the processor time that processes have used.
func cpuOfAll(pids []int) (time.Duration, error) {
	var all time.Duration
	for _, pid := range pids {
		d, err := cpuOf(pid)
		if err != nil {
			return 0, err
		}
		all += d
	}
	return all, nil
}

// meter measures how much of the machine others use.
type meter struct {
	at         time.Time
	busy, ours time.Duration
	used       func() (time.Duration, error)
}

// newMeter begins to measure. used returns our processor time up to now.
func newMeter(used func() (time.Duration, error)) (*meter, error) {
	m := &meter{at: time.Now(), used: used}
	var err error
	if m.busy, err = busy(); err != nil {
		return nil, err
	}
	m.ours, err = m.used()
	return m, err
}

// foreign returns which part of the machine others have used since the meter began, 0 to 1.
func (m *meter) foreign() (float64, error) {
	all, err := busy()
	if err != nil {
		return 0, err
	}
	ours, err := m.used()
	if err != nil {
		return 0, err
	}
	others := (all - m.busy) - (ours - m.ours)
	wall := time.Since(m.at) * time.Duration(runtime.NumCPU())
	return max(0, float64(others)/float64(wall)), nil
}
