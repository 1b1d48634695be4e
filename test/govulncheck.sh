#!/bin/sh
# Runs govulncheck, the module version of which is the argument. Findings fail; a database that cannot be reached does not.
set -u
out=$(go run "$1" ./... 2>&1)
status=$?
printf '%s\n' "$out" | tail -n 40
case "$out" in
*"fetching vulnerabilities"*|*"no such host"*|*"dial tcp"*|*"context deadline exceeded"*|*"connection refused"*)
	echo 'govulncheck: its database cannot be reached from here' >&2
	exit 0 ;;
esac
exit $status
