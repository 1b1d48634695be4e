package dat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// forgeNodes runs nodes of the mainline DHT at an IPv4 address, whose answers say what the test
// wants: each node's peers, whatever it is asked for. It returns the address of the first.
func forgeNodes(t *testing.T, ip string, n int, peers func(node int) []netip.AddrPort) string {
	t.Helper()
	var nodes []*net.UDPConn
	var all []byte // as nodes tell of each other
	id := func(i int) string { return fmt.Sprintf("%020d", i+1) }
	for i := range n {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip)})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, c)
		all = append(all, id(i)+compact(c.LocalAddr().(*net.UDPAddr).AddrPort())...)
	}
	var running sync.WaitGroup
	for i, c := range nodes {
		running.Go(func() {
			b := make([]byte, 2048)
			for {
				n, from, err := c.ReadFromUDP(b)
				if err != nil {
					return
				}
				head, ok := bytes.CutSuffix(b[:n], []byte("1:y1:qe"))
				at := bytes.LastIndex(head, []byte("1:t"))
				if !ok || at < 0 {
					continue
				}
				var answer bytes.Buffer
				fmt.Fprintf(&answer, "d1:rd2:id20:%s5:nodes%d:%s", id(i), len(all), all)
				if bytes.Contains(head, []byte("9:get_peers")) {
					answer.WriteString("5:token1:t6:valuesl")
					for _, p := range peers(i) {
						fmt.Fprintf(&answer, "6:%s", compact(p))
					}
					answer.WriteString("e")
				}
				fmt.Fprintf(&answer, "e%s1:y1:re", head[at:])
				_, _ = c.WriteToUDP(answer.Bytes(), from)
			}
		})
	}
	t.Cleanup(func() {
		for _, c := range nodes {
			c.Close()
		}
		running.Wait()
	})
	return nodes[0].LocalAddr().String()
}

// compact returns an address as nodes write it.
func compact(at netip.AddrPort) string {
	return string(binary.BigEndian.AppendUint16(at.Addr().Unmap().AsSlice(), at.Port()))
}
