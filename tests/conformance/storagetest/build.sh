#!/usr/bin/env bash
# build.sh: the API server's storage contract as one program, storagetest.test, in the tests' cache (see
# ../../support/peers/cache.sh). Guarantees that it is there and made from these sources; does nothing when it is.
# A minute after Kubernetes has been built with the same settings, four alone.
#
#   STORE_UNDER_TEST=/path/to/quorate storagetest.test -test.v     a process for each test
#   ETCD_ENDPOINTS=http://127.0.0.1:2379 storagetest.test -test.v  a server that runs
#   SERVERS_FROM=127.0.0.1:1234 storagetest.test -test.v           a new server for each test, from who listens there
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../../support/peers/cache.sh
. "$here/../../support/peers/cache.sh"

go_test_binary storagetest.test "$here"
