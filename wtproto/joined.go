package wtproto

// Joined says that a JOIN was taken (docs/PROTOCOL.md, JOINED).
type Joined struct {
	Topic Topic
}

// Append adds the frame to b.
func (m Joined) Append(b []byte) []byte {
	b, mark := begin(b, TypeJoined)
	b = append(b, m.Topic[:]...)
	return end(b, mark)
}

// ParseJoined reads the payload of a JOINED.
func ParseJoined(b []byte) (Joined, error) {
	var m Joined
	f := parse("JOINED", b)
	f.fixed("topic", m.Topic[:])
	return m, f.done()
}
