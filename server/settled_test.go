package server

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// missed returns what could be connected on a topic and is not, looking at every pair, as
// candidates.go avoids to.
func (t *topic) missed() (all []string) {
	mayMeet := func(s, o *subscription) bool {
		return t.mayPair(s, o.session) && t.mayPair(o, s.session) && (s.mayChoose() || o.mayChoose()) &&
			(s.announces() && o.looksUp() || o.announces() && s.looksUp()) &&
			(s.mates == 0 || o.mates == 0 || s.spare() && o.spare())
	}
	for i, s := range t.subs {
		if s.gone() || !s.room() {
			continue
		}
		for j, o := range t.subs {
			if i < j && !o.gone() && o.room() && mayMeet(s, o) {
				all = append(all, fmt.Sprintf("clients %d and %d", i, j))
			}
		}
		for _, p := range t.peers {
			place := s.mayDial(p.kind())
			if place && p.dial != nil && !t.now.Before(p.retryAt) && t.mayPair(s, p.key) && (p.answered || p.dialing == 0) {
				all = append(all, fmt.Sprintf("client %d and peer %s", i, p.ID))
			}
		}
	}
	return all
}

// Whatever happens in whatever order, nobody is overlooked: once all is quiet, everything is
// connected that may be.
func TestNobodyIsOverlooked(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, Config{Idle: 1000 * time.Hour, ControlRate: -1, NewTopics: -1, MaxCircuits: 6, MaxPeers: 12}, func(t *testing.T, g *bubble) {
				random := rand.New(rand.NewPCG(seed, 0))
				stays := g.connect()
				stays.join(0, 0)
				flags := []wtproto.JoinFlags{0, wtproto.JoinAnnounce, wtproto.JoinLookUp, announceAndLookUp, announceAndLookUp | wtproto.JoinOfferOnly}
				var clients []*fakeClient
				joined := make(map[*fakeClient]bool)
				peers := make([]*fakePeer, 16)
				for i := range peers {
					peers[i] = g.lan.peer(fmt.Sprint("peer ", i))
					peers[i].Client = i%4 == 0
				}
				take := func(c *fakeClient) { // offers are taken or declined, streams are ended or kept
					for _, m := range c.pending() {
						if p, ok := m.(wtproto.Peer); ok && random.IntN(2) == 0 {
							c.accept(p)
						}
					}
					for c.streams() > 0 {
						if x := <-c.link.toClient; random.IntN(3) == 0 {
							reset(x, wtproto.CodeApplication)
						}
					}
				}
				for range 150 {
					p := peers[random.IntN(len(peers))]
					switch op := random.IntN(12); {
					case op < 2 && len(clients) < 12:
						clients = append(clients, g.connect())
					case op < 5 && len(clients) > 0:
						c := clients[random.IntN(len(clients))]
						c.send(wtproto.Join{Topic: wowcool, Flags: flags[random.IntN(len(flags))], MaxPeers: uint64(random.IntN(5))})
						joined[c] = true
					case op < 6 && len(clients) > 0:
						i := random.IntN(len(clients))
						c := clients[i]
						if random.IntN(3) == 0 {
							c.link.end(nil)
							clients = append(clients[:i], clients[i+1:]...)
						} else if joined[c] {
							c.send(wtproto.Leave{Topic: wowcool})
							joined[c] = false
						}
					case op < 8:
						s := p.sighting()
						s.PeerFoundUs = random.IntN(2) == 0
						g.lan.see(s)
					case op < 9:
						g.lan.see(p.gone())
					case op < 10:
						switch random.IntN(4) {
						case 0:
							p.answers(nil)
						case 1:
							p.waits()
						case 2:
							p.refuses(wtproto.CodeBusy)
						default:
							p.refuses(wtproto.CodeDeclined)
						}
					case op < 11:
						for len(p.ends) > 0 {
							y := <-p.ends
							if random.IntN(2) == 0 {
								y.lose()
							} else {
								reset(y, wtproto.CodeApplication)
							}
						}
					default:
						pass(time.Duration(random.IntN(4000)) * time.Millisecond)
					}
					synctest.Wait()
					if len(clients) > 0 {
						take(clients[random.IntN(len(clients))])
					}
				}
				for _, p := range peers {
					p.answers(nil)
				}
				for range 20 {
					pass(time.Minute)
					for _, c := range append(clients, stays) {
						c.pending()
						c.lives() // nobody is connected with who may have vanished
					}
				}
				pass(2 * time.Second)
				loop := g.router.all()[0]
				if missed := loop.missed(); len(missed) > 0 {
					t.Errorf("overlooked: %v", missed)
				}
			})
		})
	}
}
