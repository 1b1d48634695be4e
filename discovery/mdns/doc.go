// Package mdns finds peers on the LAN by multicast DNS service discovery. Two service types matter:
//
//   - _swarmgate._tcp with TXT "topic=<64 hexadecimal digits>": any plain TCP service that somebody publishes so, with
//     avahi-publish or Bonjour, is a peer of that topic.
//   - _swarmgate._udp with TXT "id=<peer id>" and the TCP port of a libp2p host: one instance a host. [Hosts] is told of
//     those of others, and [Self] is published.
//
// [New] makes a [Network], and [Network.Run] publishes and browses for as long as it runs: one
// browse serves all topics that are joined. Whoever is on the LAN can claim to be anything, so
// what is remembered is bounded, and every address is put to the [discovery.Policy] as one that
// was learned on the LAN.
//
// A service of this machine is a peer like others. The choice of interfaces says where is looked
// and what is dialed; it does not hide us from a query that reaches this machine on another
// interface.
package mdns
