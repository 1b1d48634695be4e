#!/bin/sh
# Makes the image of a release with buildah, as an archive that docker, podman and nerdctl load: OUT/swarmgate_VERSION_image_ARCH.tar,
# of the archive for Linux that is in OUT.
#
#   packaging/image/build.sh VERSION ARCH OUT
set -eu
cd "$(dirname "$0")/../.."
version=${1#v} arch=$2 out=$3 name=swarmgate_${1#v}_linux_$2
tmp=$(mktemp -d)
# With vfs nothing of it is mounted; the storage of this machine stays as it is.
buildah="buildah --root $tmp/root --runroot $tmp/run --storage-driver vfs"
trap 'rm -rf "$tmp"' EXIT

tar -xzf "$out/$name.tar.gz" -C "$tmp"
packaging/image/context.sh "$tmp/$name" "$tmp/context"
epoch=$(date -r "$tmp/$name/swarmgate" +%s)
$buildah build --isolation chroot --format oci --platform "linux/$arch" --timestamp "$epoch" --tag "swarmgate:$version" \
	--label "org.opencontainers.image.title=swarmgate" --label "org.opencontainers.image.version=$version" \
	--label "org.opencontainers.image.licenses=MIT" --file packaging/image/Containerfile "$tmp/context"
rm -f "$out/swarmgate_${version}_image_$arch.tar"
$buildah push "swarmgate:$version" "docker-archive:$out/swarmgate_${version}_image_$arch.tar:swarmgate:$version"
