// Package bench measures what users feel: how long a join takes, how soon the first byte of a peer
// comes, and how fast bytes move. make bench runs it. Compare ratios within one run. Do not
// compare figures of different machines or different runs.
package bench
