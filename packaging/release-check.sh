#!/bin/sh
# Makes a release twice and fails unless both are equal: of copies of the source in two folders, the second with an empty build cache,
# another umask and another time zone. With PLATFORMS, such as linux/amd64, only of these.
#
#   packaging/release-check.sh VERSION [PLATFORMS]
set -eu
cd "$(dirname "$0")/.."
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

make_in() { # make_in FOLDER UMASK ZONE VERSION PLATFORMS
	mkdir -p "$tmp/$1" "$tmp/tmp/$1"
	git archive "$commit" | tar -x -C "$tmp/$1"
	(
		umask "$2"
		export TZ="$3" TMPDIR="$tmp/tmp/$1"
		cd "$tmp/$1"
		go run ./packaging/release -version "$4" -only "$5" -out "$tmp/$1-dist"
	)
}

make_in one 022 UTC "$1" "${2-}"
export GOCACHE="$tmp/cache"
make_in two/deeper 077 Asia/Tokyo "$1" "${2-}"
diff "$tmp/one-dist/SHA256SUMS" "$tmp/two/deeper-dist/SHA256SUMS"
(cd "$tmp/one-dist" && sha256sum --check --quiet SHA256SUMS)
cat "$tmp/one-dist/SHA256SUMS"
