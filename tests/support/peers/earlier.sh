#!/usr/bin/env bash
# earlier.sh COMMIT: the server of an earlier commit of this repository as quorate-COMMIT in the tests' cache (see
# cache.sh). COMMIT is a full hash, which the repository must have. Three minutes on two cores from nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=cache.sh
. "$here/cache.sh"
commit=$1
program=$BIN/quorate-$commit

# The profile is the one with which that commit builds quickest a server that is fast enough for tests.
compile() {
  source=$(mktemp -d -p "$CACHE")
  trap 'rm -rf "$source"' EXIT
  git -C "$here/../../.." archive "$commit" | tar -x -C "$source"
  (cd "$source" && CARGO_TARGET_DIR=$source/target "${CARGO:-cargo}" build --quiet --locked --profile planted --package quorate-node)
  mv "$source/target/planted/quorate" "$program"
}

once "quorate-$commit" "$commit" compile "$program"
