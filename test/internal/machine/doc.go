// Package machine starts gateways and native peers on machines of their own, which are network
// namespaces, and has clients on the same machines. Start, StartOnLAN and StartOnDHT run the real
// cmd/server, NewInternet connects machines by a router. Everything ends with the test.
package machine
