package p2p

// Known returns how many hosts of the DHT the host knows, or 0 without a DHT. On a private DHT it
// counts servers only.
func (h *Host) Known() int {
	if h.table == nil {
		return 0
	}
	return h.table.dht.RoutingTable().Size()
}

// Joined reports whether the host is in its DHT, which takes another host. It is false without a
// DHT, and while the host is still entering.
func (h *Host) Joined() bool {
	if h.table == nil {
		return false
	}
	works, _, err := h.table.status.get()
	return works || err != nil && h.table.trouble() == nil
}

// MissingSeeds returns how many of the configured seeds do not answer, 0 without a DHT.
func (h *Host) MissingSeeds() int {
	if h.table == nil || h.table.err() == nil {
		return 0
	}
	return h.table.missing.Load().n
}

// Serves reports whether the host is a server of a private DHT.
func (h *Host) Serves() bool { return h.table != nil && h.table.serving.Load() }

// Waiting returns how many look-ups ("lookup") and announcements ("announcement") of topics wait
// for their turn in the DHT, and how many topics wait for theirs to dial a host ("dial").
func (h *Host) Waiting() map[string]int {
	n := h.planner.waiting()
	n[workDial] = h.dials.waiting()
	return n
}
