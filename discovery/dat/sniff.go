package dat

import (
	"github.com/swarmgate/swarmgate/wtproto"
)

// The first frame of a connection of hypercore-protocol 6 is in clear:
//
//	3d        length of what follows: 23 without the nonce
//	00        channel 0, type feed
//	0a 20     the discovery key has 32 bytes
//	…         discovery key
//	12 18 …   nonce of 24 bytes, if the rest of the connection is encrypted
const (
	feedKeyEnd   = 36 // up to the end of the discovery key
	feedShortest = feedKeyEnd - 1
	feedLongest  = feedShortest + 2 + 24
	feedMost     = 1 + feedLongest // bytes of the frame
)

// feed is what the first bytes of a connection say.
type feed int

const (
	feedMore feed = iota // they may become a frame
	feedNone             // they are not a frame that we know
	feedHere             // they are a whole frame
)

// parseFeed looks at the first bytes of a connection. If they are a frame, it returns its discovery
// key, which is a topic.
func parseFeed(b []byte) (feed, wtproto.Topic) {
	for i, want := range []byte{0, 0x00, 0x0a, 0x20} {
		switch {
		case i >= len(b):
			return feedMore, wtproto.Topic{}
		case i == 0 && b[i] != feedShortest && b[i] != feedLongest, i > 0 && b[i] != want:
			return feedNone, wtproto.Topic{}
		}
	}
	for i, want := range []byte{0x12, 0x18} {
		if b[0] == feedLongest && len(b) > feedKeyEnd+i && b[feedKeyEnd+i] != want {
			return feedNone, wtproto.Topic{}
		}
	}
	if len(b) < 1+int(b[0]) {
		return feedMore, wtproto.Topic{}
	}
	return feedHere, wtproto.Topic(b[4:feedKeyEnd])
}
