#!/usr/bin/env bash
# store.sh start|ready|kill|stop DIR [ROLE]: the store under a test cluster: mutual TLS, data in DIR/store.
#
#   start   starts the members that do not run, and waits until /readyz of every member says ok
#   ready   one look at /readyz of the member that is asked
#   kill    SIGKILL; of several members, to the one with ROLE: asked, leader, or other (which neither leads nor is asked)
#   stop    SIGTERM, and SIGKILL after ten seconds
#
# $STORE_BIN (by default this repository's release build of quorate) is any program with etcd's flags. With MEMBERS=3
# (1) it runs three times, data in DIR/store, DIR/store2 and DIR/store3. Clients know the first member alone; after `start` it
# does not lead, if there are others. It serves clients on 127.0.0.1:$STORE_PORT (12379), its peer address is the port
# after, and so on. Guarantees that every start in one DIR has the very same programs and flags: the first writes
# them to DIR/store.args, and so on. `kill` and `stop` return when the processes are gone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || { echo "usage: store.sh start|ready|kill|stop DIR [asked|leader|other]" >&2; exit 2; }
action=$1 D=$(realpath -m "$2") role=${3:-asked}
# shellcheck source=process.sh
. "$here/process.sh"
MEMBERS=${MEMBERS:-1}
P=$D/pki
STORES=(store)
for i in $(seq 2 "$MEMBERS"); do STORES+=("store$i"); done

write_args() {
  local program port=${STORE_PORT:-12379} number=0 name scheme=http members=() tls=()
  program=$(realpath -m "${STORE_BIN:-$here/../../../target/release/quorate}")
  [ -x "$program" ] || { echo "store.sh: no program $program (STORE_BIN)" >&2; exit 1; }
  if [ "$MEMBERS" -gt 1 ]; then
    scheme=https
    tls=(--peer-cert-file "$P/store.crt" --peer-key-file "$P/store.key" --peer-trusted-ca-file "$P/store-ca.crt"
      --peer-client-cert-auth)
  fi
  for name in "${STORES[@]}"; do
    members+=("$name=$scheme://127.0.0.1:$((port + 2 * number + 1))")
    number=$((number + 1))
  done
  for name in "${STORES[@]}"; do
    local client=https://127.0.0.1:$port peer=$scheme://127.0.0.1:$((port + 1))
    printf '%s\n' "$program" --name "$name" --data-dir "$D/$name" \
      --listen-client-urls "$client" --advertise-client-urls "$client" \
      --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
      --initial-cluster "$(IFS=,; echo "${members[*]}")" \
      --cert-file "$P/store.crt" --key-file "$P/store.key" --trusted-ca-file "$P/store-ca.crt" --client-cert-auth \
      ${tls[@]+"${tls[@]}"} >"$D/$name.args"
    echo "$client" >"$D/$name.url"
    port=$((port + 2))
  done
}

page() { # NAME PATH
  curl -s --max-time 2 --cacert "$P/store-ca.crt" --cert "$P/store-client.crt" --key "$P/store-client.key" \
    "$(cat "$D/$1.url")/$2" || true
}

ready() {
  local answer
  answer=$(page "$1" readyz)
  [ "${answer%%$'\n'*}" = ok ]
}

# ready_or_ended: all are ready, or one has ended.
ready_or_ended() {
  local name
  for name in "${STORES[@]}"; do ended "$name" && return; done
  for name in "${STORES[@]}"; do ready "$name" || return 1; done
}

etcdctl_at() { # NAME COMMAND...
  local name=$1
  shift
  "${QUORATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}/bin/etcdctl" --endpoints "$(cat "$D/$name.url")" \
    --cacert "$P/store-ca.crt" --cert "$P/store-client.crt" --key "$P/store-client.key" "$@"
}

leads() { page "$1" metrics | grep -qx 'etcd_server_is_leader 1'; }

# find_leader: puts the name of the leader into $leader.
find_leader() {
  for leader in "${STORES[@]}"; do leads "$leader" && return; done
  leader=
  return 1
}

# follows: another member than the asked one leads. If the asked member leads, moves the leadership away from it.
follows() {
  find_leader || return 1
  [ "$leader" = store ] || return 0
  local id
  id=$(etcdctl_at store member list | sed -n 's/^\([0-9a-f]*\), started, store2, .*/\1/p')
  etcdctl_at store move-leader "$id" >>"$D/store.moves" 2>&1 || true
  return 1
}

# find_member ROLE: puts the name of the member with this role into $member.
find_member() {
  member=store
  [ "$MEMBERS" -gt 1 ] && [ "$1" != asked ] || return 0
  until_true 30 find_leader || { echo "store.sh: no member leads" >&2; exit 1; }
  member=$leader
  [ "$1" != leader ] || return 0
  for member in "${STORES[@]:1}"; do [ "$member" = "$leader" ] || return 0; done
}

case $action in
start)
  [ -f "$D/store.args" ] || write_args
  started=
  for name in "${STORES[@]}"; do
    running "$name" && continue
    mapfile -t args <"$D/$name.args"
    start "$name" "${args[@]}"
    started=yes
  done
  [ -n "$started" ] || { echo "store.sh: it runs already" >&2; exit 1; }
  until_true "${STORE_READY_SECONDS:-60}" ready_or_ended || true
  for name in "${STORES[@]}"; do
    ready "$name" && running "$name" || { say_last "$name"; exit 1; }
  done
  [ "$MEMBERS" = 1 ] || until_true 30 follows || { echo "store.sh: $(cat "$D/store.url") goes on leading" >&2; exit 1; }
  ;;
ready) ready store ;;
kill)
  find_member "$role"
  end "$member" KILL
  echo "$member"
  ;;
stop) for name in "${STORES[@]}"; do end "$name" TERM; done ;;
*) echo "store.sh: unknown action $action" >&2; exit 2 ;;
esac
