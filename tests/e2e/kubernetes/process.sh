# shellcheck shell=bash
# process.sh is sourced by the scripts here: processes that outlive the script which started them, and waiting. D is the
# folder of their logs (NAME.log) and pid files (NAME.pid). Guarantees that only processes that were started here are
# ever signalled: a pid file also holds when its process was born, so that a later process with the same number is not
# taken for it.

# start NAME COMMAND...
start() {
  local name=$1
  shift
  "$@" >>"$D/$name.log" 2>&1 </dev/null &
  echo "$! $(born $!)" >"$D/$name.pid"
}

# born PID: when it was started, in clock ticks since boot; nothing for a process that has ended. A process whose first
# thread has ended goes on until its other threads have returned from the kernel: until then it holds its ports and
# locks.
born() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # After the command's name, in parentheses, come the state and, 19 fields later, the time of the start.
  # shellcheck disable=SC2086
  set -- "$1" ${stat##*) }
  [ "$2" != Z ] || [ "$(ls "/proc/$1/task" 2>/dev/null | wc -l)" -gt 1 ] || return 0
  echo "${21}"
}

# pid NAME: its process, if it runs.
pid() {
  local pid born
  read -r pid born 2>/dev/null <"$D/$1.pid" || return 1
  [ -n "$born" ] && [ "$(born "$pid")" = "$born" ] || return 1
  echo "$pid"
}

running() { pid "$1" >/dev/null; }
ended() { ! running "$1"; }

# end NAME [SIGNAL [SECONDS]]: signals it, and with SIGKILL if it has not ended in time. Returns when it has.
end() {
  local name=$1 pid
  pid=$(pid "$name") || return 0
  kill "-${2:-TERM}" "$pid" 2>/dev/null || true
  until_true "${3:-10}" ended "$name" || kill -KILL "$pid" 2>/dev/null || true
  until_true 10 ended "$name"
}

# until_true SECONDS COMMAND...: tries the command until it succeeds; fails when the time is over. $PAUSE is the time
# between two attempts, in seconds.
until_true() {
  local deadline=$((SECONDS + $1 + 1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep "${PAUSE:-0.05}"
  done
}

# say_last NAME: the end of its log, for a message about its failure.
say_last() {
  echo "$1 ended or does not answer; the end of $D/$1.log:" >&2
  tail -n 20 "$D/$1.log" >&2
}
