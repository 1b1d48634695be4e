package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/wtproto"
)

// This file measures npm's discovery-swarm-stream, whose place swarmgate takes, with the scripts of
// bench/old: its server and a program with its client, in Node, over TCP without TLS, and a peer
// that both gateways find by dns-discovery. It is a service that answers h with H, and then sends
// 1 GiB after b, or what it gets after e.

// script is a script of bench/old or test/dat that runs.
type script struct{ *child }

// ask gives a command to the script, and reads its answer, between other events.
func (s script) ask(name string, args map[string]any, answer any) error {
	if args == nil {
		args = map[string]any{}
	}
	args["do"] = name
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	if _, err := s.in.Write(append(text, '\n')); err != nil {
		return err
	}
	for {
		var line json.RawMessage
		if err := s.read(&line); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var event struct{ Event string }
		if json.Unmarshal(line, &event); event.Event == name {
			return json.Unmarshal(line, answer)
		}
	}
}

// old is the original and swarmgate, with the same peer.
type old struct {
	dns, peer, reader script
	original          *contender // whose client is the reader
	ours              *contender
}

// measureOriginal compares swarmgate with the original.
func measureOriginal(b *bench) ([]row, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, err
	}
	dir := strings.TrimSpace(string(root))
	if _, err := os.Stat(filepath.Join(dir, "test/dat/node_modules/discovery-swarm-stream")); err != nil {
		return []row{missing("the original", "test/deps.sh installs it")}, nil
	}
	o, err := b.startOriginal(dir)
	if err != nil {
		return nil, err
	}
	defer b.endAll()
	var rows []row
	for _, measure := range []func(*bench, *old) ([]row, error){oldBulk, oldEcho, oldStop} {
		some, err := measure(b, o)
		if err != nil {
			return nil, err
		}
		rows = append(rows, some...)
	}
	return rows, nil
}

// startOriginal starts both gateways, their peer, and their clients.
func (b *bench) startOriginal(dir string) (*old, error) {
	port, err := freeport.Find(3)
	if err != nil {
		return nil, err
	}
	dns := fmt.Sprintf("127.0.0.1:%d", port)
	where := func(port int) string { return fmt.Sprintf(`{"dns":[%q],"port":%d}`, dns, port) }
	node := func(ready any, script string, args ...string) (*child, error) {
		return start(ready, "", "node", append([]string{filepath.Join(dir, script)}, args...)...)
	}
	o := new(old)
	finder, host := b.add("dns-discovery", way{}), b.add("discovery-channel", way{})
	var ready struct{}
	if finder.server, err = node(&ready, "test/dat/find.mjs", "dns", fmt.Sprintf(`{"listen":%d,"domain":"dat.local","multicast":false}`, port)); err != nil {
		return nil, err
	}
	if host.server, err = node(&ready, "bench/old/peer.js", where(port+1)); err != nil {
		return nil, err
	}
	o.dns, o.peer = script{finder.server}, script{host.server}
	o.original = b.add("discovery-swarm-stream", way{})
	var at struct{ TCP int }
	if o.original.server, err = node(&at, "bench/old/original.js", where(port+2)); err != nil {
		return nil, err
	}
	if o.original.client, err = node(&ready, "bench/old/reader.js", strconv.Itoa(at.TCP)); err != nil {
		return nil, err
	}
	o.reader = script{o.original.client}
	o.ours = b.add("gateway", way{})
	return o, b.startGatewayOf(o.ours, b.binary, "quic", "udp", "--dht", "off", "--dat", "--dat-bootstrap", "none", "--dat-dns", dns, "--max-topics", "200")
}

// topics puts the peer on n new topics.
func (o *old) topics(n int) ([]string, error) {
	var made struct{ All []string }
	if err := o.peer.ask("topics", map[string]any{"n": n}, &made); err != nil {
		return nil, err
	}
	for late := time.Now().Add(patience); time.Now().Before(late); {
		var list struct {
			All []struct {
				ID string
				At []string
			}
		}
		if err := o.dns.ask("list", nil, &list); err != nil {
			return nil, err
		}
		known := map[string]bool{}
		for _, e := range list.All {
			known[e.ID] = len(e.At) > 0
		}
		if !slices.ContainsFunc(made.All, func(key string) bool { return !known[key[:40]] }) {
			return made.All, nil
		}
	}
	return nil, fmt.Errorf("%d topics are not announced", n)
}

