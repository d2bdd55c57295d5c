#!/usr/bin/env bash
# main-job-faults.sh DIR: proves that the main job can fail. Runs it once for each fault that main-job.sh can plant, with a
# store that loses nothing by itself, and fails unless each run fails for the reason that was planted. The settings of
# main-job.sh hold here too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || { echo "usage: main-job-faults.sh DIR" >&2; exit 2; }
D=$(realpath -m "$1")
export QUORATE_TEST_CACHE=${QUORATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}
mkdir -p "$D"

# expect FAULT REASON: the job finds the fault, and says REASON of an object.
expect() {
  local line
  if PLANT=$1 "$here/main-job.sh" control-plane "$D/$1" >"$D/$1.out" 2>&1; then
    echo "main-job-faults: FAILED: the job passed in spite of $1; its output is $D/$1.out" >&2
    exit 1
  fi
  line=$(tail -n 1 "$D/$1.out")
  [[ $line == *"FAILED: verify: "*"$2"* ]] || {
    echo "main-job-faults: FAILED: with $1 the job failed for another reason: $line" >&2
    exit 1
  }
  echo "$1: $line"
  rm -rf "${D:?}/$1" "$D/$1.out"
}

expect delete "missing: state 1 was acknowledged"
expect overwrite "has fallen back to state 1"
expect rollback "the store is at revision"
expect lease "events/event-0000: missing: state 1 was acknowledged"
rmdir "$D"
