package p2p

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	ds "github.com/ipfs/go-datastore"
	dsq "github.com/ipfs/go-datastore/query"
)

func recordName(topic, host int) ds.Key {
	return ds.NewKey(fmt.Sprintf("/providers/T%d/H%d", topic, host))
}

func TestRecords(t *testing.T) {
	ctx := t.Context()
	r := newRecords(8, 4)
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
	if n := r.age.Len(); n != 8 {
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
	if r.age.Len() != 0 || len(r.topics) != 0 {
		t.Errorf("%d records of %d topics are left", r.age.Len(), len(r.topics))
	}
}
