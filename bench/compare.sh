#!/bin/sh
# Builds the gateway of a commit, and compares that of this checkout with it: bench/compare.sh COMMIT [-quick]
set -eu
base=${1:?"which commit? make bench-compare BASE=<commit>"}
shift
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'git worktree remove --force "$dir/base" 2>/dev/null; rm -rf "$dir"' EXIT
git worktree add --quiet --detach "$dir/base" "$base"
(cd "$dir/base" && go build -o "$dir/server" ./cmd/server)
go run ./bench -base "$dir/server" "$@"
