package p2p

// Known returns how many hosts of the DHT the host knows, 0 without a DHT.
func (h *Host) Known() int {
	if h.table == nil {
		return 0
	}
	return h.table.dht.RoutingTable().Size()
}
