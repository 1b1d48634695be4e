package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// Welcome answers HELLO (docs/PROTOCOL.md, WELCOME).
type Welcome struct {
	Version     uint64 // the version that the gateway chose
	Session     SessionID
	MaxTopics   uint64     // topics that the session may have joined at once; 0 means no limit
	MaxCircuits uint64     // circuits that the session may have at once, offers included; 0 means no limit
	Hashes      [][32]byte // SHA-256 of the pinned certificates, current and next; none for a CA's certificate
	Agent       string     // at most [MaxAgent] bytes of UTF-8, for people
}

// Append adds the frame to b.
func (m Welcome) Append(b []byte) []byte {
	b, mark := begin(b, TypeWelcome)
	b = quicvarint.Append(b, m.Version)
	b = append(b, m.Session[:]...)
	b = quicvarint.Append(b, m.MaxTopics)
	b = quicvarint.Append(b, m.MaxCircuits)
	b = quicvarint.Append(b, uint64(len(m.Hashes)))
	for i := range m.Hashes {
		b = append(b, m.Hashes[i][:]...)
	}
	b = appendText(b, m.Agent, MaxAgent)
	return end(b, mark)
}

// ParseWelcome reads the payload of a WELCOME.
func ParseWelcome(b []byte) (Welcome, error) {
	var m Welcome
	f := parse("WELCOME", b)
	m.Version = f.varint("version")
	f.fixed("session", m.Session[:])
	m.MaxTopics = f.varint("max topics")
	m.MaxCircuits = f.varint("max circuits")
	if n := f.count("hashes", MaxHashes, 32); n > 0 {
		m.Hashes = make([][32]byte, n)
		for i := range m.Hashes {
			f.fixed("hashes", m.Hashes[i][:])
		}
	}
	m.Agent = f.string("agent", MaxAgent)
	return m, f.done()
}
