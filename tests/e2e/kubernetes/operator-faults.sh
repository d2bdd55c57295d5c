# shellcheck shell=bash disable=SC2154
# operator-faults.sh is sourced by operator-job.sh: the faults of members, disks, nodes and operators.

# process_of NAMESPACE POD: the process of its container.
process_of() {
  local uid process
  uid=$(kubectl get pod "$2" --namespace "$1" --output jsonpath='{.metadata.uid}')
  find "/sys/fs/cgroup/pids/$(cat cgroup)" -path "*pod$uid/*" -name cgroup.procs -exec cat {} + | while read -r process; do
    [ "$(cat "/proc/$process/comm")" = pause ] || echo "$process"
  done
}

# kill_operators: kills a random operator about every 45 seconds. If it led, the other operator leads only when the
# Lease has run out, a third of a minute later. Runs until it is ended.
kill_operators() {
  local pod
  while :; do
    sleep $((30 + RANDOM % 31)) # a random time
    pod=$(kubectl get pod --namespace $OPERATORS --output name | shuf -n 1) &&
      kubectl delete "$pod" --namespace $OPERATORS --grace-period=0 --force && echo "$pod" >>killed
  done
}

# freeze_leading_operator: stops the leading operator at a random time of a change until another one leads. It goes on
# without knowing that.
freeze_leading_operator() {
  local operator process
  operator=$(leading_operator)
  process=$(process_of $OPERATORS "${operator%%_*}")
  sleep "$(seconds $((RANDOM % 2000)))" # a random time
  kill -STOP "$process"
  within 60 "another operator that leads" leads_no_more "$operator"
  kill -CONT "$process"
}
leads_no_more() {
  local leader
  leader=$(leading_operator)
  [ -n "$leader" ] && [ "$leader" != "$1" ]
}

kill_leader() { kill_member "$(of_status leader)"; }
kill_follower() { kill_member "$(members | grep -vx "$(of_status leader)" | shuf -n 1)"; }
kill_member() {
  local before
  before=$(restarts_of "$1")
  kill -KILL "$(process_of $STORE "$1")"
  within 60 "a restart of $1" has_restarted "$1" "$before"
  settle 3
}
has_restarted() { [ "$(restarts_of "$1")" != "$2" ]; }

# lose_disk: every read and write of a member's disk fails from now on. Another member takes its place.
lose_disk() {
  local member volume node
  member=$(members | grep -vx "$(of_status leader)" | shuf -n 1)
  volume=$(in_store get pvc "data-$member" --output jsonpath='{.spec.volumeName}')
  node=$(node_of "$member")
  nsenter --target "$(pid "$node")" --mount -- python3 -c "
import fcntl, os, struct, sys
EXT4_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587d, 2
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), EXT4_IOC_SHUTDOWN, struct.pack('I', NOLOGFLUSH))" "$D/$node/disks/$volume/volume"
  within 180 "another member instead of $member" is_replaced "$member"
  settle 3
  is_kept "$member" || fail "the volume of $member was not kept"
}
is_replaced() { ! in_store get quoratemember "$1" >>kubectl.log; }

# lose_node: kills a node with one member, but not the first node, by which the job reaches Services. $lost is its
# number.
lose_node() {
  local member node
  for member in $(members); do echo "$(node_of "$member") $member"; done | sort >placement
  member=$(uniq --unique --check-chars=5 placement | grep -v '^node1 ' | shuf -n 1)
  [ -n "$member" ] || fail "no node but the first one has one member: $(tr '\n' ';' <placement)"
  read -r node member <<<"$member"
  lost=${node#node}
  "$here/node.sh" kill "$D" "$lost"
  within 240 "another member instead of $member on $node" is_replaced "$member"
  settle 3
  is_kept "$member" || fail "the volume of $member was not kept"
  "$here/node.sh" start "$D" "$lost"
}
node_comes_back() {
  kubectl wait --for=condition=Ready "node/node$lost" --timeout=120s >>kubectl.log
  settle 3
}

# freeze: the job must see that writes stall. It is no step by default.
freeze() {
  local member processes=()
  for member in $(members); do processes+=("$(process_of $STORE "$member")"); done
  kill -STOP "${processes[@]}"
  sleep $((STALL_MS / 1000 + 2)) # longer than a write may take
  kill -CONT "${processes[@]}"
  settle "${#processes[@]}"
}
