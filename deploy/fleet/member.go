package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Where gateway i listens, if these ports are free: i more than each.
const (
	quicPort  = 4440 // UDP, and HTTPS on TCP
	pagePort  = 8080 // plain HTTP for browsers
	adminPort = 9090 // plain HTTP for operators
)

// drain is how long open circuits may go on after Ctrl-C.
const drain = time.Second

// member is a running gateway.
type member struct {
	name string
	pid  int
	ready

	cmd   *exec.Cmd
	first chan error // takes one: the ready line came, or did not
	err   error      // set before m is sent to ended
}

// ready is the line that a gateway prints once it takes sessions.
type ready struct {
	QUIC  string
	Info  string
	Admin string
	P2P   struct{ Addrs []string }
}

// seedArgs are the flags of the gateway by which the others enter the DHT.
func seedArgs() []string { return memberArgs("127.0.0.1:0") }

// gatewayArgs are the flags of gateway i.
func gatewayArgs(i int, seed string) []string {
	return append(memberArgs(free(quicPort+i)), "--dev-http", free(pagePort+i), "--admin", free(adminPort+i), "--dht-seed", seed)
}

func memberArgs(listen string) []string {
	return []string{
		"--listen", listen, "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--dht", "private", "--allow-private",
		"--drain", drain.String(), "--log-level", "warn",
	}
}

// free returns the port of loopback if it is free for TCP and UDP, else a port that the system
// chooses.
func free(port int) string {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return "127.0.0.1:0"
	}
	defer u.Close()
	return addr
}

// startMember starts a gateway. Once it has ended it is sent to ended, which must have room.
func startMember(server, name string, args []string, log *lines, ended chan<- *member) (*member, error) {
	cmd := exec.Command(server, args...)
	cmd.SysProcAttr = childAttr()
	cmd.Stderr = log.named(name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	m := &member{name: name, pid: cmd.Process.Pid, cmd: cmd, first: make(chan error, 1)}
	go func() {
		r := bufio.NewReader(out)
		line, err := r.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &m.ready)
		}
		m.first <- err
		io.Copy(io.Discard, r)
		m.err = cmd.Wait()
		ended <- m
	}()
	return m, nil
}

// awaitReady waits until the gateway takes sessions.
func (m *member) awaitReady(ctx context.Context) error {
	select {
	case err := <-m.first:
		if errors.Is(err, io.EOF) {
			return errors.New("it ended at once")
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// terminate ends the gateway kindly, and kills it if it takes too long. It does not wait.
func (m *member) terminate() {
	if m.cmd.Process.Signal(syscall.SIGTERM) != nil {
		m.cmd.Process.Kill() // it has ended, or this system knows no other way
	}
	time.AfterFunc(endWithin, func() { m.cmd.Process.Kill() })
}

// console returns the address of the gateway's page.
func (m *member) console() string {
	url, _, _ := strings.Cut(m.Info, "/.well-known/")
	return url
}

// lines takes what several programs write, and passes on whole lines.
type lines struct {
	mu sync.Mutex
	to io.Writer // guarded by mu
}

// named returns a writer whose lines begin with name. One goroutine may use it.
func (l *lines) named(name string) io.Writer { return &line{all: l, name: name} }

// line is the writer of one program.
type line struct {
	all  *lines
	name string
	part []byte // of a line
}

func (l *line) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	for {
		text, rest, whole := bytes.Cut(l.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		fmt.Fprintf(l.all.to, "%s: %s\n", l.name, text)
		l.part = rest
	}
}
