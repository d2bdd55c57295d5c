#!/usr/bin/env bash
# images.sh OUT: the images of the store and of the operator from deploy's Dockerfiles, as OCI archives for
# `ctr -n k8s.io images import`: OUT/quorate.tar has localhost/quorate:VERSION, and OUT/quorate-operator.tar has
# localhost/quorate-operator:VERSION, both with the workspace's VERSION. Needs root and Debian's buildah, and no registry.
#
# $STORE_BIN and $OPERATOR_BIN are the programs, by default cargo's release builds; etcdctl is the tests' own. With
# $OTHER_VERSION there is also OUT/quorate-other.tar, localhost/quorate:$OTHER_VERSION with the program
# $OTHER_STORE_BIN, for updates to that version and back.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
[ $# = 1 ] || { echo "usage: images.sh OUT" >&2; exit 2; }
mkdir -p "$1"
out=$(realpath "$1")
VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
export ETCDCTL_BIN=${ETCDCTL_BIN:-${QUORATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}/bin/etcdctl}

work=$(mktemp -d -p /var/tmp)
trap 'rm -rf "$work"' EXIT
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"

# image DOCKERFILE NAME:TAG ARCHIVE
image() {
  local buildah=(buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs)
  "${buildah[@]}" build --quiet --isolation chroot --timestamp 0 --signature-policy "$work/policy.json" \
    --file "$root/deploy/$1" --tag "localhost/$2" "$work/context" >/dev/null
  rm -f "$out/$3"
  "${buildah[@]}" push --quiet --signature-policy "$work/policy.json" "localhost/$2" "oci-archive:$out/$3:localhost/$2"
}

"$root/deploy/context.sh" "$work/context"
image quorate.Dockerfile "quorate:$VERSION" quorate.tar
image operator.Dockerfile "quorate-operator:$VERSION" quorate-operator.tar
if [ -n "${OTHER_VERSION-}" ]; then
  STORE_BIN=$OTHER_STORE_BIN "$root/deploy/context.sh" "$work/context"
  image quorate.Dockerfile "quorate:$OTHER_VERSION" quorate-other.tar
fi
