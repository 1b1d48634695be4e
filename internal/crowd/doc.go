// Package crowd decides who may stay if more come than there is room for, by where they come from:
// an IPv4 address, or the IPv6 networks /64, /56 and /48 that one party may own.
//
// A [Crowd] gives places to those that are unfinished or idle, such as connections without a
// session. It always accepts a newcomer: if there is no room, the oldest of the busiest group of
// addresses goes. So a group that takes many places loses them first. [Rates] bounds how often a
// group may come. Both are accounting without I/O and clock, and any number of goroutines may use
// them. [Listener] applies both to a net.Listener.
package crowd
