package freeport

import (
	"fmt"
	"net"
	"testing"
)

func TestAddressIsNobodys(t *testing.T) {
	addr := Address(t)
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Errorf("somebody listens on %s", addr)
	}
	for range 2 { // once more too
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		c.Close()
	}
}

func TestPortsAreGivenOnce(t *testing.T) {
	seen := make(map[int]bool)
	for range 20 {
		first := Ports(t, 5)
		for p := first; p < first+5; p++ {
			if seen[p] || p < lowest || p > highest {
				t.Errorf("port %d was given before, or the kernel may choose it", p)
			}
			seen[p] = true
		}
	}
}

func TestTakenPortsAreNotGiven(t *testing.T) {
	first := Ports(t, 1)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if isFree(first) {
		t.Errorf("port %d counts as free, on which this test listens by TCP", first)
	}
	second := Ports(t, 1)
	c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", second))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if isFree(second) {
		t.Errorf("port %d counts as free, on which this test listens by UDP", second)
	}
}
