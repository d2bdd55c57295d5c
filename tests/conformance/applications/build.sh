#!/usr/bin/env bash
# build.sh: CoreDNS, as dns, and the program that asks the store as other applications do, applications, in the tests'
# cache (see ../../support/peers/cache.sh). Guarantees that they are there and made from these sources; does nothing
# when they are.
#
#   applications -endpoint http://127.0.0.1:2379 traefik|resolver
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../../support/peers/cache.sh
. "$here/../../support/peers/cache.sh"

go_binary dns "$here/../../e2e/kubernetes/dns" .
go_binary applications "$here" .
