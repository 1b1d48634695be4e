package netns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLink(t *testing.T) {
	a, b, apart := New(t, "a"), New(t, "b"), New(t, "apart")
	devA, devB := Link(t, a, "10.71.0.1/24", b, "10.71.0.2/24")
	if devA != "veth0" || devB != "veth0" {
		t.Errorf("Link = %q, %q, want veth0 twice", devA, devB)
	}
	a.Addr(t, "fd71::1/64", devA)
	b.Addr(t, "fd71::2/64", devB)
	for _, addr := range []string{"10.71.0.1", "fd71::1"} {
		var ln net.Listener
		var err error
		a.Do(t, func() { ln, err = net.Listen("tcp", net.JoinHostPort(addr, "0")) })
		if err != nil {
			t.Fatalf("listen inside: %v", err)
		}
		defer ln.Close()
		var c net.Conn
		apart.Do(t, func() { _, err = net.DialTimeout("tcp", ln.Addr().String(), 30*time.Second) })
		if !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("dial %s without a cable: %v, want %v", addr, err, unix.ENETUNREACH)
		}
		b.Do(t, func() { c, err = net.DialTimeout("tcp", ln.Addr().String(), 30*time.Second) })
		if err != nil {
			t.Fatalf("dial %s from the other end: %v", addr, err)
		}
		c.Close()
	}
}

// A packet to a group is sent from a link-local address, and cannot be before there is one.
func TestAwaitLinkLocal(t *testing.T) {
	a, b := New(t, "a"), New(t, "b")
	dev, _ := Link(t, a, "10.71.0.1/24", b, "10.71.0.2/24")
	a.AwaitLinkLocal(t, dev)
	a.Do(t, func() {
		c, err := net.DialUDP("udp6", nil, &net.UDPAddr{IP: net.ParseIP("ff02::1"), Port: 9, Zone: dev})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
	})
}

func TestDoReturns(t *testing.T) {
	n := New(t, "do")
	self := func() string {
		s, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	outside := self()
	done := make(chan struct{})
	go func() { // f may end its goroutine
		defer close(done)
		n.Do(t, func() {
			if self() == outside {
				t.Error("Do ran outside")
			}
		})
		if got := self(); got != outside {
			t.Errorf("after Do: namespace %s, want %s", got, outside)
		}
	}()
	<-done
}

func TestRerun(t *testing.T) {
	if !Inside() {
		n, other := New(t, "rerun"), New(t, "other")
		Link(t, other, "", New(t, "another"), "10.71.2.2/24")
		n.Rerun(t, "TEST_OTHER="+other.Name())
		return
	}
	ifs, err := net.Interfaces()
	if err != nil || len(ifs) != 1 || ifs[0].Flags&net.FlagLoopback == 0 {
		t.Errorf("interfaces inside = %v, %v; want loopback alone", ifs, err)
	}
	Open(os.Getenv("TEST_OTHER")).Do(t, func() {
		if ifs, err := net.Interfaces(); err != nil || len(ifs) != 2 {
			t.Errorf("interfaces in the other namespace = %v, %v; want 2", ifs, err)
		}
	})
}

// A failing or forgetful test leaves neither its namespace nor its processes.
func TestCleanup(t *testing.T) {
	var name string
	var exited <-chan error
	t.Run("leaves things behind", func(t *testing.T) {
		n := New(t, "cleanup")
		name = n.Name()
		cmd := n.Command(context.WithoutCancel(t.Context()), "sh", "-c", "echo ready; exec sleep 600")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("first line = %q, %v", line, err)
		}
		ch := make(chan error, 1)
		exited = ch
		go func() {
			_, _ = io.Copy(io.Discard, out)
			ch <- cmd.Wait()
		}()
	})
	select {
	case err := <-exited:
		if want := "signal: killed"; fmt.Sprint(err) != want {
			t.Errorf("process ended with %v, want %s", err, want)
		}
	case <-time.After(time.Minute):
		t.Error("the process lives on")
	}
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil || strings.Contains(string(out), name) {
		t.Errorf("namespaces = %s, %v; %s is still there", out, err, name)
	}
}
