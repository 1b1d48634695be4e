package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/freeport"
	gwtest "github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// serviceVar has this test program be a TCP service at an address, which says its process id to
// whoever connects, and echoes.
const serviceVar = "TEST_SERVICE"

// startService starts the service in a process of its own.
func startService(t *testing.T, addr string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledServiceIsConnectedAgain$")
	cmd.Env = append(os.Environ(), serviceVar+"="+addr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func runService(t *testing.T, addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			fmt.Fprintln(c, os.Getpid())
			io.Copy(c, c)
			c.Close()
		}()
	}
}

// A service that was killed was never connected to again, whether its kernel said FIN or, because
// of bytes that nobody had read, RST.
func TestKilledServiceIsConnectedAgain(t *testing.T) {
	if addr := os.Getenv(serviceVar); addr != "" {
		runService(t, addr)
		return
	}
	addr := freeport.Address(t)
	service := startService(t, addr)
	i := start(t, "--static", "there=tcp://"+addr)
	top := gwtest.Join(t, i.dial(t), wtproto.TopicFromName("there"), client.JoinOptions{})
	for range 3 {
		conn := gwtest.Accept(t, top)
		var pid int
		if _, err := fmt.Fscanln(conn, &pid); err != nil || pid != service.Process.Pid {
			t.Fatalf("the service says %d, %v; want %d", pid, err, service.Process.Pid)
		}
		if err := service.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = service.Wait()
		ended := time.Now()
		_, _ = io.Copy(io.Discard, conn) // to its end, or the reset
		_ = conn.Close()
		<-time.After(time.Until(ended.Add(2 * time.Second)))
		service = startService(t, addr)
	}
	gwtest.Accept(t, top)
}
