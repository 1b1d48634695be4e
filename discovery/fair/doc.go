// Package fair decides whose work is next if more work waits than can run: payers of topics take
// turns ([discovery.Payer]). [Queue] is accounting without I/O; its owner has the lock, and starts
// what is popped.
package fair
