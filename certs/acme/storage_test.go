package acme

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"
)

// A gateway that ends waits for what the library still does, which holds a lock, but not for ever.
func TestStorageWaitsForLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorage(t.TempDir(), false, func(error) {})
		ctx := t.Context()
		if err := s.Lock(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.TryLock(ctx, "a"); ok || err != nil {
			t.Errorf("a lock that is held was taken: %v, %v", ok, err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := s.Lock(short, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock = %v", err)
		}
		took := make(chan error)
		go func() { took <- s.Lock(ctx, "a") }()
		synctest.Wait()
		start := time.Now()
		bound, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		s.close(bound)
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("close waited %v", waited)
		}
		if err := s.Unlock(ctx, "a"); err != nil {
			t.Error(err)
		}
		if err := <-took; !errors.Is(err, fs.ErrClosed) {
			t.Errorf("a lock after the end: %v", err)
		}
		s.close(ctx) // at once
	})
}
