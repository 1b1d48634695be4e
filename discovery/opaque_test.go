package discovery

import (
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

func TestOpaqueID(t *testing.T) {
	a, b := wtproto.TopicFromName("a"), wtproto.TopicFromName("b")
	id := OpaqueID("static", a, "10.0.0.1:80")
	if len(id) != 16 || id != OpaqueID("static", a, "10.0.0.1:80") {
		t.Errorf("id of %d bytes, want 16 that stay the same", len(id))
	}
	for _, other := range []string{
		OpaqueID("lan", a, "10.0.0.1:80"), OpaqueID("static", b, "10.0.0.1:80"), OpaqueID("static", a, "10.0.0.1:81"),
	} {
		if other == id {
			t.Error("two peers have one id")
		}
	}
}