// turns has f measure each of both, with new topics each time, after a round that does not count.
func (o *old) turns(b *bench, topics int, f func(keys []string, ours bool) error) error {
	for round := range b.rounds + 1 {
		for k := range 2 {
			keys, err := o.topics(topics)
			if err != nil {
				return err
			}
			if err := f(keys, (round+k)%2 == 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// oldBulk compares bytes down, of one stream and of many at once.
func oldBulk(b *bench, o *old) ([]row, error) {
	var rows []row
	for _, streams := range []int{1, 16} {
		n := b.bytes / 4
		var mbs [2][]float64
		err := o.turns(b, streams, func(keys []string, ours bool) error {
			if ours {
				s, err := o.ours.do(order{Do: "old bulk", Keys: keys, Bytes: n})
				mbs[0] = append(mbs[0], s.Rate)
				return err
			}
			var got struct{ Rate float64 }
			err := o.reader.ask("bulk", map[string]any{"keys": keys, "total": n}, &got)
			mbs[1] = append(mbs[1], got.Rate)
			return err
		})
		if err != nil {
			return nil, err
		}
		b.note("loopback", "discovery-swarm-stream", fmt.Sprintf("down %d", streams), "MB/s", mbs[1][1:])
		rows = append(rows, ratio(fmt.Sprintf("down %d: rate against the original", streams), none, "MB/s", mbs[0][1:], mbs[1][1:]))
	}
	return rows, nil
}

// oldEcho compares round trips of 64 bytes, alone and beside bytes of the same client.
func oldEcho(b *bench, o *old) ([]row, error) {
	var rows []row
	for n, beside := range []string{"alone", "beside bulk"} {
		var times [2][]sample
		err := o.turns(b, 1+n, func(keys []string, ours bool) error {
			if ours {
				s, err := o.ours.do(order{Do: "old echo", Keys: keys, Count: 25})
				times[0] = append(times[0], s)
				return err
			}
			var got struct{ Trips []float64 }
			err := o.reader.ask("echo", map[string]any{"keys": keys, "n": 25}, &got)
			for i := range got.Trips {
				got.Trips[i] /= 1000
			}
			times[1] = append(times[1], sample{outcome: outcome{Times: got.Trips}})
			return err
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, ratio("round trip of 64 bytes, "+beside+", p50, against the original", none, "ms",
			each(times[0][1:], quantile(0.5)), each(times[1][1:], quantile(0.5))))
	}
	return rows, nil
}

// oldStop measures what each holds for a reader that stops, of 1 GiB that its peer has.
func oldStop(b *bench, o *old) ([]row, error) {
	var grown [2]float64
	for i, c := range []*contender{o.ours, o.original} {
		keys, err := o.topics(1)
		if err != nil {
			return nil, err
		}
		before, err := resident(c.server.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			_, err = c.do(order{Do: "old stop", Keys: keys})
		} else {
			err = o.reader.ask("stop", map[string]any{"key": keys[0]}, new(struct{}))
		}
		if err != nil {
			return nil, err
		}
		if err := o.awaitStill(); err != nil {
			return nil, err
		}
		after, err := resident(c.server.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		grown[i] = (after - before) / (1 << 20)
	}
	r := newRow("one reader stops, 1 GiB waits: the process grows by", "MiB", none, grown[:1])
	r.Of = fmt.Sprintf("the original: %s MiB", short(grown[1]))
	return []row{r}, nil
}

// awaitStill waits until the peer has sent nothing for a while.
func (o *old) awaitStill() error {
	var last, still int
	for tick := time.NewTicker(100 * time.Millisecond); still < 15; <-tick.C {
		var got struct{ Sent int }
		if err := o.peer.ask("sent", nil, &got); err != nil {
			return err
		}
		if still++; got.Sent != last || got.Sent == 0 {
			last, still = got.Sent, 0
		}
	}
	return nil
}

// resident returns the bytes of memory that a process has.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	return float64(pages * os.Getpagesize()), err
}

// dialOld opens a session of our client, and a circuit for each key with the service, of which the
// first one is told what to do.
func (o order) dialOld(ctx context.Context, then string) (*client.Client, []*client.Conn, error) {
	c, err := o.Way.dialGateway(ctx)
	if err != nil {
		return nil, nil, err
	}
	var conns []*client.Conn
	var topics []*client.Topic
	for _, text := range o.Keys {
		key, err := hex.DecodeString(text)
		if err != nil {
			return c, nil, err
		}
		top, err := c.Join(ctx, wtproto.Topic(key), client.JoinOptions{LookUpOnly: true, Networks: []string{"dat"}})
		if err != nil {
			return c, nil, err
		}
		topics = append(topics, top)
	}
	for _, top := range topics {
		conn, err := top.Accept(ctx)
		if err != nil {
			return c, nil, fmt.Errorf("no circuit: %w, %v", err, top.Status())
		}
		if err := say(conn, "h", 1); err != nil {
			return c, nil, err
		}
		conns = append(conns, conn)
	}
	return c, conns, say(conns[0], then, 0)
}

// say writes to a service, and reads so many bytes of its answer.
func say(s io.ReadWriter, text string, answer int) error {
	if _, err := s.Write([]byte(text)); err != nil {
		return err
	}
	_, err := io.ReadFull(s, make([]byte, answer))
	return err
}

// oldBulk receives bytes over a circuit for each key at once, and returns how fast.
func (w *worker) oldBulk(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, conns, err := o.dialOld(ctx, "")
	if c != nil {
		defer c.Close()
	}
	if err != nil {
		return outcome{}, err
	}
	out, err := timed(func() error {
		return all(len(conns), len(conns), func(i int) error {
			if err := say(conns[i], "b", 0); err != nil {
				return err
			}
			return receive(conns[i], o.Bytes/int64(len(conns)), make([]byte, chunk))
		})
	})
	out.Rate = float64(o.Bytes) / 1e6 / out.Seconds
	return out, err
}

// oldEcho measures round trips of 64 bytes on the first circuit. If there is another one, it
// receives meanwhile.
func (w *worker) oldEcho(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, conns, err := o.dialOld(ctx, "e")
	if c != nil {
		defer c.Close()
	}
	if err == nil && len(conns) > 1 {
		if err = say(conns[1], "b", 4<<20); err == nil {
			go io.Copy(io.Discard, conns[1]) // until the session ends
		}
	}
	if err != nil {
		return outcome{}, err
	}
	var times []float64
	out, err := timed(func() error {
		for range o.Count {
			began := time.Now()
			if err := say(conns[0], string(make([]byte, 64)), 64); err != nil {
				return err
			}
			times = append(times, time.Since(began).Seconds())
		}
		return nil
	})
	slices.Sort(times)
	out.Times = times
	return out, err
}

// oldStop asks for bytes and never reads them.
func (w *worker) oldStop(o order) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, _, err := o.dialOld(ctx, "b")
	if c != nil {
		w.held = append(w.held, &viaGateway{client: c})
	}
	return outcome{}, err
}
