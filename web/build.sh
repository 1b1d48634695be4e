#!/bin/sh
# Builds web/dist, what browsers get: the client module and the console. "build.sh check" builds it elsewhere instead and fails where
# web/dist is not that; it also checks the types of the console and of the examples, and runs the console's tests.
set -eu
cd "$(dirname "$0")"

stamp=node_modules/.installed
if [ ! -e "$stamp" ] || [ package-lock.json -nt "$stamp" ]; then
	npm ci --no-audit --no-fund --loglevel=error
	touch "$stamp"
fi

if [ "${1-}" != check ]; then
	node build.mjs
	node console/build.mjs
	exit
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cp -R src console build.mjs package.json tsconfig.json tsconfig.types.json "$tmp"
ln -s "$PWD/node_modules" "$tmp/node_modules"
(cd "$tmp" && node build.mjs && node console/build.mjs)
diff -rq dist "$tmp/dist" >&2 || {
	echo 'web/dist is not what its sources make: run "make web" and commit it' >&2
	exit 1
}
node_modules/.bin/tsc --noEmit -p console/tsconfig.json
node_modules/.bin/tsc --noEmit -p examples/tsconfig.json
node console/build.mjs test "$tmp/test"
node --enable-source-maps --test "$tmp"/test/*.mjs
