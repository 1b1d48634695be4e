package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	demoTopic   = "demo"
	demoFind    = time.Minute     // until the peer is found, on a slow and busy machine
	demoTry     = 5 * time.Minute // for the work with it
	demoPings   = 100
	demoPing    = 64 // bytes
	demoTraffic = 64 << 20
)

// demo shows the gateway at work, with a native peer on its DHT and a connected client. It returns
// after the summary if the options say so, otherwise when ctx ends.
func (g *gateway) demo(ctx context.Context, o *options, stdout io.Writer) error {
	peer, err := startDemoPeer(g.host.Addrs(), g.log)
	if err != nil {
		return fmt.Errorf("demo: peer: %w", err)
	}
	defer peer.close()
	v, err := g.visit(ctx, peer, o.demoTraffic)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("demo: %w%s", err, g.excuse())
	}
	if _, err := io.WriteString(stdout, v.summary(g.console(), g.url().WithTopic(demoTopic).String())); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	if o.DemoExit {
		return nil
	}
	<-ctx.Done()
	if g.server.Sessions() > 0 {
		fmt.Fprintf(stdout, "Draining: clients have %v to finish. Ctrl-C again stops now.\n", time.Duration(o.Drain))
	}
	return nil
}

// visit is the result of a client of the demo.
type visit struct {
	network string
	peer    string
	found   time.Duration // from JOIN until the circuit was there
	trip    time.Duration // median of the pings
	traffic int64         // bytes
	both    time.Duration // for the traffic there and back
}

// visit joins the topic of the demo as a client, finds peer, and tries the circuit.
func (g *gateway) visit(ctx context.Context, peer *demoPeer, traffic int64) (visit, error) {
	v := visit{peer: peer.host.ID(), traffic: traffic}
	find, cancel := within(ctx, demoFind)
	defer cancel()
	select {
	case <-peer.ready:
	case <-find.Done():
		return v, fmt.Errorf("the peer is not on the DHT: %w", context.Cause(find))
	}
	for !g.host.Joined() { // the gateway may learn later than the peer that the two are connected
		select {
		case <-time.After(10 * time.Millisecond):
		case <-find.Done():
			return v, fmt.Errorf("the gateway is not on the DHT: %w", context.Cause(find))
		}
	}
	c, err := client.Dial(find, g.url().String(), client.Config{Agent: "swarmgate demo", Logger: g.log})
	if err != nil {
		return v, err
	}
	defer c.Close()
	begin := time.Now()
	topic, err := c.Join(find, wtproto.TopicFromName(demoTopic), client.JoinOptions{})
	if err != nil {
		return v, err
	}
	conn, err := acceptFrom(find, topic, peer.id)
	if err != nil {
		return v, fmt.Errorf("the peer was not found: %w", err)
	}
	v.found, v.network = time.Since(begin), conn.Peer().Network
	defer conn.Close()

	try, cancel := within(ctx, demoTry)
	defer cancel()
	defer context.AfterFunc(try, func() { conn.Reset(wtproto.CodeNone) })()
	if v.trip, err = roundTrip(conn); err == nil {
		v.both, err = throughput(conn, traffic)
	}
	if cause := context.Cause(try); err != nil && cause != nil {
		return v, cause
	}
	return v, err
}

// within returns a context that ends after d, with a cause for people.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("it took more than %v", d))
}

// acceptFrom returns the first circuit with the peer id. Other peers may be there too, on the LAN.
func acceptFrom(ctx context.Context, topic *client.Topic, id []byte) (*client.Conn, error) {
	for {
		conn, err := topic.Accept(ctx)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(conn.Peer().ID, id) {
			return conn, nil
		}
		conn.Reset(wtproto.CodeDeclined)
	}
}

