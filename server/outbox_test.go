package server

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/wtproto"
)

// pongOf returns a PONG that carries n.
func pongOf(n byte) wtproto.Pong { return wtproto.Pong{Data: [8]byte{n}} }

func TestOutboxKeepsOrder(t *testing.T) {
	topic := wtproto.TopicFromName("a")
	pong := string(pongOf(2).Append(nil))
	for _, test := range []struct {
		name string
		do   func(*outbox)
		want string
	}{
		{"nothing", func(*outbox) {}, ""},
		{"frames in order", func(o *outbox) {
			o.add([]byte("one"))
			o.add([]byte("two"))
		}, "onetwo"},
		{"the newest PONG only", func(o *outbox) {
			o.setPong(pongOf(1))
			o.setPong(pongOf(2))
		}, pong},
		{"the newest STATUS of a topic only", func(o *outbox) {
			o.setStatus(topic, []byte("old and long"))
			o.setStatus(topic, []byte("new"))
		}, "new"},
		{"frames before PONG before STATUS", func(o *outbox) {
			o.setStatus(topic, []byte("status"))
			o.setPong(pongOf(2))
			o.add([]byte("frame"))
		}, "frame" + pong + "status"},
		{"no STATUS of a topic that was left", func(o *outbox) {
			o.setStatus(topic, []byte("status"))
			o.dropStatus(topic)
			o.add([]byte("left"))
		}, "left"},
		{"a STATUS that was never there is dropped", func(o *outbox) {
			o.add([]byte("left"))
			o.dropStatus(topic)
		}, "left"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := outbox{limit: -1}
			test.do(&o)
			if o.size != len(test.want) {
				t.Errorf("size %d, want %d", o.size, len(test.want))
			}
			for _, want := range []string{"before" + test.want, "before"} { // the second take finds nothing
				if got := o.take([]byte("before")); string(got) != want {
					t.Errorf("take = %q, want %q", got, want)
				}
				if o.size != 0 {
					t.Errorf("size %d after take", o.size)
				}
			}
		})
	}
}

func TestOutboxKeepsStatusOfEachTopic(t *testing.T) {
	o := outbox{limit: -1}
	for _, name := range []string{"a", "b", "c"} {
		o.setStatus(wtproto.TopicFromName(name), []byte("old "+name))
		o.setStatus(wtproto.TopicFromName(name), []byte(name))
	}
	o.dropStatus(wtproto.TopicFromName("b"))
	if got := string(o.take(nil)); got != "ac" && got != "ca" {
		t.Errorf("take = %q, want a and c", got)
	}
}

func TestOutboxLimit(t *testing.T) {
	topic := wtproto.TopicFromName("a")
	ten := []byte("ten bytes!")
	for _, test := range []struct {
		name  string
		limit int
		do    func(*outbox) bool
		want  bool
	}{
		{"a frame that just fits", 10, func(o *outbox) bool { return o.add(ten) }, true},
		{"a frame that is a byte too long", 9, func(o *outbox) bool { return o.add(ten) }, false},
		{"a PONG", 9, func(o *outbox) bool { return o.setPong(pongOf(1)) }, false},
		{"all together", 20, func(o *outbox) bool { return o.add(ten) && o.setPong(pongOf(1)) }, true},
		{"all together, a byte too long", 19, func(o *outbox) bool { return o.add(ten) && o.setPong(pongOf(1)) }, false},
		{"many PONGs", 10, func(o *outbox) bool {
			for n := range byte(100) {
				o.setPong(pongOf(n))
			}
			return o.setPong(pongOf(100))
		}, true},
		{"many STATUS", 10, func(o *outbox) bool {
			for n := range byte(100) {
				o.setStatus(wtproto.Topic{n}, ten)
			}
			o.dropStatus(wtproto.Topic{1})
			return o.add(ten)
		}, true},
		{"many STATUS, and a byte too many", 9, func(o *outbox) bool {
			o.setStatus(topic, ten)
			return o.add(ten)
		}, false},
		{"what was taken does not count", 10, func(o *outbox) bool {
			o.add(ten)
			o.setPong(pongOf(1))
			o.setStatus(topic, ten)
			o.take(nil)
			return o.add(ten)
		}, true},
		{"no limit", -1, func(o *outbox) bool { return o.add(make([]byte, 1<<20)) }, true},
	} {
		o := outbox{limit: test.limit}
		if got := test.do(&o); got != test.want {
			t.Errorf("%s: room %v, want %v, at limit %d with %d bytes", test.name, got, test.want, test.limit, o.size)
		}
	}
}

func TestOutboxDoesNotKeepBurst(t *testing.T) {
	o := outbox{limit: -1}
	for _, test := range []struct {
		bytes int
		kept  bool
	}{{1 << 10, true}, {64 << 10, false}, {1 << 10, true}} {
		o.add(make([]byte, test.bytes))
		o.take(nil)
		if kept := cap(o.frames) > 0; kept != test.kept {
			t.Errorf("after %d bytes: buffer of %d kept, want one kept %v", test.bytes, cap(o.frames), test.kept)
		}
	}
}

func TestPongSize(t *testing.T) {
	if n := len(pongOf(1).Append(nil)); n != pongSize {
		t.Errorf("a PONG has %d bytes, pongSize is %d", n, pongSize)
	}
}

// After any operations the size is that of the bytes to be taken, and these are the right ones.
func TestOutboxModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	o := outbox{limit: -1}
	var frames, pong []byte
	statuses := make(map[wtproto.Topic]string)
	for step := range 20_000 {
		topic := wtproto.Topic{byte(random.IntN(4))}
		text := strings.Repeat(string(rune('a'+random.IntN(26))), 1+random.IntN(50))
		status := strings.Repeat(string(rune('A'+topic[0])), 1+random.IntN(50))
		switch random.IntN(6) {
		case 0, 1:
			o.add([]byte(text))
			frames = append(frames, text...)
		case 2:
			o.setPong(pongOf(byte(step)))
			pong = pongOf(byte(step)).Append(nil)
		case 3:
			o.setStatus(topic, []byte(status))
			statuses[topic] = status
		case 4:
			o.dropStatus(topic)
			delete(statuses, topic)
		case 5:
			size := o.size
			got := o.take(nil)
			rest, ordered := bytes.CutPrefix(got, append(frames, pong...))
			for _, s := range statuses {
				rest = bytes.Replace(rest, []byte(s), nil, 1)
			}
			if size != len(got) || !ordered || len(rest) != 0 {
				t.Fatalf("step %d: size %d, took %q, want %q, %q and %q", step, size, got, frames, pong, statuses)
			}
			frames, pong = nil, nil
			clear(statuses)
		}
	}
}
