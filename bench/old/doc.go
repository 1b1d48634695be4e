// Package old measures swarmgate beside its predecessor, npm's discovery-swarm-stream 2.1.1, on one
// machine, in one run, with the same peers. make bench-old runs it and prints a table. README.md
// says how each figure is taken.
package old
