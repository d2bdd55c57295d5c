#!/usr/bin/env bash
# build.sh: etcd 3.7.3 (etcd-3.7), etcdctl, etcdutl and etcd's load generator (benchmark) from Go modules into the
# tests' cache (see cache.sh). Guarantees that they are there and made from this go.sum; does nothing when they are.
# Two minutes on two cores from nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=cache.sh
. "$here/cache.sh"

go_binary etcd-3.7 "$here" ./etcd
for name in etcdctl etcdutl benchmark; do go_binary "$name" "$here" "./$name"; done
