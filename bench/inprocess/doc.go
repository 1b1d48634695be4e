// Package inprocess has Go benchmarks of a gateway and its clients in one process: how long a join
// takes, how soon the first byte of a peer comes, and how fast bytes move. make bench-go runs them,
// and benchstat compares them. Compare ratios within one run.
package inprocess
