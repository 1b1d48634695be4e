package wtproto

// Ping asks the other side for a [Pong] with the same data (docs/PROTOCOL.md, PING).
type Ping struct {
	Data [8]byte
}

// Pong answers a [Ping].
type Pong struct {
	Data [8]byte
}

// Append adds the frame to b.
func (m Ping) Append(b []byte) []byte {
	b, mark := begin(b, TypePing)
	return end(append(b, m.Data[:]...), mark)
}

// ParsePing reads the payload of a PING.
func ParsePing(b []byte) (Ping, error) {
	var m Ping
	f := parse("PING", b)
	f.fixed("data", m.Data[:])
	return m, f.done()
}

// Append adds the frame to b.
func (m Pong) Append(b []byte) []byte {
	b, mark := begin(b, TypePong)
	return end(append(b, m.Data[:]...), mark)
}

// ParsePong reads the payload of a PONG.
func ParsePong(b []byte) (Pong, error) {
	var m Pong
	f := parse("PONG", b)
	f.fixed("data", m.Data[:])
	return m, f.done()
}
