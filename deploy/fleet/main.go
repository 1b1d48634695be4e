// Command fleet runs several gateways on this machine, and a seed by which they find each other,
// until it is interrupted. Each is the real program, with ports and a state directory of its own,
// on a private DHT. It is for trying things out: make fleet N=3.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Exit statuses.
const (
	statusFailed = 1
	statusUsage  = 2
)

// maxGateways is the most that have ports of their own in the ranges of member.go.
const maxGateways = 99

// Children end with the thread that started them (child_linux.go), and main's lives as long as the
// program.
func init() { runtime.LockOSThread() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: it returns its exit status after all gateways have ended.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(stderr)
	n := flags.Int("n", 3, "how many `gateways`")
	server := flags.String("server", "", "the gateway's `binary`; without it, cmd/server is built")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return statusUsage
	case *n < 1 || *n > maxGateways || flags.NArg() > 0:
		fmt.Fprintf(stderr, "fleet: want -n with 1 to %d gateways, and nothing else\n", maxGateways)
		return statusUsage
	}
	if err := fleet(ctx, *n, *server, stdout, stderr); err != nil && ctx.Err() == nil {
		fmt.Fprintf(stderr, "fleet: %v\n", err)
		return statusFailed
	}
	return 0
}

// fleet runs n gateways and a seed until ctx ends, or until none is left.
func fleet(ctx context.Context, n int, server string, stdout, stderr io.Writer) error {
	dir, err := os.MkdirTemp("", "swarmgate-fleet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if server == "" {
		server = filepath.Join(dir, "server")
		build := exec.CommandContext(ctx, "go", "build", "-o", server, "github.com/swarmgate/swarmgate/cmd/server")
		build.Stdout, build.Stderr = stderr, stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	log := &lines{to: stderr}
	ended := make(chan *member, n+1)
	var all []*member
	defer func() {
		for _, m := range all {
			m.terminate()
		}
		for range all {
			<-ended
		}
	}()
	start := func(name string, args ...string) (*member, error) {
		m, err := startMember(server, name, append(args, "--state-dir", filepath.Join(dir, name)), log, ended)
		if err == nil {
			all = append(all, m)
			err = m.awaitReady(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return m, nil
	}
	seed, err := start("seed", seedArgs()...)
	if err != nil {
		return err
	}
	for i := 1; i <= n; i++ {
		if _, err := start(fmt.Sprintf("gateway-%d", i), gatewayArgs(i, seed.P2P.Addrs[0])...); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(stdout, guide(seed, all[1:])); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	for len(all) > 1 { // a seed alone is no fleet
		select {
		case <-ctx.Done():
			return nil
		case m := <-ended:
			fmt.Fprintf(log.named("fleet"), "%s has ended: %v\n", m.name, m.err)
			all = without(all, m)
		}
	}
	return errors.New("no gateway is left")
}

func without(all []*member, m *member) []*member {
	var rest []*member
	for _, o := range all {
		if o != m {
			rest = append(rest, o)
		}
	}
	return rest
}

// guide says how to reach the gateways, and what to try.
func guide(seed *member, gateways []*member) string {
	const topic = "wowcool"
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d gateways are up, on a DHT of their own. They know of each other by the seed:\n\n", len(gateways))
	fmt.Fprintf(&b, "  %-10s  %s\n\n", seed.name, seed.P2P.Addrs[0])
	for _, g := range gateways {
		fmt.Fprintf(&b, "  %-10s  %s  QUIC %s  for operators %s  process %d\n", g.name, g.console(), g.QUIC, g.Admin, g.pid)
	}
	fmt.Fprintf(&b, "\nOpen one topic in several browsers, each by its own gateway, and say something:\n\n")
	for _, g := range gateways {
		fmt.Fprintf(&b, "  %s/#%s\n", g.console(), topic)
	}
	fmt.Fprintf(&b, "\nOr join it in another terminal, where what you type goes to all of them:\n\n  go run ./cmd/swarm join %s", topic)
	for _, g := range gateways {
		fmt.Fprintf(&b, " --gateway %s", g.console())
	}
	if len(gateways) > 1 {
		fmt.Fprintf(&b, "\n\nKill a gateway, and its clients go on at another one:\n\n  kill -9 %d", gateways[0].pid)
	}
	b.WriteString("\n\nCtrl-C ends all.\n\n")
	return b.String()
}

// endWithin is how long a gateway may take to end: its drain, and 15 s after that.
const endWithin = drain + 15*time.Second
