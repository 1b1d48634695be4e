// Command server is the gateway: it gives programs one QUIC or WebTransport session, and on it
// streams with the peers of the topics that they join. docs/OPERATING.md describes its options.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // a second signal ends the program at once
	signal.Ignore(syscall.SIGPIPE) // of a log or an output that nobody reads any more
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
