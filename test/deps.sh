#!/bin/sh
# Installs what the tests need and this machine lacks: Debian packages, then the npm packages of the test peers and the browser driver.
set -eu
cd "$(dirname "$0")/.."

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
missing=
need() { # need COMMAND PACKAGE
	PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need ip iproute2
need nft nftables
need dbus-daemon dbus
need avahi-daemon avahi-daemon
need avahi-publish avahi-utils
need socat socat
need nginx nginx
need haproxy haproxy
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$missing libnginx-mod-stream"
need chromium chromium
need firefox-esr firefox-esr
need node nodejs
need npm npm
need gcc gcc
need sshd openssh-server
need ssh openssh-client
need zsh zsh
need fish fish
need script bsdutils
need groff groff-base
need systemd-analyze systemd
need debootstrap debootstrap
need buildah buildah
need runc runc
if [ -n "$missing" ]; then
	$sudo apt-get update -qq
	# The tests start what they need. Nobody wants nginx on port 80 for having run them.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
		$sudo chmod 755 $policy
		trap '$sudo rm -f $policy' EXIT
	fi
	# shellcheck disable=SC2086 # a list of packages
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
fi

# Of the package prometheus only promtool is wanted, not its service.
if ! command -v promtool >/dev/null 2>&1; then
	dir=$(mktemp -d)
	cd "$dir"
	apt-get download -qq prometheus 2>/dev/null || { $sudo apt-get update -qq && apt-get download -qq prometheus; }
	dpkg-deb -x prometheus_*.deb .
	$sudo install -m 755 usr/bin/promtool /usr/local/bin/
	cd - >/dev/null
	rm -r "$dir"
fi

for dir in test/js-libp2p test/browser test/dat web/examples/hyperdrive web/examples/hyperswarm; do
	stamp=$dir/node_modules/.installed
	if [ ! -e "$stamp" ] || [ "$dir/package-lock.json" -nt "$stamp" ]; then
		npm ci --prefix "$dir" --no-audit --no-fund --loglevel=error
		touch "$stamp"
	fi
done
