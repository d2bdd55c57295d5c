#!/usr/bin/env bash
# build.sh: builds two programs in the tests' cache (see ../../support/peers/cache.sh): CoreDNS, named dns, and
# applications, which asks the store as other applications do. Does nothing for a program that is there and made from
# these sources.
#
#   applications -endpoint http://127.0.0.1:2379 traefik|resolver
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../../support/peers/cache.sh
. "$here/../../support/peers/cache.sh"

go_binary dns "$here/../../e2e/kubernetes/dns" .
go_binary applications "$here" .
