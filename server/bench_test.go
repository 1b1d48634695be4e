package server

import (
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// BenchmarkLedger is what a session, a topic and a circuit ask of the ledger when they come and go.
func BenchmarkLedger(b *testing.B) {
	cfg := Config{}.withDefaults()
	l := cfg.ledger()
	p, now := from("2001:db8::1"), time.Unix(1_000_000, 0)
	b.ReportAllocs()
	for b.Loop() {
		for r := range numResources {
			if refused := l.take(p, r, 1); refused != nil {
				b.Fatal(refused)
			}
			l.give(p, r, 1)
		}
		now = now.Add(time.Minute)
		if refused := l.spend(p, flowNewTopics, 1, now); refused != nil {
			b.Fatal(refused)
		}
	}
}

// BenchmarkSubscribe is a client that joins a topic on which there are a hundred others, and leaves it.
func BenchmarkSubscribe(b *testing.B) {
	m := lookers(b, 100, Config{}, wtproto.JoinLookUp)
	b.ReportAllocs()
	for b.Loop() {
		s := m.add(wtproto.Join{Topic: wowcool, Flags: wtproto.JoinLookUp})
		m.handle(unsubscribed{s})
		m.publish()
	}
}
