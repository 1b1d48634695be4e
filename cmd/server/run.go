package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/swarmgate/swarmgate/internal/logwriter"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Exit statuses.
const (
	statusFailed = 1
	statusUsage  = 2 // the configuration is wrong
)

// flushWithin is how long the end of the program waits for what reads its log.
const flushWithin = time.Second

// run runs the program. It returns the exit status after ctx has ended and everything has stopped.
func run(ctx context.Context, args []string, stdout, file io.Writer) int {
	lines, stderr, log := openLog(file)
	defer lines.Close(flushWithin)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case o != nil && o.Check:
		return check(o, err, stdout, stderr)
	case err != nil:
		report(stderr, err)
		return statusUsage
	}
	log.Store(newLogger(o, stderr))
	o.logNotes(log.Load())
	g, err := open(o, log.Load())
	if err != nil {
		report(stderr, err)
		return statusFailed
	}
	g.hangups = hangups
	if err := errors.Join(g.serve(ctx, o, stdout), g.close()); err != nil {
		report(stderr, err)
		return statusFailed
	}
	return 0
}

// openLog returns what is written to file, in the way in which errors are written there, and the
// log, which is one with the defaults until the configuration is known.
func openLog(file io.Writer) (lines *logwriter.Writer, stderr io.Writer, log *atomic.Pointer[slog.Logger]) {
	log = new(atomic.Pointer[slog.Logger])
	lines = logwriter.New(file, func(n int) { log.Load().Warn("the log was not read fast enough", "lost_lines", n) })
	stderr = forJournal(file, lines)
	log.Store(newLogger(&options{}, stderr))
	return lines, stderr, log
}

// report prints each line of err.
func report(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "swarmgate: %s\n", strings.TrimSuffix(line, "\n"))
	}
}

func newLogger(o *options, w io.Writer) *slog.Logger {
	format := func(w io.Writer) slog.Handler {
		opts := &slog.HandlerOptions{Level: o.LogLevel}
		if o.LogFormat == "json" {
			return slog.NewJSONHandler(w, opts)
		}
		return slog.NewTextHandler(w, opts)
	}
	if j, ok := w.(journalLines); ok {
		return slog.New(newJournalHandler(j.to, format))
	}
	return slog.New(format(w))
}

// How long the end of the program may take after its drain, even if something hangs. The server
// gives up by itself after 8 s.
const (
	serveEndsWithin = 10 * time.Second
	closeWithin     = 5 * time.Second
)

// serve runs the gateway until ctx ends, or until a part of it fails, and then ends sessions
// before sites before the LAN. It waits for all goroutines except those of the networks, which
// close ends. Its error names the parts that have not ended in time. At each SIGHUP it looks at
// files that may have changed.
func (g *gateway) serve(ctx context.Context, o *options, stdout io.Writer) error {
	life, fail := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { fail(g.server.Serve(g.sockets.quic)) })
	for _, s := range g.sites {
		wg.Go(func() { fail(s.serve()) })
	}
	if g.acme != nil {
		g.acme.Start(g.proofsAt())
	}
	if g.lan != nil {
		wg.Go(func() { g.lan.Run(context.WithoutCancel(ctx)) }) // until its Close, which is not an error
	}
	wg.Go(func() {
		for {
			select {
			case <-g.hangups:
				g.checkFiles()
			case <-life.Done():
				return
			}
		}
	})
	err := g.attend(life, o, stdout)
	if err == nil && life.Err() != nil && ctx.Err() == nil {
		err = context.Cause(life)
	}
	fail(nil)
	if err == nil {
		g.drain(time.Duration(o.Drain))
	}
	steps := []step{{"the server", g.server.Close}}
	for _, s := range g.sites {
		steps = append(steps, step{s.name, func() error { s.close(); return nil }})
	}
	if g.lan != nil {
		steps = append(steps, step{"the LAN", func() error { g.lan.Close(); return nil }})
	}
	steps = append(steps, step{"goroutines", func() error { wg.Wait(); return nil }})
	return errors.Join(err, end(serveEndsWithin, steps))
}

