//go:build !race

package test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/swarmgate/swarmgate/internal/netns"
)

// internet is machines at public-looking addresses, and the router between them.
type internet struct {
	t        *testing.T
	router   *netns.NS
	machines int
}

func newInternet(t *testing.T) *internet {
	t.Helper()
	return connectInternet(t, netns.New(t, "internet"))
}

// connectInternet is newInternet with a router that is there, and has no machine yet.
func connectInternet(t *testing.T, router *netns.NS) *internet {
	t.Helper()
	router.Sysctl(t, "net/ipv4/ip_forward", "1")
	return &internet{t: t, router: router}
}

// machine returns a new one, and its address.
func (i *internet) machine(name string) (ns *netns.NS, addr string) {
	i.t.Helper()
	i.machines++
	ns = netns.New(i.t, name)
	here := fmt.Sprintf("45.83.%d.1", i.machines)
	addr = fmt.Sprintf("45.83.%d.2", i.machines)
	netns.Link(i.t, i.router, here+"/30", ns, addr+"/30")
	ns.IP(i.t, "route", "add", "default", "via", here)
	return ns, addr
}

// container returns a machine behind host, which is one at addr: host translates what comes for
// TCP port outer to port 4434 of it, as docker -p does. All containers have the same address.
func (i *internet) container(host *netns.NS, addr string, outer int) *netns.NS {
	i.t.Helper()
	ns := netns.New(i.t, "container")
	dev, _ := netns.Link(i.t, host, "172.17.0.1/16", ns, "172.17.0.2/16")
	ns.IP(i.t, "route", "add", "default", "via", "172.17.0.1")
	host.Sysctl(i.t, "net/ipv4/ip_forward", "1")
	nft(i.t, host, "add table ip docker",
		"add chain ip docker in { type nat hook prerouting priority -100; }",
		fmt.Sprintf("add rule ip docker in ip daddr %s tcp dport %d dnat to 172.17.0.2:4434", addr, outer),
		"add chain ip docker out { type nat hook postrouting priority 100; }",
		fmt.Sprintf("add rule ip docker out ip saddr 172.17.0.0/16 oifname != %s masquerade", dev))
	return ns
}

// nft adds rules to the packet filter of ns.
func nft(t *testing.T, ns *netns.NS, rules ...string) {
	t.Helper()
	if out, err := ns.Command(t.Context(), "nft", strings.Join(rules, "; ")).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// logged is what a program has logged, which goes to another writer too. Any number of goroutines
// may use it.
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

// contains reports whether the log has words.
func (l *logged) contains(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.text.Bytes(), []byte(words))
}
