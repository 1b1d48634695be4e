package dat

import (
	"context"

	"github.com/swarmgate/swarmgate/discovery"
)

// dial opens a circuit of m with the peer at a.
func (n *network) dial(ctx context.Context, m member, a address) (discovery.Stream, error) {
	h := n.host
	if n.handshake && h.isShaken(m, a) {
		return nil, errConnected
	}
	dialer := h.public
	if a.source == discovery.SourceLAN {
		dialer = h.lan
		if a.through != "" {
			ctx = discovery.Through(ctx, a.through)
		}
	}
	s, err := dialer.Dial(ctx, a.at.String())
	if err != nil {
		return nil, err
	}
	c := h.count(m, s, a.at)
	if !n.handshake {
		h.listenFor(c)
		return c, nil
	}
	own := h.swarmID(m)
	remote, err := greet(ctx, s, own)
	switch {
	case err != nil:
	case h.isSwarmID(remote):
		h.noteOwn(a.at)
		err = errSelf
	default:
		err = h.admit(c, shake{own, remote}, &a)
	}
	if err != nil {
		c.Reset(codeOf(err))
		return nil, err
	}
	return c, nil
}