// checkFiles looks at the files of certificates, tokens and keys, which are looked at anyway when
// clients come, so that the log says now what is wrong with them.
func (g *gateway) checkFiles() {
	g.log.Info("SIGHUP: looking at the files of certificates, tokens and keys")
	for _, part := range []any{g.source, g.authorizer} {
		if files, ok := part.(interface{ Check() }); ok {
			files.Check()
		}
	}
}

// step is a part of the program's end.
type step struct {
	name string
	run  func() error
}

// end takes steps one after the other and returns their errors. If one has not ended after atMost,
// it returns an error that names it.
func end(atMost time.Duration, steps []step) error {
	var at atomic.Pointer[string]
	at.Store(new(string))
	ended := make(chan error, 1)
	go func() {
		var errs []error
		for _, s := range steps {
			at.Store(&s.name)
			errs = append(errs, s.run())
		}
		ended <- errors.Join(errs...)
	}()
	timeout := time.NewTimer(atMost)
	defer timeout.Stop()
	select {
	case err := <-ended:
		return err
	case <-timeout.C:
		return fmt.Errorf("not ended in %v: %s", atMost, *at.Load())
	}
}

// attend prints the ready line when the gateway is ready, and returns when the gateway has to end.
func (g *gateway) attend(ctx context.Context, o *options, stdout io.Writer) error {
	select {
	case <-g.server.Started():
	case <-ctx.Done():
		return nil
	}
	g.ready.Store(true)
	defer g.ready.Store(false)
	if !o.Demo || !isTerminal(stdout) { // otherwise people read the summary of the demo
		switch err := g.announce(stdout); {
		case errors.Is(err, syscall.EPIPE):
			g.log.Warn("nobody reads the ready line", "error", err) // who started the gateway need not stay
		case err != nil:
			return err
		}
	}
	if o.Demo {
		return g.demo(ctx, o, stdout)
	}
	<-ctx.Done()
	return nil
}

// drain shuts the sessions down gracefully, for at most that time.
func (g *gateway) drain(atMost time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	if g.handover {
		g.sockets.https.Close() // who comes waits for the next process
	}
	g.log.Info("draining", "sessions", g.server.Sessions(), "at_most", atMost)
	if err := g.server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		g.log.Warn("circuits were cut off", "after", atMost)
	}
}

// readyLine is the line that the program prints when it accepts sessions.
type readyLine struct {
	QUIC         string                  `json:"quic"`
	URL          string                  `json:"url"` // for client.Dial and --gateway
	WebTransport string                  `json:"webtransport"`
	Info         string                  `json:"info"`
	Admin        string                  `json:"admin,omitempty"`
	Certificate  wtproto.CertificateInfo `json:"certificate"`
	P2P          *hostLine               `json:"p2p,omitempty"`
}

// hostLine is the part of a readyLine about the libp2p host.
type hostLine struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs"`
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// announce prints the ready line.
func (g *gateway) announce(w io.Writer) error {
	info := g.server.Info(reachable(g.sockets.quic.LocalAddr()).Addr().String())
	line := readyLine{
		QUIC: info.QUIC, WebTransport: info.WebTransport, Certificate: info.Certificate,
		Info: "https://" + info.QUIC + wtproto.InfoPath,
	}
	u, err := wtproto.ParseGatewayURL(wtproto.URLScheme + info.QUIC)
	if err != nil {
		return err
	}
	u.Hashes = g.source.Hashes()
	line.URL = u.String()
	for _, s := range g.sites {
		switch s.name {
		case siteDev:
			line.Info = s.url() + wtproto.InfoPath
		case siteAdmin:
			line.Admin = s.url()
		}
	}
	if g.host != nil {
		line.P2P = &hostLine{ID: g.host.ID(), Addrs: g.host.Addrs()}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // so that the URL can be pasted, with its &
	if err := enc.Encode(line); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	return nil
}
