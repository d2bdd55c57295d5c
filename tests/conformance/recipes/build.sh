#!/usr/bin/env bash
# build.sh: the program that checks the Go client's recipes, recipes, in the tests' cache (see
# ../../support/peers/cache.sh). Guarantees that it is there and made from these sources; does nothing when it is.
#
#   recipes -endpoints http://127.0.0.1:2379,http://127.0.0.1:22379 -for 10s
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../../support/peers/cache.sh
. "$here/../../support/peers/cache.sh"

go_binary recipes "$here" .
