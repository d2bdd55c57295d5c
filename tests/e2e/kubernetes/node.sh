#!/usr/bin/env bash
# node.sh start|kill DIR I: node I of the cluster in DIR, from within the cluster's namespaces (cluster.sh exec).
#
#   start   a machine that boots, with the data on its disk in DIR/nodeI (see node-init.sh)
#   kill    a machine that dies: every process of the node and of its pods at once, and its network with them
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 3 ] || { echo "usage: node.sh start|kill DIR I" >&2; exit 2; }
action=$1 D=$2 i=$3
# shellcheck source=process.sh
. "$here/process.sh"

own_network() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }

# processes: prints those of the node, which share its view of the file system, and those of its pods, which are in its
# control groups.
processes() {
  local process
  for process in /proc/[0-9]*; do
    [ "$(readlink "$process/ns/mnt" || true)" != "$1" ] || echo "${process#/proc/}"
  done
  find "/sys/fs/cgroup/pids/$(cat "$D/cgroup")/node$i" -name cgroup.procs -exec cat {} +
}
kill_all() {
  local all
  all=$(processes "$1" 2>/dev/null)
  [ -n "$all" ] || return 0
  # shellcheck disable=SC2086
  kill -KILL $all 2>/dev/null || true
  return 1
}

case $action in
start)
  ended "node$i" || { echo "node.sh: node$i runs" >&2; exit 1; }
  start "node$i" unshare --mount --net --uts --propagation private "$here/node-init.sh" "$D" "$i"
  node=$(pid "node$i")
  until_true 10 own_network "$node"
  ip link add "veth$i" type veth peer name eth0 netns "$node"
  ip link set "veth$i" master br0 up
  ip route add "10.244.$i.0/24" via "10.88.0.$((10 + i))"
  ;;
kill)
  mounts=$(readlink "/proc/$(pid "node$i")/ns/mnt")
  until_true 20 kill_all "$mounts" || { echo "node.sh: processes of node$i are left" >&2; exit 1; }
  ip route del "10.244.$i.0/24" via "10.88.0.$((10 + i))"
  ip link del "veth$i" 2>/dev/null || true # it goes with the node's network, at some time
  ;;
*) echo "node.sh: unknown action $action" >&2; exit 2 ;;
esac
