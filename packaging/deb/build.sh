#!/bin/sh
# Makes the Debian packages of a release: swarmgate (the gateway, its unit) and swarmgate-client (swarm).
#
#   packaging/deb/build.sh VERSION ARCH BINARIES MANUALS OUT
#
# BINARIES is the folder of swarmgate, swarm and their *.cdx.json; MANUALS that of swarmgate.8 and swarm.1. SOURCE_DATE_EPOCH is the
# time of all files. It needs dpkg-deb and no rights.
set -eu
umask 022
version=$(printf %s "$1" | tr - '~') arch=$2 binaries=$3 manuals=$4 out=$5
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

put() { # put MODE FROM TO
	install -D -m "$1" "$2" "$root/$3"
}

# begin PACKAGE PROGRAM SECTION: what both packages have
begin() {
	root=$tmp/$1
	put 755 "$binaries/$2" "usr/bin/$2"
	put 644 "$manuals/$2.$3" "usr/share/man/man$3/$2.$3"
	gzip -9n "$root/usr/share/man/man$3/$2.$3"
	put 644 "packaging/completions/$2.bash" "usr/share/bash-completion/completions/$2"
	put 644 "packaging/completions/$2.fish" "usr/share/fish/vendor_completions.d/$2.fish"
	put 644 "packaging/completions/_$2" "usr/share/zsh/vendor-completions/_$2"
	put 644 packaging/deb/copyright "usr/share/doc/$1/copyright"
	sed '1,4d; s/^$/./; s/^/ /' LICENSE >>"$root/usr/share/doc/$1/copyright"
	put 644 CHANGELOG.md "usr/share/doc/$1/changelog"
	gzip -9n "$root/usr/share/doc/$1/changelog"
	put 644 "$binaries/$2.cdx.json" "usr/share/doc/$1/$2.cdx.json"
	mkdir "$root/DEBIAN"
	for script in postinst prerm postrm; do
		[ ! -e "packaging/deb/$1.$script" ] || put 755 "packaging/deb/$1.$script" "DEBIAN/$script"
	done
}

# finish PACKAGE: control, sums, and the package; the rest of control comes from standard input
finish() {
	{
		printf 'Package: %s\nVersion: %s\nArchitecture: %s\n' "$1" "$version" "$arch"
		printf 'Maintainer: the swarmgate authors <noreply@swarmgate.example>\nSection: net\nPriority: optional\n'
		printf 'Installed-Size: %d\n' "$(du -sk --apparent-size --exclude DEBIAN "$root" | cut -f1)"
		cat
	} >"$root/DEBIAN/control"
	(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)
	find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	# one thread, as the number of threads shows in the bytes
	dpkg-deb --root-owner-group -Zxz -z1 --threads-max=1 --build "$root" "$out/${1}_${version}_$arch.deb" >/dev/null
}

begin swarmgate swarmgate 8
put 644 deploy/systemd/swarmgate.service usr/lib/systemd/system/swarmgate.service
put 644 deploy/systemd/swarmgate.socket usr/lib/systemd/system/swarmgate.socket
put 644 deploy/systemd/swarmgate.yaml etc/swarmgate/swarmgate.yaml
put 644 docs/OPERATING.md usr/share/doc/swarmgate/OPERATING.md
put 644 deploy/swarmgate.rules.yml usr/share/doc/swarmgate/swarmgate.rules.yml
put 644 deploy/grafana-dashboard.json usr/share/doc/swarmgate/grafana-dashboard.json
echo /etc/swarmgate/swarmgate.yaml >"$root/DEBIAN/conffiles"
finish swarmgate <<EOF
Depends: adduser, init-system-helpers
Recommends: ca-certificates, swarmgate-client
Description: gateway to peer-to-peer swarms
 Programs and web pages open one session with the gateway, by QUIC, WebTransport
 or WebSocket, join topics, and get a stream with each peer that the gateway
 finds on a Kademlia DHT, on the LAN, or among its other clients.
EOF

begin swarmgate-client swarm 1
finish swarmgate-client <<EOF
Recommends: ca-certificates
Conflicts: swarm
Description: command-line client of swarmgate, and a native peer
 swarm connects standard input and output, files or a TCP service with the peers
 of a topic, through a gateway or as a peer itself.
EOF