// roundTrip returns the median time of a small message to come back.
func roundTrip(conn io.ReadWriter) (time.Duration, error) {
	var sent, back [demoPing]byte
	rand.Read(sent[:])
	times := make([]time.Duration, demoPings)
	for i := range times {
		begin := time.Now()
		if _, err := conn.Write(sent[:]); err != nil {
			return 0, fmt.Errorf("ping %d: %w", i, err)
		}
		if _, err := io.ReadFull(conn, back[:]); err != nil {
			return 0, fmt.Errorf("ping %d: %w", i, err)
		}
		times[i] = time.Since(begin)
		if sent != back {
			return 0, fmt.Errorf("ping %d came back changed", i)
		}
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// throughput returns how long size random bytes, and the end of the stream after them, take there
// and back.
func throughput(conn *client.Conn, size int64) (time.Duration, error) {
	var seed [32]byte
	rand.Read(seed[:])
	sent, back := sha256.New(), sha256.New()
	begin := time.Now()
	wrote := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.MultiWriter(conn, sent), io.LimitReader(mathrand.NewChaCha8(seed), size))
		if err == nil {
			err = conn.CloseWrite()
		}
		wrote <- err
	}()
	n, err := io.Copy(back, conn)
	took := time.Since(begin)
	if err != nil {
		conn.Reset(wtproto.CodeNone) // ends the writing, too
	}
	if err := errors.Join(<-wrote, err); err != nil {
		return 0, fmt.Errorf("traffic: %w", err)
	}
	if n != size || !bytes.Equal(sent.Sum(nil), back.Sum(nil)) {
		return 0, fmt.Errorf("traffic: %d bytes came back, not the %d that were sent", n, size)
	}
	return took, nil
}

// summary returns a text for people who see a gateway for the first time.
func (v visit) summary(console, url string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nA gateway is up. A peer of its own, with libp2p, announced the topic %q on a private DHT and echoes.\n", demoTopic)
	fmt.Fprintf(&b, "A client joined the topic through the gateway, over QUIC:\n\n")
	fmt.Fprintf(&b, "  found       peer %s\n", v.peer)
	fmt.Fprintf(&b, "              on the network %q, connected %.1f ms after the join\n", v.network, milliseconds(v.found))
	fmt.Fprintf(&b, "  round trip  %.2f ms (median of %d, %d bytes each)\n", milliseconds(v.trip), demoPings, demoPing)
	fmt.Fprintf(&b, "  throughput  %.1f MiB/s each way, both at once (%d MiB, SHA-256 verified)\n\n", float64(v.traffic)/(1<<20)/v.both.Seconds(), v.traffic>>20)
	fmt.Fprintf(&b, "Now be the client. In a browser:\n\n  %s\n\n", console)
	fmt.Fprintf(&b, "Or in another terminal, where what you type comes back and Ctrl-D ends it:\n\n  go run ./cmd/swarm join '%s'\n\n", url)
	fmt.Fprintf(&b, "From Go: client.Dial(ctx, %q, client.Config{})\n\n", url)
	return b.String()
}

// console returns the address of a page that finds the demo's peer and sends it a line.
func (g *gateway) console() string {
	return "http://" + reachable(g.sockets.dev.Addr()).String() + "/?echo"
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// url returns the gateway's URL for clients on this machine, with the hash that it has now.
func (g *gateway) url() wtproto.GatewayURL {
	at := reachable(g.sockets.quic.LocalAddr())
	u := wtproto.GatewayURL{Host: at.Addr().String(), Port: at.Port()}
	if hashes := g.source.Hashes(); len(hashes) > 0 {
		u.Hashes = hashes[:1]
	}
	return u
}

// excuse describes the networks, for an error.
func (g *gateway) excuse() string {
	var b strings.Builder
	for _, t := range g.server.Topics() {
		for _, n := range t.Networks {
			fmt.Fprintf(&b, "; network %s is %v", n.Name, n.State)
			if n.Reason != "" {
				fmt.Fprintf(&b, " (%s)", n.Reason)
			}
		}
	}
	return b.String()
}
