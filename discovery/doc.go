// Package discovery says what a network is to a gateway or a native peer: something that is joined
// for a topic and then yields sightings of peers that can be dialed, and circuits that peers
// opened to us.
//
// [Network] is the interface; the packages below this one implement it (p2p, mdns, static).
// [Presence] is what the joining side is on a topic. [Policy] says which addresses may be dialed,
// and every network asks it before every dial.
package discovery
