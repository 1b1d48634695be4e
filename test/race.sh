#!/bin/bash
# Tests rooms with the race detector: race.sh ROOM...
#
# In a bubble of testing/synctest the detector may take two timers for one goroutine, and crash (golang/go#78156). What
# crashes is the detector, so such a run says nothing of the room, and the room is tested once more. Any other failure is
# one.
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
race() {
	"${GO:-go}" test -race -shuffle=on -p 4 -timeout 20m "$@"
}

race "$@" 2>&1 | tee "$log" && exit
again=$(awk '
	/^ThreadSanitizer: CHECK failed/ { crashed = 1 }
	/^ *--- FAIL: / { failed = 1 }
	/^(ok|FAIL|\?) *\t/ {
		if ($1 == "FAIL" && crashed) rooms = rooms " " $2
		else if ($1 == "FAIL") failed = 1
		crashed = 0
	}
	END { if (!failed) print rooms }' "$log")
[ -n "$again" ] || exit 1
echo "The race detector has crashed. Once more:"
# shellcheck disable=SC2086 # a list of rooms
race $again
