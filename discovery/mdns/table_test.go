package mdns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestTableMerges(t *testing.T) {
	const hold = 90 * time.Second
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	tab := newTable(10, hold)
	refusal := errors.New("no")
	var last uint64
	for _, step := range []struct {
		name    string
		at      time.Duration
		in      record
		allowed []netip.Addr
		refused error

		before, value string
		addrs         []netip.Addr
		wantRefused   error
	}{
		{"first", 0, record{value: "a", port: 80}, addrsOf("fe80::1%lo"), nil, "", "a", addrsOf("fe80::1%lo"), nil},
		{"more, better first", 10 * time.Second, record{value: "a", port: 80}, addrsOf("fd00::1", "10.0.0.2"), refusal, "a", "a", addrsOf("10.0.0.2", "fd00::1", "fe80::1%lo"), nil},
		{"without the key", 20 * time.Second, record{port: 80}, addrsOf("10.0.0.2"), nil, "a", "a", addrsOf("10.0.0.2", "fd00::1", "fe80::1%lo"), nil},
		{"one address is old", hold, record{value: "a", port: 80}, addrsOf("10.0.0.1"), nil, "a", "a", addrsOf("10.0.0.1", "10.0.0.2", "fd00::1"), nil},
		{"another port", hold, record{value: "a", port: 81}, addrsOf("10.0.0.3"), nil, "a", "a", addrsOf("10.0.0.3"), nil},
		{"another value", hold, record{value: "b", port: 81}, nil, refusal, "a", "b", addrsOf("10.0.0.3"), nil},
		{"nothing allowed", hold, record{value: "b", port: 82}, nil, refusal, "b", "b", nil, refusal},
		{"allowed again", hold, record{value: "b", port: 82}, addrsOf("10.0.0.3"), refusal, "b", "b", addrsOf("10.0.0.3"), nil},
		{
			"too many", hold,
			record{value: "b", port: 82},
			addrsOf("fd00::1", "fd00::2", "fd00::3", "fd00::4", "fd00::5", "fd00::6", "fd00::7", "fd00::8"), nil, "b", "b",
			addrsOf("10.0.0.3", "fd00::1", "fd00::2", "fd00::3", "fd00::4", "fd00::5", "fd00::6", "fd00::7"), nil,
		},
	} {
		step.in.instance = "web"
		i, before, full := tab.merge(step.in, step.allowed, step.refused, start.Add(step.at))
		if full || i == nil || before != step.before || i.value != step.value || i.port != step.in.port ||
			!slices.Equal(i.list(), step.addrs) || i.refused != step.wantRefused || i.version == last {
			t.Fatalf("%s: merge = %+v, %q, %v", step.name, i, before, full)
		}
		last = i.version
	}
	tab.forget(start.Add(2*hold - 1))
	if len(tab.all) != 1 {
		t.Error("forgotten before its time")
	}
	tab.forget(start.Add(2 * hold))
	if len(tab.all) != 0 {
		t.Error("remembered for too long")
	}
}

// Forged instances fill the table and no more; those that were there first stay, and there is one report.
func TestTableIsBounded(t *testing.T) {
	const limit = 16
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	tab := newTable(limit, time.Minute)
	see := func(name, value string, at time.Duration) (*instance, bool) {
		i, _, full := tab.merge(record{instance: name, value: value, port: 80}, addrsOf("10.0.0.1"), nil, start.Add(at))
		return i, full
	}
	if i, full := see("nothing", "", 0); i != nil || full || len(tab.all) != 0 {
		t.Error("an instance without a value was taken")
	}
	see("real", "a", 0)
	reports := 0
	for k := range 20_000 {
		if _, full := see(fmt.Sprint("forged", k), "a", time.Second); full {
			reports++
		}
	}
	if len(tab.all) != limit || reports != 1 {
		t.Errorf("%d instances and %d reports, want %d and 1", len(tab.all), reports, limit)
	}
	if i, full := see("real", "a", 59*time.Second); i == nil || full {
		t.Error("a known instance was not taken")
	}
	tab.forget(start.Add(61 * time.Second))
	if i, _ := see("late", "a", 61*time.Second); i == nil || len(tab.all) != 2 {
		t.Errorf("%d instances after the flood, want 2", len(tab.all))
	}
	for k := range limit {
		if _, full := see(fmt.Sprint("again", k), "a", 62*time.Second); full {
			reports++
		}
	}
	if reports != 2 {
		t.Errorf("%d reports, want one a flood", reports)
	}
}
