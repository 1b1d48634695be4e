// Package bench measures what users feel: how long a join takes, how soon the first byte of a peer comes, and how fast
// bytes move. make bench runs it. Figures of different machines, or of different runs, are not to be compared; ratios of one
// run are.
package bench
