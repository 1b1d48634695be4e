package p2p

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmgate/swarmgate/discovery"
)

// childEnv has the seed of a process that is a native peer of the test topic which echoes, and
// childrenEnv how many of them it is, without which it is one on loopback.
const (
	childEnv    = "TEST_P2P_CHILD"
	childrenEnv = "TEST_P2P_CHILDREN"
)

func runChild(seed string) {
	p, err := discovery.NewPolicy(discovery.PolicyConfig{Private: true})
	if err != nil {
		panic(err)
	}
	cfg := Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Mode: Private, Policy: p, Seeds: []string{seed}}
	var wg sync.WaitGroup
	defer wg.Wait()
	n, err := strconv.Atoi(os.Getenv(childrenEnv))
	if err == nil {
		cfg.Listen, cfg.LookUpEvery = []string{"/ip4/0.0.0.0/tcp/0"}, time.Second
	}
	for range max(n, 1) {
		h, err := Listen(cfg)
		if err != nil {
			panic(err)
		}
		fmt.Println(h.ID())
		wg.Go(func() {
			for s := range h.Join(context.Background(), testTopic, discovery.Native()) {
				if s.Inbound != nil {
					if st, err := s.Inbound.Accept(); err == nil {
						go echo(st)
					}
				}
			}
		})
	}
}

// startChild starts such a process, and returns it with its peer id.
func startChild(t testing.TB, seed *Host) (*os.Process, peer.ID) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = os.Environ()
	ids := startPeers(t, cmd, seed, 1)
	return cmd.Process, ids[0]
}

// startPeers starts cmd, which is such a process of n peers, until the test ends, and returns
// their ids.
func startPeers(t testing.TB, cmd *exec.Cmd, seed *Host, n int) (ids []peer.ID) {
	t.Helper()
	cmd.Env = append(cmd.Env, childEnv+"="+seed.Addrs()[0])
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewReader(out); len(ids) < n; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%d of %d peers have started: %v", len(ids), n, err)
		}
		id, err := peer.Decode(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}
