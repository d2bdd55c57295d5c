# shellcheck shell=bash
# steps.sh is sourced by the jobs that main-job.sh runs in a cluster: how a job goes on step by step, waits for
# conditions only, each with a deadline, and writes the failure to DIR/failure.
step=
cd "$D" # the path of a socket is short

# at_end COMMAND...: runs the command before the job ends, however it ends.
at_end() {
  at_end=("$@")
  trap finish EXIT
  trap 'exit 143' TERM
}

finish() {
  local status=$?
  trap - EXIT
  "${at_end[@]}" || true
  [ "$status" = 0 ] || [ -f failure ] || echo "$step: a command did not succeed (see the output, and $D/kubectl.log)" >failure
  exit "$status"
}

say() {
  step=$*
  printf '%4d s  %s\n' "$SECONDS" "$*"
}

# fail WHAT...: ends the job.
fail() {
  echo "$*" >failure
  exit 1
}

# within SECONDS WHAT COMMAND...: the command must succeed in time.
within() {
  local seconds=$1 what=$2
  shift 2
  until_true "$seconds" "$@" || fail "$what: not within $seconds s"
}

# ask SECONDS REQUEST: has the workload do something in time (see workload/main.go).
ask() {
  local joint='?'
  case $2 in *\?*) joint='&' ;; esac
  curl -s --fail-with-body --max-time $(($1 + 20)) --unix-socket workload.sock \
    "http://workload/$2${joint}within=$1" >answer || fail "$2: $(sed -n '1p' answer) ($(wc -l <answer) reasons in $D/answer)"
}

milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }
