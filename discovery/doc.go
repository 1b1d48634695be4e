// Package discovery defines what a network is to a gateway or a native peer. Whoever joins a topic
// on a network gets sightings of peers, which can be dialed, and circuits that peers ask for.
//
// [Network] is the interface; the packages below this one implement it (p2p, mdns, static).
// [Presence] says what the joining side wants on a topic. [Policy] says which addresses may be
// dialed. Every network asks it before every dial.
package discovery
