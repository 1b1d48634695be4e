package machine

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/internal/netns"
)

// Internet is machines at public-looking addresses, and the router between them.
type Internet struct {
	t        *testing.T
	Router   *netns.NS
	machines int
}

// NewInternet makes an internet without machines, until the test ends.
func NewInternet(t *testing.T) *Internet {
	t.Helper()
	router := netns.New(t, "internet")
	router.Sysctl(t, "net/ipv4/ip_forward", "1")
	return &Internet{t: t, Router: router}
}

// Machine adds a machine, and returns its address.
func (i *Internet) Machine(name string) (ns *netns.NS, addr string) {
	i.t.Helper()
	i.machines++
	ns = netns.New(i.t, name)
	here := fmt.Sprintf("45.83.%d.1", i.machines)
	addr = fmt.Sprintf("45.83.%d.2", i.machines)
	netns.Link(i.t, i.Router, here+"/30", ns, addr+"/30")
	ns.IP(i.t, "route", "add", "default", "via", here)
	return ns, addr
}

// Container returns a machine behind host, which is at addr. The host forwards its TCP port outer
// to port 4434 of the container, as docker -p does. All containers have the same address.
func (i *Internet) Container(host *netns.NS, addr string, outer int) *netns.NS {
	i.t.Helper()
	ns := netns.New(i.t, "container")
	dev, _ := netns.Link(i.t, host, "172.17.0.1/16", ns, "172.17.0.2/16")
	ns.IP(i.t, "route", "add", "default", "via", "172.17.0.1")
	host.Sysctl(i.t, "net/ipv4/ip_forward", "1")
	Nft(i.t, host, "add table ip docker",
		"add chain ip docker in { type nat hook prerouting priority -100; }",
		fmt.Sprintf("add rule ip docker in ip daddr %s tcp dport %d dnat to 172.17.0.2:4434", addr, outer),
		"add chain ip docker out { type nat hook postrouting priority 100; }",
		fmt.Sprintf("add rule ip docker out ip saddr 172.17.0.0/16 oifname != %s masquerade", dev))
	return ns
}

// Nft adds rules to the packet filter of ns.
func Nft(t *testing.T, ns *netns.NS, rules ...string) {
	t.Helper()
	if out, err := ns.Command(t.Context(), "nft", strings.Join(rules, "; ")).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// logged keeps what a program has logged, and passes it on to another writer. Any number of
// goroutines may use it.
type logged struct {
	to io.Writer

	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	return l.to.Write(b)
}

// Contains reports whether the log has words.
func (l *logged) Contains(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.text.Bytes(), []byte(words))
}
