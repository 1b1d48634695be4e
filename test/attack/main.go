// Command attack does its worst to a gateway from one address, for a while. Each attack is a
// function of this folder; -list names them. It is for gateways of the one who runs it, on
// loopback: other targets are refused.
//
//	attack -name frames -quic 127.0.0.1:4433 -p2p /ip4/127.0.0.1/tcp/4434/p2p/12D3Koo… \
//	  -from 127.0.0.66 -for 20s
//
// At the end it prints one line of JSON: how many times what it tries was done, and how often the
// gateway refused it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// target is a gateway, and where the attacker stands.
type target struct {
	quic  netip.AddrPort // UDP of sessions, TCP of HTTPS
	host  ma.Multiaddr   // of libp2p, with its id
	p2p   netip.AddrPort // the same as an address
	from  netip.Addr     // source of the attack
	tally *tally
}

// tally counts what an attacker did. Any number of goroutines may count.
type tally struct {
	done    atomic.Int64 // tries that the gateway let pass
	refused atomic.Int64 // tries that it did not
}

// count counts one try.
func (t *tally) count(err error) {
	if err != nil {
		t.refused.Add(1)
	} else {
		t.done.Add(1)
	}
}

// attacks are what there is. Each runs until ctx ends, and may return before if nothing more is to
// be had.
var attacks = map[string]func(context.Context, target){
	"handshakes":   handshakes,
	"visits":       visits,
	"web-visits":   webVisits,
	"sessions":     sessions,
	"first-frames": firstFrames,
	"streams":      streams,
	"frames":       frames,
	"frames-paced": framesPaced,
	"pings-unread": pingsUnread,
	"join-leave":   joinLeave,
	"topics":       topics,
	"crowd":        crowd,
	"upload":       upload,
	"unread":       unread,
	"churn":        churn,
	"connects":     connects,
	"session-gone": sessionGone,
	"https-idle":   httpsIdle,
	"p2p-silent":   p2pSilent,
	"cannon":       cannon,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("attack", flag.ContinueOnError)
	name := fs.String("name", "", "which attack")
	list := fs.Bool("list", false, "print the names of all attacks")
	quic := fs.String("quic", "", "ADDRESS:PORT of the gateway's sessions and HTTPS")
	host := fs.String("p2p", "", "multiaddr of its libp2p host")
	from := fs.String("from", "127.0.0.66", "where the attack comes from")
	lasts := fs.Duration("for", 20*time.Second, "how long it lasts")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *list {
		for _, n := range slices.Sorted(maps.Keys(attacks)) {
			fmt.Println(n)
		}
		return nil
	}
	attack := attacks[*name]
	if attack == nil {
		return fmt.Errorf("there is no attack %q", *name)
	}
	t := target{tally: new(tally)}
	var errs [3]error
	t.quic, errs[0] = loopback(*quic)
	t.host, t.p2p, errs[1] = loopbackHost(*host)
	t.from, errs[2] = netip.ParseAddr(*from)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *lasts)
	defer cancel()
	go attack(ctx, t) // ends with the program
	<-ctx.Done()
	return json.NewEncoder(os.Stdout).Encode(map[string]int64{"done": t.tally.done.Load(), "refused": t.tally.refused.Load()})
}

// loopbackHost reads the address of a libp2p host of this machine.
func loopbackHost(s string) (ma.Multiaddr, netip.AddrPort, error) {
	m, err := ma.NewMultiaddr(s)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	transport, _ := ma.SplitLast(m)
	addr, err := manet.ToNetAddr(transport)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	a, err := loopback(addr.String())
	return m, a, err
}

// loopback reads an address of this machine.
func loopback(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, err
	}
	if !a.Addr().IsLoopback() {
		return a, fmt.Errorf("%v is not a loopback address", a)
	}
	return a, nil
}
