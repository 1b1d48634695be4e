package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// rests reports whether all directions of all circuits do.
func (g *bubble) rests() bool {
	synctest.Wait()
	m := g.router.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.circuits {
		for _, d := range []*direction{&c.toClient, &c.toPeer} {
			d.Idle()
			if d.Idle() {
				return false
			}
		}
	}
	return true
}

// A circuit on which nothing moves goes on in goroutines with small stacks, and nobody notices:
// bytes pass, and each of its ends ends it.
func TestCircuitRests(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, g *bubble, x, y *fakeStream){
		"both finish": func(t *testing.T, g *bubble, x, y *fakeStream) {
			x.CloseWrite()
			pass(5 * time.Second)
			if !g.rests() {
				t.Error("the direction that is left does not rest")
			}
			y.CloseWrite()
		},
		"a reset": func(t *testing.T, g *bubble, x, y *fakeStream) {
			reset(x, wtproto.CodeApplication)
			wantReset(t, y, wtproto.CodeApplication)
		},
		"the other resets": func(t *testing.T, g *bubble, x, y *fakeStream) {
			reset(y, wtproto.CodeApplication)
			wantReset(t, x, wtproto.CodeApplication)
		},
		"sessions end": func(t *testing.T, g *bubble, x, y *fakeStream) {
			g.cancel(wtproto.Errorf(wtproto.CodeShutdown, "the gateway is closed"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothKinds(t, func(t *testing.T, g *bubble, x, y *fakeStream) {
				if g.rests() {
					t.Error("a new circuit rests")
				}
				for range 3 {
					pass(5 * time.Second)
					if !g.rests() {
						t.Error("a silent circuit does not rest")
					}
					talk(t, x, y)
					talk(t, y, x)
					if g.rests() {
						t.Error("a circuit rests that bytes move on")
					}
				}
				end(t, g, x, y)
				if n := g.circuits(); n != 0 {
					t.Errorf("%d circuits are left", n)
				}
			})
		})
	}
}
