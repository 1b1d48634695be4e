package wtproto

// Leave ends a join; circuits that are open stay (docs/PROTOCOL.md, LEAVE).
type Leave struct {
	Topic Topic
}

// Append adds the frame to b.
func (m Leave) Append(b []byte) []byte {
	b, mark := begin(b, TypeLeave)
	b = append(b, m.Topic[:]...)
	return end(b, mark)
}

// ParseLeave reads the payload of a LEAVE.
func ParseLeave(b []byte) (Leave, error) {
	var m Leave
	f := parse("LEAVE", b)
	f.fixed("topic", m.Topic[:])
	return m, f.done()
}
