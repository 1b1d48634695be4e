package client

import (
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	lossRounds  = 4                       // in a row, on the first path, until large packets do not arrive because they are large
	roundBytes  = 10 * wtproto.PacketSize // in large packets, at least, in a round
	roundLength = 100 * time.Millisecond  // at least, and roundRTTs more: quic-go needs time to find out what is lost
	roundRTTs   = 3
)

// manner is how a packet leaves the socket.
type manner int

const (
	undivided  manner = iota // a router that has no room for it drops it
	fragmented               // it arrives in fragments if a part of the path has no room for it
	dropped                  // it does not leave
)

// largePackets decides how packets leave that are larger than wtproto.PacketSize, and notices if
// they do not arrive. quic-go finds out once that a path carries them, and never goes back to
// smaller ones. If the path becomes narrower while there is much to send, quic-go's window is full
// of packets that are lost. It stays full until a later packet is acknowledged, and meanwhile
// quic-go does not even probe another path. It only sends two packets for each timeout (RFC 9002,
// 6.2). The first one leaves undivided, for networks that drop fragments, and the second one may
// be divided.
//
// A packet larger than all before probes the MTU. It leaves undivided, because quic-go would
// believe that the path carries its size. largePackets tells these packets apart by UDP_SEGMENT:
// quic-go gives the size of a full packet with all that it sends as its window allows, and with
// nothing else.
//
// largePackets holds neither a clock nor a lock.
type largePackets struct {
	rounds int // constant; how many in a row are too many, in which most was lost

	size     int  // of a full packet, as the last batch had it
	alone    bool // packets come one by one now, so nothing tells what is a full one
	fragment bool // the next packet for a timeout may be divided

	// the round in progress
	start  time.Time
	sent   int    // bytes in large packets that must not be divided
	resent uint64 // bytes in the packets of all rounds that quic-go sent for a timeout
	lost   uint64 // bytes that were lost before, and resent
	bad    int    // of rounds before it, in a row
}

// noBatches takes that the system has refused a batch, so that quic-go sends packets one by one.
func (l *largePackets) noBatches() { l.alone = true }

// next returns how n bytes leave. segment is the size of the packets in them, or 0 for one packet.
func (l *largePackets) next(n, segment int) manner {
	if segment > 0 {
		l.size = segment
		return undivided
	}
	switch {
	case n <= wtproto.PacketSize:
		return undivided
	case n <= l.size:
		l.resent += uint64(n)
		l.fragment = !l.fragment
		if !l.fragment {
			return fragmented
		}
		l.sent += n
		return undivided
	case l.size == 0 || l.alone:
		return dropped // so packets stay as small as they are
	}
	return undivided
}

// count takes that a batch of n bytes leaves, and reports whether it is time to leave the path,
// because large packets do not arrive. stats returns the bytes that quic-go has lost since the
// session began, and the round trip time.
func (l *largePackets) count(n int, now time.Time, stats func() (lost uint64, rtt time.Duration)) bool {
	if l.size <= wtproto.PacketSize {
		return false
	}
	if l.start.IsZero() {
		lost, _ := stats()
		l.start, l.sent, l.lost = now, 0, lost+l.resent
	}
	defer func() { l.sent += n }() // its fate is that of the next round
	if l.sent < roundBytes || now.Sub(l.start) < roundLength {
		return false
	}
	lost, rtt := stats()
	if now.Sub(l.start) < roundLength+roundRTTs*rtt {
		return false
	}
	lost += l.resent // what quic-go sends anew for a timeout is lost as well, and not in its count
	if 4*(lost-l.lost) >= 3*uint64(l.sent) {
		l.bad++
	} else {
		l.bad = 0
	}
	l.start, l.sent, l.lost = now, 0, lost
	if l.bad < l.rounds {
		return false
	}
	l.bad = 0
	return true
}
