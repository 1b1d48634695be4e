//go:build attack

package program

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	attackTime   = 20 * time.Second
	attackMemory = 1 << 30                 // of the gateway
	findWithin   = 2 * time.Second         // an announced peer
	honestFrom   = "127.0.0.7"             // where honest clients are
	attackFrom   = "127.0.0.66"            // where the attack comes from
	paceOfEcho   = 20 * time.Millisecond   // between messages of the lasting circuit
	paceOfVisits = 1000 * time.Millisecond // between newcomers
)

// One address does its worst, one attack after the other, to the real program with its default
// limits. An honest client at another address keeps its circuit and every byte on it, newcomers
// come in, and find a peer that was announced; and the memory of the gateway stays under its
// limit. "none" is the same without an attack.
func TestAttack(t *testing.T) {
	binary, err := program.Build("./test/attack")
	if err != nil {
		t.Fatal(err)
	}
	names, err := exec.Command(binary, "-list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var rows []attackRow
	for _, name := range append([]string{"none"}, strings.Fields(string(names))...) {
		t.Run(name, func(t *testing.T) { rows = append(rows, underAttack(t, binary, name)) })
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "attack\tdone\trefused\techoes\tlost\techo p50\techo p99\tlongest\tnewcomers\tcome in p50\tmax\tpeer found p50\tmax\tpeak MiB\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%v\t%v\t%v\t%d\t%v\t%v\t%v\t%v\t%d\t\n", r.name, r.Done, r.Refused,
			len(r.echoes), r.lost, ms(at(r.echoes, 0.5)), ms(at(r.echoes, 0.99)), ms(at(r.echoes, 1)),
			len(r.comes), ms(at(r.comes, 0.5)), ms(at(r.comes, 1)), ms(at(r.finds, 0.5)), ms(at(r.finds, 1)), r.peak>>20)
	}
	w.Flush()
	t.Logf("\n%s", table.String())
}

// attackRow is what came of one attack.
type attackRow struct {
	name          string
	Done, Refused int64
	echoes        []time.Duration // round trips on the lasting circuit
	lost          int             // how many times that was lost
	comes         []time.Duration // from nothing to WELCOME
	finds         []time.Duration // from JOIN to the first byte of a peer that was announced
	peak          int64           // bytes that the gateway had at most
}

// underAttack runs one attack beside honest clients.
func underAttack(t *testing.T, binary, name string) attackRow {
	lasting := wtproto.TopicFromName("lasting")
	echo := gateway.Listen(t, gateway.Echo)
	p := program.Start(t, "--listen", "127.0.0.1:0", "--dht", "private", "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--allow-private",
		"--admin", "127.0.0.1:0", "--memory", strconv.Itoa(attackMemory), "--log-level", "warn",
		"--static", fmt.Sprintf("%v=tcp://%v", lasting, echo.Addr()))
	announced := announceMany(t, p.P2P.Addrs[0], int(attackTime/paceOfVisits)+5)

	row := attackRow{name: name}
	first, err := comeIn(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	circuit := gateway.Accept(t, gateway.Join(t, first, lasting, client.JoinOptions{}))

	ctx, cancel := context.WithTimeout(t.Context(), attackTime)
	defer cancel()
	var wg sync.WaitGroup
	if name != "none" {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), binary, "-name", name, "-quic", p.QUIC, "-p2p", p.P2P.Addrs[0], "-from", attackFrom, "-for", attackTime.String())
			cmd.Stderr = t.Output()
			out, err := cmd.Output()
			if err == nil {
				err = json.Unmarshal(out, &row)
			}
			if err != nil {
				t.Errorf("the attacker: %v", err)
			}
		})
	}
	wg.Go(func() { row.echoes, row.lost = keepEchoing(ctx, t, circuit) })
	for _, topic := range announced {
		if !wait(ctx, paceOfVisits) {
			break
		}
		came, found, err := newcomer(t, p, topic)
		if err != nil {
			t.Errorf("a newcomer: %v", err)
			continue
		}
		row.comes, row.finds = append(row.comes, came), append(row.finds, found)
	}
	wg.Wait()
	row.peak = p.Peak(t)

	slices.Sort(row.echoes)
	slices.Sort(row.comes)
	slices.Sort(row.finds)
	if row.lost > 0 {
		t.Errorf("the lasting circuit was lost %d times", row.lost)
	}
	if slow := at(row.finds, 1); slow > findWithin {
		t.Errorf("a peer was found after %v, want within %v", slow, findWithin)
	}
	if len(row.finds) < len(announced)/2 {
		t.Errorf("%d newcomers in %v", len(row.finds), attackTime)
	}
	if row.peak > attackMemory {
		t.Errorf("%d MiB at the peak, limit %d", row.peak>>20, attackMemory>>20)
	}
	return row
}

// announceMany puts a native peer on n topics, and returns them once a look-up finds it there.
func announceMany(t *testing.T, seed string, n int) (topics []wtproto.Topic) {
	host := gateway.Host(t, false, seed)
	watcher := gateway.Host(t, true, seed)
	t.Cleanup(func() { watcher.Close() })
	for i := range n {
		topic := wtproto.TopicFromName(fmt.Sprintf("announced %d", i))
		topics = append(topics, topic)
		gateway.Native(t, host, topic, discovery.NewPresence(discovery.State{Announce: true, Endpoints: []wtproto.EndpointID{{}}}), func(s discovery.Stream) {
			s.Write([]byte("x"))
			io.Copy(io.Discard, s)
		})
	}
	for _, topic := range topics {
		gateway.Announced(t, watcher, topic)
	}
	return topics
}

// comeIn opens a session from an honest address.
func comeIn(ctx context.Context, p *program.Program) (*client.Client, error) {
	hash, err := hex.DecodeString(p.Certificate.Hashes[0])
	if err != nil {
		return nil, err
	}
	return client.Dial(ctx, "https://"+p.QUIC, client.Config{
		CertHashes: [][32]byte{[32]byte(hash)}, NoReconnect: true,
		Transports:   []string{client.TransportQUIC},
		ListenPacket: func() (net.PacketConn, error) { return udp.Listen("udp", honestFrom+":0") },
	})
}

// newcomer comes in, joins a topic and reads a byte of the peer that is there.
func newcomer(t *testing.T, p *program.Program, topic wtproto.Topic) (came, found time.Duration, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began := time.Now()
	c, err := comeIn(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	came = time.Since(began)
	joined := time.Now()
	top, err := c.Join(ctx, topic, client.JoinOptions{})
	if err != nil {
		return 0, 0, err
	}
	conn, err := top.Accept(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("no peer: %w", err)
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return came, time.Since(joined), err
}

// keepEchoing sends messages and compares their echoes until ctx ends.
func keepEchoing(ctx context.Context, t *testing.T, conn *client.Conn) (trips []time.Duration, lost int) {
	rng := rand.NewChaCha8([32]byte{1})
	out, in := make([]byte, 1024), make([]byte, 1024)
	for wait(ctx, paceOfEcho) {
		rng.Read(out)
		began := time.Now()
		conn.SetDeadline(began.Add(10 * time.Second))
		_, err := conn.Write(out)
		if err == nil {
			_, err = io.ReadFull(conn, in)
		}
		if err != nil || !bytes.Equal(in, out) {
			t.Errorf("the lasting circuit: %v", cmp.Or(err, io.ErrNoProgress))
			return trips, 1
		}
		trips = append(trips, time.Since(began))
	}
	return trips, 0
}

// wait waits for d, and reports whether ctx goes on.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// at returns a quantile of sorted durations.
func at(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
