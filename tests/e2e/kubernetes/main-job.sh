#!/usr/bin/env bash
# main-job.sh control-plane|nodes DIR: the main job of a store under Kubernetes, with SIGKILL in the middle.
#
# Builds what is missing (build.sh), starts the store with mutual TLS and a real control plane on it, with `nodes` also
# three nodes with running pods, and lets job.sh write to it, kill a member of the store and start it again. Guarantees,
# when it exits with 0, that nothing acknowledged was missing afterwards, that every informer and kubectl --watch
# recovered, and that the controllers went on working. Otherwise the last line says what failed, and DIR keeps the logs.
# Nothing it started is left running in either case. DIR must be empty or not exist; it is removed after a success.
#
#   STORE_BIN   the store: any program with etcd's flags (target/release/quorate)
#   MEMBERS (1) of the store; of 3 the API server asks one that does not lead, and each is killed in turn
#   KILLS (3)   CONFIGMAPS (5000)   N (3) nodes   KEEP=1 keeps DIR   SEED repeats the points in time of an earlier run
#   PORT (16443) and STORE_PORT (12379): `control-plane` listens there on loopback, `nodes` in a network of its own
#   PLANT=delete|overwrite|lease|rollback damages the data of the only member before they are verified: the job must fail then
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage() { echo "usage: main-job.sh control-plane|nodes DIR" >&2; exit 2; }
[ $# = 2 ] || usage
mode=$1 D=$(realpath -m "$2")
case $mode in control-plane | nodes) ;; *) usage ;; esac
[ -z "$(ls -A "$D" 2>/dev/null)" ] || { echo "main-job.sh: $D is not empty" >&2; exit 2; }
export N=${N:-3} MEMBERS=${MEMBERS:-1} PORT=${PORT:-16443} STORE_PORT=${STORE_PORT:-12379}
export QUORATE_TEST_CACHE=${QUORATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}
export SEED=${SEED:-$((RANDOM * 32768 + RANDOM))}
child=

# run COMMAND...: in a session of its own, so that all of it can be stopped, and so that a signal to this script is not
# kept waiting until it ends.
run() {
  setsid "$@" &
  child=$!
  wait "$child"
  child=
}

down() {
  if [ -n "$child" ]; then
    kill -TERM -- "-$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
    kill -KILL -- "-$child" 2>/dev/null || true
  fi
  case $mode in
  control-plane) "$here/control-plane.sh" down "$D" ;;
  nodes) "$here/cluster.sh" down "$D" ;;
  esac
}

finish() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  down || { [ "$status" != 0 ] || status=1; echo "could not take everything down" >>"$D/failure"; }
  case $status in 130 | 143) echo "$doing was interrupted" >"$D/failure" ;; esac
  if [ "$status" = 0 ]; then
    [ -n "${KEEP-}" ] || rm -rf "$D"
    echo "main-job $mode: passed in $SECONDS s"
  else
    [ -f "$D/failure" ] || echo "$doing did not succeed" >"$D/failure"
    echo "main-job $mode: FAILED: $(head -n 1 "$D/failure"); seed $SEED, logs in $D" >&2
  fi
  exit "$status"
}

doing="building (build.sh)"
"$here/build.sh" "$mode"
mkdir -p "$D"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ "$mode" = control-plane ]; then
  doing="starting the control plane (control-plane.sh)"
  run "$here/control-plane.sh" up "$D"
  doing="the job (job.sh)"
  run "$here/job.sh" "$mode" "$D"
else
  doing="starting the cluster (cluster.sh)"
  run "$here/cluster.sh" up "$D"
  doing="the job (job.sh)"
  run "$here/cluster.sh" exec "$D" "$here/job.sh" "$mode" "$D"
fi
