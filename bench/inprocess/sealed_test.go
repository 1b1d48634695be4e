package inprocess

import (
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/client/secret"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

// BenchmarkSealed compares the bytes of one Go client to another one through the gateway, plain and
// sealed. The two take turns, so a busy machine slows both. The ratios are those of the medians. All
// of it runs in this process, and so the CPU time is that of the two clients and of the gateway.
func BenchmarkSealed(b *testing.B) {
	const bytes, turns = 64 << 20, 7
	g := gateway.Start(b, quiet(server.Config{}))
	shared := secret.New()
	var plain, sealed [2]net.Conn
	var topics [2]*client.Topic
	var rooms [2]*secret.Topic
	for i := range 2 {
		c := g.Dial(b, client.Config{})
		topics[i] = gateway.Join(b, c, wtproto.TopicFromName("plain"), client.JoinOptions{})
		var err error
		if rooms[i], err = secret.NewRoom(shared, nil).Join(b.Context(), c, client.JoinOptions{}); err != nil {
			b.Fatal(err)
		}
		defer rooms[i].Close()
	}
	for i := range 2 {
		plain[i] = gateway.Accept(b, topics[i])
		c, err := rooms[i].Accept(gateway.Context(b))
		if err != nil {
			b.Fatal(err)
		}
		sealed[i] = c
	}
	for b.Loop() {
		var took, used [2][]time.Duration
		for range turns {
			for i, ends := range [][2]net.Conn{plain, sealed} {
				before := cpu(b)
				took[i] = append(took[i], pass(b, ends[0], ends[1], bytes))
				used[i] = append(used[i], cpu(b)-before)
			}
		}
		var rate, perByte [2]float64
		for i := range took {
			slices.Sort(took[i])
			slices.Sort(used[i])
			rate[i] = bytes / took[i][turns/2].Seconds() / 1e6
			perByte[i] = float64(used[i][turns/2].Nanoseconds()) / bytes
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(rate[0], "plain-MB/s")
		b.ReportMetric(rate[1], "sealed-MB/s")
		b.ReportMetric(rate[1]/rate[0], "sealed/plain")
		b.ReportMetric(perByte[0], "plain-cpu-ns/B")
		b.ReportMetric(perByte[1], "sealed-cpu-ns/B")
		b.ReportMetric(perByte[0]/perByte[1], "plain/sealed-cpu")
	}
}

// cpu returns the CPU time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pass returns how long n bytes take.
func pass(b *testing.B, from, to net.Conn, n int) time.Duration {
	began := time.Now()
	go func() {
		chunk := make([]byte, 256<<10)
		for left := n; left > 0; left -= len(chunk) {
			if _, err := from.Write(chunk); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	buf := make([]byte, 256<<10)
	for left := n; left > 0; {
		k, err := to.Read(buf[:min(left, len(buf))])
		if left -= k; err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}
