#!/bin/sh
# Makes the folder CONTEXT for Containerfile, of the programs in the folder BINARIES and the authorities that this machine knows.
#
#   packaging/image/context.sh BINARIES CONTEXT
set -eu
umask 022
mkdir -p "$2/state"
chmod 700 "$2/state"
[ "$1" = "$2" ] || cp "$1/swarmgate" "$1/swarm" "$2"
chmod 755 "$2/swarmgate" "$2/swarm"
cp /etc/ssl/certs/ca-certificates.crt "$2"
