package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Exit statuses.
const (
	statusFailed = 1
	statusUsage  = 2 // the configuration is wrong
)

// run is the program: it returns its exit status after ctx has ended and everything is over.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		report(stderr, err)
		return statusUsage
	}
	g, err := open(o, newLogger(o, stderr))
	if err != nil {
		report(stderr, err)
		return statusFailed
	}
	if err := errors.Join(g.serve(ctx, o, stdout), g.close()); err != nil {
		report(stderr, err)
		return statusFailed
	}
	return 0
}

// report prints each line of err.
func report(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "swarmgate: %s\n", strings.TrimSuffix(line, "\n"))
	}
}

func newLogger(o *options, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: o.LogLevel}
	if o.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// How long the end of the program may take after its drain, whatever hangs. The server gives up by
// itself after 8 s.
const (
	serveEndsWithin = 10 * time.Second
	closeWithin     = 5 * time.Second
)

// serve runs the gateway until ctx ends, or until a part of it fails, and then ends sessions
// before sites before the LAN. It waits for all goroutines but those of the networks, which close
// ends; what does not end in time is its error.
func (g *gateway) serve(ctx context.Context, o *options, stdout io.Writer) error {
	life, fail := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { fail(g.server.Serve(g.sockets.quic)) })
	for _, s := range g.sites {
		wg.Go(func() { fail(s.serve()) })
	}
	if g.lan != nil {
		wg.Go(func() { g.lan.Run(context.WithoutCancel(ctx)) }) // until its Close, which is not an error
	}
	err := g.attend(life, o, stdout)
	if err == nil && life.Err() != nil && ctx.Err() == nil {
		err = context.Cause(life)
	}
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
	err = errors.Join(err, end(serveEndsWithin, steps))
	fail(nil)
	return err
}

// step is a part of the program's end.
type step struct {
	name string
	run  func() error
}

// end takes steps one after the other and returns their errors, or after atMost that one of them
// has not ended.
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

// attend says that the gateway is ready once it is, and returns when it is to end.
func (g *gateway) attend(ctx context.Context, o *options, stdout io.Writer) error {
	select {
	case <-g.server.Started():
	case <-ctx.Done():
		return nil
	}
	g.ready.Store(true)
	defer g.ready.Store(false)
	if !o.Demo || !isTerminal(stdout) { // else people read what the demo has found out
		if err := g.announce(stdout); err != nil {
			return err
		}
	}
	if o.Demo {
		return g.demo(ctx, o, stdout)
	}
	<-ctx.Done()
	return nil
}

// drain ends the sessions kindly, for at most that time.
func (g *gateway) drain(atMost time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	g.log.Info("draining", "sessions", g.server.Sessions(), "at_most", atMost)
	if err := g.server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		g.log.Warn("circuits were cut off", "after", atMost)
	}
}

// readyLine is what the program prints once it takes sessions.
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

// isTerminal reports whether people read w.
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
