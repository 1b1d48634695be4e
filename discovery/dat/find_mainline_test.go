package dat

import (
	"net"
	"strconv"
	"testing"

	"github.com/swarmgate/swarmgate/internal/freeport"
)

// Nodes of npm's bittorrent-dht, and ours among them: what one announces the other finds, and a node
// of ours keeps for others what they announce.
func TestMainlineWithRealNodes(t *testing.T) {
	_, port := script(t, "dht", map[string]any{"host": "127.0.0.1", "bootstrap": []string{}})
	first := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	w, ours := newTestMainline(t, first)
	i, j := testID("theirs"), testID("ours")
	f := followOn(t, w, j, both, 4024)
	f.works(t)

	peer, _ := script(t, "dht", map[string]any{"host": "127.0.0.1", "bootstrap": []string{ours}}) // it begins with ours
	peer.Await("joined", nil)
	peer.Do(map[string]any{"do": "lookup", "id": j.String()})
	awaitPeer(t, peer, j, "127.0.0.1:4024")
	peer.Do(map[string]any{"do": "announce", "id": i.String(), "port": 4025})
	peer.Await("announced", nil)
	followOn(t, w, i, lookUpOnly, 0).await(t, "127.0.0.1:4025")
}

// discovery-channel, which has bittorrent-dht 7, as old programs run it: by the DHT alone, and by a
// server alone.
func TestDiscoveryChannel(t *testing.T) {
	w, ours := newTestMainline(t)
	_, server := dnsServerScript(t)
	for _, tc := range []struct {
		name    string
		way     way
		options map[string]any
	}{
		{"dht", w, map[string]any{"dns": false, "dht": map[string]any{"bootstrap": []string{ours}}}},
		{"dns", newTestDNS(t, server), map[string]any{"dht": false, "dns": map[string]any{"server": []string{server}, "domain": datDomain, "multicast": false}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i := testID(tc.name)
			peer, _ := script(t, "channel", tc.options)
			peer.Do(map[string]any{"do": "join", "id": i.String(), "port": 4027})
			peer.Await("joined", nil)
			f := followOn(t, tc.way, i, both, 4028)
			f.await(t, "127.0.0.1:4027")
			f.works(t) // and is announced
			late, _ := script(t, "channel", tc.options)
			late.Do(map[string]any{"do": "join", "id": i.String()})
			awaitPeer(t, late, i, "127.0.0.1:4028")
		})
	}
}

// A node that comes after ours, at the address that it begins with, is found: it asks again while
// it knows nobody. It was alone for ever.
func TestMainlineFirstNodeComesLater(t *testing.T) {
	t.Parallel()
	port := freeport.Ports(t, 1)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	w, _ := newTestMainline(t, addr)
	f := followOn(t, w, testID("later"), both, 4026)
	script(t, "dht", map[string]any{"host": "127.0.0.1", "port": port, "bootstrap": []string{}})
	f.works(t)
}
