package wtproto

import "github.com/quic-go/quic-go/quicvarint"

// NetworkState says how a network does on a topic.
type NetworkState uint64

const (
	NetworkStarting  NetworkState = 0 // has not answered yet
	NetworkSearching NetworkState = 1 // working
	NetworkFailing   NetworkState = 2 // its last attempt failed; it goes on trying
	NetworkEnded     NetworkState = 3 // gave up
	NetworkQueued    NetworkState = 4 // works; its first look-up or announcement of the topic waits for its turn
)

var networkStateNames = [...]string{"starting", "searching", "failing", "ended", "queued"}

// String returns the name of s in docs/PROTOCOL.md.
func (s NetworkState) String() string {
	if s < NetworkState(len(networkStateNames)) {
		return networkStateNames[s]
	}
	return "unknown"
}

// MarshalText returns s as [NetworkState.String] does.
func (s NetworkState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// NetworkStatus is one network's part of a [Status]. Counts are of peers, now.
type NetworkStatus struct {
	Name       string // at most [MaxNetwork] bytes of UTF-8
	State      NetworkState
	Found      uint64 // remembered
	Connecting uint64 // with a dial in progress
	Refused    uint64 // whose last dial failed
	LastCode   Code   // why the last attempt of the network, or the last dial of a peer of it, failed
	Reason     string // why nobody may be found, for people; at most [MaxNetworkReason] bytes of UTF-8
}

// Status says what a gateway knows of a topic (docs/PROTOCOL.md, STATUS).
type Status struct {
	Topic     Topic
	More      bool   // Known is a lower bound
	Known     uint64 // endpoints known, the client itself not counted
	Connected uint64 // circuits that the client has on the topic
	Networks  []NetworkStatus
}

// Append adds the frame to b.
func (m Status) Append(b []byte) []byte {
	b, mark := begin(b, TypeStatus)
	b = append(b, m.Topic[:]...)
	b = appendBool(b, m.More)
	b = quicvarint.Append(b, m.Known)
	b = quicvarint.Append(b, m.Connected)
	b = quicvarint.Append(b, uint64(len(m.Networks)))
	for i := range m.Networks {
		n := &m.Networks[i]
		b = appendText(b, n.Name, MaxNetwork)
		b = quicvarint.Append(b, uint64(n.State))
		b = quicvarint.Append(b, n.Found)
		b = quicvarint.Append(b, n.Connecting)
		b = quicvarint.Append(b, n.Refused)
		b = quicvarint.Append(b, uint64(n.LastCode))
		b = appendText(b, n.Reason, MaxNetworkReason)
	}
	return end(b, mark)
}

// ParseStatus reads the payload of a STATUS.
func ParseStatus(b []byte) (Status, error) {
	var m Status
	f := parse("STATUS", b)
	f.fixed("topic", m.Topic[:])
	m.More = f.more("flags")
	m.Known = f.varint("known")
	m.Connected = f.varint("connected")
	if n := f.count("networks", MaxNetworks, 7); n > 0 {
		m.Networks = make([]NetworkStatus, n)
		for i := range m.Networks {
			n := &m.Networks[i]
			n.Name = f.string("name", MaxNetwork)
			n.State = NetworkState(f.varint("state"))
			n.Found = f.varint("found")
			n.Connecting = f.varint("connecting")
			n.Refused = f.varint("refused")
			n.LastCode = f.code("code")
			n.Reason = f.string("reason", MaxNetworkReason)
		}
	}
	return m, f.done()
}
