#!/usr/bin/env bash
# store.sh start|ready|kill|stop DIR: the store under a test cluster: one member, mutual TLS, data in DIR/store.
#
#   start   runs it and waits until /readyz says ok
#   ready   one look at /readyz
#   kill    SIGKILL
#   stop    SIGTERM, and SIGKILL after ten seconds
#
# $STORE_BIN (by default this repository's release build of quorate) is any program with etcd's flags; it serves clients
# on 127.0.0.1:$STORE_PORT (12379), its peer address is the port after. Guarantees that every start in one DIR has the
# very same program and flags: the first writes them to DIR/store.args. `kill` and `stop` return when the process is gone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 2 ] || { echo "usage: store.sh start|ready|kill|stop DIR" >&2; exit 2; }
action=$1 D=$(realpath -m "$2")
# shellcheck source=process.sh
. "$here/process.sh"

write_args() {
  local program port=${STORE_PORT:-12379} client peer
  program=$(realpath -m "${STORE_BIN:-$here/../../../target/release/quorate}")
  [ -x "$program" ] || { echo "store.sh: no program $program (STORE_BIN)" >&2; exit 1; }
  client=https://127.0.0.1:$port peer=http://127.0.0.1:$((port + 1))
  printf '%s\n' "$program" --name m1 --data-dir "$D/store" \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "m1=$peer" \
    --cert-file "$D/pki/store.crt" --key-file "$D/pki/store.key" \
    --trusted-ca-file "$D/pki/store-ca.crt" --client-cert-auth >"$D/store.args"
  echo "$client" >"$D/store.url"
}

ready() {
  local answer
  answer=$(curl -s --max-time 2 --cacert "$D/pki/store-ca.crt" --cert "$D/pki/store-client.crt" \
    --key "$D/pki/store-client.key" "$(cat "$D/store.url")/readyz" || true)
  [ "${answer%%$'\n'*}" = ok ]
}

ready_or_ended() { ready || ended store; }

case $action in
start)
  running store && { echo "store.sh: it runs already" >&2; exit 1; }
  [ -f "$D/store.args" ] || write_args
  mapfile -t args <"$D/store.args"
  start store "${args[@]}"
  until_true "${STORE_READY_SECONDS:-60}" ready_or_ended || true
  ready && running store || { say_last store; exit 1; }
  ;;
ready) ready ;;
kill) end store KILL ;;
stop) end store TERM ;;
*) echo "store.sh: unknown action $action" >&2; exit 2 ;;
esac
