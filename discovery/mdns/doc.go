// Package mdns finds peers on the LAN by multicast DNS service discovery. Two service types
// matter:
//
//   - _swarmgate._tcp with TXT "topic=<64 hexadecimal digits>" is a plain TCP service. It is a peer of
//     that topic. Anybody can publish one, with avahi-publish or Bonjour.
//   - _swarmgate._udp with TXT "id=<peer id>" is a libp2p host at that TCP port. There is one instance
//     for each host. The network passes those of others to [Hosts], and publishes [Self].
//
// [New] makes a [Network], and [Network.Run] publishes and browses for as long as it runs: one
// browse serves all topics that are joined. Any machine on the LAN can claim anything. So the
// cache is bounded, and the [discovery.Policy] checks every address as one that was learned on the
// LAN.
//
// A service of this machine is a peer like others. The choice of interfaces says where the network
// looks for services and which of them may be dialed. It does not hide us from a query that
// reaches this machine on another interface.
package mdns
