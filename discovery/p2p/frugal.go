package p2p

import (
	"context"
	"errors"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// How long messages of the DHT may be, in bytes. The library takes as much memory as a message
// announces, up to 4 MiB, before any of it has come.
const (
	maxRequest = 16 << 10
	maxReply   = 256 << 10 // more than a thousand hosts
)

// frugalHost is the host of a DHT, whose streams end if they announce a message that is too long.
type frugalHost struct {
	host.Host
	announcers *announcers
}

// SetStreamHandler sets who answers requests.
func (h frugalHost) SetStreamHandler(p protocol.ID, f network.StreamHandler) {
	h.Host.SetStreamHandler(p, func(s network.Stream) {
		if from, ok := plainTCP(s.Conn().RemoteMultiaddr()); ok {
			h.announcers.saw(s.Conn().RemotePeer(), from.Addr())
		}
		f(&frugalStream{Stream: s, most: maxRequest})
	})
}

// NewStream opens a stream on which replies come.
func (h frugalHost) NewStream(ctx context.Context, id peer.ID, p ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, id, p...)
	if err != nil {
		return nil, err
	}
	return &frugalStream{Stream: s, most: maxReply}, nil
}

// frugalStream is a stream of messages, each after its length as a varint. One goroutine reads.
type frugalStream struct {
	network.Stream
	most   uint64
	length uint64 // as far as it was read
	shift  uint   // bits of it that were read
	left   uint64 // bytes of the current message
}

var errLong = errors.New("p2p: a message of the DHT is too long")

// Read returns no more than the rest of a message, and fails at a length above most.
func (s *frugalStream) Read(p []byte) (int, error) {
	if s.left > 0 {
		n, err := s.Stream.Read(p[:min(uint64(len(p)), s.left)])
		s.left -= uint64(n)
		return n, err
	}
	n, err := s.Stream.Read(p[:min(len(p), 1)])
	if n == 0 {
		return n, err
	}
	s.length |= uint64(p[0]&0x7f) << s.shift
	s.shift += 7
	if s.length > s.most || s.shift > 63 {
		return 0, errLong
	}
	if p[0] < 0x80 {
		s.left, s.length, s.shift = s.length, 0, 0
	}
	return n, err
}
