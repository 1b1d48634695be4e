package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/swarmgate/swarmgate/server/auth"
)

// OPERATING gives the token file to the group of the gateway. The second token made it root's again,
// so the gateway did not let its owner in, and after a restart did not start. If the file was a
// link, the link became the file, and what it led to stayed as it was.
func TestTokenFileStaysWhoseItIs(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "kept")
	if err := os.Mkdir(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	file, link := filepath.Join(kept, "tokens"), filepath.Join(dir, "tokens")
	if err := os.Symlink("kept/tokens", link); err != nil {
		t.Fatal(err)
	}
	add := func(name, to string) {
		t.Helper()
		if status, _, errs := runTool(t, "", "token", "new", "--name", name, "--file", to); status != 0 {
			t.Fatalf("%s: status %d, %s", name, status, errs)
		}
	}
	add("alice", file)
	owner, group := os.Getuid(), os.Getgid()
	if owner == 0 {
		owner, group = 65533, 65534
	} else if groups, err := os.Getgroups(); err != nil {
		t.Fatal(err)
	} else if i := slices.IndexFunc(groups, func(g int) bool { return g != group }); i >= 0 {
		group = groups[i]
	}
	if err := os.Chown(file, owner, group); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	add("bob", link)
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o640 || int(s.Uid) != owner || int(s.Gid) != group {
		t.Errorf("the file is %v of %d:%d, want %v of %d:%d", info.Mode(), s.Uid, s.Gid, os.FileMode(0o640), owner, group)
	}
	if b, err := os.ReadFile(file); err != nil || strings.Count(string(b), "\n") != 2 {
		t.Errorf("the file is %q, %v, want a line of alice and one of bob", b, err)
	}
	if to, err := os.Readlink(link); err != nil || to != "kept/tokens" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
}

// A program that keeps the lock for itself is not waited for for ever.
func TestTokenFolderThatStaysLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	status, _, errs := runTool(t, "", "token", "new", "--name", "alice", "--file", filepath.Join(dir, "tokens"))
	if status != statusFailed || !strings.Contains(errs, "locked by another program") {
		t.Errorf("status %d, %s", status, errs)
	}
}

// Of two tokens made at the same time one could be lost: both had read the file before either wrote.
func TestTokensAtTheSameTime(t *testing.T) {
	const n = 20
	file := filepath.Join(t.TempDir(), "tokens")
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if status, _, errs := runTool(t, "", "token", "new", "--name", fmt.Sprint("user", i), "--file", file); status != 0 {
				t.Errorf("status %d, %s", status, errs)
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := auth.TokenNames(b); err != nil || len(names) != n {
		t.Errorf("the file has the tokens of %d users, %v, want %d", len(names), err, n)
	}
}
