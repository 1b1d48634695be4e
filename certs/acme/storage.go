package acme

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
)

// storage is the directory in which the library keeps accounts, certificates and their keys. It
// counts the library's work, which holds a lock, so that somebody can wait for its end.
type storage struct {
	*certmagic.FileStorage
	shared bool        // others use the directory too
	failed func(error) // is told why something could not be written; nil if it could

	mu     sync.Mutex
	held   map[string]chan struct{} // guarded by mu; closed when the lock is released
	closed bool                     // guarded by mu
}

var (
	_ certmagic.Storage   = (*storage)(nil)
	_ certmagic.TryLocker = (*storage)(nil)
)

func newStorage(dir string, shared bool, failed func(error)) *storage {
	return &storage{
		FileStorage: &certmagic.FileStorage{Path: dir}, shared: shared, failed: failed,
		held: make(map[string]chan struct{}),
	}
}

// Store saves value, and tells whether that worked.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	err := s.FileStorage.Store(ctx, key, value)
	s.failed(err)
	return err
}

// List tells nothing of accounts: the library would take the newest one's address as that of the
// operator, and for an account without address that is being made it guesses "default", which
// authorities refuse.
func (s *storage) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	if strings.HasSuffix(path, "/users") {
		return nil, fs.ErrNotExist
	}
	return s.FileStorage.List(ctx, path, recursive)
}

// Lock waits for the lock with that name: that of this process, and if others use the directory
// that of a file too, which they look at.
func (s *storage) Lock(ctx context.Context, name string) error {
	for {
		free, err := s.take(name)
		if err != nil {
			return err
		}
		if free == nil {
			break
		}
		select {
		case <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if !s.shared {
		return nil
	}
	if err := s.FileStorage.Lock(ctx, name); err != nil {
		s.release(name)
		return err
	}
	return nil
}

// TryLock is Lock without the wait.
func (s *storage) TryLock(ctx context.Context, name string) (bool, error) {
	if free, err := s.take(name); free != nil || err != nil {
		return false, err
	}
	if !s.shared {
		return true, nil
	}
	ok, err := s.FileStorage.TryLock(ctx, name)
	if !ok || err != nil {
		s.release(name)
	}
	return ok, err
}

// Unlock releases the lock.
func (s *storage) Unlock(ctx context.Context, name string) error {
	defer s.release(name)
	if !s.shared {
		return nil
	}
	return s.FileStorage.Unlock(ctx, name)
}

// take takes the lock of this process, or returns a channel that is closed when it is free.
func (s *storage) take(name string) (free <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("acme: lock %s: %w", name, fs.ErrClosed)
	}
	if free, ok := s.held[name]; ok {
		return free, nil
	}
	s.held[name] = make(chan struct{})
	return nil, nil
}

func (s *storage) release(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if free, ok := s.held[name]; ok {
		close(free)
		delete(s.held, name)
	}
}

// close lets nobody take a lock any more, and waits until ctx ends for those that are held.
func (s *storage) close(ctx context.Context) {
	for {
		s.mu.Lock()
		s.closed = true
		var free <-chan struct{}
		for _, free = range s.held {
			break
		}
		s.mu.Unlock()
		if free == nil {
			return
		}
		select {
		case <-free:
		case <-ctx.Done():
			return
		}
	}
}
