// Package netns gives tests network namespaces: machines of their own, joined by cables, inside
// the machine that runs the test. It needs Linux, root and the ip command of iproute2; a test on a
// machine without them fails.
//
// [New] makes a namespace and [Link] joins two. Programs run inside by [NS.Command], a few system
// calls of the test by [NS.Do], and a whole test by [NS.Rerun]. Everything is taken away when the
// test ends, however it ends.
package netns
