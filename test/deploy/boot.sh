#!/bin/sh
# boot.sh ROOT CGROUP: boots the systemd of the folder ROOT in namespaces of its own, in the cgroup CGROUP (a folder of cgroup 2). The
# machine ends with this process, and has a network with loopback only.
set -eu
if [ $# = 2 ]; then
	echo $$ >"$2/cgroup.procs"
	exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net "$0" "$1"
fi
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do
	touch dev/$d
	mount --bind /dev/$d dev/$d
done
mkdir dev/shm dev/pts .host
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
pivot_root . .host
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c \
	'umount -l /.host && exec /lib/systemd/systemd --log-target=console --show-status=no systemd.unit=multi-user.target' </dev/null
