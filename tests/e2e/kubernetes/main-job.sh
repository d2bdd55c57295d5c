#!/usr/bin/env bash
# main-job.sh control-plane|nodes|volumes|operator DIR: the jobs in a real Kubernetes.
#
#   control-plane, nodes   the store under Kubernetes, with SIGKILL in the middle (job.sh)
#   volumes                the volumes that the other job's members get: full, enlarged, removed (volumes-job.sh)
#   operator               a store that the operator runs, through its whole life (operator-job.sh)
#
# Each job builds the missing programs (build.sh), and starts the store with mutual TLS and a real control plane on it. All
# jobs but the first also start N nodes with running pods. The job then works there. An exit with 0 guarantees the claims of
# the job. Otherwise the last line says what failed, and DIR keeps the logs. Nothing it started is left running in either
# case. DIR must be empty or not exist; it is removed after a success.
#
#   STORE_BIN   the store: any program with etcd's flags (target/release/quorate)
#   MEMBERS (1) of the store; of 3 the API server asks one that does not lead, and each is killed in turn
#   KILLS (3)   CONFIGMAPS (5000)   N (3) nodes   KEEP=1 keeps DIR   SEED repeats the points in time of an earlier run
#   PORT (16443) and STORE_PORT (12379): `control-plane` listens there on loopback, the others in a network of their own
#   PLANT=delete|overwrite|lease|rollback damages the data of the only member before they are verified: the job must fail
#   then; of the operator's store it can be any but rollback
#   NODE_AGENT, AUDIT_PROGRAM, OPERATOR_BIN: cargo's release builds by default
#   OTHER_STORE_BIN: a store of a later version, to update to (cargo's build with the profile "planted", without a mistake)
#   STEPS, STALL_MS (5000), IDLE (20 s), PACE (15 ConfigMaps a second) and NODE_GRACE (20s) are for the operator's job
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage() { echo "usage: main-job.sh control-plane|nodes|volumes|operator DIR" >&2; exit 2; }
[ $# = 2 ] || usage
mode=$1 D=$(realpath -m "$2")
case $mode in control-plane | nodes) job=job.sh ;; volumes | operator) job=$mode-job.sh ;; *) usage ;; esac
[ -z "$(ls -A "$D" 2>/dev/null)" ] || { echo "main-job.sh: $D is not empty" >&2; exit 2; }
export N=${N:-3} MEMBERS=${MEMBERS:-1} PORT=${PORT:-16443} STORE_PORT=${STORE_PORT:-12379}
export QUORATE_TEST_CACHE=${QUORATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}
export SEED=${SEED:-$((RANDOM * 32768 + RANDOM))}
release=$(realpath -m "${CARGO_TARGET_DIR:-$here/../../../target}/release")
NODE_AGENT=${NODE_AGENT:-$release/node-agent} AUDIT_PROGRAM=${AUDIT_PROGRAM:-$release/audit}
child=

# run COMMAND...: runs the command in a session of its own, so that all of it can be stopped, and so that a signal to
# this script need not wait for its end.
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
  *) "$here/cluster.sh" down "$D" ;;
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

# make_images: makes the images of the store, of the operator, and of another version of the store, to update to.
make_images() {
  export OTHER_STORE_BIN=${OTHER_STORE_BIN:-$release/../planted/quorate} OTHER_VERSION
  OTHER_VERSION=$("$OTHER_STORE_BIN" --version | sed -n 's/^Quorate Version: //p')
  run "$here/images.sh" "$D/images"
}

doing="building (build.sh)"
if [ "$mode" = control-plane ]; then "$here/build.sh" control-plane; else "$here/build.sh" nodes; fi
mkdir -p "$D"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
case $mode in
volumes) export N=1 NODE_AGENT ;;
operator)
  doing="building the images (images.sh)"
  make_images
  export N=3 NODE_AGENT AUDIT_PROGRAM AUDIT=quorate-system NODE_GRACE=${NODE_GRACE:-20s}
  ;;
esac

if [ "$mode" = control-plane ]; then
  doing="starting the control plane (control-plane.sh)"
  run "$here/control-plane.sh" up "$D"
  doing="the job ($job)"
  run "$here/$job" "$mode" "$D"
else
  doing="starting the cluster (cluster.sh)"
  run "$here/cluster.sh" up "$D"
  doing="the job ($job)"
  run "$here/cluster.sh" exec "$D" "$here/$job" "$mode" "$D"
fi
