#!/usr/bin/env bash
# main-job-faults.sh control-plane|operator DIR: proves that the main job can fail. Runs it once for each fault that it can
# plant, with a store that loses nothing by itself, and fails unless each run fails for the reason that was planted. The
# settings of main-job.sh hold here too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage() { echo "usage: main-job-faults.sh control-plane|operator DIR" >&2; exit 2; }
[ $# = 2 ] || usage
mode=$1 D=$(realpath -m "$2")
export QUORATE_TEST_CACHE=${QUORATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}
mkdir -p "$D"

# expect FAULT REASON VARIABLE=VALUE...: the job with these settings finds the fault, and its last line has REASON.
expect() {
  local fault=$1 reason=$2 line
  shift 2
  if env "$@" "$here/main-job.sh" "$mode" "$D/$fault" >"$D/$fault.out" 2>&1; then
    echo "main-job-faults: FAILED: the job passed in spite of $fault; its output is $D/$fault.out" >&2
    exit 1
  fi
  line=$(tail -n 1 "$D/$fault.out")
  [[ $line == *"FAILED: "*"$reason"* ]] || {
    echo "main-job-faults: FAILED: with $fault the job failed for another reason: $line" >&2
    exit 1
  }
  echo "$fault: $line"
  rm -rf "${D:?}/$fault" "$D/$fault.out"
}

case $mode in
control-plane)
  expect delete "missing: state 1 was acknowledged" PLANT=delete
  expect overwrite "has fallen back to state 1" PLANT=overwrite
  expect rollback "the store is at revision" PLANT=rollback
  expect lease "events/event-0000: missing: state 1 was acknowledged" PLANT=lease
  ;;
operator)
  expect delete "missing: state 1 was acknowledged" PLANT=delete STEPS=members_1_to_3
  expect overwrite "has fallen back to state 1" PLANT=overwrite STEPS=members_1_to_3
  expect freeze "stall: in step freeze" "STEPS=members_1_to_3 freeze"
  ;;
*) usage ;;
esac
rmdir "$D"
