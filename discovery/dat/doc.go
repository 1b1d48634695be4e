// Package dat is the old world of Dat and discovery-swarm as networks: peers are found on the
// mainline DHT, by dns-discovery and by its multicast form, and reached by raw TCP. Each of these
// three is a way, which knows ids and addresses; the networks know topics, dials and circuits. An
// id is the first 20 bytes of a topic, and strangers see it, so a topic is on these networks only
// if it asks for them.
package dat
