package p2p

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	ds "github.com/ipfs/go-datastore"
	dsq "github.com/ipfs/go-datastore/query"
	"github.com/libp2p/go-libp2p/core/peer"
)

func recordName(topic, host int) ds.Key {
	return ds.NewKey(fmt.Sprintf("/providers/T%d/H%d", topic, host))
}

func TestRecords(t *testing.T) {
	ctx := t.Context()
	r := newRecords(8, 4, 8, "self", func(peer.ID) netip.Addr { return netip.IPv6Loopback() })
	put := func(topic, host int) {
		t.Helper()
		if err := r.Put(ctx, recordName(topic, host), []byte{byte(host)}); err != nil {
			t.Fatal(err)
		}
	}
	keys := func(prefix string) (names []string) {
		t.Helper()
		res, err := r.Query(ctx, dsq.Query{Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		all, err := res.Rest()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			names = append(names, e.Key)
		}
		slices.Sort(names)
		return names
	}
	want := func(prefix string, names ...string) {
		t.Helper()
		if got := keys(prefix); !slices.Equal(got, names) {
			t.Errorf("%s has %v, want %v", prefix, got, names)
		}
	}
	put(1, 1)
	put(1, 2)
	put(10, 1)
	want("/providers/T1", "/providers/T1/H1", "/providers/T1/H2") // and not T10
	want("/providers/T2")
	want("/providers/", "/providers/T1/H1", "/providers/T1/H2", "/providers/T10/H1")

	if got, err := r.Get(ctx, recordName(1, 2)); err != nil || !slices.Equal(got, []byte{2}) {
		t.Errorf("Get = %v, %v", got, err)
	}
	if _, err := r.Get(ctx, recordName(1, 9)); !errors.Is(err, ds.ErrNotFound) {
		t.Errorf("Get of none = %v", err)
	}
	if has, err := r.Has(ctx, recordName(1, 9)); has || err != nil {
		t.Errorf("Has of none = %v, %v", has, err)
	}
	if n, err := r.GetSize(ctx, recordName(1, 2)); n != 1 || err != nil {
		t.Errorf("GetSize = %d, %v", n, err)
	}

	// A topic that is full loses one of its records, no other topic does.
	for h := range 4 {
		put(1, 3+h)
	}
	if got := keys("/providers/T1"); len(got) != 4 || !slices.Contains(got, "/providers/T1/H6") {
		t.Errorf("a full topic has %v", got)
	}
	want("/providers/T10", "/providers/T10/H1")

	// All together lose the oldest, which one that was renewed is not.
	put(10, 1)
	for topic := range 4 {
		put(20+topic, 1)
	}
	if n := r.crowd.Len(); n != 8 {
		t.Errorf("%d records, want 8", n)
	}
	want("/providers/T10", "/providers/T10/H1")
	if got := keys("/providers/T1"); len(got) != 3 {
		t.Errorf("the oldest topic has %v", got)
	}

	b, err := r.Batch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys("/providers/") {
		if err := b.Delete(ctx, ds.RawKey(k)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Delete(ctx, recordName(7, 7)), b.Commit(ctx), r.Sync(ctx, ds.NewKey("/")), r.Close()); err != nil {
		t.Fatal(err)
	}
	if r.crowd.Len() != 0 || len(r.topics) != 0 || len(r.hosts) != 0 {
		t.Errorf("%d records of %d topics and %d hosts are left", r.crowd.Len(), len(r.topics), len(r.hosts))
	}
}

// A machine that announced under thousands of names pushed the records of others out of a topic,
// one by chance for each, and out of the DHT, the oldest first.
func TestRecordsOfOneMachine(t *testing.T) {
	ctx := t.Context()
	addrs := make(map[peer.ID]netip.Addr)
	r := newRecords(400, 100, 50, "H0", func(id peer.ID) netip.Addr { return addrs[id] })
	put := func(topic, host int, from string) {
		t.Helper()
		key := recordName(topic, host)
		addrs[hostOf(key)] = netip.MustParseAddr(from)
		if err := r.Put(ctx, key, nil); err != nil {
			t.Fatal(err)
		}
	}
	has := func(what string, topic, host int) {
		t.Helper()
		if ok, err := r.Has(ctx, recordName(topic, host)); !ok || err != nil {
			t.Errorf("%s: the record of host %d on topic %d is gone, %v", what, host, topic, err)
		}
	}
	for topic := range 100 {
		put(topic, 0, "192.0.2.1") // our own
	}
	for host := range 20 {
		put(1, 1+host, fmt.Sprintf("198.51.100.%d", host))
	}
	honest := func(what string) {
		t.Helper()
		for topic := range 100 {
			has(what, topic, 0)
		}
		for host := range 20 {
			has(what, 1, 1+host)
		}
	}
	for n := range 1000 {
		put(1, 1000+n, "203.0.113.9")
	}
	honest("1,000 names on the topic")
	if n := len(r.topics[ds.NewKey("/providers/T1")]); n != 100 {
		t.Errorf("the topic has %d records, want 100", n)
	}
	has("1,000 names on the topic", 1, 1999)
	for n := range 1000 { // whoever owns a /48 has as many addresses as he likes
		put(1, 3000+n, fmt.Sprintf("2001:db8:1:%x::1", n))
	}
	honest("1,000 names of an IPv6 site")
	for n := range 2000 {
		put(100+n, 5000+n, "203.0.113.9")
		put(100+n, 9000+n, fmt.Sprintf("2001:db8:1:%x::1", n))
	}
	honest("4,000 names on other topics")
	if n := r.crowd.Len(); n != 400 {
		t.Errorf("%d records of others, want 400", n)
	}
	for n := range 60 {
		put(5000+n, 77, "198.51.100.200")
	}
	honest("60 topics of one host")
	if n := r.hosts[hostOf(recordName(1, 77))].Len(); n != 50 {
		t.Errorf("one host has %d records, want 50", n)
	}
	has("60 topics of one host", 5059, 77)
}

// The DHT forgets who announces before it stores the record, so that is remembered.
func TestAnnouncers(t *testing.T) {
	a := newAnnouncers()
	at := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}) }
	for n := range maxAnnouncers {
		a.saw(peer.ID(fmt.Sprint(n)), at(n))
	}
	a.saw("0", at(99))
	a.saw("another", at(7))
	for id, want := range map[peer.ID]netip.Addr{"0": at(99), "1": netip.IPv4Unspecified(), "2": at(2), "another": at(7)} {
		if got := a.where(id); got != want {
			t.Errorf("%s is at %v, want %v", id, got, want)
		}
	}
	if len(a.addrs) != maxAnnouncers || a.age.Len() != maxAnnouncers {
		t.Errorf("%d and %d are remembered, want %d", len(a.addrs), a.age.Len(), maxAnnouncers)
	}
}
