package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"
)

// stagger is how long an address may take before the next one is tried beside it (RFC 8305).
const stagger = 250 * time.Millisecond

// resolve returns the addresses of a gateway in the order in which they are tried: the resolver's, with families in turn.
func resolve(ctx context.Context, host, port string) ([]netip.AddrPort, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("port %q is none", port)
	}
	addrs := make([]netip.Addr, 1)
	if addrs[0], err = netip.ParseAddr(host); err != nil {
		if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, err
		}
	}
	var to []netip.AddrPort
	for _, a := range inTurn(addrs) {
		to = append(to, netip.AddrPortFrom(a, uint16(n)))
	}
	return to, nil
}

// inTurn reorders addrs so that families alternate, beginning with that of the first.
func inTurn(addrs []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		i := 0
		if a.Is4() != addrs[0].Unmap().Is4() {
			i = 1
		}
		families[i] = append(families[i], a)
	}
	sorted := make([]netip.Addr, 0, len(addrs))
	for i := range addrs {
		for _, f := range families {
			if i < len(f) {
				sorted = append(sorted, f[i])
			}
		}
	}
	return sorted
}

// dialQUIC returns the first connection that comes about. Each address gets a head start of stagger before the next one,
// and all that are in progress are given up before it returns.
func dialQUIC(ctx context.Context, tr *quic.Transport, to []netip.AddrPort, tlsConf *tls.Config, conf *quic.Config) (*quic.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn *quic.Conn
		err  error
	}
	results := make(chan result)
	next := time.NewTimer(stagger)
	defer next.Stop()
	running := 0
	start := func() {
		addr := net.UDPAddrFromAddrPort(to[0])
		to = to[1:]
		running++
		next.Reset(stagger)
		go func() {
			conn, err := tr.Dial(ctx, addr, tlsConf, conf)
			if err != nil {
				err = fmt.Errorf("%v: %w", addr, dialError(err))
			}
			results <- result{conn, err}
		}()
	}
	start()
	var winner *quic.Conn
	var errs []error
	for running > 0 {
		select {
		case <-next.C:
			if len(to) > 0 && winner == nil {
				start()
			}
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				errs = append(errs, r.err)
			case winner == nil:
				winner = r.conn
				cancel()
			default:
				r.conn.CloseWithError(0, "another address was faster")
			}
			if r.err != nil && len(to) > 0 && winner == nil && ctx.Err() == nil {
				start()
			}
		}
	}
	if winner == nil {
		return nil, errors.Join(errs...)
	}
	return winner, nil
}
